"""AsterVenue on the practice exchange: every cure of ccxt's known faults, and what each failure means to the engine."""

import asyncio
import contextlib
import itertools
import time

import ccxt
import pytest
import pytest_asyncio
from engine_rig import BEST_ASK, BEST_BID, BTC, books, crossing, fault, limit, practice_exchange, quick_to_close, take
from waiting import eventually

from engine.domain import (
    ApprovedOrder,
    BalanceReport,
    Bar,
    BookSnapshot,
    BookTop,
    Fill,
    MarketTrade,
    MarkPrice,
    OrderSpec,
    OrderUpdate,
    PositionReport,
    StreamState,
)
from engine.errors import Rejected, StateUnknown, Unreachable
from engine.venues import aster as aster_module
from engine.venues import aster_client, streams
from engine.venues.aster import AsterVenue
from engine.venues.aster_client import client_config
from engine.venues.sandbox import dispatch
from engine.venues.sandbox.auth import key_from_seed

POST_ORDER = {"method": "POST", "path": "order"}


class Listener:
    """Gathers what an async iterator yields."""

    def __init__(self, events):
        self.events = []
        self._task = asyncio.create_task(self._gather(events))

    async def _gather(self, events):
        async for event in events:
            self.events.append(event)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def stop(self):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


@pytest_asyncio.fixture
async def server():
    async with practice_exchange() as running:
        yield running


@contextlib.asynccontextmanager
async def adapter(server, **config):
    keys = {"private_key": server.private_key, **config}
    venue = quick_to_close(AsterVenue(client_config(base_url=server.base_url, ws_url=server.ws_url, **keys)))
    venue.sentences = []
    venue._on_fault = venue.sentences.append
    try:
        await venue.instruments()
        yield venue
    finally:
        await venue.close()


@pytest_asyncio.fixture
async def venue(server):
    async with adapter(server) as running:
        yield running


@contextlib.asynccontextmanager
async def account_events(venue):
    listener = Listener(venue.events())
    try:
        await eventually(lambda: [e for e in listener.of(StreamState) if e.up], what="account stream")
        yield listener
    finally:
        await listener.stop()


@contextlib.asynccontextmanager
async def market_events(venue, symbols=(BTC,)):
    listener = Listener(venue.stream(symbols))
    try:
        await eventually(lambda: listener.of(BookTop), what="market data")
        yield listener
    finally:
        await listener.stop()


def order(spec, client_id="ast-1-1"):
    return ApprovedOrder(client_id, 1, spec, 50_000.0)


def ups_and_downs(listener):
    return [event.up for event in listener.of(StreamState)]


def no_backoff(monkeypatch):
    monkeypatch.setattr(streams, "RECONNECT_S", (0.05,) * 5)


# what is sent -------------------------------------------------------------------------------------------------------


async def test_builder_is_neither_approved_nor_named_on_an_order(server, monkeypatch):
    requests = []
    raw_params = dispatch._raw_params

    async def recording(request):
        raw = await raw_params(request)
        requests.append((request.method, request.path, raw))
        return raw

    monkeypatch.setattr(dispatch, "_raw_params", recording)
    async with adapter(server) as venue:
        await venue.submit(order(limit(1, 0.1, 49_500.0)))
        await venue.snapshot()
        async with account_events(venue):
            pass
    assert ("POST", "/fapi/v3/order") in [(method, path) for method, path, _ in requests]
    assert not [path for _, path, _ in requests if "builder" in path.lower()]
    assert not [raw for _, _, raw in requests if "builder" in raw.lower() or "feerate" in raw.lower()]
    assert server.venue.builders == {}
    options = client_config(private_key=server.private_key, base_url=None, ws_url=None)["options"]
    assert options["builderFee"] is False  # for whatever of ccxt's own calls may be used one day


async def test_concurrent_calls_never_share_a_nonce(server, venue, monkeypatch):
    nonces = []
    verify = server.venue.keys.verify_typed

    def recording(raw, now_us):
        nonces.append(dict(part.split("=", 1) for part in raw.split("&"))["nonce"])
        return verify(raw, now_us)

    monkeypatch.setattr(server.venue.keys, "verify_typed", recording)
    frozen = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: frozen)  # the worst clock: it stands still
    await asyncio.gather(*(venue.order(BTC, f"none-{i}") for i in range(30)))
    assert len(nonces) == len(set(nonces)) == 30
    assert sorted(map(int, nonces)) == list(range(int(min(nonces)), int(min(nonces)) + 30))


