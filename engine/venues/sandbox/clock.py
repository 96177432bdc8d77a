"""Two clocks: the wall, for signatures and limits, and the market's, which may run faster."""

from __future__ import annotations

import time


class MarketClock:
    """Market time = start + (wall - wall at start) * speed.

    Parameters
    ----------
    start_ms : int
        First market time, ms since the epoch.
    speed : float
        Market milliseconds per wall millisecond.
    """

    def __init__(self, start_ms: int, speed: float) -> None:
        self.start_ms = start_ms
        self.speed = speed
        self._origin = time.monotonic()

    def restart(self, start_ms: int) -> None:
        """Let market time be ``start_ms`` now."""
        self.start_ms = start_ms
        self._origin = time.monotonic()

    def pace(self, speed: float, now_ms: int) -> None:
        """Run at another speed from ``now_ms`` on."""
        self.speed = speed
        self.restart(now_ms)

    def now_ms(self) -> int:
        """Return the market's time, ms."""
        return self.start_ms + int((time.monotonic() - self._origin) * 1000.0 * self.speed)


def wall_ms() -> int:
    """Return the wall clock, ms since the epoch."""
    return time.time_ns() // 1_000_000


def wall_us() -> int:
    """Return the wall clock, microseconds since the epoch."""
    return time.time_ns() // 1_000
