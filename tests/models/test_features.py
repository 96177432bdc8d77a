"""The inputs: live equals batch bit for bit, the future changes nothing, every bar gives bounded numbers."""

from __future__ import annotations

import numpy as np
import pytest

from engine.domain import NS_PER_S
from engine.errors import DataError
from models.features import (
    FEATURES,
    NAMES,
    WARM_UP,
    WARM_UP_BARS,
    advance,
    advance_many,
    batch_features,
    feature_hash,
    new_feature_state,
)
from models.forecast import Panel
from models.panel import made_up_panel, rows_of

COLUMN = {name: i for i, name in enumerate(NAMES)}


def bent(panel: Panel, **arrays: np.ndarray) -> Panel:
    return panel._replace(**arrays)


def with_holes(panel: Panel) -> Panel:
    close_px, volume, funding = panel.close_px.copy(), panel.volume.copy(), panel.funding.copy()
    close_px[:40, 1] = np.nan  # listed later
    close_px[200:203, 0] = np.nan
    volume[210:214] = 0.0
    volume[215, 0] = np.nan
    funding[:, 2] = np.nan
    return bent(panel, close_px=close_px, volume=volume, funding=funding)


def test_there_are_fifty_named_inputs() -> None:
    assert len(FEATURES) == 50
    assert len(set(NAMES)) == 50
    assert all(spec.formula and spec.known_at and spec.group for spec in FEATURES)
    assert feature_hash() == feature_hash()


def test_one_bar_at_a_time_equals_the_batch_to_the_bit() -> None:
    panel = with_holes(made_up_panel(1, 260, 3))
    features, sigma = batch_features(panel)
    state = new_feature_state(3)
    for t in range(260):
        state, one, one_sigma = advance(state, panel, t)
        np.testing.assert_array_equal(one, features[t])
        np.testing.assert_array_equal(one_sigma, sigma[t])


def test_taking_a_bar_leaves_the_state_before_it_alone() -> None:
    panel = made_up_panel(1, 30, 2)
    before, *_ = advance_many(new_feature_state(2), rows_of(panel, slice(0, 29)))
    kept = [array.copy() for array in before]
    first = advance(before, panel)[1]
    for array, copy in zip(before, kept, strict=True):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(first, advance(before, panel)[1])


def test_inputs_start_on_the_bar_that_the_table_states() -> None:
    features, sigma = batch_features(made_up_panel(2, 180, 2))
    first = np.isfinite(features[:, 0]).argmax(axis=0) + 1
    np.testing.assert_array_equal(first, WARM_UP)
    assert np.isfinite(features[WARM_UP_BARS - 1 :]).all()
    assert np.isfinite(sigma[:, 0]).argmax() == 24


