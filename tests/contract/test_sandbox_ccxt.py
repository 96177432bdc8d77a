"""Stock ccxt trades on the practice exchange: every REST call that an adapter needs, with values worked by hand.

The scripted book has thirty levels of one BTC each, 0.1 USDT apart, around 50 000.
"""

import ccxt
import pytest
import pytest_asyncio
from scripted_market import TAKER, ScriptedMarket, ccxt_client

from engine.venues.sandbox.options import SandboxOptions
from engine.venues.sandbox.server import SandboxServer

BTC = "BTC/USDT:USDT"
RESULT = {"newOrderRespType": "RESULT"}


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


async def test_markets_carry_the_venues_filters(ex):
    market = ex.market(BTC)
    assert (market["precision"]["price"], market["precision"]["amount"]) == (0.1, 0.001)
    assert market["limits"]["market"]["max"] == 120.0
    assert market["limits"]["cost"]["min"] == 5.0
    assert market["info"]["triggerProtect"] == "0.02"
    assert set(ex.currencies) >= {"USDT", "BTC", "ETH"}


async def test_candles_come_from_history_and_end_with_the_open_bar(server, ex):
    start_ms = server.venue.market.market_start_ms
    bars = await ex.fetch_ohlcv(BTC, "1m", limit=3)
    assert [bar[0] for bar in bars] == [start_ms - 120_000, start_ms - 60_000, start_ms]
    assert bars[1] == [start_ms - 60_000, 49_999.0, 49_999.0, 49_999.0, 49_999.0, 2.0]
    since = start_ms - 600_000
    assert [bar[4] for bar in await ex.fetch_ohlcv(BTC, "1m", since, 2)] == [49_990.0, 49_991.0]
    for price in ("mark", "index"):
        assert len(await ex.fetch_ohlcv(BTC, "5m", limit=4, params={"price": price})) == 4
    for interval in ("3m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"):
        assert await ex.fetch_ohlcv(BTC, interval, limit=2)


async def test_book_shows_levels_and_hides_hidden_orders(ex):
    await ex.create_order(BTC, "limit", "buy", 0.5, 49_999.9, {"timeInForce": "HIDDEN"})
    book = await ex.fetch_order_book(BTC, 5)
    assert book["bids"][:2] == [[49_999.9, 1.0], [49_999.8, 1.0]]
    assert book["asks"][0] == [50_000.1, 1.0]
    tops = await ex.fetch_bids_asks()
    assert (tops[BTC]["bid"], tops[BTC]["askVolume"]) == (49_999.9, 1.0)


async def test_public_statistics_and_funding(server, ex):
    server.venue.exchange.quote(TAKER, "BTCUSDT", 1, None, 250, server.venue.market_ms)
    server.venue.pump(server.venue.market_ms)
    trades = await ex.fetch_trades(BTC)
    assert [(t["price"], t["amount"], t["side"]) for t in trades] == [(50_000.1, 0.25, "buy")]
    assert (await ex.fetch_trades(BTC, since=trades[0]["timestamp"] - 1))[0]["amount"] == 0.25
    assert (await ex.fetch_ticker(BTC))["last"] == 50_000.1
    assert set(await ex.fetch_tickers()) == {BTC, "ETH/USDT:USDT"}
    assert (await ex.fetch_last_prices([BTC]))[BTC]["price"] == 50_000.1
    rate = await ex.fetch_funding_rate(BTC)
    assert rate["indexPrice"] == 50_000.0
    assert rate["nextFundingTimestamp"] % (8 * 3_600_000) == 0
    assert (await ex.fetch_funding_rates())[BTC]["interestRate"] == 0.0001
    assert (await ex.fetch_funding_intervals())[BTC]["interval"] == "8h"
    assert [row["fundingRate"] for row in await ex.fetch_funding_rate_history(BTC)] == [0.0001]
    assert abs(await ex.fetch_time() - ex.milliseconds()) < 2_000


