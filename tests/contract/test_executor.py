"""The executor and its worker on a practice exchange: what is sent, what is never sent twice, what moves a position."""

import asyncio

import pytest
from engine_rig import (
    BEST_ASK,
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

from engine.domain import KillLevel, OrderStatus, Purpose, StreamState, TradingState
from engine.errors import CommandRefused
from engine.execution.ids import sequence_of
from engine.execution.planner import Target
from engine.runtime import doubts as doubts_module
from storage.ahead import read_ahead

POST_ORDER = {"method": "POST", "path": "order"}


@pytest.fixture
def quick_lookups(monkeypatch):
    monkeypatch.setattr(doubts_module, "LOOKUP_EVERY_S", 0.1)
    monkeypatch.setattr(doubts_module, "SETTLE_S", 0.3)


async def test_target_is_worked_post_only_at_the_touch_and_crosses_after_the_wait(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, maker_wait_s=0.6) as rig:
        rig.aim(0.2)
        await eventually(lambda: books(server)["open_orders"], what="a resting order")
        resting = books(server)["open_orders"]
        assert [(o["side"], o["timeInForce"], float(o["price"]), float(o["origQty"])) for o in resting] == [
            ("BUY", "GTX", BEST_BID, 0.2)
        ]
        assert rig.position() == 0.0
        await eventually(lambda: position_at_venue(server) == 0.2, what="the crossing order")
        await eventually(lambda: rig.position() == 0.2)
        await eventually(lambda: not rig.executor.orders)
        fills = books(server)["fills"]
        assert sum(float(fill["qty"]) for fill in fills) == pytest.approx(0.2)
        assert {(float(fill["price"]), fill["maker"]) for fill in fills} == {(BEST_ASK, False)}
        kinds = [(order["timeInForce"], order["status"]) for order in books(server)["orders"]]
        assert kinds == [("GTX", "CANCELED"), ("IOC", "FILLED")]


async def test_resting_order_that_is_hit_fills_as_maker_without_fee(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, maker_wait_s=60) as rig:
        rig.aim(-0.1)
        await eventually(lambda: books(server)["open_orders"])
        take(server, 1, 1_100)  # one BTC ahead of us at the touch, then ours
        await eventually(lambda: rig.position() == pytest.approx(-0.1))
        assert position_at_venue(server) == pytest.approx(-0.1)
        rig.store.flush()
        assert rig.store.rows("SELECT qty, px, fee, is_maker, decision_id FROM fills") == [
            {"qty": -0.1, "px": BEST_ASK, "fee": 0.0, "is_maker": True, "decision_id": 1}
        ]


async def test_flip_goes_through_zero_with_a_reduce_only_leg(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, use_maker_orders=False) as rig:
        rig.aim(0.1)
        await eventually(lambda: rig.position() == pytest.approx(0.1))
        rig.aim(-0.2, decision_id=2)
        await eventually(lambda: rig.position() == pytest.approx(-0.2))
        legs = [(o["side"], float(o["origQty"]), o["reduceOnly"]) for o in books(server)["orders"]]
        assert legs == [("BUY", 0.1, False), ("SELL", 0.1, True), ("SELL", 0.2, False)]


async def test_order_with_unknown_outcome_is_looked_up_and_never_sent_again(tmp_path, quick_lookups):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, use_maker_orders=False) as rig:
        fault(server, "lose_ws", match={"stream": "user"}, count=20)  # only the lookup can tell
        fault(server, "http_503_after", match=POST_ORDER, count=1)
        rig.aim(0.1)
        await eventually(lambda: rig.position() == pytest.approx(0.1))
        await eventually(lambda: not rig.executor.orders)
        await asyncio.sleep(0.5)  # ten more looks of the worker: room for a second order, if there were one
        orders = books(server)["orders"]
        assert [(float(o["executedQty"]), o["status"]) for o in orders] == [(0.1, "FILLED")]
        assert position_at_venue(server) == rig.position()
        rig.store.flush()
        events = [row["event"] for row in rig.store.rows("SELECT event FROM order_events ORDER BY seq")]
        assert events == ["SENT", "UNKNOWN", "FILL"]


