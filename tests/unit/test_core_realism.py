"""Realistic fills, worked by hand: maker share, spread, impact, delay, participation, stops, liquidation, funding."""

import math

import numpy as np
import pytest

from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.frictions import Assumptions
from engine.core.matching import FillKind
from engine.core.simulate import Scan, SimBars
from engine.domain import NO_SHOCKS, NS_PER_S, InstrumentTable, Sleeve
from engine.limits import risk_limits
from engine.settings import SystemConfig

CASH = 10_000.0
PARAMS = SystemConfig(decision_interval="1h", strategy="trend", rebalance_band=0.0).params()._replace(shocks=NO_SHOCKS,
    sleeve=int(Sleeve.EXTERNAL), gate=True, max_symbol_weight=9.0, max_gross_weight=9.0, max_leverage=9.0,
    max_daily_loss=1.0, max_drawdown=1.0, max_age_s=1e9, risk=risk_limits(),
)  # fmt: skip
"""Weights as given, a gate that stays out of the way."""


def bars_of(rows, volume=1000.0, funding=None):
    """Bars of one symbol from (open, high, low, close)."""
    table = np.array(rows, dtype=float)
    n = len(table)
    column = [np.ascontiguousarray(table[:, k : k + 1]) for k in range(4)]
    ts_close = (1_600_000_200 + 3600 * np.arange(n)) * NS_PER_S
    rates = np.zeros((0, 1)) if funding is None else np.array(funding, dtype=float).reshape(-1, 1)
    volumes = np.broadcast_to(np.asarray(volume, dtype=float), n).reshape(-1, 1).copy()
    return SimBars(ts_close, column[0], column[3], rates, column[1], column[2], volumes)


def run(bars, weights, costs=None, assumptions=None, limits=None, params=PARAMS):
    """Trade the given weights; None keeps what is held."""
    scan = Scan(bars, limits or no_limits(1), costs or Costs(0.0, 0.0), params, CASH, assumptions=assumptions)
    scan.external_weight[:, 0] = [np.nan if weight is None else weight for weight in weights]
    scan.advance(len(weights))
    return scan.result()


FLAT = (100.0, 100.0, 100.0, 100.0)


def test_maker_share_blends_the_fee_and_spares_that_part_of_the_spread():
    bars = bars_of([FLAT, FLAT, FLAT])
    costs = Costs(fee_rate=0.0004, slippage_rate=0.001, maker_fee_rate=0.0001, maker_share=0.25)
    result = run(bars, [1.0, None, None], costs)
    # 10,000 / 100 = 100 units; three quarters cross: 0.75 * 0.001 = 0.00075
    px = 100.0 * 1.00075
    # 0.25 * 0.0001 + 0.75 * 0.0004 = 0.000325 of the notional
    fee = 100.0 * px * 0.000325
    assert result.fills.px.tolist() == pytest.approx([px], rel=1e-12)
    assert result.fills.fee.tolist() == pytest.approx([fee], rel=1e-12)
    assert result.account.money["slippage"][0] == pytest.approx(100 * 0.075)
    assert result.track.equity[-1] == pytest.approx(CASH - 7.5 - fee)


def test_spread_and_impact_follow_volatility_and_volume():
    # one bar with range 101 to 99: 2 * 2 / 200 = 0.02; variance 0.02^2 / (4 ln 2)
    bars = bars_of([(100.0, 101.0, 99.0, 100.0), FLAT, FLAT], volume=[1000.0, 400.0, 400.0])
    costs = Costs(0.0, 0.0001, spread_per_volatility=0.05, impact=1.5)
    result = run(bars, [1.0, None, None], costs)
    sigma = 0.02 / math.sqrt(4 * math.log(2))
    rate = 0.0001 + 0.05 * sigma + 1.5 * sigma * math.sqrt(100 / 400)  # 100 units in a bar of 400
    assert result.fills.px.tolist() == pytest.approx([100 * (1 + rate)], rel=1e-12)
    assert result.track.equity[-1] == pytest.approx(CASH - 100 * 100 * rate)


