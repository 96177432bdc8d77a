"""What the position rule would have earned in the shadow, after costs, on the forecasts of each of two sets."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.domain import F8, I8, NS_PER_DAY
from models.position import positions

COST_RATE = 0.0006
"""Fee and slippage of what is traded, fraction of notional, as agents practise with."""

VOLATILITY = 0.2
"""Each symbol's position at a wish of 1 has this volatility a year, at most its own part of the equity."""

HOURS_A_YEAR = 8_760.0
HOUR_NS = 3_600 * 10**9


class Said(NamedTuple):
    """Forecasts of one set, T hours of N symbols; NaN where there is none."""

    quantile: F8  # (T, N, H, Q)
    prob_up: F8  # (T, N, H)


class Shadow(NamedTuple):
    """Net results of both, as fractions of equity, and the difference with its doubt."""

    champion: float
    challenger: float
    error: float  # standard error of challenger minus champion, by days
    days: int


def shadow_results(ts_close: I8, close_px: F8, sigma: F8, champion: Said, challenger: Said) -> Shadow | None:
    """Return what both would have earned on the same bars.

    Parameters
    ----------
    ts_close : (T,) ns
        Hours that both have forecast; where one is missing nothing is earned over the gap.
    close_px, sigma : (T, N)
        Closes, and the volatility of an hour's log return that was known at each.
    champion, challenger : Said

    Returns
    -------
    Shadow or None
        None with fewer than two days of results.

    Notes
    -----
    position_i = wish_i min(1, VOLATILITY / (sigma_i sqrt(8760))) / N, held over the next hour; the change of it costs
    ``COST_RATE``. Neither the gate nor funding counts here, for both alike. Results of a day are one observation.
    """
    follows = np.diff(ts_close) == HOUR_NS
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = close_px[1:] / close_px[:-1] - 1.0
    moved = np.where(np.isfinite(moved) & follows[:, None], moved, 0.0)
    size = np.minimum(1.0, VOLATILITY / (sigma * math.sqrt(HOURS_A_YEAR))) / close_px.shape[1]
    earned = [_net(one, size, moved) for one in (champion, challenger)]
    day, at = np.unique(ts_close[1:] // NS_PER_DAY, return_inverse=True)
    if len(day) < 2:
        return None
    difference = np.bincount(at, earned[1] - earned[0])
    error = float(difference.std(ddof=1) * math.sqrt(len(day)))
    return Shadow(float(earned[0].sum()), float(earned[1].sum()), error, len(day))


def _net(said: Said, size: F8, moved: F8) -> F8:
    """Return the net results (T - 1,) of the hours after each close but the last."""
    held = np.nan_to_num(positions(said.quantile, said.prob_up) * size)[:-1]
    traded = np.abs(np.diff(held, axis=0, prepend=np.zeros((1, held.shape[1]))))
    return np.asarray((held * moved - COST_RATE * traded).sum(axis=1))
