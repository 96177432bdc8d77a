"""What forecasts were worth beyond the return they are of: how far prices moved, and which barrier came first.

Both are judged over the longest horizon, as daily tallies of one column; see ``models.tallies``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.domain import F8, I8
from models.ensemble import daily_sums
from models.forecast import HORIZONS, Panel, Prediction
from models.labels import realized_volatility, triple_barrier
from models.position import HIGH, LOW
from models.tallies import Tally, rank_products, thresholds

HORIZON = HORIZONS[-1]
NORMAL_WIDTH = 2.0 * 1.2815515655446004
"""Width of a normal distribution's 80 % interval in standard deviations."""

SCALE_DAYS, FEWEST_SCALE_DAYS = 90, 30
"""Days before a forecast from which the scale of a variance is taken, and without which it is not judged."""


class Outcomes(NamedTuple):
    """What came of T bars of N symbols; NaN where it is not known within them."""

    variance: F8  # (T, N) mean square of the next ``HORIZON`` one-bar log returns
    barrier: F8  # (T, N) 1 the upper came first, -1 the lower, 0 neither within ``HORIZON`` bars


def outcomes_of(panel: Panel, sigma: F8) -> Outcomes:
    """Return the labels of a panel's bars; barriers lie one ``sigma`` * sqrt(horizon) away on both sides."""
    variance = np.square(realized_volatility(panel, HORIZON).values)
    return Outcomes(variance, triple_barrier(panel, sigma, HORIZON).values)


def implied_variance(quantile: np.ndarray, sigma: F8) -> F8:
    """Return the variance of one bar's log return that a forecast's width implies, (T, N).

    (sigma * (q90 - q10) / 2.56)^2 of the longest horizon, whose quantiles are in units of sigma * sqrt(horizon): the
    variance of a normal distribution as wide.
    """
    width = (quantile[..., -1, HIGH] - quantile[..., -1, LOW]).astype(np.float64)
    return np.square(sigma * width / NORMAL_WIDTH)


def scale_before(ratio: F8, day: I8) -> F8:
    """Return for each day what to multiply a variance by, (D,): the mean of outcome over forecast on days before.

    Parameters
    ----------
    ratio : (T, N)
        Outcome over forecast, NaN where unknown.
    day : (T,)
        Day of each bar, from 0.

    Returns
    -------
    (D,) float64
        Over the ``SCALE_DAYS`` whose outcomes, which come a day later, are known when the day begins; NaN before
        there are ``FEWEST_SCALE_DAYS``. It is the factor with the least ``quasi_likelihood`` there.
    """
    sums, counts = (column[:, 0] for column in daily_sums(ratio[..., None], day))
    total, count = (np.concatenate([[0.0], np.cumsum(column)]) for column in (sums, counts))
    last = np.maximum(np.arange(len(sums)) - 1, 0)
    first = np.maximum(last - SCALE_DAYS, 0)
    known = (last >= FEWEST_SCALE_DAYS) & (count[last] > count[first])
    summed, counted = total[last] - total[first], count[last] - count[first]
    return np.divide(summed, counted, out=np.full(len(sums), np.nan), where=known)


def quasi_likelihood(variance: F8, forecast: F8) -> F8:
    """Return the loss of a forecast of a variance, elementwise: v - ln v - 1 with v = variance / forecast; >= 0.

    It ranks forecasts rightly although the variance that came is itself a noisy measure of the one that was to be
    forecast. NaN where either is unknown or not above zero.

    Notes
    -----
    Source: Patton (2011), *Volatility Forecast Comparison Using Imperfect Volatility Proxies*.

    Examples
    --------
    >>> quasi_likelihood(np.array([1.0, 2.0, 0.0]), np.array([1.0, 1.0, 1.0])).round(3).tolist()
    [0.0, 0.307, nan]
    """
    known = (variance > 0.0) & (forecast > 0.0)
    v = np.divide(variance, forecast, out=np.ones(variance.shape), where=known)
    return np.where(known, v - np.log(v) - 1.0, np.nan)


def outcome_tallies(said: Prediction, base: Prediction, found: Outcomes, sigma: F8, day: I8) -> dict[str, Tally]:
    """Return the daily tallies of one forecaster, each of one column.

    Parameters
    ----------
    said, base : Prediction
        Its forecasts and the base rate's of the same bars, (T, N, H, Q) and (T, N, H).
    found : Outcomes
    sigma : (T, N) float64
        EWMA standard deviation of one bar's log return, known at the bar: the forecast of a variance to beat.
    day : (T,)

    Returns
    -------
    dict
        ``volatility_loss`` and ``volatility_gain`` (the EWMA's loss minus its own), both variances scaled by
        ``scale_before``, so that neither units nor tails are judged but what moves; ``volatility_ic``, rank
        correlation with the variance that came; ``volatility_ratio`` of the volatility that came to the implied one,
        not scaled. Of the calls that are among the most confident fifth: ``barrier_decided``, the share in which a
        barrier came in time; ``barrier_right``, of these, the share in which it was the called one; ``barrier_gain``,
        that minus the base rate's on the same bars.
    """
    ours = implied_variance(said.quantile, sigma)
    columns = _volatility(found.variance, ours, np.square(sigma), day) | _barriers(said, base, found.barrier, day)
    return {name: daily_sums(values[..., None], day) for name, values in columns.items()}


def _volatility(variance: F8, ours: F8, plain: F8, day: I8) -> dict[str, F8]:
    raw, losses = [], []
    for forecast in (ours, plain):
        known = (forecast > 0.0) & np.isfinite(variance)
        raw.append(np.divide(variance, forecast, out=np.full(variance.shape, np.nan), where=known))
        losses.append(quasi_likelihood(variance, forecast * scale_before(raw[-1], day)[day][:, None]))
    return {
        "volatility_loss": losses[0], "volatility_gain": losses[1] - losses[0], "volatility_ratio": np.sqrt(raw[0]),
        "volatility_ic": rank_products(ours[..., None], variance[..., None])[..., 0],
    }  # fmt: skip


def _barriers(said: Prediction, base: Prediction, barrier: F8, day: I8) -> dict[str, F8]:
    prob = said.prob_up[..., -1:]
    least = thresholds(prob, day)[day, 0, 0][:, None]
    lean = np.abs(prob[..., 0] - 0.5)
    chosen = (lean >= least) & (least > 0.0) & np.isfinite(barrier)
    decided = chosen & (barrier != 0.0)
    ours, plain = (((one.prob_up[..., -1] > 0.5) == (barrier > 0.0)).astype(np.float64) for one in (said, base))
    return {
        "barrier_decided": np.where(chosen, decided.astype(np.float64), np.nan),
        "barrier_right": np.where(decided, ours, np.nan), "barrier_gain": np.where(decided, ours - plain, np.nan),
    }  # fmt: skip
