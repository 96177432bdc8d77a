"""How ``SystemConfig`` looks as a form: groups, units, and the way between a shown and a stored value. Pure."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from app.formats import number
from app.run_config import free_parameters, number_list
from engine.domain import INTERVAL_S

GROUPS: dict[str, tuple[str, ...]] = {
    "Account and goal": ("initial_balance", "target_annual_return"),
    "Market": ("symbols", "decision_interval"),
    "Strategy": (
        "strategy", "strategy_params", "use_trend", "trend_horizons_hours", "volatility_horizon_hours",
        "volatility_target", "ema_fast", "ema_slow", "allow_short",
    ),
    "Models": (
        "use_models", "max_model_share", "use_promotion", "use_retraining", "retrain_every_days",
        "use_drift_retraining", "use_regime_retraining", "retrain_pause_days",
    ),
    "News": ("news_feeds", "news_every_minutes"),
    "Risk": (
        "max_daily_loss", "use_gate_daily_loss", "max_total_drawdown", "use_gate_drawdown", "max_symbol_weight",
        "max_gross_weight", "max_leverage", "max_price_age_s", "use_protective_stops", "protective_stop_pct",
        "max_hour_participation",
        "min_liquidation_distance", "use_dead_man_switch",
    ),
    "Risk of the whole book": (
        "use_gate_book", "drawdown_full_share", "daily_throttle_share", "daily_reduce_share", "daily_flatten_share",
        "gap_pct", "basis_gap_pct", "stop_slippage_pct", "max_cvar", "cvar_method", "cvar_level", "cvar_horizon_hours",
        "max_net_weight", "max_cluster_weight", "cluster_correlation", "stress_fall", "stress_rise", "stress_own",
        "max_stress_loss",
        "kelly_fraction", "kelly_prior_sharpe", "kelly_prior_days", "kelly_memory_days",
    ),
    "Execution": (
        "use_maker_orders", "maker_wait_s", "rebalance_band", "max_orders_per_minute", "execution_algorithm",
        "execution_over_share",
        "execution_minutes", "execution_urgency", "execution_participation", "execution_max_participation",
    ),
    "Operations": ("drill_every_days",),
    "Stored data": ("tick_retention_days",),
    "Computing": ("compute_backend", "compute_address"),
}  # fmt: skip
OTHER_GROUP = "Other"

# Unit as shown, and shown = stored x scale.
_UNITS: dict[str, tuple[str, float]] = {
    "initial_balance": ("USDT", 1), "target_annual_return": ("% a year", 100), "max_daily_loss": ("%", 100),
    "max_total_drawdown": ("%", 100), "trend_horizons_hours": ("hours", 1), "volatility_horizon_hours": ("hours", 1),
    "volatility_target": ("% a year", 100), "ema_fast": ("bars", 1), "ema_slow": ("bars", 1),
    "max_symbol_weight": ("× equity", 1), "max_gross_weight": ("× equity", 1), "max_leverage": ("× equity", 1),
    "max_price_age_s": ("s", 1), "rebalance_band": ("× equity", 1), "maker_wait_s": ("s", 1),
    "protective_stop_pct": ("% of entry", 100), "tick_retention_days": ("days", 1),
    "min_liquidation_distance": ("% of mark", 100), "max_hour_participation": ("% of an hour's trade", 100),
    "drawdown_full_share": ("% of the limit", 100), "daily_throttle_share": ("% of the limit", 100),
    "daily_reduce_share": ("% of the limit", 100), "daily_flatten_share": ("% of the limit", 100),
    "gap_pct": ("%", 100), "basis_gap_pct": ("%", 100), "stop_slippage_pct": ("%", 100),
    "max_cvar": ("% of equity", 100), "cvar_level": ("%", 100), "cvar_horizon_hours": ("hours", 1),
    "cluster_correlation": ("0 to 1", 1), "kelly_prior_sharpe": ("a year", 1),
    "max_net_weight": ("× equity", 1), "max_cluster_weight": ("× equity", 1),
    "stress_fall": ("%", 100), "stress_rise": ("%", 100), "stress_own": ("%", 100),
    "max_stress_loss": ("% of equity", 100), "kelly_fraction": ("% of Kelly", 100), "kelly_prior_days": ("days", 1),
    "kelly_memory_days": ("days", 1),
    "max_orders_per_minute": ("a minute", 1),
    "drill_every_days": ("days", 1), "max_model_share": ("%", 100), "retrain_every_days": ("days", 1),
    "retrain_pause_days": ("days", 1), "news_every_minutes": ("min", 1),
    "execution_urgency": ("0 to 10", 1), "execution_over_share": ("% of an hour's volume", 100),
    "execution_minutes": ("min", 1),
    "execution_participation": ("% of all trading", 100), "execution_max_participation": ("% of all trading", 100),
}  # fmt: skip
_LABELS: dict[str, str] = {
    "initial_balance": "Opening balance", "target_annual_return": "Goal", "max_daily_loss": "Daily loss limit",
    "max_total_drawdown": "Drawdown limit", "trend_horizons_hours": "Trend horizons",
    "volatility_horizon_hours": "Volatility memory", "ema_fast": "Fast EMA", "ema_slow": "Slow EMA",
    "max_symbol_weight": "Symbol cap", "max_gross_weight": "Gross cap", "max_leverage": "Leverage limit",
    "max_price_age_s": "Oldest price", "maker_wait_s": "Maker patience", "protective_stop_pct": "Stop distance",
    "tick_retention_days": "Ticks kept", "drill_every_days": "Drill every",
    "use_models": "Models take part", "max_model_share": "Most that models count",
    "use_retraining": "Train again on schedule", "retrain_every_days": "Train every",
    "use_drift_retraining": "Train again after drift", "use_regime_retraining": "Train again after a change",
    "retrain_pause_days": "Pause between trainings", "use_promotion": "Promote on evidence",
    "news_feeds": "Feeds of headlines", "news_every_minutes": "Read feeds every",
    "strategy_params": "Parameters of your own strategy, name=value",
    "compute_backend": "Sweeps run on", "compute_address": "Address of the Dask scheduler",
    "use_trend": "Sleeve may open risk", "allow_short": "Short positions",
    "use_protective_stops": "Protective stops", "use_maker_orders": "Post-only first",
    "use_gate_daily_loss": "Enforce daily loss limit", "use_gate_drawdown": "Enforce drawdown limit",
    "use_gate_book": "Enforce limits on the book", "drawdown_full_share": "Drawdown: full size until",
    "daily_throttle_share": "Daily loss: shrink from", "daily_reduce_share": "Daily loss: only reduce from",
    "daily_flatten_share": "Daily loss: flat from", "gap_pct": "Gap to survive",
    "basis_gap_pct": "Gap of perpetual to spot", "stop_slippage_pct": "Stop slippage",
    "max_cvar": "CVaR cap", "cvar_method": "CVaR method", "cvar_level": "CVaR level",
    "cvar_horizon_hours": "CVaR horizon", "max_net_weight": "Net cap", "max_cluster_weight": "Cluster cap",
    "cluster_correlation": "Cluster from correlation", "stress_fall": "Stress: market falls",
    "stress_rise": "Stress: market rises", "stress_own": "Stress: own move", "max_stress_loss": "Stress loss cap",
    "kelly_fraction": "Kelly share", "kelly_prior_sharpe": "Kelly: assumed Sharpe ratio",
    "kelly_prior_days": "Kelly: weight of the assumption", "kelly_memory_days": "Kelly: memory",
    "max_orders_per_minute": "Orders that add risk",
    "max_hour_participation": "Added to a symbol an hour",
    "min_liquidation_distance": "Distance to liquidation", "use_dead_man_switch": "Dead-man switch",
    "execution_algorithm": "Large targets go by", "execution_over_share": "Large begins at",
    "execution_minutes": "Time for a large target", "execution_urgency": "Urgency",
    "execution_participation": "Share of the market (pov)",
    "execution_max_participation": "Cap on our share of the market",
}  # fmt: skip


class Field(NamedTuple):
    """One setting as the form shows it."""

    name: str
    label: str  # with its unit
    description: str
    kind: str  # switch, choice, count, number, words, numbers, pairs, text
    scale: float
    value: Any  # in force, as stored
    default: Any  # as stored
    minimum: float | None  # as shown
    maximum: float | None  # as shown
    choices: tuple[str, ...]
    is_open: bool = False  # something else than the choices may be typed

    @property
    def changed(self) -> bool:
        """Whether the value in force differs from the default."""
        return _plain(self.value) != _plain(self.default)


def form_fields(answer: dict[str, Any]) -> dict[str, list[Field]]:
    """Return the fields of ``settings.get`` by group, in the order of the groups; unknown names come last."""
    values, specs = answer["values"], answer["fields"]
    grouped = {group: [name for name in names if name in values] for group, names in GROUPS.items()}
    placed = {name for names in grouped.values() for name in names}
    grouped[OTHER_GROUP] = [name for name in values if name not in placed]
    return {
        group: [_field(name, values[name], specs.get(name, {})) for name in names]
        for group, names in grouped.items()
        if names
    }


def shown(field: Field, value: Any) -> Any:
    """Return a stored value in the form's unit: 0.05 is 5.0 (%), a list of numbers is text."""
    if field.kind == "numbers":
        return ", ".join(f"{item:g}" for item in value)
    if field.kind == "pairs":
        return ", ".join(f"{name}={item}" for name, item in value.items())
    if field.kind == "number":
        return round(float(value) * field.scale, 10)
    return list(value) if field.kind == "words" else value


