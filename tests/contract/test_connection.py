"""The connection's upkeep on the practice exchange: bans, breakers, clocks, silent streams, missed candles."""

import asyncio
import time

import aiohttp
import pytest
from engine_rig import BTC, books, crossing, fault, limit, practice_exchange, rig_on, take
from waiting import eventually

from engine.domain import NS_PER_S, Bar, TradingState
from engine.errors import CommandRefused, Unreachable
from engine.runtime import connection as connection_module
from engine.runtime.connection import Connection
from engine.runtime.market import Hole
from engine.venues import breakers, health, streams
from engine.venues.budget import Priority, using

POST_ORDER = {"method": "POST", "path": "order"}
MINUTE_NS = 60 * NS_PER_S


def quick(monkeypatch):
    monkeypatch.setattr(streams, "RECONNECT_S", (0.05,) * 5)


def requests_seen(server, action="delay", **match):
    """Return a function that says how many requests have reached the exchange since now."""
    fault(server, action, match=match, delay_ms=0)

    def count():
        return sum(rule["acted"] for rule in server.venue.faults.report())

    before = count()
    return lambda: count() - before


async def within_one_minute(least_s=6.0):
    """Wait for the next minute where this one is nearly over: what is sent in one and answered in the next counts in
    both."""
    left_s = 60.0 - time.time() % 60.0
    if left_s < least_s:
        await asyncio.sleep(left_s)


async def test_every_request_is_counted_as_the_venue_counts_it(tmp_path):
    await within_one_minute()
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.venue.snapshot()
        report = rig.venue.health()["weight"]
        address = next(iter(server.venue.limits._addresses.values()))
        assert report["limit"] == 2400
        assert report["used"] == address.weight.count
        assert report["used"] == sum(report["by"].values()) > 50


