"""Public candles and funding rates of the big perpetual venues, through ccxt: asked for page by page, without a key."""

from __future__ import annotations

import asyncio
import difflib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import aiohttp
import ccxt
import ccxt.async_support

from engine.domain import INTERVAL_S
from engine.errors import DataError, Unreachable
from engine.venues.aster_client import AsterClient, client_config
from engine.venues.budget import Priority, using
from engine.venues.troubles import plain

T = TypeVar("T")
Candle = tuple[int, float, float, float, float, float]  # open time ms, open, high, low, close, volume
Rate = tuple[int, float]  # settlement ms, fraction
Told = Callable[[str], None]

TRIES = 5
UNMET_TRIES = 2
"""Of a venue that has not answered once, not even with a refusal: there is no network, and a person waits."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
FIRST_TIMEOUT_MS = 10_000  # of the first request: most of what is not there is known by then
TIMEOUT_MS = 20_000
MINUTE_MS = 60_000
LONGEST_SCHEDULE_MS = 8 * 3_600_000  # between two settlements
NO_CONNECTION = (aiohttp.ClientConnectionError, socket.gaierror)
BLOCKED = re.compile(r"\b(451|403)\b")


class PublicVenue(NamedTuple):
    """What must be known of a venue to page through its history."""

    name: str  # for people
    ccxt_id: str
    candles: int  # most in one answer
    rates: int
    paging: str = "forward"  # of rates: forward from a time, or back from the newest by "after" or "pageNo"
    needs_until: bool = False  # without an end it answers with the newest bars
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed
    note: str = ""  # what it does not keep


VENUES: dict[str, PublicVenue] = {
    "aster": PublicVenue("Aster", "aster", 1500, 1000),
    "binance": PublicVenue(
        "Binance USDT-M", "binanceusdm", 1500, 1000, options={"fetchMarkets": {"types": ["linear"]}}
    ),
    "bybit": PublicVenue(
        "Bybit", "bybit", 1000, 200, needs_until=True, options={"fetchMarkets": {"types": ["linear"]}}
    ),
    "okx": PublicVenue(
        "OKX", "okx", 300, 100, paging="after", options={"fetchMarkets": {"types": ["swap"]}},
        note="keeps funding rates of the last three months",
    ),
    "bitget": PublicVenue(
        "Bitget", "bitget", 200, 100, paging="pageNo", options={"fetchMarkets": {"types": ["swap"]}},
        note="keeps minute candles of about the last month",
    ),
    "hyperliquid": PublicVenue(
        "Hyperliquid", "hyperliquid", 5000, 500, options={"fetchMarkets": {"types": ["swap"]}},
        note="keeps the newest 5,000 candles of each interval",
    ),
}  # fmt: skip
"""Venues by the name that a request uses."""


class PublicData:
    """One connection to a venue's public history.

    Parameters
    ----------
    venue : PublicVenue
    client : ccxt exchange
        Keeps to the venue's rate limit; of Aster through the engine's own budget of request weight.
    pause : callable
        Waits between tries, seconds.
    told : callable
        Called with a sentence before each wait that a person would wonder about.
    """

    def __init__(
        self, venue: PublicVenue, client: Any, pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        told: Told = lambda said: None,
    ) -> None:  # fmt: skip
        self.venue, self._client, self._pause, self._told = venue, client, pause, told
        self._met = False  # whether the venue has answered once
        self._rate_window_ms = (venue.rates - 1) * LONGEST_SCHEDULE_MS

    async def listed(self, symbol: str) -> str:
        """Return ccxt's name of a linear perpetual: ``BTCUSDT``, the venue's own id or ``BTC/USDT:USDT`` finds it.

        Raises
        ------
        DataError
            The venue does not list it, with the most similar names that it lists.
        """
        if not self._met:
            self._told(f"asking {self.venue.name} what it lists")
        markets = await self._asked(self._client.load_markets)
        wanted = symbol.upper()
        names: dict[str, str] = {}
        for market in markets.values():
            if market.get("swap") and market.get("linear"):
                short = f"{market['base']}{market['quote']}"
                for alias in (short, str(market["id"]).upper(), market["symbol"].upper()):
                    names.setdefault(alias, market["symbol"])
        if wanted in names:
            return names[wanted]
        near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise DataError(
            f"{self.venue.name} does not list {symbol} as a linear perpetual.{hint} It lists {len(set(names.values()))}"
        )

    def first_listed_ms(self, name: str) -> int:
        """Return when a market began, ms, or 0 where the venue does not say. After ``listed``."""
        return int(self._client.market(name).get("created") or 0)

    def check_interval(self, interval: str) -> None:
        """Refuse an interval that the venue or the engine does not have."""
        known = [name for name in INTERVAL_S if name in (self._client.timeframes or {})]
        if interval not in known:
            raise DataError(f"{self.venue.name} has no candles of {interval!r}; expected of {', '.join(known)}")

    async def candles(self, name: str, interval: str, since_ms: int, until_ms: int) -> tuple[list[Candle], int]:
        """Return closed candles from ``since_ms`` on, as many as one answer holds, and where to go on, ms.

        An answer without candles means a stretch without any: it is passed over.
        """
        step = INTERVAL_S[interval] * 1000
        window_end = since_ms + self.venue.candles * step
        params = {"until": min(window_end, until_ms) - 1} if self.venue.needs_until else {}
        rows = await self._bars(name, interval, since_ms, params)
        if len(rows) >= self.venue.candles and rows[0][0] > since_ms:
            # a window with both its ends is one bar longer than an answer, and the oldest bar is the one that is lost
            rows = await self._bars(name, interval, since_ms, {"until": int(rows[0][0]) - 1}) + rows
        kept: list[Candle] = [
            (int(row[0]), float(row[1]), float(row[2]), float(row[3]), float(row[4]), float(row[5] or 0.0))
            for row in rows if since_ms <= row[0] and row[0] + step <= until_ms
        ]  # fmt: skip
        if kept:
            return kept, kept[-1][0] + step
        later = any(row[0] >= since_ms for row in rows)  # only bars beyond the end: there is nothing before it
        return [], until_ms if later else window_end

    async def _bars(self, name: str, interval: str, since_ms: int, params: dict[str, int]) -> list[list[float]]:
        raw = await self._asked(
            self._client.fetch_ohlcv, name, interval, since=since_ms, limit=self.venue.candles, params=params
        )
        return [row for _, row in sorted({int(row[0]): row for row in raw}.items())]

    async def rates(self, name: str, since_ms: int, until_ms: int) -> tuple[list[Rate], int]:
        """Return funding rates from ``since_ms`` on, as many as one answer holds, and where to go on, ms."""
        if self.venue.paging != "forward":
            found = [rate async for rate in self._back(name, since_ms) if since_ms <= rate[0] < until_ms]
            return sorted(set(found)), until_ms
        limit = self.venue.rates
        if self.venue.needs_until:
            return await self._window(name, since_ms, until_ms)
        raw = await self._asked(self._client.fetch_funding_rate_history, name, since=since_ms, limit=limit)
        rows = sorted((int(row["timestamp"]), float(row["fundingRate"])) for row in raw)
        kept = [row for row in rows if since_ms <= row[0] < until_ms]
        if kept:
            return kept, kept[-1][0] + 1
        if any(row[0] >= until_ms for row in rows):
            return [], until_ms
        return [], since_ms + limit * 3_600_000  # what the shortest schedule could have filled

    async def _window(self, name: str, since_ms: int, until_ms: int) -> tuple[list[Rate], int]:
        """Return the rates of a window. A full answer may have lost its oldest rows, so a shorter window is asked."""
        limit = self.venue.rates
        while True:
            last = min(since_ms + self._rate_window_ms, until_ms) - 1
            raw = await self._asked(
                self._client.fetch_funding_rate_history, name, since=since_ms, limit=limit, params={"until": last}
            )
            if len(raw) < limit or self._rate_window_ms <= MINUTE_MS:
                rows = sorted((int(row["timestamp"]), float(row["fundingRate"])) for row in raw)
                return [row for row in rows if since_ms <= row[0] <= last], last + 1
            self._rate_window_ms //= 2

    async def _back(self, name: str, since_ms: int) -> AsyncIterator[Rate]:
        """Yield rates from the newest back, for venues that know no other direction."""
        page, oldest = 1, None
        while True:
            cursor = {"pageNo": page} if self.venue.paging == "pageNo" else {"after": oldest} if oldest else {}
            raw = await self._asked(
                self._client.fetch_funding_rate_history, name, limit=self.venue.rates, params=cursor
            )  # fmt: skip
            rows = [(int(row["timestamp"]), float(row["fundingRate"])) for row in raw]
            for row in rows:
                yield row
            first = min((row[0] for row in rows), default=since_ms)
            if first <= since_ms or (oldest is not None and first >= oldest):
                return
            page, oldest = page + 1, first

    async def _asked(self, call: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Ask, and again after a pause when the trouble may pass."""
        tried, pauses = 0, list(_pauses())
        while True:
            tried += 1
            try:
                found = await self._answer(call, *args, **kwargs)
            except Unreachable as error:
                tries = TRIES if self._met else UNMET_TRIES
                if tried >= tries:
                    raise Unreachable(self._advice(str(error), tried)) from error
                pause_s = pauses[tried - 1]
                self._told(f"{self.venue.name} gave no answer ({error}); try {tried + 1} of {tries} in {pause_s:g} s")
                await self._pause(pause_s)
            else:
                self._met = True
                return found

    async def _answer(self, call: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Ask once. Raises Unreachable when the trouble may pass, DataError when it will not."""
        try:
            with using(Priority.UI):
                return await call(*args, **kwargs)
        except ccxt.OperationFailed as error:
            if BLOCKED.search(str(error)) and not isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection):
                raise DataError(
                    f"{self.venue.name} refuses requests from this place ({plain(error)}). Choose another venue"
                ) from error
            self._met |= not _unanswered(error)
            raise Unreachable(_reason(error)) from error
        except ccxt.BaseError as error:
            raise DataError(f"{self.venue.name} refused the request: {plain(error)}") from error
        finally:
            self._client.timeout = TIMEOUT_MS

    def _advice(self, reason: str, tries: int) -> str:
        went = f"did not answer {tries} times, the last time with" if self._met else "cannot be reached"
        return (
            f"{self.venue.name} {went}: {reason}. Check the network, or set HTTPS_PROXY. What was downloaded is kept: "
            "start the same download again, and it goes on from there."
        )


def _unanswered(error: Exception) -> bool:
    """Return whether an error says that nothing came back at all."""
    return isinstance(error, ccxt.RequestTimeout) or isinstance(error.__cause__, NO_CONNECTION)


def _reason(error: Exception) -> str:
    """Return what went wrong. Of a failed connection ccxt's own text has the address only, its cause the reason."""
    cause = error.__cause__
    if isinstance(cause, NO_CONNECTION) and str(cause):
        return str(cause)
    return "no answer in time" if isinstance(error, ccxt.RequestTimeout) else plain(error)


def _pauses() -> Iterator[float]:
    return (min(FIRST_PAUSE_S * 3**i, LONGEST_PAUSE_S) for i in range(TRIES - 1))


def venue_named(name: str) -> PublicVenue:
    """Return a venue of ``VENUES``, or refuse with the nearest name."""
    if name in VENUES:
        return VENUES[name]
    near = difflib.get_close_matches(name.lower(), VENUES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise DataError(f"venue {name!r} is unknown; expected of {', '.join(VENUES)}{hint}")


@asynccontextmanager
async def public_data(
    name: str, base_url: str | None = None, told: Told = lambda said: None
) -> AsyncIterator[PublicData]:
    """Open a venue's public history.

    Parameters
    ----------
    name : str
        Of ``VENUES``.
    base_url : str or None
        Another server that speaks the venue's protocol, such as the practice exchange for ``aster``.
    told : callable
        Called with a sentence before each wait.
    """
    venue = venue_named(name)
    client = _aster(base_url) if venue.ccxt_id == "aster" else _stock(venue, base_url)
    client.timeout = FIRST_TIMEOUT_MS
    try:
        yield PublicData(venue, client, told=told)
    finally:
        await client.close()


def _aster(base_url: str | None) -> Any:
    root = base_url.rstrip("/") if base_url else None
    socket = re.sub(r"^http", "ws", root) if root else None
    config = client_config(private_key=None, base_url=root, ws_url=socket)
    return AsterClient(config | {"timeout": TIMEOUT_MS}, lambda event, payload: None, lambda sentence: None)


def _stock(venue: PublicVenue, base_url: str | None) -> Any:
    config = {"enableRateLimit": True, "timeout": TIMEOUT_MS, "aiohttp_trust_env": True,
              "options": {"defaultType": "swap", **venue.options}}  # fmt: skip
    client = getattr(ccxt.async_support, venue.ccxt_id)(config)
    client.has["fetchCurrencies"] = False  # coins and networks are not asked for: some of them need a key
    if base_url:
        client.urls["api"] = _moved(client.urls["api"], base_url.rstrip("/"), client.hostname)
    return client


def _moved(urls: Any, base_url: str, hostname: str | None) -> Any:
    """Return the same paths below another server."""
    if isinstance(urls, dict):
        return {name: _moved(url, base_url, hostname) for name, url in urls.items()}
    return re.sub(r"^https?://[^/]+", base_url, str(urls).replace("{hostname}", hostname or ""))
