"""The protective stop of one position: placed, kept, moved, taken away."""

import math

import pytest
from execution_builders import BTC, NOW, order, stop_spec

from engine.domain import NS_PER_S, OrderStatus
from engine.execution.planner import NOTHING
from engine.execution.protect import protective_stop, stop_price

DISTANCE = 0.05


def advised(position_qty, stops=(), entry_px=50_000.0, mark_px=50_000.0):
    return protective_stop("BTCUSDT", position_qty, entry_px, mark_px, list(stops), DISTANCE, BTC, NOW)


def stop(side=-1, stop_px=47_500.0, status=OrderStatus.NEW, client_id="s1", **changes):
    return order(status, stop_spec(side, stop_px), client_id=client_id, age_s=10, **changes)


@pytest.mark.parametrize(("position_qty", "side", "stop_px"), [(0.3, -1, 47_500.0), (-0.3, 1, 52_500.0)])
def test_position_without_stop_gets_one_that_closes_all_of_it(position_qty, side, stop_px):
    spec = advised(position_qty).place
    assert (spec.side, spec.stop_px, spec.order_type) == (side, pytest.approx(stop_px), "STOP_MARKET")
    assert (spec.close_position, spec.reduce_only, spec.qty, spec.purpose) == (True, False, 0.0, "protect")
    assert math.isnan(spec.limit_px)


def test_right_stop_is_kept():
    assert advised(0.3, [stop()]) == NOTHING
    assert advised(-0.3, [stop(1, 52_500.0)]) == NOTHING


def test_small_move_of_the_entry_price_moves_no_stop():
    # a tenth of the distance: 0.1 * 0.05 * 50000 = 250
    assert advised(0.3, [stop(stop_px=47_500.0 - 249.0)]) == NOTHING
    assert advised(0.3, [stop(stop_px=47_500.0 - 260.0)]).place.stop_px == pytest.approx(47_500.0)


def test_moved_stop_is_cancelled_and_placed_in_one_plan():
    plan = advised(0.3, [stop(stop_px=45_000.0)])
    assert plan.cancel == ("s1",)
    assert plan.place.stop_px == pytest.approx(47_500.0)


def test_moved_stop_waits_for_a_cancel_on_its_way():
    assert advised(0.3, [stop(stop_px=45_000.0, cancel_sent_ns=NOW - NS_PER_S)]) == NOTHING
    later = advised(0.3, [stop(stop_px=45_000.0, cancel_sent_ns=NOW - 3 * NS_PER_S)])
    assert (later.cancel, later.place.stop_px) == (("s1",), pytest.approx(47_500.0))


def test_flat_symbol_loses_its_stops():
    assert advised(0.0, [stop(), stop(1, 52_500.0, client_id="s2")]).cancel == ("s1", "s2")
    assert advised(0.0) == NOTHING


def test_flip_places_the_new_side_first_and_then_takes_the_old_one():
    first = advised(-0.3, [stop()])
    assert (first.cancel, first.place.side) == ((), 1)
    then = advised(-0.3, [stop(), stop(1, 52_500.0, client_id="s2")])
    assert (then.cancel, then.place) == (("s1",), None)


def test_of_two_right_stops_one_is_enough():
    plan = advised(0.3, [stop(), stop(client_id="s2")])
    assert (plan.cancel, plan.place) == (("s1",), None)


@pytest.mark.parametrize("status", [OrderStatus.INTENT, OrderStatus.SENT, OrderStatus.UNKNOWN])
def test_stop_in_doubt_is_waited_for(status):
    assert advised(0.3, [stop(status=status)]) == NOTHING
    assert advised(0.0, [stop(status=status)]) == NOTHING


def test_position_beyond_its_stop_gets_one_below_the_mark():
    # the wanted 47500 is above the mark: it would trigger at once and be refused
    spec = advised(0.3, mark_px=46_000.0).place
    assert spec.stop_px == pytest.approx(46_000.0 * 0.95)


def test_standing_stop_is_never_moved_away_from_a_price_that_came_close():
    near = stop(stop_px=46_500.0)
    assert advised(0.3, [near], mark_px=46_600.0) == NOTHING


@pytest.mark.parametrize(("entry_px", "mark_px"), [(math.nan, 50_000.0), (50_000.0, math.nan), (0.0, 50_000.0)])
def test_without_prices_nothing_is_guessed(entry_px, mark_px):
    assert advised(0.3, entry_px=entry_px, mark_px=mark_px) == NOTHING


def test_stop_price_is_on_the_tick_grid():
    assert stop_price(1.0, 50_003.3, 0.05, BTC) == pytest.approx(47_503.1)  # 47503.135
    assert stop_price(-1.0, 50_003.3, 0.05, BTC) == pytest.approx(52_503.5)  # 52503.465
