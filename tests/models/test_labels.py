"""Labels against hand-worked paths, and the moment at which each is known."""

from __future__ import annotations

import numpy as np
import pytest

from engine.domain import NS_PER_S
from models.dataset import learnable
from models.forecast import HORIZONS, Panel
from models.labels import (
    NEVER,
    adjusted_log_close,
    directions,
    forward_log_returns,
    realized_volatility,
    triple_barrier,
    ts_known_after,
)
from models.panel import made_up_panel

HOUR = 3_600 * NS_PER_S


def path(*closes: float) -> Panel:
    """One symbol whose bars open at the last close and reach no further than their own."""
    close_px = np.array(closes, dtype=np.float64)[:, None]
    open_px = np.vstack([close_px[:1], close_px[:-1]])
    ts_close = (1 + np.arange(len(closes))) * HOUR
    unknown = np.full_like(close_px, np.nan)
    return Panel(("A",), ts_close, open_px, close_px, close_px, close_px, close_px, unknown, unknown, unknown)


def test_returns_reach_ahead_and_end_with_the_panel() -> None:
    returns = forward_log_returns(path(1.0, np.e, np.e**3, np.e**3), (1, 2, 9))[:, 0]
    np.testing.assert_allclose(returns[:, 0], [1.0, 2.0, 0.0, np.nan])
    np.testing.assert_allclose(returns[:, 1], [3.0, 2.0, np.nan, np.nan])
    assert np.isnan(returns[:, 2]).all()
    np.testing.assert_array_equal(directions(returns[:, 0]), [1.0, 1.0, 0.0, np.nan])


def test_returns_are_known_when_the_later_bar_closes() -> None:
    known = ts_known_after(np.array([1, 2, 3]) * HOUR, (1, 2))
    np.testing.assert_array_equal(known, [[2 * HOUR, 3 * HOUR], [3 * HOUR, NEVER], [NEVER, NEVER]])


def test_a_return_over_a_hole_in_the_clock_is_unknown() -> None:
    panel = path(1.0, 2.0, 3.0, 4.0, 5.0)
    holed = panel._replace(ts_close=np.array([1, 2, 3, 5, 6]) * HOUR)
    np.testing.assert_array_equal(np.isnan(forward_log_returns(holed, (1,))[:, 0, 0]), [0, 0, 1, 0, 1])


def test_a_redenomination_is_no_return() -> None:
    panel = path(1.0, 1.1, 1.2)
    split = panel._replace(open_px=np.array([[1.0], [1.0], [1_100.0]]), close_px=np.array([[1.0], [1.1], [1_200.0]]))
    np.testing.assert_allclose(adjusted_log_close(split), adjusted_log_close(panel))


def test_realized_volatility_is_of_the_bars_to_come() -> None:
    labels = realized_volatility(path(1.0, np.e**3, np.e**7, np.e**7), 2)
    np.testing.assert_allclose(labels.values[:, 0], [np.sqrt((9 + 16) / 2), np.sqrt(16 / 2), np.nan, np.nan])
    np.testing.assert_array_equal(labels.ts_known[:, 0], [3 * HOUR, 4 * HOUR, NEVER, NEVER])


@pytest.mark.parametrize(
    ("closes", "label", "decided"),
    [
        ((1.0, 1.1, 1.3, 0.5), 1.0, 3),
        ((1.0, 0.9, 0.7, 2.0), -1.0, 3),
        ((1.0, 1.1, 0.9, 1.0), 0.0, 4),
        ((1.0, np.nan, 1.3, 1.3), np.nan, None),
    ],
    ids=["up", "down", "time", "unknown"],
)
def test_the_barrier_touched_first_decides(closes: tuple[float, ...], label: float, decided: int | None) -> None:
    sigma = np.full((4, 1), np.log(1.25) / np.sqrt(3.0))  # barriers at 1.25 and 0.8
    labels = triple_barrier(path(*closes), sigma, horizon=3)
    np.testing.assert_equal(labels.values[0, 0], label)
    assert labels.ts_known[0, 0] == (NEVER if decided is None else decided * HOUR)


def test_a_bar_that_touches_both_barriers_decides_for_neither() -> None:
    panel = path(1.0, 1.0, 1.0, 1.0)
    wild = panel._replace(high_px=panel.high_px * [[1], [2], [1], [1]], low_px=panel.low_px * [[1], [0.5], [1], [1]])
    labels = triple_barrier(wild, np.full((4, 1), 0.1), horizon=3)
    assert labels.values[0, 0] == 0.0
    assert labels.ts_known[0, 0] == 2 * HOUR


def test_targets_are_returns_in_units_of_known_volatility() -> None:
    panel = made_up_panel(1, 100, 2)
    data = learnable(panel)
    assert data.target.shape == (100, 2, len(HORIZONS))
    moved = np.log(panel.close_px[54] / panel.close_px[50])
    np.testing.assert_allclose(data.target[50, :, HORIZONS.index(4)], moved / (2.0 * data.sigma[50]))
    assert np.isnan(data.target[:24]).all()
    assert np.isfinite(data.target[24:76]).all()
    assert data.ts_known[50, HORIZONS.index(4)] == panel.ts_close[54]
