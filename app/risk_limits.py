"""The Risk page's form of limits. What loosens a limit needs a second click after a sentence that says so."""

from __future__ import annotations

import time
from typing import Any

import streamlit as st

from app import forms
from app.client import EngineClient
from app.settings_form import Field, changes, written

COLUMNS = 4
PENDING = "risk.pending"
PENDING_S = 120.0  # a confirmation that nobody gives is forgotten

# +1: a larger value allows more risk; -1: a smaller one does. A switch of -1 allows more when it goes off.
LOOSER = {
    "max_daily_loss": 1, "use_gate_daily_loss": -1, "max_total_drawdown": 1, "use_gate_drawdown": -1,
    "max_symbol_weight": 1, "max_gross_weight": 1, "max_leverage": 1, "max_price_age_s": 1,
    "use_protective_stops": -1, "protective_stop_pct": 1, "min_liquidation_distance": -1, "use_dead_man_switch": -1,
    "volatility_target": 1, "use_gate_book": -1, "drawdown_full_share": 1, "daily_throttle_share": 1,
    "daily_reduce_share": 1, "daily_flatten_share": 1, "gap_pct": -1, "stop_slippage_pct": -1, "max_cvar": 1,
    "basis_gap_pct": -1, "cvar_level": -1, "cvar_horizon_hours": -1, "max_net_weight": 1, "max_cluster_weight": 1,
    "cluster_correlation": 1, "stress_fall": -1, "stress_rise": -1, "stress_own": -1, "max_stress_loss": 1,
    "kelly_fraction": 1, "kelly_prior_sharpe": 1, "max_orders_per_minute": 1,
}  # fmt: skip


def loosened(fields: list[Field], values: dict[str, Any]) -> list[str]:
    """Return the settings that a change would loosen. One whose direction is not known counts as loosened.

    Parameters
    ----------
    fields : list of Field
        With the values in force.
    values : dict
        The new values, as stored.
    """
    return [
        field.name for field in fields
        if field.name in values and _loosens(field, values[field.name])
    ]  # fmt: skip


def _loosens(field: Field, wanted: Any) -> bool:
    direction = LOOSER.get(field.name)
    numbers = isinstance(wanted, (int, float)) and isinstance(field.value, (int, float))
    if direction is None or not numbers:
        return True
    return (wanted - field.value) * direction > 0


def change_lines(fields: list[Field], values: dict[str, Any]) -> list[str]:
    """Return a line for each change: before and after in the form's unit, and whether it allows more risk."""
    loose = loosened(fields, values)
    return [
        f"{field.label}: {written(field, field.value)} → **{written(field, values[field.name])}**"
        + (" · allows more risk" if field.name in loose else "")
        for field in fields
        if field.name in values
    ]


def limits_form(client: EngineClient, fields: list[Field], symbols: list[str]) -> None:
    """Show the limits; tightening applies at once, loosening after a confirmation."""
    forms.outcome()
    pending = st.session_state.get(PENDING)
    if pending is not None and time.monotonic() - pending[1] < PENDING_S:
        _confirmation(client, fields, pending[0])
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


def _confirmation(client: EngineClient, fields: list[Field], values: dict[str, Any]) -> None:
    with st.container(border=True):
        st.warning("This allows more risk than before. It is applied only when you confirm it.",
                   icon=":material/lock_open:")  # fmt: skip
        st.markdown("  \n".join(change_lines(fields, values)))
        yes, no, _ = st.columns([2, 1, 4])
        yes.button("Loosen these limits", type="primary", key="risk.confirm", on_click=_confirm,
                   args=(client, fields), width="stretch")  # fmt: skip
        no.button("Keep as they are", key="risk.keep", on_click=_forget, width="stretch")


def _apply(client: EngineClient, fields: list[Field], stamp: str) -> None:
    entered = {field.name: st.session_state[f"risk.{stamp}.{field.name}"] for field in fields}
    values = changes(fields, entered)
    if loosened(fields, values):
        st.session_state[PENDING] = (values, time.monotonic())
        return
    _forget()
    forms.send(client, values, [field.name for field in fields])


def _confirm(client: EngineClient, fields: list[Field]) -> None:
    values, _ = st.session_state.pop(PENDING, ({}, 0.0))
    forms.send(client, values, [field.name for field in fields])


def _forget() -> None:
    st.session_state.pop(PENDING, None)
