"""The Almgren-Chriss schedule: how fast to trade when waiting is risky and hurrying moves the price.

Robert Almgren and Neil Chriss, "Optimal execution of portfolio transactions", Journal of Risk 3 (2000), with their
symbols: X quantity, T duration, N steps of length tau, sigma volatility (price per sqrt second), eta temporary impact
(price per quantity per second), gamma permanent impact (price per quantity), epsilon fixed cost (price), lambda risk
aversion (1 over money). Minimising E + lambda V gives holdings x_j = X sinh(kappa (T - t_j)) / sinh(kappa T).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.domain import F8

FLAT_URGENCY = 1e-6  # kappa T below which the schedule is a straight line within rounding


class Market(NamedTuple):
    """What trading costs, in the paper's symbols; see the module."""

    sigma: float
    eta: float
    gamma: float = 0.0
    epsilon: float = 0.0


def kappa(risk_aversion: float, market: Market, tau: float) -> float:
    """Return the rate at which holdings decay, 1 per second.

    2 (cosh(kappa tau) - 1) / tau^2 = lambda sigma^2 / (eta - gamma tau / 2)

    Parameters
    ----------
    risk_aversion : float >= 0, 1 over money
    market : Market
    tau : float > 0, seconds between two trades

    Raises
    ------
    ValueError
        The permanent impact of one step is so large that waiting would pay: eta <= gamma tau / 2.
    """
    eta_tilde = market.eta - market.gamma * tau / 2.0
    if not eta_tilde > 0.0:
        raise ValueError(f"eta {market.eta:g} must be above gamma tau / 2 = {market.gamma * tau / 2:g}")
    return math.acosh(risk_aversion * market.sigma**2 / eta_tilde * tau**2 / 2.0 + 1.0) / tau


def share_left(elapsed: float, urgency: float) -> float:
    """Return which share of the quantity is still held after a share of the duration.

    sinh(u (1 - s)) / sinh(u), with u = kappa T; a straight line as u goes to 0

    Parameters
    ----------
    elapsed : float
        s; below 0 counts as 0, above 1 as 1.
    urgency : float >= 0
        u.

    Examples
    --------
    >>> share_left(0.5, 0.0), round(share_left(0.5, 2.0), 6)
    (0.5, 0.324027)
    """
    rest = 1.0 - min(max(elapsed, 0.0), 1.0)
    if urgency < FLAT_URGENCY:
        return rest
    # sinh(u r) / sinh(u) without overflow for any u
    return math.exp(-urgency * (1.0 - rest)) * -math.expm1(-2.0 * urgency * rest) / -math.expm1(-2.0 * urgency)


def holdings(qty: float, n_steps: int, urgency: float) -> F8:
    """Return what is held at t_0 ... t_N, (n_steps + 1,) base units, from ``qty`` to 0."""
    return np.array([qty * share_left(step / n_steps, urgency) for step in range(n_steps + 1)])


def expected_cost(held: F8, market: Market, tau: float) -> float:
    """Return E of a schedule: what its impact costs on average, money.

    E = gamma X^2 / 2 + epsilon sum |n_k| + (eta - gamma tau / 2) / tau sum n_k^2, where n_k = x_{k-1} - x_k

    Parameters
    ----------
    held : (N + 1,) float64, base units, from X to 0
    """
    sold = -np.diff(held)
    eta_tilde = market.eta - market.gamma * tau / 2.0
    fixed = market.gamma * held[0] ** 2 / 2.0 + market.epsilon * np.abs(sold).sum()
    return float(fixed + eta_tilde / tau * (sold**2).sum())


def variance(held: F8, market: Market, tau: float) -> float:
    """Return V of a schedule: the variance of its cost, money squared; V = sigma^2 sum tau x_k^2 for k = 1 ... N."""
    return float(market.sigma**2 * tau * (held[1:] ** 2).sum())
