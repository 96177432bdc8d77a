"""Parent orders on a practice exchange: worked, paused, killed, restarted, and never more than was wanted."""

import asyncio
from dataclasses import replace

import pytest
from engine_rig import BTC, MID, books, fault, position_at_venue, practice_exchange, rig_on, take
from waiting import eventually

from engine.domain import NS_PER_S, Bar, KillLevel, OrderStatus
from engine.errors import CommandRefused
from engine.execution import schedule
from engine.execution.ids import parent_of
from engine.execution.parents import Algorithm, ParentSpec, ParentStatus, tally
from engine.execution.planner import Target
from engine.runtime import doubts as doubts_module


def wanted(rig, qty=0.3, seconds=3.0, **changes):
    now = rig.loop.clock.now()
    spec = ParentSpec(BTC, 1, qty, Algorithm.TWAP, now, now + int(seconds * NS_PER_S), passive=False)
    return spec._replace(**changes)


def status(rig, parent):
    return rig.worker.parents.parents[parent.parent_id].status


def on_record(rig):
    rig.store.flush()
    return rig.store.rows("SELECT * FROM parents ORDER BY parent_id")


def restore(rig):
    """As the engine does after its first comparison with the venue."""
    rig.store.flush()
    rig.executor.restore(rig.store.rows("SELECT * FROM orders ORDER BY ts_intent"))
    rig.worker.parents.restore()


async def test_parent_fills_exactly_its_quantity_in_children_of_its_own(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True) as rig:
        parent = await rig.worker.parents.start(wanted(rig, seconds=0.3), actor="test")
        assert rig.worker.working_notional() == pytest.approx(0.3 * MID)
        await eventually(lambda: status(rig, parent) == ParentStatus.DONE, what="the parent's end")
        assert position_at_venue(server) == rig.position() == pytest.approx(0.3)
        assert {parent_of(order["clientOrderId"]) for order in books(server)["orders"]} == {parent.parent_id}
        (row,) = on_record(rig)
        assert (row["status"], row["filled_qty"], row["arrival_px"]) == ("DONE", pytest.approx(0.3), MID)
        assert rig.account.position(BTC).manual_qty == pytest.approx(0.3)


async def test_restart_in_the_middle_goes_on_and_never_over_fills(tmp_path):
    async with practice_exchange() as server:
        async with rig_on(server, tmp_path) as rig:
            parent = await rig.worker.parents.start(
                wanted(rig, 0.3, 60.0, algorithm="iceberg", passive=True), actor="test"
            )
            await eventually(lambda: books(server)["open_orders"], what="the first child")
            first = books(server)["open_orders"][0]
        take(server, -1, 1_000 + 5)  # a third of the child fills while nobody is there
        async with rig_on(server, tmp_path) as rig:
            restore(rig)
            await rig.executor.doubts.ask(rig.executor.known(first["clientOrderId"]))
            await eventually(lambda: tally(rig.worker.parents.children(parent.parent_id)).filled == 0.005)
            before = len(books(server)["orders"])
            rig.worker.tick()
            await asyncio.sleep(0.1)
            assert len(books(server)["orders"]) == before  # its child still rests: nothing is sent twice
            take(server, -1, 10)
            await eventually(lambda: rig.position() == pytest.approx(0.015))
            rig.worker.tick()
            await eventually(lambda: len(books(server)["orders"]) == before + 1, what="the next child")
            counted = tally(rig.worker.parents.children(parent.parent_id))
            assert (counted.filled, counted.committed <= 0.3) == (pytest.approx(0.015), True)


async def test_child_in_doubt_holds_its_quantity_until_the_venue_has_spoken(tmp_path, monkeypatch):
    monkeypatch.setattr(doubts_module, "LOOKUP_EVERY_S", 0.1)
    monkeypatch.setattr(doubts_module, "SETTLE_S", 0.3)
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True) as rig:
        fault(server, "http_503_before", match={"method": "POST", "path": "order"}, count=1)
        parent = await rig.worker.parents.start(wanted(rig, 0.3, 0.2, reduce_only=False), actor="test")
        await eventually(lambda: rig.executor.recent, what="the lost child's end")
        lost = next(iter(rig.executor.recent.values()))
        assert lost.is_written_off
        await eventually(lambda: rig.position() == pytest.approx(0.3 - lost.spec.qty), within_s=8)
        await asyncio.sleep(0.3)
        assert position_at_venue(server) == pytest.approx(0.3 - lost.spec.qty)
        assert tally(rig.worker.parents.children(parent.parent_id)).committed == pytest.approx(0.3)


