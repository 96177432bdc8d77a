"""How much of a result is selection: trials against luck, cross-validation paths, and the length of record needed."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np

from engine.core.metrics import sharpe_ratio
from engine.domain import F8

N_BLOCKS = 8
"""Time blocks of the overfitting test: C(8, 4) = 70 ways to choose the in-sample half."""

MIN_DAYS = 10 * N_BLOCKS
N_FOLDS = 10
N_TEST_FOLDS = 2
PURGED_PERIODS = 5
MIN_PATH_PERIODS = N_FOLDS * (2 * PURGED_PERIODS + 2)
"""Periods left out on either side of a test window; a position of the trend rule lasts some days."""


def _sharpes_of_sums(total: F8, squares: F8, n: float) -> F8:
    mean = total / n
    variance = (squares - n * mean * mean) / (n - 1)
    return np.divide(mean, np.sqrt(np.maximum(variance, 0.0)), out=np.zeros_like(mean), where=variance > 1e-30)


def overfitting_probability(returns: F8) -> float | None:
    """Return the share of splits in which the best trial in sample is below the median out of sample.

    Parameters
    ----------
    returns : (T, M) float64
        Per-period returns of M trials over the same periods.

    Returns
    -------
    float in [0, 1] or None
        None when M < 2 or T is below ``MIN_DAYS``.

    Notes
    -----
    Combinatorially symmetric cross-validation. Source: Bailey, Borwein, Lopez de Prado & Zhu (2017). A trial without
    variation counts with a Sharpe ratio of 0. Ties share their mean rank.
    """
    n_periods, n_trials = returns.shape
    if n_trials < 2 or n_periods < MIN_DAYS:
        return None
    blocks = np.array_split(returns, N_BLOCKS)
    total = np.array([block.sum(axis=0) for block in blocks])
    squares = np.array([(block * block).sum(axis=0) for block in blocks])
    count = np.array([len(block) for block in blocks])
    below = 0.0
    splits = list(combinations(range(N_BLOCKS), N_BLOCKS // 2))
    for chosen in splits:
        inside = np.isin(np.arange(N_BLOCKS), chosen)
        early = _sharpes_of_sums(total[inside].sum(axis=0), squares[inside].sum(axis=0), float(count[inside].sum()))
        late = _sharpes_of_sums(total[~inside].sum(axis=0), squares[~inside].sum(axis=0), float(count[~inside].sum()))
        best = late[int(np.argmax(early))]
        rank = (np.sum(late < best) + 0.5 * (np.sum(late == best) + 1)) / (n_trials + 1)
        below += 1.0 if rank < 0.5 else 0.5 if rank == 0.5 else 0.0
    return below / len(splits)


def min_track_record(returns: F8, confidence: float = 0.95, hurdle: float = 0.0) -> float:
    """Return how many periods it takes to say with this confidence that the true Sharpe ratio is above a hurdle.

    n = 1 + (1 - skew * SR + (kurtosis - 1) / 4 * SR^2) * (z / (SR - hurdle))^2

    Parameters
    ----------
    returns : (T,) float64, fractions per period
    confidence : float
    hurdle : float
        Sharpe ratio per period.

    Returns
    -------
    float, periods
        inf when the Sharpe ratio is not above the hurdle; NaN for fewer than three returns or no variation.

    Notes
    -----
    Source: Bailey & Lopez de Prado (2012). Kurtosis is not in excess; moments are population moments.
    """
    sharpe = sharpe_ratio(returns, 1.0)
    if len(returns) < 3 or math.isnan(sharpe):
        return math.nan
    if sharpe <= hurdle:
        return math.inf
    scaled = (returns - returns.mean()) / np.std(returns)
    spread = 1.0 - float(np.mean(scaled**3)) * sharpe + (float(np.mean(scaled**4)) - 1.0) / 4.0 * sharpe * sharpe
    return 1.0 + max(spread, 0.0) * (NormalDist().inv_cdf(confidence) / (sharpe - hurdle)) ** 2


def cross_validation_paths(returns: F8, per_year: float) -> dict[str, Any] | None:
    """Return how the Sharpe ratio spreads over purged combinatorial test sets.

    The run is cut into ten folds; every pair of them is a test set once. With several trials the best one in the purged
    training folds is what is tested, and test folds are joined to whole paths. With a single trial nothing is chosen,
    every path would be the run itself, and the spread is that of the 45 test sets.

    Parameters
    ----------
    returns : (T, M) float64
        Per-period returns of M trials over the same periods.
    per_year : float
        Periods a year.

    Returns
    -------
    dict or None
        ``paths``, ``sharpe_p5``, ``sharpe_p50``, ``sharpe_p95`` (per year) and ``of``; None when T is below
        ``MIN_PATH_PERIODS``.

    Notes
    -----
    Folds, purging and paths as in ``skfolio``. Source: Lopez de Prado (2018), chapter 12.
    """
    if len(returns) < MIN_PATH_PERIODS:
        return None
    from skfolio.model_selection import CombinatorialPurgedCV

    n_trials = returns.shape[1]
    splitter = CombinatorialPurgedCV(
        n_folds=N_FOLDS, n_test_folds=N_TEST_FOLDS, purged_size=PURGED_PERIODS, embargo_size=PURGED_PERIODS
    )
    tests: list[list[F8]] = []
    for train, test in splitter.split(returns):
        known = returns[train]
        sharpes = _sharpes_of_sums(known.sum(axis=0), (known * known).sum(axis=0), float(len(known)))
        tests.append([returns[rows, int(np.argmax(sharpes))] for rows in test])
    if n_trials == 1:
        series = [np.concatenate(parts) for parts in tests]
    else:
        path_of = splitter.get_path_ids()
        joined: dict[int, list[F8]] = {}
        for split, parts in enumerate(tests):
            for k, part in enumerate(parts):
                joined.setdefault(int(path_of[split, k]), []).append(part)
        series = [np.concatenate(parts) for parts in joined.values()]
    sharpes = np.nan_to_num([sharpe_ratio(part, per_year) for part in series])
    p5, p50, p95 = np.quantile(sharpes, [0.05, 0.5, 0.95]).tolist()
    of = "test sets of one rule" if n_trials == 1 else f"paths choosing among {n_trials} trials"
    return {"paths": len(series), "sharpe_p5": p5, "sharpe_p50": p50, "sharpe_p95": p95, "of": of}
