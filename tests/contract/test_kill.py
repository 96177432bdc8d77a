"""The kill switch on a practice exchange: how fast, how surely, and what it takes to trade again."""

import asyncio
import time

import pytest
from engine_rig import (
    BTC,
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

from engine.domain import KillLevel, Purpose, TradingState
from engine.errors import CommandRefused
from engine.runtime import doubts
from engine.runtime import kill as kill_module
from storage.database import verify_audit

ETH = "ETHUSDT"


def flat_at_venue(server):
    held = books(server)
    return not held["positions"] and not held["open_orders"]


def time_to_flat_rows(rig):
    rig.store.flush()
    return rig.store.rows("SELECT value, labels FROM metrics WHERE name = 'time_to_flat_s'")


async def test_flatten_while_orders_work_ends_flat_at_the_exchange(tmp_path):
    settings = {"use_protective_stops": True, "maker_wait_s": 600}
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **settings) as rig:
        await rig.executor.place(crossing(1, 0.5))
        await rig.executor.place(crossing(-1, 2.0)._replace(symbol=ETH, limit_px=2_990.0))
        await rig.executor.place(limit(1, 0.2, 49_600.0, purpose=Purpose.MANUAL))
        await eventually(lambda: rig.position() == pytest.approx(0.5) and rig.position(ETH) == pytest.approx(-2.0))
        rig.aim(0.9)
        rig.aim(-3.0, symbol=ETH)
        stops_and_quotes = 5  # two stops, two post-only entries, one order by hand
        await eventually(lambda: len(books(server)["open_orders"]) == stops_and_quotes, what="everything resting")

        began = time.monotonic()
        answer = await rig.kill.press(KillLevel.FLATTEN, "drill", "test")
        assert time.monotonic() - began < 1.0
        assert (answer["kill_level"], answer["cancels_sent_ms"] < 1_000) == (3, True)
        entries = [order for order in books(server)["open_orders"] if not order["closePosition"]]
        assert [order for order in entries if not order["reduceOnly"]] == []

        await eventually(lambda: flat_at_venue(server), what="flat at the exchange's own books")
        await eventually(lambda: time_to_flat_rows(rig), what="the drill on record")
        assert (rig.position(), rig.position(ETH)) == (0.0, 0.0)
        assert rig.worker.targets == {}
        (row,) = time_to_flat_rows(rig)
        assert row["labels"] == "FLATTEN"
        assert 0.0 < row["value"] == rig.kill.last_flatten_s < 5.0
        await asyncio.sleep(0.3)  # six more looks of the worker
        assert flat_at_venue(server)


async def test_cancels_reach_the_exchange_in_under_a_second_with_many_orders(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        for i in range(25):
            await rig.executor.place(limit(1, 0.01, 49_500.0 - i))
        await eventually(lambda: len(books(server)["open_orders"]) == 25)
        began = time.monotonic()
        answer = await rig.kill.press(KillLevel.CANCEL, "test", "test")
        elapsed_s = time.monotonic() - began
        assert books(server)["open_orders"] == []
        assert elapsed_s < 1.0
        assert answer["cancels_sent_ms"] <= elapsed_s * 1e3 + 1


async def test_cancel_all_is_repeated_until_the_venue_shows_no_entry(tmp_path, monkeypatch):
    monkeypatch.setattr(kill_module, "RETRY_S", 0.1)
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        for px in (49_500.0, 49_400.0):
            await rig.executor.place(limit(1, 0.01, px))
        await eventually(lambda: len(books(server)["open_orders"]) == 2)
        fault(server, "http_503_before", match={"method": "DELETE", "path": "batchOrders"}, count=2)
        fault(server, "http_503_before", match={"path": "openOrders"}, count=1)
        await rig.kill.press(KillLevel.CANCEL, "storm", "test")
        assert len(books(server)["open_orders"]) == 2  # the first attempt got lost
        await eventually(lambda: rig.kill._clearing.done(), within_s=5)
        assert books(server)["open_orders"] == []
        assert rig.kill.level == KillLevel.CANCEL


async def test_flat_is_not_said_while_an_entry_is_in_doubt(tmp_path, monkeypatch):
    monkeypatch.setattr(kill_module, "RETRY_S", 0.1)
    monkeypatch.setattr(doubts, "SETTLE_S", 1.0)
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        fault(server, "http_503_before", match={"method": "POST", "path": "order"}, count=1)
        order = await rig.executor.place(crossing(1, 0.3))  # it may still arrive: nobody knows
        began = time.monotonic()
        await rig.kill.press(KillLevel.FLATTEN, "test", "test")
        await eventually(lambda: time_to_flat_rows(rig), within_s=10)
        assert time.monotonic() - began > 0.9
        assert rig.executor.known(order.client_id).status == "REJECTED"
        assert flat_at_venue(server)


async def test_cancel_all_that_is_released_does_not_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(kill_module, "RETRY_S", 0.1)
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(limit(1, 0.01, 49_500.0))
        fault(server, "http_503_before", match={"method": "DELETE", "path": "batchOrders"})
        await rig.kill.press(KillLevel.CANCEL, "by mistake", "test")
        await rig.kill.resume("", "test")
        await eventually(lambda: rig.kill._clearing.done(), within_s=2)
        server.venue.faults.clear()
        assert len(books(server)["open_orders"]) == 1
        assert rig.incidents() == []


async def test_an_order_that_nobody_here_made_is_cancelled_with_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(kill_module, "RETRY_S", 0.1)
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        fault(server, "lose_ws", match={"stream": "user"})
        request = {"symbol": BTC, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01",
                   "price": "49000", "newClientOrderId": "somebody-else"}  # fmt: skip
        await rig.venue._trading.fapiPrivatePostV3Order(request)
        await rig.kill.press(KillLevel.CANCEL, "test", "test")
        await eventually(lambda: rig.kill._clearing.done(), within_s=20)
        assert books(server)["open_orders"] == []


async def test_stops_of_a_flat_book_are_cancelled_until_they_are_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(kill_module, "RETRY_S", 0.2)
    settings = {"use_protective_stops": True}
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **settings) as rig:
        await rig.executor.place(crossing(1, 0.2))
        await eventually(lambda: len(books(server)["open_orders"]) == 1, what="the stop")
        # the first cancel of the stop and the first answer about the book get lost
        fault(server, "http_503_before", match={"method": "DELETE", "path": "batchOrders"}, count=1)
        fault(server, "timeout_before", match={"path": "positionRisk"}, count=1, delay_ms=300)
        await rig.kill.press(KillLevel.FLATTEN, "storm", "test")
        await eventually(lambda: time_to_flat_rows(rig), within_s=10)
        assert flat_at_venue(server)
        assert books(server)["open_orders"] == []


