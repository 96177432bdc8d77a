"""The statistics of the honesty panel, each against a hand-worked example, another formula, or simulation."""

import math
from itertools import combinations

import numpy as np
import pytest
from research_bars import walk

from engine.core.metrics import expected_best_sharpe, probabilistic_sharpe, sharpe_ratio
from engine.research.backtest import BacktestConfig, run_backtest
from engine.research.figures import Stretch, periods_of
from engine.research.honesty import best_of_luck
from engine.research.montecarlo import block_length, drawdown_risk, drawn_rows, intervals, redrawn_figures
from engine.research.overfitting import (
    N_BLOCKS,
    cross_validation_paths,
    min_track_record,
    overfitting_probability,
)
from engine.research.periods import PeriodTable, period_table
from engine.research.stress import hold_equity


def table_of(returns):
    ones, zeros = np.ones(len(returns)), np.zeros(len(returns))
    return PeriodTable(
        returns, np.maximum(returns, 0), np.minimum(returns, 0), np.maximum(-returns, 0), None, zeros, zeros, zeros,
        zeros, ones, zeros, ones, zeros, zeros, zeros, zeros, 365.0, len(returns) / 365.0, 100.0,
    )  # fmt: skip


def test_days_in_their_own_order_give_the_run_itself(tmp_path):
    bars = walk(symbols=("BTCUSDT", "ETHUSDT", "XRPUSDT"))
    config = BacktestConfig(
        bars=bars, strategy="ema-cross", params={"fast": 5, "slow": 20, "side": "both"}, home=tmp_path
    )
    result = run_backtest(config)

    periods = periods_of(bars, result.simulation.track.equity, Stretch(0, 2400, 10_000.0))
    table = period_table(bars, result.simulation, result.trips, periods, 10_000.0, None)
    figures = redrawn_figures(table, np.arange(table.n)[None, :])
    for name, values in figures.items():
        assert values[0] == pytest.approx(result.metrics[name], rel=1e-9, abs=1e-9), name
    assert result.metrics["n_trades"] > 50  # so that the trade figures are not empty


def test_two_days_redrawn_by_hand():
    # +10 % then -20 %: 100 -> 110 -> 88. Twice the first day: 100 -> 110 -> 121. Twice the second: 100 -> 80 -> 64.
    found = redrawn_figures(table_of(np.array([0.10, -0.20])), np.array([[0, 1], [0, 0], [1, 1]]))
    assert found["final_equity"].tolist() == pytest.approx([88.0, 121.0, 64.0])
    assert found["max_drawdown"].tolist() == pytest.approx([0.20, 0.0, 0.36])  # 1 - 64 / 100
    assert found["cvar_95"].tolist() == pytest.approx([0.20, -0.10, 0.20])


def ar_garch(rng, n):
    noise, variance, previous = rng.standard_t(6, n) / math.sqrt(1.5), 1.0, 0.0
    out = np.empty(n)
    for t in range(n):
        previous = 0.25 * previous + math.sqrt(variance) * noise[t]
        out[t] = 0.0005 + 0.01 * previous
        variance = 0.05 + 0.10 * variance * noise[t] ** 2 + 0.85 * variance
    return out


def test_block_bootstrap_covers_the_truth_of_dependent_returns():
    rng = np.random.default_rng(7)
    long = ar_garch(rng, 200_000)
    truth = long.mean() / long.std()
    inside = {"blocks": 0, "single days": 0}
    n_series = 80
    for seed in range(n_series):
        returns = ar_garch(rng, 500)
        for name, length in (("blocks", block_length(returns)), ("single days", 1.0)):
            rows = np.concatenate(list(drawn_rows(500, length, 200, seed)))
            drawn = {"sharpe": returns[rows].mean(axis=1) / returns[rows].std(axis=1)}
            found = intervals(drawn, 0.9)["sharpe"]
            inside[name] += found["low"] <= truth <= found["high"]
    assert 0.80 <= inside["blocks"] / n_series <= 0.98  # stated: 0.90
    assert inside["single days"] < inside["blocks"]  # what the blocks are for


def test_intervals_leave_out_what_mostly_does_not_exist():
    assert intervals({"win_rate": np.array([math.nan] * 5 + [1.0] * 5)}) == {}
    found = intervals({"sharpe": np.arange(101.0)}, 0.9)["sharpe"]
    assert found == pytest.approx({"low": 5.0, "median": 50.0, "high": 95.0, "level": 0.9})
    assert drawdown_risk({"max_drawdown": np.array([0.1, 0.2, 0.1, 0.1])})["p_over_15"] == 0.25
    assert drawdown_risk({}) is None


