"""Fractional Kelly on the strategy's own record, against closed forms."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from engine.core.kelly import MOST_SIGMAS, learn_edge, worth_volatility
from engine.core.state import BOOK
from engine.limits import risk_limits

worth = worth_volatility.py_func  # the same lines, without waiting for a compiler
learn = learn_edge.py_func


def limits(**changes):
    usual = {"kelly_fraction": 0.5, "kelly_prior_sharpe": 1.0, "kelly_prior_days": 365.0}
    return risk_limits(**usual | changes)[0]


def record(z):
    return len(z), float(np.sum(z)), float(np.sum(np.square(z)))


def test_the_prior_alone_decides_before_there_is_a_record():
    assert worth(0.0, 0.0, 0.0, 365.0, limits()) == pytest.approx(0.25)
    assert worth(0.0, 0.0, 0.0, 365.0, limits(kelly_prior_days=1095.0)) == pytest.approx(0.5 * 0.75)
    assert worth(0.0, 0.0, 0.0, 365.0, limits(kelly_prior_sharpe=0.0)) == 0.0


def test_a_long_record_forgets_the_prior_and_gives_the_kelly_volatility():
    sharpe = 2.0
    z = np.random.default_rng(1).normal(sharpe / math.sqrt(365.0), 1.0, 2_000_000)
    # full Kelly volatility equals the Sharpe ratio (Thorp, 2006)
    assert worth(*record(z), 365.0, limits(kelly_fraction=1.0)) == pytest.approx(sharpe, rel=0.03)


def test_the_shrinkage_is_the_multiple_with_the_best_expected_growth():
    mean, spread, n = 0.05, 1.0, 400
    error = spread / math.sqrt(n)

    def lost_growth(k):  # of the estimated Kelly fraction, when the estimate is normal around the truth
        return -(k * mean**2 / spread**2 - k**2 * (mean**2 + error**2) / (2 * spread**2))

    best = minimize_scalar(lost_growth, bounds=(0, 2), method="bounded").x
    # a record whose mean square is exactly spread², so that nothing but the shrinkage is left
    found = worth(n, mean * n, spread**2 * n, 1.0, limits(kelly_fraction=1.0, kelly_prior_days=0.0))
    assert found == pytest.approx(best * mean / spread, rel=1e-6)


def test_a_strategy_that_loses_is_worth_nothing():
    z = np.random.default_rng(2).normal(-0.2, 1.0, 700)
    assert worth(*record(z), 365.0, limits()) == 0.0


def test_more_volatile_than_forecast_is_worth_less():
    n, total = 400, 60.0
    assert worth(n, total, 4.0 * n, 365.0, limits()) < worth(n, total, 1.0 * n, 365.0, limits())


def period(book, equity, volatility, **changes):
    class Holder:
        pass

    state = Holder()
    state.book = book
    learn(state, equity, volatility, limits(kelly_memory_days=100.0, **changes))


def test_a_period_counts_in_units_of_its_forecast_and_older_ones_fade():
    book = np.zeros(1, dtype=BOOK)
    period(book, 1000.0, 0.02)
    assert book["edge_n"][0] == 0.0  # nothing has ended yet
    period(book, 1010.0, 0.01)
    assert (book["edge_n"][0], book["edge_sum"][0]) == (1.0, pytest.approx(0.5))
    period(book, 1010.0, 0.0)
    assert book["edge_n"][0] == pytest.approx(1.99)
    period(book, 2000.0, 0.01)  # nothing was held: the jump was no return of the strategy's
    assert book["edge_n"][0] == pytest.approx(1.99 * 0.99)


def test_jumps_and_unknown_equity_teach_little_and_nothing():
    book = np.zeros(1, dtype=BOOK)
    period(book, 1000.0, 0.01)
    period(book, 9000.0, 0.01)
    assert book["edge_sum"][0] == MOST_SIGMAS
    period(book, math.nan, math.nan)
    period(book, 9000.0, 0.01)
    assert book["edge_n"][0] == pytest.approx(0.99**2)
