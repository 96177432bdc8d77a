"""Value at risk and expected shortfall against closed forms and an independent library."""

import math

import numpy as np
import pytest
from scipy import stats
from skfolio.measures import cvar
from skfolio.measures import value_at_risk as skfolio_var

from engine.core.tail import (
    LEAST_DOF,
    MOST_DOF,
    PRIOR_DOF,
    TABLE_POINTS,
    TailMethod,
    book_tail,
    ewma_volatility,
    expected_shortfall,
    fitted_dof,
    shortfall_table,
    student_t,
    value_at_risk,
)


@pytest.mark.parametrize("dof", [2.5, 3.0, 4.0, 7.3, 30.0, 100.0])
@pytest.mark.parametrize("level", [0.9, 0.975, 0.995])
def test_student_t_equals_its_closed_form(dof, level):
    quantile, spread = stats.t.ppf(level, dof), math.sqrt((dof - 2.0) / dof)
    beyond = spread * stats.t.expect(lambda x: x, (dof,), lb=quantile, conditional=True)
    at_risk, shortfall = student_t(level, dof)
    assert at_risk == pytest.approx(spread * quantile, rel=1e-6)
    assert shortfall == pytest.approx(beyond, rel=1e-4)


def test_many_degrees_of_freedom_are_nearly_normal():
    normal = stats.norm.pdf(stats.norm.ppf(0.975)) / 0.025
    assert student_t(0.975, MOST_DOF)[1] == pytest.approx(normal, rel=0.02)


def test_interpolating_the_table_misses_by_less_than_a_percent():
    table = shortfall_table(0.975)
    grid = np.arange(TABLE_POINTS) / (TABLE_POINTS - 1) / LEAST_DOF
    for dof in (2.6, 3.3, 4.0, 5.5, 9.0, 40.0):
        assert np.interp(1.0 / dof, grid, table) == pytest.approx(student_t(0.975, dof)[1], rel=0.01)


@pytest.mark.parametrize("n", [7, 40, 365, 1000])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.975])
def test_scenario_measures_equal_an_independent_library(n, level):
    returns = np.random.default_rng(n).standard_t(3, n) * 0.02
    assert expected_shortfall(-returns, level) == pytest.approx(cvar(returns, beta=level), abs=1e-12)
    if (1.0 - level) * n != pytest.approx(round((1.0 - level) * n)):  # between two scenarios conventions differ
        assert value_at_risk(-returns, level) == pytest.approx(skfolio_var(returns, beta=level), abs=1e-12)


def test_shortfall_is_never_below_value_at_risk_and_both_grow_with_the_level():
    losses = np.random.default_rng(1).standard_t(3, 400)
    levels = (0.9, 0.95, 0.975, 0.99)
    shortfalls, at_risk = ([f(losses, level) for level in levels] for f in (expected_shortfall, value_at_risk))
    assert shortfalls == sorted(shortfalls)
    assert at_risk == sorted(at_risk)
    assert all(one >= other for one, other in zip(shortfalls, at_risk, strict=True))


def test_unknown_is_not_zero():
    assert math.isnan(expected_shortfall(np.array([]), 0.975))
    assert math.isnan(value_at_risk(np.array([0.1, math.nan]), 0.975))
    assert math.isnan(book_tail(np.zeros((5, 1)), np.array([math.nan]), TailMethod.HISTORICAL).expected_shortfall)
    assert math.isnan(book_tail(np.full((9, 1), np.nan), np.ones(1), TailMethod.FILTERED).value_at_risk)
    assert book_tail(np.full((9, 1), np.nan), np.zeros(1), TailMethod.FILTERED).value_at_risk == 0.0


def test_moments_find_the_degrees_of_freedom_again():
    drawn = np.random.default_rng(3).standard_t(10.0, 400_000)
    assert fitted_dof(drawn) == pytest.approx(10.0, rel=0.2)
    assert fitted_dof(np.array([0.01])) == PRIOR_DOF
    assert fitted_dof(np.random.default_rng(3).uniform(-1, 1, 500)) == MOST_DOF


def test_filtered_simulation_follows_todays_volatility_and_history_does_not():
    rng = np.random.default_rng(5)
    calm_then_wild = rng.normal(0, 1, (400, 1)) * np.where(np.arange(400) < 370, 0.01, 0.04)[:, None]
    weight = np.array([0.5])
    tails = {method: book_tail(calm_then_wild, weight, method).expected_shortfall for method in TailMethod}
    assert tails[TailMethod.FILTERED] > 1.1 * tails[TailMethod.HISTORICAL]
    assert tails[TailMethod.FILTERED] == pytest.approx(0.5 * 0.04 * 2.34, rel=0.5)  # 2.34: the normal law's
    assert tails[TailMethod.STUDENT_T] == pytest.approx(tails[TailMethod.FILTERED], rel=0.6)


def test_methods_agree_with_the_closed_form_on_normal_returns():
    covariance = np.array([[4.0, 2.0], [2.0, 9.0]]) * 1e-4
    returns = np.random.default_rng(8).multivariate_normal([0, 0], covariance, 20_000)
    weight = np.array([0.4, -0.3])
    exact = math.sqrt(weight @ covariance @ weight) * stats.norm.pdf(stats.norm.ppf(0.975)) / 0.025
    for method in TailMethod:
        assert book_tail(returns, weight, method, memory=2000.0).expected_shortfall == pytest.approx(exact, rel=0.08)


def test_volatility_is_forecast_before_its_day():
    returns = np.array([[0.01], [0.02], [math.nan], [0.5]])
    forecast = ewma_volatility(returns, 1e9)
    assert math.isnan(forecast[0, 0])
    assert forecast[1, 0] == pytest.approx(0.01)
    assert forecast[2, 0] == forecast[3, 0] == pytest.approx(math.sqrt((0.01**2 + 0.02**2) / 2))


@pytest.mark.parametrize(("level", "dof"), [(0.975, 2.0), (0.4, 5.0), (1.0, 5.0)])
def test_impossible_laws_are_refused(level, dof):
    with pytest.raises(ValueError, match="must"):
        student_t(level, dof)
