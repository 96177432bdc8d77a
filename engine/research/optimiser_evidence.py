"""Optimisers compared by walk-forward: chosen on the past, traded on what follows, costs paid.

``compare`` returns plain JSON types: ``rows`` of ``{"name", "sharpe", "cagr", "volatility", "max_drawdown", "turnover",
"costs_a_year", "seconds"}``, the control first; ``best``, by Sharpe ratio, and ``beats_control``: whether its Sharpe
ratio is above the control's with 95 % confidence, the number of those that were tried taken into account;
``train_days``, ``test_days``, ``folds``, ``first_ts_ms``, ``last_ts_ms``, ``names``, ``last``: newest weights by name.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from engine.core.metrics import annual_growth, max_drawdown, sharpe_ratio
from engine.domain import F8, I8
from engine.errors import DataError
from engine.research.montecarlo import MIN_PERIODS, block_length, drawn_rows
from engine.strategies.optimisers import OPTIMISERS, Optimiser

DAYS_PER_YEAR = 365.0
TRAIN_DAYS, TEST_DAYS = 365, 30
COST = 0.0006  # of what is traded
DRAWS, SEED = 2_000, 8


Pace = Callable[[float], None]
"""Is told the share that is done, 0 to 1; what it raises ends the work."""


def unpaced(share: float) -> None:
    """Do nothing: nobody asks how far the work is."""


def stretch(pace: Pace, first: float, last: float) -> Pace:
    """Return what a part of the work tells its share to, when it is the part from ``first`` to ``last`` of the whole.

    Examples
    --------
    >>> told = []
    >>> stretch(told.append, 0.5, 1.0)(0.5)
    >>> told
    [0.75]
    """
    return lambda share: pace(first + share * (last - first))


def walk(
    returns: F8, optimiser: Optimiser, train: int, test: int, cost: float, pace: Pace = unpaced
) -> tuple[F8, float, F8]:
    """Return net returns of the traded periods, what was traded in all, and the last weights.

    Parameters
    ----------
    returns : (T, N) float64, simple returns a day
    optimiser : callable
    train, test : int
        Days looked back at, and days between two choices. Weights drift with returns in between.
    cost : float
        Of each unit traded.
    pace : callable
        Is told the share of the periods that are done.
    """
    n = returns.shape[1]
    held, earned, traded = np.zeros(n), [], 0.0
    before = np.full(n, 1.0 / n)
    for first in range(train, len(returns), test):
        before = optimiser(returns[first - train : first], before, cost)
        change = float(np.abs(before - held).sum())
        traded += change
        held = before.copy()
        for t in range(first, min(first + test, len(returns))):
            gain = float(held @ returns[t]) - (cost * change if t == first else 0.0)
            earned.append(gain)
            held = held * (1.0 + returns[t]) / max(1.0 + float(held @ returns[t]), 1e-6)
        before = held
        pace(min(1.0, (first + test - train) / (len(returns) - train)))
    return np.array(earned), traded, held


def better(first: F8, other: F8, tried: int = 1) -> bool:
    """Return whether one rule is better than another at equal volatility: by its Sharpe ratio, with 95 % confidence.

    The same days are redrawn for both, in blocks; of the differences of the Sharpe ratios less than ``0.05 / tried``
    may be at or below zero (Bonferroni over what was tried).

    Parameters
    ----------
    first, other : (T,) float64, simple returns a day over the same days
    tried : int
        How many rules ``first`` was picked from.

    Notes
    -----
    Source: Ledoit and Wolf, "Robust performance hypothesis testing with the Sharpe ratio" (2008): the difference needs
    blocks, because days are neither normal nor independent. Here the plain percentile of the redrawn differences.
    """
    if len(first) < MIN_PERIODS or not (first.std() > 0.0 and other.std() > 0.0):
        return False
    apart = []
    for rows in drawn_rows(len(first), block_length(first / first.std() - other / other.std()), DRAWS, SEED):
        apart.append(_ratios(first[rows]) - _ratios(other[rows]))
    return bool(np.quantile(np.concatenate(apart), 0.05 / max(tried, 1)) > 0.0)


def _ratios(drawn: F8) -> F8:
    spread = drawn.std(axis=1)
    found: F8 = np.divide(drawn.mean(axis=1), spread, out=np.zeros(len(drawn)), where=spread > 0.0)
    return found


def compare(
    returns: F8, ts_ms: I8, names: tuple[str, ...], *, given: Mapping[str, F8] | None = None, train: int = TRAIN_DAYS,
    test: int = TEST_DAYS, cost: float = COST, pace: Pace = unpaced,
) -> dict[str, Any]:  # fmt: skip
    """Return the comparison that the module's first lines describe.

    Parameters
    ----------
    returns : (T, N) float64
        Simple returns a day of what is combined, their own costs paid; NaN counts as 0.
    ts_ms : (T,) int64
        End of each day.
    names : tuple of str
        Of the N columns.
    given : mapping of name to (T,) float64, optional
        Returns of rules that need no optimiser, over the same days, to stand beside them.
    pace : callable
        Is told the share that is done, after each period of each optimiser.

    Raises
    ------
    DataError
        Fewer days than one fold.
    """
    table = np.nan_to_num(returns)
    if len(table) < train + test:
        raise DataError(f"{len(table)} days are too few: {train} to choose on and {test} to trade are needed")
    rows, curves, last = [], {}, {}
    for place, (name, optimiser) in enumerate(OPTIMISERS.items()):
        began = time.perf_counter()
        within = stretch(pace, place / len(OPTIMISERS), (place + 1) / len(OPTIMISERS))
        earned, traded, held = walk(table, optimiser, train, test, cost, within)
        curves[name], last[name] = earned, dict(zip(names, held.tolist(), strict=True))
        rows.append(_row(name, earned, traded, cost) | {"seconds": time.perf_counter() - began})
    for name, whole in (given or {}).items():
        rows.append(_row(name, np.nan_to_num(whole)[train:], math.nan, cost) | {"seconds": None})
    control = next(iter(OPTIMISERS))
    best = max(curves, key=lambda name: sharpe_ratio(curves[name], DAYS_PER_YEAR))
    return {
        "rows": rows, "best": best, "beats_control": better(curves[best], curves[control], len(OPTIMISERS) - 1),
        "control": control, "train_days": train, "test_days": test, "folds": -(-(len(table) - train) // test),
        "first_ts_ms": int(ts_ms[train]), "last_ts_ms": int(ts_ms[-1]), "names": list(names), "last": last,
        "cost": cost,
    }  # fmt: skip


def _row(name: str, earned: F8, traded: float, cost: float) -> dict[str, Any]:
    equity = np.cumprod(1.0 + earned)
    years = len(earned) / DAYS_PER_YEAR
    ratio = sharpe_ratio(earned, DAYS_PER_YEAR)
    yearly = traded / years if math.isfinite(traded) else None
    return {
        "name": name, "sharpe": ratio if math.isfinite(ratio) else None,
        "cagr": annual_growth(1.0, float(equity[-1]), years),
        "volatility": float(earned.std() * math.sqrt(DAYS_PER_YEAR)),
        "max_drawdown": max_drawdown(np.append(1.0, equity)), "turnover": yearly,
        "costs_a_year": None if yearly is None else yearly * cost,
    }  # fmt: skip
