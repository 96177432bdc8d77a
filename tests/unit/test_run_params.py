"""Stated assumptions become costs and a venue, and a result says how much it hangs on each."""

import math

import numpy as np
import pytest
from research_bars import walk

from engine.core.costs import Costs
from engine.core.frictions import Assumptions
from engine.errors import ConfigError
from engine.research.backtest import BacktestConfig, run_backtest
from engine.research.config import SETTINGS, completed, resolve
from engine.research.run_params import RunParams, market_of
from engine.research.sensitivity import changes_of, sensitivity, usual_funding, venue_lots
from engine.research.simulation import harsher, scan_of
from engine.settings import SystemConfig

BARS = walk(600)
BARS = BARS._replace(volume=np.full_like(BARS.close_px, 1e5))


def resolved_of(has_volume=True, **params):
    config = BacktestConfig(bars=BARS, strategy="ema-cross", params={"fast": 5, "slow": 20} | params)
    return resolve(config, 3600, ("A", "B"), has_volume)


def test_whoever_states_nothing_gets_a_market_that_answers():
    found = resolved_of()
    assert found.costs == Costs(0.0004, 0.0001, 0.0004, 0.0, 0.01, 1.0)
    assert found.assumptions == Assumptions(maintenance_rate=0.01, liquidation_fee_rate=0.025)
    assert found.listed["impact"] == 1.0
    assert resolved_of(has_volume=False).costs.impact == 0.0


def test_settings_in_force_stand_for_what_nobody_stated():
    system = SystemConfig(max_total_drawdown=0.08, max_cvar=0.02, ema_fast=7, ema_slow=40, trend_horizons_hours=(24.0,))
    found = completed(system, "ema-cross", {"fast": 5, "max_drawdown": 0.3}, grid={"slow": [20, 30]})
    assert set(found) == set(SETTINGS) - {"ema_fast", "ema_slow", "max_total_drawdown"} | {"fast", "max_drawdown"}
    asked = BacktestConfig(bars=BARS, strategy="ema-cross", params=found | {"slow": 30})
    listed = resolve(asked, 3600, ("A", "B")).listed
    assert (listed["ema_fast"], listed["ema_slow"], listed["max_total_drawdown"], listed["max_cvar"]) == (
        5, 30, 0.3, 0.02,
    )  # fmt: skip
    assert listed["trend_horizons_hours"] == (24.0,)


def test_own_parameters_of_the_strategy_in_force_count_for_that_strategy_only():
    system = SystemConfig(strategy="portfolio", strategy_params={"sleeves": "trend", "tail_budget": 0.5})
    found = completed(system, "portfolio", {"tail_budget": 0.1})
    assert (found["sleeves"], found["tail_budget"]) == ("trend", 0.1)
    assert "sleeves" not in completed(system, "trend", {})


def test_the_yardstick_and_a_stated_slippage_are_the_plain_market():
    assert resolved_of(gate="off").costs[:2] == (0.0004, 0.0001)
    assert resolved_of(gate="off").costs[3:] == (0.0, 0.0, 0.0)
    assert resolved_of(gate="off").assumptions == Assumptions()
    stated = resolved_of(slippage=0.0001)
    assert stated.costs[4:] == (0.0, 0.0)
    assert stated.assumptions.maintenance_rate == 0.01  # a margin call is no cost model
    assert resolved_of(gate="off", impact=0.5).costs.impact == 0.5


def test_maker_and_taker_fee_default_to_the_single_fee():
    assert resolved_of(fee=0.001).costs[:3] == (0.001, 0.0001, 0.001)
    found = resolved_of(fee=0.001, taker_fee=0.0005, maker_fee=-0.0001, maker_share=0.4)
    assert (found.costs.fee_rate, found.costs.maker_fee_rate, found.costs.maker_share) == (0.0005, -0.0001, 0.4)
    assert (found.listed["taker_fee"], found.listed["fee"]) == (0.0005, 0.0005)


def test_latency_becomes_whole_bars_and_a_share_of_one():
    found = market_of(RunParams(latency_ms=90_000, delay_bars=1), True)
    assert found.assumptions(60)[1:3] == (2, 0.5)
    assert found.assumptions(3600)[1:3] == (1, 0.025)


def test_spread_is_stated_for_an_hour():
    market = market_of(RunParams(), True)
    assert market.costs(60).spread_per_volatility == pytest.approx(0.01 * math.sqrt(60))


def test_contradictions_are_refused_with_what_to_do():
    with pytest.raises(ConfigError, match="need the volume of every symbol"):
        resolved_of(has_volume=False, impact=1.0)
    with pytest.raises(ConfigError, match="max_participation needs gate=on"):
        resolved_of(gate="off", max_participation=0.1)
    with pytest.raises(ConfigError, match="maker_share"):
        resolved_of(maker_share=1.5)


def test_harsher_market_never_doubles_a_rebate():
    market = market_of(RunParams(maker_fee=-0.0001), True)
    other = harsher(market, 2.0, 1)
    assert (other.fee, other.maker_fee, other.slippage, other.impact) == (0.0008, -0.0001, 0.0002, 2.0)
    assert other.delay_bars == 1