async def test_market_order_fills_through_the_book_and_pays_the_taker_fee(ex):
    order = await ex.create_order(BTC, "market", "buy", 1.5, None, RESULT)
    # 1.0 at 50 000.1 and 0.5 at 50 000.2 = 75 000.2; fee 4 bp of it = 30.00008
    assert (order["status"], order["filled"], order["cost"]) == ("closed", 1.5, 75_000.2)
    balance = await ex.fetch_balance()
    assert balance["USDT"]["total"] == 10_000 - 30.00008
    position = (await ex.fetch_positions())[0]
    assert (position["side"], position["contracts"], position["leverage"]) == ("long", 1.5, 20)
    assert position["entryPrice"] == pytest.approx(75_000.2 / 1.5)
    fills = await ex.fetch_my_trades(BTC)
    assert [(f["price"], f["amount"], f["takerOrMaker"]) for f in fills] == [
        (50_000.1, 1.0, "taker"),
        (50_000.2, 0.5, "taker"),
    ]
    assert sum(f["fee"]["cost"] for f in fills) == pytest.approx(30.00008)
    ledger = await ex.fapiPrivateGetV3Income({"incomeType": "COMMISSION"})
    assert sum(float(row["income"]) for row in ledger) == pytest.approx(-30.00008)
    assert {row["incomeType"] for row in await ex.fapiPrivateGetV3Income()} == {"TRANSFER", "COMMISSION"}


async def test_ack_says_new_although_the_order_has_filled(ex):
    order = await ex.create_order(BTC, "market", "buy", 0.01)
    assert (order["status"], order["filled"]) == ("open", 0.0)
    assert (await ex.fetch_order(order["id"], BTC))["status"] == "closed"


async def test_limit_order_from_placing_to_cancelling(ex):
    placed = await ex.create_order(BTC, "limit", "buy", 0.02, 49_500, {"clientOrderId": "mine-1"})
    assert (placed["status"], placed["clientOrderId"]) == ("open", "mine-1")
    assert (await ex.fetch_order(None, BTC, {"clientOrderId": "mine-1"}))["id"] == placed["id"]
    assert (await ex.fetch_open_order(placed["id"], BTC))["price"] == 49_500
    assert [order["id"] for order in await ex.fetch_open_orders()] == [placed["id"]]
    change = {"symbol": "BTCUSDT", "origClientOrderId": "mine-1", "quantity": "0.03", "price": "49400"}
    changed = await ex.request("v3/order", ["fapiPrivate"], "PUT", change)
    assert (changed["price"], changed["origQty"]) == ("49400.0", "0.030")
    assert (await ex.cancel_order(None, BTC, {"clientOrderId": "mine-1"}))["status"] == "canceled"
    with pytest.raises(ccxt.OrderNotFound):
        await ex.fetch_open_order(placed["id"], BTC)
    assert [order["status"] for order in await ex.fetch_orders(BTC)] == ["canceled"]
    again = await ex.create_order(BTC, "limit", "buy", 0.02, 49_500, {"clientOrderId": "mine-1"})
    assert again["id"] != placed["id"]  # a finished order's client id may be used again
    await ex.cancel_all_orders(BTC)
    assert await ex.fetch_open_orders(BTC) == []


async def test_post_only_that_would_take_expires_and_ioc_fok_leave_nothing(ex):
    gtx = await ex.create_order(BTC, "limit", "buy", 0.01, 50_001, {"timeInForce": "GTX"})
    assert (gtx["status"], gtx["filled"], gtx["info"]["status"]) == ("canceled", 0.0, "EXPIRED")
    ioc = await ex.create_order(BTC, "limit", "buy", 1.2, 50_000.1, {"timeInForce": "IOC", **RESULT})
    assert (ioc["info"]["status"], ioc["filled"]) == ("EXPIRED", 1.0)
    fok = await ex.create_order(BTC, "limit", "sell", 1.2, 49_999.9, {"timeInForce": "FOK", **RESULT})
    assert (fok["info"]["status"], fok["filled"]) == ("EXPIRED", 0.0)


