"""Adaptive conformal intervals: widths that follow how often outcomes fell outside, so that 80 % means 80 %.

Each central interval is median ± factor * (bound - median). The factor is moved after every outcome that has become
known, log factor += rate * (missed - alpha), where alpha is the share that should miss. That is the quantile tracker of
conformal PID control (Angelopoulos, Candes & Tibshirani, 2023), of the same family as adaptive conformal inference
(Gibbs & Candes, 2021): for any sequence, drifting or hostile, the share of misses differs from alpha by at most
(range of the log factor + rate) / (rate * outcomes). Nothing that is not known yet is used.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.core.compiling import entry_kernel
from engine.domain import F8, I8
from models.forecast import HORIZONS, MEDIAN, QUANTILE_LEVELS
from models.scoring import INTERVALS

N_LEVELS = len(INTERVALS)
LEVELS = np.array(sorted(INTERVALS, reverse=True))
"""Stated coverage, widest first: level k is the pair of quantiles k and Q - 1 - k."""

RATE = 0.02
"""Step of the log factor: after a month of hourly misses that are twice too many, an interval is some 4 times wider."""

MAX_LOG_FACTOR = 2.0
"""A factor stays within exp(-2) and exp(2), so that one broken stretch is forgotten in bounded time."""


class Tracker(NamedTuple):
    """What adaptive intervals remember. Plain arrays, so that they can be kept anywhere."""

    log_factor: F8  # (N, H, L)
    hits: F8  # (N, H, L) outcomes inside the intervals as they were issued
    outcomes: F8  # (N, H)

    @classmethod
    def fresh(cls, n_symbols: int, n_horizons: int = len(HORIZONS)) -> Tracker:
        """Return a tracker that has seen nothing and leaves intervals as they are."""
        shape = (n_symbols, n_horizons, N_LEVELS)
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape[:2]))

    @property
    def coverage(self) -> F8:
        """Share of outcomes inside each interval as issued, (N, H, L) in the order of ``LEVELS``; NaN before any."""
        count = self.outcomes[..., None]
        return np.divide(self.hits, count, out=np.full(self.hits.shape, np.nan), where=count > 0)


def widened(tracker: Tracker, quantile: np.ndarray) -> F8:
    """Return one bar's quantiles (N, H, Q) with the widths that the past outcomes call for; medians stay.

    Known at: when the forecast is. NaN stays NaN. A wider interval is never inside a narrower one.
    """
    out = np.array(quantile, dtype=np.float64)
    median = out[..., MEDIAN : MEDIAN + 1].copy()
    factor = np.exp(tracker.log_factor)
    low = median + factor * (out[..., :MEDIAN] - median)
    high = median + factor * (out[..., :MEDIAN:-1] - median)  # widest first, as the factors are
    out[..., :MEDIAN] = np.minimum.accumulate(low[..., ::-1], axis=-1)[..., ::-1]
    out[..., MEDIAN + 1 :] = np.maximum.accumulate(high[..., ::-1], axis=-1)
    return out


def learn(tracker: Tracker, horizon_index: int, issued: np.ndarray, target: np.ndarray, rate: float = RATE) -> None:
    """Take in what came, in place.

    Parameters
    ----------
    tracker : Tracker
        Changed.
    horizon_index : int
        Into ``HORIZONS``.
    issued : (N, Q)
        The quantiles of that horizon as ``widened`` gave them, when they were issued.
    target : (N,)
        The log return since then over sigma * sqrt(horizon), sigma being the one known when they were issued. NaN:
        unknown, and nothing is learnt.
    rate : float
    """
    known = np.isfinite(target) & np.isfinite(issued).all(axis=-1)
    y = np.asarray(target)[:, None]
    hit = (issued[:, :MEDIAN] <= y) & (y <= issued[:, :MEDIAN:-1])
    tracker.outcomes[:, horizon_index] += known
    tracker.hits[:, horizon_index] += hit & known[:, None]
    step = np.where(known[:, None], rate * (LEVELS - hit), 0.0)
    moved = tracker.log_factor[:, horizon_index] + step
    tracker.log_factor[:, horizon_index] = np.clip(moved, -MAX_LOG_FACTOR, MAX_LOG_FACTOR)


@entry_kernel
def _scan(log_factor, hits, outcomes, quantile, target, n_known, level, rate, most, waiting, out):  # type: ignore[no-untyped-def]
    """The two functions above, bar after bar: learn what has become known, then issue."""
    n_bars, n_symbols, n_horizons, n_quantiles = quantile.shape
    for t in range(n_bars):
        for h in range(n_horizons):
            while waiting[h] < n_known[t, h]:
                s = waiting[h]
                waiting[h] = s + 1
                for i in range(n_symbols):
                    y = target[s, i, h]
                    if not (y == y and out[s, i, h, 0] == out[s, i, h, 0]):
                        continue
                    outcomes[i, h] += 1.0
                    for k in range(level.shape[0]):
                        hit = 1.0 if out[s, i, h, k] <= y and y <= out[s, i, h, n_quantiles - 1 - k] else 0.0
                        hits[i, h, k] += hit
                        moved = log_factor[i, h, k] + rate * (level[k] - hit)
                        log_factor[i, h, k] = most if moved > most else (-most if moved < -most else moved)
            for i in range(n_symbols):
                median = quantile[t, i, h, level.shape[0]]
                low, high = median, median
                out[t, i, h, level.shape[0]] = median
                for k in range(level.shape[0] - 1, -1, -1):  # from the narrowest outwards
                    factor = math.exp(log_factor[i, h, k])
                    one = median + factor * (quantile[t, i, h, k] - median)
                    other = median + factor * (quantile[t, i, h, n_quantiles - 1 - k] - median)
                    low = one if not one >= low else low
                    high = other if not other <= high else high
                    out[t, i, h, k] = low
                    out[t, i, h, n_quantiles - 1 - k] = high


def adapted(
    quantile: np.ndarray, target: F8, ts_close: I8, ts_known: I8, tracker: Tracker | None = None, rate: float = RATE
) -> tuple[F8, Tracker]:
    """Run adaptive intervals over a history, each bar with what was known at its close.

    Parameters
    ----------
    quantile : (T, N, H, Q)
        As the forecaster gave them.
    target : (T, N, H)
    ts_close : (T,) ns
    ts_known : (T, H) ns
        Rising along T.
    tracker : Tracker, optional
        Where to start from; changed. Default: fresh.
    rate : float

    Returns
    -------
    tuple of (T, N, H, Q) float64 and Tracker
        The quantiles as they would have been issued, and what is remembered after the last bar.
    """
    tracker = tracker or Tracker.fresh(quantile.shape[1], quantile.shape[2])
    quantile = np.ascontiguousarray(quantile, dtype=np.float64)
    n_known = np.stack([np.searchsorted(column, ts_close, side="right") for column in ts_known.T], axis=1)
    n_known = np.minimum(n_known, np.arange(len(ts_close))[:, None])  # a bar's own outcome is never known at its close
    out, waiting = np.empty_like(quantile), np.zeros(quantile.shape[2], dtype=np.int64)
    target = np.ascontiguousarray(target, dtype=np.float64)
    _scan(*tracker, quantile, target, n_known, LEVELS, rate, MAX_LOG_FACTOR, waiting, out)
    return out, tracker


if len(QUANTILE_LEVELS) != 2 * N_LEVELS + 1 or MEDIAN != N_LEVELS:
    raise ImportError("the intervals of models.scoring are not the pairs of QUANTILE_LEVELS")
