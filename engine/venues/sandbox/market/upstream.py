"""Reading another server's public market: history over REST, live books, trades and marks over one WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import orjson
from aiolimiter import AsyncLimiter

from engine.errors import ConfigError, Unreachable
from engine.venues.sandbox.contracts import Contract
from engine.venues.sandbox.market.bars import Bars, empty_bars

ASTER_REST = "https://fapi.asterdex.com"
ASTER_STREAM = "wss://fstream.asterdex.com/stream"
_PAGE = 1_500
_PAGE_WEIGHT = 10  # what the venue counts for a full page of candles
_WEIGHT_PER_MINUTE = 2_000  # of the venue's 2400 an address may spend; the rest is for others
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
_REST_TIMEOUT_S = 10.0
_REST_TRIES = 4


class Address(NamedTuple):
    """Where a server answers: REST base (without /fapi) and the combined-stream URL."""

    rest: str
    stream: str


def parse_address(upstream: str | None) -> Address:
    """Return the addresses behind "REST_URL" or "REST_URL|STREAM_URL"; None means Aster.

    Without a stream URL, Aster's host gets Aster's stream, any other host `/fstream/stream` on itself.
    """
    if upstream is None:
        return Address(ASTER_REST, ASTER_STREAM)
    rest, _, stream = upstream.partition("|")
    parts = urlsplit(rest)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(f'the mirror needs an http(s) URL of the other server, got "{rest}"')
    base = rest.rstrip("/").removesuffix("/fapi")
    if not stream:
        scheme = "ws" if parts.scheme == "http" else "wss"
        stream = ASTER_STREAM if base == ASTER_REST else f"{scheme}://{parts.netloc}/fstream/stream"
    return Address(base, stream)


@dataclass
class Inbox:
    """What one symbol's streams said and the market has not used yet; levels are {tick: lots}."""

    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    trades: list[tuple[int, int, bool]] = field(default_factory=list)
    index_px: float = 0.0
    book_changed: bool = False