@pytest.mark.parametrize(
    ("kind", "side", "params", "venue_type"),
    [
        ("market", "sell", {"stopLossPrice": 49_000}, "STOP_MARKET"),
        ("limit", "sell", {"stopLossPrice": 49_000}, "STOP"),
        ("market", "sell", {"takeProfitPrice": 51_000}, "TAKE_PROFIT_MARKET"),
        ("limit", "sell", {"takeProfitPrice": 51_000}, "TAKE_PROFIT"),
        ("market", "sell", {"trailingPercent": "1.0", "trailingTriggerPrice": 50_500, "quantity": "0.01"},
         "TRAILING_STOP_MARKET"),
        ("market", "sell", {"stopLossPrice": 49_000, "closePosition": True}, "STOP_MARKET"),
    ],
)  # fmt: skip
async def test_conditional_orders_wait(ex, kind, side, params, venue_type):
    await ex.create_order(BTC, "market", "buy", 0.01)
    amount = None if params.get("closePosition") else 0.01
    limit_px = params.get("takeProfitPrice", 49_000) if kind == "limit" else None
    order = await ex.create_order(BTC, kind, side, amount, limit_px, params)
    assert order["info"]["type"] == venue_type
    assert (await ex.fetch_order(order["id"], BTC))["info"]["status"] == "NEW"
    assert (await ex.cancel_order(order["id"], BTC))["info"]["status"] == "CANCELED"


async def test_stop_closes_the_position_when_the_mark_falls(server, ex):
    await ex.create_order(BTC, "market", "buy", 0.5)
    stop = {"stopLossPrice": 49_600, "closePosition": True, "workingType": "MARK_PRICE"}
    order = await ex.create_order(BTC, "market", "sell", None, None, stop)
    venue = server.venue
    venue.market.index["BTCUSDT"] = 49_000.0
    for _ in range(8):  # the mark is a median that follows index and last price
        venue.exchange.set_prices("BTCUSDT", index=49_000.0, now_ms=venue.market_ms)
        venue.exchange.quote(TAKER, "BTCUSDT", -1, None, 4_000, venue.market_ms)
    venue.pump(venue.market_ms)
    assert (await ex.fetch_order(order["id"], BTC))["info"]["status"] == "FILLED"
    assert await ex.fetch_positions() == []
    pnl = [row for row in await ex.fapiPrivateGetV3Income() if row["incomeType"] == "REALIZED_PNL"]
    assert len(pnl) >= 1
    assert all(float(row["income"]) < 0 for row in pnl)


REFUSALS = [
    ({"quantity": "0.0001"}, -4004),
    ({"quantity": "2000"}, -4005),
    ({"quantity": "0.0015"}, -4023),
    ({"price": "49000.05"}, -4014),
    ({"price": "52000"}, -4016),
    ({"side": "SELL", "price": "40000"}, -4024),
    ({"quantity": "0.001", "price": "4900"}, -4164),
    ({"quantity": "30"}, -2019),
    ({"newClientOrderId": "ä" * 3}, -4015),
    ({"newClientOrderId": "x" * 37}, -4015),
    ({"timeInForce": "PO"}, -1115),
    ({"timeInForce": ""}, -1102),
    ({"type": "WISH"}, -1116),
    ({"side": "HOLD"}, -1117),
    ({"symbol": "NOPEUSDT"}, -1121),
    ({"positionSide": "LONG"}, -4061),
    ({"reduceOnly": "true"}, -2022),
    ({"type": "STOP_MARKET", "stopPrice": "51000", "side": "SELL"}, -2021),
]


async def test_filters_refuse_with_the_venues_code(ex):
    plain = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01",
             "price": "49500"}  # fmt: skip
    for fields, code in REFUSALS:
        with pytest.raises(ccxt.ExchangeError) as refused:
            await ex.fapiPrivatePostV3Order(plain | fields)
        assert f'"code":{code},' in str(refused.value), fields


async def test_client_id_of_an_open_order_cannot_be_used_again(ex):
    await ex.create_order(BTC, "limit", "buy", 0.01, 49_500, {"clientOrderId": "twin"})
    with pytest.raises(ccxt.ExchangeError, match="-4116"):
        await ex.create_order(BTC, "limit", "buy", 0.01, 49_400, {"clientOrderId": "twin"})


