"""Redrawing a run's days: intervals of every headline figure, and how deep the drawdown might have been."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import numpy as np

from engine.domain import F8, I8
from engine.research.periods import PeriodTable

LEVEL = 0.95
N_DRAWS = 1000
BATCH_VALUES = 400_000
"""Values of one column that are held at a time: some 3 MB, so that a batch stays in the processor's cache."""

DRAWDOWN_LIMIT = 0.15
MIN_PERIODS = 20
"""With fewer periods than this an interval would say more about the method than about the run."""


def block_length(returns: F8) -> float:
    """Return the mean block length, in periods, at which blocks keep what depends on what.

    The length that is optimal for the mean of returns, or for the mean of their size where that is longer: losses come
    in clusters, and drawdowns depend on it.

    Parameters
    ----------
    returns : (T,) float64, fractions per period

    Returns
    -------
    float
        Between 1 and a tenth of T.

    Notes
    -----
    Source: Politis & White (2004) with the correction of Patton, Politis & White (2009), as in ``arch``.
    """
    from arch.bootstrap import optimal_block_length

    if len(returns) < MIN_PERIODS or np.std(returns) <= 1e-15:
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = optimal_block_length(np.column_stack([returns, np.abs(returns)]))["stationary"].to_numpy()
    longest = float(np.nanmax(np.where(np.isfinite(found), found, 1.0)))
    return float(np.clip(longest, 1.0, max(1.0, len(returns) / 10)))


def n_draws(n_periods: int) -> int:
    """Return how many times a run is redrawn: a thousand, fewer for very long runs, never below 300."""
    return int(np.clip(4_000_000 // max(n_periods, 1), 300, N_DRAWS))


def drawn_rows(n_periods: int, length: float, draws: int, seed: int) -> Iterator[I8]:
    """Yield row numbers of stationary bootstrap samples in batches: (B, T) int64, some ``BATCH_VALUES`` at a time."""
    from arch.bootstrap import StationaryBootstrap

    sampler = StationaryBootstrap(max(1, round(length)), np.arange(n_periods), seed=np.random.default_rng(seed))
    size = max(1, BATCH_VALUES // n_periods)
    for start in range(0, draws, size):
        count = min(size, draws - start)
        yield np.array([sampler.update_indices() for _ in range(count)], dtype=np.int64)


def _drawdowns(table: PeriodTable, rows: I8, before: F8) -> F8:
    high = before * (1.0 + table.high[rows])
    peak = np.maximum.accumulate(high, axis=1)
    earlier = np.concatenate([np.ones((len(rows), 1)), peak[:, :-1]], axis=1)
    across = 1.0 - before * (1.0 + table.low[rows]) / earlier
    return np.maximum(across.max(axis=1), table.fall[rows].max(axis=1))


def _ratio(top: F8, bottom: F8) -> F8:
    return np.divide(top, bottom, out=np.full(len(top), math.nan), where=bottom > 1e-15)


def _alpha_beta(table: PeriodTable, rows: I8, returns: F8) -> tuple[F8, F8]:
    if table.benchmark is None:
        return np.full(len(rows), math.nan), np.full(len(rows), math.nan)
    other = table.benchmark[rows]
    mean, mean_other = returns.mean(axis=1), other.mean(axis=1)
    shared = np.einsum("ij,ij->i", returns, other) / returns.shape[1] - mean * mean_other
    beta = _ratio(shared, other.var(axis=1))
    return (mean - beta * mean_other) * table.per_year, beta


def redrawn_figures(table: PeriodTable, rows: I8) -> dict[str, F8]:
    """Return every headline figure of runs whose periods are the given rows of a table.

    Parameters
    ----------
    table : PeriodTable
    rows : (B, T) int64
        B runs of T periods. The rows in their own order give the run itself.

    Returns
    -------
    dict of (B,) float64
        Same names and units as ``engine.research.figures.figures``. NaN where a figure does not exist.
    """
    returns = table.returns[rows]
    path = np.cumprod(1.0 + returns, axis=1)
    before = path / (1.0 + returns)
    final = path[:, -1]
    n = returns.shape[1]
    mean, deviation = returns.mean(axis=1), returns.std(axis=1, ddof=1) if n > 1 else np.zeros(len(rows))
    downside = np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2, axis=1))
    growth = np.exp(np.log(final) / table.years) - 1.0
    fall = _drawdowns(table, rows, before)
    n_worst = max(1, math.ceil(round(0.05 * n, 9)))
    worst = -np.partition(returns, n_worst - 1, axis=1)[:, :n_worst].mean(axis=1)
    bar_count = table.n_bars[rows].sum(axis=1)
    mean_equity = np.sum(before * (table.mean_equity * table.n_bars)[rows], axis=1) / bar_count
    trades = table.n_trades[rows].sum(axis=1)
    alpha, beta = _alpha_beta(table, rows, returns)
    money = {name: np.sum(before * getattr(table, name)[rows], axis=1)
             for name in ("traded", "fees", "slippage", "funding", "gains", "losses")}  # fmt: skip
    root = math.sqrt(table.per_year)
    return {
        "final_equity": table.cash * final, "total_return": final - 1.0, "cagr": growth,
        "sharpe": _ratio(mean, deviation) * root, "sortino": _ratio(mean, downside) * root,
        "calmar": _ratio(growth, fall), "max_drawdown": fall, "cvar_95": worst,
        "win_rate": _ratio(table.n_wins[rows].sum(axis=1), trades),
        "profit_factor": _ratio(money["gains"], money["losses"]),
        "turnover": money["traded"] / mean_equity / table.years,
        "exposure": table.exposure[rows].sum(axis=1) / bar_count,
        "fees": table.cash * money["fees"], "slippage": table.cash * money["slippage"],
        "funding": table.cash * money["funding"], "n_trades": trades, "alpha_btc": alpha, "beta_btc": beta,
    }  # fmt: skip


def redraw(table: PeriodTable, seed: int) -> dict[str, F8]:
    """Return every headline figure of some thousand redrawn runs; empty for fewer than ``MIN_PERIODS`` periods.

    Periods are drawn in blocks of random length, with replacement, so that neighbours stay together.

    Parameters
    ----------
    table : PeriodTable
    seed : int

    Returns
    -------
    dict of (R,) float64

    Notes
    -----
    Source: Politis & Romano (1994), stationary bootstrap.
    """
    if table.n < MIN_PERIODS:
        return {}
    batches = [
        redrawn_figures(table, rows)
        for rows in drawn_rows(table.n, block_length(table.returns), n_draws(table.n), seed)
    ]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def intervals(drawn: dict[str, F8], level: float = LEVEL) -> dict[str, dict[str, float]]:
    """Return low, median and high of each figure, so that ``level`` of the redrawn runs lie between.

    Figures that do not exist in at least nine of ten redrawn runs have no interval.
    """
    found = {}
    for name, values in drawn.items():
        known = values[np.isfinite(values)]
        if len(known) < 0.9 * len(values):
            continue
        low, median, high = np.quantile(known, [(1 - level) / 2, 0.5, (1 + level) / 2]).tolist()
        found[name] = {"low": low, "median": median, "high": high, "level": level}
    return found


def drawdown_risk(drawn: dict[str, F8]) -> dict[str, float] | None:
    """Return median, 95th and 99th percentile of the largest drawdown and how often it passes 15 %; None if unknown."""
    if "max_drawdown" not in drawn:
        return None
    p50, p95, p99 = np.quantile(drawn["max_drawdown"], [0.5, 0.95, 0.99]).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "p_over_15": float(np.mean(drawn["max_drawdown"] > DRAWDOWN_LIMIT))}
