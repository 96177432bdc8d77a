"""Figures of forecasts as daily sums, so that means, intervals and comparisons all come from the same few numbers.

A tally is a pair (sums, counts), each (D, H): the figure is the ratio of their totals. Symbols of a day fall together,
because they move together; intervals redraw blocks of days, because days follow each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.domain import F8, I8, NS_PER_DAY
from models.ensemble import daily_sums, gains_of
from models.forecast import MEDIAN, Prediction
from models.scoring import INTERVALS, inside, log_loss, pinball_loss

Tally = tuple[F8, F8]

COVERAGES = (0.2, 0.1)
"""Shares of the bars on which a model is asked to be confident."""

CONFIDENCE_DAYS = 30
"""What counts as confident is known from this many days before."""

BLOCK_DAYS = 7
DRAWS = 500
EDGES = np.array([0.0, 0.4, 0.44, 0.46, 0.48, 0.49, 0.5, 0.51, 0.52, 0.54, 0.56, 0.6, 1.0])
"""Bins of the reliability table."""


class Interval(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


def day_index(ts_close: I8) -> I8:
    """Return the number of the UTC day of each bar (T,), counted from the first."""
    day = ts_close // NS_PER_DAY
    return day - day[0] if len(day) else day


def thresholds(prob_up: np.ndarray, day: I8) -> F8:
    """Return for each day what |p - 1/2| must reach to be among the most confident, (D, H, len(COVERAGES)).

    Taken from the forecasts of the ``CONFIDENCE_DAYS`` before that day alone, over all symbols; NaN on the first days.
    """
    lean = np.abs(prob_up - 0.5)
    n_days = int(day[-1]) + 1
    starts = np.searchsorted(day, np.arange(n_days + 1))
    out = np.full((n_days, prob_up.shape[2], len(COVERAGES)), np.nan)
    levels = 1.0 - np.array(COVERAGES)
    for d in range(CONFIDENCE_DAYS, n_days):
        past = lean[starts[d - CONFIDENCE_DAYS] : starts[d]].reshape(-1, prob_up.shape[2])
        past = past[np.isfinite(past).all(axis=1)]
        if len(past) >= 50:
            out[d] = np.quantile(np.ascontiguousarray(past.T), levels, axis=1).T
    return out


def tallies(said: Prediction, issued: np.ndarray, base: Prediction, target: F8, day: I8) -> dict[str, Tally]:
    """Return every daily tally of one forecaster.

    Parameters
    ----------
    said : Prediction
        As the forecaster gave it, (T, N, H, Q) and (T, N, H).
    issued : (T, N, H, Q)
        Its quantiles after adaptive intervals.
    base : Prediction
        The base rate's forecast of the same bars.
    target : (T, N, H)
    day : (T,)

    Returns
    -------
    dict
        ``accuracy``; ``accuracy_at_20`` and ``share_at_20`` (of the bars chosen as confident) and the same at 10;
        ``log_loss``, ``log_loss_gain``, ``pinball_loss``, ``pinball_gain`` (gains: the base rate's minus ours);
        ``inside_80`` and ``issued_80`` and so on; ``ic``; ``skill``.
    """
    known = np.isfinite(said.prob_up) & np.isfinite(target)
    right = np.where(known, ((said.prob_up > 0.5) == (target > 0.0)).astype(np.float64), np.nan)
    found = {"accuracy": right}
    needed = thresholds(said.prob_up, day)
    for k, coverage in enumerate(COVERAGES):
        least = needed[day, :, k][:, None, :]
        judged = known & np.isfinite(least)
        chosen = judged & (np.abs(said.prob_up - 0.5) >= least) & (least > 0.0)
        found[f"accuracy_at_{100 * coverage:.0f}"] = np.where(chosen, right, np.nan)
        found[f"share_at_{100 * coverage:.0f}"] = np.where(judged, chosen.astype(np.float64), np.nan)
    ours, plain = log_loss(said.prob_up, target), log_loss(base.prob_up, target)
    found["log_loss"], found["log_loss_gain"] = ours, plain - ours
    ours, plain = pinball_loss(said.quantile, target), pinball_loss(base.quantile, target)
    found["pinball_loss"], found["pinball_gain"] = ours, plain - ours
    for name, quantile in (("inside", said.quantile), ("issued", issued)):
        within = inside(quantile, target)
        found |= {f"{name}_{100 * level:.0f}": within[..., k] for k, level in enumerate(INTERVALS)}
    found["ic"] = rank_products(said.quantile[..., MEDIAN], target)
    found["skill"] = gains_of(found["log_loss_gain"], found["pinball_gain"], plain)
    return {name: daily_sums(values, day) for name, values in found.items()}


def rank_products(median: np.ndarray, target: F8) -> F8:
    """Return products (T, N, H) of the standardised ranks of median and target, over all bars and symbols.

    Their mean is Spearman's rank correlation, the information coefficient. NaN where either is unknown, and everywhere
    for a horizon whose medians are all the same.
    """
    out = np.full(target.shape, np.nan)
    for h in range(target.shape[2]):
        known = np.isfinite(median[..., h]) & np.isfinite(target[..., h])
        if known.sum() < 3:
            continue
        one, other = _standard_ranks(median[..., h][known]), _standard_ranks(target[..., h][known])
        if one is not None and other is not None:
            out[..., h][known] = one * other
    return out


def _standard_ranks(values: np.ndarray) -> F8 | None:
    """Return ranks with mean 0 and standard deviation 1, equal for equal values; None if all are equal."""
    _, at, count = np.unique(values, return_inverse=True, return_counts=True)
    if len(count) < 2:
        return None
    rank = (np.cumsum(count) - 0.5 * (count - 1.0))[at]
    centred = rank - rank.mean()
    return np.asarray(centred / centred.std())


def mean_tally(per_seed: list[Tally]) -> Tally:
    """Return the mean of the tallies of several seeds: the figure of a typical seed."""
    sums, counts = zip(*per_seed, strict=True)
    return np.mean(sums, axis=0), np.mean(counts, axis=0)


def ratio(tally: Tally) -> F8:
    """Return the figure (H,); NaN without a single count."""
    sums, counts = tally[0].sum(axis=0), tally[1].sum(axis=0)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def drawn_days(n_days: int, seed: int = 0, block_days: int = BLOCK_DAYS, draws: int = DRAWS) -> F8:
    """Return how often each day comes in each redrawn history, (draws, D): circular blocks of consecutive days.

    Source: Kunsch (1989), Politis & Romano (1992) for the circular blocks.
    """
    rng = np.random.default_rng(seed)
    n_blocks = -(-n_days // block_days)
    starts = rng.integers(0, n_days, size=(draws, n_blocks))
    days = (starts[:, :, None] + np.arange(block_days)) % n_days
    drawn = np.zeros((draws, n_days))
    for row, chosen in zip(drawn, days.reshape(draws, -1)[:, :n_days], strict=True):
        row += np.bincount(chosen, minlength=n_days)
    return drawn


def intervals(tally: Tally, drawn: F8) -> list[Interval]:
    """Return each horizon's figure with its 95 % interval over the redrawn histories."""
    sums, counts = drawn @ tally[0], drawn @ tally[1]
    redrawn = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    out = []
    for h, value in enumerate(ratio(tally)):
        column = redrawn[:, h][np.isfinite(redrawn[:, h])]
        low, high = np.percentile(column, [2.5, 97.5]) if len(column) else (np.nan, np.nan)
        out.append(Interval(float(value), float(low), float(high)))
    return out


def reliability(prob_up: np.ndarray, target: F8) -> list[list[dict[str, float]]]:
    """Return for each horizon and bin of stated probability its mean, the share of rises that came, and the count."""
    rows = []
    for h in range(target.shape[2]):
        known = np.isfinite(prob_up[..., h]) & np.isfinite(target[..., h])
        prob, up = prob_up[..., h][known].astype(np.float64), target[..., h][known] > 0.0
        at = np.clip(np.searchsorted(EDGES, prob, side="right") - 1, 0, len(EDGES) - 2)
        count = np.bincount(at, minlength=len(EDGES) - 1)
        said = np.bincount(at, weights=prob, minlength=len(EDGES) - 1)
        came = np.bincount(at, weights=up, minlength=len(EDGES) - 1)
        rows.append([
            {"stated": float(said[b] / count[b]), "came": float(came[b] / count[b]), "count": int(count[b])}
            for b in np.flatnonzero(count)
        ])  # fmt: skip
    return rows