def test_usual_funding_is_due_every_eight_hours():
    rates = usual_funding(BARS)
    due = (BARS.ts_close // 1_000_000_000) % 28_800 == 0
    np.testing.assert_array_equal(rates[:, 0] > 0, due)
    assert rates[due].max() == 0.0001
    daily = BARS._replace(interval_s=86_400, ts_open=BARS.ts_open[:1])
    assert usual_funding(daily).tolist() == [[pytest.approx(0.0003)] * 2]


def test_sensitivity_changes_one_assumption_at_a_time():
    found = resolved_of(maker_share=0.3, stop_pct=0.015, side="both")
    wish = np.empty((0, 2))
    rows = sensitivity(BARS, None, found, 10_000.0, wish)
    assert [(row["assumption"], row["change"]) for row in rows] == [
        ("as run", ""), ("fees", "x 2"), ("slippage", "x 2"), ("spread", "x 2"), ("impact", "x 2"),
        ("maker share", "none"), ("stop", "filled at the worst price of its bar"), ("delay", "+ 1 bar"),
        ("latency", "+ 60 s"), ("margin", "x 2"), ("participation", "0.01 of a bar's volume instead of no limit"),
        ("lots", "powers of ten worth about 10 instead of none"), ("smallest order", "50 instead of 5"),
        ("funding", "longs pay 0.01 % every 8 h instead of none"),
    ]  # fmt: skip
    scan = scan_of(BARS, None, found, 10_000.0)
    scan.advance(600)
    first = scan.result().track.equity[-1]
    assert rows[0]["final_equity"] == first
    same = {row["assumption"] for row in rows[1:] if row["final_equity"] == first}
    assert same == {"margin", "participation", "smallest order"}  # a small, unlevered account feels none of them
    for change in changes_of(found, None, BARS)[1:-1]:
        moved = sum(a != b for a, b in zip(change.market, found.market, strict=True))
        assert moved in (1, 2) or (moved == 0 and change.assumption in ("lots", "smallest order"))


def test_a_thin_market_and_a_strict_venue_are_felt_by_who_meets_them():
    thin = BARS._replace(volume=np.full_like(BARS.close_px, 50.0))
    found = resolved_of(impact=0.0, side="both", lot_size=0.001)
    rows = {row["assumption"]: row for row in sensitivity(thin, None, found, 10_000.0, np.empty((0, 2)))}
    first = rows["as run"]["final_equity"]
    assert rows["participation"]["final_equity"] != first
    assert rows["lots"]["change"] == "x 10"
    poor = {row["assumption"]: row for row in sensitivity(thin, None, found, 60.0, np.empty((0, 2)))}
    assert poor["smallest order"]["final_equity"] == 60.0  # half of 60 is no order of 50
    assert [change.assumption for change in changes_of(resolved_of(gate="off"), None, BARS)[-2:]] == [
        "margin", "funding",
    ]  # fmt: skip
    assert venue_lots(BARS._replace(close_px=np.tile([60_000.0, 0.2], (600, 1)))).tolist() == [1e-4, 100.0]


def test_funding_is_left_out_and_doubled_where_it_is_known():
    funding = usual_funding(BARS)
    changes = changes_of(resolved_of(), funding, BARS)
    assert [change.change for change in changes[-2:]] == ["none", "x 2"]
    assert changes[-2].funding is None
    np.testing.assert_array_equal(changes[-1].funding, 2 * funding)
    known = np.tile([True, False], (600, 1))
    filled = changes_of(resolved_of(), 3 * funding, BARS, known)[-1]
    assert filled.change == "longs pay 0.01 % every 8 h where it is unknown"
    np.testing.assert_array_equal(filled.funding, funding * (3, 1))


def test_a_result_says_what_it_hangs_on_and_what_was_unsure(tmp_path):
    params = {"fast": 5, "slow": 20, "side": "both", "stop_pct": 0.02, "take_pct": 0.01}
    config = BacktestConfig(bars=BARS, strategy="ema-cross", params=params, home=tmp_path)
    written = run_backtest(config).to_json()
    assert written["sensitivity"][0]["final_equity"] == written["metrics"]["final_equity"]
    assert written["metrics"]["stops"] == sum(fill["kind"] == "stop" for fill in written["fills"]) > 0
    assert written["metrics"]["liquidations"] == 0
    assert written["metrics"]["ambiguous_bars"] >= 0
    fast = run_backtest(config.model_copy(update={"panel": "fast"})).to_json()
    assert fast["sensitivity"] == []


def test_costs_twice_is_a_stress_of_every_cost(tmp_path):
    config = BacktestConfig(bars=BARS, strategy="ema-cross", params={"fast": 5, "slow": 20}, home=tmp_path)
    result = run_backtest(config)
    twice, late = result.honesty["stress"]
    assert twice["slippage"] > 1.5 * result.metrics["slippage"]
    assert late["final_equity"] != result.metrics["final_equity"]
