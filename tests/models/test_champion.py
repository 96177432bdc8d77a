"""A challenger is promoted on evidence only, at the stated error rate, and training starts for a reason."""

from __future__ import annotations

import numpy as np
import pytest

from engine.domain import NS_PER_DAY, NS_PER_S
from models.champion import ALPHA, LIMIT, Action, Trigger, Watch, block_differences, capital, compare, retraining_due
from models.ensemble import Skill
from models.forecast import HORIZONS, QUANTILE_LEVELS, Prediction

H, HOUR = len(HORIZONS), 3_600_000_000_000


@pytest.mark.parametrize("kind", ["normal", "skewed", "clustered"])
def test_equal_models_are_promoted_no_more_often_than_stated(kind: str) -> None:
    """1,500 pairs of equal models, looked at after each of 180 blocks."""
    rng = np.random.default_rng(7)
    noise = rng.standard_normal((1500, 180))
    if kind == "skewed":
        noise = rng.choice([-0.25, 1.0], p=[0.8, 0.2], size=noise.shape)
    elif kind == "clustered":
        noise *= np.exp(np.cumsum(0.1 * rng.standard_normal(noise.shape), axis=1))
    outcomes = np.clip(0.3 * noise, -1.0, 1.0)
    ever = (capital(outcomes) >= 1.0 / ALPHA).any(axis=1).mean()
    assert ever <= ALPHA
    assert ever > 0.0 or kind == "skewed"  # the test is not merely asleep


def test_better_challengers_are_promoted_and_worse_ones_sent_away() -> None:
    rng = np.random.default_rng(3)
    better, equal, worse = (
        [compare(shift + 0.004 * rng.standard_normal(150)).action for _ in range(60)] for shift in (0.002, 0.0, -0.002)
    )
    assert better.count(Action.PROMOTE) > 50
    assert worse.count(Action.KEEP) > 55
    assert worse.count(Action.PROMOTE) == 0
    assert equal.count(Action.PROMOTE) <= 6


def test_a_verdict_stays_and_silence_says_nothing() -> None:
    strong = np.full(60, 0.5 * LIMIT)
    promoted = compare(strong)
    assert promoted.action == Action.PROMOTE
    assert "better" in promoted.sentence
    assert compare(np.concatenate([strong, -strong])).action == Action.PROMOTE
    assert compare(strong[:2]).action == Action.WAIT
    assert compare(np.zeros(0)).n_blocks == 0
    assert compare(np.full(29, 1e-9)).action == Action.WAIT


def test_how_many_blocks_a_steady_advantage_needs() -> None:
    """Seven are the least; a tenth of the limit needs more blocks than any challenger has."""

    def needed(share: float) -> int:
        return next(n for n in range(1, 100) if compare(np.full(n, share * LIMIT)).action == Action.PROMOTE)

    assert [needed(share) for share in (1.0, 0.5, 0.25, 0.1)] == [7, 11, 19, 43]


def test_capital_by_hand() -> None:
    """Stakes 0, then 0.5/2 / ((0.25 + 0.25)/2) = 1 held at 0.75: 1, then 1 + 0.75 * 0.4."""
    np.testing.assert_allclose(capital(np.array([0.5, 0.4])), [1.0, 1.3])
    assert (capital(np.array([[0.5, -1.0, -1.0, 1.0]])) > 0.0).all()


def test_blocks_share_no_outcome_and_the_newest_waits() -> None:
    n_bars = 24 * 6
    ts_close = (1 + np.arange(n_bars, dtype=np.int64)) * HOUR
    ts_known = ts_close[:, None] + np.array(HORIZONS, dtype=np.int64) * HOUR
    target = np.ones((n_bars, 1, H))
    shape = np.linspace(-2.0, 2.0, len(QUANTILE_LEVELS))
    one = Prediction(np.broadcast_to(shape, (n_bars, 1, H, len(shape))), np.full(target.shape, 0.5))
    other = Prediction(one.quantile, np.full(target.shape, 0.6))
    found = block_differences(one, other, target, ts_close, ts_known)
    assert len(found) == 3  # of four begun ones; the last holds one bar
    np.testing.assert_allclose(found, 0.5 * np.log2(0.6 / 0.5))
    late = target.copy()
    late[47 - 24 : 47, :, -1] = np.nan  # a day ahead of these lies in the next block: they do not count anyway
    np.testing.assert_array_equal(block_differences(one, other, late, ts_close, ts_known), found)
    changed = other.prob_up.copy()
    changed[30, 0, -1] = 0.01
    again = block_differences(one, Prediction(one.quantile, changed), target, ts_close, ts_known)
    np.testing.assert_array_equal(again, found)


def watch(**changes: object) -> Watch:
    fine = Skill(np.full(H, 0.001), np.full(H, 0.001), np.full(H, 30.0))
    now = 100 * NS_PER_DAY
    calm = Watch(now, now - 3 * NS_PER_DAY, now - 50 * NS_PER_DAY, fine, 30 * 86_400.0, 86_400.0)
    return calm._replace(**changes)


def test_training_starts_for_a_reason() -> None:
    now = watch().ts_now
    bad = Skill(np.full(H, -0.01), np.full(H, 0.001), np.full(H, 30.0))
    assert retraining_due(watch()) is None
    assert retraining_due(watch(ts_trained=now - 31 * NS_PER_DAY)) == Trigger.SCHEDULE
    assert retraining_due(watch(ts_trained=0)) == Trigger.SCHEDULE
    assert retraining_due(watch(ts_regime_changed=now - NS_PER_DAY)) == Trigger.REGIME
    assert retraining_due(watch(recent=bad)) == Trigger.DRIFT
    assert retraining_due(watch(is_ending=True)) == Trigger.EXPIRY
    assert retraining_due(watch(is_ending=True, ts_trained=now - 3600 * NS_PER_S)) is None
    assert retraining_due(watch(recent=bad, ts_trained=now - 3600 * NS_PER_S)) is None  # within the pause
    assert retraining_due(watch(recent=bad._replace(n_days=np.full(H, 5.0)))) is None  # too little is known