async def test_levels_do_what_they_say(tmp_path):
    settings = {"use_protective_stops": True}
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **settings) as rig:
        await rig.executor.place(crossing(1, 0.2))
        await rig.executor.place(limit(1, 0.1, 49_500.0))
        await eventually(lambda: len(books(server)["open_orders"]) == 2)
        await rig.kill.press(KillLevel.PAUSE, "test", "test")
        assert rig.kill.trading_state() == TradingState.REDUCE_ONLY
        assert len(books(server)["open_orders"]) == 2  # pause leaves orders alone
        await rig.kill.press(KillLevel.CANCEL, "test", "test")
        (kept,) = books(server)["open_orders"]
        assert kept["closePosition"] is True  # cancel leaves the position and its stop
        assert position_at_venue(server) == pytest.approx(0.2)
        await rig.kill.press(KillLevel.HALT, "test", "test")
        assert rig.kill.trading_state() == TradingState.HALTED
        await eventually(lambda: flat_at_venue(server))
        with pytest.raises(CommandRefused, match="halted"):
            await rig.executor.place(crossing(1, 0.1))


async def test_pressing_again_and_pressing_milder_lower_nothing_and_sell_nothing_twice(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(crossing(1, 0.5))
        await eventually(lambda: rig.position() == pytest.approx(0.5))
        await asyncio.gather(*(rig.kill.press(KillLevel.FLATTEN, "again", "test") for _ in range(3)))
        answer = await rig.kill.press(KillLevel.PAUSE, "milder", "test")
        assert answer["kill_level"] == KillLevel.FLATTEN
        await eventually(lambda: time_to_flat_rows(rig))
        sells = [float(o["executedQty"]) for o in books(server)["orders"] if o["side"] == "SELL"]
        assert sum(sells) == pytest.approx(0.5)
        assert flat_at_venue(server)


async def test_flatten_gets_through_refusals_and_doubt(tmp_path, monkeypatch):
    monkeypatch.setattr(kill_module, "RETRY_S", 0.1)
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True) as rig:
        await rig.executor.place(crossing(1, 0.5))
        await eventually(lambda: rig.position() == pytest.approx(0.5))
        order = {"method": "POST", "path": "order"}
        fault(server, "reject:-1000", match=order, count=2)
        fault(server, "http_503_after", match=order, count=1)  # carried out, and we are not told
        fault(server, "429", match={"path": "openOrders"}, count=2)
        await rig.kill.press(KillLevel.FLATTEN, "storm", "test")
        await eventually(lambda: time_to_flat_rows(rig), within_s=10)
        assert flat_at_venue(server)
        sells = [float(o["executedQty"]) for o in books(server)["orders"] if o["side"] == "SELL"]
        assert sum(sells) == pytest.approx(0.5)


