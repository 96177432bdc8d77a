"""Candles for charts and warm-up: what the record already holds is not downloaded again."""

from __future__ import annotations

import asyncio

from engine.domain import INTERVAL_S, NS_PER_S, Bar
from engine.runtime.journal import Journal
from engine.venues.aster import AsterVenue
from storage.database import Database

OVERLAP_BARS = 5  # stored bars that are fetched again and must agree, or nothing stored is trusted


class History:
    """Past bars from the record, completed from the venue.

    Parameters
    ----------
    venue, store, journal :
        The engine's parts.
    is_wall_time : bool
        The market runs on the wall clock. A faster one has no clock here that says how many bars are missing, so
        everything is fetched.
    """

    def __init__(self, venue: AsterVenue, store: Database, journal: Journal, *, is_wall_time: bool) -> None:
        self._venue, self._store, self._journal = venue, store, journal
        self._is_wall_time = is_wall_time

    async def fetch(self, symbol: str, interval: str, n_bars: int, now_ns: int, end_ns: int | None = None) -> list[Bar]:
        """Return up to ``n_bars`` bars, oldest first, and keep the new ones. Without ``end_ns`` the last is open."""
        if end_ns is None and self._is_wall_time:
            stored = await asyncio.to_thread(self._stored, symbol, interval, n_bars)
            bars = await self._completed(symbol, interval, n_bars, stored, now_ns)
            if bars is not None:
                return bars
        bars = await self._venue.history(symbol, interval, n_bars, end_ns)
        self._journal.bars(bars)
        return bars

    async def _completed(
        self, symbol: str, interval: str, n_bars: int, stored: list[Bar], now_ns: int
    ) -> list[Bar] | None:
        """Return stored bars with the newest ones from the venue, or None when they do not join."""
        span = INTERVAL_S[interval] * NS_PER_S
        if not stored:
            return None
        missing = max((now_ns - stored[-1].ts_open) // span, 0)
        wanted = int(missing) + 2 + OVERLAP_BARS
        if wanted >= n_bars or len(stored) + missing + 1 < n_bars:
            return None
        tail = await self._venue.history(symbol, interval, wanted)
        known = {bar.ts_open: bar for bar in stored[-2 * OVERLAP_BARS :]}
        shared = [bar for bar in tail if bar.is_closed and bar.ts_open in known]
        if not shared or any(bar[2:8] != known[bar.ts_open][2:8] for bar in shared):
            return None
        self._journal.bars([bar for bar in tail if bar.ts_open > stored[-1].ts_open])
        return [*(bar for bar in stored if bar.ts_open < tail[0].ts_open), *tail][-n_bars:]

    def _stored(self, symbol: str, interval: str, n_bars: int) -> list[Bar]:
        """Return the newest stored bars without a gap, oldest first."""
        columns = "ts_open, open_px, high_px, low_px, close_px, volume"
        table = self._store.read(
            f"SELECT {columns} FROM bars WHERE symbol = ? AND interval = ? ORDER BY ts_open DESC LIMIT ?",
            [symbol, interval, n_bars],
        )
        rows = list(zip(*(table.column(name).to_pylist() for name in columns.split(", ")), strict=True))
        span = INTERVAL_S[interval] * NS_PER_S
        unbroken = next(
            (index for index in range(1, len(rows)) if rows[index - 1][0] - rows[index][0] != span), len(rows)
        )
        return [Bar(symbol, interval, *row) for row in reversed(rows[:unbroken])]