def test_inputs_equal_their_formulas() -> None:
    panel = made_up_panel(3, 200, 3)
    features, sigma = batch_features(panel)
    log_close = np.log(panel.close_px)
    returns = np.diff(log_close, axis=0)
    variance = returns[0] ** 2
    for n, row in enumerate(returns[1:], start=2):
        variance += max(2 / 73, 1 / n) * (row**2 - variance)
    np.testing.assert_allclose(sigma[-1], np.sqrt(variance), rtol=1e-6)
    last = features[-1]
    day = log_close[-1] - log_close[-25]
    expected = {
        "ret_1": returns[-1] / sigma[-1],
        "ret_24": day / (sigma[-1] * np.sqrt(24)),
        "vol_level": np.log(sigma[-1] / 0.01),
        "efficiency": day / np.abs(returns[-24:]).sum(axis=0),
        "below_high": (log_close[-1] - np.log(panel.high_px[-168:].max(axis=0))) / (sigma[-1] * np.sqrt(168)),
        "rank_ret_24": day.argsort().argsort() - 1.0,
        "funding": np.arcsinh(panel.funding[-1] / 1e-4),
        "imbalance": panel.imbalance[-1],
        "day_sin": np.full(3, np.sin(2 * np.pi * (200 % 24) / 24)),
        "week_cos": np.full(3, np.cos(2 * np.pi * ((48 + 200) % 168) / 168)),  # 2020 began on a Wednesday
    }
    for name, values in expected.items():
        np.testing.assert_allclose(last[:, COLUMN[name]], values, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("factor", [1e-6, 0.02, 50.0, 1e6])
def test_a_crash_bar_gives_bounded_inputs(factor: float) -> None:
    panel = made_up_panel(4, 230, 2)
    low_px, close_px = panel.low_px.copy(), panel.close_px.copy()
    high_px = panel.high_px.copy()
    close_px[200, 0] *= factor
    low_px[200], high_px[200] = np.minimum(low_px[200], close_px[200]), np.maximum(high_px[200], close_px[200])
    features, _ = batch_features(bent(panel, low_px=low_px, high_px=high_px, close_px=close_px))
    assert np.isfinite(features[WARM_UP_BARS:]).all()
    assert np.abs(features[WARM_UP_BARS:]).max() <= 8.0


def test_a_market_that_stands_still_gives_zeros() -> None:
    panel = made_up_panel(5, 200, 2)
    flat = np.full_like(panel.close_px, 7.0)
    still = bent(panel, open_px=flat, high_px=flat, low_px=flat, close_px=flat, volume=np.zeros_like(flat))
    features, _ = batch_features(still)
    assert np.isfinite(features[-1]).all()
    for name in (
        "ret_1",
        "ret_168",
        "ema_gap_24",
        "channel_24",
        "efficiency",
        "rel_volume",
        "illiquidity",
        "market_24",
    ):
        assert (features[-1, :, COLUMN[name]] == 0.0).all(), name


def test_a_redenominated_symbol_keeps_its_history() -> None:
    panel = made_up_panel(6, 260, 2)
    factor = np.where(np.arange(260) >= 200, 1e-3, 1.0)[:, None] * [1.0, 0.0] + [0.0, 1.0]
    prices = {name: getattr(panel, name) * factor for name in ("open_px", "high_px", "low_px", "close_px")}
    split = bent(panel, volume=panel.volume / factor, **prices)
    np.testing.assert_allclose(batch_features(split)[0][169:], batch_features(panel)[0][169:], atol=1e-3)


def test_a_missing_bar_is_nan_and_keeps_the_state() -> None:
    panel = made_up_panel(7, 240, 2)
    close_px = panel.close_px.copy()
    close_px[220, 0] = np.nan
    features, sigma = batch_features(bent(panel, close_px=close_px))
    assert np.isnan(features[220, 0]).all()
    assert np.isnan(sigma[220, 0])
    assert np.isfinite(features[220, 1]).all()
    assert np.isfinite(features[221]).all()


def test_what_is_not_known_is_flagged() -> None:
    features, _ = batch_features(with_holes(made_up_panel(8, 230, 3)))
    assert (features[-1, :, COLUMN["funding_known"]] == [1.0, 1.0, 0.0]).all()
    assert features[-1, 2, COLUMN["funding_z"]] == 0.0
    assert np.isnan(features[215, 0, COLUMN["rel_volume"]])
    assert np.isfinite(features[-1]).all()


def test_one_symbol_is_its_own_market() -> None:
    features, _ = batch_features(made_up_panel(9, 200, 1))
    assert features[-1, 0, COLUMN["beta"]] == pytest.approx(1.0)
    assert features[-1, 0, COLUMN["residual_24"]] == pytest.approx(0.0, abs=1e-6)
    assert features[-1, 0, COLUMN["rank_vol"]] == 0.0


def test_the_clock_is_the_bars_and_in_utc() -> None:
    panel = made_up_panel(10, 30, 1)
    midnight = panel._replace(ts_close=np.arange(30) * 86_400 * NS_PER_S)
    features, _ = batch_features(midnight)
    np.testing.assert_allclose(features[:, 0, COLUMN["day_cos"]], 1.0)


def test_another_number_of_symbols_is_refused() -> None:
    with pytest.raises(DataError, match="start a new state"):
        advance_many(new_feature_state(2), made_up_panel(1, 5, 3))
