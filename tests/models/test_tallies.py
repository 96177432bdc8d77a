"""Figures of forecasts: by hand, blind to the future, with intervals that hold their truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from models.forecast import HORIZONS, QUANTILE_LEVELS, Prediction
from models.tallies import (
    CONFIDENCE_DAYS,
    day_index,
    drawn_days,
    intervals,
    mean_tally,
    rank_products,
    ratio,
    reliability,
    tallies,
    thresholds,
)

H, Q, HOUR = len(HORIZONS), len(QUANTILE_LEVELS), 3_600_000_000_000
DAY = np.repeat(np.arange(60), 24)


def forecasts(seed: int = 1, skill: float = 0.1) -> tuple[Prediction, Prediction, np.ndarray]:
    """A forecaster whose probabilities are true, the base rate, and what came: 60 days of 2 symbols."""
    rng = np.random.default_rng(seed)
    lean = skill * rng.uniform(-1, 1, (len(DAY), 2, H))
    target = np.where(rng.uniform(size=lean.shape) < 0.5 + lean, 1.0, -1.0) * np.abs(rng.standard_normal(lean.shape))
    shape = np.linspace(-2.0, 2.0, Q)
    said = Prediction(lean[..., None] + shape, 0.5 + lean)
    base = Prediction(np.broadcast_to(shape, said.quantile.shape), np.full(lean.shape, 0.5))
    return said, base, target


def test_accuracy_and_losses_by_hand() -> None:
    prob = np.array([0.6, 0.6, 0.4, 0.2])[:, None, None] * np.ones((4, 1, H))
    target = np.array([1.0, -1.0, -1.0, np.nan])[:, None, None] * np.ones((4, 1, H))
    quantile = np.broadcast_to(np.linspace(-2.0, 2.0, Q), (4, 1, H, Q))
    base = Prediction(quantile, np.full(prob.shape, 0.5))
    found = tallies(Prediction(quantile, prob), 0.4 * quantile, base, target, np.zeros(4, dtype=np.int64))
    assert ratio(found["accuracy"])[0] == pytest.approx(2 / 3)
    expected = -(np.log(0.6) + np.log(0.4) + np.log(0.6)) / 3
    assert ratio(found["log_loss"])[0] == pytest.approx(expected)
    assert ratio(found["log_loss_gain"])[0] == pytest.approx(np.log(2.0) - expected)
    assert ratio(found["pinball_gain"])[0] == 0.0
    assert ratio(found["inside_80"])[0] == 1.0  # -1 to 1 holds all three
    assert ratio(found["issued_80"])[0] == 0.0


def test_confident_bars_are_chosen_by_the_days_before_alone() -> None:
    said, base, target = forecasts()
    found = tallies(said, said.quantile, base, target, DAY)
    share = ratio(found["share_at_20"])
    np.testing.assert_allclose(share, 0.2, atol=0.03)
    assert found["share_at_20"][1][:CONFIDENCE_DAYS].sum() == 0  # nothing is known of the first days
    assert ratio(found["accuracy_at_10"]).mean() > ratio(found["accuracy"]).mean() + 0.02
    later = said.prob_up.copy()
    later[DAY >= 40] = 0.9
    np.testing.assert_array_equal(thresholds(said.prob_up, DAY)[:41], thresholds(later, DAY)[:41])


def test_information_coefficient_is_spearmans() -> None:
    rng = np.random.default_rng(3)
    median = np.round(rng.standard_normal((50, 2, H)), 1)  # with ties
    target = median + rng.standard_normal(median.shape)
    target[3] = np.nan
    products = rank_products(median, target)
    for h in range(H):
        known = np.isfinite(target[..., h])
        expected = spearmanr(median[..., h][known], target[..., h][known]).statistic
        assert np.nanmean(products[..., h]) == pytest.approx(expected, abs=1e-9)
    assert np.isnan(rank_products(np.zeros((50, 2, H)), target)).all()


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    drawn = drawn_days(60)
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        common = np.repeat(rng.standard_normal(20), 3)[:, None]  # three days at a time agree
        held += (
            intervals((common + 0.2 * rng.standard_normal((60, 1)), np.ones((60, 1))), drawn)[0].low
            < 0
            < (intervals((common + 0.2 * rng.standard_normal((60, 1)), np.ones((60, 1))), drawn)[0].high)
        )
    assert 0.8 <= held / 60 <= 1.0


def test_redrawn_histories_are_whole_blocks_of_the_same_length() -> None:
    drawn = drawn_days(30, draws=20)
    assert (drawn.sum(axis=1) == 30).all()
    assert drawn_days(5, draws=3).sum() == 15
    one = (np.arange(30.0)[:, None], np.ones((30, 1)))
    assert ratio(mean_tally([one, (one[0] + 2.0, one[1])]))[0] == pytest.approx(14.5 + 1.0)
    assert np.isnan(intervals((np.zeros((30, 1)), np.zeros((30, 1))), drawn)[0].value)


def test_reliability_sets_what_was_said_beside_what_came() -> None:
    said, _, target = forecasts(skill=0.15)
    rows = reliability(said.prob_up, target)[0]
    assert sum(row["count"] for row in rows) == len(DAY) * 2
    for row in rows:
        assert row["came"] == pytest.approx(row["stated"], abs=4.0 * np.sqrt(0.25 / row["count"]))


def test_days_are_counted_from_the_first() -> None:
    ts_close = np.array([23, 24, 47, 49], dtype=np.int64) * HOUR
    assert day_index(ts_close).tolist() == [0, 1, 1, 2]
