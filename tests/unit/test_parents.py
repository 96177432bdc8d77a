"""Parent orders: what they may become, how they are kept, and what their children add up to."""

import doctest
import math
from dataclasses import replace

import pytest
from execution_builders import NOW, order, spec

from engine.domain import NS_PER_S, OrderStatus
from engine.errors import CommandRefused
from engine.execution import almgren, parents
from engine.execution.ids import child_order_id, is_ours, parent_of, sequence_of
from engine.execution.orders import NO_SUCH_ORDER
from engine.execution.parents import Algorithm, Parent, ParentSpec, ParentStatus, from_row, tally

END = NOW + 600 * NS_PER_S
SPEC = ParentSpec("BTCUSDT", 1, 1.0, Algorithm.TWAP, NOW, END)
PARENT = Parent(7, SPEC, ParentStatus.WORKING, NOW, NOW, decision_px=50_000.0, arrival_px=50_001.0, actor="test")


def child(qty=0.1, filled=0.0, status=OrderStatus.NEW, **changes):
    return order(status, spec(qty=qty), filled_qty=filled, avg_px=50_000.0 if filled else math.nan, **changes)


def test_row_and_back_is_the_same_parent():
    whole = replace(PARENT, spec=SPEC._replace(limit_px=51_000.0, hidden=True, urgency=2.5), base_qty=0.3, n_replaced=2)
    assert from_row(whole.row("me", tally([]))) == whole
    plain = from_row(PARENT.row("me", tally([])))
    assert math.isnan(plain.spec.limit_px)
    assert replace(plain, spec=SPEC) == PARENT


def test_what_is_filled_working_in_doubt_and_written_off_is_told_apart():
    found = tally([
        child(0.1, 0.1, OrderStatus.FILLED), child(0.2, 0.05, OrderStatus.CANCELED), child(0.3, 0.1),
        child(0.2, 0.0, OrderStatus.UNKNOWN), child(0.1, 0.0, OrderStatus.REJECTED, reason=NO_SUCH_ORDER),
        child(0.1, 0.0, OrderStatus.REJECTED, reason="Margin is insufficient."),
    ])  # fmt: skip
    # 0.1 + 0.05 + 0.1 filled; 0.2 of the third may still fill; a refusal by the venue itself costs nothing
    assert found == pytest.approx((0.25, 0.2, 0.2, 0.1, 50_000.0))
    assert found.committed == pytest.approx(0.75)


def test_paused_parent_resumes_with_the_rest_spread_over_the_time_left():
    resting = parents.paused(PARENT)
    assert resting.status == ParentStatus.PAUSED
    later = NOW + 60 * NS_PER_S
    again = parents.resumed(resting, 0.25, later)
    assert (again.status, again.ts_from, again.base_qty) == (ParentStatus.WORKING, later, 0.25)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda: parents.resumed(PARENT, 0.0, NOW), "is WORKING: only a paused one"),
        (lambda: parents.paused(parents.paused(PARENT)), "is PAUSED: only one that works"),
        (lambda: parents.resumed(parents.paused(PARENT), 0.0, END), "give it a new one"),
        (lambda: parents.replaced(PARENT, 0.5, NOW, {"qty": 0.4}), "0.5 filled or under way, and 0.4"),
        (lambda: parents.replaced(PARENT, 0.0, NOW, {"ts_end": NOW - 5 * NS_PER_S}), "5 s ago"),
        (lambda: parents.replaced(replace(PARENT, status=ParentStatus.DONE), 0, NOW, {}), "cannot be changed"),
        (lambda: parents.stopping(replace(PARENT, status=ParentStatus.DONE), ParentStatus.CANCELED, ""), "nothing to"),
    ],
)
def test_impossible_changes_are_refused_with_a_sentence(act, sentence):
    with pytest.raises(CommandRefused, match=sentence):
        act()


def test_cancel_waits_for_the_child_and_a_whole_fill_is_done_all_the_same():
    ending = parents.brought_to_end(PARENT, ParentStatus.CANCELED, "a person", [child()], NOW)
    assert ending.status == ParentStatus.STOPPING
    gone = parents.brought_to_end(ending, ParentStatus.CANCELED, "", [child(0.1, 0.04, OrderStatus.CANCELED)], NOW)
    assert (gone.status, gone.reason, gone.ts_final) == (ParentStatus.CANCELED, "a person", NOW)
    whole = parents.brought_to_end(ending, ParentStatus.CANCELED, "", [child(1.0, 1.0, OrderStatus.FILLED)], NOW)
    assert whole.status == ParentStatus.DONE


def test_child_ids_carry_their_parent_and_meet_no_other_id():
    mine = child_order_id("k3f9", 905, 12)
    assert (parent_of(mine), sequence_of(mine), is_ours(mine, "k3f9")) == (905, 12, True)
    assert parent_of("ask3f9-p5-c") == 0  # decision 905 in base 36
    assert doctest.testmod(parents).failed == doctest.testmod(almgren).failed == 0
