"""Fractional Kelly on the strategy's own record: how much volatility its edge, shrunk by its error, is worth.

For returns with mean m and variance s^2 a period, growth is fastest at f = m / s^2 (Kelly, 1956; Thorp, 2006), at which
the book's volatility equals its Sharpe ratio. The mean is estimated with the error e = s / sqrt(n). Expected growth of
the multiple k of the estimated f is k m^2/s^2 - k^2 (m^2 + e^2) / (2 s^2), largest at

    k = m^2 / (m^2 + e^2) = t^2 / (1 + t^2),    t = m / e

(Baker & McHale, 2013, in the Gaussian case). A fraction c of that is used (MacLean, Thorp & Ziemba, 2010), because a
record lies about the future in more ways than its standard error.
"""

from __future__ import annotations

import math

import numpy as np

from engine.core.compiling import kernel
from engine.core.state import State

MOST_SIGMAS = 8.0
"""A period's return counts as at most this many forecast volatilities: a deposit or a wrong mark is not an edge."""


@kernel
def worth_volatility(n: float, total: float, square: float, periods_per_year: float, limits: np.void) -> float:
    """Return the annualised volatility that a record is worth: c * k * Sharpe / spread.

    The record is blended with the prior as if the prior were ``kelly_prior_days`` periods of Sharpe ratio
    ``kelly_prior_sharpe`` and of the forecast volatility: before there is a record the prior alone decides.

    Parameters
    ----------
    n, total, square : float
        Periods, sum and sum of squares of net returns over the volatility that was forecast for them.
    periods_per_year : float
    limits : record of RISK_LIMITS

    Returns
    -------
    float, fraction a year
        In units of forecast volatility; 0 without an edge.

    Examples
    --------
    No record, a prior Sharpe of 1 known for a year, half Kelly: t = 1, so k = 1/2.

    >>> from engine.limits import risk_limits
    >>> worth_volatility(0.0, 0.0, 0.0, 365.0, risk_limits(kelly_fraction=0.5)[0])
    0.25
    """
    prior = limits["kelly_prior_days"]
    known = prior + n
    if not known > 0.0:
        return 0.0
    edge = (prior * limits["kelly_prior_sharpe"] / math.sqrt(periods_per_year) + total) / known
    spread = math.sqrt((prior + square) / known)
    if not (edge > 0.0 and spread > 0.0):
        return 0.0
    sharpe = edge / spread
    squared_t = sharpe * sharpe * known
    return limits["kelly_fraction"] * squared_t / (1.0 + squared_t) * sharpe * math.sqrt(periods_per_year) / spread


@kernel
def learn_edge(state: State, equity: float, volatility: float, limits: np.void) -> None:
    """Add the period that has ended to the strategy's record, in place, and note what the next one begins with.

    Older periods fade with ``kelly_memory_days``, also while nothing is held: a strategy whose edge has gone gets a
    small position again after a while, and with it the chance to show another.

    Parameters
    ----------
    state : State
    equity : float, ccy, after fees and funding
    volatility : float
        Of the book as held now, over the next period, fraction; 0 when nothing is held or it is unknown.
    limits : record of RISK_LIMITS
    """
    book = state.book[0]
    keep = 1.0 - 1.0 / max(limits["kelly_memory_days"], 1.0)
    book["edge_n"] *= keep
    book["edge_sum"] *= keep
    book["edge_square"] *= keep
    if book["period_volatility"] > 0.0 and book["period_equity"] > 0.0 and equity > 0.0:
        z = (equity / book["period_equity"] - 1.0) / book["period_volatility"]
        z = min(max(z, -MOST_SIGMAS), MOST_SIGMAS)
        book["edge_n"] += 1.0
        book["edge_sum"] += z
        book["edge_square"] += z * z
    book["period_equity"] = equity if equity > 0.0 else 0.0
    book["period_volatility"] = volatility if volatility > 0.0 else 0.0
