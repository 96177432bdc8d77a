"""The goal's chances: against closed forms, by hand, and never flattering."""

import json
import math
from datetime import date

import numpy as np
import pytest

from engine.errors import DataError
from engine.research import goal as g
from engine.research.goal_answer import chance_words, days_until, default_date, goal_answer, tiny_words
from engine.research.track_record import TrackRecord, daily_returns, record_of_backtest

DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000
RNG = np.random.default_rng(11)


def gbm(drift: float, volatility: float, years: float, paths: int, steps: int) -> np.ndarray:
    dt = years / steps
    return np.cumsum(RNG.normal(drift * dt, volatility * math.sqrt(dt), (paths, steps)), axis=1)


def record(mean: float, deviation: float, n: int) -> TrackRecord:
    """Returns with exactly this mean and deviation of their logarithms."""
    raw = RNG.normal(0.0, 1.0, n)
    logs = mean + deviation * (raw - raw.mean()) / raw.std(ddof=1)
    return TrackRecord(np.expm1(logs), 1, "test", "paper")


def test_terminal_probability_by_hand():
    # G = 0.1, mu T = 0.05, sigma sqrt(T) = 0.2: Phi(-0.25) = 0.4013
    assert g.p_terminal(0.1, 0.05, 0.2, 1.0) == pytest.approx(0.40129, abs=1e-5)


def test_touching_without_drift_is_twice_being_above():  # the reflection principle
    assert g.p_first_passage(0.3, 0.0, 0.2, 1.0) == pytest.approx(2 * g.p_terminal(0.3, 0.0, 0.2, 1.0))


def test_first_passage_agrees_with_simulated_paths():
    paths = gbm(0.2, 0.3, 1.0, 20_000, 400)
    watched_between = 0.5826 * 0.3 * math.sqrt(1 / 400)  # Broadie, Glasserman & Kou (1997): steps see a farther line
    found = (paths >= 0.25 - watched_between).any(axis=1).mean()
    assert g.p_first_passage(0.25, 0.2, 0.3, 1.0) == pytest.approx(found, abs=0.012)


def test_target_before_drawdown_agrees_with_simulated_paths():
    drift, volatility, target, limit = 0.8, 0.5, 0.3, 0.15
    paths = gbm(drift, volatility, 4.0, 3_000, 2_500)
    shift = 0.5826 * volatility * math.sqrt(4 / 2_500)
    peaks = np.maximum(np.maximum.accumulate(paths, axis=1), 0.0)
    # both lines are seen late by steps: the target by one shift, the fall by one at its peak and one at its end
    falls = peaks - paths >= -math.log1p(-limit) - 2 * shift
    hits = paths >= target - shift
    first = np.where(hits.any(axis=1), hits.argmax(axis=1), 10**6)
    broken = np.where(falls.any(axis=1), falls.argmax(axis=1), 10**6)
    expected = g.p_target_before_drawdown(target, drift, volatility, limit)
    assert expected == pytest.approx(float((first < broken).mean()), abs=0.03)


def test_simulation_agrees_with_the_closed_form_where_the_record_is_long():
    # 4,000 days at mu 0.3, sigma 0.4 a year: the record hardly leaves the mean open
    known = record(0.3 / 365, 0.4 / math.sqrt(365), 4_000)
    goal = g.Goal(10_000.0, 13_000.0, 365)
    paths = g.simulate_paths(known.returns, goal, 365, outer=100, inner=100)
    watched = goal.log_multiple + 0.5826 * 0.4 / math.sqrt(365)
    assert paths.reached.mean() == pytest.approx(g.p_first_passage(watched, 0.3, 0.4, 1.0), abs=0.06)


def test_short_record_makes_the_answer_wide():
    goal = g.Goal(10_000.0, 11_000.0, 180)
    short, long = (
        g.simulate_paths(record(0.0004, 0.01, n).returns, goal, 180, outer=60, inner=50) for n in (40, 2_000)
    )

    def spread(paths):
        return float(np.diff(np.quantile(paths.reached.mean(axis=1), (0.05, 0.95)))[0])

    assert spread(short) > 2 * spread(long)


