"""Settings: everything a person can set about trading, applied at the next decision, with the record of changes."""

import streamlit as st

from app import forms, live_settings, tables, widgets
from app.client import engine_client
from app.settings_form import form_fields

client = engine_client()
widgets.page_head("Settings", client)
with widgets.known("Settings"):
    groups = form_fields(client.settings())
    instruments = client.instruments()

fields = [field for group in groups.values() for field in group]
changed = [field for field in fields if field.changed]
note, reset = st.columns([4, 1], vertical_alignment="center")
note.markdown(
    f"Changes apply at the next decision, without a restart. **{len(changed)} of {len(fields)}** settings differ from "
    "their defaults."
)
with reset:
    forms.reset_button(client, fields)

forms.settings_form(client, groups, sorted(instruments))

st.subheader("Live trading")
with widgets.known("Live trading"):
    live_settings.live_trading(client)

st.subheader("Record of changes")
with widgets.known("Record of changes"):
    audit = client.audit(limit=200)
if audit.empty:
    widgets.empty("No change recorded yet.")
else:
    widgets.table(tables.audit_rows(audit), tables.AUDIT_COLUMNS, key="settings.audit", max_rows=10)
    widgets.csv_download(audit, "audit", key="settings.csv", label="Record CSV")
