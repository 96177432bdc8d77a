"""The dead-man switch and the liquidation guard on a practice exchange."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from engine_rig import (
    BEST_BID,
    BTC,
    MID,
    books,
    crossing,
    fault,
    limit,
    position_at_venue,
    practice_exchange,
    rig_on,
    take,
)
from waiting import eventually

from engine.domain import N_RULES, Purpose
from engine.runtime import guards
from engine.runtime.account import Position


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(guards, "COUNTDOWN_MS", 1_500)
    monkeypatch.setattr(guards, "REFRESH_S", 0.4)


def deadlines(server):
    return {symbol for _, symbol in server.venue.exchange._state.deadlines}


def open_ids(server):
    return {order["clientOrderId"] for order in books(server)["open_orders"]}


async def test_entries_go_when_nothing_is_heard_of_the_engine_any_more(tmp_path, quick):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(limit(1, 0.1, 49_000.0))
        await rig.loop.dead_man.refresh()
        assert deadlines(server) == {BTC}
        await eventually(lambda: not books(server)["open_orders"], what="the venue's cancel")


async def test_entries_stay_while_the_engine_lives(tmp_path, quick):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        order = await rig.executor.place(limit(1, 0.1, 49_000.0))
        for _ in range(12):
            await rig.loop.dead_man.refresh()
            await asyncio.sleep(0.2)
        assert open_ids(server) == {order.client_id}


async def test_the_stop_of_a_position_survives_the_engine(tmp_path, quick):
    """An armed entry fills, its stop is placed, the engine falls silent: the stop outlives the countdown."""
    settings = {"use_protective_stops": True, "protective_stop_pct": 0.05}
    async with practice_exchange() as server, rig_on(server, tmp_path, **settings) as rig:
        await rig.executor.place(limit(1, 0.3, BEST_BID))
        await rig.loop.dead_man.refresh()
        assert deadlines(server) == {BTC}
        take(server, -1, 1_100)  # a third of ours
        await eventually(lambda: rig.executor.open_orders(BTC, Purpose.PROTECT), what="the stop")
        await eventually(lambda: [o for o in books(server)["open_orders"] if o["closePosition"]])
        assert deadlines(server) == set()
        await asyncio.sleep(2.5)  # longer than the countdown, without a word
        assert [o["type"] for o in books(server)["open_orders"] if o["closePosition"]] == ["STOP_MARKET"]


async def test_never_armed_beside_a_position_a_stop_or_an_order_of_somebody_else(tmp_path, quick):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(crossing(1, 0.1))
        await eventually(lambda: rig.position() == pytest.approx(0.1))
        await rig.executor.place(limit(1, 0.1, 49_000.0))
        await rig.loop.dead_man.refresh()
        assert deadlines(server) == set()
        rig.loop.config = rig.executor.config = rig.loop.config.model_copy(update={"use_dead_man_switch": False})
        await rig.executor.place(limit(1, 1.0, 2_000.0, symbol="ETHUSDT"))
        await rig.loop.dead_man.refresh()
        assert deadlines(server) == set()


async def test_a_countdown_that_cannot_be_called_off_is_called_off_later(tmp_path, quick):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(limit(1, 0.3, BEST_BID))
        await rig.loop.dead_man.refresh()
        fault(server, "http_503_before", match={"path": "countdownCancelAll"}, count=1)
        take(server, -1, 1_100)
        await eventually(lambda: rig.position() == pytest.approx(0.1))
        await rig.loop.dead_man.refresh()
        assert deadlines(server) == {BTC}
        await rig.loop.dead_man.refresh()
        assert deadlines(server) == set()


async def test_position_close_to_liquidation_is_halved_and_told(tmp_path):
    settings = {"use_maker_orders": False, "min_liquidation_distance": 0.05}
    async with practice_exchange() as server, rig_on(server, tmp_path, **settings) as rig:
        await rig.executor.place(crossing(1, 0.4))
        await eventually(lambda: rig.position() == pytest.approx(0.4))
        position = rig.account.position(BTC)
        near, far = MID * 0.97, MID * 0.9  # 3 % and 10 % below the mark
        rig.account.positions[BTC] = position.__class__(0.4, position.entry_px, 0.0, far, 5.0)
        assert rig.loop.liquidation.distance(BTC) == pytest.approx(0.10, abs=1e-3)
        assert not rig.loop.liquidation.sweep()
        rig.account.positions[BTC] = position.__class__(0.4, position.entry_px, 0.0, near, 5.0)
        assert rig.loop.liquidation.sweep()
        assert not rig.loop.liquidation.sweep()  # one at a time
        await eventually(lambda: rig.position() == pytest.approx(0.2))
        assert position_at_venue(server) == pytest.approx(0.2)
        (sentence,) = [s for s in rig.incidents() if "liquidation" in s]
        assert "the limit is 5.00%: position 0.4 is cut to 0.2" in sentence


async def test_what_a_person_holds_is_cut_for_good_and_nothing_works_towards_it_any_more(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, use_maker_orders=False) as rig:
        await rig.executor.place(crossing(1, 0.4, Purpose.MANUAL))
        await rig.executor.place(crossing(1, 0.2))
        await eventually(lambda: rig.position() == pytest.approx(0.6))
        resting = await rig.executor.place(limit(1, 0.1, 49_000.0))  # an entry of before
        rig.aim(0.3)
        position = rig.account.position(BTC)
        rig.account.positions[BTC] = position.__class__(0.6, position.entry_px, 0.4, MID * 0.97, 5.0)
        assert rig.loop.liquidation.sweep()
        await eventually(lambda: rig.position() == pytest.approx(0.3))
        assert rig.account.position(BTC).manual_qty == pytest.approx(0.2)
        await eventually(lambda: resting.client_id not in open_ids(server))
        assert rig.worker.targets == {}
        rig.aim(0.1)  # the next wish: what the strategy has
        for _ in range(6):
            rig.worker.tick()
            await asyncio.sleep(0.05)
        assert position_at_venue(server) == pytest.approx(0.3)


async def test_a_position_that_is_being_closed_is_not_cut_as_well(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(crossing(1, 0.4))
        await eventually(lambda: rig.position() == pytest.approx(0.4))
        position = rig.account.position(BTC)
        rig.account.positions[BTC] = position.__class__(0.4, position.entry_px, 0.0, MID * 0.97, 5.0)
        await rig.executor.place(limit(-1, 0.4, 51_000.0, reduce_only=True, purpose=Purpose.FLATTEN))
        assert not rig.loop.liquidation.sweep()


async def test_close_to_liquidation_the_strategy_does_not_add_to_what_a_person_holds(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await eventually(lambda: rig.loop.market.mark_px(BTC) > 0)
        decider = SimpleNamespace(symbols=rig.loop.config.symbols)
        for target, taken in ((0.1, False), (-0.1, True)):  # beside 0.4 by hand
            rig.account.positions[BTC] = Position(0.4, MID, 0.4, MID * 0.97, 5.0)
            decision = SimpleNamespace(
                target_qty=np.array([target, 0.0]), act=np.array([1, 0]), verdict=np.zeros((2, N_RULES))
            )
            rig.loop._act(decider, decision, 1, np.full(2, MID))
            assert (BTC in rig.worker.targets) == taken
            rig.worker.clear()
