"""Mirror: another server's book and tape, copied; a second practice exchange plays the other server."""

import asyncio

import pytest

from engine.errors import ConfigError, Unreachable
from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.exchange import Exchange
from engine.venues.sandbox.market import make_market
from engine.venues.sandbox.market.bars import HOUR_MS, MINUTE_MS
from engine.venues.sandbox.market.mirror import STALE_MS, MirrorMarket
from engine.venues.sandbox.market.upstream import ASTER_REST, ASTER_STREAM, parse_address
from engine.venues.sandbox.model import OrderRequest, TradeEvent
from engine.venues.sandbox.options import SandboxOptions
from engine.venues.sandbox.server import SandboxServer

NOW_MS = 1_780_000_000_000
DEPTH = (
    '{"stream":"btcusdt@depth20","data":{"e":"depthUpdate","s":"BTCUSDT",'
    '"b":[["95000.0","1.500"],["94999.0","2"]],"a":[["95001.0","0.7"],["95003.0","4"]]}}'
)
TOP = '{"e":"bookTicker","s":"BTCUSDT","b":"94999.5","B":"0.4","a":"95000.2","A":"0.3"}'
TRADE = '{"e":"aggTrade","s":"BTCUSDT","a":5,"p":"%s","q":"0.250","T":1,"m":%s}'
MARK = '{"e":"markPriceUpdate","s":"BTCUSDT","p":"95000.7","i":"95000.4"}'


def fed(*messages):
    """A mirror that has heard some messages, without a connection."""
    market, exchange = MirrorMarket(["BTCUSDT"], "http://127.0.0.1:1", NOW_MS), Exchange(CONTRACTS)
    for message in (MARK, *messages):
        market._upstream.accept(message)
    market.start(exchange, NOW_MS)
    exchange.drain()
    return market, exchange


def test_quotes_equal_the_upstream_levels():
    _, exchange = fed(DEPTH)
    bids, asks, _ = exchange.depth("BTCUSDT", 10)
    assert bids == [(950_000, 1500), (949_990, 2000)]
    assert asks == [(950_010, 700), (950_030, 4000)]
    assert exchange.index("BTCUSDT") == 95_000.4


def test_a_newer_best_price_replaces_what_it_contradicts():
    _, exchange = fed(DEPTH, TOP)
    bids, asks, _ = exchange.depth("BTCUSDT", 10)
    assert bids == [(949_995, 400), (949_990, 2000)]
    assert asks == [(950_002, 300), (950_010, 700), (950_030, 4000)]


@pytest.mark.parametrize("sold", [True, False])
def test_upstream_trades_print_here_at_their_price(sold):
    market, exchange = fed(DEPTH)
    market._upstream.accept(TRADE % ("95000.5", str(sold).lower()))
    market.advance(exchange, NOW_MS + 100)
    trades = [e for e in exchange.drain() if isinstance(e, TradeEvent)]
    assert [(t.price_tick, t.lots, t.buyer_is_maker) for t in trades] == [(950_005, 250, sold)]
    assert exchange.best("BTCUSDT") == (950_000, 1500, 950_010, 700)


def test_upstream_trades_reach_peoples_orders():
    market, exchange = fed(DEPTH)
    exchange.open_account("me", 1e6, NOW_MS)
    exchange.place(OrderRequest("me", "BTCUSDT", 1, "LIMIT", 0.1, 95_000.5), NOW_MS)
    market._upstream.accept(TRADE % ("95000.0", "true"))
    market.advance(exchange, NOW_MS + 100)
    fills = exchange.user_trades("me")
    assert [(t.price_tick, t.lots, t.is_maker) for t in fills] == [(950_005, 100, True)]