async def test_agent_key_trades_for_its_user(server):
    agent_key, agent_address = key_from_seed(99, "agent")
    server.venue.keys.register_signer(agent_address, server.address)
    keys = {"private_key": None, "signer_key": agent_key, "user": server.address}
    async with adapter(server, **keys) as venue, account_events(venue) as listener:
        placed = await venue.submit(order(crossing(1, 0.1)))
        assert (placed.status, placed.filled_qty) == ("FILLED", 0.1)
        await eventually(lambda: listener.of(Fill))
    (held,) = books(server)["positions"]
    assert (books(server)["account"], float(held["positionAmt"])) == (server.address, 0.1)


async def test_unregistered_agent_is_refused_with_the_code(server):
    stranger, _ = key_from_seed(99, "stranger")
    venue = AsterVenue(
        client_config(
            private_key=None, signer_key=stranger, user=server.address, base_url=server.base_url, ws_url=server.ws_url
        )
    )
    try:
        with pytest.raises(Rejected) as refusal:
            await venue.snapshot()
        assert refusal.value.code == -1002
    finally:
        await venue.close()


async def test_orders_of_every_kind_arrive_as_they_were_meant(server, venue):
    nan = float("nan")
    specs = {
        "post-only": limit(1, 0.1004, 49_500.04, tif="GTX"),
        "stop": OrderSpec(BTC, -1, "STOP_MARKET", 0.2, nan, 49_000.0, "GTC", True, False, "manual"),
        "protect": OrderSpec(BTC, -1, "STOP_MARKET", 0.0, nan, 48_000.0, "GTC", False, True, "protect"),
    }
    await venue.submit(order(crossing(1, 0.3), "open"))
    for name, spec in specs.items():
        update = await venue.submit(order(spec, name))
        assert (update.client_id, update.status) == (name, "NEW")
    found = {row["clientOrderId"]: row for row in books(server)["open_orders"]}
    resting = found["post-only"]
    assert (resting["timeInForce"], float(resting["price"]), float(resting["origQty"])) == ("GTX", 49_500.0, 0.1)
    stop = found["stop"]
    assert (float(stop["stopPrice"]), stop["reduceOnly"], stop["workingType"]) == (49_000.0, True, "MARK_PRICE")
    assert (float(found["protect"]["stopPrice"]), found["protect"]["closePosition"]) == (48_000.0, True)


# reads --------------------------------------------------------------------------------------------------------------


async def test_instruments_carry_filters_fees_and_leverage(venue):
    btc = (await venue.instruments())[BTC]
    assert (btc.tick_size, btc.lot_size, btc.min_notional) == (0.1, 0.001, 5.0)
    assert (btc.maker_fee, btc.taker_fee) == (0.0, 0.0004)
    assert (btc.max_qty, btc.max_market_qty, btc.price_band) == (1000.0, 120.0, pytest.approx(0.02))
    assert btc.max_leverage >= 50


async def test_history_is_oldest_first_in_pages_and_its_last_bar_is_open(venue, monkeypatch):
    monkeypatch.setattr(aster_module, "KLINES_PER_CALL", 50)
    bars = await venue.history(BTC, "1m", 120)
    assert len(bars) == 120
    steps = {later.ts_open - earlier.ts_open for earlier, later in itertools.pairwise(bars)}
    assert steps == {60 * 10**9}
    assert [bar.is_closed for bar in bars[-3:]] == [True, True, False]
    closed = [bar for bar in bars if bar.is_closed]
    until = closed[-10].ts_open
    older = await venue.history(BTC, "1m", 5, end_ns=until)
    assert [bar.ts_open for bar in older] == [bar.ts_open for bar in closed[-14:-9]]
    assert all(bar.is_closed for bar in older)


async def test_snapshot_agrees_with_the_exchanges_books(server, venue):
    await venue.submit(order(crossing(1, 0.1), "a"))
    await venue.submit(order(limit(1, 0.2, 49_000.0), "b"))
    orders, positions, balance = await venue.snapshot()
    assert [(o.client_id, o.status, o.qty, o.limit_px) for o in orders] == [("b", "NEW", 0.2, 49_000.0)]
    assert [(p.symbol, p.qty, p.entry_px) for p in positions] == [(BTC, 0.1, BEST_ASK)]
    assert balance.cash == pytest.approx(10_000 - 0.1 * BEST_ASK * 0.0004, abs=1e-6)
    assert balance.maintenance_margin == pytest.approx(float(books(server)["balances"]["maint_margin"]))


