"""One order's transitions, one at a time; ``tests/property`` has all of them in any order."""

import math

import pytest
from execution_builders import NAN, NOW, fill, order, spec, stop_spec, update

from engine.domain import OrderStatus, Purpose
from engine.execution import orders as states


def test_intent_carries_what_was_approved():
    made = order(OrderStatus.INTENT)
    assert (made.client_id, made.decision_id, made.decision_px) == ("asabcd-1-1", 1, 50_000.0)
    assert (made.filled_qty, made.leaves_qty, made.in_flight_qty) == (0.0, 0.1, 0.1)
    assert math.isnan(made.avg_px)


def test_acknowledgement_brings_the_venues_id_and_time():
    acked = states.apply_update(states.sent(order(OrderStatus.INTENT), NOW), update("NEW", ts=NOW + 5))
    assert (acked.status, acked.venue_order_id, acked.ts_acked, acked.ts_final) == ("NEW", "77", NOW + 5, 0)


def test_partial_fill_leaves_the_rest_in_flight():
    partly = states.apply_fill(order(a_spec=spec(-1)), fill(-0.04, 50_010.0), 0.0)
    assert (partly.status, partly.filled_qty, partly.avg_px) == (OrderStatus.PARTIALLY_FILLED, 0.04, 50_010.0)
    assert (partly.leaves_qty, partly.in_flight_qty) == (pytest.approx(0.06), pytest.approx(-0.06))


def test_two_fills_average_by_quantity():
    partly = states.apply_fill(order(), fill(0.04, 50_000.0), 0.0)
    done = states.apply_fill(partly, fill(0.06, 50_100.0), 0.04)
    # (0.04 * 50000 + 0.06 * 50100) / 0.1
    assert done.avg_px == pytest.approx(50_060.0)
    assert (done.status, done.leaves_qty, done.ts_final) == (OrderStatus.FILLED, 0.0, NOW)


@pytest.mark.parametrize("late", ["NEW", "PARTIALLY_FILLED"])
def test_late_news_does_not_reopen_a_finished_order(late):
    done = states.apply_update(order(), update("CANCELED", 0.04, 50_000.0))
    assert states.apply_update(done, update(late, 0.02, 50_000.0)) is done


def test_same_news_twice_changes_nothing():
    once = states.apply_update(order(), update("PARTIALLY_FILLED", 0.04, 50_000.0))
    assert states.apply_update(once, update("PARTIALLY_FILLED", 0.04, 50_000.0)) == once


def test_fill_after_the_update_that_counted_it_changes_nothing_but_the_venues_id():
    updated = states.apply_update(order(), update("PARTIALLY_FILLED", 0.04, 50_000.0))
    assert states.apply_fill(updated, fill(0.04), 0.0) == updated


def test_fill_before_any_update_brings_the_venues_id():
    assert states.apply_fill(order(OrderStatus.SENT), fill(0.1), 0.0).venue_order_id == "77"


def test_doubt_does_not_undo_news():
    assert states.unknown(order(OrderStatus.SENT), "no answer").status == OrderStatus.UNKNOWN
    acked = order(OrderStatus.NEW)
    assert states.unknown(acked, "no answer") is acked


def test_doubt_ends_with_the_venues_word():
    doubtful = states.unknown(order(OrderStatus.SENT), "no answer")
    assert states.apply_update(doubtful, update("NEW")).status == OrderStatus.NEW
    assert states.apply_update(doubtful, update("FILLED", 0.1, 50_000.0)).status == OrderStatus.FILLED


def test_refused_order_that_exists_comes_back():
    refused = states.rejected(order(OrderStatus.UNKNOWN), "no such order", NOW)
    back = states.apply_update(states.revived(refused), update("NEW"))
    assert (back.status, back.ts_final, back.is_final) == (OrderStatus.NEW, 0, False)


def test_stop_and_foreign_order_are_not_in_flight():
    assert order(a_spec=stop_spec()).in_flight_qty == 0.0
    assert order(a_spec=spec(purpose=Purpose.EXTERNAL.value)).in_flight_qty == 0.0
    manual_stop = spec(-1, 0.2, NAN, order_type="STOP_MARKET", stop_px=49_000.0, purpose="manual")
    assert order(a_spec=manual_stop).in_flight_qty == 0.0


def test_close_position_order_ends_by_the_venues_word_only():
    # its quantity is 0, so no fill can tell that it is complete
    touched = states.apply_fill(order(a_spec=stop_spec()), fill(-0.5), 0.0)
    assert touched.status == OrderStatus.PARTIALLY_FILLED
    assert states.apply_update(touched, update("FILLED", 0.5, 50_000.0)).status == OrderStatus.FILLED


def test_adopted_order_is_external_and_keeps_its_terms():
    adopted = states.adopt(update("PARTIALLY_FILLED", 0.03, 50_000.0, client_id="web_1", reduce_only=True))
    assert (adopted.spec.purpose, adopted.status, adopted.filled_qty) == ("external", "PARTIALLY_FILLED", 0.03)
    assert (adopted.spec.limit_px, adopted.spec.reduce_only, adopted.decision_id) == (49_999.9, True, 0)


def test_row_has_null_where_a_price_is_unknown_and_reads_back():
    row = order(a_spec=stop_spec()).row()
    assert (row["limit_px"], row["stop_px"], row["avg_px"], row["status"]) == (None, 47_500.0, None, "NEW")
    back = states.from_row(row)
    assert math.isnan(back.spec.limit_px)
    assert back.row() == row
