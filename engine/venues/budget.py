"""One budget of request weight for the whole process, as the venue counts it: 2400 in each minute, whoever asks.

Trading comes before reconciliation and data, and those before the screen and backfills: each class may fill the minute
only up to its own share, so the classes above it always find room. Two different limits need two different tools:

* Weight is counted by the venue in fixed minutes and reported on every reply. A leaky bucket (aiolimiter) cannot follow
  such a count, nor does it know classes, so ``WeightBudget`` keeps the venue's own window.
* New orders are limited over 10 s and 1 min without a running report. There a leaky bucket fits exactly: with half the
  allowance as burst and half as rate it stays below the limit in every window, wherever the venue's windows begin.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from typing import Any

from aiolimiter import AsyncLimiter

from engine.errors import Unreachable

LIMIT_PER_MINUTE = 2400
WINDOW_S = 60.0
ORDERS_PER_10_S = 300


class Priority(IntEnum):
    """Who asks. A smaller number goes first."""

    URGENT = 0  # cancels, reduce-only orders, the kill switch: never kept waiting
    TRADING = 1
    DATA = 2  # reconciliation and market data that decisions need
    UI = 3  # the screen and backfills


SHARE: dict[Priority, float] = {
    Priority.URGENT: 1.0,
    Priority.TRADING: 0.95,
    Priority.DATA: 0.80,
    Priority.UI: 0.50,
}
"""How much of the minute may be used up before a class has to wait."""

PATIENCE_S: dict[Priority, float] = {Priority.TRADING: 2.0, Priority.DATA: 65.0, Priority.UI: 130.0}
"""How long a class waits before it gives up; an order that waits longer was meant for another market."""

_asking: ContextVar[Priority] = ContextVar("asking", default=Priority.DATA)


@contextmanager
def using(priority: Priority) -> Iterator[None]:
    """Have the requests made inside count for a class; an order or a cancel keeps its own."""
    token = _asking.set(priority)
    try:
        yield
    finally:
        _asking.reset(token)


def asking() -> Priority:
    """Return the class in whose name requests are made now."""
    return _asking.get()


# weights -------------------------------------------------------------------------------------------------------------

_WEIGHTS: dict[tuple[str, str], int] = {
    ("GET", "aggTrades"): 20, ("GET", "historicalTrades"): 20, ("GET", "income"): 30, ("GET", "commissionRate"): 20,
    ("GET", "multiAssetsMargin"): 30, ("GET", "positionSide/dual"): 30, ("GET", "balance"): 5,
    ("GET", "positionRisk"): 5, ("GET", "account"): 5, ("GET", "accountWithJoinMargin"): 5, ("GET", "allOrders"): 5,
    ("POST", "batchOrders"): 5, ("GET", "userTrades"): 5, ("POST", "countdownCancelAll"): 10,
}  # fmt: skip
_BY_SYMBOL: dict[str, tuple[int, int]] = {"openOrders": (1, 40), "ticker/24hr": (1, 40), "ticker/price": (1, 2)}
_BY_DEPTH = ((50, 2), (100, 5), (500, 10), (1000, 20))
_BY_CANDLES = ((99, 1), (499, 2), (1000, 5), (1500, 10))


def request_weight(method: str, path: str, params: Mapping[str, Any]) -> int:
    """Return what the venue charges for a request.

    Parameters
    ----------
    method : str
    path : str
        Below the version, such as ``klines``.
    params : mapping
    """
    if path in _BY_SYMBOL:
        one, every = _BY_SYMBOL[path]
        return one if params.get("symbol") else every
    if path == "depth":
        return _stepped(_BY_DEPTH, int(params.get("limit") or 500))
    if path.lower().endswith("klines"):
        return _stepped(_BY_CANDLES, int(params.get("limit") or 500))
    return _WEIGHTS.get((method, path), 1)


def _stepped(steps: tuple[tuple[int, int], ...], size: int) -> int:
    return next((weight for largest, weight in steps if size <= largest), steps[-1][1])


# the budget ----------------------------------------------------------------------------------------------------------


class WeightBudget:
    """The weight used in the venue's present minute, and who waits for the next one.

    Parameters
    ----------
    limit : int
        Weight per minute.
    now : callable
        Wall clock, seconds; the venue's windows follow it.
    """

    def __init__(self, limit: int = LIMIT_PER_MINUTE, now: Callable[[], float] = time.time) -> None:
        self.limit = limit
        self._now = now
        self._window = -1
        self._shift_s = 0.0  # how much later than our minute the venue's begins
        self.used = 0
        self.by: dict[Priority, int] = dict.fromkeys(Priority, 0)
        self._reported = 0
        self._waiting: list[tuple[Priority, int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._orders = AsyncLimiter(ORDERS_PER_10_S / 2, 10.0)

    async def acquire(self, priority: Priority, weight: int) -> None:
        """Take weight out of the minute, waiting for the next one when the class has used up its share.

        Raises
        ------
        Unreachable
            The wait would be longer than the class has patience for. Nothing was sent.
        """
        self._turn()
        if priority == Priority.URGENT or self._fits(priority, weight):
            self._take(priority, weight)
            return
        patience = PATIENCE_S[priority]
        if self.next_minute_s() > patience:
            raise Unreachable(self._exhausted(priority))
        freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._order), weight, freed))
        self._set_timer()
        try:
            await asyncio.wait_for(freed, patience)
        except TimeoutError:
            raise Unreachable(self._exhausted(priority)) from None

    async def acquire_order(self) -> None:
        """Take one of the new orders that the venue allows in ten seconds.

        Raises
        ------
        Unreachable
            Too many were sent just now; this one would be too late.
        """
        try:
            await asyncio.wait_for(self._orders.acquire(), PATIENCE_S[Priority.TRADING])
        except TimeoutError:
            raise Unreachable(
                f"Nothing was sent: the venue takes {ORDERS_PER_10_S} new orders in 10 s and that many are on their "
                "way. The order may be tried again in a few seconds."
            ) from None

    def learn(self, reported: int) -> None:
        """Take over the venue's own count, which includes what other programs on this address used.

        Parameters
        ----------
        reported : int
            ``X-MBX-USED-WEIGHT-1M`` of a reply.
        """
        self._turn()
        if reported < self._reported // 2 and reported < self.used // 2:
            # its minute began anew while ours goes on: from here on follow its beginning
            self._shift_s = self._now() % WINDOW_S
            self._window = self._window_now()
            self._begin()
            self.used = reported
        self._reported = reported
        self.used = max(self.used, reported)

    def next_minute_s(self) -> float:
        """Return the seconds until the venue counts anew."""
        return WINDOW_S - (self._now() - self._shift_s) % WINDOW_S

    def report(self) -> dict[str, Any]:
        """Return what is used of what, and by whom, in this minute."""
        self._turn()
        trading = self.by[Priority.URGENT] + self.by[Priority.TRADING]
        by = {"trading": trading, "data": self.by[Priority.DATA], "ui": self.by[Priority.UI]}
        return {"used": self.used, "limit": self.limit, "by": by}

    def _fits(self, priority: Priority, weight: int) -> bool:
        return self.used + weight <= self.limit * SHARE[priority]

    def _take(self, priority: Priority, weight: int) -> None:
        self.used += weight
        self.by[priority] += weight

    def _exhausted(self, priority: Priority) -> str:
        share = int(self.limit * SHARE[priority])
        return (
            f"Nothing was sent: {self.used} of the {share} request weight that {priority.name.lower()} may use in a "
            f"minute is used up. The venue counts anew in {self.next_minute_s():.0f} s."
        )

    def _window_now(self) -> int:
        return int((self._now() - self._shift_s) // WINDOW_S)

    def _turn(self) -> None:
        if self._window_now() != self._window:
            self._window = self._window_now()
            self._begin()

    def _begin(self) -> None:
        self.used = self._reported = 0
        self.by = dict.fromkeys(Priority, 0)

    def _set_timer(self) -> None:
        if self._timer is None or self._timer.cancelled():
            self._timer = asyncio.get_running_loop().call_later(min(self.next_minute_s(), 1.0) + 0.01, self._release)

    def _release(self) -> None:
        self._timer = None
        self._turn()
        while self._waiting:
            priority, _, weight, freed = self._waiting[0]
            if not freed.done():
                if not self._fits(priority, weight):
                    break  # whoever asks in the name of a lower class has even less room
                self._take(priority, weight)
                freed.set_result(None)
            heapq.heappop(self._waiting)
        if self._waiting:
            self._set_timer()
