"""What another year may bring: intervals for figures that have not happened yet, with what is unknown left unknown.

An interval redrawn from a run's own days says how much of the result was luck, as if the future were drawn from the
same urn. It is not: edges fade and markets change. Here the Sharpe ratio of the time to come is itself uncertain:
recent half years weigh more than old ones, it is drawn towards zero as the evidence is thin, and it varies from one
half year to the next as much as it did.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from engine.core.metrics import max_drawdown, sharpe_ratio
from engine.domain import F8

LEVEL = 0.95
SEGMENT_DAYS = 182
HALF_LIFE_YEARS = 2.0
"""Age at which a half year counts half as much for the Sharpe ratio."""

VOLATILITY_HALF_LIFE_YEARS = 1.0
PRIOR_SEGMENTS = 4
"""How many half years the assumptions below are worth."""

SHARPE_SPREAD = 1.25
"""Assumed deviation of the true Sharpe ratio of half years, and of strategies around zero, a year."""

VOLATILITY_SPREAD = 0.3
"""Assumed deviation of the logarithm of volatility between half years."""

TAILS = 5
"""Degrees of freedom with which the Sharpe ratio to come is drawn: nothing is known so well that it is normal."""

N_DRAWS = 2000
BLOCK_DAYS = 10
DAYS_PER_YEAR = 365.0
MIN_DAYS = 2 * SEGMENT_DAYS
NAMES = ("sharpe", "cagr", "max_drawdown", "volatility")


class Belief(NamedTuple):
    """What a record lets one believe about the time to come."""

    sharpe: float  # a year
    sharpe_spread: float
    log_volatility: float  # of a year
    log_volatility_spread: float
    shape: F8  # daily returns of each half year, less their mean, over their deviation


def believe(returns: F8) -> Belief | None:
    """Return the belief that daily returns support; None for less than two half years, or for a flat record.

    Parameters
    ----------
    returns : (T,) float64, fractions a day, oldest first

    Notes
    -----
    Known at: the last day. A normal prior of mean 0 and deviation ``SHARPE_SPREAD`` on the true ratio; the variance
    between half years is what is left of their sample variance after sampling noise, pooled with ``PRIOR_SEGMENTS``.
    """
    n = len(returns) // SEGMENT_DAYS
    deviation = float(np.std(returns)) if len(returns) else 0.0
    if n < 2 or deviation <= 1e-9:
        return None
    parts = returns[len(returns) - n * SEGMENT_DAYS :].reshape(n, SEGMENT_DAYS)
    mean = parts.mean(axis=1)
    spread = np.maximum(parts.std(axis=1, ddof=1), 0.1 * deviation)  # a stretch without trading is not free of risk
    sharpes, logs = mean / spread * math.sqrt(DAYS_PER_YEAR), np.log(spread * math.sqrt(DAYS_PER_YEAR))
    age = np.arange(n)[::-1] * SEGMENT_DAYS / DAYS_PER_YEAR
    noise = DAYS_PER_YEAR / SEGMENT_DAYS
    between = max(0.0, float(np.var(sharpes, ddof=1)) - noise)
    between = (PRIOR_SEGMENTS * SHARPE_SPREAD**2 + n * between) / (PRIOR_SEGMENTS + n)
    weight = _weights(age, HALF_LIFE_YEARS)
    error = (between + noise) * float(np.sum(weight**2))
    trust = SHARPE_SPREAD**2 / (SHARPE_SPREAD**2 + error)
    newer = _weights(age, VOLATILITY_HALF_LIFE_YEARS)
    wander = (PRIOR_SEGMENTS * VOLATILITY_SPREAD**2 + n * float(np.var(logs, ddof=1))) / (PRIOR_SEGMENTS + n)
    return Belief(
        sharpe=trust * float(weight @ sharpes), sharpe_spread=math.sqrt(between + trust * error),
        log_volatility=float(newer @ logs), log_volatility_spread=math.sqrt(wander * (1.0 + float(np.sum(newer**2)))),
        shape=((parts - mean[:, None]) / spread[:, None]).ravel(),
    )  # fmt: skip


def _weights(age: F8, half_life: float) -> F8:
    weight: F8 = 0.5 ** (age / half_life)
    return weight / weight.sum()


def drawn_futures(belief: Belief, days: int, limit: float | None, seed: int, draws: int = N_DRAWS) -> dict[str, F8]:
    """Return figures of futures drawn from a belief.

    Parameters
    ----------
    belief : Belief
    days : int
    limit : float or None
        Drawdown at which the risk gate closes everything and stays flat, fraction.
    seed : int
    draws : int

    Returns
    -------
    dict of (draws,) float64
        ``sharpe`` and ``volatility`` a year, ``cagr``, ``max_drawdown``; fractions.
    """
    rng = np.random.default_rng(seed)
    sharpe = belief.sharpe + belief.sharpe_spread * rng.standard_t(TAILS, draws)
    volatility = np.exp(belief.log_volatility + belief.log_volatility_spread * rng.normal(0.0, 1.0, draws))
    starts = rng.integers(0, len(belief.shape), (draws, -(-days // BLOCK_DAYS)))
    rows = (starts[:, :, None] + np.arange(BLOCK_DAYS)) % len(belief.shape)
    shape = belief.shape[rows.reshape(draws, -1)[:, :days]]
    root = math.sqrt(DAYS_PER_YEAR)
    returns = np.maximum(volatility[:, None] / root * (shape + sharpe[:, None] / root), -0.5)
    if limit is not None:
        returns = _halted(returns, limit)
    path = np.cumprod(1.0 + returns, axis=1)
    peak = np.maximum(np.maximum.accumulate(path, axis=1), 1.0)
    deviation = np.maximum(returns.std(axis=1, ddof=1), 1e-9)
    return {
        "sharpe": returns.mean(axis=1) / deviation * root, "cagr": path[:, -1] ** (DAYS_PER_YEAR / days) - 1.0,
        "max_drawdown": (1.0 - path / peak).max(axis=1), "volatility": deviation * root,
    }  # fmt: skip


def _halted(returns: F8, limit: float) -> F8:
    path = np.cumprod(1.0 + returns, axis=1)
    fallen = path <= (1.0 - limit) * np.maximum(np.maximum.accumulate(path, axis=1), 1.0)
    after = np.cumsum(fallen, axis=1) - fallen > 0  # the day of the fall itself counts
    return np.where(after, 0.0, returns)


def outlook(
    returns: F8, days: int, limit: float | None = None, seed: int = 0, level: float = LEVEL, draws: int = N_DRAWS
) -> dict[str, Any] | None:
    """Return intervals for the Sharpe ratio, growth, drawdown and volatility of the time to come.

    Parameters
    ----------
    returns : (T,) float64, fractions a day
        After all costs.
    days : int
        Length of the time to come.
    limit : float, optional
        Drawdown at which everything is closed for good.
    seed : int
    level : float
        Share of drawn futures between low and high.
    draws : int
        How many futures are drawn.

    Returns
    -------
    dict or None
        ``days``, ``level`` and, for each figure, ``low``, ``median``, ``high``. None for a record of less than a year.
    """
    belief = believe(returns)
    if belief is None:
        return None
    found: dict[str, Any] = {"days": days, "level": level}
    for name, values in drawn_futures(belief, days, limit, seed, draws).items():
        low, median, high = np.quantile(values, [(1 - level) / 2, 0.5, (1 + level) / 2]).tolist()
        found[name] = {"low": low, "median": median, "high": high}
    return found


def realised(returns: F8) -> dict[str, float]:
    """Return the figures of daily returns that did come, under the names of ``outlook``."""
    equity = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    return {
        "sharpe": sharpe_ratio(returns, DAYS_PER_YEAR),
        "cagr": float(equity[-1]) ** (DAYS_PER_YEAR / len(returns)) - 1.0,
        "max_drawdown": max_drawdown(equity),
        "volatility": float(np.std(returns, ddof=1)) * math.sqrt(DAYS_PER_YEAR),
    }