async def test_order_that_never_arrived_is_given_up_after_two_answers_and_then_replanned(tmp_path, quick_lookups):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, use_maker_orders=False) as rig:
        fault(server, "http_503_before", match=POST_ORDER, count=1)
        rig.aim(0.1)
        await eventually(lambda: rig.executor.recent, what="the lost order's end")
        lost = next(iter(rig.executor.recent.values()))
        assert (lost.status, lost.reason) == (OrderStatus.REJECTED, "the venue has no such order")
        await eventually(lambda: rig.position() == pytest.approx(0.1), within_s=8)
        (order,) = books(server)["orders"]
        assert order["clientOrderId"] != lost.client_id
        assert position_at_venue(server) == pytest.approx(0.1)


async def test_no_order_answers_do_not_count_while_the_lookups_fail(tmp_path, quick_lookups):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        fault(server, "http_503_before", match=POST_ORDER, count=1)
        fault(server, "html_500", match={"method": "GET", "path": "order"}, count=4)
        order = await rig.executor.place(crossing(1, 0.1))
        assert order.status == OrderStatus.UNKNOWN
        asked = server.venue.faults.rules[-1]
        await eventually(lambda: asked.acted >= 4, what="four failing lookups")
        assert rig.executor.orders[order.client_id].not_found == 0
        await eventually(lambda: order.client_id in rig.executor.recent, what="the end after two real answers")
        assert rig.executor.recent[order.client_id].status == OrderStatus.REJECTED


async def test_order_given_up_that_shows_up_after_all_is_taken_back(tmp_path, quick_lookups):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        fault(server, "lose_ws", match={"stream": "user"}, count=1)
        fault(server, "http_503_after", match=POST_ORDER, count=1)
        fault(server, "reject:-2013", match={"method": "GET", "path": "order"}, count=8)  # some before it counts
        order = await rig.executor.place(limit(1, 0.3, BEST_BID))
        await eventually(lambda: order.client_id in rig.executor.recent, what="giving up")
        assert rig.executor.recent[order.client_id].status == OrderStatus.REJECTED
        server.venue.faults.clear()
        take(server, -1, 1_100)
        await eventually(lambda: rig.position() == pytest.approx(0.1))
        await eventually(lambda: order.client_id in rig.executor.orders)
        back = rig.executor.orders[order.client_id]
        assert (back.status, back.leaves_qty) == (OrderStatus.PARTIALLY_FILLED, pytest.approx(0.2))
        assert rig.account.position(BTC).manual_qty == 0.0
        await rig.kill.press(KillLevel.CANCEL, "test", "test")
        assert books(server)["open_orders"] == []


async def test_every_stream_message_twice_moves_the_position_once(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        fault(server, "duplicate_ws", match={"stream": "user"})
        await rig.executor.place(crossing(1, 1.5))  # one BTC at the touch, half of one a tick beyond: two fills
        await eventually(lambda: len(rig.fills) == 4, what="both fills twice")
        assert len({fill.trade_id for fill in rig.fills}) == 2
        assert rig.position() == pytest.approx(1.5)
        assert position_at_venue(server) == pytest.approx(1.5)
        rig.store.flush()
        assert rig.store.rows("SELECT count(*) AS n, sum(qty) AS qty FROM fills") == [{"n": 2, "qty": 1.5}]


async def test_rest_says_filled_before_the_fill_and_nothing_is_ordered_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(doubts_module, "FILL_WITHIN_S", 0.4)
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, use_maker_orders=False) as rig:
        fault(server, "lose_ws", match={"stream": "user"})
        rig.aim(0.1)
        await eventually(lambda: rig.executor.recent, what="REST's answer")
        assert next(iter(rig.executor.recent.values())).status == OrderStatus.FILLED
        assert (rig.position(), rig.executor.awaits_fill(BTC)) == (0.0, True)
        # the fill never comes by stream; it is fetched, and meanwhile no look of the worker orders again
        await eventually(lambda: rig.position() == pytest.approx(0.1))
        assert not rig.executor.awaits_fill(BTC)
        assert len(books(server)["orders"]) == 1
        assert position_at_venue(server) == pytest.approx(0.1)


