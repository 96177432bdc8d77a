"""The shared shape of forecasts: levels are symmetric, horizons rise to the networks' horizon."""

from __future__ import annotations

from models.forecast import HORIZONS, MEDIAN, QUANTILE_LEVELS


def test_levels_are_pairs_around_the_median() -> None:
    assert QUANTILE_LEVELS[MEDIAN] == 0.5
    pairs = zip(QUANTILE_LEVELS[:MEDIAN], reversed(QUANTILE_LEVELS[MEDIAN + 1 :]), strict=True)
    assert [round(high - low, 9) for low, high in pairs] == [0.95, 0.9, 0.8, 0.5]


def test_horizons_rise_to_a_day() -> None:
    assert list(HORIZONS) == sorted(set(HORIZONS))
    assert HORIZONS[-1] == 24