async def test_fill_that_arrives_during_the_flatten_is_closed_too(tmp_path, monkeypatch):
    monkeypatch.setattr(kill_module, "RETRY_S", 0.1)
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(limit(1, 0.3, 49_999.9))
        # the cancel does not get through at first, and meanwhile the order fills
        fault(server, "http_503_before", match={"method": "DELETE", "path": "batchOrders"}, count=1)
        pressing = asyncio.create_task(rig.kill.press(KillLevel.FLATTEN, "race", "test"))
        take(server, -1, 1_300)
        await pressing
        await eventually(lambda: time_to_flat_rows(rig), within_s=8)
        assert flat_at_venue(server)
        fills = [float(f["qty"]) * (1 if f["side"] == "BUY" else -1) for f in books(server)["fills"]]
        assert sum(abs(qty) for qty in fills) == pytest.approx(0.6)
        assert sum(fills) == pytest.approx(0.0)


async def test_level_survives_a_restart_and_goes_on_flattening(tmp_path, monkeypatch):
    async with practice_exchange() as server:
        async with rig_on(server, tmp_path) as rig:
            await rig.executor.place(crossing(1, 0.4))
            await rig.executor.place(limit(1, 0.1, 49_500.0))
            await eventually(lambda: rig.position() == pytest.approx(0.4))
            monkeypatch.setattr(rig.kill, "flatten_in_background", lambda: None)  # it dies before it could close
            await rig.kill.press(KillLevel.FLATTEN, "before the crash", "test")
            assert position_at_venue(server) == pytest.approx(0.4)
        async with rig_on(server, tmp_path) as rig:
            assert (rig.kill.level, rig.kill.reason) == (KillLevel.FLATTEN, "before the crash")
            assert rig.loop.trading_state() == TradingState.REDUCE_ONLY
            rig.kill.take_up()
            await eventually(lambda: flat_at_venue(server))
            await eventually(lambda: rig.position() == 0.0, what="the fill's arrival")


async def test_resume_after_halt_needs_the_word(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.kill.press(KillLevel.HALT, "test", "test")
        await eventually(lambda: time_to_flat_rows(rig))
        for word in ("", "resume", "yes"):
            with pytest.raises(CommandRefused, match="type RESUME"):
                await rig.kill.resume(word, "test")
        assert rig.kill.level == KillLevel.HALT
        assert await rig.kill.resume("RESUME", "test") == {"kill_level": 0}
        assert (rig.kill.level, rig.kill.reason) == (KillLevel.NONE, None)
        assert rig.loop.trading_state() == TradingState.RUNNING
        assert rig.store.recall("kill") == {"level": 0, "reason": None}
        await rig.executor.place(crossing(1, 0.1))
        assert position_at_venue(server) == pytest.approx(0.1)
        rig.aim(0.2)  # the worker is awake again as well
        rig.worker.tick()
        await eventually(lambda: books(server)["open_orders"])


async def test_resume_from_milder_levels_needs_no_word(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        for level in (KillLevel.PAUSE, KillLevel.CANCEL):
            await rig.kill.press(level, "test", "test")
            await rig.kill.resume("", "test")
            assert rig.loop.trading_state() == TradingState.RUNNING
        await rig.kill.press(KillLevel.FLATTEN, "test", "test")
        await eventually(lambda: time_to_flat_rows(rig))
        await rig.kill.resume("", "test")
        assert rig.kill.level == KillLevel.NONE
        assert books(server)["orders"] == []


async def test_resume_is_refused_while_the_book_is_being_flattened(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(crossing(1, 0.1))
        await eventually(lambda: rig.position() == pytest.approx(0.1))
        fault(server, "reject:-1000", match={"method": "POST", "path": "order"})
        await rig.kill.press(KillLevel.FLATTEN, "test", "test")
        with pytest.raises(CommandRefused, match="being flattened"):
            await rig.kill.resume("", "test")
        assert rig.kill.level == KillLevel.FLATTEN
        server.venue.faults.clear()
        await eventually(lambda: flat_at_venue(server))


async def test_switch_works_with_a_full_disk(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(limit(1, 0.1, 49_500.0))
        rig.store.execute("DROP TABLE settings")
        rig.store.execute("DROP TABLE audit")
        answer = await rig.kill.press(KillLevel.CANCEL, "test", "test")
        assert answer["kill_level"] == KillLevel.CANCEL
        assert books(server)["open_orders"] == []


async def test_presses_and_resumes_are_on_the_audit_chain(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.kill.press(KillLevel.PAUSE, "too hot", "ada")
        await rig.kill.resume("", "ada")
        rig.store.flush()
        rows = rig.store.rows("SELECT * FROM audit ORDER BY seq")
        assert [(row["actor"], row["action"]) for row in rows] == [("ada", "kill"), ("ada", "resume")]
        assert '"reason": "too hot"' in rows[0]["detail"]
        assert verify_audit(rows) is None
        assert verify_audit([rows[0] | {"detail": "{}"}, rows[1]]) == rows[0]["seq"]
        assert position_at_venue(server, BTC) == 0.0
