"""The practice exchange over bare HTTP: keys, headers, faults, limits, its own books, and its life as a process."""

import asyncio
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from urllib.parse import urlencode

import aiohttp
import ccxt
import pytest
import pytest_asyncio
from scripted_market import ScriptedMarket, ccxt_client

from engine.venues.sandbox.faults import parse_rules
from engine.venues.sandbox.options import SandboxOptions
from engine.venues.sandbox.server import SandboxServer

BTC = "BTC/USDT:USDT"


@pytest_asyncio.fixture
async def server():
    sandbox = SandboxServer(SandboxOptions(), ScriptedMarket())
    await sandbox.start()
    yield sandbox
    await sandbox.stop()
    assert sandbox.failure is None


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


def set_faults(server, *entries):
    server.venue.faults.clear()
    server.venue.faults.add(parse_rules(list(entries)), time.monotonic())


async def hmac_call(server, http, method, path, secret=None, **params):
    raw = urlencode(params | {"timestamp": int(time.time() * 1000), "recvWindow": 5000})
    raw += "&signature=" + hmac.new((secret or server.hmac_secret).encode(), raw.encode(), hashlib.sha256).hexdigest()
    url, body = f"{server.base_url}/fapi/v1/{path}", None
    if method == "GET":
        url += "?" + raw
    else:
        body = raw
    headers = {"X-MBX-APIKEY": server.hmac_key, "Content-Type": "application/x-www-form-urlencoded"}
    async with http.request(method, url, data=body, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_legacy_keys_trade_the_same_account(server, http):
    order = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01",
        "price": "49500",
    }
    status, placed, headers = await hmac_call(server, http, "POST", "order", **order)
    assert (status, placed["status"]) == (200, "NEW")
    assert (headers["X-MBX-ORDER-COUNT-10S"], headers["X-MBX-ORDER-COUNT-1M"]) == ("1", "1")
    status, gone, headers = await hmac_call(
        server, http, "DELETE", "order", symbol="BTCUSDT", orderId=placed["orderId"]
    )
    assert (status, gone["status"], headers["X-MBX-USED-WEIGHT-1M"]) == (200, "CANCELED", "2")
    status, refused, _ = await hmac_call(server, http, "GET", "openOrders", secret="wrong")
    assert (status, refused["code"]) == (400, -1022)