def test_unknown_mean_gives_heavier_tails_than_a_known_one():
    found = record(0.0, 0.02, 30)
    known = g.p_terminal(math.log(2.0), 0.0, 0.02 * math.sqrt(365), 0.5)
    assert g.p_terminal_unknown_mean(found.returns, math.log(2.0), 182) > 10 * known


def test_required_sharpe_solves_its_own_formula():
    goal = g.Goal(10_000.0, 1_000_000.0, 401)
    row = g.required_sharpe(goal, 0.5)
    assert row["growth"] == pytest.approx(math.log(100) * 365 / 401)
    assert row["sharpe"] == pytest.approx(row["growth"] / row["volatility"] + row["volatility"] / 2)
    assert g.p_target_before_drawdown(goal.log_multiple, row["growth"], row["volatility"], 0.15) == pytest.approx(0.5)
    assert row["sharpe"] == pytest.approx(8.60, abs=0.01)
    assert g.required_sharpe(goal, 0.95)["sharpe"] > row["sharpe"]


def test_easy_goal_asks_for_no_more_than_full_kelly():
    # growth of 10 % a year may fall by half: the drawdown does not bind, so sigma = sqrt(2 mu) and S = sqrt(2 mu)
    row = g.required_sharpe(g.Goal(100.0, 110.0, 365, max_drawdown=0.9), 0.5)
    assert row["sharpe"] == pytest.approx(math.sqrt(2 * math.log(1.1)))


def test_blocks_are_pieces_of_the_record_and_wrap_around():
    values = np.arange(8.0)  # blocks of 2
    drawn = g.resample_blocks(values, 50, 7, np.random.default_rng(0))
    assert drawn.shape == (50, 7)
    pairs = drawn[:, :6].reshape(-1, 2)
    assert np.array_equal((pairs[:, 0] + 1) % 8, pairs[:, 1])
    assert (drawn == 7).any()


def test_first_goal_is_told_truthfully():
    answer = goal_answer(record(0.002, 0.01, 500), g.Goal(days=401), NOW_MS)
    clean = next(row for row in answer["probabilities"] if row["name"] == "target_clean")
    assert (clean["count"], clean["paths"]) == (0, 100_000)
    words = " ".join(answer["words"])
    assert "fewer than 1 in 100,000 paths: practically impossible" in words
    assert "Even at 200 % a year, held without a break, it takes 4.2 years." in words  # ln 100 / ln 3 = 4.19
    assert "a net Sharpe ratio of 8.6 would be needed" in words
    json.dumps(answer, allow_nan=False)


def test_same_question_gets_the_same_answer():
    known, goal = record(0.001, 0.02, 100), g.Goal(days=30, target=12_000.0)
    assert goal_answer(known, goal, NOW_MS, outer=5) == goal_answer(known, goal, NOW_MS, outer=5)


@pytest.mark.parametrize("returns", [np.empty(0), np.full(g.MIN_RETURNS - 1, 0.01), np.zeros(50)])
def test_record_without_evidence_gives_no_chance_but_what_is_required(returns):
    answer = goal_answer(TrackRecord(returns, 1, "test", "paper"), g.Goal(), NOW_MS)
    assert answer["evidence"]["state"] == "none"
    assert (answer["probabilities"], answer["fan"]) == ([], None)
    assert answer["words"][-1].startswith("Not enough evidence")
    assert answer["required"]["rows"][0]["sharpe"] > 8


def test_lucky_month_is_not_enough_evidence():
    returns = np.tile([0.02, -0.018], 15)  # a Sharpe ratio of 1 a year, seen for a month
    answer = goal_answer(TrackRecord(returns, 1, "test", "paper"), g.Goal(), NOW_MS, outer=5)
    assert answer["evidence"]["state"] == "short"
    assert answer["evidence"]["needed_days"] > 300


