"""Streams of the practice exchange, read by stock ccxt.pro and by a bare WebSocket."""

import asyncio
import contextlib
import json
from itertools import pairwise

import aiohttp
import ccxt
import pytest
import pytest_asyncio
from scripted_market import MAKER, TAKER, ScriptedMarket, ccxt_client

from engine.venues.sandbox.options import SandboxOptions
from engine.venues.sandbox.server import SandboxServer

BTC = "BTC/USDT:USDT"
MINUTE_MS = 60_000


@contextlib.asynccontextmanager
async def running(**options):
    sandbox = SandboxServer(SandboxOptions(**options), ScriptedMarket())
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.stop()
    assert sandbox.failure is None


@pytest_asyncio.fixture
async def server():
    async with running() as sandbox:
        yield sandbox


@pytest_asyncio.fixture
async def ex(server):
    client = ccxt_client(server)
    await client.load_markets()
    yield client
    await client.close()


@pytest_asyncio.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


def market_buy(server, lots, symbol="BTCUSDT"):
    server.venue.exchange.quote(TAKER, symbol, 1, None, lots, server.venue.market_ms)


async def until(ws, wanted, timeout_s=5.0):
    """Read messages until one satisfies ``wanted``; return it, bare or unwrapped."""
    async with asyncio.timeout(timeout_s):
        while True:
            message = await ws.receive()
            assert message.type is aiohttp.WSMsgType.TEXT, message
            payload = json.loads(message.data)
            payload = payload.get("data", payload)
            if wanted(payload):
                return payload


def event(name):
    return lambda payload: payload.get("e") == name


async def within(coroutine, seconds=5.0):
    return await asyncio.wait_for(coroutine, seconds)


async def test_ccxt_watches_every_public_stream(server, ex):
    book = await within(ex.watch_order_book(BTC, 5))
    assert (book["bids"][0], book["asks"][0]) == ([49_999.9, 1.0], [50_000.1, 1.0])
    waiting = asyncio.create_task(ex.watch_trades(BTC))
    bars = asyncio.create_task(ex.watch_ohlcv(BTC, "1m"))
    await asyncio.sleep(0.3)
    market_buy(server, 250)
    trade = (await within(waiting))[-1]
    assert (trade["price"], trade["amount"], trade["side"]) == (50_000.1, 0.25, "buy")
    await within(bars)
    top = (await within(ex.watch_bids_asks([BTC])))[BTC]
    assert (top["bid"], top["ask"], top["askVolume"]) == (49_999.9, 50_000.1, 0.75)
    assert (await within(ex.watch_mark_price(BTC)))["indexPrice"] == 50_000.0


async def test_ccxt_watches_the_ticker(ex):
    assert (await within(ex.watch_ticker(BTC)))["last"] == 49_999.0


async def test_ccxt_sees_its_position_and_orders(server, ex):
    await within(ex.authenticate("swap"))
    url = ex.get_private_url("swap")
    ex.set_balance_cache(ex.client(url), "swap")
    orders = ex.watch_multiple(url, ["orders"], None, ["swap"])
    trades = ex.watch_multiple(url, ["myTrades"], None, ["swap"])
    positions = asyncio.create_task(ex.watch_positions())
    await asyncio.sleep(0.3)
    await ex.create_order(BTC, "market", "buy", 0.1, None, {"newClientOrderId": "seen"})
    assert (await within(orders))[0]["clientOrderId"] == "seen"
    fill = (await within(trades))[-1]
    assert (fill["price"], fill["amount"], fill["fee"]["cost"]) == (50_000.1, 0.1, pytest.approx(2.000004))
    await within(positions)
    assert ex.balance["swap"]["USDT"]["total"] == pytest.approx(10_000 - 2.000004)


async def user_socket(server, http, **params):
    headers = {"X-MBX-APIKEY": server.hmac_key}
    async with http.post(f"{server.base_url}/fapi/v1/listenKey", headers=headers, params=params) as answer:
        key = (await answer.json())["listenKey"]
    return await http.ws_connect(f"{server.ws_url}/fstream/ws/{key}"), key


