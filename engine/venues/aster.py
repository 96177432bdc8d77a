"""The real-time venue: Aster, or anything that speaks its protocol. Feed and Venue in one, on two ccxt connections.

Market data and trading use separate ccxt instances, so that a long download of candles cannot make an order wait in the
same throttle.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import ccxt
from aiolimiter import AsyncLimiter

from engine.domain import (
    ApprovedOrder,
    BalanceReport,
    Bar,
    Fill,
    Instrument,
    OrderUpdate,
    PositionReport,
    StreamState,
)
from engine.errors import Rejected, StateUnknown, Unreachable, VenueError
from engine.ports import FeedEvent, VenueEvent
from engine.venues import wire
from engine.venues.aster_client import AsterClient

T = TypeVar("T")

KLINES_PER_CALL = 1500
DATA_WEIGHT_PER_MINUTE = 2000  # of the venue's 2400 per address; orders and reconciliation need the rest
SILENCE_S = 10.0  # a market connection this quiet is dead: five symbols tick several times a second
RECONNECT_S = (0.25, 0.5, 1.0, 2.0, 5.0)
NOT_FOUND_CODES = frozenset({-2011, -2013})
QUEUE_EVENTS = 100_000


class AsterVenue:
    """Adapter of the ports Feed and Venue.

    Parameters
    ----------
    config : dict
        From ``aster_client.client_config``.
    on_fault : callable (sentence)
        Hears of messages that could not be parsed and of connections lost.
    """

    def __init__(self, config: dict[str, Any], on_fault: Callable[[str], None] = lambda sentence: None) -> None:
        self._on_fault = on_fault
        self._market: asyncio.Queue[FeedEvent] = asyncio.Queue(QUEUE_EVENTS)
        self._account: asyncio.Queue[VenueEvent] = asyncio.Queue(QUEUE_EVENTS)
        self._data = AsterClient(config, self._on_market, on_fault)
        self._trading = AsterClient(config, self._on_account, on_fault)
        self._data_weight = AsyncLimiter(DATA_WEIGHT_PER_MINUTE, 60.0)
        self._instruments: dict[str, Instrument] = {}
        self._last_market_s = time.monotonic()

    # events in ---------------------------------------------------------------------------------------------------

    def _on_market(self, event: str, raw: dict[str, Any]) -> None:
        now = time.time_ns()
        self._last_market_s = time.monotonic()
        parse = _MARKET_PARSERS.get(event)
        if parse is not None:
            self._market.put_nowait(parse(raw, now))
        elif event == "connected":
            self._market.put_nowait(StreamState("market", True, "connected", now))

    def _on_account(self, event: str, raw: dict[str, Any]) -> None:
        now = time.time_ns()
        if event == "ORDER_TRADE_UPDATE":
            update, fill = wire.parse_order_event(raw, now)
            if fill is not None:  # the fill first: an order that is FILLED must already have moved the position
                self._account.put_nowait(fill)
            self._account.put_nowait(update)
        elif event == "ACCOUNT_UPDATE":
            for report in wire.parse_account_event(raw, now):
                self._account.put_nowait(report)
        elif event == "connected" and raw["private"]:
            self._account.put_nowait(StreamState("account", True, "connected", now))
        elif event == "MARGIN_CALL":
            self._on_fault("MARGIN_CALL: the venue warns that margin is close to maintenance")

    async def stream(self, symbols: Sequence[str], intervals: Sequence[str] = ("1m",)) -> AsyncIterator[FeedEvent]:
        """Yield market events for ever, reconnecting after each loss."""
        kinds = ["aggTrade", "depth20@100ms", "bookTicker", "markPrice@1s", *(f"kline_{i}" for i in intervals)]
        streams = [f"{symbol.lower()}@{kind}" for symbol in symbols for kind in kinds]
        keeper = asyncio.create_task(self._keep_market(streams))
        try:
            while True:
                yield await self._market.get()
        finally:
            keeper.cancel()

    async def _keep_market(self, streams: list[str]) -> None:
        watchdog = asyncio.create_task(self._end_silence())
        try:
            await self._keep("market", self._market, lambda: self._data.subscribe_and_wait(streams))
        finally:
            watchdog.cancel()

    async def events(self) -> AsyncIterator[VenueEvent]:
        """Yield the account's events for ever, reconnecting after each loss."""
        keeper = asyncio.create_task(self._keep("account", self._account, self._listen))
        try:
            while True:
                yield await self._account.get()
        finally:
            keeper.cancel()

    async def _listen(self) -> None:
        self._trading.forget_listen_key()  # POST again returns the living key extended, or a new one
        await self._trading.listen_and_wait()

    async def _keep(self, name: str, events: asyncio.Queue[Any], connect: Callable[[], Awaitable[None]]) -> None:
        attempt = 0
        while True:
            began = time.monotonic()
            try:
                await connect()
                reason = "connection ended"
            except ccxt.BaseError as error:
                reason = f"{type(error).__name__}: {_plain(error)}"
            events.put_nowait(StreamState(name, False, reason, time.time_ns()))
            self._on_fault(f"{name} stream lost: {reason}")
            attempt = 0 if time.monotonic() - began > 30.0 else min(attempt + 1, len(RECONNECT_S) - 1)
            await asyncio.sleep(RECONNECT_S[attempt])

    async def _end_silence(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if time.monotonic() - self._last_market_s > SILENCE_S:
                self._last_market_s = time.monotonic()
                for client in list(self._data.clients.values()):
                    client.on_error(ccxt.NetworkError(f"no message for {SILENCE_S:.0f} s"))

    # reads -------------------------------------------------------------------------------------------------------

    async def history(self, symbol: str, interval: str, n_bars: int, end_ns: int | None = None) -> list[Bar]:
        """Return up to ``n_bars`` bars, oldest first; without ``end_ns`` the last one is still open."""
        bars: list[Bar] = []
        end_ms = None if end_ns is None else end_ns // 1_000_000
        while len(bars) < n_bars:
            request: dict[str, Any] = {
                "symbol": symbol,
                "interval": interval,
                "limit": min(KLINES_PER_CALL, n_bars - len(bars)),
            }
            if end_ms is not None:
                request["endTime"] = end_ms
            await self._data_weight.acquire(klines_weight(request["limit"]))
            rows = await self._read(self._data.fapiPublicGetV3Klines(request))
            page = [wire.parse_kline_row(symbol, interval, row) for row in rows]
            bars = page + bars
            if len(page) < request["limit"]:
                break
            end_ms = int(rows[0][0]) - 1
        if bars and end_ns is None:  # the newest row is the bar that is still forming
            bars[-1] = bars[-1]._replace(is_closed=False)
        return bars

    async def server_time_ms(self) -> int:
        """Return the venue's clock, milliseconds."""
        return int((await self._read(self._data.fapiPublicGetV3Time()))["serverTime"])

    async def instruments(self) -> dict[str, Instrument]:
        """Return what can be traded, with our fees and the largest leverage."""
        info = await self._read(self._data.fapiPublicGetV3ExchangeInfo())
        brackets = await self._read(self._trading.fapiPrivateGetV3LeverageBracket())
        leverage = {row["symbol"]: float(max(b["initialLeverage"] for b in row["brackets"])) for row in brackets}
        first = next(row["symbol"] for row in info["symbols"] if row.get("contractType"))
        rate = await self._read(self._trading.fapiPrivateGetV3CommissionRate({"symbol": first}))
        fees = (float(rate["makerCommissionRate"]), float(rate["takerCommissionRate"]))
        self._instruments = wire.parse_instruments(info, fees, leverage)
        return self._instruments

    async def snapshot(self) -> tuple[list[OrderUpdate], list[PositionReport], BalanceReport]:
        """Return open orders, positions and money as the venue holds them now."""
        orders, positions, account = await asyncio.gather(
            self._read(self._trading.fapiPrivateGetV3OpenOrders()),
            self._read(self._trading.fapiPrivateGetV3PositionRisk()),
            self._read(self._trading.fapiPrivateGetV4Account()),
        )
        now = time.time_ns()
        return (
            [wire.parse_order(row, now) for row in orders],
            [wire.parse_position(row, now) for row in positions if float(row["positionAmt"]) != 0.0],
            wire.parse_account(account, now),
        )

    async def order(self, symbol: str, client_id: str) -> OrderUpdate | None:
        """Look one order up by our id. None means that the venue says it has none; any other trouble raises."""
        try:
            raw = await self._read(
                self._trading.fapiPrivateGetV3Order({"symbol": symbol, "origClientOrderId": client_id})
            )
        except Rejected as refusal:
            if refusal.code in NOT_FOUND_CODES:
                return None
            raise
        return wire.parse_order(raw, time.time_ns())

    async def fills(self, symbol: str, venue_order_id: str, client_id: str) -> list[Fill]:
        """Return our fills of one order."""
        rows = await self._read(
            self._trading.fapiPrivateGetV3UserTrades({"symbol": symbol, "orderId": venue_order_id, "limit": 1000})
        )
        now = time.time_ns()
        return [wire.parse_user_trade(row, client_id, now) for row in rows if str(row["orderId"]) == venue_order_id]

    async def fills_since(self, symbol: str, start_ns: int) -> list[Fill]:
        """Return our fills of a symbol since a time, oldest first; our order id is not in them."""
        request = {"symbol": symbol, "startTime": start_ns // 1_000_000, "limit": 1000}
        rows = await self._read(self._trading.fapiPrivateGetV3UserTrades(request))
        now = time.time_ns()
        return [wire.parse_user_trade(row, "", now) for row in rows]

    # writes ------------------------------------------------------------------------------------------------------

    async def submit(self, order: ApprovedOrder) -> OrderUpdate:
        """Send one approved order; see ``ports.Venue.submit`` for what each error means."""
        request = wire.order_request(order, self._instruments[order.spec.symbol])
        raw = await self._write(self._trading.fapiPrivatePostV3Order(request))
        try:
            return wire.parse_order(raw, time.time_ns())
        except (KeyError, ValueError, TypeError, VenueError) as error:
            raise StateUnknown(f"the answer to {order.client_id} cannot be read: {error}") from error

    async def cancel(self, symbol: str, client_id: str) -> None:
        """Cancel one order; gone already is fine."""
        try:
            await self._write(
                self._trading.fapiPrivateDeleteV3Order({"symbol": symbol, "origClientOrderId": client_id})
            )
        except Rejected as refusal:
            if refusal.code not in NOT_FOUND_CODES:
                raise

    async def cancel_many(self, symbol: str, client_ids: Sequence[str]) -> None:
        """Cancel up to ten orders of a symbol in one request; orders already gone are fine."""
        for start in range(0, len(client_ids), 10):
            ids = json.dumps(list(client_ids[start : start + 10]), separators=(",", ":"))
            await self._write(
                self._trading.fapiPrivateDeleteV3BatchOrders({"symbol": symbol, "origClientOrderIdList": ids})
            )

    async def set_leverage(self, symbol: str, leverage: int) -> None:
        """Set the leverage that the venue computes initial margin with."""
        await self._write(self._trading.fapiPrivatePostV3Leverage({"symbol": symbol, "leverage": leverage}))

    async def close(self) -> None:
        """Close both connections."""
        for client in (self._data, self._trading):
            with contextlib.suppress(Exception):  # ccxt may raise on a socket that is already gone
                await client.close()

    # errors ------------------------------------------------------------------------------------------------------

    async def _read(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except ccxt.OperationFailed as error:
            raise Unreachable(_plain(error)) from error
        except ccxt.BaseError as error:
            raise Rejected(_code(error), _plain(error)) from error

    async def _write(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except (ccxt.RateLimitExceeded, ccxt.DDoSProtection) as error:
            raise Unreachable(_plain(error)) from error  # refused before the matching engine saw it
        except ccxt.InvalidNonce as error:
            raise Rejected(_code(error), _plain(error)) from error
        except ccxt.OperationFailed as error:
            raise StateUnknown(_plain(error)) from error
        except ccxt.BaseError as error:
            raise Rejected(_code(error), _plain(error)) from error


_MARKET_PARSERS: dict[str, Callable[[dict[str, Any], int], FeedEvent]] = {
    "kline": wire.parse_kline,
    "aggTrade": wire.parse_agg_trade,
    "depthUpdate": wire.parse_depth,
    "bookTicker": wire.parse_book_ticker,
    "markPriceUpdate": wire.parse_mark_price,
}


def klines_weight(limit: int) -> int:
    """Return what the venue counts for one request of so many candles."""
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def _code(error: Exception) -> int:
    found = re.search(r'"code"\s*:\s*"?(-?\d+)', str(error))
    return int(found.group(1)) if found else 0


def _plain(error: Exception) -> str:
    found = re.search(r'"msg"\s*:\s*"([^"]*)"', str(error))
    text = found.group(1) if found else str(error)
    # a URL in the text would carry the signature or the listen key
    return re.sub(r"\S*(?:signature=|/ws/)\S*", "[request]", text)[:300]


def margin_ratio(balance: BalanceReport, equity: float) -> float:
    """Return maintenance margin over equity; liquidation is near at 1. NaN when the venue has not said."""
    return balance.maintenance_margin / equity if equity > 0 else math.nan
