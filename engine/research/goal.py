"""The goal, told truthfully: from a record of returns to the chance of a target by a date, of ruin, of a drawdown.

Two things are unknown about tomorrow: which days come, and how good the record's owner really is. Both are drawn. Each
outer draw resamples the record itself in blocks (what the record might have been, had chance fallen otherwise); each
inner path then lives through blocks of that resample. So a short record gives wide answers, which is the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8
from engine.errors import DataError

DAYS_PER_YEAR = 365.0
MIN_RETURNS = 20  # fewer say nothing at all
OUTER, INNER = 500, 200  # 100,000 paths
MOST_STEPS = 60_000_000  # paths times days; longer horizons get fewer paths, and say so
FEWEST_INNER = 20
FAN_POINTS = 60
FAN_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
WORST_RETURN = -0.9999
SEED = 20261231


class Goal(NamedTuple):
    """What is to be reached, and what must not happen on the way."""

    equity: float = 10_000.0  # now, quote currency
    target: float = 1_000_000.0  # quote currency
    days: int = 365  # until the date
    max_drawdown: float = 0.15  # fraction of the peak
    ruin_loss: float = 0.5  # fraction of today's equity that counts as ruin
    leverage: float = 1.0  # every return of the record times this

    @property
    def log_multiple(self) -> float:
        """Logarithm of target over equity."""
        return math.log(self.target / self.equity)

    def checked(self) -> Goal:
        """Return the goal, or raise DataError with what is wrong with it."""
        if not (0 < self.equity < self.target and math.isfinite(self.target)):
            raise DataError(f"The target {self.target:,.0f} must be above today's equity {self.equity:,.2f} (above 0).")
        if not 1 <= self.days <= 36_500:
            raise DataError(f"The date is {self.days} days away; it must be 1 to 36,500 days ahead.")
        for name, value in (("drawdown limit", self.max_drawdown), ("loss that is ruin", self.ruin_loss)):
            if not 0 < value < 1:
                raise DataError(f"The {name} is {value:g}; it must be a fraction between 0 and 1.")
        if not 0 < self.leverage <= 100:
            raise DataError(f"The leverage is {self.leverage:g}; it must be above 0 and at most 100.")
        return self


class Paths(NamedTuple):
    """What became of the simulated paths; one row an outer draw, one column an inner path."""

    reached: np.ndarray  # (outer, inner) bool: target touched at a day's close
    reached_clean: np.ndarray  # (outer, inner) bool: and no drawdown beyond the limit before
    breached: np.ndarray  # (outer, inner) bool: drawdown beyond the limit at a day's close
    ruined: np.ndarray  # (outer, inner) bool
    fan: F8  # (points, levels) equity quantiles, quote currency
    fan_steps: np.ndarray  # (points,) steps from now


def block_length(n: int) -> int:
    """Return the length of a bootstrap block for n returns: n ** (1/3), rounded up (the rate of Hall et al., 1995)."""
    return max(1, math.ceil(round(n ** (1 / 3), 9)))


def resample_blocks(values: F8, rows: int, length: int, rng: np.random.Generator) -> F8:
    """Return ``rows`` series of ``length`` values made of blocks of a series, whose end is joined to its beginning.

    Parameters
    ----------
    values : (T,) float64
    rows, length : int
    rng : numpy Generator

    Returns
    -------
    (rows, length) float64

    Notes
    -----
    Circular block bootstrap: Politis & Romano (1992).
    """
    n = len(values)
    size = min(block_length(n), length)
    blocks = np.lib.stride_tricks.sliding_window_view(np.concatenate([values, values[: size - 1]]), size)
    starts = rng.integers(0, n, (rows, math.ceil(length / size)))
    return np.asarray(blocks[starts].reshape(rows, -1)[:, :length])


def simulate_paths(
    returns: F8, goal: Goal, steps: int, *, outer: int = OUTER, inner: int = INNER, seed: int = SEED,
    progress: Callable[[float], None] | None = None,
) -> Paths:  # fmt: skip
    """Simulate the account from a record, its own uncertainty included.

    Parameters
    ----------
    returns : (T,) float64
        Simple returns per step.
    goal : Goal
    steps : int
        How many steps until the date.
    outer, inner : int
        Resamples of the record, and paths within each.
    """
    rng = np.random.default_rng(seed)
    log_returns = np.log1p(np.maximum(goal.leverage * np.asarray(returns, dtype=np.float64), WORST_RETURN))
    shown = np.unique(np.linspace(0, steps, min(FAN_POINTS, steps) + 1).round().astype(int))
    kept = np.zeros((outer, inner, len(shown)), dtype=np.float32)
    reached, clean, breached, ruined = (np.zeros((outer, inner), dtype=bool) for _ in range(4))
    floor, fall = math.log1p(-goal.ruin_loss), math.log1p(-goal.max_drawdown)
    for i in range(outer):
        record = resample_blocks(log_returns, 1, len(log_returns), rng)[0]
        path = np.cumsum(resample_blocks(record, inner, steps, rng), axis=1)
        at_target = path >= goal.log_multiple
        in_breach = path - np.maximum(np.maximum.accumulate(path, axis=1), 0.0) <= fall
        reached[i], breached[i] = at_target.any(axis=1), in_breach.any(axis=1)
        clean[i] = reached[i] & (~breached[i] | (at_target.argmax(axis=1) < in_breach.argmax(axis=1)))
        ruined[i] = (path <= floor).any(axis=1)
        kept[i, :, 1:] = path[:, shown[1:] - 1]
        if progress is not None:
            progress((i + 1) / outer)
    fan = goal.equity * np.exp(np.quantile(kept.reshape(-1, len(shown)), FAN_LEVELS, axis=0)).T
    return Paths(reached, clean, breached, ruined, np.asarray(fan, dtype=np.float64), shown)


# closed forms -------------------------------------------------------------------------------------------------------


def normal_cdf(x: float) -> float:
    """Return the probability that a standard normal variable is below x; accurate far into the lower tail."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def p_terminal(log_multiple: float, drift: float, volatility: float, years: float) -> float:
    """Return P(log growth >= log_multiple at the end) of a geometric Brownian motion.

    P = Phi((mu T - G) / (sigma sqrt(T)))

    Parameters
    ----------
    log_multiple : float
        G, logarithm of target over equity.
    drift : float
        mu, mean of log growth a year (not of simple returns).
    volatility : float
        sigma, a year.
    """
    return normal_cdf((drift * years - log_multiple) / (volatility * math.sqrt(years)))