async def test_kill_between_intent_and_send_stops_the_order(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        placing = asyncio.create_task(rig.executor.place(limit(1, 0.1, 49_000.0)))
        await asyncio.sleep(0)
        (intent,) = rig.executor.open_orders()
        assert intent.status == OrderStatus.INTENT
        await rig.kill.press(KillLevel.PAUSE, "test", "test")
        with pytest.raises(CommandRefused, match="kill switch"):
            await placing
        assert books(server)["orders"] == []
        row = rig.stored_order(intent.client_id)
        assert (row["status"], row["ts_sent"]) == ("REJECTED", 0)


async def test_intent_is_on_disk_before_the_request_leaves(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        seen = []
        submit = rig.venue.submit

        async def looking(order):
            seen.extend(row for part in read_ahead(tmp_path / "paper.ahead", 0) for row in part.rows)
            return await submit(order)

        rig.venue.submit = looking
        order = await rig.executor.place(limit(1, 0.1, 49_500.0))
        assert [(row["client_id"], row["status"]) for row in seen] == [(order.client_id, "INTENT")]
        assert order.status == OrderStatus.NEW


async def test_order_whose_intent_cannot_be_written_is_not_sent(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        monkeypatch.setattr("storage.ahead.os.fdatasync", full)
        with pytest.raises(CommandRefused, match="could not be written"):
            await rig.executor.place(crossing(1, 0.1))
        assert books(server)["orders"] == []
        assert rig.executor.open_orders() == []


async def test_reduce_only_state_refuses_entries_and_lets_exits_through(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(crossing(1, 0.2))
        await eventually(lambda: rig.position() == pytest.approx(0.2))
        await rig.kill.press(KillLevel.PAUSE, "test", "test")
        assert rig.loop.trading_state() == TradingState.REDUCE_ONLY
        with pytest.raises(CommandRefused, match="reduce"):
            await rig.executor.place(crossing(1, 0.1))
        with pytest.raises(CommandRefused, match="reduce"):  # larger than the position: it would flip
            await rig.executor.place(crossing(-1, 0.3))
        await rig.executor.place(crossing(-1, 0.2))
        await eventually(lambda: rig.position() == 0.0)
        assert len(books(server)["orders"]) == 2


async def test_lost_account_stream_allows_only_reducing(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        assert rig.loop.trading_state() == TradingState.RUNNING
        await rig.loop.on_account(StreamState("account", False, "test", 1))
        assert rig.loop.trading_state() == TradingState.REDUCE_ONLY
        with pytest.raises(CommandRefused):
            await rig.executor.place(crossing(1, 0.1))
        assert books(server)["orders"] == []


async def test_protective_stop_follows_the_position_and_goes_with_it(tmp_path):
    settings = {"use_protective_stops": True, "protective_stop_pct": 0.05, "use_maker_orders": False}
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **settings) as rig:
        rig.aim(0.1)
        await eventually(lambda: books(server)["open_orders"], what="the stop")
        (stop,) = books(server)["open_orders"]
        assert (stop["type"], stop["side"], stop["closePosition"]) == ("STOP_MARKET", "SELL", True)
        assert float(stop["stopPrice"]) == pytest.approx(BEST_ASK * 0.95, abs=0.05)
        assert stop["workingType"] == "MARK_PRICE"
        rig.aim(0.0, decision_id=2)
        await eventually(lambda: position_at_venue(server) == 0.0)
        await eventually(lambda: not books(server)["open_orders"], what="the stop's cancel")
        await eventually(lambda: not rig.executor.orders)


async def test_stop_turns_round_with_the_position(tmp_path):
    settings = {"use_protective_stops": True, "protective_stop_pct": 0.05, "use_maker_orders": False}
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **settings) as rig:
        rig.aim(0.1)
        await eventually(lambda: books(server)["open_orders"])
        rig.aim(-0.1, decision_id=2)
        await eventually(lambda: [o["side"] for o in books(server)["open_orders"]] == ["BUY"])
        (stop,) = books(server)["open_orders"]
        assert float(stop["stopPrice"]) == pytest.approx(BEST_BID * 1.05, abs=0.05)


async def test_stop_moves_with_the_entry_price_although_the_venue_takes_only_one(tmp_path):
    settings = {"use_protective_stops": True, "protective_stop_pct": 0.01, "use_maker_orders": False}
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **settings) as rig:
        rig.aim(0.1)
        await eventually(lambda: books(server)["open_orders"])
        rig.loop.config = rig.executor.config = rig.loop.config.model_copy(update={"protective_stop_pct": 0.03})
        wanted = pytest.approx(BEST_ASK * 0.97, abs=0.05)
        await eventually(
            lambda: [float(o["stopPrice"]) for o in books(server)["open_orders"]] == [wanted], what="the moved stop"
        )
        assert [o["status"] for o in books(server)["orders"] if o["type"] == "STOP_MARKET"] == ["CANCELED", "NEW"]


async def test_refused_target_does_not_keep_the_stop_from_being_placed(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, use_maker_orders=False) as rig:
        await rig.executor.place(crossing(1, 0.1))
        await eventually(lambda: rig.position() == pytest.approx(0.1))
        await rig.kill.press(KillLevel.PAUSE, "test", "test")
        rig.aim(0.3)  # growth, which the state refuses at every look
        with_stops = rig.loop.config.model_copy(update={"use_protective_stops": True})
        rig.loop.config = rig.executor.config = with_stops
        rig.worker.tick()
        await eventually(lambda: books(server)["open_orders"], what="the stop", within_s=3)
        assert books(server)["open_orders"][0]["closePosition"] is True
        assert rig.position() == pytest.approx(0.1)


async def test_urgent_target_of_the_same_size_ends_the_patience(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, maker_wait_s=600) as rig:
        await rig.executor.place(crossing(1, 0.1))
        await eventually(lambda: rig.position() == pytest.approx(0.1))
        rig.aim(0.0)
        await eventually(lambda: books(server)["open_orders"], what="the patient exit")
        rig.worker.set_target(Target(BTC, 0.0, 2, MID, 0))  # a loss limit was reached
        await eventually(lambda: position_at_venue(server) == 0.0, within_s=8)


async def test_manual_position_is_left_alone_by_the_strategy(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, use_maker_orders=False) as rig:
        await rig.executor.place(crossing(1, 0.3, Purpose.MANUAL))
        await eventually(lambda: rig.position() == pytest.approx(0.3))
        assert rig.account.position(BTC).manual_qty == pytest.approx(0.3)
        rig.aim(-0.1)
        await eventually(lambda: rig.position() == pytest.approx(0.2))
        assert position_at_venue(server) == pytest.approx(0.2)
        assert rig.account.position(BTC).manual_qty == pytest.approx(0.3)


async def test_refused_order_is_not_repeated_at_once(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, use_maker_orders=False) as rig:
        fault(server, "reject:-2019", match=POST_ORDER)
        rig.aim(0.1)
        await eventually(lambda: rig.executor.recent)
        await asyncio.sleep(0.6)  # a dozen looks of the worker
        (refused,) = rig.executor.recent.values()
        assert refused.status == OrderStatus.REJECTED
        assert "-2019" in refused.reason
        assert server.venue.faults.rules[-1].acted == 1


async def test_old_price_stops_the_worker(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, use_maker_orders=False) as rig:
        rig.loop.config = rig.executor.config = rig.loop.config.model_copy(update={"max_price_age_s": 1.0})
        top = rig.loop.market.tops[BTC]
        rig.loop.market.tops[BTC] = top._replace(ts_received=rig.loop.clock.now() - 2_000_000_000)
        rig.aim(0.1)
        rig.worker.tick()
        await asyncio.sleep(0.2)
        assert books(server)["orders"] == []
        rig.loop.market.tops[BTC] = top._replace(ts_received=rig.loop.clock.now())
        rig.worker.tick()
        await eventually(lambda: position_at_venue(server) == pytest.approx(0.1))


async def test_orders_survive_a_restart_and_are_looked_up(tmp_path, quick_lookups):
    async with practice_exchange() as server:
        async with rig_on(server, tmp_path) as rig:
            order = await rig.executor.place(limit(1, 0.1, 49_500.0))
            assert order.status == OrderStatus.NEW
            rig.store.flush()
            rows = rig.store.rows("SELECT * FROM orders")
            unsure = dict(rows[0], status="SENT", venue_order_id="")
        async with rig_on(server, tmp_path) as rig:
            rig.executor.orders.clear()  # what the first comparison adopted
            rig.executor.restore([unsure])
            assert rig.executor.orders[order.client_id].status == OrderStatus.UNKNOWN
            assert rig.executor.rate.in_minute(rig.executor.now()) == 1
            rig.executor.doubts.chase()
            await eventually(lambda: rig.executor.orders[order.client_id].status == OrderStatus.NEW)
            assert len(books(server)["orders"]) == 1
            assert rig.executor.sequence >= sequence_of(order.client_id)
            second = await rig.executor.place(limit(1, 0.1, 49_400.0))
            assert second.client_id != order.client_id


async def test_stop_that_is_hit_closes_the_position_and_the_worker_does_not_buy_it_back(tmp_path):
    settings = {"use_protective_stops": True, "protective_stop_pct": 0.01, "use_maker_orders": False}
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **settings) as rig:
        rig.aim(0.1)
        await eventually(lambda: books(server)["open_orders"], what="the stop")
        server.venue.market.index[BTC] = 49_000.0
        await eventually(lambda: position_at_venue(server) == 0.0, what="the stop's execution")
        await eventually(lambda: rig.position() == 0.0)
        assert rig.loop.stopped.sides == {BTC: 1}
        await asyncio.sleep(0.4)  # eight more looks of the worker
        assert position_at_venue(server) == 0.0
        assert [o["side"] for o in books(server)["orders"]] == ["BUY", "SELL"]
        await eventually(lambda: not rig.executor.orders)
        assert any("the protective stop closed the long" in sentence for sentence in rig.incidents())


async def test_stop_of_a_position_made_by_hand_does_not_keep_the_strategy_out(tmp_path):
    settings = {"use_protective_stops": True, "protective_stop_pct": 0.01, "use_maker_orders": False}
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True, **settings) as rig:
        await rig.executor.place(crossing(1, 0.1, Purpose.MANUAL))
        await eventually(lambda: books(server)["open_orders"], what="the stop")
        server.venue.market.index[BTC] = 49_000.0
        await eventually(lambda: rig.position() == 0.0 == position_at_venue(server), what="the stop's execution")
        assert rig.loop.stopped.sides == {}
        assert any("it was opened by hand" in sentence for sentence in rig.incidents())


async def test_what_a_person_closes_is_neither_bought_back_nor_sold_short_when_the_strategy_leaves(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, use_maker_orders=False) as rig:
        rig.aim(0.2)
        await eventually(lambda: rig.position() == pytest.approx(0.2))
        await rig.executor.place(crossing(-1, 0.2, Purpose.MANUAL, reduce_only=True))
        await eventually(lambda: rig.position() == 0.0)
        assert rig.account.position(BTC).manual_qty == 0.0
        assert (rig.loop.stopped.sides, rig.worker.targets) == ({BTC: 1}, {})
        assert any("a person closed 0.2 of the strategy's long" in sentence for sentence in rig.incidents())
        rig.aim(0.0)
        for _ in range(5):
            rig.worker.tick()
            await asyncio.sleep(0.05)
        assert (rig.position(), books(server)["open_orders"]) == (0.0, [])