def test_leverage_brings_ruin_and_never_less_drawdown():
    known = record(0.0, 0.03, 300)
    calm, wild = (
        {row["name"]: row["p"] for row in goal_answer(known, g.Goal(days=90, leverage=k), NOW_MS, outer=20)[
            "probabilities"]} for k in (1.0, 5.0)
    )  # fmt: skip
    assert wild["ruin"] > calm["ruin"]
    assert wild["breach"] >= calm["breach"]


@pytest.mark.parametrize(("goal", "word"), [
    (g.Goal(equity=2e6), "must be above today's equity"), (g.Goal(days=0), "days away"),
    (g.Goal(max_drawdown=1.5), "drawdown limit"), (g.Goal(leverage=0.0), "leverage"),
])  # fmt: skip
def test_impossible_question_is_refused_in_words(goal, word):
    with pytest.raises(DataError, match=word):
        goal_answer(record(0.0, 0.01, 50), goal, NOW_MS)


def test_dates():
    assert days_until("2026-12-31", date(2026, 12, 1)) == (date(2026, 12, 31), 30)
    assert default_date(date(2026, 12, 30)) == date(2026, 12, 31)
    assert default_date(date(2027, 3, 5)) == date(2028, 3, 5)
    with pytest.raises(DataError, match="not ahead of today"):
        days_until("2026-12-31", date(2026, 12, 31))
    with pytest.raises(DataError, match="not a date"):
        days_until("soon", date(2026, 1, 1))


def test_small_chances_in_words():
    assert chance_words(100, 100) == "more than 99 in 100"
    assert tiny_words(0.25) == "25.0 %"
    assert tiny_words(2e-5) == "about 1 in 50,000"
    assert tiny_words(0.0) == "less than 1 in 10^300"


def test_daily_returns_end_each_day_and_leave_out_the_unfinished_one():
    ts = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.2]) * DAY_MS  # midnight belongs to the day it ends
    equity = np.array([90.0, 100.0, 95.0, 110.0, 100.0, 99.0, 80.0])
    returns, step = daily_returns(ts.astype(np.int64), equity, whole_days=True)
    assert step == 1
    assert returns == pytest.approx([0.10, -0.10])  # 100 to 110 to 99; the fourth day is not over
    assert daily_returns(ts.astype(np.int64), equity)[0][-1] == pytest.approx(80 / 99 - 1)


def test_lost_account_has_no_record():
    with pytest.raises(DataError, match="was lost"):
        daily_returns(np.array([0, DAY_MS, 2 * DAY_MS]), np.array([1.0, 0.0, 1.0]))


def backtest() -> dict:
    equity = [[i * DAY_MS, 100.0 * 1.01**i] for i in range(1, 101)]
    return {"equity": equity, "out_of_sample": {"first_ts_ms": 71 * DAY_MS}, "trials": 40,
            "config": {"strategy": "trend", "symbols": ["BTCUSDT"]}}  # fmt: skip


def test_backtest_speaks_with_its_out_of_sample_part():
    late, whole = record_of_backtest(backtest()), record_of_backtest(backtest(), out_of_sample=False)
    assert (len(late.returns), len(whole.returns)) == (29, 99)
    assert "out of sample" in late.label
    assert any("this flatters" in line for line in whole.caveats)
    assert any("40 variants" in line for line in late.caveats)


def test_coarse_curve_has_longer_steps():
    result = backtest()
    result["equity"] = result["equity"][::3]
    found = record_of_backtest(result, out_of_sample=False)
    assert found.step_days == 3
    assert found.returns == pytest.approx(np.full(33, 1.01**3 - 1))


def test_intervals_hold_the_record_and_a_short_one_has_none():
    known = record(0.001, 0.01, 400)
    found = g.growth_intervals(known.returns)
    low, high = found["cagr"]
    assert low < math.expm1(0.365) < high  # the record's own growth: 365 x 0.001
    assert 0 < found["max_drawdown"][0] < found["max_drawdown"][1] < 1
    assert g.growth_intervals(known.returns[:10])["cagr"] is None
