"""Public streams: what a client may subscribe to, and when each channel has something to say.

Paces are wall time, as a reader experiences them; the stamps inside the messages are market time. Nothing is
serialised for a channel without a reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.venues.sandbox.market.bars import INTERVALS, Bars
from engine.venues.sandbox.messages import DepthMerge, MarketMessages
from engine.venues.sandbox.model import TradeEvent
from engine.venues.sandbox.sockets import Socket, broadcast
from engine.venues.sandbox.tape import AggTrade

KLINE_PACE_MS = 250
DEPTH_PACE_MS = 250
TRADE_PACE_MS = 100
TICKER_PACE_MS = 1_000
MARK_PACE_MS = 3_000

_NAME = re.compile(
    r"^(?P<symbol>[a-z0-9]+)@(?:kline_(?P<interval>\w+)|depth(?P<levels>5|10|20)?(?:@(?P<pace>100|250|500)ms)?"
    r"|(?P<plain>aggTrade|bookTicker|ticker)|markPrice(?P<second>@1s)?)$"
)


class StreamName(NamedTuple):
    """A parsed stream: ``kind`` is kline, depth, diff, aggTrade, bookTicker, ticker or markPrice."""

    symbol: str
    kind: str
    interval: str = ""
    levels: int = 0
    pace_ms: int = 0


def parse_stream(name: str, symbols: Iterable[str]) -> StreamName | None:
    """Return what a stream name asks for, or None when it is unknown or its symbol is not listed."""
    found = _NAME.match(name)
    if found is None:
        return None
    symbol = found["symbol"].upper()
    if symbol not in symbols:
        return None
    if found["interval"]:
        known = found["interval"] in INTERVALS
        return StreamName(symbol, "kline", found["interval"], pace_ms=KLINE_PACE_MS) if known else None
    if found["plain"]:
        pace = {"aggTrade": TRADE_PACE_MS, "bookTicker": 0, "ticker": TICKER_PACE_MS}[found["plain"]]
        return StreamName(symbol, found["plain"], pace_ms=pace)
    if "@markPrice" in name:
        return StreamName(symbol, "markPrice", pace_ms=1_000 if found["second"] else MARK_PACE_MS)
    pace = int(found["pace"] or DEPTH_PACE_MS)
    if found["levels"]:
        return StreamName(symbol, "depth", levels=int(found["levels"]), pace_ms=pace)
    return StreamName(symbol, "diff", pace_ms=pace)


@dataclass(slots=True)
class _Channel:
    name: str
    what: StreamName
    sockets: dict[Socket, None] = field(default_factory=dict)
    due_ms: int = 0
    dirty: bool = True
    trades: list[AggTrade] = field(default_factory=list)
    seen: tuple[object, ...] = ()
    changes: DepthMerge | None = None


class MarketStreams:
    """All public channels.

    Parameters
    ----------
    messages : MarketMessages
        Builds the payloads.
    symbols : tuple of str
        What is listed.
    """

    def __init__(self, messages: MarketMessages, symbols: tuple[str, ...]) -> None:
        self._messages = messages
        self._symbols = frozenset(symbols)
        self._channels: dict[str, _Channel] = {}
        self._of_symbol: dict[str, list[_Channel]] = {symbol: [] for symbol in symbols}

    def subscribe(self, socket: Socket, name: str) -> bool:
        """Add a reader to a channel. False when there is no such stream."""
        channel = self._channels.get(name)
        if channel is None:
            what = parse_stream(name, self._symbols)
            if what is None:
                return False
            channel = self._channels[name] = _Channel(name, what)
            if what.kind == "diff" and not any(c.what.kind == "diff" for c in self._of_symbol[what.symbol]):
                # changes are reported relative to now, so that the first message continues a fresh snapshot
                self._messages.depth_changes(what.symbol)
            self._of_symbol[what.symbol].append(channel)
        channel.sockets[socket] = None
        socket.streams[name] = None
        return True

    def unsubscribe(self, socket: Socket, name: str) -> None:
        """Remove a reader from a channel; an empty channel costs nothing."""
        socket.streams.pop(name, None)
        channel = self._channels.get(name)
        if channel is None:
            return
        channel.sockets.pop(socket, None)
        if not channel.sockets:
            del self._channels[name]
            self._of_symbol[channel.what.symbol].remove(channel)

    def forget(self, socket: Socket) -> None:
        """Remove a connection from all its channels."""
        for name in list(socket.streams):
            self.unsubscribe(socket, name)

    def on_book(self, symbol: str) -> None:
        """Note that a book changed."""
        for channel in self._of_symbol[symbol]:
            channel.dirty = True

    def on_trade(self, event: TradeEvent, agg: AggTrade, merged: bool) -> None:
        """Note a public trade and its aggregate; ``merged``: the aggregate was already noted."""
        for channel in self._of_symbol[event.symbol]:
            channel.dirty = True
            if channel.what.kind == "aggTrade" and not (merged and agg in channel.trades):
                channel.trades.append(agg)

    def on_bars(self, closed: Iterable[tuple[str, str, Bars]], now_ms: int) -> None:
        """Send each closed bar's final message at once."""
        for symbol, interval, bar in closed:
            channel = self._channels.get(f"{symbol.lower()}@kline_{interval}")
            if channel is not None:
                # trades of the closing bar come before its final message
                self._flush_trades(symbol, now_ms)
                payload = self._messages.kline(symbol, interval, bar, True, now_ms)
                broadcast(channel.sockets, channel.name, payload)
                channel.seen = ()

    def flush(self, now_ms: int, wall_ms: int) -> None:
        """Send what is due. ``now_ms`` is market time, ``wall_ms`` the wall clock."""
        for symbol, channels in self._of_symbol.items():
            if not channels:
                continue
            self._collect_changes(symbol, channels)
            for channel in channels:
                if wall_ms >= channel.due_ms:
                    payloads = self._due(channel, now_ms)
                    if payloads:
                        channel.due_ms = wall_ms + channel.what.pace_ms
                    for payload in payloads:
                        broadcast(channel.sockets, channel.name, payload)

    def _due(self, channel: _Channel, now_ms: int) -> list[str]:
        what = channel.what
        if what.kind == "markPrice":
            mark = self._messages.mark(what.symbol, now_ms)
            return [] if mark is None else [mark]
        if what.kind == "ticker":
            return [self._messages.ticker(what.symbol, now_ms)]
        if not channel.dirty:
            return []
        channel.dirty = False
        if what.kind == "kline":
            bar = self._messages.open_bar(what.symbol, what.interval)
            return [] if bar is None or self._seen(channel, bar.tolist()) else [
                self._messages.kline(what.symbol, what.interval, bar, False, now_ms)
            ]  # fmt: skip
        if what.kind == "aggTrade":
            trades, channel.trades = channel.trades, []
            return [self._messages.agg_trade(trade, now_ms) for trade in trades]
        if what.kind == "depth":
            return [self._messages.depth(what.symbol, what.levels, now_ms)]
        if what.kind == "diff":
            changes, channel.changes = channel.changes, None
            return [] if changes is None else [self._messages.diff(what.symbol, changes, now_ms)]
        top = self._messages.top(what.symbol)
        return [] if top is None or self._seen(channel, top) else [self._messages.book_ticker(what.symbol, top, now_ms)]

    @staticmethod
    def _seen(channel: _Channel, facts: tuple[object, ...]) -> bool:
        if facts == channel.seen:
            return True
        channel.seen = facts
        return False

    def _flush_trades(self, symbol: str, now_ms: int) -> None:
        channel = self._channels.get(f"{symbol.lower()}@aggTrade")
        if channel is not None and channel.trades:
            trades, channel.trades = channel.trades, []
            for trade in trades:
                broadcast(channel.sockets, channel.name, self._messages.agg_trade(trade, now_ms))

    def _collect_changes(self, symbol: str, channels: list[_Channel]) -> None:
        if not any(channel.what.kind == "diff" and channel.dirty for channel in channels):
            return
        changes = self._messages.depth_changes(symbol)
        if changes is None:
            return
        for channel in channels:
            if channel.what.kind != "diff":
                continue
            merged = channel.changes
            if merged is None:
                channel.changes = DepthMerge(
                    changes.first_update_id, changes.last_update_id, changes.previous_update_id,
                    dict(changes.bids), dict(changes.asks),
                )  # fmt: skip
            else:
                merged.last_update_id = changes.last_update_id
                merged.bids.update(changes.bids)
                merged.asks.update(changes.asks)