def p_first_passage(log_multiple: float, drift: float, volatility: float, years: float) -> float:
    """Return P(the path touches log_multiple > 0 by the end) of a geometric Brownian motion, watched all the time.

    P = Phi((mu T - G) / (sigma sqrt T)) + exp(2 mu G / sigma^2) Phi((-mu T - G) / (sigma sqrt T))

    Source: Harrison (1985), the maximum of a Brownian motion with drift.
    """
    width = volatility * math.sqrt(years)
    second = normal_cdf((-drift * years - log_multiple) / width)
    exponent = 2.0 * drift * log_multiple / volatility**2
    # their product is at most 1: where the second vanishes, so does the product
    reflected = math.exp(exponent + math.log(second)) if second > 0.0 else 0.0
    return min(1.0, p_terminal(log_multiple, drift, volatility, years) + reflected)


def p_target_before_drawdown(log_multiple: float, drift: float, volatility: float, max_drawdown: float) -> float:
    """Return P(a geometric Brownian motion gains G before it ever falls by the limit from its peak), without a date.

    P = exp(-G x / (exp(x D) - 1)) with x = 2 mu / sigma^2 and D = -log(1 - limit)

    Source: Taylor (1975) and Lehoczky (1977): the peak at the first drawdown of D is exponential.
    """
    ratio, depth = 2.0 * drift / volatility**2, -math.log1p(-max_drawdown)
    rate = 1.0 / depth if ratio == 0 else ratio / math.expm1(min(ratio * depth, 700.0))
    return math.exp(-log_multiple * rate)


def p_terminal_unknown_mean(returns: F8, log_multiple: float, steps: int) -> float:
    """Return P(log growth >= log_multiple after so many steps) when mean and deviation are known from a record only.

    The predictive distribution of the sum of ``steps`` normal log returns after n observed ones is a Student t with
    n - 1 degrees, centred on steps x mean, with scale s sqrt(steps + steps^2 / n) (flat prior).

    Parameters
    ----------
    returns : (T,) float64
        Simple returns per step; T >= 3.
    """
    from scipy.stats import t as student

    logs = np.log1p(np.maximum(returns, WORST_RETURN))
    n, deviation = len(logs), float(np.std(logs, ddof=1))
    scale = deviation * math.sqrt(steps + steps**2 / n)
    return float(student.sf((log_multiple - steps * float(np.mean(logs))) / scale, n - 1))


def required_sharpe(goal: Goal, chance: float) -> dict[str, float]:
    """Return the net Sharpe ratio that reaches the goal on time with a chance of no drawdown beyond the limit.

    Growth must be mu = log(target / equity) / T. The volatility allowed is the largest sigma for which the target
    comes before a drawdown of the limit with the chance asked for: ``p_target_before_drawdown`` solved for x, then
    sigma = sqrt(2 mu / x). More than full Kelly (x < 1) never helps. Then

        Sharpe = (mu + sigma^2 / 2) / sigma

    Returns
    -------
    dict
        ``chance``, ``sharpe``, ``volatility``, ``growth`` (log, a year), per year.
    """
    years = goal.days / DAYS_PER_YEAR
    growth, depth = goal.log_multiple / years, -math.log1p(-goal.max_drawdown)
    wanted = -math.log(chance)

    def hazard(ratio: float) -> float:
        return goal.log_multiple * ratio / math.expm1(ratio * depth)

    low, high = 1e-9, 600.0 / depth
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if hazard(middle) > wanted else (low, middle)
    volatility = math.sqrt(2.0 * growth / max(high, 1.0))
    return {
        "chance": chance, "sharpe": growth / volatility + 0.5 * volatility, "volatility": volatility, "growth": growth,
    }  # fmt: skip


def growth_intervals(returns: F8, *, rows: int = 2_000, level: float = 0.9, seed: int = SEED) -> dict[str, Any]:
    """Return block-bootstrap intervals of growth a year and of the largest drawdown of a record of daily returns.

    Returns
    -------
    dict
        ``level`` and, as ``[low, high]`` fractions, ``cagr`` and ``max_drawdown``; None where the record is too short.
    """
    if len(returns) < MIN_RETURNS:
        return {"level": level, "cagr": None, "max_drawdown": None}
    logs = np.log1p(np.maximum(returns, WORST_RETURN))
    path = np.cumsum(resample_blocks(logs, rows, len(logs), np.random.default_rng(seed)), axis=1)
    falls = -np.expm1((path - np.maximum(np.maximum.accumulate(path, axis=1), 0.0)).min(axis=1))
    growth = np.expm1(path[:, -1] * DAYS_PER_YEAR / len(logs))
    ends = ((1 - level) / 2, (1 + level) / 2)
    return {
        "level": level,
        "cagr": [float(value) for value in np.quantile(growth, ends)],
        "max_drawdown": [float(value) for value in np.quantile(falls, ends)],
    }
