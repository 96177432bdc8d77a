"""The position rule: sign, size, doubt and the unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.forecast import HORIZONS, QUANTILE_LEVELS
from models.position import GAIN, no_position, position_after, position_by_horizon, position_from, positions


def forecast(median: float, half_width: float = 1.0) -> np.ndarray:
    """Quantiles (1, 1, Q) whose 80 % interval is median ± half_width."""
    shape = {0.025: -2.0, 0.05: -1.6, 0.1: -1.0, 0.25: -0.5, 0.5: 0.0, 0.75: 0.5, 0.9: 1.0, 0.95: 1.6, 0.975: 2.0}
    return np.array([[[median + half_width * shape[level] for level in QUANTILE_LEVELS]]])


def wish(median: float, prob: float, half_width: float = 1.0) -> float:
    return float(position_from(forecast(median, half_width), np.array([[prob]]))[0])


def test_wish_follows_the_formula_and_its_mirror() -> None:
    assert wish(0.02, 0.55) == pytest.approx(math.tanh(GAIN * 0.02))
    assert wish(-0.02, 0.45) == pytest.approx(-math.tanh(GAIN * 0.02))


def test_a_wider_interval_makes_a_smaller_position() -> None:
    sizes = [wish(0.05, 0.55, half_width) for half_width in (0.5, 1.0, 2.0, 4.0)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[-1] > 0


@pytest.mark.parametrize(
    ("median", "prob", "half_width"),
    [(0.05, 0.505, 1.0), (0.05, 0.45, 1.0), (-0.05, 0.55, 1.0), (0.05, 0.6, 0.0)],
    ids=["no direction", "median up, probability down", "median down, probability up", "no width"],
)
def test_doubt_wishes_nothing(median: float, prob: float, half_width: float) -> None:
    assert wish(median, prob, half_width) == 0.0


def test_unknown_horizons_are_left_out_and_all_unknown_stays_unknown() -> None:
    quantile = np.concatenate([forecast(0.03), np.full((1, 1, 9), np.nan)], axis=1)
    prob = np.array([[0.6, np.nan]])
    assert position_from(quantile, prob)[0] == pytest.approx(math.tanh(GAIN * 0.03))
    assert np.isnan(position_from(quantile[:, 1:], prob[:, 1:])[0])
    assert np.isnan(position_by_horizon(forecast(np.nan), np.array([[0.6]]))[0, 0])


def test_longer_horizons_count_more_because_they_cost_less() -> None:
    quantile = np.concatenate([forecast(0.03), forecast(-0.03)], axis=1)  # 1 bar up, 2 bars down
    expected = math.tanh(GAIN * 0.03) * (1 - 2) / 3
    assert position_from(quantile, np.array([[0.6, 0.4]]))[0] == pytest.approx(expected)


def test_no_forecast_leaves_the_bounds() -> None:
    assert abs(wish(50.0, 0.999, 0.01)) <= 1.0


def test_a_forecast_over_a_day_stands_for_a_day() -> None:
    """Long on every horizon for one bar, then nothing: the bar-long wish is gone, the day-long one fades by 2/25."""
    n_horizons = len(HORIZONS)
    up, flat = np.tile(forecast(0.05), (1, n_horizons, 1)), np.tile(forecast(0.0), (1, n_horizons, 1))
    full = math.tanh(GAIN * 0.05)
    trail, first = position_after(no_position(1), up, np.full((1, n_horizons), 0.6))
    assert first[0] == pytest.approx(full)
    trail, second = position_after(trail, flat, np.full((1, n_horizons), 0.5))
    assert trail[0, 0] == 0.0
    assert trail[0, -1] == pytest.approx(full * (1 - 2 / 25))
    later, kept = position_after(trail, np.full_like(flat, np.nan), np.full((1, n_horizons), np.nan))
    np.testing.assert_array_equal(later, trail)
    assert kept[0] == second[0]


def test_batch_is_the_rule_bar_after_bar() -> None:
    rng = np.random.default_rng(3)
    quantile = forecast(0.0) + 0.05 * rng.standard_normal((30, 2, len(HORIZONS), 1))
    prob = 0.5 + 0.1 * rng.standard_normal((30, 2, len(HORIZONS)))
    quantile[:3, 1] = np.nan
    whole, trail = positions(quantile, prob), no_position(2)
    for t in range(30):
        trail, wish = position_after(trail, quantile[t], prob[t])
        np.testing.assert_array_equal(wish, whole[t])
    assert np.isnan(whole[:3, 1]).all()
    assert np.isfinite(whole[3:]).all()