async def test_fills_of_one_order_and_since_a_time(server, venue):
    placed = await venue.submit(order(crossing(1, 1.5), "a"))
    await venue.submit(order(crossing(-1, 0.5), "b"))
    fills = await venue.fills(BTC, placed.venue_order_id, "a")
    assert [(f.qty, f.px, f.client_id) for f in fills] == [
        (1.0, BEST_ASK, "a"), (0.5, pytest.approx(BEST_ASK + 0.1), "a"),
    ]  # fmt: skip
    later = fills[0].ts_filled + 3600 * 10**9
    since = await venue.fills_since(BTC, fills[0].ts_filled, later)
    assert [f.qty for f in since] == [1.0, 0.5, -0.5]
    assert await venue.fills_since(BTC, later, later) == []


# streams ------------------------------------------------------------------------------------------------------------


async def test_private_stream_brings_orders_fills_and_balances(server, venue):
    async with account_events(venue) as listener:
        await venue.submit(order(crossing(1, 0.1)))
        await eventually(lambda: listener.of(BalanceReport) and listener.of(PositionReport))
    (fill,) = listener.of(Fill)
    assert (fill.qty, fill.px, fill.is_maker, fill.client_id) == (0.1, BEST_ASK, False, "ast-1-1")
    assert fill.fee == pytest.approx(0.1 * BEST_ASK * 0.0004)
    assert [update.status for update in listener.of(OrderUpdate)] == ["NEW", "FILLED"]
    # the fill comes before the order that says FILLED, so that nobody acts on a position that lags
    kinds = [type(event) for event in listener.events]
    assert kinds.index(Fill) < max(i for i, kind in enumerate(kinds) if kind is OrderUpdate)
    assert listener.of(BalanceReport)[-1].cash == pytest.approx(10_000 - fill.fee)
    assert [(p.qty, p.entry_px) for p in listener.of(PositionReport)] == [(0.1, BEST_ASK)]


async def test_market_stream_brings_every_kind_of_event(server, venue):
    async with market_events(venue) as listener:
        await eventually(lambda: listener.of(MarkPrice) and listener.of(BookSnapshot))
        take(server, 1, 250)
        trade = (await eventually(lambda: listener.of(MarketTrade)))[-1]
        bar = (await eventually(lambda: [bar for bar in listener.of(Bar) if bar.close_px == trade.px]))[-1]
    assert (trade.px, trade.qty, trade.side) == (BEST_ASK, 0.25, 1)
    top = listener.of(BookTop)[0]
    assert (top.bid_px, top.ask_px, top.bid_qty) == (BEST_BID, BEST_ASK, 1.0)
    book = listener.of(BookSnapshot)[0]
    assert (len(book.bids), book.asks[0]) == (20, (BEST_ASK, 1.0))
    assert listener.of(MarkPrice)[0].index_px == 50_000.0
    assert (bar.symbol, bar.interval, bar.volume) == (BTC, "1m", 0.25)


async def test_expired_listen_key_is_replaced_and_events_go_on(server, venue, monkeypatch):
    no_backoff(monkeypatch)
    async with account_events(venue) as listener:
        first = venue._trading.options["listenKey"]["swap"]
        fault(server, "expire_listen_key", match={"stream": "user"})
        await eventually(lambda: ups_and_downs(listener)[-1:] == [True] and len(ups_and_downs(listener)) > 1)
        assert ups_and_downs(listener)[:2] == [True, False]
        assert venue._trading.options["listenKey"]["swap"] not in (None, first)
        await venue.submit(order(crossing(1, 0.1)))
        await eventually(lambda: listener.of(Fill), what="a fill on the new key")
    assert any("expired" in event.reason.lower() for event in listener.of(StreamState) if not event.up)


async def test_listen_key_is_renewed_and_a_failed_renewal_costs_no_connection(server, venue, monkeypatch):
    assert aster_client.LISTEN_KEY_REFRESH_S * 2 < 3600  # one missed renewal is survived
    monkeypatch.setattr(aster_client, "LISTEN_KEY_REFRESH_S", 0.1)
    monkeypatch.setattr(aster_client, "LISTEN_KEY_RETRY_S", 0.05)
    renewal = {"method": "PUT", "path": "listenKey"}
    fault(server, "http_503_before", match=renewal, count=2)
    async with account_events(venue) as listener:
        await eventually(lambda: len([s for s in venue.sentences if "not renewed" in s]) == 2)
        fault(server, "delay", match=renewal, delay_ms=0)
        await eventually(lambda: server.venue.faults.report()[-1]["acted"] >= 2, what="renewals that work")
        assert ups_and_downs(listener) == [True]
        await venue.submit(order(crossing(1, 0.1)))
        await eventually(lambda: listener.of(Fill))


