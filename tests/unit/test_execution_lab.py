"""The benchmark's recorded market fills no order too early, and its statistics say what they should."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from execution import Trial, compare, run_order
from execution_markets import LEVELS, STEP_MS, Recorded, Tape

from engine.domain import NS_PER_S, BookTop, MarketTrade, OrderSpec
from engine.execution.flow import SymbolFlow

NAN = float("nan")


def tape(n_steps, trades=(), drop_at=None):
    """A book that stands still: 2 at each level, a tick of 1 between them, best 99 and 101. Trades: (step, px, qty)."""
    bid = np.tile(99.0 - np.arange(LEVELS), (n_steps, 1))
    ask = np.tile(101.0 + np.arange(LEVELS), (n_steps, 1))
    if drop_at is not None:
        bid[drop_at:] -= 3.0
        ask[drop_at:] -= 3.0
    shown = np.full((n_steps, LEVELS), 2.0)
    by_step = [[] for _ in range(n_steps)]
    for step, px, qty in trades:
        by_step[step].append((px, qty, -1))
    return Tape("BTCUSDT", 1.0, 0.001, 0, bid, shown, ask, shown.copy(), by_step)


def order(qty=1.0, px=99.0, tif="GTX", side=1):
    return OrderSpec("BTCUSDT", side, "LIMIT", qty, px, NAN, tif, False, False, "manual")


def played(market, n):
    return [fill for _ in range(n) for fill in market.step()[0]]


def test_resting_order_waits_for_the_whole_queue_before_it():
    market = Recorded(tape(9, [(1, 99.0, 1.5), (2, 99.0, 0.8), (3, 99.0, 5.0)]), 0)
    assert market.send(1, order())
    assert played(market, 1) == []  # 1.5 of the 2 ahead
    assert [fill.qty for fill in played(market, 1)] == [pytest.approx(0.3)]  # 0.5 ahead, then 0.3 of ours
    assert [fill.qty for fill in played(market, 1)] == [pytest.approx(0.7)]
    assert not market.is_open(1)


def test_trade_or_quote_through_the_price_fills_it_and_a_buyer_does_not():
    through = Recorded(tape(9, [(1, 98.0, 0.1)]), 0)
    through.send(1, order())
    assert [fill.qty for fill in played(through, 1)] == [1.0]
    quoted = Recorded(tape(9, drop_at=2), 0)
    quoted.send(1, order())
    assert played(quoted, 1) == []
    assert [(fill.qty, fill.px) for fill in played(quoted, 1)] == [(1.0, 99.0)]  # the ask came to 98


def test_crossing_order_takes_what_is_displayed_and_not_twice():
    market = Recorded(tape(9), 0)
    assert not market.send(1, order(px=101.0))  # post-only that would take
    assert market.send(2, order(3.0, 102.0, "IOC"))
    assert market.send(3, order(3.0, 102.0, "IOC"))
    fills = played(market, 1)
    assert [(f.order_id, f.qty, f.px) for f in fills] == [(2, 2.0, 101.0), (2, 1.0, 102.0), (3, 1.0, 102.0)]


def test_ways_of_one_order_cost_what_can_be_worked_by_hand():
    steps = int(140_000 / STEP_MS)
    trades = [(step, 99.0, 1.0) for step in range(steps)]
    at_once = run_order(Trial(Recorded(tape(steps, trades), 0)), "immediate", 1, 0.005, 60.0)
    patient = run_order(Trial(Recorded(tape(steps, trades), 0)), "adaptive", 1, 0.02, 60.0)
    assert (at_once.filled, at_once.maker) == (pytest.approx(1.0), 0.0)
    assert (patient.filled, patient.maker) == (pytest.approx(1.0), 1.0)
    # a maker buys a hundredth below the mid and pays no fee
    assert patient.total == pytest.approx(-100.0, abs=0.01)
    assert at_once.total == pytest.approx(100.0 + 4.0 * 1.01, abs=0.01)  # a hundredth above it, and the fee


def test_pairs_are_compared_with_an_interval_and_a_p_value():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0, 5, 300), rng.normal(0, 5, 300)
    better = compare(theirs - 2.0 + rng.normal(0, 1, 300), theirs, range(300))
    assert better["low_bps"] < better["mean_bps"] < better["high_bps"] < 0
    assert better["p_value"] < 0.001
    assert compare(ours, theirs, range(300))["p_value"] > 0.01
    # the same number three hundred times within one block is one observation
    assert compare(np.full(300, -2.0), np.zeros(300), np.zeros(300))["p_value"] == 1.0


def test_flow_tells_rate_and_volatility():
    flow = SymbolFlow()
    assert np.isnan(flow.rate(0))
    assert np.isnan(flow.sigma)
    for second in range(600):
        now = second * NS_PER_S + 1
        flow.on_trade(MarketTrade("BTCUSDT", now, now, 100.0, 0.5, 1))
        px = 100.0 * np.exp(1e-4 * (second % 2))  # one basis point up and down, each second
        flow.on_top(BookTop("BTCUSDT", now, now, px, 1.0, px, 1.0))
    assert flow.volume == 300.0
    assert flow.rate(600 * NS_PER_S) == pytest.approx(0.5, rel=0.02)
    assert flow.sigma == pytest.approx(1e-4, rel=1e-3)