async def test_pause_cancels_the_child_and_resume_goes_on(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True) as rig:
        book = rig.worker.parents
        parent = await book.start(wanted(rig, 0.3, 60.0, algorithm="iceberg", passive=True), actor="test")
        await eventually(lambda: books(server)["open_orders"])
        await book.pause(parent.parent_id, "by hand")
        await eventually(lambda: not books(server)["open_orders"], what="the cancel")
        await asyncio.sleep(0.2)
        assert [row["status"] for row in on_record(rig)] == ["PAUSED"]
        assert not books(server)["open_orders"]
        await book.replace(parent.parent_id, {"limit_px": MID - 10.0, "qty": 0.2})
        await book.resume(parent.parent_id)
        await eventually(lambda: books(server)["open_orders"], what="the next child")
        assert float(books(server)["open_orders"][0]["price"]) == MID - 10.0
        with pytest.raises(CommandRefused, match="only a paused one"):
            await book.resume(parent.parent_id)
        await book.cancel(parent.parent_id, "by hand")
        await eventually(lambda: status(rig, parent) == ParentStatus.CANCELED)
        rig.store.flush()
        events = [row["event"] for row in rig.store.rows("SELECT event FROM parent_events ORDER BY seq")]
        assert events == ["STARTED", "PAUSED", "REPLACED", "RESUMED", "CANCEL", "CANCELED"]


async def test_kill_switch_ends_parents_before_it_cancels_orders(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True) as rig:
        book = rig.worker.parents
        first = await book.start(wanted(rig, 0.3, 60.0, algorithm="iceberg", passive=True), actor="test")
        await eventually(lambda: books(server)["open_orders"])
        await rig.kill.press(KillLevel.PAUSE, "drill", "test")
        assert status(rig, first) == ParentStatus.PAUSED
        await rig.kill.press(KillLevel.CANCEL, "drill", "test")
        await eventually(lambda: status(rig, first) == ParentStatus.CANCELED)
        assert not books(server)["open_orders"]
        assert on_record(rig)[0]["reason"] == "kill switch: drill"


async def test_large_target_goes_through_an_algorithm_and_a_turn_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "SHORTEST_SLICE_S", 0.5)
    settings = {"execution_algorithm": "twap", "execution_minutes": 0.5, "use_maker_orders": False}
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **settings) as rig:
        rig.loop.market.on_bar(
            Bar(BTC, "1h", 0, MID, MID, MID, MID, 7.0)
        )  # 7 BTC an hour: 0.5 is more than 2 %, 0.1 is not
        rig.aim(0.1)
        await eventually(lambda: rig.position() == pytest.approx(0.1))
        assert not rig.worker.parents.parents
        rig.aim(0.6, decision_id=2)
        await eventually(lambda: rig.worker.parents.active(), what="a parent")
        (parent,) = rig.worker.parents.active()
        assert (parent.spec.qty, parent.spec.purpose, parent.decision_id) == (pytest.approx(0.5), "target", 2)
        await eventually(lambda: rig.position() > 0.1, what="its first child")
        rig.aim(0.1, decision_id=3)
        await eventually(lambda: status(rig, parent) == ParentStatus.CANCELED)
        await eventually(lambda: rig.position() == pytest.approx(0.1), what="the plain way back")
        assert rig.account.position(BTC).manual_qty == 0.0


LARGE = {"execution_algorithm": "twap", "execution_minutes": 10.0, "use_maker_orders": False}


def thin_hour(rig):
    """Let 7 BTC have traded in the last hour: a target of 0.5 is large."""
    rig.loop.market.on_bar(Bar(BTC, "1h", 0, MID, MID, MID, MID, 7.0))


async def begun(rig, n=1):
    """Return the n-th parent of a target once it is at work."""
    found = rig.worker.parents.parents
    await eventually(lambda: len(found) == n, what=f"parent {n}")
    return list(found.values())[-1]


async def test_kill_switch_ends_a_targets_parent_and_resume_works_the_target_again(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **LARGE) as rig:
        thin_hour(rig)
        rig.aim(0.5)
        first = await begun(rig)
        await rig.kill.press(KillLevel.PAUSE, "drill", "test")
        await eventually(lambda: status(rig, first) == ParentStatus.CANCELED, what="its end")
        await asyncio.sleep(0.2)
        assert len(rig.worker.parents.parents) == 1  # none begins while nothing may grow
        await rig.kill.resume("", "test")
        second = await begun(rig, 2)
        assert (second.spec.purpose, status(rig, second)) == ("target", ParentStatus.WORKING)
        assert on_record(rig)[0]["reason"] == "kill switch: drill"


async def test_limits_end_a_targets_parent_and_none_begins_until_they_allow_it(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **LARGE) as rig:
        book = rig.worker.parents
        thin_hour(rig)
        rig.aim(0.5)
        first = await begun(rig)
        book.may_grow = lambda symbol: "today's loss is 6 % of 5 % allowed"
        await eventually(lambda: status(rig, first) == ParentStatus.CANCELED, what="its end")
        await asyncio.sleep(0.2)
        assert len(book.parents) == 1
        rig.aim(0.0, decision_id=2)  # and what reduces is never held back
        await eventually(lambda: rig.position() == 0.0)
        rig.aim(0.5, decision_id=3)
        book.may_grow = lambda symbol: None
        assert (await begun(rig, 2)).decision_id == 3


