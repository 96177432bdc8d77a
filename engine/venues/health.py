"""What is known of the connection itself: the clocks' difference, each stream's pulse, and gaps in what it brought."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.domain import NS_PER_S

WARN_SKEW_S = 2.0
SUSPEND_SKEW_S = 5.0  # half of the ten seconds within which the venue's documents want a nonce
TRUSTED_ROUND_TRIP_S = 2.0  # a slower answer does not tell when within it the venue read its clock
MISSING_KEPT = 20_000  # of a longer gap the newest are asked for
BACKFILL_AFTER_S = 2.0  # a number that is late by less has only been overtaken
BACKFILL_AGAIN_S = 5.0
LARGE_GAP = 50  # trades; a smaller gap is counted without an incident


class ClockWatch:
    """The venue's clock minus ours, measured by asking it and halving the round trip."""

    def __init__(self) -> None:
        self.skew_ms = math.nan
        self.checked_ns = 0
        self.suspect = False  # a nonce was refused: measure now

    def note(self, venue_ms: float, sent_s: float, received_s: float) -> bool:
        """Take one measurement; return False when it says too little.

        Parameters
        ----------
        venue_ms : float
            The venue's time, ms.
        sent_s, received_s : float
            Our wall clock when the question left and when the answer came, seconds.
        """
        if not 0.0 <= received_s - sent_s <= TRUSTED_ROUND_TRIP_S:
            return False
        self.skew_ms = venue_ms - (sent_s + received_s) / 2 * 1e3
        self.checked_ns = int(received_s * NS_PER_S)
        self.suspect = False
        return True

    @property
    def ok(self) -> bool:
        """Whether the clocks agree well enough to go unmentioned; an unmeasured one is not known to be wrong."""
        return not abs(self.skew_ms) > WARN_SKEW_S * 1e3

    def warning(self) -> str | None:
        """Return a sentence when the clocks drift apart but trading may go on."""
        if self.ok or self.suspended() is not None:
            return None
        return (
            f"This machine's clock differs from the venue's by {-self.skew_ms / 1e3:+.1f} s; up to "
            f"{WARN_SKEW_S:.0f} s is normal and trading is suspended at {SUSPEND_SKEW_S:.0f} s. Synchronise it (NTP)."
        )

    def suspended(self) -> str | None:
        """Return why no new risk may be taken, or None."""
        if not abs(self.skew_ms) > SUSPEND_SKEW_S * 1e3:
            return None
        return (
            f"This machine's clock differs from the venue's by {-self.skew_ms / 1e3:+.1f} s, more than the "
            f"{SUSPEND_SKEW_S:.0f} s at which signatures are still safe: only reducing orders are sent. Synchronise it "
            "(NTP); trading goes on by itself once they agree."
        )

    def report(self) -> dict[str, Any]:
        """Return the newest measurement; None where there is none."""
        known = not math.isnan(self.skew_ms)
        return {
            "skew_ms": round(self.skew_ms, 1) if known else None, "ok": self.ok,
            "checked_ns": self.checked_ns if known else None,
        }  # fmt: skip


@dataclass(slots=True)
class StreamWatch:
    """One stream's pulse.

    Parameters
    ----------
    name : str
    now : callable
        Monotonic clock, seconds.
    """

    name: str
    now: Callable[[], float] = time.monotonic
    up: bool = False
    reconnects: int = 0
    gaps: int = 0
    last_reason: str = ""
    messages: int = 0
    _heard_s: float = math.nan
    _connected_s: float = math.nan
    _owed_s: float = math.nan

    def connected(self) -> None:
        """Note a connection that has just come up."""
        if self.last_reason:
            self.reconnects += 1
        self.up = True
        self._heard_s = self._connected_s = self.now()
        self._owed_s = math.nan

    def lost(self, reason: str) -> None:
        """Note that the connection is gone."""
        self.up, self.last_reason = False, reason
        self._owed_s = math.nan

    def heard(self) -> None:
        """Note a message."""
        self.messages += 1
        self._heard_s = self.now()
        self._owed_s = math.nan

    def pulse(self, age_s: float) -> None:
        """Note that the other end answered a ping ``age_s`` seconds ago."""
        heard = self.now() - age_s
        self._heard_s = heard if math.isnan(self._heard_s) else max(self._heard_s, heard)

    def owe(self) -> None:
        """Note that the venue has just done something that this stream must tell of."""
        if self.up and math.isnan(self._owed_s):
            self._owed_s = self.now()

    @property
    def age_s(self) -> float:
        """Seconds since the other end last gave a sign of life; NaN before the first."""
        return self.now() - self._heard_s

    @property
    def owed_s(self) -> float:
        """Seconds for which news has been due; 0 when none is."""
        return 0.0 if math.isnan(self._owed_s) else self.now() - self._owed_s

    @property
    def life_s(self) -> float:
        """Seconds since the connection came up; 0 when it is down."""
        return self.now() - self._connected_s if self.up else 0.0

    def report(self) -> dict[str, Any]:
        """Return the stream's state for the screen."""
        return {
            "name": self.name, "up": self.up, "age_s": None if math.isnan(self.age_s) else round(self.age_s, 3),
            "reconnects": self.reconnects, "gaps": self.gaps, "last_reason": self.last_reason,
        }  # fmt: skip


