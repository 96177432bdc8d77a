"""Which changes of settings allow more risk, and how a change is written before it is confirmed. Pure."""

from __future__ import annotations

from typing import Any

from app.settings_form import GROUPS, Field, written

LIMITS = frozenset({*GROUPS["Risk"], *GROUPS["Risk of the whole book"]})
"""Settings of which any change counts as loosening, unless its direction is known."""

# +1: a larger value allows more risk; -1: a smaller one does. A switch of -1 allows more when it goes off.
LOOSER = {
    "max_daily_loss": 1, "use_gate_daily_loss": -1, "max_total_drawdown": 1, "use_gate_drawdown": -1,
    "max_symbol_weight": 1, "max_gross_weight": 1, "max_leverage": 1, "max_price_age_s": 1,
    "use_protective_stops": -1, "protective_stop_pct": 1, "min_liquidation_distance": -1, "use_dead_man_switch": -1,
    "volatility_target": 1, "use_gate_book": -1, "drawdown_full_share": 1, "daily_throttle_share": 1,
    "daily_reduce_share": 1, "daily_flatten_share": 1, "gap_pct": -1, "stop_slippage_pct": -1, "max_cvar": 1,
    "basis_gap_pct": -1, "cvar_level": -1, "cvar_horizon_hours": -1, "max_net_weight": 1, "max_cluster_weight": 1,
    "cluster_correlation": 1, "stress_fall": -1, "stress_rise": -1, "stress_own": -1, "max_stress_loss": 1,
    "kelly_fraction": 1, "kelly_prior_sharpe": 1, "max_orders_per_minute": 1, "max_hour_participation": 1,
}  # fmt: skip


def loosened(fields: list[Field], values: dict[str, Any]) -> list[str]:
    """Return the limits that a change would loosen. A limit whose direction is not known counts as loosened.

    Parameters
    ----------
    fields : list of Field
        With the values in force.
    values : dict
        The new values, as stored.
    """
    return [
        field.name for field in fields
        if field.name in values and field.name in LIMITS | set(LOOSER) and _loosens(field, values[field.name])
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
