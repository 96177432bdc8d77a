"""How forecasts of the models in force fared, with their doubt: outcomes of one day go together, so days are counted.

A day's outcomes overlap and its symbols move together: ten symbols and six horizons give 1,440 outcomes a day, which
are far from 1,440 observations.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8, I8, NS_PER_DAY
from engine.runtime.model_scores import BAR_NS, ENSEMBLE, INTERVAL, OUTCOMES, SIDES
from storage.database import Database

RECORD_DAYS = 90
"""How far back the record goes, from the newest forecast."""

WINDOW_DAYS = 14
"""Days in a point of the coverage chart."""

FEWEST_OUTCOMES = 30  # in a point
FEWEST_DAYS = 10
"""With fewer days nobody can say how alike the outcomes of a day are, so that each day counts as one observation."""

STEPS = 40  # of the stated probability, from 0 to 1
Z_95 = 1.959964


class DayScores(NamedTuple):
    """Sums over the outcomes of a day, K rows: one a horizon, a step of the stated probability and a day."""

    horizon: I8  # (K,) bars
    step: I8  # (K,) of ``STEPS``
    day: I8  # (K,) since 1970
    ts: I8  # (K,) ns, newest close that was forecast at
    outcomes: F8  # (K,)
    stated: F8  # (K,) sum of stated probabilities
    rises: F8  # (K,)
    right: F8  # (K,) outcomes on the side that the probability named
    inside: F8  # (K, L) outcomes inside the intervals of ``SIDES``
    judged: F8  # (K, L) outcomes of forecasts that kept the interval


def day_scores(store: Database) -> DayScores:
    """Return how the ensemble's forecasts fared in the newest ``RECORD_DAYS`` days, all symbols, by days."""
    held = ", ".join(
        f"count(CASE WHEN outcome BETWEEN {low} AND {high} THEN 1 END) AS inside_{k}, "
        f"count(CASE WHEN {low} IS NOT NULL AND {high} IS NOT NULL THEN 1 END) AS judged_{k}"
        for k, (low, high) in enumerate(SIDES.values())
    )
    table = store.read(
        f"WITH o AS ({OUTCOMES} AND f.model = '{ENSEMBLE}' AND f.role = 'champion' AND f.ts_close > "
        f"(SELECT max(ts_close) FROM forecasts) - ?) SELECT horizon, CAST(round(prob_up * {STEPS}) AS BIGINT) AS step, "
        f"ts_close // {NS_PER_DAY} AS day, max(ts_close) AS ts, count(*) AS outcomes, sum(prob_up) AS stated, "
        "count(CASE WHEN outcome > 0 THEN 1 END) AS rises, "
        f"count(CASE WHEN (prob_up > 0.5) = (outcome > 0) THEN 1 END) AS right, {held} FROM o GROUP BY 1, 2, 3",
        [INTERVAL, BAR_NS, RECORD_DAYS * NS_PER_DAY],
    )
    column = {name: table.column(name).to_numpy() for name in table.column_names}
    whole: dict[str, Any] = {name: column[name].astype(np.int64) for name in ("horizon", "step", "day", "ts")}
    sums: dict[str, Any] = {name: column[name].astype(np.float64) for name in ("outcomes", "stated", "rises", "right")}
    levels: dict[str, Any] = {
        name: np.column_stack([column[f"{name}_{k}"] for k in range(len(SIDES))]).astype(np.float64)
        for name in ("inside", "judged")
    }
    return DayScores(**whole, **sums, **levels)


