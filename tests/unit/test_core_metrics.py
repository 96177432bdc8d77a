"""Figures against hand-worked numbers."""

import math

import numpy as np
import pytest

from engine.core.metrics import (
    alpha_beta,
    annual_growth,
    conditional_value_at_risk,
    deflated_sharpe,
    drawdowns,
    expected_best_sharpe,
    max_drawdown,
    probabilistic_sharpe,
    profit_factor,
    sharpe_ratio,
    simple_returns,
    sortino_ratio,
)


def test_max_drawdown_is_measured_from_the_running_peak():
    assert max_drawdown(np.array([100.0, 120.0, 90.0, 130.0, 117.0])) == 0.25  # 1 - 90/120; later 1 - 117/130 = 0.1
    assert drawdowns(np.array([100.0, 80.0, 100.0])).round(12).tolist() == [0.0, 0.2, 0.0]


def test_max_drawdown_of_one_value_is_zero_and_of_nan_is_refused():
    assert max_drawdown(np.array([100.0])) == 0.0
    with pytest.raises(ValueError, match="NaN"):
        max_drawdown(np.array([100.0, math.nan]))
    with pytest.raises(ValueError, match="<= 0"):
        max_drawdown(np.array([100.0, 0.0]))


def test_sharpe_of_three_returns():
    # 1 %, 2 %, 3 %: mean 2 %, sample deviation 1 %; times sqrt(365)
    assert sharpe_ratio(np.array([0.01, 0.02, 0.03]), 365.0) == pytest.approx(2.0 * math.sqrt(365.0), rel=1e-12)
    assert math.isnan(sharpe_ratio(np.array([0.01, 0.01]), 365.0))
    assert math.isnan(sharpe_ratio(np.array([0.01]), 365.0))


def test_sortino_counts_only_falls_but_divides_by_all_periods():
    # mean 1 %; downside sqrt((0 + 0 + 0.03^2 + 0) / 4) = 0.015
    returns = np.array([0.02, 0.04, -0.03, 0.01])
    assert sortino_ratio(returns, 1.0) == pytest.approx(0.01 / 0.015, rel=1e-12)


def test_annual_growth_of_a_doubling_in_half_a_year_is_three_hundred_percent():
    assert annual_growth(100.0, 200.0, 0.5) == pytest.approx(3.0)
    assert math.isnan(annual_growth(100.0, 0.0, 1.0))


def test_cvar_averages_the_worst_twentieth():
    returns = np.concatenate([np.full(38, 0.01), [-0.10, -0.06]])  # 5 % of 40 = 2 periods
    assert conditional_value_at_risk(returns) == pytest.approx(0.08)


def test_profit_factor_cases():
    assert profit_factor(np.array([30.0, -10.0, -5.0])) == 2.0
    assert profit_factor(np.array([1.0])) == math.inf
    assert math.isnan(profit_factor(np.array([])))


def test_alpha_beta_recovers_a_line():
    benchmark = np.array([0.01, -0.02, 0.03, 0.00])
    alpha, beta = alpha_beta(0.001 + 0.5 * benchmark, benchmark, 365.0)
    assert alpha == pytest.approx(0.365)
    assert beta == pytest.approx(0.5)
    assert all(math.isnan(value) for value in alpha_beta(benchmark, np.zeros(4), 365.0))


def test_probabilistic_sharpe_is_one_half_at_its_own_value():
    returns = np.array([0.01, -0.02, 0.03, 0.00, 0.01])
    assert probabilistic_sharpe(returns, sharpe_ratio(returns, 1.0)) == pytest.approx(0.5)


def test_probabilistic_sharpe_hand_worked():
    # returns +3, -1 repeated twice (percent): mean 1, population deviation 2, skew 0, kurtosis 1
    returns = np.array([0.03, -0.01, 0.03, -0.01])
    sharpe = 0.01 / (0.02 * math.sqrt(4 / 3))
    z = sharpe * math.sqrt(3)  # 1 - 0 + (1 - 1) / 4 * SR^2 = 1 in the root
    assert probabilistic_sharpe(returns, 0.0) == pytest.approx(0.5 * (1 + math.erf(z / math.sqrt(2))))


def test_more_trials_deflate_more():
    returns = np.random.default_rng(0).normal(0.001, 0.01, 500)
    few = deflated_sharpe(returns, np.array([0.0, 0.1]))
    many = deflated_sharpe(returns, np.tile([0.0, 0.1], 50))
    assert deflated_sharpe(returns, np.array([0.1])) == probabilistic_sharpe(returns, 0.0)
    assert many < few < probabilistic_sharpe(returns, 0.0)


def test_expected_best_of_two_trials():
    # sd of (0, 1) is 0.7071; quantiles: Phi^-1(0.5) = 0, Phi^-1(1 - 1 / (2 e)) = 0.9004
    assert expected_best_sharpe(np.array([0.0, 1.0])) == pytest.approx(0.70711 * 0.57722 * 0.9004, rel=1e-3)


def test_simple_returns_of_a_short_curve_are_empty():
    assert simple_returns(np.array([100.0])).size == 0
