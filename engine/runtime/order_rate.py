"""How many orders a minute may add risk: a loop that has gone wrong must not trade itself poor in fees."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from engine.domain import NS_PER_S
from engine.errors import CommandRefused

MINUTE_NS = 60 * NS_PER_S


class OrderRate:
    """Counts the orders of the last minute. What reduces a position is counted, and never refused."""

    def __init__(self) -> None:
        self._sent_ns: deque[int] = deque()

    def admit(self, symbol: str, reduces: bool, now_ns: int, limit: int) -> None:
        """Count an order that is about to be sent.

        Raises
        ------
        CommandRefused
            ``limit`` orders were sent within the last minute and this one adds risk.
        """
        n_sent = self.in_minute(now_ns)
        if not reduces and n_sent >= limit:
            raise CommandRefused(
                f"{symbol}: nothing was sent. {n_sent} orders went out within the last minute and "
                f"{limit} are allowed (max_orders_per_minute); orders that reduce a position still pass. Wait a "
                "minute, and look why there were so many."
            )
        self._sent_ns.append(now_ns)

    def sent_before(self, sent_ns: Iterable[int | None]) -> None:
        """Take up, after a restart, when orders went out; None for those that did not."""
        self._sent_ns.extend(sorted(ts for ts in sent_ns if ts))

    def in_minute(self, now_ns: int) -> int:
        """Return how many orders went out within the last minute."""
        while self._sent_ns and now_ns - self._sent_ns[0] >= MINUTE_NS:
            self._sent_ns.popleft()
        return len(self._sent_ns)
