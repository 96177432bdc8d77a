"""The position rule: sign, size, doubt and the unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.forecast import QUANTILE_LEVELS
from models.position import GAIN, position_by_horizon, position_from


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