async def test_batches_answer_item_by_item(ex):
    wishes = [
        {
            "symbol": BTC,
            "type": "limit",
            "side": "buy",
            "amount": 0.01,
            "price": 49_500,
            "params": {"clientOrderId": "b1"},
        },
        {"symbol": BTC, "type": "limit", "side": "buy", "amount": 0.01, "price": 60_000},
        {"symbol": BTC, "type": "limit", "side": "sell", "amount": 0.01, "price": 50_500},
    ]
    refused, *placed = await ex.create_orders(wishes)  # ccxt sorts by time, and a refusal has none
    assert [order["status"] for order in placed] == ["open", "open"]
    assert (refused["id"], refused["info"]["code"]) == (None, -4016)
    unknown, *gone = await ex.cancel_orders([placed[0]["id"], "999999", placed[1]["id"]], BTC)
    assert [order["status"] for order in gone] == ["canceled", "canceled"]
    assert unknown["info"]["code"] == -2011
    with pytest.raises(ccxt.BaseError, match="-4082"):
        await ex.fapiPrivatePostV3BatchOrders({"batchOrders": ex.json([{}] * 6)})


async def test_dead_man_switch_cancels_stops_too(server, ex):
    await ex.create_order(BTC, "market", "buy", 0.01)
    await ex.create_order(BTC, "limit", "buy", 0.01, 49_500)
    await ex.create_order(BTC, "market", "sell", None, None, {"stopLossPrice": 49_000, "closePosition": True})
    answer = await ex.fapiPrivatePostV3CountdownCancelAll({"symbol": "BTCUSDT", "countdownTime": 60_000})
    assert answer == {"symbol": "BTCUSDT", "countdownTime": "60000"}
    server.venue.exchange.advance(server.venue.market_ms + 30_000)
    assert len(await ex.fetch_open_orders(BTC)) == 2
    server.venue.exchange.advance(server.venue.market_ms + 60_001)
    assert await ex.fetch_open_orders(BTC) == []


async def test_account_settings_and_reads(ex):
    assert (await ex.set_leverage(5, BTC))["leverage"] == 5
    assert (await ex.fetch_leverage(BTC))["longLeverage"] == 5
    assert (await ex.fetch_margin_mode(BTC))["marginMode"] == "cross"
    assert (await ex.fetch_position_mode())["hedged"] is False
    assert (await ex.fetch_trading_fee(BTC))["taker"] == 0.0004
    with pytest.raises(ccxt.NoChange):
        await ex.set_margin_mode("cross", BTC)
    with pytest.raises(ccxt.NoChange):
        await ex.set_position_mode(False)
    brackets = await ex.fapiPrivateGetV3LeverageBracket({"symbol": "BTCUSDT"})
    assert brackets["brackets"][0]["notionalFloor"] == 0
    account = await ex.fapiPrivateGetV4Account()
    assert (account["totalWalletBalance"], account["assets"][0]["asset"]) == ("10000.00000000", "USDT")
    assert (await ex.fapiPrivateGetV3AccountWithJoinMargin())["availableBalance"] == "10000.00000000"
    positions = await ex.fetch_positions(None, {"method": "account"})
    assert [position["contracts"] for position in positions] == [0.0, 0.0]
    assert (await ex.fetch_balance({"type": "spot"}))["total"] == {}


async def test_builder_left_on_is_approved_and_listed(server):
    client = ccxt_client(server, builderFee=True)
    try:
        await client.load_markets()
        rows = await client.fapiPrivateGetV3Builder()
        assert [row["builderName"] for row in rows] == ["ccxt"]
        order = await client.create_order(BTC, "market", "buy", 0.01, None, RESULT)
        # the builder's own fee is not charged: 0.01 * 50 000.1 * 4 bp = 0.2000004
        assert order["status"] == "closed"
        assert (await client.fetch_balance())["USDT"]["total"] == pytest.approx(10_000 - 0.2000004)
    finally:
        await client.close()


async def test_agent_key_trades_for_its_user(server, ex):
    agent_key = "0x" + "11" * 32
    agent = ex.eth_get_address_from_private_key(agent_key)
    async with ex.session.post(f"{server.base_url}/sandbox/deposit", json={"signer": agent}) as answer:
        assert (await answer.json())["address"] == server.address
    options = {
        "cachedWalletAddress": server.address,
        "privateKeyHashForCachedWalletAddress": ex.hash(ex.encode(agent_key), "keccak", "hex"),
        "signerAddress": agent,
    }
    client = ccxt_client(server, agent_key, **options)
    try:
        assert (await client.fetch_balance())["USDT"]["total"] == 10_000
    finally:
        await client.close()
