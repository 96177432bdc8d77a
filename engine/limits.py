"""The limits on the whole book as one record, so that compiled code takes one pointer instead of twenty numbers."""

from __future__ import annotations

import numpy as np

MAINTENANCE_RATE = 0.01
"""Maintenance margin that a perpetual needs, fraction of notional, where the venue has not said it: more than a first
bracket asks."""

_RISK_LIMITS: dict[str, tuple[type, float]] = {
    # ladder of the day: shares of ``Params.max_daily_loss``
    "throttle_share": (np.float64, 1.0),  # from here exposure shrinks, to nothing at ``flatten_share``
    "reduce_share": (np.float64, 0.5),  # from here exposure may not grow
    "flatten_share": (np.float64, 1.0),  # from here the book is flat until the next UTC day
    # drawdown
    "full_share": (np.float64, 1.0 / 3.0),  # share of ``Params.max_drawdown`` used before exposure shrinks
    # fractional Kelly
    "kelly_fraction": (np.float64, 0.0),  # of full Kelly; 0: off
    "kelly_prior_sharpe": (np.float64, 1.0),  # annual Sharpe ratio assumed before there is a record
    "kelly_prior_days": (np.float64, 365.0),  # how many periods of record that assumption counts for
    "kelly_memory_days": (np.float64, 730.0),  # memory of the record, periods
    # expected shortfall
    "horizon_bars": (np.int64, 0),  # bars in one period (a day) of CVaR and Kelly; 0: both are off
    "tail_method": (np.int64, 2),  # engine.core.tail.TailMethod
    "tail_level": (np.float64, 0.975),
    "max_cvar": (np.float64, np.inf),  # fraction of equity
    # gaps
    "gap": (np.float64, 0.0),  # adverse move of every position plus the stop's slippage; 0: off
    "slippage": (np.float64, 0.0),  # the part of it that is the stop's
    "basis_gap": (np.float64, np.inf),  # highest premium of a perpetual over its spot; infinite: pairs count in full
    # concentration, weights
    "max_cluster_weight": (np.float64, np.inf),
    "cluster_correlation": (np.float64, 0.7),  # from here two symbols belong together
    "max_net_weight": (np.float64, np.inf),
    # shocks: moves of the market, and of each symbol on its own
    "stress_fall": (np.float64, 0.0),
    "stress_rise": (np.float64, 0.0),
    "stress_own": (np.float64, 0.0),
    "max_stress_loss": (np.float64, np.inf),  # fraction of equity
    # the way out and the way in; the first holds for ema-cross, too
    "liquidation_gross": (np.float64, np.inf),  # gross weight from which liquidation is too near
    "max_participation": (np.float64, np.inf),  # of an hour's usual notional, added to one symbol within an hour
    "max_orders": (np.float64, np.inf),  # symbols acted on within a minute
}
RISK_LIMITS = np.dtype([(name, kind) for name, (kind, _) in _RISK_LIMITS.items()])
"""The record's fields."""


def risk_limits(**changes: float) -> np.ndarray:
    """Return limits on the whole book, (1,) RISK_LIMITS; what is not named is off.

    ema-cross keeps no covariance and ignores all but ``liquidation_gross``.

    Raises
    ------
    ValueError
        A name that is none.
    """
    limits = np.zeros(1, dtype=RISK_LIMITS)
    unknown = set(changes) - set(_RISK_LIMITS)
    if unknown:
        raise ValueError(f"{sorted(unknown)} are no risk limits; there are {', '.join(_RISK_LIMITS)}")
    for name, (_, usual) in _RISK_LIMITS.items():
        limits[name] = changes.get(name, usual)
    return limits
