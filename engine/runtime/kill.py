"""The kill switch: pause entries, cancel all, flatten, halt. It is durable before it acts and survives a restart."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import structlog

from engine.domain import KillLevel, OrderSpec, OrderType, OrderUpdate, Purpose, Side, Tif, TradingState
from engine.errors import CommandRefused, VenueError
from engine.execution.orders import Order
from engine.execution.planner import tradable_qty
from engine.runtime.executor import Executor
from engine.runtime.worker import Worker
from engine.venues.budget import Priority, using
from storage.database import Database, StorageError

log = structlog.get_logger("kill")

RETRY_S = 0.5
LONGEST_RETRY_S = 3.0
FLATTEN_GIVE_UP_S = 600.0
GONE_EVERY_S = 0.05


class KillSwitch:
    """Holds the level and carries it out.

    Parameters
    ----------
    executor, worker : the only paths by which orders leave.
    store : Database
        Keeps the level over restarts.
    """

    def __init__(self, executor: Executor, worker: Worker, store: Database) -> None:
        self._executor, self._worker, self._store = executor, worker, store
        kept = store.recall("kill", {})
        self.level = KillLevel(kept.get("level", 0))
        self.reason: str | None = kept.get("reason")
        self._flattening: asyncio.Task[None] | None = None
        self._clearing: asyncio.Task[None] | None = None
        self.last_flatten_s = math.nan

    def trading_state(self) -> TradingState:
        """Return what the level allows."""
        if self.level == KillLevel.HALT:
            return TradingState.HALTED
        return TradingState.RUNNING if self.level == KillLevel.NONE else TradingState.REDUCE_ONLY

    async def press(self, level: KillLevel, reason: str, actor: str) -> dict[str, Any]:
        """Raise the level and act on it. Pressing it again, or a milder level, repeats the action and lowers nothing.

        Returns
        -------
        dict
            ``kill_level``, ``accepted_ns`` and ``cancels_sent_ms``: milliseconds until every cancel was answered.
        """
        began = time.monotonic()
        accepted_ns = self._executor.now()
        self.level = max(self.level, level)
        self.reason = reason
        self._executor.kill_epoch += 1
        try:
            await asyncio.wrap_future(self._store.remember("kill", {"level": int(self.level), "reason": reason}))
            self._store.audit(actor, "kill", {"level": level.name, "reason": reason})
        except StorageError as error:  # a full disk must not keep the switch from working
            log.error("kill level not recorded", reason=str(error))
        log.warning("kill switch", level=level.name, reason=reason, actor=actor)
        self._worker.parents.pause_all(f"kill switch: {reason}")
        if self.level >= KillLevel.CANCEL:
            await self.cancel_entries()
        cancels_ms = (time.monotonic() - began) * 1e3
        self._see_through()
        return {"kill_level": int(self.level), "accepted_ns": accepted_ns, "cancels_sent_ms": round(cancels_ms, 1)}

    async def resume(self, confirm: str, actor: str) -> dict[str, Any]:
        """Lower the level to NONE. After HALT a person must type RESUME."""
        if self.level == KillLevel.HALT and confirm != "RESUME":
            raise CommandRefused(
                f"Trading is halted ({self.reason}) and {confirm!r} was typed: type RESUME to re-arm it."
            )
        if self._flattening is not None and not self._flattening.done():
            held = ", ".join(self._executor.account.open_positions()) or "orders only"
            raise CommandRefused(
                f"The book is still being flattened ({held}). Resume when it is flat: the status says since when it is."
            )
        await asyncio.wrap_future(self._store.remember("kill", {"level": 0, "reason": None}))
        self._store.audit(actor, "resume", {"from": self.level.name})
        self.level, self.reason = KillLevel.NONE, None
        self._worker.suspended = False
        return {"kill_level": 0}

    def take_up(self) -> None:
        """Carry on, after a restart, with what the stored level demands."""
        if self.level >= KillLevel.CANCEL:
            self._executor.spawn(self.cancel_entries())
        self._see_through()

    def _see_through(self) -> None:
        """Go on in the background until the venue itself shows what the level promises: one cancel may get lost."""
        if self.level >= KillLevel.FLATTEN:
            self.flatten_in_background()
        elif self.level == KillLevel.CANCEL and (self._clearing is None or self._clearing.done()):
            with using(Priority.URGENT):
                self._clearing = asyncio.ensure_future(self._clear())

    async def cancel_entries(self) -> None:
        """End parents, forget every target and cancel every order that is not a protective stop."""
        self._worker.parents.stop_all(f"kill switch: {self.reason or 'entries are cancelled'}")
        self._worker.clear()
        await self._executor.cancel_all(self._entries())

    def flatten_in_background(self) -> None:
        """Close every position with reduce-only orders and retry until the venue shows none."""
        if self._flattening is None or self._flattening.done():
            with using(Priority.URGENT):  # the task keeps it: neither breaker nor budget holds flattening back
                self._flattening = asyncio.ensure_future(self._flatten())

    async def _clear(self) -> None:
        """Cancel until neither we nor the venue know an entry order."""
        began, pause_s = time.monotonic(), RETRY_S
        while self.level == KillLevel.CANCEL and time.monotonic() - began < FLATTEN_GIVE_UP_S:
            try:
                orders, _, _ = await self._executor.venue.snapshot()
                if await self._no_entry(orders):
                    return
                await self.cancel_entries()
            except (VenueError, StorageError) as trouble:
                log.warning("cancel all retries", reason=str(trouble))
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LONGEST_RETRY_S)
        if self.level == KillLevel.CANCEL:
            self._executor.publish("fault", (
                f"Cancel all: after {FLATTEN_GIVE_UP_S:.0f} s the venue still shows orders besides protective stops, "
                "or does not answer. Cancel them on the venue's own site, or press flatten."
            ))  # fmt: skip

    def _entries(self) -> list[Order]:
        return [order for order in self._executor.open_orders() if order.spec.purpose != Purpose.PROTECT]

    async def _no_entry(self, orders: list[OrderUpdate]) -> bool:
        """Return whether a snapshot's orders, and ours, are protective stops only.

        An order that nobody here made is adopted, to be cancelled with the rest. One of ours that the snapshot lacks is
        asked about: its end may have got lost, or it is in doubt and may still arrive.
        """
        executor = self._executor
        stops = {order.client_id for order in executor.open_orders(purpose=Purpose.PROTECT)}
        at_venue = {o.client_id: o for o in orders if not o.close_position and o.client_id not in stops}
        for client_id, update in at_venue.items():
            if not executor.knows(client_id):
                executor.on_order(update)
        await asyncio.gather(*(executor.doubts.ask(o) for o in self._entries() if o.client_id not in at_venue))
        return not at_venue and not self._entries()

    async def _flatten(self) -> None:
        executor = self._executor
        self._worker.suspended = True
        began, pause_s = time.monotonic(), RETRY_S
        while time.monotonic() - began < FLATTEN_GIVE_UP_S:
            try:
                await self.cancel_entries()
                await self.close_positions()
                if await self._verified_flat() and await self._stops_gone():
                    self.last_flatten_s = time.monotonic() - began
                    self._record_time_to_flat()
                    log.warning("flat", seconds=round(self.last_flatten_s, 3))
                    return
            except (VenueError, CommandRefused, StorageError) as trouble:
                log.warning("flatten retries", reason=str(trouble))
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.2, LONGEST_RETRY_S)
        held = ", ".join(f"{p.qty:g} {s}" for s, p in executor.account.open_positions().items()) or "orders"
        executor.publish("fault", (
            f"Flatten: after {FLATTEN_GIVE_UP_S:.0f} s there is still {held}, and an empty book was wanted. Close the "
            "rest on the venue's own site; nothing new is opened here."
        ))  # fmt: skip

    async def _stops_gone(self) -> bool:
        """Cancel the stops of a book that is flat; return whether they are gone a moment later."""
        executor = self._executor
        stops = executor.open_orders(purpose=Purpose.PROTECT)
        await executor.cancel_all(stops)
        deadline = time.monotonic() + RETRY_S
        while stops and time.monotonic() < deadline:
            await asyncio.sleep(GONE_EVERY_S)
            stops = executor.open_orders(purpose=Purpose.PROTECT)
        return not stops

    def _record_time_to_flat(self) -> None:
        row = {"ts": self._executor.now(), "name": "time_to_flat_s", "value": self.last_flatten_s}
        self._store.append("metrics", [row | {"labels": self.level.name}])

    async def close_positions(self) -> None:
        """Send one reduce-only order for every open position that has none working."""
        executor = self._executor
        closing = []
        for symbol, position in executor.account.open_positions().items():
            busy = executor.awaits_fill(symbol) or executor.open_orders(symbol, Purpose.FLATTEN)
            top = executor.market.tops.get(symbol)
            if busy or top is None:
                continue
            qty = tradable_qty(-position.qty, position.qty, top, executor.instruments[symbol])
            if qty > 0:
                side = Side.SELL if position.qty > 0 else Side.BUY
                closing.append(executor.place(closing_order(symbol, side, qty)))
        await asyncio.gather(*closing)

    async def _verified_flat(self) -> bool:
        executor = self._executor
        if executor.account.open_positions():
            return False
        orders, positions, _ = await executor.venue.snapshot()
        for report in positions:
            executor.account.adopt(report)
        return await self._no_entry(orders) and not positions


def closing_order(symbol: str, side: Side, qty: float) -> OrderSpec:
    """Return the order that takes ``qty``, base units, off a position at the market, whoever holds which part of it."""
    return OrderSpec(
        symbol, int(side), OrderType.MARKET.value, qty, math.nan, math.nan, Tif.GTC.value, True, False,
        Purpose.FLATTEN.value,
    )  # fmt: skip