async def test_bytes_that_were_signed_once_are_not_accepted_twice(server, ex, http):
    signed = ex.sign("v3/balance", ["fapiPrivate"], "GET", {})
    answers = []
    for _ in range(2):
        async with http.get(signed["url"]) as answer:
            answers.append((answer.status, (await answer.json())))
    assert answers[0][0] == 200
    assert (answers[1][0], answers[1][1]["code"]) == (400, -4225)
    stale = ex.sign("v3/balance", ["fapiPrivate"], "GET", {"nonce": str(time.time_ns() // 1000 - 61_000_000)})
    async with http.get(stale["url"]) as answer:
        assert (await answer.json())["code"] == -1021
    async with http.get(signed["url"].replace("nonce=1", "nonce=2", 1)) as answer:
        assert (await answer.json())["code"] == -1022


async def test_foreign_key_is_unauthorised_and_unknown_paths_are_404(server, http):
    stranger = ccxt_client(server, "0x" + "22" * 32)
    try:
        with pytest.raises(ccxt.AuthenticationError, match="-1002"):
            await stranger.fetch_balance()
    finally:
        await stranger.close()
    async with http.get(f"{server.base_url}/fapi/v3/wishes") as answer:
        assert answer.status == 404
    async with http.get(f"{server.base_url}/fapi/v3/depth") as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, -1102)


@pytest.mark.parametrize(
    ("action", "error", "n_orders"),
    [
        ("http_503_after", ccxt.BadResponse, 1),
        ("unknown_after:-1007", ccxt.RequestTimeout, 1),
        ("disconnect_after", ccxt.NetworkError, 1),
        ("http_503_before", ccxt.NetworkError, 0),
        ("disconnect_before", ccxt.NetworkError, 0),
        ("reject:-2019", ccxt.InsufficientFunds, 0),
        ("html_500", ccxt.ExchangeNotAvailable, 0),
        ("403", ccxt.ExchangeNotAvailable, 0),
        ("429", ccxt.RateLimitExceeded, 0),
    ],
)
async def test_fault_on_an_order_looks_as_at_the_venue(server, ex, action, error, n_orders):
    set_faults(server, {"action": action, "match": {"method": "POST", "path": "order"}, "count": 1})
    with pytest.raises(error):
        await ex.create_order(BTC, "limit", "buy", 0.01, 49_500, {"clientOrderId": "maybe"})
    assert len(await ex.fetch_open_orders(BTC)) == n_orders
    if n_orders:
        assert (await ex.fetch_order(None, BTC, {"clientOrderId": "maybe"}))["status"] == "open"
    await ex.create_order(BTC, "limit", "buy", 0.01, 49_500, {"clientOrderId": "next"})


async def test_silence_after_an_order_ends_in_the_clients_timeout(server, ex):
    set_faults(server, {"action": "timeout_after", "match": {"path": "order"}, "count": 1, "delay_ms": 3_000})
    ex.timeout = 300
    with pytest.raises(ccxt.RequestTimeout):
        await ex.create_order(BTC, "limit", "buy", 0.01, 49_500)
    assert len(await ex.fetch_open_orders(BTC)) == 1


async def test_ban_says_until_when_and_holds_for_everything(server, ex, http):
    set_faults(server, {"action": "418", "count": 1, "delay_ms": 60_000})
    with pytest.raises(ccxt.RateLimitExceeded, match=r"IP banned until \d{13}"):
        await ex.fetch_balance()
    async with http.get(f"{server.base_url}/fapi/v3/ping") as answer:
        assert (answer.status, (await answer.json())["code"]) == (418, -1003)
        assert 55 <= int(answer.headers["Retry-After"]) <= 60
    async with http.delete(f"{server.base_url}/sandbox/faults") as answer:
        assert answer.status == 200
    assert (await ex.fetch_balance())["USDT"]["total"] == 10_000


async def test_real_limits_refuse_and_then_ban(http):
    sandbox = SandboxServer(SandboxOptions(weight_limit=40, refusals_to_ban=3), ScriptedMarket())
    await sandbox.start()
    try:
        statuses = []
        for _ in range(8):
            async with http.get(f"{sandbox.base_url}/fapi/v3/depth?symbol=BTCUSDT&limit=500") as answer:
                statuses.append(answer.status)  # each costs 10
    finally:
        await sandbox.stop()
    assert statuses == [200] * 4 + [429] * 3 + [418]


async def test_books_are_the_exchanges_own_record(server, ex, http):
    await ex.create_order(BTC, "market", "buy", 0.1, None, {"clientOrderId": "in"})
    await ex.create_order(BTC, "limit", "sell", 0.1, 50_900, {"clientOrderId": "out"})
    async with http.get(f"{server.base_url}/sandbox/books?account={server.address}") as answer:
        books = await answer.json()
    assert [(order["clientOrderId"], order["status"]) for order in books["orders"]] == [
        ("in", "FILLED"),
        ("out", "NEW"),
    ]
    assert [order["clientOrderId"] for order in books["open_orders"]] == ["out"]
    assert [(f["clientOrderId"], f["price"], f["qty"], f["commission"]) for f in books["fills"]] == [
        ("in", "50000.1", "0.100", "2.00000400")  # 5 000.01 * 4 bp
    ]
    assert [(p["symbol"], p["positionAmt"]) for p in books["positions"]] == [("BTCUSDT", "0.100")]
    assert books["balances"]["wallet"] == "9997.99999600"
    async with http.get(f"{server.base_url}/sandbox/totals") as answer:
        totals = {name: Decimal(text) for name, text in (await answer.json()).items()}
    assert totals.pop("deposits") == sum(totals.values())
    async with http.get(f"{server.base_url}/sandbox/books?account=0xnobody") as answer:
        assert answer.status == 404


async def test_deposit_opens_a_second_account_with_its_own_keys(server, http):
    async with http.post(f"{server.base_url}/sandbox/deposit", json={"label": "two", "amount": 500}) as answer:
        granted = await answer.json()
    second = ccxt_client(server, granted["private_key"])
    try:
        assert (await second.fetch_balance())["USDT"]["total"] == 500
    finally:
        await second.close()
    async with http.post(f"{server.base_url}/sandbox/deposit", json={"address": "nonsense", "amount": 1}) as answer:
        assert answer.status == 400
    async with http.post(f"{server.base_url}/sandbox/faults", json=[{"action": "explode"}]) as answer:
        assert answer.status == 400
    async with http.get(f"{server.base_url}/sandbox/clock") as answer:
        clock = await answer.json()
    assert abs(clock["wall_ms"] - clock["market_ms"]) < 1_000


START = (
    "import sys; from engine.venues.sandbox.server import main;"
    "from engine.venues.sandbox.options import SandboxOptions;"
    "main(SandboxOptions(symbols=('BTCUSDT', 'ETHUSDT'), parent_pid=int(sys.argv[1]) or None))"
)


async def test_process_says_where_it_is_trades_a_simulated_market_and_ends_on_a_signal():
    child = subprocess.Popen([sys.executable, "-c", START, "0"], stdout=subprocess.PIPE, text=True)
    try:
        hello = json.loads(await asyncio.to_thread(child.stdout.readline))
        assert {"base_url", "ws_url", "private_key", "address", "hmac_key", "hmac_secret", "pid"} <= set(hello)
        assert (hello["pid"], hello["initial_balance"], hello["market"]) == (child.pid, 10_000.0, "simulated")

        class Where:
            base_url, ws_url, private_key = hello["base_url"], hello["ws_url"], hello["private_key"]

        client = ccxt_client(Where)
        try:
            assert len(await client.fetch_ohlcv(BTC, "1h", limit=1500)) == 1500
            book = await asyncio.wait_for(client.watch_order_book(BTC, 20), 10)
            assert 0 < book["bids"][0][0] < book["asks"][0][0]
            order = await client.create_order(BTC, "market", "buy", 0.001, None, {"newOrderRespType": "RESULT"})
            assert order["status"] == "closed"
        finally:
            await client.close()
        child.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(child.wait, 10) == 0
    finally:
        child.kill()
        child.stdout.close()


async def test_process_ends_when_the_process_it_depends_on_is_gone():
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    child = subprocess.Popen([sys.executable, "-c", START, str(parent.pid)], stdout=subprocess.PIPE, text=True)
    try:
        assert json.loads(await asyncio.to_thread(child.stdout.readline))["pid"] == child.pid
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        assert await asyncio.to_thread(child.wait, 10) == 0
    finally:
        child.kill()
        child.stdout.close()