async def test_user_stream_reports_each_change_with_exact_numbers(server, ex, http):
    ws, _ = await user_socket(server, http)
    await ex.create_order(BTC, "limit", "sell", 0.4, 50_000.4, {"clientOrderId": "rest-1"})
    placed = (await until(ws, event("ORDER_TRADE_UPDATE")))["o"]
    assert (placed["x"], placed["X"], placed["q"], placed["p"]) == ("NEW", "NEW", "0.400", "50000.4")
    market_buy(server, 3_000 + 1_100)  # three BTC at better prices, one at our price ahead of us, 0.1 of ours
    fill = (await until(ws, event("ORDER_TRADE_UPDATE")))["o"]
    assert (fill["x"], fill["X"], fill["l"], fill["L"], fill["n"]) == (
        "TRADE", "PARTIALLY_FILLED", "0.100", "50000.4", "0.00000000",
    )  # fmt: skip
    account = (await until(ws, event("ACCOUNT_UPDATE")))["a"]
    assert (account["m"], account["B"][0]["wb"]) == ("ORDER", "10000.00000000")
    assert (account["P"][0]["pa"], account["P"][0]["ep"]) == ("-0.100", "50000.4")
    await ex.cancel_order(None, BTC, {"clientOrderId": "rest-1"})
    gone = (await until(ws, event("ORDER_TRADE_UPDATE")))["o"]
    assert (gone["x"], gone["X"], gone["z"]) == ("CANCELED", "CANCELED", "0.100")
    await ws.close()


async def test_funding_and_leverage_reach_the_user_stream(server, ex, http):
    await ex.create_order(BTC, "market", "buy", 0.1)
    ws, _ = await user_socket(server, http)
    await ex.set_leverage(10, BTC)
    assert (await until(ws, event("ACCOUNT_CONFIG_UPDATE")))["ac"] == {"s": "BTCUSDT", "l": 10}
    before = server.venue.exchange.account(server.address).wallet_balance
    mark = server.venue.exchange.mark("BTCUSDT")
    server.venue.exchange.settle_funding("BTCUSDT", 0.0001, server.venue.market_ms)
    update = (await until(ws, event("ACCOUNT_UPDATE")))["a"]
    paid = 0.1 * mark * 0.0001  # a long pays size * mark * rate
    assert update["m"] == "FUNDING_FEE"
    assert float(update["B"][0]["bc"]) == pytest.approx(-paid, abs=1e-7)
    assert float(update["B"][0]["wb"]) == pytest.approx(before - paid, abs=1e-7)
    assert update["P"] == []
    await ws.close()


async def test_margin_call_comes_before_the_liquidation(server, ex, http):
    ws, _ = await user_socket(server, http)
    await ex.set_leverage(100, BTC)
    await ex.create_order(BTC, "market", "buy", 5)
    venue = server.venue
    for mid in range(50_000, 47_000, -100):
        venue.market.index["BTCUSDT"] = float(mid)
        venue.exchange.set_prices("BTCUSDT", index=float(mid), now_ms=venue.market_ms)
        venue.exchange.quote(TAKER, "BTCUSDT", -1, None, 500, venue.market_ms)
        venue.pump(venue.market_ms)
    call = await until(ws, event("MARGIN_CALL"))
    assert (call["p"][0]["s"], call["p"][0]["pa"]) == ("BTCUSDT", "5.000")
    closed = await until(ws, lambda p: p.get("e") == "ORDER_TRADE_UPDATE" and p["o"]["c"].startswith("autoclose-"))
    assert closed["o"]["S"] == "SELL"
    await ws.close()


async def test_listen_key_expires_and_can_be_renewed(http):
    async with running(listen_key_life_s=0.6) as server:
        ws, key = await user_socket(server, http)
        headers = {"X-MBX-APIKEY": server.hmac_key}
        for _ in range(3):
            await asyncio.sleep(0.3)
            async with http.put(f"{server.base_url}/fapi/v1/listenKey", headers=headers) as answer:
                assert answer.status == 200
        assert (await until(ws, event("listenKeyExpired")))["listenKey"] == key
        async with http.put(f"{server.base_url}/fapi/v1/listenKey", headers=headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, -1125)
        await ws.close()


async def test_control_messages_are_answered_with_and_without_id(server, http):
    async with http.ws_connect(f"{server.ws_url}/fstream/stream") as ws:
        await ws.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@markPrice@1s", "nope@depth"]})
        assert (await ws.receive_json())["result"] is None
        await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 5})
        answer = await until(ws, lambda payload: payload.get("id") == 5)
        assert answer["result"] == ["btcusdt@markPrice@1s"]
        await ws.send_json({"method": "UNSUBSCRIBE", "params": ["btcusdt@markPrice@1s"], "id": 6})
        assert (await until(ws, lambda payload: payload.get("id") == 6))["result"] is None
        assert server.venue.streams._channels == {}