def test_impact_of_the_yardsticks_all_in_order_is_that_of_what_cash_would_buy_without_it():
    closes = [100.0, 90.0, 110.0, 120.0]
    rows = [(close, close + 1, close - 1, close) for close in closes] + [(120.0, 121.0, 119.0, 120.0)]
    params = (
        SystemConfig(strategy="ema-cross", ema_fast=1, ema_slow=2, allow_short=False)
        .params()
        ._replace(shocks=NO_SHOCKS)
    )
    params = params._replace(gate=False)
    bars = bars_of(rows, volume=500.0)
    scan = Scan(bars, no_limits(1), Costs(0.0, 0.0, impact=1.0), params, CASH)
    scan.advance(len(rows))
    fills = scan.result().fills
    # ranges include the close before: 2*2/200, 2*11/189, 2*21/201; the newest weighs 1/n
    squares = [(2 * 2 / 200) ** 2, (2 * (100 - 89) / 189) ** 2, (2 * (111 - 90) / 201) ** 2]
    sigma = math.sqrt(sum(squares) / 3 / (4 * math.log(2)))
    px = 120.0 * (1 + sigma * math.sqrt(CASH / 120.0 / 500.0))
    assert fills.px.tolist() == pytest.approx([px], rel=1e-12)
    assert fills.qty.tolist() == pytest.approx([CASH / px], rel=1e-12)


def test_order_beyond_the_participation_limit_waits_in_whole_lots():
    bars = bars_of([FLAT] * 4, volume=[500.0, 405.0, 405.0, 405.0])
    lots = InstrumentTable(np.zeros(1), np.array([2.0]), np.zeros(1), np.full(1, np.inf), np.zeros(1))
    result = run(bars, [1.0, None, None, None], assumptions=Assumptions(max_participation=0.1), limits=lots)
    # 100 units wanted; a tenth of 405 is 40.5, 40 in lots of 2
    assert result.fills.qty.tolist() == [40.0, 40.0, 20.0]
    assert result.fills.bar.tolist() == [1, 2, 3]
    assert result.account.in_flight_qty[0] == 0.0


def test_without_volume_nothing_is_filled_where_volume_counts():
    bars = bars_of([FLAT] * 4, volume=[1.0, 0.0, 0.0, 1000.0])
    assert run(bars, [1.0, None, None, None], Costs(0.0, 0.0, impact=1.0)).fills.bar.tolist() == [3]
    assert run(bars, [1.0, None, None, None]).fills.bar.tolist() == [1]


def test_delay_of_whole_bars_and_of_a_part_of_one():
    rows = [FLAT, (101.0, 101.0, 101.0, 101.0), (102.0, 102.0, 102.0, 102.0), (104.0, 108.0, 104.0, 108.0)]
    weights = [1.0, None, None, None]
    assert run(bars_of(rows), weights).fills.px.tolist() == [101.0]
    assert run(bars_of(rows), weights, assumptions=Assumptions(delay_bars=1)).fills.px.tolist() == [102.0]
    late = run(bars_of(rows), weights, assumptions=Assumptions(delay_bars=2, delay_share=0.25))
    assert late.fills.px.tolist() == [104.0 + 0.25 * 4.0]
    assert late.fills.bar.tolist() == [3]
    assert late.account.money["slippage"][0] == 0.0  # a delay is not slippage: it may help as well as hurt


def test_decision_while_an_order_is_under_way_counts_it():
    bars = bars_of([FLAT] * 6)
    result = run(bars, [1.0, 1.0, 0.5, 0.5, 0.5, 0.5], assumptions=Assumptions(delay_bars=2))
    assert result.fills.qty.tolist() == [100.0, -50.0]
    assert result.fills.bar.tolist() == [3, 5]


