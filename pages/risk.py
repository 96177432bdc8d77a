"""Risk: every limit with what is left of it, what the book has at stake, and what the gate objected to today."""

import streamlit as st

from app import risk_limits, risk_view, widgets
from app.client import engine_client
from app.settings_form import form_fields

client = engine_client()
widgets.page_head("Risk", client)
risk_view.now(client)
risk_view.stress(client)
risk_view.correlation(client)
risk_view.reports(client)

st.subheader("Edit limits")
with widgets.known("Limits"):
    groups = form_fields(client.settings())
    instruments = client.instruments()
risk_limits.limits_form(client, [*groups["Risk"], *groups["Risk of the whole book"]], sorted(instruments))
st.caption("Applied at the next decision, with an entry in the record of changes on the Settings page.")