async def test_exception_in_the_message_path_does_not_end_the_receive_loop(server, venue, monkeypatch):
    async with account_events(venue) as listener:
        parse = aster_module.wire.parse_order_event
        failing = [ValueError("unreadable")]

        def sometimes(raw, now):
            if failing:
                raise failing.pop()
            return parse(raw, now)

        monkeypatch.setattr(aster_module.wire, "parse_order_event", sometimes)
        await venue.submit(order(limit(1, 0.1, 49_500.0), "unreadable"))
        await eventually(lambda: venue.sentences)
        await venue.submit(order(limit(1, 0.1, 49_500.0), "readable"))
        await eventually(lambda: [u.client_id for u in listener.of(OrderUpdate)] == ["readable"])
    assert venue.sentences[0].startswith("A message ORDER_TRADE_UPDATE could not be read (ValueError: unreadable)")
    assert ups_and_downs(listener) == [True]


@pytest.mark.parametrize("action", ["drop_ws", "close_ws"])
async def test_lost_market_connection_goes_down_and_up_and_events_resume(server, venue, monkeypatch, action):
    no_backoff(monkeypatch)
    async with market_events(venue) as listener:
        fault(server, action, match={"stream": "btcusdt@*"})
        await eventually(lambda: ups_and_downs(listener)[:3] == [True, False, True], what="down and up")
        n_before = len(listener.events)
        # the connection is up a moment before its subscription: a trade in between reaches nobody
        await eventually(lambda: any(isinstance(e, BookTop) for e in listener.events[n_before:]))
        take(server, 1, 100)
        await eventually(lambda: any(isinstance(e, MarketTrade) for e in listener.events[n_before:]))


@pytest.mark.parametrize("action", ["drop_ws", "close_ws"])
async def test_lost_account_connection_goes_down_and_up_and_events_resume(server, venue, monkeypatch, action):
    no_backoff(monkeypatch)
    async with account_events(venue) as listener:
        fault(server, action, match={"stream": "user"})
        await eventually(lambda: ups_and_downs(listener)[:3] == [True, False, True], what="down and up")
        await venue.submit(order(crossing(1, 0.1)))
        await eventually(lambda: listener.of(Fill))


async def test_silent_market_connection_is_ended_by_the_watchdog(server, venue, monkeypatch):
    no_backoff(monkeypatch)
    monkeypatch.setattr(streams, "MARKET_SILENCE_S", 1.5)
    async with market_events(venue) as listener:
        await eventually(lambda: listener.of(MarkPrice))
        fault(server, "mute_ws", match={"stream": "btcusdt@*"})
        await eventually(lambda: ups_and_downs(listener)[:3] == [True, False, True], within_s=8, what="down and up")
        down = next(event for event in listener.of(StreamState) if not event.up)
        assert "no message for" in down.reason
        n_before = len(listener.of(MarkPrice))
        await eventually(lambda: len(listener.of(MarkPrice)) > n_before)


async def test_streams_return_when_the_server_was_away(monkeypatch):
    no_backoff(monkeypatch)
    async with practice_exchange() as server:
        port = int(server.base_url.rsplit(":", 1)[1])
        async with adapter(server) as venue, account_events(venue) as account, market_events(venue) as market:
            await server.stop()
            await eventually(lambda: not ups_and_downs(account)[-1] and not ups_and_downs(market)[-1])
            await eventually(lambda: ups_and_downs(account).count(False) > 2, what="attempts while it is away")
            async with practice_exchange(port=port) as again:
                await eventually(lambda: ups_and_downs(account)[-1] and ups_and_downs(market)[-1], within_s=8)
                await venue.submit(order(crossing(1, 0.1)))
                await eventually(lambda: account.of(Fill))
                assert float(books(again)["positions"][0]["positionAmt"]) == 0.1


# errors -------------------------------------------------------------------------------------------------------------


async def test_503_after_placing_is_unknown_and_the_order_is_found(server, venue):
    fault(server, "http_503_after", match=POST_ORDER, count=1)
    with pytest.raises(StateUnknown):
        await venue.submit(order(limit(1, 0.1, 49_500.0), "doubt"))
    found = await venue.order(BTC, "doubt")
    assert (found.client_id, found.status, found.qty) == ("doubt", "NEW", 0.1)
    assert await venue.order(BTC, "never-sent") is None


