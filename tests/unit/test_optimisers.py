"""Optimisers against closed forms and against an independent library, and their comparison on what follows."""

import itertools

import numpy as np
import pytest

from engine.errors import DataError
from engine.research.optimiser_evidence import better, compare, walk
from engine.strategies.optimisers import (
    CVAR_LEVEL,
    OPTIMISERS,
    RISK_AVERSION,
    equal,
    hierarchical_risk_parity,
    mean_variance,
    minimum_cvar,
    qubo,
    qubo_matrix,
    risk_parity,
)


def drawn(n_periods=400, volatility=(0.01, 0.02, 0.03), correlation=0.4, seed=1, mean=0.0):
    """Returns whose sample covariance is exactly what is asked for."""
    n = len(volatility)
    raw = np.random.default_rng(seed).normal(size=(n_periods, n))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    wanted = np.full((n, n), correlation) + (1 - correlation) * np.eye(n)
    return white @ np.linalg.cholesky(wanted).T * volatility + mean


def held(returns):
    return np.full(returns.shape[1], 1.0 / returns.shape[1])


def test_risk_parity_with_equal_correlations_is_inverse_volatility():
    weights = risk_parity(returns := drawn(), held(returns), 0.0)
    inverse = 1 / np.array([0.01, 0.02, 0.03])
    assert weights == pytest.approx(inverse / inverse.sum(), rel=1e-6)


def test_mean_variance_of_equal_means_is_the_minimum_variance_of_two_assets():
    returns = drawn(volatility=(0.01, 0.02), correlation=0.3)
    one, two, both = 1e-4, 4e-4, 0.3 * 2e-4
    assert mean_variance(returns, held(returns), 0.0)[0] == pytest.approx(
        (two - both) / (one + two - 2 * both), abs=1e-4
    )


def test_a_cost_of_trading_keeps_what_is_held():
    returns = drawn(volatility=(0.01, 0.02), correlation=0.3)
    before = np.array([0.3, 0.7])
    assert mean_variance(returns, before, 10.0) == pytest.approx(before, abs=1e-6)
    moved = [np.abs(mean_variance(returns, before, cost) - before).sum() for cost in (0.0, 0.02, 0.1)]
    assert moved[0] > moved[1] > moved[2]


def test_minimum_cvar_and_risk_parity_agree_with_an_independent_library():
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk, RiskBudgeting

    rng = np.random.default_rng(3)
    returns = rng.standard_t(4, size=(300, 3)) * (0.01, 0.015, 0.02)
    theirs = MeanRisk(risk_measure=RiskMeasure.CVAR, cvar_beta=CVAR_LEVEL).fit(returns).weights_
    assert minimum_cvar(returns, held(returns), 0.0) == pytest.approx(theirs, abs=1e-3)
    budgeted = RiskBudgeting(risk_measure=RiskMeasure.VARIANCE).fit(returns).weights_
    assert risk_parity(returns, held(returns), 0.0) == pytest.approx(budgeted, abs=1e-3)


def test_hierarchical_risk_parity_of_two_assets_is_inverse_variance():
    returns = drawn(volatility=(0.01, 0.02), correlation=0.2)
    assert hierarchical_risk_parity(returns, held(returns), 0.0) == pytest.approx([0.8, 0.2], abs=1e-6)
    flat = np.column_stack([returns, np.zeros(len(returns))])
    assert hierarchical_risk_parity(flat, held(flat), 0.0)[2] == 0.0


def test_the_annealer_finds_the_lowest_energy_of_all_bit_strings():
    returns = drawn(volatility=(0.01, 0.02), correlation=0.1, mean=np.array([0.0002, 0.0004]))
    matrix, worth = qubo_matrix(returns)
    energies = {
        bits: float(np.array(bits) @ matrix @ np.array(bits)) for bits in itertools.product((0, 1), repeat=len(worth))
    }
    lowest = np.array(min(energies, key=energies.get))
    weights = (worth * lowest).reshape(2, -1).sum(axis=1)
    assert weights.sum() == pytest.approx(1.0, abs=0.11)
    assert qubo(returns, held(returns), 0.0) == pytest.approx(weights / weights.sum(), abs=1e-9)
    smooth = mean_variance(returns, held(returns), 0.0)
    assert weights / weights.sum() == pytest.approx(smooth, abs=0.1)
    assert RISK_AVERSION > 0


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_gives_long_only_weights_that_sum_to_one(name):
    returns = np.column_stack([drawn(120), np.zeros(120)])
    weights = OPTIMISERS[name](returns, held(returns), 0.001)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0).all()


def test_what_is_traded_was_chosen_before_and_pays_its_costs():
    returns = drawn(160, seed=4)
    other = returns.copy()
    other[131:] = 0.5
    seen = walk(returns, risk_parity, 60, 20, 0.001)[0]
    assert np.array_equal(seen[:71], walk(other, risk_parity, 60, 20, 0.001)[0][:71])
    free, _, _ = walk(returns, equal, 60, 20, 0.0)
    paid, traded, _ = walk(returns, equal, 60, 20, 0.001)
    assert free.sum() - paid.sum() == pytest.approx(0.001 * traded)
    assert traded > 1.0


def test_the_comparison_names_the_best_and_says_whether_that_means_anything():
    rng = np.random.default_rng(5)
    returns = rng.normal(0, 0.01, (140, 3))
    found = compare(
        returns, np.arange(140) * 86_400_000, ("a", "b", "c"), given={"rule": returns[:, 0]}, train=90, test=25
    )
    assert [row["name"] for row in found["rows"]] == [*OPTIMISERS, "rule"]
    assert found["folds"] == 2
    assert found["beats_control"] is False
    assert sum(found["last"]["risk parity"].values()) == pytest.approx(1.0)
    with pytest.raises(DataError, match="40 days are too few"):
        compare(returns[:40], np.arange(40), ("a", "b", "c"))


def test_a_quiet_rule_is_not_worse_than_a_wild_one_for_earning_less():
    days = np.random.default_rng(3).normal(0.0, 1.0, (2, 1_500))
    quiet, wild = 0.0005 + 0.001 * days[0], 0.0008 + 0.02 * days[1]  # a Sharpe ratio of 9.6 a year against 0.8
    assert quiet.mean() < wild.mean()
    assert better(quiet, wild)
    assert better(0.1 * quiet, wild), "how much of it is held does not matter"
    assert not better(wild, quiet)
    assert not better(wild, 0.5 * wild)
    assert not better(np.zeros(1_500), wild)
    alike = np.random.default_rng(1).normal(0.0005, 0.01, (2, 300))
    assert not better(alike[0], alike[1], tried=5)