async def test_while_banned_nothing_is_sent_and_trading_resumes_by_itself(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        connection = Connection(rig.venue, rig.loop)
        fault(server, "418", match=POST_ORDER, count=1, delay_ms=1500)
        await rig.executor.place(crossing(1, 0.1))
        assert books(server)["orders"] == []
        assert rig.loop.trading_state() == TradingState.REDUCE_ONLY
        with pytest.raises(CommandRefused):
            await rig.executor.place(crossing(1, 0.1))
        seen = requests_seen(server)
        for call in (rig.venue.snapshot(), rig.venue.cancel(BTC, "any"), rig.venue.server_time_ms()):
            with pytest.raises(Unreachable, match=r"banned this address until .* UTC"):
                await call
        assert seen() == 0
        until = rig.venue.health()["ban_until_ns"]
        assert 0 < until - time.time_ns() < 1.6 * NS_PER_S
        connection.tell()
        await asyncio.sleep((until - time.time_ns()) / NS_PER_S + 0.05)
        assert rig.loop.trading_state() == TradingState.RUNNING
        connection.tell()
        assert (await rig.executor.place(crossing(1, 0.1))).status == "FILLED"
        assert any("banned this address" in sentence for sentence in rig.faults)
        assert any("allowed again" in sentence for sentence in rig.incidents())


async def test_429_makes_new_orders_wait_as_long_as_it_says_and_cancels_not(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        resting = await rig.executor.place(limit(1, 0.1, 49_500.0))
        fault(server, "429", match={"path": "premiumIndex"}, count=1)
        with pytest.raises(Exception, match="Too many requests"):
            await rig.venue._data.fapiPublicGetV3PremiumIndex()
        began = time.monotonic()
        await rig.executor.cancel(resting)
        assert time.monotonic() - began < 0.5
        await rig.executor.place(limit(1, 0.1, 49_400.0))
        assert 0.8 < time.monotonic() - began < 2.0  # Retry-After was one second
        assert [row["status"] for row in books(server)["orders"]] == ["CANCELED", "NEW"]
        assert any("429" in sentence for sentence in rig.faults)


async def test_open_breaker_sends_nothing_but_cancels_and_reducing_orders(tmp_path, monkeypatch):
    monkeypatch.setattr(breakers, "FIRST_PAUSE_S", 0.5)
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        await rig.executor.place(crossing(1, 0.2))
        rig.venue.gate.breakers["orders"]._pause_s = 0.5
        fault(server, "http_503_before", match=POST_ORDER, count=6)
        for _ in range(5):
            await rig.executor.place(limit(1, 0.1, 49_500.0))
        seen = requests_seen(server, method="POST", path="order")
        refused = await rig.executor.place(limit(1, 0.1, 49_500.0))
        assert refused.status == "REJECTED"
        assert "placing orders failed 5 times in a row" in refused.reason
        assert seen() == 0
        await rig.executor.place(crossing(-1, 0.1, reduce_only=True))  # tried, and fails: the sixth
        assert seen() == 1
        await asyncio.sleep(0.6)
        await rig.executor.place(limit(1, 0.1, 49_500.0))  # the probe
        assert rig.venue.gate.breakers["orders"].state == "closed"
        assert [row["status"] for row in books(server)["open_orders"]] == ["NEW"]


async def test_flattening_reads_through_an_open_breaker(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        breaker = rig.venue.gate.breakers["account"]
        for _ in range(5):
            breaker.failed("no answer in time")
        with pytest.raises(Unreachable, match="reading the account failed"):
            await rig.venue.snapshot()
        with using(Priority.URGENT):
            await rig.venue.snapshot()
        assert breaker.state == "closed"


async def test_clock_that_is_eleven_seconds_off_suspends_trading_until_it_is_right(tmp_path, monkeypatch):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        connection = Connection(rig.venue, rig.loop)
        ask = rig.venue.server_time_ms

        async def ahead():
            return await ask() - 11_000

        monkeypatch.setattr(rig.venue, "server_time_ms", ahead)
        await connection.measure_clock()
        assert rig.loop.trading_state() == TradingState.REDUCE_ONLY
        assert rig.venue.health()["clock"]["skew_ms"] == pytest.approx(-11_000, abs=200)
        monkeypatch.setattr(rig.venue, "server_time_ms", ask)
        await connection.measure_clock()  # not due yet
        assert rig.venue.suspended() is not None
        rig.venue.gate.on_nonce_refused()
        await connection.measure_clock()
        assert rig.loop.trading_state() == TradingState.RUNNING
        told = [sentence for sentence in rig.incidents() if "clock" in sentence]
        assert "This machine's clock differs from the venue's by +11.0 s" in told[0]
        assert "allowed again" in told[-1]


async def test_refused_nonce_has_the_clock_measured_at_once(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        Connection(rig.venue, rig.loop)
        await rig.venue.measure_clock()
        fault(server, "reject:-1021", match={"path": "openOrders"}, count=1)
        assert not rig.venue.clock.suspect
        with pytest.raises(Unreachable):
            await rig.venue.snapshot()
        assert rig.venue.clock.suspect


async def test_account_stream_that_hides_an_order_is_replaced(tmp_path, monkeypatch):
    quick(monkeypatch)
    monkeypatch.setattr(streams, "NEWS_WITHIN_S", 0.5)
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        fault(server, "mute_ws", match={"stream": "user"})
        await asyncio.sleep(0.2)
        await rig.executor.place(crossing(1, 0.1))
        await eventually(lambda: rig.venue.account.watch.reconnects == 1, within_s=6, what="a new connection")
        await eventually(lambda: rig.position() == 0.1, what="the fill, from reconciliation")
        assert "told nothing" in rig.venue.account.watch.last_reason


async def test_connection_is_renewed_before_its_day_ends(tmp_path, monkeypatch):
    quick(monkeypatch)
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        monkeypatch.setattr(streams, "LONGEST_LIFE_S", 0.2)
        await eventually(lambda: rig.venue.market.watch.reconnects and rig.venue.account.watch.reconnects, within_s=8)
        monkeypatch.setattr(streams, "LONGEST_LIFE_S", 3600.0)
        await eventually(lambda: rig.venue.market.watch.up and rig.venue.account.watch.up)
        assert "24 h" in rig.venue.market.watch.last_reason
        await eventually(lambda: rig.loop.trading_state() == TradingState.RUNNING, what="the news of it")
        take(server, 1, 50)
        await rig.executor.place(crossing(1, 0.1))
        await eventually(lambda: rig.position() == 0.1)


async def test_missed_candles_are_fetched_and_kept(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        connection = Connection(rig.venue, rig.loop)
        newest = (await rig.venue.history(BTC, "1m", 10))[-2].ts_open
        known, now = newest - 5 * MINUTE_NS, newest
        market = rig.loop.market
        market.last_closed.pop((BTC, "1m"), None)
        market.on_bar(Bar(BTC, "1m", known, 1.0, 1.0, 1.0, 1.0, 1.0))
        market.on_bar(Bar(BTC, "1m", now, 1.0, 1.0, 1.0, 1.0, 1.0))
        fault(server, "http_503_before", match={"path": "klines"}, count=1)
        await connection.fetch_missed()
        assert market.holes == [Hole(BTC, "1m", known + MINUTE_NS, now, 4)]  # kept for the next try
        await connection.fetch_missed()
        assert market.holes == []
        rig.store.flush()
        stored = rig.store.rows(
            "SELECT ts_open FROM bars WHERE symbol = ? AND interval = '1m' AND ts_open > ? AND ts_open < ? ORDER BY 1",
            [BTC, known, now],
        )
        assert [row["ts_open"] for row in stored] == [known + i * MINUTE_NS for i in (1, 2, 3, 4)]
        assert "Candles were missed and have been fetched: 4 of 1m." in rig.incidents()
        assert rig.venue.health()["streams"][0]["gaps"] == 1


async def test_bar_that_closed_while_the_stream_was_away_is_decided_on_late(tmp_path, monkeypatch):
    quick(monkeypatch)
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        connection, decided = Connection(rig.venue, rig.loop), []

        async def decide(ts_open):
            decided.append(ts_open)

        rig.loop.decide = decide
        await connection.fetch_newest()
        assert decided == []  # nothing was away
        rig.loop.market.last_closed.clear()
        fault(server, "drop_ws", match={"stream": "btcusdt@*"})
        await eventually(lambda: rig.venue.market.watch.reconnects == 1 and rig.venue.market.watch.up)
        fault(server, "http_503_before", match={"path": "klines"}, count=1)
        await connection.fetch_newest()
        assert decided == []  # asked, and not answered: asked again
        await connection.fetch_newest()
        newest = (await rig.venue.history(BTC, "1m", 2))[0].ts_open
        await eventually(lambda: decided == [newest], what="the decision")
        await connection.fetch_newest()
        assert decided == [newest]


async def test_repeated_trades_are_dropped_and_lost_ones_counted(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        trades = rig.venue.trades
        fault(server, "duplicate_ws", match={"stream": "btcusdt@aggTrade"}, count=1)
        take(server, 1, 100)
        await eventually(lambda: trades.repeated == 1, what="the repetition")
        fault(server, "lose_ws", match={"stream": "btcusdt@aggTrade"}, count=1)
        for _ in range(3):
            take(server, -1, 100)
            await asyncio.sleep(0.25)
        await eventually(lambda: trades.lost == 1, what="the loss")
        assert rig.venue.health()["streams"][0]["gaps"] == 1


async def test_trades_missed_while_the_stream_was_away_are_fetched_once_and_kept(tmp_path, monkeypatch):
    quick(monkeypatch)
    monkeypatch.setattr(health, "BACKFILL_AFTER_S", 0.0)
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        connection, trades = Connection(rig.venue, rig.loop), rig.venue.trades
        take(server, 1, 100)
        await eventually(lambda: BTC in trades._last, what="the first trade")
        fault(server, "lose_ws", match={"stream": "btcusdt@aggTrade"})
        for lots in range(1, 61):
            take(server, 1 if lots % 2 else -1, lots)
        await asyncio.sleep(0.3)
        server.venue.faults.clear()
        take(server, 1, 100)
        await eventually(lambda: trades.lost == 60, what="the gap")
        fault(server, "http_503_before", match={"path": "aggTrades"}, count=1)
        await connection.fetch_tape()
        assert (trades.lost, trades.fetched) == (60, 0)
        monkeypatch.setattr(health, "BACKFILL_AGAIN_S", 0.0)
        trades._due_s[BTC] = 0.0
        await connection.fetch_tape()
        await connection.fetch_tape()
        assert (trades.lost, trades.fetched, trades.due()) == (0, 60, [])
        rig.loop.journal.flush()
        assert "Market trades were missed. Fetched since: 60 of BTCUSDT." in rig.incidents()
        rows = rig.store.rows("SELECT count(*) AS n FROM ticks WHERE symbol = ?", [BTC])
        assert rows == [{"n": len(server.venue.tape.aggregates[BTC])}]


async def test_funding_settled_while_the_account_stream_is_away_reaches_the_books(tmp_path, monkeypatch):
    quick(monkeypatch)
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig, aiohttp.ClientSession() as http:
        await rig.executor.place(crossing(1, 0.5))
        await eventually(lambda: rig.position() == 0.5)
        before = rig.account.cash
        fault(server, "drop_ws", match={"stream": "user"})
        await eventually(lambda: not rig.venue.account.watch.up, what="the stream's loss")
        async with http.post(f"{server.base_url}/sandbox/funding", json={"rate": 0.001, "symbol": BTC}) as answer:
            assert (answer.status, (await answer.json())["symbols"]) == (200, [BTC])
        paid = [float(row["income"]) for row in books(server)["income"] if row["incomeType"] == "FUNDING_FEE"]
        assert paid == [pytest.approx(-0.5 * 50_000 * 0.001, rel=0.01)]
        await eventually(lambda: rig.account.cash == pytest.approx(before + paid[0], abs=1e-6), what="the payment")
        async with http.post(f"{server.base_url}/sandbox/funding", json={"symbol": "NONE"}) as answer:
            assert answer.status == 400


async def test_books_that_hold_risk_back_are_compared_again_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(connection_module, "COMPARE_AGAIN_S", 0.1)
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        connection = Connection(rig.venue, rig.loop)
        fault(server, "http_503_before", match={"path": "openOrders"}, count=1)
        await rig.loop.reconcile()
        assert rig.loop.trading_state() == TradingState.REDUCE_ONLY
        await asyncio.sleep(0.15)
        await connection.compare_again()
        assert rig.loop.trading_state() == TradingState.RUNNING
