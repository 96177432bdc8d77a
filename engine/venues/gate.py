"""The door through which every REST request leaves: bans, breakers, order rate and weight, in that order.

While the venue has banned this address nothing at all is sent, because each request would lengthen the ban.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import ccxt

from engine.domain import NS_PER_S
from engine.errors import Unreachable
from engine.venues.breakers import Breakers
from engine.venues.budget import PATIENCE_S, Priority, WeightBudget, asking, request_weight

BAN_WITHOUT_END_S = 120.0  # the venue's shortest ban, taken when it does not say how long
SLOW_DOWN_S = 10.0  # after a 429 that does not say how long
NONCE_CODES = ("-1021", "-4225")


@dataclass(frozen=True, slots=True)
class Request:
    """What the door must know of one request."""

    group: str
    weight: int
    priority: Priority
    places: bool  # counts against the new orders allowed


def classify(api: str, method: str, path: str, params: Mapping[str, Any]) -> Request:
    """Return group, weight and class of a request.

    Parameters
    ----------
    api : str
        ccxt's name, such as ``fapiPrivate``.
    method, path : str
        ``path`` with its version, such as ``v3/order``.
    params : mapping
    """
    name = path.split("/", 1)[-1]
    weight = request_weight(method, name, params)
    if name == "listenKey":
        return Request("stream", weight, Priority.TRADING, False)
    if not api.endswith("Private"):
        return Request("market", weight, asking(), False)
    if method == "GET":
        look_up = name in ("order", "openOrder")  # what became of an order is part of trading it
        own = min(Priority.TRADING, asking()) if look_up else asking()
        return Request("account", weight, own, False)
    reduces = str(params.get("reduceOnly")).lower() == "true" or str(params.get("closePosition")).lower() == "true"
    urgent = method == "DELETE" or name == "countdownCancelAll" or reduces or asking() == Priority.URGENT
    places = method == "POST" and name in ("order", "batchOrders")
    return Request("orders", weight, Priority.URGENT if urgent else Priority.TRADING, places)


class Gate:
    """Lets requests out and learns from their answers.

    Parameters
    ----------
    on_fault : callable (sentence)
        Hears of bans, of breakers that open and close, and of limits reached.
    wall : callable
        Wall clock, seconds.
    """

    def __init__(self, on_fault: Callable[[str], None], wall: Callable[[], float] = time.time) -> None:
        self._on_fault, self._wall = on_fault, wall
        self.budget = WeightBudget(now=wall)
        self.breakers = Breakers(on_fault)
        self.banned_until_s = 0.0
        self.slow_until_s = 0.0
        self.skew_s = 0.0  # the venue's clock minus ours; its ban text is in its own time
        self.on_nonce_refused: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def passing(self, api: str, method: str, path: str, params: Mapping[str, Any]) -> AsyncIterator[None]:
        """Hold one request back until it may leave, and note what became of it.

        Raises
        ------
        Unreachable
            It may not leave now; the sentence says why and until when. Nothing was sent.
        """
        request = classify(api, method, path, params)
        urgent = request.priority == Priority.URGENT
        self._refuse_banned()
        breaker = self.breakers[request.group]
        breaker.admit(urgent)
        try:
            await self._slowed(request.priority)
            if request.places and not urgent:
                await self.budget.acquire_order()
            await self.budget.acquire(request.priority, request.weight)
            self._refuse_banned()  # it may have come while this one waited
            yield
        except (ccxt.RateLimitExceeded, ccxt.DDoSProtection):
            breaker.abandoned()  # the venue is alive and said so; ``answered`` has noted until when
            raise
        except ccxt.InvalidNonce:
            breaker.succeeded()
            self.on_nonce_refused()
            raise
        except ccxt.OperationFailed as error:
            breaker.failed(_kind(error))
            raise
        except ccxt.BaseError as error:
            breaker.succeeded()
            if any(code in str(error) for code in NONCE_CODES):
                self.on_nonce_refused()
            raise
        except BaseException:
            breaker.abandoned()
            raise
        breaker.succeeded()

    def answered(self, status: int, headers: Mapping[str, str], body: str) -> None:
        """Learn from one answer: the weight used, a limit reached, a ban."""
        lower = {name.lower(): value for name, value in headers.items()}
        if (used := lower.get("x-mbx-used-weight-1m", "")).isdigit():
            self.budget.learn(int(used))
        if status not in (418, 429):
            return
        until = re.search(r"banned until (\d{13})", body)
        retry_after = lower.get("retry-after", "")
        after_s = float(retry_after) if retry_after.replace(".", "", 1).isdigit() else None
        if until is not None:
            self._ban(int(until.group(1)) / 1e3 - self.skew_s)
        elif status == 418:
            self._ban(self._wall() + (after_s or BAN_WITHOUT_END_S))
        else:
            self._slow_down(self._wall() + (after_s or SLOW_DOWN_S))

    def suspended(self) -> str | None:
        """Return why no order may be sent now, or None."""
        if self._wall() >= self.banned_until_s:
            return None
        return (
            f"The venue has banned this address until {clock_text(self.banned_until_s)} for too many requests. Nothing "
            "is sent until then; trading goes on by itself afterwards. Find what else uses this address."
        )

    @property
    def ban_until_ns(self) -> int | None:
        """When the ban ends, or None when there is none."""
        return int(self.banned_until_s * NS_PER_S) if self._wall() < self.banned_until_s else None

    def _refuse_banned(self) -> None:
        if (reason := self.suspended()) is not None:
            raise Unreachable(reason)

    async def _slowed(self, priority: Priority) -> None:
        """Wait as long as a 429 asked for, or refuse when that is longer than the class has patience for."""
        wait_s = self.slow_until_s - self._wall()
        if priority == Priority.URGENT or wait_s <= 0:
            return
        if wait_s > PATIENCE_S[priority]:
            raise Unreachable(
                f"Nothing was sent: the venue answered 429 and asked to wait until {clock_text(self.slow_until_s)}. "
                "It is tried again after that; cancels and reducing orders are still sent."
            )
        await asyncio.sleep(wait_s)

    def _ban(self, until_s: float) -> None:
        new = self._wall() >= self.banned_until_s
        self.banned_until_s = max(self.banned_until_s, until_s)
        reason = self.suspended()
        if new and reason is not None:
            self._on_fault(reason)

    def _slow_down(self, until_s: float) -> None:
        new = self._wall() >= self.slow_until_s
        self.slow_until_s = max(self.slow_until_s, until_s)
        if new:
            self._on_fault(
                f"The venue answered 429, too many requests: new requests wait until {clock_text(self.slow_until_s)}, "
                f"cancels and reducing orders do not. Weight used: {self.budget.used} of {self.budget.limit}."
            )


def clock_text(moment_s: float) -> str:
    """Return a moment as a person reads it, UTC."""
    return datetime.fromtimestamp(moment_s, UTC).strftime("%H:%M:%S UTC")


def _kind(error: Exception) -> str:
    names = {
        ccxt.RequestTimeout: "no answer in time",
        ccxt.ExchangeNotAvailable: "not available",
        ccxt.NetworkError: "connection lost",
        ccxt.BadResponse: "unreadable answer",
    }
    return next((text for kind, text in names.items() if isinstance(error, kind)), type(error).__name__)
