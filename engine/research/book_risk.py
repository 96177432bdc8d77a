"""What a book of positions has at stake, seen on past bars: aligned returns, correlation, clusters. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.core.tail import TailMethod, book_tail
from engine.domain import F8, I8

TAIL_LEVELS = (0.95, 0.975, 0.99)

CLOSING_SLIPPAGE = 0.001
"""What closing a book is taken to cost besides fees, as a fraction of its notional."""

REACTION_S = 2.5
"""From a look at the account to a flat book: a second until the next look, and one or two until the fills are in."""

FEWEST_RETURNS = 48
"""Below this many common returns a correlation is unknown."""


class Returns(NamedTuple):
    """Log returns of N symbols on one clock."""

    symbols: tuple[str, ...]
    ts_close: I8  # (T,) ns, oldest first
    log_return: F8  # (T, N), NaN where a symbol has no bar or none before


def returns_of(symbol: Sequence[str], ts_close: I8, close_px: F8, wanted: Sequence[str], step_ns: int) -> Returns:
    """Return the log returns of some symbols from rows of closes in any order.

    Parameters
    ----------
    symbol : sequence of str, (R,)
    ts_close : (R,) int64, ns
        Multiples of ``step_ns``; a pair of rows with the same symbol and time counts once.
    close_px : (R,) float64, quote per base, > 0
    wanted : sequence of str
        The N symbols of the answer, in this order; one without rows is NaN throughout.
    step_ns : int
        A return spans exactly this long: over a gap it is NaN, not one big return.

    Returns
    -------
    Returns

    Examples
    --------
    >>> r = returns_of(["A", "A"], np.array([1, 2]), np.array([1.0, np.e]), ["A", "B"], 1)
    >>> r.log_return.tolist()
    [[1.0, nan]]
    """
    times = np.unique(np.asarray(ts_close, dtype=np.int64))
    place = {name: index for index, name in enumerate(wanted)}
    columns = np.array([place.get(name, -1) for name in symbol], dtype=np.int64)
    known = columns >= 0
    closes = np.full((len(times), len(wanted)), np.nan)
    closes[np.searchsorted(times, np.asarray(ts_close)[known]), columns[known]] = np.asarray(close_px)[known]
    change = np.diff(np.log(closes), axis=0)
    change[np.diff(times) != step_ns] = np.nan
    return Returns(tuple(wanted), times[1:], change)


def correlation_of(log_return: F8) -> F8 | None:
    """Return the correlation (N, N) over the rows in which every symbol has a return; None when they are too few.

    Parameters
    ----------
    log_return : (T, N) float64
        NaN where unknown.

    Notes
    -----
    A symbol that never moved is uncorrelated with all others: 0, and 1 with itself.
    """
    whole = log_return[np.isfinite(log_return).all(axis=1)] if log_return.size else log_return
    if len(whole) < FEWEST_RETURNS:
        return None
    centred = whole - whole.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=0))
    unit = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0.0)
    found = np.clip(unit.T @ unit, -1.0, 1.0)
    np.fill_diagonal(found, 1.0)
    return found


def clusters_of(correlation: F8, least: float) -> list[list[int]]:
    """Return groups of columns that hang together by correlations of at least ``least`` (single linkage).

    Parameters
    ----------
    correlation : (N, N) float64
    least : float

    Returns
    -------
    list of lists of int
        Every column once; the largest group first, columns ascending.

    Examples
    --------
    >>> clusters_of(np.array([[1.0, 0.7, 0.1], [0.7, 1.0, 0.0], [0.1, 0.0, 1.0]]), 0.6)
    [[0, 1], [2]]
    """
    left = set(range(len(correlation)))
    groups: list[list[int]] = []
    while left:
        reached, edge = set(), {min(left)}
        while edge:
            reached |= edge
            left -= edge
            edge = {j for i in edge for j in left if correlation[i, j] >= least}
        groups.append(sorted(reached))
    return sorted(groups, key=lambda group: (-len(group), group))


def daily_returns(returns: Returns, bars: int = 24) -> F8:
    """Return simple returns (K, N) over whole stretches of ``bars`` bars, oldest first; the newest ends now.

    NaN where a symbol lacks a bar of the stretch: a day with a hole is unknown, not calm.

    Examples
    --------
    >>> r = Returns(("A",), np.arange(5), np.log([[9.0], [1.1], [1.0], [0.5], [2.0]]))
    >>> daily_returns(r, 2).round(6).tolist()
    [[0.1], [0.0]]
    """
    n = len(returns.log_return) // bars
    whole = returns.log_return[len(returns.log_return) - n * bars :]
    summed: F8 = whole.reshape(n, bars, len(returns.symbols)).sum(axis=1)
    return np.expm1(summed)


class TailRow(NamedTuple):
    """One method's answer at one level, fractions of equity, positive when money is lost; None is unknown."""

    method: str
    level: float
    value_at_risk: float | None
    expected_shortfall: float | None
    n_days: int


