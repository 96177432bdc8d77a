"""Keeping one stream alive: connect, watch its pulse, end it when dead, reconnect, renew it before its day ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import ccxt

from engine.domain import StreamState
from engine.errors import VenueError
from engine.venues.aster_client import AsterClient
from engine.venues.health import StreamWatch
from engine.venues.troubles import plain

MARKET_SILENCE_S = 10.0  # a market connection this quiet is dead: every symbol ticks several times a second
ACCOUNT_SILENCE_S = 20.0  # an account may be quiet for days, but pings are answered every five seconds
NEWS_WITHIN_S = 5.0  # what we did to an order must be told by the account's stream within this time
CONNECT_WITHIN_S = 15.0
LONGEST_LIFE_S = 23 * 3600.0  # the venue closes at 24 h; better at a moment of our own choosing
RECONNECT_S = (0.25, 0.5, 1.0, 2.0, 5.0)
STABLE_S = 30.0


class StreamKeeper:
    """Keeps one connection of a client up for as long as ``keep`` runs.

    Parameters
    ----------
    name : str
        ``market`` or ``account``.
    client : AsterClient
        Its only connection is the one kept.
    events : asyncio.Queue
        Hears of the stream going down.
    on_fault : callable (sentence)
    silence_s : callable
        Returns how long the stream may give no sign of life, seconds.
    """

    def __init__(
        self,
        name: str,
        client: AsterClient,
        events: asyncio.Queue[Any],
        on_fault: Callable[[str], None],
        silence_s: Callable[[], float],
    ) -> None:
        self.watch = StreamWatch(name)
        self._client, self._events, self._on_fault, self._silence_s = client, events, on_fault, silence_s
        self._tried_s = time.monotonic()

    async def keep(self, connect: Callable[[], Awaitable[None]]) -> None:
        """Hold the connection up until cancelled; ``connect`` returns, or raises, when it is lost."""
        watchdog = asyncio.create_task(self._watch_pulse())
        attempt = 0
        try:
            while True:
                began = self._tried_s = time.monotonic()
                reason = await self._until_lost(connect)
                self.watch.lost(reason)
                self._events.put_nowait(StreamState(self.watch.name, False, reason, time.time_ns()))
                self._on_fault(f"{self.watch.name} stream lost: {reason}")
                attempt = 0 if time.monotonic() - began > STABLE_S else min(attempt + 1, len(RECONNECT_S) - 1)
                await asyncio.sleep(RECONNECT_S[attempt])
        finally:
            watchdog.cancel()

    async def _until_lost(self, connect: Callable[[], Awaitable[None]]) -> str:
        try:
            await self._client.drop_connections()
            await connect()
            return "connection ended"
        except ccxt.BaseError as error:
            return f"{type(error).__name__}: {plain(error)}"
        except VenueError as trouble:
            return str(trouble)

    async def _watch_pulse(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._silence_s() / 4))
            reason = self._why_end()
            if reason is not None:
                self._tried_s = time.monotonic()
                self._client.end_connections(reason)

    def _why_end(self) -> str | None:
        watch = self.watch
        if not watch.up:
            hangs = time.monotonic() - self._tried_s > CONNECT_WITHIN_S
            return f"no connection within {CONNECT_WITHIN_S:.0f} s" if hangs else None
        if watch.name == "account":
            watch.pulse(self._client.pong_age_s())
        if watch.age_s > self._silence_s():
            return f"no message for {self._silence_s():.0f} s"
        if watch.owed_s > NEWS_WITHIN_S:
            return f"an order changed and the stream told nothing of it within {NEWS_WITHIN_S:.0f} s"
        if watch.life_s > LONGEST_LIFE_S:
            return "renewed before the venue ends it after 24 h"
        return None