async def test_raw_and_combined_urls_name_their_streams(server, http):
    async with http.ws_connect(f"{server.ws_url}/fstream/ws/btcusdt@depth5@100ms") as ws:
        bare = await asyncio.wait_for(ws.receive_json(), 5)
        assert (bare["e"], len(bare["b"]), bare["b"][0]) == ("depthUpdate", 5, ["49999.9", "1.000"])
    url = f"{server.ws_url}/fstream/stream?streams=btcusdt@depth10/ethusdt@bookTicker"
    async with http.ws_connect(url) as ws:
        names = {(await asyncio.wait_for(ws.receive_json(), 5))["stream"] for _ in range(2)}
        assert names == {"btcusdt@depth10", "ethusdt@bookTicker"}
    async with http.ws_connect(f"{server.ws_url}/fstream/ws/nokey") as ws:
        assert (await asyncio.wait_for(ws.receive(), 5)).type is aiohttp.WSMsgType.CLOSE


async def test_book_rebuilt_from_diffs_equals_the_snapshot(server, ex, http):
    async with http.ws_connect(f"{server.ws_url}/fstream/ws/btcusdt@depth@100ms") as ws:
        await asyncio.sleep(0.1)
        snapshot = await ex.fapiPublicGetV3Depth({"symbol": "BTCUSDT", "limit": 1000})
        book = {side: dict(snapshot[side]) for side in ("bids", "asks")}
        last_id = previous = snapshot["lastUpdateId"]
        for i in range(4):
            market_buy(server, 700)
            server.venue.exchange.quote(MAKER, "BTCUSDT", 1, 499_950 + i, 10 + i, server.venue.market_ms)
            diff = await until(ws, lambda payload: payload["u"] > last_id)
            if i == 0:
                assert diff["U"] <= last_id + 1 <= diff["u"]
            else:
                assert diff["pu"] == previous
            previous = diff["u"]
            for side, levels in (("bids", diff["b"]), ("asks", diff["a"])):
                for px, qty in levels:
                    if float(qty):
                        book[side][px] = qty
                    else:
                        book[side].pop(px, None)
        await asyncio.sleep(0.1)
        fresh = await ex.fapiPublicGetV3Depth({"symbol": "BTCUSDT", "limit": 1000})
        assert fresh["lastUpdateId"] == previous
        assert book == {side: dict(fresh[side]) for side in ("bids", "asks")}


async def test_each_bar_ends_with_one_final_message_even_without_trades(http):
    async with running(speed=120.0) as server:  # a minute of market time is half a second
        async with http.ws_connect(f"{server.ws_url}/fstream/ws/btcusdt@kline_1m") as ws:
            finals = []
            while len(finals) < 3:
                bar = (await until(ws, event("kline")))["k"]
                if bar["x"]:
                    finals.append(bar)
        assert [bar["T"] - bar["t"] for bar in finals] == [59_999] * 3
        assert [b["t"] - a["t"] for a, b in pairwise(finals)] == [MINUTE_MS] * 2
        assert {bar["v"] for bar in finals} == {"0.000"}
        assert {bar["c"] for bar in finals} == {"49999.0"}