async def test_targets_parent_without_a_decision_after_a_restart_counts_nothing_and_ends(tmp_path):
    async with practice_exchange() as server:
        async with rig_on(server, tmp_path) as rig:
            parent = await rig.worker.parents.start(wanted(rig, 0.3, 1.0, purpose="target"), actor="strategy")
            assert rig.worker.working_notional() == 0.0
            rig.worker.parents.ceiling[parent.parent_id] = 0.2
            assert rig.worker.working_notional() == pytest.approx(0.2 * MID)
        async with rig_on(server, tmp_path) as rig:
            restore(rig)
            assert rig.worker.working_notional() == 0.0
            rig.executor.now = lambda: parent.spec.ts_end + 30 * NS_PER_S  # nobody decides until then
            rig.worker.tick()
            await eventually(lambda: status(rig, parent) == ParentStatus.EXPIRED, what="its end")
            assert not books(server)["orders"]


async def test_late_parent_ends_although_trading_is_halted_and_prices_are_old(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        parent = await rig.worker.parents.start(wanted(rig, 0.3, 1.0), actor="test")
        rig.kill.level = KillLevel.HALT
        rig.executor.now = lambda: parent.spec.ts_end + 30 * NS_PER_S
        rig.worker.tick()
        await eventually(lambda: status(rig, parent) == ParentStatus.EXPIRED, what="its end")


async def test_limits_that_stop_growth_pause_a_parent_and_a_reducing_one_goes_on(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True) as rig:
        book = rig.worker.parents
        opening = await book.start(wanted(rig, 0.3, 0.2), actor="test")
        await eventually(lambda: status(rig, opening) == ParentStatus.DONE)
        book.may_grow = lambda symbol: "today's loss is 6 % of 5 % allowed"
        growing = await book.start(wanted(rig, 0.3, 0.2), actor="test")
        await eventually(lambda: status(rig, growing) == ParentStatus.PAUSED)
        closing = await book.start(wanted(rig, 0.3, 0.2, side=-1, reduce_only=True), actor="test")
        await eventually(lambda: status(rig, closing) == ParentStatus.DONE)
        assert rig.position() == 0.0
        assert {order.status for order in book.children(closing.parent_id)} == {OrderStatus.FILLED}


async def test_a_persons_pause_holds_growth_until_the_planned_end_and_never_a_reduction(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **LARGE) as rig:
        book = rig.worker.parents
        rig.aim(0.5)
        await eventually(lambda: rig.position() == pytest.approx(0.5))
        thin_hour(rig)
        rig.aim(0.9, decision_id=2)
        growing = await begun(rig)
        await book.pause(growing.parent_id, "by hand")
        held = rig.position()
        rig.aim(0.8, decision_id=3)
        await asyncio.sleep(0.3)
        assert (rig.position(), len(book.parents)) == (held, 1)  # nothing grows in another way
        rig.aim(0.1, decision_id=4)  # the gate wants less: that ends the pause
        await eventually(lambda: status(rig, growing) == ParentStatus.CANCELED, what="its end")
        reducing = await begun(rig, 2)
        with pytest.raises(CommandRefused, match="what takes risk off is not held back"):
            await book.pause(reducing.parent_id)
        book.parents[reducing.parent_id] = replace(book.parents[reducing.parent_id], status=ParentStatus.PAUSED)
        await eventually(lambda: status(rig, reducing) == ParentStatus.CANCELED, what="the end of one kept from before")
        rig.worker.set_target(Target(BTC, 0.1, 5, MID, 0))  # urgent: at once, in the plain way
        await eventually(lambda: rig.position() == pytest.approx(0.1))


async def test_a_paused_parent_expires_at_its_planned_end_and_the_target_is_worked_again(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **LARGE) as rig:
        thin_hour(rig)
        rig.aim(0.5)
        first = await begun(rig)
        await rig.worker.parents.pause(first.parent_id, "by hand")
        ends, now = schedule.given_up_ns(first.spec), rig.executor.now
        rig.executor.now = lambda: ends
        await eventually(lambda: status(rig, first) == ParentStatus.EXPIRED, what="its end")
        rig.executor.now = now
        assert (await begun(rig, 2)).spec.purpose == "target"


async def test_parents_of_a_symbol_that_is_not_traded_any_more_end_with_a_reason(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True) as rig:
        book, told = rig.worker.parents, []
        book.on_unlisted = told.append
        parent = await book.start(wanted(rig, 0.3, 60.0, algorithm="iceberg", passive=True), actor="test")
        await eventually(lambda: books(server)["open_orders"], what="its child")
        instruments, rig.executor.instruments = rig.executor.instruments, {}
        rig.worker.tick()
        assert status(rig, parent) == ParentStatus.WORKING  # nothing is known of any symbol: a start, not an end
        rig.executor.instruments = {name: each for name, each in instruments.items() if name != BTC}
        await eventually(lambda: status(rig, parent) == ParentStatus.CANCELED, what="its end")
        assert not books(server)["open_orders"]
        assert [each.parent_id for each in told] == [parent.parent_id]
        assert on_record(rig)[0]["reason"] == f"the venue does not trade {BTC} any more"