class TradeGap(NamedTuple):
    """Numbers of market trades that never came: ``first`` to ``last``, both missing."""

    symbol: str
    first: int
    last: int


class TradeSequence:
    """Market trades are numbered by symbol without holes, so a hole is a loss and a number seen twice a repetition.

    Parameters
    ----------
    on_gap : callable (sentence)
        Hears of a loss of ``LARGE_GAP`` trades or more.
    now : callable
        Monotonic clock, seconds.
    """

    def __init__(self, on_gap: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._on_gap, self._now = on_gap, now
        self._due_s: dict[str, float] = {}  # when a symbol's missing trades may be asked for
        self._last: dict[str, int] = {}
        self._missing: dict[str, dict[int, None]] = {}  # a dict keeps their order, so that the oldest can be dropped
        self._fresh: set[str] = set()
        self.lost = 0  # and not fetched since
        self.gaps = 0
        self.repeated = 0
        self.fetched = 0

    def reconnected(self) -> None:
        """Note a new connection: its first numbers may begin anew, on a venue that was restarted."""
        self._fresh = set(self._last)

    def accept(self, symbol: str, number: int) -> bool:
        """Return whether a trade is new; count what is missing before it."""
        last = self._last.get(symbol)
        missing = self._missing.setdefault(symbol, {})
        fresh = symbol in self._fresh
        self._fresh.discard(symbol)
        if last is None or (fresh and number <= last and number not in missing):
            self._last[symbol] = number
            missing.clear()
            self._due_s.pop(symbol, None)
            return True
        if number > last:
            if number > last + 1:
                self._note_gap(symbol, last + 1, number - 1)
            self._last[symbol] = number
            return True
        if number in missing:  # late, not lost
            del missing[number]
            self.lost -= 1
            if not missing:
                self.gaps -= 1
            return True
        self.repeated += 1
        return False

    def _note_gap(self, symbol: str, first: int, last: int) -> None:
        n_lost = last - first + 1
        self.gaps += 1
        self.lost += n_lost
        self._due_s.setdefault(symbol, self._now() + BACKFILL_AFTER_S)
        missing = self._missing[symbol]
        missing.update(dict.fromkeys(range(max(first, last - MISSING_KEPT + 1), last + 1)))
        while len(missing) > MISSING_KEPT:
            del missing[next(iter(missing))]
        if n_lost >= LARGE_GAP:
            self._on_gap(f"{symbol}: {n_lost} market trades were lost (numbers {first} to {last})")

    def due(self) -> list[TradeGap]:
        """Return what is missing for longer than being overtaken explains, oldest first in each symbol."""
        now, gaps = self._now(), []
        for symbol in [symbol for symbol, due_s in self._due_s.items() if due_s <= now]:
            numbers = sorted(self._missing[symbol])
            if not numbers:
                del self._due_s[symbol]
                continue
            first = last = numbers[0]
            for number in numbers[1:]:
                if number != last + 1:
                    gaps.append(TradeGap(symbol, first, last))
                    first = number
                last = number
            gaps.append(TradeGap(symbol, first, last))
        return gaps

    def fill(self, symbol: str, number: int) -> bool:
        """Return whether a trade that was fetched is one that is missing; it is so only once."""
        missing = self._missing.get(symbol, {})
        if number not in missing:
            return False
        del missing[number]
        self.lost -= 1
        self.fetched += 1
        return True

    def settle(self, gap: TradeGap) -> int:
        """Forget what the venue could not give either; return how many those are. They stay counted as lost."""
        missing = self._missing[gap.symbol]
        left = [number for number in missing if gap.first <= number <= gap.last]
        for number in left:
            del missing[number]
        return len(left)

    def ask_later(self) -> None:
        """Put off what is due: the venue could not be asked."""
        now = self._now()
        self._due_s = {s: now + BACKFILL_AGAIN_S if due_s <= now else due_s for s, due_s in self._due_s.items()}
