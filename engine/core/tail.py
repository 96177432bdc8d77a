"""Value at risk and expected shortfall (CVaR) of a book, by three methods. Losses are positive fractions of equity.

The measures here are plain and may be called from anywhere; ``tail_days`` and ``book_rules`` have compiled twins of
what the gate needs on every decision.

Sources: Acerbi & Tasche (2002) and Rockafellar & Uryasev (2002) for expected shortfall and its estimate from
scenarios; McNeil, Frey & Embrechts (2015) for Student's t; Barone-Adesi, Giannopoulos & Vosper (1999) for filtered
historical simulation.
"""

from __future__ import annotations

import math
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from engine.domain import F8

PRIOR_DOF = 4.0
"""Degrees of freedom of the Student-t while too few returns are kept to fit them: daily crypto returns have 3 to 5."""

LEAST_DOF, MOST_DOF = 2.5, 100.0
TABLE_POINTS = 64
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(96)


class TailMethod(IntEnum):
    """How the distribution of the next day's loss is made."""

    HISTORICAL = 0
    STUDENT_T = 1
    FILTERED = 2


class Tail(NamedTuple):
    """A book's tail over one horizon, fractions of equity, positive when money is lost."""

    value_at_risk: float
    expected_shortfall: float
    n_scenarios: int  # 0 for Student-t


def value_at_risk(losses: F8, level: float) -> float:
    """Return the loss that is exceeded with probability 1 - ``level``.

    The smallest loss l with P(L > l) <= 1 - level under the empirical distribution.

    Parameters
    ----------
    losses : (S,) float64, fraction, positive is a loss
    level : float in (0, 1), such as 0.975

    Returns
    -------
    float
        NaN without a scenario, or when one is NaN: unknown is not zero.
    """
    values = np.sort(np.asarray(losses, dtype=np.float64))[::-1]
    if len(values) == 0 or np.isnan(values).any():
        return math.nan
    beyond = (1.0 - level) * len(values)
    return float(values[min(math.floor(beyond + 1e-9), len(values) - 1)])


def expected_shortfall(losses: F8, level: float) -> float:
    """Return the mean loss in the worst 1 - ``level`` of scenarios.

    ES = (sum of the k worst + (m - k) * the next) / m, with m = (1 - level) * S and k = floor(m): the exact expected
    shortfall of S equally likely scenarios.

    Parameters
    ----------
    losses : (S,) float64, fraction, positive is a loss
    level : float in (0, 1)

    Returns
    -------
    float
        NaN without a scenario, or when one is NaN.

    Notes
    -----
    Source: Acerbi & Tasche (2002), definition 2.6; Rockafellar & Uryasev (2002), proposition 8.

    Examples
    --------
    >>> round(expected_shortfall(np.array([0.01, 0.02, 0.03, 0.10]), 0.5), 12)
    0.065
    """
    values = np.sort(np.asarray(losses, dtype=np.float64))[::-1]
    if len(values) == 0 or np.isnan(values).any():
        return math.nan
    mass = (1.0 - level) * len(values)
    whole = min(math.floor(mass + 1e-9), len(values))
    rest = mass - whole
    total = float(values[:whole].sum())
    if rest > 1e-9 and whole < len(values):
        total += rest * float(values[whole])
    return total / mass


def _upper_mass(dof: float, quantile: float) -> float:
    """Return P(T > quantile) of Student's t: with t = sqrt(dof) tan(a) the density is proportional to cos(a)^(dof-1).

    Its whole integral is the beta function B(1/2, dof/2).
    """
    low = math.atan(quantile / math.sqrt(dof))
    half = 0.5 * (0.5 * math.pi - low)
    angle = low + half * (_NODES + 1.0)
    part = half * float(np.sum(_NODE_WEIGHTS * np.cos(angle) ** (dof - 1.0)))
    whole = math.exp(math.lgamma(0.5) + math.lgamma(0.5 * dof) - math.lgamma(0.5 * dof + 0.5))
    return part / whole


@lru_cache(maxsize=1024)
def student_t(level: float, dof: float) -> tuple[float, float]:
    """Return value at risk and expected shortfall of a Student-t loss with mean 0 and variance 1.

    VaR = q * s and ES = s * f(q) / (1 - level) * (dof + q^2) / (dof - 1), with q the quantile and f the density of the
    standard t, and s = sqrt((dof - 2) / dof).

    Parameters
    ----------
    level : float in (0.5, 1)
    dof : float
        Degrees of freedom, > 2: below, there is no variance to scale by.

    Returns
    -------
    tuple of float

    Raises
    ------
    ValueError
        When ``dof`` is at most 2 or ``level`` outside (0.5, 1).

    Notes
    -----
    Source: McNeil, Frey & Embrechts (2015), section 2.3.4.
    """
    if not dof > 2.0:
        raise ValueError(f"dof {dof} must be above 2: a Student-t with fewer has no variance")
    if not 0.5 < level < 1.0:
        raise ValueError(f"level {level} must lie between 0.5 and 1")
    low, high = 0.0, 1.0
    while _upper_mass(dof, high) > 1.0 - level:
        high *= 2.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _upper_mass(dof, middle) > 1.0 - level else (low, middle)
    quantile = 0.5 * (low + high)
    log_density = math.lgamma(0.5 * (dof + 1.0)) - math.lgamma(0.5 * dof) - 0.5 * math.log(dof * math.pi)
    density = math.exp(log_density - 0.5 * (dof + 1.0) * math.log1p(quantile * quantile / dof))
    spread = math.sqrt((dof - 2.0) / dof)
    beyond = density / (1.0 - level) * (dof + quantile * quantile) / (dof - 1.0)
    return spread * quantile, spread * beyond


