"""A challenger is promoted on evidence only, at the stated error rate, and training starts for a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.domain import NS_PER_DAY, NS_PER_S
from models.champion import (
    ALPHA,
    LEAST_LIMIT,
    LIMIT,
    SPREADS,
    Action,
    Trigger,
    Watch,
    block_differences,
    capital,
    compare,
    deciding,
    limits,
    retraining_due,
)
from models.ensemble import Skill
from models.forecast import HORIZONS, QUANTILE_LEVELS, Prediction
from models.outlook import outlook, steady_days
from models.shadow import COST_RATE, Said, shadow_results

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
    assert compare(np.full(15, 1e-9)).action == Action.WAIT


def test_how_many_blocks_a_steady_advantage_needs() -> None:
    """Seven are the least; the limit follows small differences down, so that a twentieth of it is still seen."""

    def needed(share: float) -> int:
        return next(n for n in range(1, 100) if compare(np.full(n, share * LIMIT)).action == Action.PROMOTE)

    assert [needed(share) for share in (1.0, 0.5, 0.25, 0.1, 0.05)] == [7, 11, 14, 20, 28]


@pytest.mark.parametrize("spread", [0.0015, 0.004, 0.02])
def test_equal_sets_of_any_spread_are_promoted_no_more_often_than_stated(spread: float) -> None:
    """The limit of each block is known before it: looked at after each of 60 blocks, spread changing on the way."""
    rng = np.random.default_rng(11)
    noise = rng.standard_normal((3000, 60)) * np.exp(np.cumsum(0.1 * rng.standard_normal((3000, 60)), axis=1))
    better, worse = deciding(spread * noise)
    assert 0.0 < (better < 60).mean() <= ALPHA
    assert (worse < 60).any()


def test_a_limit_is_made_of_the_blocks_before_it() -> None:
    found = limits(np.array([0.004, 0.004, 1.0, 0.0]))
    assert found[0] == LIMIT
    assert found[1] == pytest.approx(SPREADS * np.sqrt((0.004**2 + (LIMIT / SPREADS) ** 2) / 2))
    assert found[3] == LIMIT  # never more
    assert limits(np.full(400, 1e-6))[-1] == LEAST_LIMIT
    changed = limits(np.array([0.004, 0.004, -0.5, 0.0]))
    np.testing.assert_array_equal(found[:3], changed[:3])


def test_the_outlook_says_how_long_such_differences_take_and_what_the_end_leaves() -> None:
    clear, faint = (outlook(np.tile([mean - 0.001, mean + 0.001], 4), 36.0) for mean in (0.004, 0.0002))
    assert clear.days is not None and clear.days < 36.0  # noqa: PT018
    assert clear.share > 0.9
    assert clear.for_it == clear.share
    assert faint.days is None or faint.days > 60.0
    assert faint.share < 0.1
    assert outlook(np.full(4, 0.004), 36.0) is None  # nobody can say yet
    assert outlook(np.tile([0.003, 0.005], 4), 36.0) == clear  # the same record says the same
    quick, slow = steady_days(0.008, 0.004), steady_days(0.004, 0.004)
    assert 14.0 <= quick < slow <= 50.0
    assert steady_days(0.001, 0.008) is None


def test_the_table_of_the_documentation_says_how_long_a_challenge_takes() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "model_architecture.md").read_text(encoding="utf-8")
    spreads = (0.002, 0.004, 0.008)
    for advantage in (0.001, 0.002, 0.004, 0.008):
        days = [steady_days(advantage, spread) for spread in spreads]
        cells = ["not in half a year" if found is None else f"{found:.0f}" for found in days]
        assert f"| {advantage:g} | {' | '.join(cells)} |" in text


def test_money_in_the_shadow_is_that_of_the_rule_after_costs() -> None:
    n_bars = 24 * 6
    ts_close = (1 + np.arange(n_bars, dtype=np.int64)) * HOUR
    up = 100.0 * np.exp(0.001 * np.arange(n_bars))[:, None]
    sigma = np.full(up.shape, 0.2 / np.sqrt(8760.0))  # a wish of 1 is the whole equity
    shape = np.linspace(-1.0, 1.0, len(QUANTILE_LEVELS))
    flat = Said(np.broadcast_to(shape, (n_bars, 1, H, len(shape))), np.full((n_bars, 1, H), 0.5))
    long = Said(flat.quantile + 5.0, np.full((n_bars, 1, H), 0.9))
    found = shadow_results(ts_close, up, sigma, flat, long)
    assert found.champion == 0.0
    wish = np.tanh(10.0 * 5.0 / 0.8)
    assert found.challenger == pytest.approx(wish * (n_bars - 1) * np.expm1(0.001) - COST_RATE * wish, rel=1e-3)
    assert found.days == 7
    gap = ts_close + np.where(np.arange(n_bars) >= 100, 5 * HOUR, 0)
    assert shadow_results(gap, up, sigma, flat, long).challenger < found.challenger  # nothing is earned over a gap
    assert (
        shadow_results(ts_close[:5], up[:5], sigma[:5], Said(*(x[:5] for x in flat)), Said(*(x[:5] for x in long)))
        is None
    )


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
