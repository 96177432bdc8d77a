"""Stopping in order: nothing works on, and nothing that is held is left without its stop at the exchange."""

import asyncio

import pytest
from engine_rig import BEST_BID, BTC, books, crossing, fault, limit, position_at_venue, practice_exchange, rig_on, take
from waiting import eventually

from engine.domain import KillLevel
from engine.runtime.standdown import stand_down

STOPS = {"use_protective_stops": True}


def resting(server):
    return [(order["type"], order["side"]) for order in books(server)["open_orders"]]


async def test_entry_that_fills_while_it_is_being_cancelled_gets_its_stop(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, **STOPS) as rig:
        await rig.executor.place(limit(1, 0.3, BEST_BID))
        fault(server, "http_503_before", match={"method": "DELETE", "path": "batchOrders"}, count=1)
        standing_down = asyncio.create_task(stand_down(rig.loop))
        await asyncio.sleep(0)  # it has taken over: the worker alone would do nothing any more
        assert rig.worker.suspended
        take(server, -1, 1_100)  # a third of ours
        assert await standing_down == []
        assert position_at_venue(server) == pytest.approx(0.1)
        assert resting(server) == [("STOP_MARKET", "SELL")]


async def test_position_that_the_stream_never_told_of_is_found_and_protected(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, **STOPS) as rig:
        rig.worker.suspended = True
        fault(server, "lose_ws", match={"stream": "user"}, count=20)
        await rig.executor.place(crossing(-1, 0.2))
        assert await stand_down(rig.loop) == []
        assert resting(server) == [("STOP_MARKET", "BUY")]


async def test_nothing_to_do_is_done_at_once_and_sends_nothing(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, **STOPS) as rig:
        assert await asyncio.wait_for(stand_down(rig.loop), 2.0) == []
        assert books(server)["orders"] == []


async def test_stop_that_the_exchange_refuses_is_told_of(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, **STOPS) as rig:
        rig.worker.suspended = True
        await rig.executor.place(crossing(1, 0.2))
        await eventually(lambda: rig.position() == pytest.approx(0.2))
        fault(server, "reject:-2021", match={"method": "POST", "path": "order"})
        (sentence,) = await stand_down(rig.loop, within_s=1.0)
        assert sentence == f"{BTC}: the position has no stop at the venue. Close it or place a stop there."


async def test_exchange_that_does_not_answer_is_waited_for_no_longer_than_allowed(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, **STOPS) as rig:
        order = await rig.executor.place(limit(1, 0.1, 49_000.0))
        fault(server, "http_503_before")
        (sentence,) = await asyncio.wait_for(stand_down(rig.loop, within_s=1.0), 3.0)
        assert order.client_id in sentence
        assert "may still rest at the venue" in sentence


async def test_stop_on_the_book_of_a_flat_symbol_goes(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, **STOPS) as rig:
        await rig.executor.place(crossing(1, 0.2))
        await eventually(lambda: resting(server) == [("STOP_MARKET", "SELL")])
        rig.worker.suspended = True
        await rig.executor.place(crossing(-1, 0.2))
        assert await stand_down(rig.loop) == []
        assert resting(server) == []


async def test_a_paused_engine_still_protects_what_it_leaves(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, **STOPS) as rig:
        rig.worker.suspended = True
        await rig.executor.place(crossing(1, 0.2))
        await eventually(lambda: rig.position() == pytest.approx(0.2))
        await rig.kill.press(KillLevel.PAUSE, "test", "test")
        assert await stand_down(rig.loop) == []
        assert resting(server) == [("STOP_MARKET", "SELL")]
