"""What the engine does about its connection: measures clocks, fetches what was missed, tells when trading pauses."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import structlog

from engine.domain import NS_PER_S
from engine.errors import VenueError
from engine.runtime.loop import Loop
from engine.runtime.market import Hole
from engine.venues.aster import KLINES_PER_CALL, AsterVenue
from engine.venues.budget import Priority, using
from engine.venues.health import LARGE_GAP

log = structlog.get_logger("connection")

CLOCK_EVERY_S = 30.0
CLOCK_IN_DOUBT_EVERY_S = 2.0
COMPARE_AGAIN_S = 6.0  # one comparison weighs about 80 of the 2400 a minute


class Connection:
    """Upkeep of the connection; ``tick`` is called every second.

    Parameters
    ----------
    venue : AsterVenue
    loop : Loop
        Its market state says which candles are missing; its incidents tell a person.
    """

    def __init__(self, venue: AsterVenue, loop: Loop) -> None:
        self._venue, self._loop = venue, loop
        self._clock_due_s = 0.0
        self._told: str | None = None
        self._warned = False
        self._caught_up = 0  # reconnects after which the newest candles were asked for
        venue.gate.on_nonce_refused = self._doubt_clock
        loop.suspended = venue.suspended

    async def tick(self) -> None:
        """Do what is due."""
        self.tell()
        await asyncio.gather(
            self.measure_clock(), self.fetch_newest(), self.fetch_missed(), self.fetch_tape(), self.compare_again()
        )

    def _doubt_clock(self) -> None:
        self._venue.clock.suspect = True

    async def measure_clock(self) -> None:
        """Compare the clocks when it is due: every half minute, every two seconds while they disagree."""
        clock, now = self._venue.clock, time.monotonic()
        if now < self._clock_due_s and not clock.suspect:
            return
        self._clock_due_s = now + CLOCK_IN_DOUBT_EVERY_S
        try:
            measured = await self._venue.measure_clock()
        except VenueError as trouble:
            log.info("clock not measured", reason=str(trouble))
            return
        if measured and clock.ok:
            self._clock_due_s = time.monotonic() + CLOCK_EVERY_S
        self.tell()

    def tell(self) -> None:
        """Make an incident of each beginning and each end of a suspension, and of a drifting clock."""
        clock, reason = self._venue.clock, self._venue.suspended()
        if reason is not None and self._told is None:
            if self._venue.gate.suspended() is None:  # a ban is told by the gate, with its end
                self._loop.incident("error", "clock", reason)
        elif reason is None and self._told is not None:
            self._loop.incident(
                "warning", "connection", "New risk is allowed again: the ban or the clock's error is over."
            )
            if self._loop.phase == "trading":  # a comparison that failed meanwhile would hold new risk back
                self._loop.executor.spawn(self._loop.reconcile())
        self._told = reason
        warning = clock.warning()
        if warning is not None and not self._warned:
            self._loop.incident("warning", "clock", warning)
        self._warned = warning is not None

    async def compare_again(self) -> None:
        """Compare the books sooner than the schedule would while they hold new risk back."""
        last = self._loop.reconciler.last
        if self._loop.phase != "trading" or last is None or last.ok or self._venue.suspended() is not None:
            return
        if self._loop.clock.now() - last.ts > COMPARE_AGAIN_S * NS_PER_S:
            await self._loop.reconcile()

    async def fetch_newest(self) -> None:
        """Ask, after a reconnect, for the bar that closed meanwhile, so that its decision is late and not left out.

        No stream tells of it any more: without asking, an outage over the close of a long bar would cost a decision.
        """
        watch, loop = self._venue.market.watch, self._loop
        reconnects = watch.reconnects
        if not watch.up or reconnects == self._caught_up or loop.phase != "trading":
            return
        interval = loop.config.decision_interval
        try:
            pages = await asyncio.gather(*(self._venue.history(s, interval, 2) for s in loop.config.symbols))
        except VenueError as trouble:
            log.info("newest candles not fetched", reason=str(trouble))
            return  # tried again in a second
        self._caught_up = reconnects
        for page in pages:
            for bar in page:
                if bar.is_closed:
                    loop.on_market(bar._replace(ts_received=loop.clock.now()))

    async def fetch_missed(self) -> None:
        """Fetch the candles that a lost connection swallowed, and keep them."""
        holes, self._loop.market.holes = self._loop.market.holes, []
        fetched: Counter[str] = Counter()
        for index, hole in enumerate(holes):
            try:
                fetched[hole.interval] += await self._fetch(hole)
            except VenueError as trouble:
                log.info("candles not fetched", reason=str(trouble))
                self._loop.market.holes += holes[index:]  # tried again in a second
                break
        self._venue.market.watch.gaps += sum(1 for n in fetched.values() if n)
        if +fetched:
            parts = ", ".join(f"{n} of {interval}" for interval, n in sorted(fetched.items()))
            self._loop.incident("warning", "market", f"Candles were missed and have been fetched: {parts}.")

    async def _fetch(self, hole: Hole) -> int:
        wanted = min(hole.n_bars, KLINES_PER_CALL)
        bars = await self._venue.history(hole.symbol, hole.interval, wanted, end_ns=hole.end_ns - 1)
        missed = [bar for bar in bars if hole.start_ns <= bar.ts_open < hole.end_ns]
        self._loop.journal.bars(missed)
        return len(missed)

    async def fetch_tape(self) -> None:
        """Fetch the market trades that a lost connection swallowed, as far as the venue still offers them."""
        trades = self._venue.trades
        fetched: Counter[str] = Counter()
        gone: Counter[str] = Counter()
        for gap in trades.due():
            try:
                with using(Priority.UI):  # the tape is for the record: whatever trades goes first
                    missed = await self._venue.missed_trades(gap)
            except VenueError as trouble:
                log.info("market trades not fetched", reason=str(trouble))
                trades.ask_later()
                break
            for trade in missed:
                self._loop.journal.tick(trade)
            fetched[gap.symbol] += len(missed)
            gone[gap.symbol] += trades.settle(gap)
        if fetched.total() + gone.total() >= LARGE_GAP:
            parts = ", ".join(f"{n} of {symbol}" for symbol, n in sorted((+fetched).items())) or "none"
            rest = ", ".join(f"{n} of {symbol}" for symbol, n in sorted((+gone).items()))
            left = f"; the venue no longer offers {rest}, which stay missing on the record" if rest else ""
            self._loop.incident("warning", "market", f"Market trades were missed. Fetched since: {parts}{left}.")

    def report(self) -> dict[str, Any]:
        """Return the answer to ``health``."""
        return self._venue.health()
