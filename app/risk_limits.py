"""The Risk page's form of limits. What loosens a limit needs a second click after a sentence that says so."""

from __future__ import annotations

import streamlit as st

from app import forms
from app.client import EngineClient
from app.settings_form import Field, changes

COLUMNS = 4
PAGE = "risk"


def limits_form(client: EngineClient, fields: list[Field], symbols: list[str]) -> None:
    """Show the limits; tightening applies at once, loosening after a confirmation."""
    forms.outcome()
    forms.confirmation(client, PAGE, fields)
    stamp = forms.stamp_of(fields)
    refused = st.session_state.get("settings.refused_fields", [])
    with st.form("risk.limits", border=False, enter_to_submit=False):
        for part in (
            [field for field in fields if field.kind == "switch"],
            [field for field in fields if field.kind != "switch"],
        ):
            for first in range(0, len(part), COLUMNS):
                for column, field in zip(st.columns(COLUMNS), part[first : first + COLUMNS], strict=False):
                    with column:
                        forms.setting(field, f"risk.{stamp}.{field.name}", symbols, refused)
        st.form_submit_button(
            "Apply limits", type="primary", icon=":material/check:", on_click=_apply, args=(client, fields, stamp)
        )


def _apply(client: EngineClient, fields: list[Field], stamp: str) -> None:
    entered = {field.name: st.session_state[f"risk.{stamp}.{field.name}"] for field in fields}
    forms.ask_or_send(client, PAGE, fields, changes(fields, entered))