@pytest.mark.parametrize(
    "action", ["unknown_after:-1007", "unknown_after:-1006", "disconnect_after", "http_503_before"]
)
async def test_every_answer_that_proves_nothing_is_unknown(server, venue, action):
    fault(server, action, match=POST_ORDER, count=1)
    with pytest.raises(StateUnknown):
        await venue.submit(order(limit(1, 0.1, 49_500.0), "doubt"))
    exists = action != "http_503_before"
    assert [row["clientOrderId"] for row in books(server)["orders"]] == (["doubt"] if exists else [])
    assert (await venue.order(BTC, "doubt") is not None) == exists


async def test_no_answer_in_time_is_unknown(server, venue):
    venue._trading.timeout = 300
    fault(server, "timeout_after", match=POST_ORDER, count=1, delay_ms=600)
    with pytest.raises(StateUnknown):
        await venue.submit(order(limit(1, 0.1, 49_500.0), "slow"))
    assert [row["clientOrderId"] for row in books(server)["orders"]] == ["slow"]


async def test_rate_limit_is_unreachable_because_nothing_was_placed(server, venue):
    fault(server, "429", match=POST_ORDER, count=1)
    with pytest.raises(Unreachable):
        await venue.submit(order(limit(1, 0.1, 49_500.0)))
    assert books(server)["orders"] == []


async def test_refusal_carries_the_venues_code(server, venue):
    for code in (-2019, -4164, -2021):
        fault(server, f"reject:{code}", match=POST_ORDER, count=1)
        with pytest.raises(Rejected) as refusal:
            await venue.submit(order(limit(1, 0.1, 49_500.0)))
        assert refusal.value.code == code
    with pytest.raises(Rejected) as refusal:
        await venue.submit(order(limit(1, 0.1, 80_000.0)))  # beyond the price band, refused by the exchange itself
    assert refusal.value.code == -4016
    assert books(server)["orders"] == []


async def test_lookup_that_fails_is_not_the_answer_no(server, venue):
    await venue.submit(order(limit(1, 0.1, 49_500.0), "there"))
    for action in ("html_500", "http_503_before", "disconnect_before"):
        fault(server, action, match={"method": "GET", "path": "order"}, count=2)  # a cut GET is repeated by aiohttp
        with pytest.raises(Unreachable):
            await venue.order(BTC, "there")
        server.venue.faults.clear()
    assert (await venue.order(BTC, "there")).status == "NEW"


async def test_cancel_of_an_order_that_is_gone_is_no_error(server, venue):
    await venue.submit(order(limit(1, 0.1, 49_500.0), "a"))
    await venue.cancel(BTC, "a")
    await venue.cancel(BTC, "a")
    await venue.cancel(BTC, "never-there")
    assert [row["status"] for row in books(server)["orders"]] == ["CANCELED"]


async def test_many_cancels_go_in_batches_and_skip_what_is_gone(server, venue):
    names = [f"m-{i}" for i in range(12)]
    for name in names:
        await venue.submit(order(limit(1, 0.01, 49_500.0), name))
    await venue.cancel(BTC, names[3])
    await venue.cancel_many(BTC, [*names, "never-there"])
    assert books(server)["open_orders"] == []


@pytest.mark.parametrize("action", ["html_500", "http_503_before", "disconnect_before", "403", "418"])
async def test_no_signature_or_key_in_an_error_text(server, venue, action):
    key = server.private_key.removeprefix("0x")
    for match, call in [
        ({"method": "GET", "path": "userTrades"}, lambda: venue.fills_since(BTC, 0, 1)),
        (POST_ORDER, lambda: venue.submit(order(limit(1, 0.1, 49_500.0)))),
    ]:
        fault(server, action, match=match, count=2, delay_ms=10)  # a cut GET is repeated by aiohttp
        with pytest.raises((Unreachable, StateUnknown, Rejected)) as trouble:
            await call()
        assert "signature" not in str(trouble.value)
        assert key not in str(trouble.value)
        server.venue.faults.clear()
        await asyncio.sleep(0.02)  # a ban of ten milliseconds ends


async def test_no_listen_key_in_the_reason_of_a_lost_stream(monkeypatch):
    no_backoff(monkeypatch)
    async with practice_exchange() as server, adapter(server) as venue, account_events(venue) as listener:
        listen_key = venue._trading.options["listenKey"]["swap"]
        for client in list(venue._trading.clients.values()):
            client.on_error(ccxt.NetworkError(f"ws://127.0.0.1/fstream/ws/{listen_key} is gone"))
        await eventually(lambda: False in ups_and_downs(listener))
        down = next(event for event in listener.of(StreamState) if not event.up)
        assert listen_key not in down.reason
        assert not [sentence for sentence in venue.sentences if listen_key in sentence]