@lru_cache(maxsize=16)
def shortfall_table(level: float) -> F8:
    """Return expected shortfall per unit of volatility on a grid of 1/dof, for compiled code to interpolate.

    Point k belongs to 1/dof = k / (TABLE_POINTS - 1) / LEAST_DOF; the first, the normal law's, is taken at MOST_DOF.

    Returns
    -------
    (TABLE_POINTS,) float64
    """
    inverse = np.arange(TABLE_POINTS) / (TABLE_POINTS - 1) / LEAST_DOF
    return np.array([student_t(level, 1.0 / max(value, 1.0 / MOST_DOF))[1] for value in inverse.tolist()])


def fitted_dof(returns: F8) -> float:
    """Return degrees of freedom by the method of moments: 4 + 6 / excess kurtosis, within [LEAST_DOF, MOST_DOF].

    Parameters
    ----------
    returns : float64, any shape
        NaN is left out. The mean is taken as 0, as everywhere else in the core.

    Returns
    -------
    float
        ``PRIOR_DOF`` without at least two different values; ``MOST_DOF`` without fat tails.
    """
    known = np.asarray(returns, dtype=np.float64)
    known = known[np.isfinite(known)]
    square = float(np.mean(known**2)) if len(known) > 1 else 0.0
    if not square > 0.0:
        return PRIOR_DOF
    excess = float(np.mean(known**4)) / (square * square) - 3.0
    return min(4.0 + 6.0 / excess, MOST_DOF) if excess > 0.0 else MOST_DOF


def ewma_volatility(returns: F8, memory: float) -> F8:
    """Return each day's volatility as forecast at its start, and that of the day after: (T + 1, N).

    s2_t = s2_{t-1} + a * (r_{t-1}^2 - s2_{t-1}), a = max(2 / (memory + 1), 1 / t); NaN before the first return.

    Parameters
    ----------
    returns : (T, N) float64, fraction; NaN carries the estimate
    memory : float, days
    """
    n_days, n_symbols = returns.shape
    variance, seen = np.full(n_symbols, np.nan), np.zeros(n_symbols)
    out = np.full((n_days + 1, n_symbols), np.nan)
    for t in range(n_days):
        known = np.isfinite(returns[t])
        seen[known] += 1
        gain = np.maximum(2.0 / (memory + 1.0), 1.0 / np.maximum(seen, 1.0))
        before = np.where(np.isfinite(variance), variance, 0.0)
        variance = np.where(known, before + gain * (returns[t] ** 2 - before), variance)
        out[t + 1] = np.sqrt(variance)
    return out


def book_tail(returns: F8, weight: F8, method: TailMethod, level: float = 0.975, memory: float = 20.0) -> Tail:
    """Return the tail of the next day's loss of a book that is held unchanged.

    Parameters
    ----------
    returns : (T, N) float64, simple daily returns, oldest first
        Days on which a held symbol has none are left out, never counted as 0.
    weight : (N,) float64, signed notional over equity; NaN counts as unknown and gives NaN
    method : TailMethod
        HISTORICAL: the book on each past day. STUDENT_T: volatility from the EWMA of the book's returns, degrees of
        freedom from their kurtosis. FILTERED: each past day's returns over their forecast volatility, times today's.
    level : float in (0.5, 1)
    memory : float, days
        Of the volatility estimates.

    Returns
    -------
    Tail
        NaN when nothing is known of a held symbol.

    Notes
    -----
    Known at: the end of the newest day in ``returns``.
    """
    if np.isnan(weight).any():
        return Tail(math.nan, math.nan, 0)
    held = weight != 0.0
    if not held.any():
        return Tail(0.0, 0.0, 0)
    ours, w = np.asarray(returns, dtype=np.float64)[:, held], np.asarray(weight, dtype=np.float64)[held]
    if method == TailMethod.FILTERED:
        sigma = ewma_volatility(ours, memory)
        scenarios = np.maximum(ours / np.where(sigma[:-1] > 0.0, sigma[:-1], np.nan) * sigma[-1], -1.0)
    else:
        scenarios = ours
    losses = -(scenarios @ w)
    losses = losses[np.isfinite(losses)]
    if method == TailMethod.STUDENT_T:
        if len(losses) < 2:
            return Tail(math.nan, math.nan, 0)
        at_risk, shortfall = student_t(level, round(fitted_dof(losses), 6))
        volatility = float(ewma_volatility(losses[:, None], memory)[-1, 0])
        return Tail(volatility * at_risk, volatility * shortfall, 0)
    return Tail(value_at_risk(losses, level), expected_shortfall(losses, level), len(losses))