def test_length_of_record_by_hand_and_against_the_probabilistic_ratio():
    # returns alternate +1.1 % and -0.9 %: skew 0, kurtosis 1, so the spread is 1 and n = 1 + (z / SR)^2
    returns = np.tile([0.011, -0.009], 500)
    sharpe = 0.001 / (0.01 * math.sqrt(1000 / 999))
    assert min_track_record(returns) == pytest.approx(1 + (1.6448536 / sharpe) ** 2, rel=1e-6)  # 271.8 periods
    enough = np.tile([0.011, -0.009], 136)  # 272 periods
    assert probabilistic_sharpe(enough, 0.0) == pytest.approx(0.95, abs=1e-3)
    assert min_track_record(-returns) == math.inf
    assert math.isnan(min_track_record(np.ones(10)))


def test_best_of_many_lucky_trials_is_as_high_as_simulated():
    rng = np.random.default_rng(1)
    best = rng.normal(0, 0.05, (4000, 50)).max(axis=1).mean()
    sharpes = 0.05 * np.sqrt(49 / 50) * np.sign(np.arange(50) - 24.5)  # 50 values with a standard deviation of 0.05
    assert best <= expected_best_sharpe(sharpes) <= 1.04 * best  # the formula is for many trials: 3 % high at 50
    assert expected_best_sharpe(sharpes, 1000) > expected_best_sharpe(sharpes)
    assert expected_best_sharpe(sharpes[:1]) == 0.0


def test_trials_of_which_only_the_number_is_known_never_lower_the_bar():
    told = np.array([0.04, 0.05, 0.06])
    before = 0.0
    for unknown in (0, 1, 2, 3, 10, 50):
        sharpes, n = np.append(told, np.zeros(unknown)), 3 + unknown
        assert best_of_luck(sharpes, n) >= max(expected_best_sharpe(told, n), expected_best_sharpe(sharpes, n), before)
        before = best_of_luck(sharpes, n)
    assert best_of_luck(told, 3) == expected_best_sharpe(told)
    alike = np.append(np.array([-0.06, 0.06]), np.zeros(50))  # 50 zeros make a spread of 0.01 out of 0.08
    assert best_of_luck(alike, 52) == expected_best_sharpe(alike[:2], 52) > 3 * expected_best_sharpe(alike, 52)
    assert best_of_luck(np.array([0.05]), 50) > 0.0  # one known ratio has no spread, and that is no proof of skill
    assert best_of_luck(np.array([0.05]), 1) == 0.0


def test_overfitting_probability_equals_the_definition_written_out():
    returns = np.random.default_rng(5).normal(0.0002, 0.01, (400, 6))
    blocks = np.array_split(returns, N_BLOCKS)
    below = []
    for chosen in combinations(range(N_BLOCKS), N_BLOCKS // 2):
        early = np.concatenate([blocks[i] for i in chosen])
        late = np.concatenate([blocks[i] for i in range(N_BLOCKS) if i not in chosen])
        winner = int(np.argmax([sharpe_ratio(column, 1.0) for column in early.T]))
        outside = [sharpe_ratio(column, 1.0) for column in late.T]
        rank = sorted(outside).index(outside[winner]) + 1
        below.append(rank / 7 < 0.5)
    assert overfitting_probability(returns) == pytest.approx(np.mean(below))


def test_paths_of_a_rule_that_always_wins_are_that_rule():
    rng = np.random.default_rng(2)
    bad = rng.normal(-0.01, 0.01, 600)
    good = bad + 0.02
    found = cross_validation_paths(np.column_stack([bad, good]), 365.0)
    assert found["paths"] == 9  # C(9, 1): every fold is tested nine times
    assert found["sharpe_p5"] == pytest.approx(sharpe_ratio(good, 365.0))
    assert found["sharpe_p95"] == pytest.approx(sharpe_ratio(good, 365.0))
    alone = cross_validation_paths(good[:, None], 365.0)
    assert alone["paths"] == 45
    assert alone["sharpe_p5"] < sharpe_ratio(good, 365.0) < alone["sharpe_p95"]
    assert cross_validation_paths(good[:100, None], 365.0) is None


def test_holding_a_coin_pays_twice_and_funding_between():
    # 1,010 buys 10 at 100 * 1.01; no fee. Funding 1 % of 10 * 110 at the first close. Sold at 120 * 0.99.
    equity, paid = hold_equity(
        np.array([np.nan, 100.0, 115.0]), np.array([np.nan, 110.0, 120.0]), np.array([0.5, 0.01, 0.0]),
        1010.0, 0.0, 0.01,
    )  # fmt: skip
    # funding is paid with a hundredth of the coins: 9.9 are left
    assert equity.tolist() == pytest.approx([1010.0, 9.9 * 110.0, 9.9 * 120.0 * 0.99])
    assert paid == pytest.approx({"fees": 0.0, "slippage": 10.0 + 9.9 * 1.2, "funding": 11.0})
    equity, paid = hold_equity(np.array([100.0]), np.array([100.0]), None, 1001.0, 0.001, 0.0)
    assert equity.tolist() == pytest.approx([1000.0 - 1.0])  # 10 coins, a fee of 1 each way
    assert paid["fees"] == pytest.approx(2.0)
