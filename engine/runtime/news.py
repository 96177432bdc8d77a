"""Headlines of the feeds in the settings: fetched politely, kept with their scores, and judged by what prices did next.

The engine asks nobody but the addresses a person has entered: redirects are not followed. Headlines decide nothing
until their scores have gone with later returns beyond doubt; see ``models.sentiment``.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from engine.domain import NS_PER_DAY
from engine.errors import DataError
from engine.runtime.model_scores import BAR_NS, INTERVAL
from storage.errors import StorageError

if TYPE_CHECKING:
    from engine.runtime.engine import Engine
    from engine.runtime.model_host import ModelHost

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
LIMIT_S = 10.0  # for one feed, from the connection to the last byte
LIMIT_BYTES = 1_000_000
KEEP_LIMIT_S = 30.0
CHUNK = 65_536
OUTCOME_BARS = 24
"""A headline is judged by the return of the day after it was read."""

MOOD_NS = 2 * NS_PER_DAY
SHOWN = 60
JUDGED_NS = 365 * NS_PER_DAY


class Reader(Protocol):
    """What makes sense of headlines, as ``models.book.ModelBook`` does."""

    def read_feed(self, raw: bytes, feed: str, symbols: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return a feed's headlines as rows of table ``headlines``, without when they were fetched."""

    def judge_news(self, scored: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what scores were worth: ``correlation``, ``error``, ``n``, ``needed``, ``share`` and ``why``."""

    def moods(self, rows: list[dict[str, Any]], symbols: tuple[str, ...], ts_now: int) -> list[float | None]:
        """Return the newest mood of every symbol, in [-1, 1]; None without a headline."""


async def fetch(feed: str, limit_s: float = LIMIT_S, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """Return what lies at an address or in a file.

    Raises
    ------
    DataError
        Nothing came in time, too much came, or something else than the feed did.
    """
    if not feed.startswith(("http://", "https://")):
        return await asyncio.to_thread(_from_file, Path(feed).expanduser(), limit_bytes)
    patience = aiohttp.ClientTimeout(total=limit_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=patience) as session,
            session.get(feed, allow_redirects=False) as answer,
        ):
            if 300 <= answer.status < 400:
                where = answer.headers.get("Location", "elsewhere")
                raise DataError(f"{feed} sends on to {where}: enter that address instead, if you trust it")
            if answer.status != 200:
                raise DataError(f"{feed} answered {answer.status}")
            raw = bytearray()
            async for part in answer.content.iter_chunked(CHUNK):
                raw += part
                if len(raw) > limit_bytes:
                    raise DataError(f"{feed} is larger than {limit_bytes / 1e6:g} MB: it was not read")
            return bytes(raw)
    except TimeoutError:
        raise DataError(f"{feed} was not read within {limit_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise DataError(f"{feed} cannot be reached: {error}") from error


def _from_file(path: Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(limit_bytes + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > limit_bytes:
        raise DataError(f"{path} is larger than {limit_bytes / 1e6:g} MB: it was not read")
    return raw


class News:
    """Reads the feeds when they are due, keeps what is new, and answers ``models.news``.

    Parameters
    ----------
    engine : Engine
    reader : Reader
    host : ModelHost
        Is given the moods and what they count; its regular look at the models is when feeds are read.
    """

    def __init__(self, engine: Engine, reader: Reader, host: ModelHost) -> None:
        self._loop, self._store, self._reader = engine.loop, engine.store, reader
        self._read_at = -1e18  # monotonic, s
        self._task: asyncio.Task[None] | None = None
        self._known: set[str] | None = None
        self._keeping = threading.Lock()
        self._feeds: dict[str, dict[str, Any]] = {}
        self._worth: tuple[int, dict[str, Any]] | None = None
        host.on_notice, host.news = self.when_due, self.for_models
        self.questions: dict[str, Handler] = {"models.news": self._answer}
        self.orders: dict[str, Handler] = {}

    def when_due(self) -> None:
        """Begin to read the feeds if it is time; called every few seconds."""
        config = self._loop.config
        if not config.news_feeds or self._loop.phase != "trading" or (self._task and not self._task.done()):
            return
        if time.monotonic() - self._read_at >= 60.0 * config.news_every_minutes or set(config.news_feeds) - set(
            self._feeds
        ):
            self._read_at = time.monotonic()
            self._task = asyncio.get_running_loop().create_task(self.read(config.news_feeds))

    async def read(self, feeds: tuple[str, ...]) -> None:
        """Read every feed once; one that cannot be read says why and keeps nobody else waiting."""
        self._feeds = {feed: state for feed, state in self._feeds.items() if feed in feeds}
        await asyncio.gather(*(self._read(feed) for feed in feeds))

    async def _read(self, feed: str) -> None:
        before = self._feeds.get(feed, {})
        try:
            raw = await fetch(feed)
            rows = await asyncio.to_thread(self._reader.read_feed, raw, feed, self._loop.config.symbols)
            fresh = await asyncio.to_thread(self._keep, rows)
        except (DataError, StorageError, TimeoutError) as error:
            problem = str(error) if isinstance(error, DataError) else f"{feed} was read and not kept: {error}"
            if before.get("problem") != problem:
                self._loop.incident("warning", "news", problem)
            self._feeds[feed] = before | {"problem": problem}
            return
        self._feeds[feed] = {"ts_read": self._now(), "count": len(rows), "fresh": fresh, "problem": None}

    def _keep(self, rows: list[dict[str, Any]]) -> int:
        with self._keeping:  # feeds are read at the same time
            if self._known is None:
                self._known = {row["headline_id"] for row in self._store.rows("SELECT headline_id FROM headlines")}
            fresh = [row | {"ts_fetched": self._now()} for row in rows if row["headline_id"] not in self._known]
            if fresh:
                self._store.append_durable("headlines", fresh).result(KEEP_LIMIT_S)
            self._known |= {row["headline_id"] for row in fresh}  # not before they are kept: else they would be lost
            return len(fresh)

    def _now(self) -> int:
        """The market's time: a practice market may run faster than the clock."""
        return int(self._loop.market.ts_exchange or self._loop.clock.now())

    def for_models(self, symbols: tuple[str, ...]) -> dict[str, Any] | None:
        """Return the symbols' moods and what they count, None without feeds. Called in the models' thread."""
        if not self._loop.config.news_feeds:
            return None
        now = self._now()
        worth = self.worth(now)
        return {"mood": self._reader.moods(self._recent(now), symbols, now), "share": worth["share"]}

    def _recent(self, now: int) -> list[dict[str, Any]]:
        return self._store.rows(
            "SELECT * FROM headlines WHERE ts_fetched > ? AND ts_fetched <= ? ORDER BY ts_fetched DESC",
            [now - MOOD_NS, now],
        )

    def worth(self, now: int) -> dict[str, Any]:
        """Return what scores were worth so far, worked out once an hour of the market."""
        hour = now // BAR_NS
        if self._worth is None or self._worth[0] != hour:
            self._worth = hour, self._reader.judge_news(scored(self._store, now - JUDGED_NS))
        return self._worth[1]

    async def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(self._told)

    def _told(self) -> dict[str, Any]:
        now, config = self._now(), self._loop.config
        recent = self._recent(now)
        moods = self._reader.moods(recent, config.symbols, now)
        newest = self._store.rows(
            "SELECT * FROM headlines ORDER BY ts_fetched DESC, ts_published DESC LIMIT ?", [SHOWN]
        )
        return {
            "feeds": [{"feed": feed, "ts_read": None, "count": None, "problem": None} | self._feeds.get(feed, {})
                      for feed in config.news_feeds],
            "headlines": [row | {"symbols": json.loads(row["symbols"])} for row in newest],
            "moods": [{"symbol": symbol, "mood": mood} for symbol, mood in zip(config.symbols, moods, strict=True)],
            "every_minutes": config.news_every_minutes, **self.worth(now),
        }  # fmt: skip


def scored(store: Any, since_ns: int) -> list[dict[str, Any]]:
    """Return rows of ``score``, ``day`` and ``outcome``: the log return of the day after each headline was read.

    From the close of the hour in which it was read, so that nothing known before counts; a headline about the whole
    market is judged by the mean of the symbols.
    """
    return list(store.rows(
        "SELECT h.headline_id, any_value(h.score) AS score, any_value(h.ts_fetched) // ? AS day, "
        "avg(ln(b.close_px / a.close_px)) AS outcome FROM headlines h "
        "JOIN bars a ON a.interval = ? AND a.ts_open = h.ts_fetched // ? * ? "
        "AND (h.symbols = '[]' OR contains(h.symbols, '\"' || a.symbol || '\"')) "
        "JOIN bars b ON b.interval = a.interval AND b.symbol = a.symbol AND b.ts_open = a.ts_open + ? "
        "WHERE h.ts_fetched > ? AND h.score <> 0 AND a.close_px > 0 AND b.close_px > 0 GROUP BY h.headline_id",
        [NS_PER_DAY, INTERVAL, BAR_NS, BAR_NS, OUTCOME_BARS * BAR_NS, since_ns],
    ))  # fmt: skip