def test_stop_fills_at_its_price_and_at_the_open_beyond_it():
    stop = Assumptions(stop_distance=0.05)
    inside = run(bars_of([FLAT, FLAT, (99.0, 99.0, 94.0, 98.0), FLAT]), [1.0, None, None, None], None, stop)
    assert inside.fills.px.tolist() == [100.0, 95.0]
    assert inside.fills.kind.tolist() == [FillKind.ORDER, FillKind.STOP]
    assert inside.track.equity.tolist() == [CASH, CASH, CASH - 500, CASH - 500]
    assert inside.account.money["ambiguous_bars"][0] == 0
    gap = run(bars_of([FLAT, FLAT, (90.0, 97.0, 89.0, 96.0), FLAT]), [1.0, None, None, None], None, stop)
    assert gap.fills.px.tolist() == [100.0, 90.0]
    assert gap.account.money["ambiguous_bars"][0] == 1
    worst = run(bars_of([FLAT, FLAT, (90.0, 97.0, 88.0, 96.0)]), [1.0, None, None], None, stop._replace(stop_gap=0.5))
    assert worst.fills.px.tolist() == [100.0, 89.0]  # half way from 90 to 88


def test_stop_of_a_short_and_its_costs():
    costs = Costs(0.001, 0.01)
    bars = bars_of([FLAT, FLAT, (100.0, 120.0, 99.0, 110.0)])
    result = run(bars, [-1.0, None, None], costs, Assumptions(stop_distance=0.1))
    sold = 100.0 * 0.99
    bought = sold * 1.1 * 1.01
    assert result.fills.px.tolist() == pytest.approx([sold, bought], rel=1e-12)
    expected = CASH + 100 * (sold - bought) - 0.001 * 100 * (sold + bought)
    assert result.track.equity[-1] == pytest.approx(expected, rel=1e-12)


def test_bar_that_reaches_stop_and_profit_target_takes_the_stop_and_is_counted():
    both = Assumptions(stop_distance=0.05, take_distance=0.05)
    wide = run(bars_of([FLAT, FLAT, (100.0, 106.0, 94.0, 100.0)]), [1.0, None, None], None, both)
    assert wide.fills.px.tolist() == [100.0, 95.0]
    assert wide.account.money["ambiguous_bars"][0] == 1
    up = run(bars_of([FLAT, FLAT, (100.0, 106.0, 99.0, 100.0)]), [1.0, None, None], Costs(0.01, 0.0), both)
    assert up.fills.kind.tolist() == [FillKind.ORDER, FillKind.TAKE]
    assert up.fills.px.tolist() == [100.0, 105.0]
    assert up.fills.fee.tolist() == [100.0, 0.0]  # the target rests: maker fee, none here
    touched = run(bars_of([FLAT, FLAT, (100.0, 105.0, 99.0, 100.0)]), [1.0, None, None], None, both)
    assert len(touched.fills.px) == 1  # touched is not traded through


def test_order_filled_inside_a_bar_cannot_profit_from_what_may_have_come_before():
    both = Assumptions(stop_distance=0.05, take_distance=0.05, delay_share=0.5)
    result = run(bars_of([FLAT, (100.0, 106.0, 99.0, 100.0), FLAT]), [1.0, None, None], None, both)
    assert result.fills.kind.tolist() == [FillKind.ORDER]
    assert result.account.money["ambiguous_bars"][0] == 1
    result = run(bars_of([FLAT, (100.0, 101.0, 94.0, 100.0), FLAT]), [1.0, None, None], None, both)
    assert result.fills.kind.tolist() == [FillKind.ORDER, FillKind.STOP]


def test_stop_comes_before_an_order_that_would_have_left_inside_the_bar():
    stop = Assumptions(stop_distance=0.05, delay_share=0.5)
    result = run(bars_of([FLAT, FLAT, (100.0, 100.0, 90.0, 99.0), FLAT]), [1.0, 0.0, None, None], None, stop)
    assert result.fills.px.tolist() == [100.0, 95.0]
    assert result.account.money["ambiguous_bars"][0] == 1