def stored(field: Field, entered: Any) -> Any:
    """Return what was entered as the engine takes it. Words that are no number go as typed: the engine refuses them."""
    if field.kind == "numbers":
        return number_list(str(entered))
    if field.kind == "pairs":
        return free_parameters(str(entered).replace(",", "\n"))
    if field.kind == "number" and isinstance(entered, (int, float)):
        return round(entered / field.scale, 12)
    return entered


def written(field: Field, value: Any) -> str:
    """Write a stored value for people, in the form's unit."""
    if field.kind == "switch":
        return "on" if value else "off"
    if field.kind == "words":
        return ", ".join(value)
    if field.kind == "pairs":
        return shown(field, value) or "none"
    if field.kind in ("number", "count"):
        entered = shown(field, value)
        return number(entered, 0 if float(entered).is_integer() else 4).rstrip()
    return str(shown(field, value))


def changes(fields: list[Field], entered: dict[str, Any]) -> dict[str, Any]:
    """Return the stored values that differ from those in force: only these are sent."""
    wanted = {field.name: stored(field, entered[field.name]) for field in fields if field.name in entered}
    return {field.name: wanted[field.name] for field in fields
            if field.name in wanted and _plain(wanted[field.name]) != _plain(field.value)}  # fmt: skip


def resets(fields: list[Field]) -> dict[str, Any]:
    """Return the defaults of the settings that differ from them."""
    return {field.name: field.default for field in fields if field.changed}


