"""What models count in decisions now, and why: for the page and for the status. Reads nothing but memory."""

from __future__ import annotations

from typing import Any

from engine.domain import NS_PER_DAY
from engine.runtime.model_host import ModelHost
from engine.settings import SystemConfig
from engine.strategies import portfolio

TREND = "trend"


def is_sleeve(config: SystemConfig) -> bool:
    """Whether models are one sleeve of a portfolio, and not beside the trend rule."""
    if config.strategy != portfolio.NAME:
        return False
    return "models" in portfolio.PortfolioParams(**config.strategy_params).sleeves


def share_now(host: ModelHost, config: SystemConfig) -> float:
    """Return what models count, in [0, 1]: what they earned, as far as the settings allow it.

    Beside the trend rule that is their share of a decision, in a portfolio what their sleeve takes of their wishes.
    """
    takes_part = config.use_models and (config.strategy == TREND or is_sleeve(config))
    return min(_earned(host), config.max_model_share) if takes_part else 0.0


def why_now(host: ModelHost, config: SystemConfig, told: str) -> str:
    """Return why they count that: ``told`` is what their evidence says, where nothing else stands in the way."""
    if not host.is_trained:
        return told
    if not config.use_models:
        return "The setting that lets models take part is off."
    if config.strategy == portfolio.NAME and not is_sleeve(config):
        return "Models are not among the portfolio's sleeves."
    if config.strategy not in (TREND, portfolio.NAME):
        return f"Models take part beside the trend rule and in the portfolio only; the strategy is {config.strategy}."
    if host.latest is None:
        return host.trouble or "The models have not answered yet."
    if is_sleeve(config):
        told += " In the portfolio that is what their sleeve takes of their wishes; the Portfolio page has its weight."
    if (earned := _earned(host)) > config.max_model_share:
        return f"{told} The setting holds them to {config.max_model_share:.0%}; they earned {earned:.0%}."
    return told


def _earned(host: ModelHost) -> float:
    return float((host.latest or {}).get("share") or 0.0)


def model_status(host: ModelHost | None, config: SystemConfig, now: int) -> dict[str, Any] | None:
    """Return the models' part of the status; None for an engine that has none.

    Parameters
    ----------
    host : ModelHost or None
    config : SystemConfig
    now : int, ns

    Returns
    -------
    dict or None
        ``set`` in use (its version, None while none is), ``age_days``, ``expires_in_days`` (below zero once it has),
        members ``on``, ``left_out`` with the reason of each, ``share`` and ``why``, and the ``challenger`` or None.
    """
    if host is None:
        return None
    loaded, latest = host.loaded, host.latest
    nothing: dict[str, Any] = {
        "set": None, "age_days": None, "expires_in_days": None, "on": [], "left_out": {}, "share": 0.0,
        "challenger": None,
    }  # fmt: skip
    if loaded is None:
        return nothing | {"why": why_now(host, config, host.trouble or "The models have not answered yet.")}
    left_out = dict((latest or loaded).get("left_out") or {})
    told = f"Forecasters: {loaded['why_share']}."
    if latest is not None and latest.get("agents_share"):
        told += f" Agents: {latest['agents_share']:.0%} by what they earned."
    return {
        "set": loaded["version"], "age_days": (now - loaded["ts_trained"]) / NS_PER_DAY,
        "expires_in_days": (loaded["ts_expires"] - now) / NS_PER_DAY,
        "on": [name for name in loaded["members"] if name not in left_out] if latest is not None else [],
        "left_out": left_out, "share": share_now(host, config), "why": why_now(host, config, told),
        "challenger": loaded["challenger"],
    }  # fmt: skip