async def test_reader_that_stops_reading_is_cut_off_and_nobody_else_notices(server, http, monkeypatch):
    monkeypatch.setattr("engine.venues.sandbox.sockets.QUEUE_LIMIT", 50)
    async with http.ws_connect(f"{server.ws_url}/fstream/ws/btcusdt@aggTrade") as ws:
        await asyncio.sleep(0.1)
        socket = next(iter(server.gateway.sockets))
        for _ in range(60):
            socket.publish("btcusdt@aggTrade", "{}", "{}")
        assert socket.closing
        async with asyncio.timeout(5):
            while (message := await ws.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        assert message.data == 1008
    assert await ccxt_time(server) > 0


async def ccxt_time(server):
    client = ccxt_client(server)
    try:
        return await client.fetch_time()
    finally:
        await client.close()


async def test_server_close_is_an_error_for_the_waiting_call_and_the_next_one_reconnects(server, ex):
    await within(ex.watch_order_book(BTC))
    server.venue.faults.add(_rules([{"action": "close_ws"}]), 0.0)
    with pytest.raises(ccxt.NetworkError):
        await within(_watch_for_ever(ex))
    assert (await within(ex.watch_order_book(BTC)))["bids"]


async def _watch_for_ever(ex):
    while True:
        await ex.watch_order_book(BTC)


async def test_faults_lose_double_and_mute_messages(server, http):
    server.venue.faults.add(_rules([{"action": "duplicate_ws", "match": {"stream": "*aggTrade"}, "count": 1}]), 0.0)
    async with http.ws_connect(f"{server.ws_url}/fstream/ws/btcusdt@aggTrade") as ws:
        await asyncio.sleep(0.1)
        market_buy(server, 10)
        first, second = [await until(ws, event("aggTrade")) for _ in range(2)]
        assert first == second
        server.venue.faults.clear()
        server.venue.faults.add(_rules([{"action": "mute_ws"}]), 0.0)
        await asyncio.sleep(0.15)
        market_buy(server, 10)
        with pytest.raises(TimeoutError):
            await until(ws, event("aggTrade"), 0.5)


async def test_swapped_message_comes_after_its_successor(server, http):
    server.venue.faults.add(_rules([{"action": "swap_ws", "match": {"stream": "*aggTrade"}, "count": 1}]), 0.0)
    async with http.ws_connect(f"{server.ws_url}/fstream/ws/btcusdt@aggTrade") as ws:
        await asyncio.sleep(0.1)
        for lots in (1, 2):
            market_buy(server, lots)
            await asyncio.sleep(0.15)
        assert [(await until(ws, event("aggTrade")))["q"] for _ in range(2)] == ["0.002", "0.001"]


@pytest.mark.parametrize(("action", "code"), [("drop_ws", None), ("close_ws", 1001)])
async def test_connection_faults_cut_with_and_without_good_bye(server, http, action, code):
    ws, _ = await user_socket(server, http)
    server.venue.faults.add(_rules([{"action": action, "match": {"stream": "user"}}]), 0.0)
    message = await asyncio.wait_for(ws.receive(), 5)
    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    assert (message.data if code else ws.close_code) == (code or 1006)


async def test_key_can_be_expired_by_a_fault_and_sockets_have_a_longest_life(http):
    async with running(socket_life_s=0.5) as server:
        ws, key = await user_socket(server, http)
        server.venue.faults.add(_rules([{"action": "expire_listen_key"}]), 0.0)
        assert (await until(ws, event("listenKeyExpired")))["listenKey"] == key
        assert (await asyncio.wait_for(ws.receive(), 5)).data == 1001


async def test_manual_clock_moves_only_when_told_and_closes_every_bar_on_the_way(http):
    async with running(manual=True) as server:
        clock = f"{server.base_url}/sandbox/clock"
        async with http.ws_connect(f"{server.ws_url}/fstream/ws/ethusdt@kline_1m") as ws:
            await asyncio.sleep(0.2)
            assert server.venue.market_ms == server.venue.market.market_start_ms
            async with http.post(clock, json={"advance_ms": 180_500}) as answer:
                assert (await answer.json())["market_ms"] == server.venue.market.market_start_ms + 180_500
            finals = [(await until(ws, lambda p: p.get("e") == "kline" and p["k"]["x"]))["k"]["t"] for _ in range(3)]
        assert finals == [server.venue.market.market_start_ms + i * MINUTE_MS for i in range(3)]
        async with http.post(clock, json={"speed": 60}) as answer:
            assert answer.status == 409
    async with running() as server, http.post(f"{server.base_url}/sandbox/clock", json={"advance_ms": 1}) as answer:
        assert answer.status == 409


async def test_running_clock_goes_on_at_another_speed_from_where_it_is(http):
    async with running() as server:
        while server.venue.market_ms < server.venue.clock.now_ms() - 1_000:  # the running minute is played first
            await asyncio.sleep(0.01)
        clock, before = f"{server.base_url}/sandbox/clock", server.venue.market_ms
        async with http.post(clock, json={"speed": 3600}) as answer:
            told = await answer.json()
        assert told["speed"] == 3600.0
        assert 0 <= told["market_ms"] - before < 2_000  # no leap
        await asyncio.sleep(0.3)
        async with http.post(clock, json={"speed": 1}) as answer:
            slow = await answer.json()
        assert slow["market_ms"] - before > 60_000
        assert abs(slow["due_ms"] - slow["market_ms"]) < 1_000  # what it was behind is not made up for
        for wrong in (0, 3601, "fast", True, None):
            async with http.post(clock, json={"speed": wrong}) as answer:
                assert answer.status == 400
                assert "speed is a number from 0.1 to 3600" in (await answer.json())["error"]


def _rules(entries):
    from engine.venues.sandbox.faults import parse_rules

    return parse_rules(entries)
