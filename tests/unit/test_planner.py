"""From a target to the next order: patience, crossing, flips, lots, doubt."""

import doctest
import math

import pytest
from execution_builders import BTC, NOW, TOP, order, spec

from engine.domain import NS_PER_S, OrderStatus
from engine.execution import planner
from engine.execution.planner import NOTHING, Plan, Policy, Target, crossing_px, plan, tradable_qty

PATIENT = Policy(use_maker=True, maker_wait_s=15.0)
HASTY = Policy(use_maker=False, maker_wait_s=15.0)


def planned(target_qty, position_qty=0.0, working=(), policy=PATIENT, waited_s=0.0, top=TOP):
    target = Target("BTCUSDT", target_qty, 1, 50_000.0, NOW - int(waited_s * NS_PER_S))
    return plan(target, position_qty, list(working), top, BTC, NOW, policy)


def terms(a_plan):
    s = a_plan.place
    return s.side, s.qty, s.limit_px, s.tif, s.reduce_only


def test_patient_buy_rests_at_the_bid():
    assert terms(planned(0.1)) == (1, pytest.approx(0.1), 49_999.9, "GTX", False)


def test_patient_sell_rests_at_the_ask():
    assert terms(planned(-0.1)) == (-1, pytest.approx(0.1), 50_000.1, "GTX", False)


@pytest.mark.parametrize(("policy", "waited_s"), [(HASTY, 0.0), (PATIENT, 15.0), (PATIENT, 99.0)])
def test_impatient_buy_crosses_with_a_bounded_price(policy, waited_s):
    side, qty, limit_px, tif, reduce_only = terms(planned(0.1, policy=policy, waited_s=waited_s))
    assert (side, qty, tif, reduce_only) == (1, pytest.approx(0.1), "IOC", False)
    assert limit_px == pytest.approx(50_100.2)  # 50000.1 * 1.002 = 50100.1002, up to the next tick


def test_patience_ends_exactly_at_the_wait():
    assert planned(0.1, waited_s=14.99).place.tif == "GTX"
    assert planned(0.1, waited_s=15.0).place.tif == "IOC"


@pytest.mark.parametrize("target", [0.1, 0.1004, 0.0996])
def test_position_within_a_lot_of_the_target_needs_nothing(target):
    assert planned(target, 0.1) == NOTHING


def test_flip_first_closes_reduce_only():
    assert terms(planned(-0.2, 0.1)) == (-1, pytest.approx(0.1), 50_000.1, "GTX", True)
    assert terms(planned(-0.2, 0.0))[1:5:3] == (pytest.approx(0.2), False)


def test_partial_exit_is_reduce_only():
    assert terms(planned(0.04, 0.1)) == (-1, pytest.approx(0.06), 50_000.1, "GTX", True)


@pytest.mark.parametrize("status", [OrderStatus.INTENT, OrderStatus.SENT, OrderStatus.UNKNOWN])
def test_order_in_doubt_stops_everything(status):
    assert planned(0.5, working=[order(status)]) == NOTHING
    assert planned(0.0, 0.3, working=[order(), order(status, client_id="other")]) == NOTHING


def test_good_working_order_is_left_alone():
    assert planned(0.1, working=[order(age_s=10)]) == NOTHING


def test_partly_filled_working_order_is_left_alone_while_the_rest_fits():
    assert planned(0.1, 0.04, [order(OrderStatus.PARTIALLY_FILLED, filled_qty=0.04, age_s=10)]) == NOTHING


@pytest.mark.parametrize(
    ("name", "target", "working"),
    [
        ("wrong side", -0.1, [order(age_s=10)]),
        ("wrong quantity", 0.3, [order(age_s=10)]),
        ("left behind by the touch", 0.1, [order(a_spec=spec(limit_px=49_990.0), age_s=10)]),
        ("no longer wanted", 0.0, [order(age_s=10)]),
        ("two where one is enough", 0.1, [order(age_s=10), order(client_id="asabcd-1-2", age_s=10)]),
    ],
)
def test_working_order_that_is_wrong_is_cancelled_before_another_is_placed(name, target, working):
    assert planned(target, working=working) == Plan(tuple(o.client_id for o in working), None), name


def test_young_order_off_the_touch_is_left_for_two_seconds():
    off = spec(limit_px=49_990.0)
    assert planned(0.1, working=[order(a_spec=off, age_s=1.9)]) == NOTHING
    assert planned(0.1, working=[order(a_spec=off, age_s=2.1)]).cancel == ("asabcd-1-1",)


def test_patience_over_cancels_the_resting_order_first():
    assert planned(0.1, working=[order(age_s=20)], waited_s=20) == Plan(("asabcd-1-1",), None)


def test_cancel_is_not_repeated_within_two_seconds():
    just_cancelled = order(age_s=20, cancel_sent_ns=NOW - NS_PER_S)
    assert planned(0.0, working=[just_cancelled]) == NOTHING
    long_ago = order(age_s=20, cancel_sent_ns=NOW - 3 * NS_PER_S)
    assert planned(0.0, working=[long_ago]).cancel == ("asabcd-1-1",)


@pytest.mark.parametrize(
    ("leaves", "position", "qty"),
    [
        (0.0014, 0.0, 0.001),  # down to whole lots: 50 USDT
        (0.0009, 0.0, 0.0),  # below one lot
        (500.0, 0.0, 120.0),  # at most what a market order may be
        (0.3, 0.0, 0.3),  # 0.3 / 0.001 is 299.99… in floats
        (-0.001, 0.001, 0.001),
    ],
)
def test_quantity_that_the_venue_takes(leaves, position, qty):
    assert tradable_qty(leaves, position, TOP, BTC) == pytest.approx(qty)


def test_minimum_notional_binds_entries_and_not_exits():
    cheap = TOP._replace(bid_px=4_000.0, ask_px=4_000.1)
    assert tradable_qty(0.001, 0.0, cheap, BTC) == 0.0  # 4 USDT of 5
    assert tradable_qty(-0.001, 0.001, cheap, BTC) == pytest.approx(0.001)
    assert tradable_qty(0.002, 0.0, cheap, BTC) == pytest.approx(0.002)


@pytest.mark.parametrize("side", [1, -1])
def test_crossing_price_is_on_the_grid_and_beyond_the_touch_by_two_tenths_of_a_percent(side):
    px = crossing_px(50_000.0, side, BTC)
    assert px / 0.1 == pytest.approx(round(px / 0.1))
    assert px == pytest.approx(50_000.0 * (1 + side * 0.002))
    coarse = BTC._replace(tick_size=1_000.0)
    assert crossing_px(50_000.0, side, coarse) == 50_000.0 + side * 1_000.0


def test_entry_never_carries_a_stop_price():
    assert math.isnan(planned(0.1).place.stop_px)


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(planner).failed == 0