def refused_fields(message: str, names: list[str]) -> list[str]:
    """Return the settings that the engine's sentence names, to mark them in the form."""
    return [name for name in names if re.search(rf"\b{re.escape(name)}\b", message)]


def _field(name: str, value: Any, spec: dict[str, Any]) -> Field:
    unit, scale = _UNITS.get(name, ("", 1))
    label = _LABELS.get(name, name.replace("_", " ").capitalize())
    choices = tuple(spec.get("choices") or (INTERVAL_S if name == "decision_interval" else ()))
    if choices and value not in choices:  # a kept strategy whose file has gone
        choices = (*choices, str(value))
    return Field(
        name=name, label=f"{label}, {unit}" if unit else label, description=spec.get("description") or "",
        kind=_kind(value, choices, spec.get("type")), scale=scale, value=value, default=spec.get("default"),
        minimum=_limit(spec.get("minimum"), scale), maximum=_limit(spec.get("maximum"), scale), choices=choices,
        is_open=name == "strategy",
    )  # fmt: skip


def _kind(value: Any, choices: tuple[str, ...], declared: str | None) -> str:
    if isinstance(value, bool):
        return "switch"
    if isinstance(value, dict):
        return "pairs"
    if choices:
        return "choice"
    if isinstance(value, int) and declared != "number":  # JSON may have turned 3.0 into 3
        return "count"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, (list, tuple)):
        return "words" if all(isinstance(item, str) for item in value) else "numbers"
    return "text"


def _limit(value: float | None, scale: float) -> float | None:
    return None if value is None else round(float(value) * scale, 10)


def _plain(value: Any) -> Any:
    # Over JSON a tuple becomes a list and 4.0 may become 4: the same setting.
    return list(value) if isinstance(value, (list, tuple)) else value