def tail_rows(daily: F8, weight: F8, levels: Sequence[float] = TAIL_LEVELS) -> list[TailRow]:
    """Return the next day's value at risk and expected shortfall of a book held unchanged, by method and level.

    Parameters
    ----------
    daily : (K, N) float64
        Simple daily returns.
    weight : (N,) float64
        Signed notional over equity.
    levels : sequence of float

    Returns
    -------
    list of TailRow
        Unknown where fewer than 1 / (1 - level) days are known: the worst of twenty days says nothing of the worst of
        a hundred. A flat book has 0.
    """
    held = weight != 0.0
    n_days = int(np.isfinite(daily[:, held]).all(axis=1).sum()) if len(daily) else 0
    rows = []
    for method in TailMethod:
        for level in levels:
            tail = book_tail(daily, weight, method, level)
            enough = not held.any() or n_days >= 1.0 / (1.0 - level) - 1e-9
            found = [value if enough and np.isfinite(value) else None for value in tail[:2]]
            rows.append(TailRow(method.name, level, found[0], found[1], n_days))
    return rows


def closing_margin(gross: float, taker_fee: float, falling: float = 0.0) -> float:
    """Return how far before a loss limit a book must be closed so that the limit holds, as a fraction of equity.

    m = gross * (fee + ``CLOSING_SLIPPAGE``) + falling * ``REACTION_S``

    Parameters
    ----------
    gross : float
        Notional of all positions over equity.
    taker_fee : float, fraction of notional
    falling : float
        How fast equity falls now, fraction a second.

    Examples
    --------
    >>> round(closing_margin(2.0, 0.0004, 0.002), 6)
    0.0078
    """
    return gross * (taker_fee + CLOSING_SLIPPAGE) + falling * REACTION_S


def betas_of(returns: Returns, benchmark: str) -> dict[str, float]:
    """Return each symbol's beta to a benchmark: cov(r_i, r_b) / var(r_b) over the hours that both have.

    Symbols with fewer than ``FEWEST_RETURNS`` such hours are left out, and so is everything without the benchmark.

    Examples
    --------
    >>> r = np.random.default_rng(0).normal(size=(60, 1))
    >>> betas_of(Returns(("B", "A"), np.arange(60), np.hstack([r, 2 * r])), "B")
    {'B': 1.0, 'A': 2.0}
    """
    if benchmark not in returns.symbols:
        return {}
    base = returns.log_return[:, returns.symbols.index(benchmark)]
    found = {}
    for index, symbol in enumerate(returns.symbols):
        both = np.isfinite(base) & np.isfinite(returns.log_return[:, index])
        if both.sum() >= FEWEST_RETURNS and base[both].var() > 0.0:
            covariance = np.cov(returns.log_return[both, index], base[both])
            found[symbol] = round(float(covariance[0, 1] / covariance[1, 1]), 6)
    return found


def daily_sigmas(returns: Returns) -> dict[str, float]:
    """Return each symbol's daily volatility: the standard deviation of hourly returns times the root of 24."""
    found = {}
    for index, symbol in enumerate(returns.symbols):
        known = returns.log_return[:, index][np.isfinite(returns.log_return[:, index])]
        if len(known) >= FEWEST_RETURNS:
            found[symbol] = float(known.std(ddof=1) * np.sqrt(24.0))
    return found
