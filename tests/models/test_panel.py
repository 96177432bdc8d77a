"""Bars, funding and spot prices meet on one clock; nothing is known before its time."""

from __future__ import annotations

import numpy as np
import pytest

from engine.domain import NS_PER_S
from engine.errors import DataError
from models.panel import Series, made_up_panel, newest_known, panel_from_bars, rows_of

HOUR = 3_600 * NS_PER_S


def test_funding_counts_from_the_moment_it_is_paid() -> None:
    rates = Series(np.array([8, 16]) * HOUR, np.array([0.1, 0.2]))
    known = newest_known(rates, np.array([7, 8, 9, 16, 17]) * HOUR, 86_400)
    np.testing.assert_array_equal(known, [np.nan, 0.1, 0.1, 0.2, 0.2])


def test_an_old_rate_is_unknown() -> None:
    rates = Series(np.array([8]) * HOUR, np.array([0.1]))
    np.testing.assert_array_equal(newest_known(rates, np.array([10, 11]) * HOUR, 2 * 3_600), [0.1, np.nan])


def test_no_rates_at_all_are_unknown() -> None:
    none = Series(np.array([], dtype=np.int64), np.array([]))
    assert np.isnan(newest_known(none, np.array([HOUR]), 3_600)).all()


def test_basis_needs_both_prices_at_the_same_moment() -> None:
    bars = made_up_panel(1, 3, 2)
    spot = Series(bars.ts_close[[0, 2]], bars.close_px[[0, 2], 0] / 1.01)
    panel = panel_from_bars(bars, spot_close={"MADE0USDT": spot})
    np.testing.assert_allclose(panel.basis[:, 0], [0.01, np.nan, 0.01])
    assert np.isnan(panel.basis[:, 1]).all()
    assert np.isnan(panel.funding).all()
    assert np.isnan(panel.imbalance).all()


def test_an_imbalance_of_another_shape_is_refused() -> None:
    bars = made_up_panel(1, 3, 2)
    with pytest.raises(DataError, match="one value a bar"):
        panel_from_bars(bars, imbalance=np.zeros((3, 1)))


def test_the_made_up_market_is_a_market() -> None:
    panel = made_up_panel(7, 2_000, 3, memory=0.2)
    assert (panel.high_px >= np.maximum(panel.open_px, panel.close_px)).all()
    assert (panel.low_px <= np.minimum(panel.open_px, panel.close_px)).all()
    returns = np.diff(np.log(panel.close_px), axis=0)
    scaled = returns / returns.std(axis=0)
    assert np.corrcoef(returns[:, 0], returns[:, 1])[0, 1] > 0.3
    assert np.corrcoef(scaled[1:, 0], scaled[:-1, 0])[0, 1] == pytest.approx(0.2, abs=0.07)
    calm = np.abs(scaled[:, 0])
    assert np.corrcoef(calm[1:], calm[:-1])[0, 1] > 0.05
    np.testing.assert_array_equal(rows_of(panel, slice(5, 9)).close_px, panel.close_px[5:9])