def share_by_days(day: I8, hits: F8, count: F8) -> dict[str, Any] | None:
    """Return a share of outcomes with its 95 % interval; None of nothing.

    Parameters
    ----------
    day, hits, count : array (K,)
        A day may have several rows.

    Returns
    -------
    dict or None
        ``share``, ``low``, ``high``, ``outcomes`` and ``days``.

    Notes
    -----
    Wilson's (1927) interval of as many observations as the days are worth: share (1 - share) / error^2, where the error
    is that of a ratio of sums over days (Cochran, 1977, section 6.3), widened by sqrt(2), because a day's forecasts and
    the next day's share outcomes at the longest horizon. With fewer than ``FEWEST_DAYS`` days, or where all outcomes
    are alike, a day is one observation.

    Examples
    --------
    >>> alike = share_by_days(np.arange(20), np.tile([10.0, 0.0], 10), np.full(20, 10.0))  # days are all or nothing
    >>> [round(alike[name], 2) for name in ("share", "low", "high")], alike["outcomes"]
    ([0.5, 0.24, 0.76], 200)
    """
    days, at = np.unique(day, return_inverse=True)
    hit, n = np.bincount(at, hits, len(days)), np.bincount(at, count, len(days))
    hit, n = hit[n > 0.0], n[n > 0.0]
    if len(n) == 0:
        return None
    total, n_days = float(n.sum()), len(n)
    share = float(hit.sum()) / total
    worth = float(n_days)
    if n_days >= FEWEST_DAYS and 0.0 < share < 1.0:
        error2 = 2.0 * n_days / (n_days - 1) * float(np.square(hit - share * n).sum()) / total**2
        worth = min(max(share * (1.0 - share) / error2, 1.0), total) if error2 > 0.0 else worth
    low, high = _wilson(share, worth)
    return {"share": share, "low": low, "high": high, "outcomes": int(total), "days": n_days}


def _wilson(share: float, n: float) -> tuple[float, float]:
    square = Z_95 * Z_95 / n
    half = Z_95 * math.sqrt(share * (1.0 - share) / n + square / (4.0 * n))
    low, high = ((share + square / 2.0 + side * half) / (1.0 + square) for side in (-1.0, 1.0))
    return max(low, 0.0), min(high, 1.0)


def fared(found: DayScores, horizon: int) -> dict[str, Any]:
    """Return ``covered``, the share of 80 % intervals that held, and ``direction``, that of forecasts that were right.

    Both as ``share_by_days`` gives them.
    """
    at, level = found.horizon == horizon, list(SIDES).index(0.8)
    return {
        "covered": share_by_days(found.day[at], found.inside[at, level], found.judged[at, level]),
        "direction": share_by_days(found.day[at], found.right[at], found.outcomes[at]),
    }


def reliability(found: DayScores, horizons: list[int]) -> list[list[dict[str, Any]]]:
    """Return for each horizon rows of ``stated, came, low, high, count, days``, in steps of 2.5 points stated."""
    bins: list[list[dict[str, Any]]] = []
    for horizon in horizons:
        rows = []
        for step in np.unique(found.step[found.horizon == horizon]):
            at = (found.horizon == horizon) & (found.step == step)
            came = share_by_days(found.day[at], found.rises[at], found.outcomes[at])
            if came is not None:
                rows.append({
                    "stated": float(found.stated[at].sum() / found.outcomes[at].sum()), "came": came["share"],
                    "low": came["low"], "high": came["high"], "count": came["outcomes"], "days": came["days"],
                })  # fmt: skip
        bins.append(rows)
    return bins


def coverage(found: DayScores) -> dict[str, Any]:
    """Return how often intervals held, all horizons together: a point a day, over the ``WINDOW_DAYS`` days up to it.

    ``levels`` [L], widest first, and ``points``, rows of [moment in ms, held, ...]: one ``[share, low, high]`` a level,
    None where forecasts of that time did not keep the interval.
    """
    points: list[list[Any]] = []
    for day in np.unique(found.day):
        at = (found.day <= day) & (found.day > day - WINDOW_DAYS)
        if found.outcomes[at].sum() < FEWEST_OUTCOMES:
            continue
        held = [share_by_days(found.day[at], found.inside[at, k], found.judged[at, k]) for k in range(len(SIDES))]
        newest = int(found.ts[found.day == day].max()) // 1_000_000
        points.append([newest, *(one and [one["share"], one["low"], one["high"]] for one in held)])
    return {"levels": list(SIDES), "points": points}
