"""Who counts in the ensemble and how much; what happens when somebody is missing; what disagreement means."""

from __future__ import annotations

import numpy as np
import pytest

from models.ensemble import FEWEST_DAYS, Skill, Weights, combine, daily_sums, gains, skill_of, weights_from
from models.forecast import HORIZONS, MEDIAN, QUANTILE_LEVELS, Prediction

H, Q = len(HORIZONS), len(QUANTILE_LEVELS)
SHAPE = np.array([-2.0, -1.6, -1.28, -0.67, 0.0, 0.67, 1.28, 1.6, 2.0])


def saying(median: float, prob: float, n_bars: int = 2) -> Prediction:
    return Prediction(np.tile(median + SHAPE, (n_bars, 1, H, 1)), np.full((n_bars, 1, H), prob))


def skill(gain: float, error: float = 0.001, days: float = 300.0) -> Skill:
    return Skill(np.full(H, gain), np.full(H, error), np.full(H, days))


BASE = saying(0.0, 0.5)


def test_members_without_skill_count_nothing_and_nobody_leaves_the_base_rate() -> None:
    weights = weights_from({"good": skill(0.01), "bad": skill(-0.02), "new": skill(0.05, days=FEWEST_DAYS - 1)})
    assert weights.member[1:].max() == 0.0
    assert (weights.member[0] > 0.95).all()
    none = weights_from({"bad": skill(-0.02)})
    assert none.base.tolist() == [1.0] * H
    combined = combine({"bad": saying(3.0, 0.9)}, BASE, none)
    np.testing.assert_array_equal(combined.prediction.quantile, BASE.quantile)
    np.testing.assert_array_equal(combined.prediction.prob_up, BASE.prob_up)


def test_doubtful_skill_is_shrunk_to_nothing_and_similar_skill_to_equal() -> None:
    doubtful = weights_from({"a": skill(0.001, error=0.01)})
    assert doubtful.member.max() == pytest.approx(0.01 / 1.01)  # z = 0.1
    weights = weights_from({"a": skill(0.03), "b": skill(0.01)})
    total = weights.member.sum(axis=0)
    assert (total < 1.0).all()
    # trust is nearly 1 for both: 1/2 * 1/2 + 1/2 * 3/4 against 1/2 * 1/2 + 1/2 * 1/4
    np.testing.assert_allclose(weights.member[0] / total, 0.625, atol=0.002)
    np.testing.assert_allclose(weights.base + total, 1.0)


def test_quantiles_and_probabilities_are_averaged_by_weight() -> None:
    weights = Weights(("a", "b"), np.tile([[0.5], [0.3]], (1, H)), np.full(H, 0.2))
    combined = combine({"a": saying(1.0, 0.7), "b": saying(-1.0, 0.4)}, BASE, weights)
    assert combined.prediction.quantile[0, 0, 0, MEDIAN] == pytest.approx(0.5 * 1.0 - 0.3 * 1.0)
    assert combined.prediction.prob_up[0, 0, 0] == pytest.approx(0.5 * 0.7 + 0.3 * 0.4 + 0.2 * 0.5)
    assert combined.median_spread[0, 0, 0] == pytest.approx(1.0)
    assert combined.prob_spread[0, 0, 0] == pytest.approx(0.15)
    assert (np.diff(combined.prediction.quantile, axis=-1) >= 0).all()


def test_missing_stale_and_nan_members_are_left_out_visibly() -> None:
    weights = Weights(("a", "b"), np.tile([[0.5], [0.3]], (1, H)), np.full(H, 0.2))
    broken = saying(9.0, 0.9)
    broken.quantile[0] = np.nan  # the first bar only
    combined = combine({"a": saying(1.0, 0.7), "b": broken}, BASE, weights)
    np.testing.assert_allclose(combined.weight[:, 0, 0, 0], [0.5 / 0.7, 0.0, 0.2 / 0.7])
    np.testing.assert_allclose(combined.weight[:, 1, 0, 0], [0.5, 0.3, 0.2])
    assert np.isnan(combined.median_spread[0]).all()
    for left_out in (
        combine({"a": saying(1.0, 0.7)}, BASE, weights),
        combine({"a": saying(1.0, 0.7), "b": saying(9.0, 0.9)}, BASE, weights, fresh={"b": False}),
    ):
        np.testing.assert_allclose(left_out.weight[:, 1, 0, 0], [0.5 / 0.7, 0.0, 0.2 / 0.7])
        assert left_out.prediction.quantile[1, 0, 0, MEDIAN] == pytest.approx(0.5 / 0.7)


def test_nothing_known_stays_unknown_and_only_the_weightless_gives_the_base_rate() -> None:
    unknown = Prediction(np.full(BASE.quantile.shape, np.nan), np.full(BASE.prob_up.shape, np.nan))
    weights = Weights(("a", "b"), np.tile([[1.0], [0.0]], (1, H)), np.zeros(H))
    assert np.isnan(combine({"a": unknown}, unknown, weights).prediction.prob_up).all()
    combined = combine({"a": unknown, "b": saying(5.0, 0.9)}, BASE, weights)
    np.testing.assert_array_equal(combined.prediction.prob_up, BASE.prob_up)
    assert combined.weight[2].min() == 1.0


def test_skill_of_a_record_is_measured_by_days() -> None:
    rng = np.random.default_rng(2)
    day = np.repeat(np.arange(100), 24)
    common = np.repeat(rng.standard_normal(100), 24)[:, None, None]  # all hours and symbols of a day agree
    values = np.broadcast_to(0.5 + common, (2400, 4, H))
    found = skill_of(*daily_sums(values, day))
    assert found.gain[0] == pytest.approx(0.5 + common.mean())
    assert found.error[0] == pytest.approx(np.sqrt(2.0) * common[::24].std() / 10.0)
    assert found.n_days.tolist() == [100.0] * H
    assert np.isnan(skill_of(*daily_sums(np.full((48, 2, H), np.nan), np.repeat([0, 1], 24))).gain).all()


def test_gain_is_zero_for_the_base_rate_and_positive_for_one_who_knows() -> None:
    target = np.array([1.0, -1.0])[:, None, None] * np.ones((2, 1, H))
    assert np.abs(gains(*BASE, BASE, target)).max() == 0.0
    knows = Prediction(BASE.quantile + target[..., None], np.where(target > 0, 0.9, 0.1))
    assert (gains(*knows, BASE, target) > 0.2).all()
    assert (gains(BASE.quantile - target[..., None], 1 - knows.prob_up, BASE, target) < -0.2).all()
