"""Adaptive intervals keep their word on drifting outcomes, with what was known at the time."""

from __future__ import annotations

import numpy as np
import pytest

from models.conformal import LEVELS, Tracker, adapted, learn, widened
from models.forecast import HORIZONS, QUANTILE_LEVELS

NORMAL = np.array([-1.96, -1.645, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.645, 1.96])
HOUR = 3_600_000_000_000


def drifting(n_bars: int = 6000, n_symbols: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Normal intervals against outcomes whose spread drifts from 0.5 to 2.5 and jumps once, and when they are known."""
    rng = np.random.default_rng(5)
    spread = np.linspace(0.5, 2.5, n_bars) * np.where(np.arange(n_bars) > n_bars // 2, 1.5, 1.0)
    target = rng.standard_normal((n_bars, n_symbols, len(HORIZONS))) * spread[:, None, None]
    quantile = np.broadcast_to(NORMAL, (*target.shape, len(QUANTILE_LEVELS))).copy()
    ts_close = np.arange(n_bars, dtype=np.int64) * HOUR
    ts_known = ts_close[:, None] + np.array(HORIZONS, dtype=np.int64) * HOUR
    return quantile, target, ts_close, ts_known


def test_coverage_is_kept_while_the_world_drifts() -> None:
    quantile, target, ts_close, ts_known = drifting()
    raw = np.mean(np.abs(target) <= 1.2816)
    _, tracker = adapted(quantile, target, ts_close, ts_known)
    assert raw < 0.65  # the fixed 80 % interval fails
    assert np.abs(tracker.coverage - LEVELS).max() < 0.03
    assert tracker.outcomes.min() >= len(target) - HORIZONS[-1] - 1


def test_guarantee_holds_for_the_worst_case() -> None:
    """Outcomes that always lie outside are covered by the bound: |misses - alpha| <= (range + rate) / (rate * n)."""
    tracker = Tracker.fresh(1, 1)
    issued = widened(tracker, NORMAL[None, None, :])
    for _ in range(40):
        issued = widened(tracker, NORMAL[None, None, :])
        learn(tracker, 0, issued[:, 0], np.array([100.0]))
    wider = issued[0, 0, -1] - issued[0, 0, 0]
    assert wider > 2.0 * (NORMAL[-1] - NORMAL[0])  # 40 misses: exp(0.02 * 0.95 * 39) = 2.1
    assert tracker.coverage.max() == 0.0


def test_what_is_not_known_yet_changes_nothing() -> None:
    quantile, target, ts_close, ts_known = drifting(400)
    before, _ = adapted(quantile, target, ts_close, ts_known)
    at = 200
    later = target.copy()
    for h, horizon in enumerate(HORIZONS):
        later[at - horizon + 1 :, :, h] = 99.0  # outcomes known after bar 200
    after, _ = adapted(quantile, later, ts_close, ts_known)
    np.testing.assert_array_equal(before[: at + 1], after[: at + 1])
    assert not np.array_equal(before[at + 2 :], after[at + 2 :])


def test_bar_by_bar_equals_the_history() -> None:
    quantile, target, ts_close, ts_known = drifting(60)
    whole, expected = adapted(quantile, target, ts_close, ts_known)
    tracker = Tracker.fresh(2)
    issued = []
    for t in range(60):
        for h, horizon in enumerate(HORIZONS):
            if t >= horizon:
                learn(tracker, h, issued[t - horizon][:, h], target[t - horizon, :, h])
        issued.append(widened(tracker, quantile[t]))
    np.testing.assert_allclose(np.stack(issued), whole, rtol=0, atol=1e-12)
    np.testing.assert_allclose(tracker.log_factor, expected.log_factor, rtol=0, atol=1e-12)


def test_unknown_is_not_an_outcome_and_quantiles_still_rise() -> None:
    tracker = Tracker.fresh(2)
    tracker.log_factor[:] = np.array([-1.0, 0.5, -2.0, 1.0])  # the narrow ones wider than the wide ones
    out = widened(tracker, np.broadcast_to(NORMAL, (2, len(HORIZONS), 9)))
    assert (np.diff(out, axis=-1) >= 0).all()
    learn(tracker, 0, np.full((2, 9), np.nan), np.array([0.0, 0.0]))
    learn(tracker, 0, out[:, 0], np.array([np.nan, 0.3]))
    assert tracker.outcomes[:, 0].tolist() == [0.0, 1.0]
    assert np.isnan(tracker.coverage[0, 0]).all()
    assert tracker.coverage[1, 0, 0] == 1.0
    assert np.isnan(widened(tracker, np.full((2, len(HORIZONS), 9), np.nan))).all()


@pytest.mark.parametrize("rate", [0.005, 0.05])
def test_medians_stay_and_fresh_intervals_are_as_given(rate: float) -> None:
    quantile, target, ts_close, ts_known = drifting(100)
    out, _ = adapted(quantile, target, ts_close, ts_known, rate=rate)
    np.testing.assert_array_equal(out[..., 4], quantile[..., 4])
    np.testing.assert_allclose(out[0], quantile[0])
