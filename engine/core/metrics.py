"""Performance figures of one equity curve. Every one says its unit, its factor and what it does with NaN.

Returns are simple returns per period, not logarithms. Annual figures use a stated number of periods a year, 365 for
crypto days. No risk-free rate is deducted: margin earns none at the venue.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from engine.domain import F8

EULER_GAMMA = 0.5772156649015329


def _checked_equity(equity: F8) -> F8:
    values = np.asarray(equity, dtype=np.float64)
    if values.size and not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError("equity holds NaN or values <= 0: missing is not zero, and a lost account has no return")
    return values


def simple_returns(equity: F8) -> F8:
    """Return equity_t / equity_{t-1} - 1.

    Parameters
    ----------
    equity : (T,) float64, quote currency, > 0

    Returns
    -------
    (max(T-1, 0),) float64, fractions

    Raises
    ------
    ValueError
        If any value is NaN or <= 0.

    Examples
    --------
    >>> simple_returns(np.array([100.0, 110.0, 99.0])).round(12).tolist()
    [0.1, -0.1]
    """
    values = _checked_equity(equity)
    return values[1:] / values[:-1] - 1.0 if values.size > 1 else np.empty(0)


def drawdowns(equity: F8) -> F8:
    """Return 1 - equity_t / max_{s<=t} equity_s for every bar: (T,) fractions in [0, 1)."""
    values = _checked_equity(equity)
    return 1.0 - values / np.maximum.accumulate(values) if values.size else values


def max_drawdown(equity: F8) -> float:
    """Return the largest fall from a running peak, as a fraction of that peak.

    DD = max_t (1 - equity_t / max_{s<=t} equity_s)

    Parameters
    ----------
    equity : (T,) float64, quote currency, > 0
        Oldest first, after fees.

    Returns
    -------
    float in [0, 1]
        0.25 means 25 %; 0.0 for T <= 1.

    Raises
    ------
    ValueError
        If any value is NaN or <= 0.

    Notes
    -----
    Known at: the last bar. Source: Magdon-Ismail & Atiya (2004).

    Examples
    --------
    >>> max_drawdown(np.array([100.0, 120.0, 90.0, 130.0]))
    0.25
    """
    falls = drawdowns(equity)
    return float(falls.max()) if falls.size else 0.0


def annual_growth(first_equity: float, last_equity: float, years: float) -> float:
    """Return the compound annual growth rate (last / first) ** (1 / years) - 1, fraction; NaN for years <= 0."""
    if years <= 0 or first_equity <= 0 or last_equity <= 0:
        return math.nan
    exponent = math.log(last_equity / first_equity) / years
    return math.expm1(exponent) if exponent < 700 else math.inf


def sharpe_ratio(returns: F8, periods_per_year: float) -> float:
    """Return mean / standard deviation (ddof 1) of returns, times sqrt(periods_per_year).

    Parameters
    ----------
    returns : (T,) float64, fractions per period
    periods_per_year : float
        365 for daily returns.

    Returns
    -------
    float, per square root of a year
        NaN for fewer than two returns or no variation.

    Notes
    -----
    NaN in, NaN out. Source: Sharpe (1994).

    Examples
    --------
    >>> round(sharpe_ratio(np.array([0.01, 0.03]), 1.0), 12)  # mean 0.02, deviation 0.01 * sqrt(2)
    1.414213562373
    """
    if len(returns) < 2:
        return math.nan
    deviation = float(np.std(returns, ddof=1))
    return float(np.mean(returns)) / deviation * math.sqrt(periods_per_year) if deviation > 1e-15 else math.nan


def sortino_ratio(returns: F8, periods_per_year: float) -> float:
    """Return mean / downside deviation, annualised; downside = sqrt(mean(min(r, 0)^2)) over all returns.

    NaN for fewer than two returns or when none is negative. Source: Sortino & Price (1994), target 0.

    Examples
    --------
    >>> round(sortino_ratio(np.array([0.02, -0.01]), 1.0), 12)  # mean 0.005, downside sqrt(0.0001 / 2)
    0.707106781187
    """
    if len(returns) < 2:
        return math.nan
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    return float(np.mean(returns)) / downside * math.sqrt(periods_per_year) if downside > 0 else math.nan


def conditional_value_at_risk(returns: F8, level: float = 0.95) -> float:
    """Return the mean loss in the worst 1 - level of periods, as a positive fraction.

    The ceil((1 - level) * T) smallest returns are averaged and the sign is turned; NaN without returns.
    Source: Rockafellar & Uryasev (2000), empirical estimator.

    Examples
    --------
    >>> conditional_value_at_risk(np.array([0.01, -0.04, 0.02, -0.02]), level=0.5)  # worst two: 4 % and 2 %
    0.03
    """
    if len(returns) == 0:
        return math.nan
    n_worst = max(1, math.ceil(round((1.0 - level) * len(returns), 9)))
    return -float(np.mean(np.partition(returns, n_worst - 1)[:n_worst]))


def profit_factor(pnl: F8) -> float:
    """Return gains over losses of closed trades, a ratio; NaN without trades, inf without losses."""
    if len(pnl) == 0:
        return math.nan
    losses = -float(np.sum(pnl[pnl < 0]))
    gains = float(np.sum(pnl[pnl > 0]))
    if losses == 0:
        return math.inf if gains > 0 else math.nan
    return gains / losses


def alpha_beta(returns: F8, benchmark_returns: F8, periods_per_year: float) -> tuple[float, float]:
    """Return annualised alpha and beta of a least-squares line of returns on benchmark returns.

    beta = cov(r, b) / var(b); alpha = (mean(r) - beta * mean(b)) * periods_per_year.

    Parameters
    ----------
    returns, benchmark_returns : (T,) float64, fractions per period, same periods
    periods_per_year : float

    Returns
    -------
    tuple of float
        Alpha in fraction a year, beta as a ratio. NaN for T < 3 or a constant benchmark.

    Examples
    --------
    >>> alpha, beta = alpha_beta(np.array([0.03, 0.01, -0.01]), np.array([0.02, 0.0, -0.02]), 100.0)
    >>> round(alpha, 9), round(beta, 9)
    (1.0, 1.0)
    """
    if len(returns) < 3 or len(returns) != len(benchmark_returns):
        return math.nan, math.nan
    variance = float(np.var(benchmark_returns))
    if variance <= 0:
        return math.nan, math.nan
    centred = (returns - returns.mean()) * (benchmark_returns - benchmark_returns.mean())
    beta = float(np.mean(centred)) / variance
    return float(np.mean(returns) - beta * np.mean(benchmark_returns)) * periods_per_year, beta


def probabilistic_sharpe(returns: F8, hurdle: float) -> float:
    """Return the probability that the true Sharpe ratio per period exceeds ``hurdle``.

    PSR = Phi((SR - hurdle) * sqrt(T - 1) / sqrt(1 - skew * SR + (kurtosis - 1) / 4 * SR^2))

    Parameters
    ----------
    returns : (T,) float64, fractions per period
    hurdle : float
        Sharpe ratio per period, not annualised.

    Returns
    -------
    float in [0, 1]
        NaN for fewer than three returns or no variation.

    Notes
    -----
    Source: Bailey & Lopez de Prado (2012). Kurtosis is not in excess; moments are population moments.
    """
    n = len(returns)
    sharpe = sharpe_ratio(returns, 1.0)
    if n < 3 or math.isnan(sharpe):
        return math.nan
    scaled = (returns - returns.mean()) / np.std(returns)
    skew, kurtosis = float(np.mean(scaled**3)), float(np.mean(scaled**4))
    spread = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe
    if spread <= 0:
        return math.nan
    return NormalDist().cdf((sharpe - hurdle) * math.sqrt(n - 1) / math.sqrt(spread))


def expected_best_sharpe(trial_sharpes: F8, n_trials: int | None = None) -> float:
    """Return the Sharpe ratio that the best of so many trials is expected to show without any skill.

    E = sd(SR) * ((1 - g) * Phi^-1(1 - 1/n) + g * Phi^-1(1 - 1/(n e))), g the Euler-Mascheroni constant.

    Parameters
    ----------
    trial_sharpes : (n,) float64, per period
    n_trials : int, optional
        How many were tried, where not all have a known ratio. Default: n.

    Returns
    -------
    float, per period
        0.0 for one trial: nothing was selected.

    Notes
    -----
    Source: Bailey & Lopez de Prado (2014), equation for the false strategy theorem.
    """
    n = max(len(trial_sharpes), n_trials or 0)
    if n < 2 or len(trial_sharpes) < 2:
        return 0.0
    deviation = float(np.std(trial_sharpes, ddof=1))
    normal = NormalDist()
    best = (1 - EULER_GAMMA) * normal.inv_cdf(1 - 1 / n) + EULER_GAMMA * normal.inv_cdf(1 - 1 / (n * math.e))
    return deviation * best


def deflated_sharpe(returns: F8, trial_sharpes: F8) -> float:
    """Return the probability that the true Sharpe ratio beats the best that luck would have shown.

    Parameters
    ----------
    returns : (T,) float64, fractions per period
        Of the chosen strategy.
    trial_sharpes : (n,) float64, per period
        Of everything that was tried on the same data, the chosen one included.

    Returns
    -------
    float in [0, 1]
        With one trial this is the probability that the true Sharpe ratio is above 0.

    Notes
    -----
    Source: Bailey & Lopez de Prado (2014).
    """
    return probabilistic_sharpe(returns, expected_best_sharpe(trial_sharpes))
