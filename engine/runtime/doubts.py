"""Doubt: orders without a trustworthy answer are looked up until word and fills agree; never sent again."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from engine.domain import NS_PER_S, Fill, OrderStatus
from engine.errors import VenueError
from engine.execution.orders import Order

if TYPE_CHECKING:
    from engine.runtime.executor import Executor

log = structlog.get_logger("doubts")

LOOKUP_EVERY_S = 1.0
SETTLE_S = 5.0  # "no such order" counts only this long after sending
NOT_FOUND_TWICE = 2
ACK_WITHIN_S = 5.0
FILL_WITHIN_S = 2.0
FILLS_BEFORE_S = 60.0  # clocks differ: fills are asked for from this long before the order was written
OPEN_QUESTION = frozenset({OrderStatus.UNKNOWN, OrderStatus.SENT})


class Doubts:
    """Asks the venue about orders in doubt and fills that are overdue.

    Parameters
    ----------
    executor : Executor
        Whose orders they are, and what hears of the answers.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._asking: set[str] = set()
        self.next_lookup_ns: dict[str, int] = {}
        self.fill_gaps: dict[str, int] = {}  # order said filled, fill not seen yet: client id -> since when

    def look_up(self, client_id: str) -> None:
        """Start asking about an order until its fate is known."""
        if client_id not in self._asking:
            self._asking.add(client_id)
            self._executor.spawn(self._until_known(client_id))

    def chase(self) -> None:
        """Ask about orders without an answer and fills that are overdue; called a few times a second."""
        executor = self._executor
        now = executor.now()
        for order in list(executor.orders.values()):
            late = order.status == OrderStatus.SENT and now - order.ts_sent > ACK_WITHIN_S * NS_PER_S
            if late or order.status == OrderStatus.UNKNOWN:
                self.look_up(order.client_id)
        for client_id, since in list(self.fill_gaps.items()):
            if now - since > FILL_WITHIN_S * NS_PER_S:
                self.fill_gaps[client_id] = now  # ask again after another pause
                executor.spawn(self._fetch_fills(client_id))

    async def _fetch_fills(self, client_id: str) -> None:
        executor = self._executor
        order = executor.known(client_id)
        with contextlib.suppress(VenueError):  # asked again after FILL_WITHIN_S
            for fill in await executor.venue.fills(order.spec.symbol, order.venue_order_id, client_id):
                executor.on_fill(fill)

    async def _until_known(self, client_id: str) -> None:
        executor = self._executor
        try:
            while (order := executor.orders.get(client_id)) is not None and order.status in OPEN_QUESTION:
                await self.ask(order)
                self.next_lookup_ns[client_id] = executor.now() + int(LOOKUP_EVERY_S * NS_PER_S)
                await asyncio.sleep(LOOKUP_EVERY_S)
        finally:
            self._asking.discard(client_id)
            self.next_lookup_ns.pop(client_id, None)

    async def ask(self, order: Order) -> str:
        """Ask the venue once about an order; return in a sentence what it said."""
        executor = self._executor
        try:
            update = await executor.venue.order(order.spec.symbol, order.client_id)
            if update is not None:
                await executor.catch_up(update)
                return f"The venue has it: {update.status}, {update.filled_qty:g} filled."
        except VenueError as trouble:  # a network error never counts as "not found"
            log.info("lookup failed", client_id=order.client_id, reason=str(trouble))
            return f"The venue could not be asked: {trouble}"
        return await self._not_found(order.client_id)

    async def _not_found(self, client_id: str) -> str:
        executor = self._executor
        current = executor.orders.get(client_id)
        if current is None or current.status not in OPEN_QUESTION:
            return "Its fate became known meanwhile."
        settled = executor.now() - (current.ts_sent or current.ts_intent) > SETTLE_S * NS_PER_S
        misses = current.not_found + (1 if settled else 0)
        executor.orders[client_id] = current = replace(current, not_found=misses)
        if misses < NOT_FOUND_TWICE:
            return "The venue does not know it; that counts only when it says so twice, after a pause."
        try:
            if await self._fills_speak_for(current):
                return "The venue does not know the order, but has fills that may be its own: still in doubt."
        except VenueError as trouble:
            return f"The fills could not be asked for: {trouble}"
        executor.give_up(client_id)
        return "The venue said twice that it has no such order, and no fill speaks for it."

    async def _fills_speak_for(self, order: Order) -> bool:
        """Return whether the venue holds fills in this symbol that may belong to the order in doubt."""
        executor = self._executor
        start_ns = executor.venue_ns((order.ts_intent or order.ts_sent) - int(FILLS_BEFORE_S * NS_PER_S))
        fills = await executor.venue.fills_since(order.spec.symbol, start_ns, executor.venue_ns(executor.now()))
        strange = [fill for fill in fills if not executor.has_seen(fill)]
        named = await self.named(strange)
        for fill in named:
            if fill.client_id:
                executor.on_fill(fill)
        return any(fill.client_id in ("", order.client_id) and fill.qty * order.spec.side > 0 for fill in named)

    async def named(self, fills: list[Fill]) -> list[Fill]:
        """Return fills with the ids of their orders; an order that nobody here knows is adopted in plain sight."""
        executor = self._executor
        ids: dict[str, str] = executor.client_ids_by_venue_id()
        found: list[Fill] = []
        for fill in fills:
            if fill.venue_order_id not in ids:
                update: Any = await executor.venue.order(fill.symbol, "", fill.venue_order_id)
                ids[fill.venue_order_id] = "" if update is None else update.client_id
                if update is not None:
                    executor.on_order(update)
            found.append(fill._replace(client_id=ids[fill.venue_order_id]))
        return found

    def row(self, order: Order) -> dict[str, Any]:
        """Return what a screen shows of an order in doubt: since when, and when the venue is asked next, ns."""
        if order.status != OrderStatus.UNKNOWN:
            return {"unknown_since_ns": None, "next_lookup_ns": None}
        since = order.unknown_since_ns or order.ts_sent or order.ts_intent
        return {"unknown_since_ns": since, "next_lookup_ns": self.next_lookup_ns.get(order.client_id)}
