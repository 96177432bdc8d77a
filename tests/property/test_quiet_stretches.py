"""Bars that a scan passes over, against the same scan advanced one bar at a time: there every bar is decided."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.frictions import Assumptions, needs_ranges
from engine.core.known import Known, averages, variances
from engine.core.quiet import can_skip
from engine.core.simulate import Scan, SimBars
from engine.core.tally import tally_of
from engine.core.tally_scan import TallyScan
from engine.domain import NS_PER_S, Rule, Verdict
from engine.settings import SystemConfig

N_BARS = 700
PLAIN = (Costs(0.0004, 0.0001), None)
VENUE = Assumptions(maintenance_rate=0.3, liquidation_fee_rate=0.02)
ANSWERING = (Costs(0.0004, 0.0001, 0.0002, 0.3, 0.08, 1.0), VENUE)


def walk(seed: int, volatility: float, interval_s: int = 3600, funded: bool = False, hole: bool = False) -> SimBars:
    rng = np.random.default_rng(seed)
    close_px = 100.0 * np.exp(np.cumsum(rng.normal(0.0, volatility, N_BARS)))
    open_px = np.concatenate([close_px[:1], close_px[:-1]]) * np.exp(rng.normal(0.0, volatility / 5, N_BARS))
    high_px = np.maximum(open_px, close_px) * (1.0 + np.abs(rng.normal(0.0, volatility / 2, N_BARS)))
    low_px = np.minimum(open_px, close_px) / (1.0 + np.abs(rng.normal(0.0, volatility / 2, N_BARS)))
    rates = np.zeros((0, 1))
    if funded:
        rates = np.zeros((N_BARS, 1))
        rates[::8, 0] = rng.normal(0.0, 1e-3, len(rates[::8]))
        rates[::24] = np.nan
    if hole:
        close_px[rng.integers(50, N_BARS, 5)] = np.nan
    ts_close = 1_600_000_200 * NS_PER_S + np.arange(N_BARS, dtype=np.int64) * interval_s * NS_PER_S
    columns = (open_px, close_px, high_px, low_px, rng.uniform(1e3, 1e5, N_BARS))
    opens, closes, highs, lows, volume = (column.reshape(-1, 1) for column in columns)
    return SimBars(ts_close, opens, closes, rates, highs, lows, volume)


def params_of(**changes):
    config = SystemConfig(strategy="ema-cross", decision_interval="1h", allow_short=True)
    return config.params()._replace(ema_fast=3, ema_slow=21, **changes)


WIDE = {"max_symbol_weight": 1.0, "max_drawdown": 0.9, "max_daily_loss": 0.9}
CASES = {
    "wide limits": (walk(1, 0.01), params_of(**WIDE), PLAIN),
    "the drawdown shrinks every wish": (walk(2, 0.03), params_of(**WIDE | {"max_drawdown": 0.6}), PLAIN),
    "cap and drawdown": (walk(3, 0.03), params_of(**WIDE | {"max_symbol_weight": 0.8, "max_drawdown": 0.6}), PLAIN),
    "tight limits, locked at the end": (walk(4, 0.02), params_of(max_drawdown=0.05), PLAIN),
    "days lost, minutes": (walk(5, 0.003, 60), params_of(**WIDE | {"max_daily_loss": 0.02}), PLAIN),
    "public yardstick": (walk(6, 0.02), params_of(gate=False), PLAIN),
    "answering market": (walk(7, 0.01), params_of(**WIDE), ANSWERING),
    "liquidations": (walk(3, 0.06), params_of(gate=False), (PLAIN[0], Assumptions(maintenance_rate=0.7))),
    "funding": (walk(9, 0.01, funded=True), params_of(**WIDE), PLAIN),
    "holes": (walk(10, 0.02, hole=True), params_of(**WIDE), ANSWERING),
}


def both(case):
    bars, params, (costs, venue) = case
    whole, single = (Scan(bars, no_limits(1), costs, params, 10_000.0, assumptions=venue) for _ in range(2))
    whole.advance(N_BARS)
    for t in range(N_BARS):
        single.advance(t + 1)
    return whole, single


def assert_equal(one, other):
    for name, a, b in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_passing_over_quiet_bars_changes_nothing(name):
    whole, single = both(CASES[name])
    assert can_skip(whole.params, CASES[name][2][1] or Assumptions())
    one, other = whole.result(), single.result()
    assert_equal(one.track, other.track)
    assert_equal(one.fills, other.fills)
    assert_equal(one.account, other.account)
    assert_equal(one.state, other.state)
    np.testing.assert_array_equal(whole.range_variance, single.range_variance)
    assert len(one.fills.qty) > 5


def test_the_cases_meet_what_they_are_named_after():
    results = {name: both(case)[0].result() for name, case in CASES.items()}
    clips = {name: result.track.rule_counts[:, Verdict.CLIP] for name, result in results.items()}
    assert clips["the drawdown shrinks every wish"][Rule.DRAWDOWN] > 100
    assert min(clips["cap and drawdown"][[Rule.DRAWDOWN, Rule.SYMBOL_CAP]]) > 50
    assert results["tight limits, locked at the end"].track.rule_counts[Rule.DRAWDOWN, Verdict.REFUSE] > 100
    assert results["days lost, minutes"].track.rule_counts[Rule.DAILY_LOSS, Verdict.REFUSE] > 10
    assert results["liquidations"].account.money["liquidations"][0] > 0
    assert results["funding"].account.money["funding"][0] != 0.0


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("name", [name for name in CASES if name != "holes"])
def test_a_tally_is_that_of_the_whole_record(name, shares):
    bars, params, (costs, venue) = CASES[name]
    result = both(CASES[name])[1].result()
    marks = np.arange(4, N_BARS, 50)
    known = Known(averages(bars.close_px, (params.ema_fast, params.ema_slow)), variances(bars)) if shares else None
    scan = TallyScan(bars, no_limits(1), costs, params, 10_000.0, marks, venue, known)
    for stop in (1, 300, N_BARS):  # a tally goes on where it was
        scan.advance(stop)
    wanted = tally_of(result.track, 10_000.0)[0]
    for field in wanted.dtype.names:
        tolerance = 1e-12 if field.startswith("sum") else 0.0
        assert scan.tally[0][field] == pytest.approx(wanted[field], rel=tolerance, abs=tolerance), field
    np.testing.assert_array_equal(scan.marked, result.track.equity[marks])
    assert_equal(scan.fills, result.fills)


@pytest.mark.parametrize("seed", range(6))
def test_random_limits_and_costs_change_nothing_either(seed):
    rng = np.random.default_rng(seed)
    bars = walk(seed + 50, float(rng.choice([0.002, 0.01, 0.04])), int(rng.choice([60, 3600])), seed % 2 == 1)
    params = params_of(
        max_symbol_weight=float(rng.choice([0.3, 0.9, 1.5])), max_drawdown=float(rng.choice([0.15, 0.4, 0.99, 1e9])),
        max_daily_loss=float(rng.choice([0.01, 0.05, 0.5])), rebalance_band=float(rng.choice([0.0, 0.05])),
    )  # fmt: skip
    venue = Assumptions(maintenance_rate=float(rng.choice([0.0, 0.02, 1.2])))
    costs = ANSWERING[0] if needs_ranges(PLAIN[0], venue) else PLAIN[0]
    whole, single = both((bars, params, (costs, venue)))
    assert_equal(whole.result().track, single.result().track)
    assert_equal(whole.fills, single.fills)


def test_a_tally_that_starts_over_is_a_new_one():
    bars, marks = walk(11, 0.02), np.arange(4, N_BARS, 50)
    spans = (3, 5, 21)
    known = Known(averages(bars.close_px, spans), variances(bars))
    asked = [
        (params_of(**WIDE), *ANSWERING), (params_of(gate=False), *PLAIN), (params_of(max_drawdown=0.05), *ANSWERING),
        (params_of(**WIDE)._replace(ema_fast=5), *PLAIN), (params_of(**WIDE)._replace(ema_slow=34), *ANSWERING),
    ]  # fmt: skip
    scan = None
    for params, costs, venue in asked:
        fresh = TallyScan(bars, no_limits(1), costs, params, 10_000.0, marks, venue, known)
        if scan is None:
            scan = TallyScan(bars, no_limits(1), costs, params, 10_000.0, marks, venue, known)
        else:
            scan.again(no_limits(1), costs, params, venue)
        for one in (scan, fresh):
            one.advance(N_BARS)
        assert_equal(scan.fills, fresh.fills)
        assert_equal(scan.account, fresh.account)
        assert_equal(scan.state, fresh.state)
        np.testing.assert_array_equal(scan.tally, fresh.tally)
        np.testing.assert_array_equal(scan.marked, fresh.marked)
        assert len(fresh.fills.qty) > 5
