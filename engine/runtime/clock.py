"""Wall time, behind the port Clock."""

from __future__ import annotations

import time


class WallClock:
    """The machine's clock."""

    def now(self) -> int:
        """Return nanoseconds since the epoch, UTC."""
        return time.time_ns()