def test_silence_pulls_the_quotes_and_says_stale_until_the_book_is_heard_again():
    market, exchange = fed(DEPTH)
    assert market.state == "live"
    market.advance(exchange, NOW_MS + STALE_MS)
    assert market.state == "live"
    market.advance(exchange, NOW_MS + STALE_MS + 1)
    assert market.state == "stale"
    assert exchange.best("BTCUSDT") == (None, None, None, None)
    market._upstream.accept(MARK)
    market.advance(exchange, NOW_MS + STALE_MS + 100)
    assert market.state == "live"
    assert exchange.best("BTCUSDT") == (None, None, None, None)
    market._upstream.accept(DEPTH)
    market.advance(exchange, NOW_MS + STALE_MS + 200)
    assert exchange.best("BTCUSDT")[0] == 950_000


def test_malformed_and_foreign_messages_are_passed_over():
    market, _ = fed()
    seen = market._upstream.n_messages
    for text in (
        "{",
        "[]",
        '{"e":"kline","s":"BTCUSDT"}',
        '{"e":"aggTrade","s":"BTCUSDT"}',
        '{"s":"XYZ","e":"aggTrade"}',
    ):
        market._upstream.accept(text)
    assert market._upstream.n_messages == seen


def test_addresses():
    assert parse_address(None) == (ASTER_REST, ASTER_STREAM)
    assert parse_address(ASTER_REST) == (ASTER_REST, ASTER_STREAM)
    assert parse_address("http://127.0.0.1:99/") == ("http://127.0.0.1:99", "ws://127.0.0.1:99/fstream/stream")
    assert parse_address("https://a.example|wss://b.example/stream") == ("https://a.example", "wss://b.example/stream")
    with pytest.raises(ConfigError, match="http"):
        parse_address("ftp://a.example")


async def test_an_upstream_that_does_not_answer_is_unreachable(unused_tcp_port, monkeypatch):
    monkeypatch.setattr("engine.venues.sandbox.market.upstream._FIRST_PAUSE_S", 0.001)
    market = make_market(
        "mirror", symbols=["BTCUSDT"], seed=1, start_ms=NOW_MS, upstream=f"http://127.0.0.1:{unused_tcp_port}"
    )
    with pytest.raises(Unreachable, match="did not answer time"):
        await market.open()


async def test_a_second_exchange_is_mirrored_live_and_again_after_its_connection_dropped():
    upstream = SandboxServer(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), seed=3))
    await upstream.start()
    market = make_market("mirror", symbols=["BTCUSDT", "ETHUSDT"], seed=1, start_ms=NOW_MS, upstream=upstream.base_url)
    try:
        await market.open()
        exchange, now_ms = Exchange(CONTRACTS), market.market_start_ms
        minutes, theirs = market.history("BTCUSDT", "1m"), upstream.venue.market.history("BTCUSDT", "1m")
        assert minutes["open_ms"][-1] + MINUTE_MS == now_ms
        assert minutes["close"][-1] == theirs["close"][-1]
        assert len(minutes) >= 7_500 - 60
        hours = market.history("ETHUSDT", "1h")
        assert len(hours) == 17_520
        assert hours["open_ms"][-1] + HOUR_MS == now_ms // HOUR_MS * HOUR_MS
        assert len(market.history_funding("BTCUSDT")) == 1_000
        market.start(exchange, now_ms)
        assert exchange.best("ETHUSDT")[0] is not None
        heard = await _advance_until_trades(market, exchange, now_ms, 5)
        assert exchange.best("BTCUSDT")[0] == pytest.approx(upstream.venue.exchange.best("BTCUSDT")[0], rel=1e-3)
        await upstream.gateway.close()
        again = await _advance_until_trades(market, exchange, now_ms + 20_000, 5)
        assert len(heard) >= 5
        assert len(again) >= 5
    finally:
        await market.close()
        await upstream.stop()


async def _advance_until_trades(market, exchange, now_ms, n):
    exchange.drain()
    trades = []
    for i in range(200):
        await asyncio.sleep(0.05)
        market.advance(exchange, now_ms + 50 * (i + 1))
        trades += [e for e in exchange.drain() if isinstance(e, TradeEvent)]
        if len(trades) >= n:
            break
    return trades