def test_liquidation_at_the_worst_price_of_the_bar():
    # 5 x: 500 units at 100, equity 10,000. At 81.0: 10,000 - 500 * 19 = 500 left, 2 % of 40,500 = 810 needed
    venue = Assumptions(maintenance_rate=0.02, liquidation_fee_rate=0.01)
    bars = bars_of([FLAT, FLAT, (99.0, 99.0, 81.0, 95.0), FLAT])
    result = run(bars, [5.0, None, None, None], None, venue)
    assert result.fills.px.tolist() == [100.0, 81.0]
    assert result.fills.kind.tolist() == [FillKind.ORDER, FillKind.LIQUIDATION]
    assert result.account.money["liquidations"][0] == 1
    assert result.track.equity.tolist() == pytest.approx([CASH, CASH, 500 - 405, 500 - 405])  # 1 % of 40,500
    safe = run(bars_of([FLAT, FLAT, (99.0, 99.0, 82.0, 95.0), FLAT]), [5.0, None, None, None], None, venue)
    assert safe.account.money["liquidations"][0] == 0  # 10,000 - 9,000 = 1,000 against 820


def test_loss_beyond_the_account_stays_visible():
    venue = Assumptions(maintenance_rate=0.02, liquidation_fee_rate=0.01)
    result = run(bars_of([FLAT, FLAT, (99.0, 99.0, 70.0, 95.0), FLAT]), [5.0, None, None, None], None, venue)
    assert result.track.equity[-1] == CASH - 500 * 30.0  # no fee from an empty account, and no forgiveness
    assert result.track.equity[-1] < 0


def test_stop_before_the_liquidation_price_saves_the_account():
    both = Assumptions(stop_distance=0.05, maintenance_rate=0.02)
    result = run(bars_of([FLAT, FLAT, (99.0, 99.0, 60.0, 95.0), FLAT]), [5.0, None, None, None], None, both)
    assert result.fills.kind.tolist() == [FillKind.ORDER, FillKind.STOP]
    assert result.track.equity[-1] == CASH - 500 * 5


def test_worst_prices_of_two_symbols_need_not_have_met_and_are_counted():
    pair = [
        np.array([[100.0, 100.0]] * 3), np.array([[100.0, 100.0]] * 3), np.zeros((0, 2)),
        np.array([[100.0, 100.0], [100.0, 100.0], [100.0, 112.0]]),
        np.array([[100.0, 100.0], [100.0, 100.0], [88.0, 100.0]]), np.ones((3, 2)),
    ]  # fmt: skip
    bars = SimBars((1_600_000_200 + 3600 * np.arange(3)) * NS_PER_S, *pair)
    scan = Scan(bars, no_limits(2), Costs(0.0, 0.0), PARAMS, CASH, assumptions=Assumptions(maintenance_rate=0.01))
    scan.external_weight[0] = (4.2, -4.2)
    scan.advance(3)
    money = scan.result().account.money[0]
    # 420 * 12 twice: 10,080 lost if both extremes came at once, nothing at the closes
    assert (money["liquidations"], money["ambiguous_bars"]) == (1, 1)


def test_funding_is_paid_on_the_position_at_the_close_after_stops():
    bars = bars_of([FLAT, FLAT, (100.0, 100.0, 94.0, 100.0), FLAT], funding=[0.0, 0.001, 0.001, 0.0])
    result = run(bars, [1.0, None, None, None])
    assert result.account.money["funding"][0] == pytest.approx(20.0)  # 10,000 * 0.001, twice
    stopped = run(bars, [1.0, None, None, None], None, Assumptions(stop_distance=0.05))
    assert stopped.account.money["funding"][0] == pytest.approx(10.0)  # flat at the second settlement
    assert stopped.track.equity[-1] == pytest.approx(CASH - 500 - 10)


def test_missing_columns_are_named():
    bars = bars_of([FLAT, FLAT])
    with pytest.raises(ValueError, match=r"high_px has shape \(0, 0\), expected \(2, 1\)"):
        Scan(
            SimBars(*bars[:4]), no_limits(1), Costs(0.0, 0.0), PARAMS, CASH, assumptions=Assumptions(stop_distance=0.1)
        )
    with pytest.raises(ValueError, match=r"funding_rate has shape \(2, 0\), expected \(2, 1\), or no rows"):
        Scan(bars._replace(funding_rate=np.zeros((2, 0))), no_limits(1), Costs(0.0, 0.0), PARAMS, CASH)
    with pytest.raises(ValueError, match="volume has shape"):
        Scan(SimBars(*bars[:6]), no_limits(1), Costs(0.0, 0.0, impact=1.0), PARAMS, CASH)
