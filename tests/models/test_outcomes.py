"""Labels as evidence: who knows how far prices move is told from who does not, and barriers are looked for in paths."""

from __future__ import annotations

import numpy as np
import pytest

from models.forecast import HORIZONS, QUANTILE_LEVELS, Panel, Prediction
from models.labels import realized_volatility, triple_barrier
from models.outcomes import (
    FEWEST_SCALE_DAYS,
    HORIZON,
    NORMAL_WIDTH,
    Outcomes,
    implied_variance,
    outcome_tallies,
    outcomes_of,
    quasi_likelihood,
    scale_before,
)
from models.panel import made_up_panel
from models.position import HIGH, LOW
from models.tallies import ratio

H, Q, N_DAYS = len(HORIZONS), len(QUANTILE_LEVELS), 120
DAY = np.repeat(np.arange(N_DAYS), 24)
SHAPE = np.linspace(-2.0, 2.0, Q)


def forecast(width: np.ndarray, prob: np.ndarray) -> Prediction:
    """The same at every horizon, for one symbol: (T,) widths in sigmas and probabilities."""
    quantile = np.broadcast_to((width[:, None] * SHAPE)[:, None, None, :], (len(width), 1, H, Q))
    return Prediction(quantile, np.broadcast_to(prob[:, None, None], (len(prob), 1, H)))


def test_a_width_is_the_variance_of_a_normal_distribution_as_wide() -> None:
    normal = np.zeros((1, 1, H, Q))
    normal[..., LOW], normal[..., HIGH] = -NORMAL_WIDTH / 2.0, NORMAL_WIDTH / 2.0
    assert implied_variance(normal, np.array([[0.02]]))[0, 0] == pytest.approx(0.02**2)


def test_a_scale_is_the_mean_of_days_whose_outcomes_are_known_and_minimises_the_loss() -> None:
    value = np.where(DAY < 60, 2.0, 5.0)[:, None]
    scale = scale_before(value, DAY)
    assert np.isnan(scale[:FEWEST_SCALE_DAYS]).all()
    assert scale[FEWEST_SCALE_DAYS + 1 : 62] == pytest.approx(2.0)  # day 60 is known once day 61 is over
    assert scale[62] == pytest.approx((60 * 2.0 + 5.0) / 61)
    v = np.random.default_rng(1).chisquare(3, 1_000)
    losses = [quasi_likelihood(v, np.full(1_000, factor * v.mean())).mean() for factor in (0.9, 1.0, 1.1)]
    assert losses[1] == min(losses)


def test_who_knows_how_far_prices_move_beats_the_average_of_the_past_whatever_its_units() -> None:
    rng = np.random.default_rng(2)
    size = np.repeat(np.exp(0.5 * rng.standard_normal(N_DAYS)), 24)  # another volatility every day
    variance = (1e-4 * size**2 * rng.chisquare(24, len(size)) / 24)[:, None]
    found, sigma, even = (
        Outcomes(variance, np.zeros(variance.shape)),
        np.full(variance.shape, 0.01),
        np.full(len(size), 0.5),
    )
    base = forecast(np.ones(len(size)), even)
    knowing = outcome_tallies(forecast(3.0 * size, even), base, found, sigma, DAY)
    constant = outcome_tallies(forecast(np.full(len(size), 0.2), even), base, found, sigma, DAY)
    assert ratio(knowing["volatility_gain"])[0] > 0.3
    assert ratio(knowing["volatility_loss"])[0] == pytest.approx(0.042, abs=0.01)  # of the chi-square noise alone
    assert ratio(knowing["volatility_ic"])[0] > 0.8
    assert ratio(constant["volatility_gain"])[0] == pytest.approx(0.0, abs=1e-12)  # the EWMA is constant here, too
    width = (SHAPE[HIGH] - SHAPE[LOW]) / NORMAL_WIDTH
    assert ratio(knowing["volatility_ratio"])[0] == pytest.approx(1.0 / (3.0 * width), rel=0.02)
    later = variance.copy()
    later[DAY >= 100] *= 9.0  # what comes afterwards does not change what was lost before
    again = outcome_tallies(forecast(3.0 * size, even), base, Outcomes(later, found.barrier), sigma, DAY)
    np.testing.assert_array_equal(again["volatility_loss"][0][:100], knowing["volatility_loss"][0][:100])


def test_a_confident_call_is_right_where_its_barrier_comes_first() -> None:
    rng = np.random.default_rng(3)
    lean = np.where(rng.uniform(size=len(DAY)) < 0.3, 0.1, 0.01) * rng.choice([-1.0, 1.0], len(DAY))
    barrier = np.sign(lean) * np.where(np.abs(lean) > 0.05, 1.0, -1.0)  # right where it is confident, else wrong
    barrier[::3] = 0.0  # neither in time
    barrier[-24:] = np.nan
    found = Outcomes(np.full((len(DAY), 1), 1e-4), barrier[:, None])
    said, base = forecast(np.ones(len(DAY)), 0.5 + lean), forecast(np.ones(len(DAY)), np.full(len(DAY), 0.51))
    told = outcome_tallies(said, base, found, np.full((len(DAY), 1), 0.01), DAY)
    assert ratio(told["barrier_right"])[0] == 1.0
    assert ratio(told["barrier_gain"])[0] == pytest.approx(0.5, abs=0.1)  # the base rate always says up
    assert ratio(told["barrier_decided"])[0] == pytest.approx(2.0 / 3.0, abs=0.05)


def test_outcomes_are_the_labels_and_lie_within_the_bars() -> None:
    panel = made_up_panel(4, 400, 2)
    sigma = np.full(panel.close_px.shape, 0.008)
    found = outcomes_of(panel, sigma)
    np.testing.assert_array_equal(found.variance, realized_volatility(panel, HORIZON).values ** 2)
    np.testing.assert_array_equal(found.barrier, triple_barrier(panel, sigma, HORIZON).values)
    assert np.isnan(found.variance[-HORIZON:]).all()
    cut = Panel(panel.symbols, *(values[:300] for values in panel[1:]))
    np.testing.assert_array_equal(outcomes_of(cut, sigma[:300]).variance[:276], found.variance[:276])
