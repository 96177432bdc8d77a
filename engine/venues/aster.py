"""The real-time venue: Aster, or anything that speaks its protocol. Feed and Venue in one, on two ccxt connections.

Market data and trading use separate ccxt instances with sockets of their own. All requests of both pass one ``Gate``,
which keeps the process within the venue's limits and lets trading go first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from engine.domain import (
    ApprovedOrder,
    BalanceReport,
    Bar,
    Fill,
    Income,
    Instrument,
    MarketTrade,
    OrderUpdate,
    PositionReport,
    StreamState,
)
from engine.errors import Rejected, StateUnknown, VenueError
from engine.ports import FeedEvent, VenueEvent
from engine.venues import streams, wire
from engine.venues.aster_client import AsterClient
from engine.venues.gate import Gate
from engine.venues.health import ClockWatch, TradeGap, TradeSequence
from engine.venues.streams import StreamKeeper
from engine.venues.troubles import reading, writing

KLINES_PER_CALL = 1500
PAGE_ROWS = 1000
WEEK_MS = 7 * 86_400_000
NOT_FOUND_CODES = frozenset({-2011, -2013})
QUEUE_EVENTS = 100_000


class AsterVenue:
    """Adapter of the ports Feed and Venue.

    Parameters
    ----------
    config : dict
        From ``aster_client.client_config``.
    on_fault : callable (sentence)
        Hears of messages that could not be parsed, of connections lost, of bans and of breakers that open.
    """

    def __init__(self, config: dict[str, Any], on_fault: Callable[[str], None] = lambda sentence: None) -> None:
        self._on_fault = on_fault
        self._market: asyncio.Queue[FeedEvent] = asyncio.Queue(QUEUE_EVENTS)
        self._account: asyncio.Queue[VenueEvent] = asyncio.Queue(QUEUE_EVENTS)
        self.gate = Gate(self._tell)
        self.clock = ClockWatch()
        self.trades = TradeSequence(self._tell)
        self._data = AsterClient(config, self._on_market, self._tell, self.gate)
        self._trading = AsterClient(config, self._on_account, self._tell, self.gate)
        self.market = StreamKeeper("market", self._data, self._market, self._tell, lambda: streams.MARKET_SILENCE_S)
        self.account = StreamKeeper(
            "account", self._trading, self._account, self._tell, lambda: streams.ACCOUNT_SILENCE_S
        )
        self._instruments: dict[str, Instrument] = {}

    def _tell(self, sentence: str) -> None:
        self._on_fault(sentence)

    # events in ---------------------------------------------------------------------------------------------------

    def _on_market(self, event: str, raw: dict[str, Any]) -> None:
        now = time.time_ns()
        if event == "connected":
            self.market.watch.connected()
            self.trades.reconnected()
            self._market.put_nowait(StreamState("market", True, "connected", now))
            return
        self.market.watch.heard()
        if event == "aggTrade" and not self.trades.accept(raw["s"], int(raw["a"])):
            return  # seen before
        parse = _MARKET_PARSERS.get(event)
        if parse is not None:
            self._market.put_nowait(parse(raw, now))

    def _on_account(self, event: str, raw: dict[str, Any]) -> None:
        now = time.time_ns()
        if event == "connected":
            self.account.watch.connected()
            self._account.put_nowait(StreamState("account", True, "connected", now))
            return
        self.account.watch.heard()
        if event == "ORDER_TRADE_UPDATE":
            update, fill = wire.parse_order_event(raw, now)
            if fill is not None:  # the fill first: an order that is FILLED must already have moved the position
                self._account.put_nowait(fill)
            self._account.put_nowait(update)
        elif event == "ACCOUNT_UPDATE":
            for report in wire.parse_account_event(raw, now):
                self._account.put_nowait(report)
        elif event == "MARGIN_CALL":
            symbols = ", ".join(str(row.get("s")) for row in raw.get("p") or ()) or "the account"
            self._on_fault(
                f"MARGIN_CALL: the venue warns that the margin of {symbols} is close to maintenance, below which it "
                "liquidates. Reduce the position or add margin."
            )

    async def stream(self, symbols: Sequence[str], intervals: Sequence[str] = ("1m",)) -> AsyncIterator[FeedEvent]:
        """Yield market events for ever, reconnecting after each loss."""
        kinds = ["aggTrade", "depth20@100ms", "bookTicker", "markPrice@1s", *(f"kline_{i}" for i in intervals)]
        names = [f"{symbol.lower()}@{kind}" for symbol in symbols for kind in kinds]
        keeper = asyncio.create_task(self.market.keep(lambda: self._data.subscribe_and_wait(names)))
        try:
            while True:
                yield await self._market.get()
        finally:
            keeper.cancel()

    async def events(self) -> AsyncIterator[VenueEvent]:
        """Yield the account's events for ever, reconnecting after each loss."""
        keeper = asyncio.create_task(self.account.keep(self._trading.listen_and_wait))
        try:
            while True:
                yield await self._account.get()
        finally:
            keeper.cancel()

    # health ------------------------------------------------------------------------------------------------------

    async def measure_clock(self) -> bool:
        """Compare the clocks; return False when the answer came too slowly to tell."""
        sent_s = time.time()
        venue_ms = await self.server_time_ms()
        if not self.clock.note(venue_ms, sent_s, time.time()):
            return False
        self.gate.skew_s = self.clock.skew_ms / 1e3
        return True

    def suspended(self) -> str | None:
        """Return why no new risk may be taken now (a ban, or clocks too far apart), or None."""
        return self.gate.suspended() or self.clock.suspended()

    def health(self) -> dict[str, Any]:
        """Return streams, weight, breakers, clock and ban as one JSON-ready object."""
        market, account = self.market.watch, self.account.watch
        if account.up:
            account.pulse(self._trading.pong_age_s())
        return {
            "streams": [market.report() | {"gaps": market.gaps + self.trades.gaps}, account.report()],
            "trades_lost": self.trades.lost,
            "trades_repeated": self.trades.repeated,
            "trades_fetched": self.trades.fetched,
            "weight": self.gate.budget.report(),
            "breakers": self.gate.breakers.report(),
            "clock": self.clock.report(),
            "ban_until_ns": self.gate.ban_until_ns,
            "suspended": self.suspended(),
        }

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
            rows = await reading(self._data.fapiPublicGetV3Klines(request))
            page = [wire.parse_kline_row(symbol, interval, row) for row in rows]
            bars = page + bars
            if len(page) < request["limit"]:
                break
            end_ms = int(rows[0][0]) - 1
        if bars and end_ns is None:  # the newest row is the bar that is still forming
            bars[-1] = bars[-1]._replace(is_closed=False)
        return bars

    async def missed_trades(self, gap: TradeGap) -> list[MarketTrade]:
        """Return the market trades of a gap that the venue still offers, each once, oldest first."""
        found: list[MarketTrade] = []
        start = gap.first
        while start <= gap.last:
            request = {"symbol": gap.symbol, "fromId": start, "limit": min(PAGE_ROWS, gap.last - start + 1)}
            rows = await reading(self._data.fapiPublicGetV3AggTrades(request))
            now = time.time_ns()
            wanted = [row for row in rows if gap.first <= int(row["a"]) <= gap.last]
            found += [
                wire.parse_agg_trade({"s": gap.symbol, **row}, now)
                for row in wanted
                if self.trades.fill(gap.symbol, int(row["a"]))
            ]
            if not wanted:
                break
            start = max(int(row["a"]) for row in wanted) + 1
        return found

    async def server_time_ms(self) -> int:
        """Return the venue's clock, milliseconds."""
        return int((await reading(self._data.fapiPublicGetV3Time()))["serverTime"])

    async def instruments(self) -> dict[str, Instrument]:
        """Return what can be traded, with our fees and the largest leverage."""
        info = await reading(self._data.fapiPublicGetV3ExchangeInfo())
        brackets = await reading(self._trading.fapiPrivateGetV3LeverageBracket())
        leverage = {row["symbol"]: float(max(b["initialLeverage"] for b in row["brackets"])) for row in brackets}
        first = next(row["symbol"] for row in info["symbols"] if row.get("contractType"))
        rate = await reading(self._trading.fapiPrivateGetV3CommissionRate({"symbol": first}))
        fees = (float(rate["makerCommissionRate"]), float(rate["takerCommissionRate"]))
        self._instruments = wire.parse_instruments(info, fees, leverage)
        return self._instruments

    async def snapshot(self) -> tuple[list[OrderUpdate], list[PositionReport], BalanceReport]:
        """Return open orders, positions and money as the venue holds them now."""
        orders, positions, account = await asyncio.gather(
            reading(self._trading.fapiPrivateGetV3OpenOrders()),
            reading(self._trading.fapiPrivateGetV3PositionRisk()),
            reading(self._trading.fapiPrivateGetV4Account()),
        )
        now = time.time_ns()
        return (
            [wire.parse_order(row, now) for row in orders],
            [wire.parse_position(row, now) for row in positions if float(row["positionAmt"]) != 0.0],
            wire.parse_account(account, now),
        )

    async def order(self, symbol: str, client_id: str, venue_order_id: str = "") -> OrderUpdate | None:
        """Look one order up by our id, or by the venue's if that is given.

        None means that the venue says it has none; any other trouble raises.
        """
        by = {"orderId": venue_order_id} if venue_order_id else {"origClientOrderId": client_id}
        try:
            raw = await reading(self._trading.fapiPrivateGetV3Order({"symbol": symbol, **by}))
        except Rejected as refusal:
            if refusal.code in NOT_FOUND_CODES:
                return None
            raise
        return wire.parse_order(raw, time.time_ns())

    async def fills(self, symbol: str, venue_order_id: str, client_id: str) -> list[Fill]:
        """Return our fills of one order."""
        rows = await reading(
            self._trading.fapiPrivateGetV3UserTrades({"symbol": symbol, "orderId": venue_order_id, "limit": 1000})
        )
        now = time.time_ns()
        return [wire.parse_user_trade(row, client_id, now) for row in rows if str(row["orderId"]) == venue_order_id]

    async def fills_since(self, symbol: str, start_ns: int, until_ns: int) -> list[Fill]:
        """Return our fills of a symbol since a time, oldest first, page by page; our order id is not in them.

        ``until_ns`` is now in the venue's time: a start without an end reaches seven days, so a longer span takes
        several questions.
        """
        ask = self._trading.fapiPrivateGetV3UserTrades
        start_ms = start_ns // 1_000_000
        rows: list[dict[str, Any]] = []
        page: list[dict[str, Any]] = []
        while not page and start_ms <= max(until_ns, start_ns) // 1_000_000:
            page = await reading(ask({"symbol": symbol, "startTime": start_ms, "limit": PAGE_ROWS}))
            start_ms += WEEK_MS
        while page:
            rows += page
            if len(page) < PAGE_ROWS and start_ms > until_ns // 1_000_000:
                break
            page = await reading(ask({"symbol": symbol, "fromId": int(page[-1]["id"]) + 1, "limit": PAGE_ROWS}))
        now = time.time_ns()
        return [wire.parse_user_trade(row, "", now) for row in rows]

    async def incomes_since(self, start_ns: int | None) -> list[Income]:
        """Return what changed the wallet since a time, oldest first, page by page; None: the newest page only.

        The venue has no page key here, so the next page begins at the last row's millisecond; rows are told apart by
        their ids.
        """
        ask = self._trading.fapiPrivateGetV3Income
        if start_ns is None:
            return [wire.parse_income(row) for row in await reading(ask({"limit": PAGE_ROWS}))]
        found: dict[tuple[str, str, str], Income] = {}
        start_ms = start_ns // 1_000_000
        while True:
            page = await reading(ask({"startTime": start_ms, "limit": PAGE_ROWS}))
            found |= {income.key: income for income in map(wire.parse_income, page)}
            last_ms = int(page[-1]["time"]) if page else start_ms
            if len(page) < PAGE_ROWS or last_ms == start_ms:
                return list(found.values())
            start_ms = last_ms

    # writes ------------------------------------------------------------------------------------------------------

    async def submit(self, order: ApprovedOrder) -> OrderUpdate:
        """Send one approved order; see ``ports.Venue.submit`` for what each error means."""
        request = wire.order_request(order, self._instruments[order.spec.symbol])
        told = self.account.watch.messages
        raw = await writing(self._trading.fapiPrivatePostV3Order(request))
        if self.account.watch.messages == told:
            self.account.watch.owe()
        try:
            return wire.parse_order(raw, time.time_ns())
        except (KeyError, ValueError, TypeError, VenueError) as error:
            raise StateUnknown(f"the venue's answer to {order.client_id} cannot be read: {error}") from error

    async def cancel(self, symbol: str, client_id: str) -> None:
        """Cancel one order; gone already is fine."""
        try:
            await writing(self._trading.fapiPrivateDeleteV3Order({"symbol": symbol, "origClientOrderId": client_id}))
        except Rejected as refusal:
            if refusal.code not in NOT_FOUND_CODES:
                raise

    async def cancel_many(self, symbol: str, client_ids: Sequence[str]) -> None:
        """Cancel up to ten orders of a symbol in one request; orders already gone are fine."""
        for start in range(0, len(client_ids), 10):
            ids = json.dumps(list(client_ids[start : start + 10]), separators=(",", ":"))
            await writing(
                self._trading.fapiPrivateDeleteV3BatchOrders({"symbol": symbol, "origClientOrderIdList": ids})
            )

    async def countdown(self, symbol: str, after_ms: int) -> None:
        """Have the venue cancel all orders of a symbol unless this is called again in time; 0 calls it off."""
        request = {"symbol": symbol, "countdownTime": after_ms}
        await writing(self._trading.fapiPrivatePostV3CountdownCancelAll(request))

    async def set_leverage(self, symbol: str, leverage: int) -> None:
        """Set the leverage that the venue computes initial margin with."""
        await writing(self._trading.fapiPrivatePostV3Leverage({"symbol": symbol, "leverage": leverage}))

    async def close(self) -> None:
        """Close both connections."""
        for client in (self._data, self._trading):
            with contextlib.suppress(Exception):  # ccxt may raise on a socket that is already gone
                await client.close()


_MARKET_PARSERS: dict[str, Callable[[dict[str, Any], int], FeedEvent]] = {
    "kline": wire.parse_kline,
    "aggTrade": wire.parse_agg_trade,
    "depthUpdate": wire.parse_depth,
    "bookTicker": wire.parse_book_ticker,
    "markPriceUpdate": wire.parse_mark_price,
}
