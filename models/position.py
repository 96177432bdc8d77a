"""From forecasts to a wish: the one position rule, used by the evaluation and by the engine alike."""

from __future__ import annotations

import numpy as np

from engine.domain import F8
from models.forecast import HORIZONS, MEDIAN, QUANTILE_LEVELS

LOW, HIGH = QUANTILE_LEVELS.index(0.1), QUANTILE_LEVELS.index(0.9)
"""The ends of the 80 % interval."""

GAIN = 10.0
"""A median of a tenth of the half-width is a wish of tanh(1) = 0.76: forecasts of returns are rarely larger."""

THRESHOLD = 0.01
"""A probability nearer to 1/2 than this has no direction."""

RATES = 2.0 / (np.array(HORIZONS, dtype=np.float64) + 1.0)
"""By how much of the way a horizon's trail moves to its newest wish, a bar."""


def position_by_horizon(quantile: np.ndarray, prob_up: np.ndarray, threshold: float = THRESHOLD) -> F8:
    """Return the wish of each horizon: its direction where the probability has one, its size from the interval.

    wish = sign(p - 1/2) * tanh(GAIN * |median| / half_width), half_width = (q90 - q10) / 2

    Parameters
    ----------
    quantile : (..., H, Q), in units of sigma * sqrt(horizon)
        Rising along Q, at ``QUANTILE_LEVELS``.
    prob_up : (..., H), in [0, 1]
    threshold : float
        Distance of the probability from 1/2 below which there is no direction.

    Returns
    -------
    (..., H) float64 in (-1, 1)
        0 without a direction, and where median and probability point to different sides. NaN where the forecast is.

    Notes
    -----
    Known at: when the forecast is. A wider interval gives a smaller wish; an interval without width gives none, since
    nothing is that certain. Positions in proportion to expected return over risk: Kelly (1956), Thorp (2006); tanh
    bounds them as it does those of the trend sleeve.

    Examples
    --------
    Half-width 1, median 0.1, probability 0.54:

    >>> q = np.array([-1.6, -1.3, -0.9, -0.4, 0.1, 0.6, 1.1, 1.5, 1.8])
    >>> float(position_by_horizon(q[None, :], np.array([0.54]))[0].round(4))
    0.7616
    """
    quantile, prob_up = np.asarray(quantile, dtype=np.float64), np.asarray(prob_up, dtype=np.float64)
    median = quantile[..., MEDIAN]
    half_width = 0.5 * (quantile[..., HIGH] - quantile[..., LOW])
    lean = prob_up - 0.5
    known = np.isfinite(median) & np.isfinite(half_width) & np.isfinite(lean)
    agree = known & (half_width > 0.0) & (np.abs(lean) >= threshold) & (median * lean > 0.0)
    per_width = np.divide(np.abs(median), half_width, out=np.zeros(median.shape), where=agree)
    return np.where(known, np.sign(lean) * np.tanh(GAIN * per_width), np.nan)


def joined(wish: F8) -> F8:
    """Return the mean of the known horizons' wishes (..., H), weighed by their length: sum h * wish_h / sum h.

    Acting on a horizon costs a trade about once in its length, so what a bar of it costs falls with its length: that,
    and nothing fitted, weighs the horizons. NaN where none is known.
    """
    weight = np.where(np.isfinite(wish), np.array(HORIZONS[: wish.shape[-1]], dtype=np.float64), 0.0)
    total = np.where(weight > 0.0, wish * weight, 0.0).sum(axis=-1)
    known = weight.sum(axis=-1)
    return np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0.0)


def position_from(quantile: np.ndarray, prob_up: np.ndarray, threshold: float = THRESHOLD) -> F8:
    """Return what one forecast alone wishes for each symbol, (...,) in (-1, 1): the first bar of ``position_after``."""
    return joined(position_by_horizon(quantile, prob_up, threshold))


def no_position(n_symbols: int) -> F8:
    """Return the memory of the rule before any forecast, (N, H)."""
    return np.full((n_symbols, len(HORIZONS)), np.nan)


def position_after(trail: F8, quantile: np.ndarray, prob_up: np.ndarray, threshold: float = THRESHOLD) -> tuple[F8, F8]:
    """Take one bar's forecasts; return the rule's new memory and one wish a symbol.

    A forecast over h bars stands for h bars, so the wish of a horizon is the mean of what its last forecasts wished:
    trail_h moves towards the newest wish by 2 / (h + 1).

    Parameters
    ----------
    trail : (N, H)
        From ``no_position`` or the bar before; not changed.
    quantile : (N, H, Q), in units of sigma * sqrt(horizon)
        Of the horizons ``HORIZONS``.
    prob_up : (N, H)
    threshold : float

    Returns
    -------
    tuple of (N, H) and (N,)
        The wish is signed conviction in (-1, 1): it takes the place of a sleeve's raw weight, before volatility sizing
        and the risk gate. A horizon without a forecast keeps its trail, because unknown is not zero; NaN where no
        horizon was ever known.

    Notes
    -----
    Overlapping holdings as in Jegadeesh & Titman (1993): each bar renews one part of h, which is what a forecast over h
    bars can pay for.
    """
    trail = _moved(trail, position_by_horizon(quantile, prob_up, threshold))
    return trail, joined(trail)


def positions(quantile: np.ndarray, prob_up: np.ndarray, threshold: float = THRESHOLD) -> F8:
    """Return the wishes (T, N) of the rule over consecutive bars (T, N, H, Q) and (T, N, H), starting from nothing."""
    wish, trail = position_by_horizon(quantile, prob_up, threshold), no_position(quantile.shape[1])
    trails = np.empty(wish.shape)
    for t in range(len(wish)):
        trails[t] = trail = _moved(trail, wish[t])
    return joined(trails)


def _moved(trail: F8, wish: F8) -> F8:
    moved = np.where(np.isnan(trail), wish, trail + RATES * (wish - trail))
    return np.where(np.isnan(wish), trail, moved)