class Upstream:
    """A connection to another server's public data that repairs itself.

    Parameters
    ----------
    address : Address
    contracts : dict of str to Contract
        Symbols to follow; upstream prices are rounded to these ticks and lots.

    Attributes
    ----------
    inboxes : dict of str to Inbox
    n_messages : int
        Market messages received so far; a count that stands still means that the other side is silent.
    """

    def __init__(self, address: Address, contracts: dict[str, Contract]) -> None:
        self.address = address
        self.contracts = contracts
        self.inboxes = {symbol: Inbox() for symbol in contracts}
        self.n_messages = 0
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._weight = AsyncLimiter(_WEIGHT_PER_MINUTE, 60.0)

    async def open(self) -> None:
        """Make the HTTP session; call before any request."""
        host = urlsplit(self.address.rest).hostname or ""
        timeout = aiohttp.ClientTimeout(total=_REST_TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout, trust_env=host not in ("127.0.0.1", "localhost"))

    def follow(self) -> None:
        """Start reading the streams in the background."""
        self._task = asyncio.create_task(self._keep_reading(), name="mirror-upstream")

    async def close(self) -> None:
        """Stop reading and close the session."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, **query: Any) -> Any:
        """Return the JSON answer of GET /fapi/v3/`path`, retrying what may heal.

        Raises
        ------
        Unreachable
            If the server did not give a usable answer after four tries.
        """
        if self._session is None:
            raise Unreachable("the mirror's session is not open")
        problem, pause_s = "", _FIRST_PAUSE_S
        for attempt in range(_REST_TRIES):
            try:
                async with self._session.get(f"{self.address.rest}/fapi/v3/{path}", params=query) as reply:
                    body = await reply.read()
                    if reply.status == 200:
                        return orjson.loads(body)
                    problem = f"HTTP {reply.status}: {body[:120].decode(errors='replace')}"
            except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
                problem = f"{type(error).__name__}: {error}"
            if attempt < _REST_TRIES - 1:
                await asyncio.sleep(pause_s)
                pause_s *= 2
        raise Unreachable(f"{self.address.rest} did not answer {path}: {problem}")

    async def klines(self, symbol: str, interval: str, end_ms: int, n: int) -> Bars:
        """Return the last `n` bars that closed at or before `end_ms`, oldest first, fewer if there are fewer."""
        pages: list[Bars] = []
        last_ms = end_ms - 1
        while n > 0:
            await self._weight.acquire(_PAGE_WEIGHT)
            rows = await self.get("klines", symbol=symbol, interval=interval, endTime=last_ms, limit=min(n, _PAGE))
            rows = [row for row in rows if int(row[6]) < end_ms]
            if not rows:
                break
            pages.append(_bars(rows))
            n -= len(rows)
            last_ms = int(rows[0][0]) - 1
        return np.concatenate(pages[::-1]) if pages else empty_bars()

    async def _keep_reading(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            before = self.n_messages
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                await self._read_connection()
            pause_s = _FIRST_PAUSE_S if self.n_messages > before else min(2 * pause_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _read_connection(self) -> None:
        names = [
            f"{symbol.lower()}@{kind}"
            for symbol in self.contracts
            for kind in ("depth20", "bookTicker", "aggTrade", "markPrice@1s")
        ]
        session = self._session
        if session is None:
            return
        url = f"{self.address.stream}?streams={'/'.join(names)}"
        async with session.ws_connect(url, heartbeat=20.0, max_msg_size=1 << 22) as socket:
            async for message in socket:
                if message.type == aiohttp.WSMsgType.TEXT:
                    self.accept(message.data)

    def accept(self, text: str | bytes) -> None:
        """Take one message, wrapped or bare; what is not one of the four kinds, or malformed, is passed over."""
        try:
            payload = orjson.loads(text)
            payload = payload.get("data", payload)
            inbox = self.inboxes.get(payload.get("s", ""))
            if inbox is None:
                return
            _FILERS[payload["e"]](inbox, self.contracts[payload["s"]], payload)
        except (KeyError, ValueError, TypeError, AttributeError):
            return
        self.n_messages += 1


def _file_depth(inbox: Inbox, contract: Contract, payload: dict[str, Any]) -> None:
    inbox.bids, inbox.asks = _levels(contract, payload["b"]), _levels(contract, payload["a"])
    _uncross(inbox)


def _file_top(inbox: Inbox, contract: Contract, payload: dict[str, Any]) -> None:
    bid, ask = contract.nearest_tick(float(payload["b"])), contract.nearest_tick(float(payload["a"]))
    inbox.bids = {tick: lots for tick, lots in inbox.bids.items() if tick < bid}
    inbox.asks = {tick: lots for tick, lots in inbox.asks.items() if tick > ask}
    inbox.bids[bid] = contract.nearest_lots(float(payload["B"]))
    inbox.asks[ask] = contract.nearest_lots(float(payload["A"]))
    _uncross(inbox)


def _file_trade(inbox: Inbox, contract: Contract, payload: dict[str, Any]) -> None:
    lots = max(1, contract.nearest_lots(float(payload["q"])))
    inbox.trades.append((contract.nearest_tick(float(payload["p"])), lots, bool(payload["m"])))


def _file_mark(inbox: Inbox, contract: Contract, payload: dict[str, Any]) -> None:
    del contract
    inbox.index_px = float(payload.get("i") or payload["p"])


def _levels(contract: Contract, rows: list[list[str]]) -> dict[int, int]:
    levels = ((contract.nearest_tick(float(px)), contract.nearest_lots(float(qty))) for px, qty in rows)
    return {tick: lots for tick, lots in levels if lots > 0}


def _uncross(inbox: Inbox) -> None:
    # Rounding to coarser ticks can make the two sides meet; the bids give way.
    if inbox.asks:
        ask = min(inbox.asks)
        inbox.bids = {tick: lots for tick, lots in inbox.bids.items() if tick < ask}
    inbox.book_changed = True


def _bars(rows: list[list[Any]]) -> Bars:
    bars = empty_bars(len(rows))
    for i, row in enumerate(rows):
        bars[i] = (int(row[0]), *(float(x) for x in row[1:6]), float(row[7]), int(row[8]), float(row[9]))
    return bars


_FILERS = {"depthUpdate": _file_depth, "bookTicker": _file_top, "aggTrade": _file_trade, "markPriceUpdate": _file_mark}
