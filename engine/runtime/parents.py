"""Parent orders at work: durable, looked at a few times a second, their children sent through the executor.

A parent's row says what is wanted and whether it may go on. What it has done is read from its children, which are
orders on the record like all others: an intent is durable before it is sent, and one in doubt is looked up, never sent
again. So a restart takes up where the venue stands, not where a counter stood.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import structlog

from engine.domain import NS_PER_S, BookTop, Purpose, TradingState
from engine.errors import CommandRefused
from engine.execution import parents as states
from engine.execution.algorithms import View, next_step
from engine.execution.curves import VolumeCurve, learned_curve
from engine.execution.ids import CHILD, base36, order_prefix
from engine.execution.orders import Order, from_row
from engine.execution.parents import Algorithm, Parent, ParentSpec, ParentStatus, tally
from engine.execution.schedule import Flow, given_up_ns
from engine.runtime.executor import Executor
from storage.database import Database, StorageError

log = structlog.get_logger("parents")

FEWEST_MINUTES = 3 * 1440
STALL_S = 15.0  # a parent that was not looked at for so long does not make up for it in one go


def curve_of(store: Database, symbol: str) -> VolumeCurve:
    """Return a symbol's volume curve: from minute candles when they cover three days, else from hourly ones."""
    query = "SELECT ts_open, volume FROM bars WHERE symbol = ? AND interval = ? ORDER BY ts_open"
    interval_s, rows = 60, store.rows(query, [symbol, "1m"])
    if len(rows) < FEWEST_MINUTES:
        interval_s, rows = 3600, store.rows(query, [symbol, "1h"])
    ts_open = np.array([row["ts_open"] for row in rows], dtype=np.int64)
    volume = np.array([math.nan if row["volume"] is None else row["volume"] for row in rows], dtype=np.float64)
    return learned_curve(ts_open, volume, interval_s)


def holds_a_reduction(parent: Parent) -> bool:
    """Return whether a parent takes risk off for the strategy: nobody may pause it."""
    return parent.spec.purpose == Purpose.TARGET and parent.spec.reduce_only


class ParentBook:
    """Holds the parents of an account and works them.

    Parameters
    ----------
    executor : Executor
        The only way by which a child leaves.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.parents: dict[int, Parent] = {}
        self.ceiling: dict[int, float] = {}  # what the strategy's target still allows, base; by parent of a target
        self.curves: dict[str, VolumeCurve] = {}
        self.may_grow: Callable[[str], str | None] = lambda symbol: None  # why risk may not grow, by the limits
        self.on_end: Callable[[Parent], None] = lambda parent: None
        self.on_unlisted: Callable[[Parent], None] = lambda parent: None
        self._final: dict[str, Order] = {}
        self._looked_ns: dict[int, int] = {}
        self._volume_from: dict[int, float] = {}
        self._event_seq = executor.store.rows("SELECT coalesce(max(seq), 0) AS n FROM parent_events")[0]["n"]

    # reading -----------------------------------------------------------------------------------------------------

    def active(self, symbol: str | None = None) -> list[Parent]:
        """Return the parents that have not ended."""
        return [p for p in self.parents.values() if not p.is_ended and symbol in (None, p.spec.symbol)]

    def of_target(self, symbol: str) -> Parent | None:
        """Return the parent that works the strategy's target in a symbol."""
        return next((p for p in self.active(symbol) if p.spec.purpose == Purpose.TARGET), None)

    def find(self, parent_id: int) -> Parent:
        """Return a parent of this session.

        Raises
        ------
        CommandRefused
            There is none of that number.
        """
        parent = self.parents.get(parent_id)
        if parent is None:
            known = ", ".join(str(p.parent_id) for p in self.active()) or "none"
            raise CommandRefused(f"There is no parent order {parent_id} at work. At work: {known}.")
        return parent

    def children(self, parent_id: int) -> list[Order]:
        """Return every child a parent ever had, oldest first."""
        executor, found = self._executor, []
        for client_id in executor.children.get(parent_id, []):
            order = executor.orders.get(client_id) or executor.recent.get(client_id) or self._final.get(client_id)
            if order is None:
                order = executor.known(client_id)
            if order.is_final:
                self._final[client_id] = order
            found.append(order)
        return found

    def flow_of(self, parent: Parent) -> Flow:
        """Return what a parent's schedule knows of the market's trading."""
        volume = self._executor.market.flow(parent.spec.symbol).volume
        since = self._volume_from.setdefault(parent.parent_id, volume)
        return Flow(volume - since, self.curves.get(parent.spec.symbol))

    def unsent_qty(self, symbol: str) -> float:
        """Return the signed quantity that a symbol's parents may still send, base units.

        One that works a target sends no more than the target still wants, and nothing while none is known.
        """
        rest = 0.0
        for parent in self.active(symbol):
            if parent.status in (ParentStatus.WORKING, ParentStatus.PAUSED):
                counted = tally(self.children(parent.parent_id))
                unsent = parent.spec.qty - counted.committed
                if parent.spec.purpose == Purpose.TARGET:
                    unsent = min(unsent, self.ceiling.get(parent.parent_id, 0.0) - counted.working)
                rest += parent.spec.side * max(unsent, 0.0)
        return rest

    def why_not_grow(self, symbol: str) -> str | None:
        """Return why no parent may make a symbol's position larger now, in a sentence, or None."""
        state = self._executor.trading_state()
        return self.may_grow(symbol) if state == TradingState.RUNNING else f"the trading state is {state.name}"

    # commands ----------------------------------------------------------------------------------------------------

    async def start(
        self, spec: ParentSpec, *, actor: str, decision_id: int = 0, decision_px: float = math.nan
    ) -> Parent:
        """Take a parent on, once it is on disk.

        Raises
        ------
        CommandRefused
            It could not be made durable. Nothing will be sent for it.
        """
        executor = self._executor
        epoch = executor.kill_epoch
        if spec.algorithm == Algorithm.VWAP:
            self.curves[spec.symbol] = await asyncio.to_thread(curve_of, executor.store, spec.symbol)
        executor.sequence += 1
        now = executor.now()
        parent = Parent(
            executor.sequence, spec, ParentStatus.WORKING, now, now, decision_id=decision_id, decision_px=decision_px,
            arrival_px=executor.market.mid_px(spec.symbol), actor=actor,
        )  # fmt: skip
        await self._durable(parent, "STARTED", spec.algorithm)
        if epoch != executor.kill_epoch:
            parent = self._keep(
                replace(parent, status=ParentStatus.CANCELED, ts_final=now, reason="kill switch"), "STOP"
            )
            raise CommandRefused("The kill switch was pressed before the parent order began: nothing was sent.")
        self.parents[parent.parent_id] = parent
        executor.on_change(spec.symbol)
        return parent

    async def pause(self, parent_id: int, reason: str = "") -> Parent:
        """Cancel a parent's child and send no more until it is resumed.

        Raises
        ------
        CommandRefused
            It is not working, or it takes risk off for the strategy: nobody holds that back.
        """
        parent = self.find(parent_id)
        if holds_a_reduction(parent):
            raise CommandRefused(
                f"Parent order {parent_id} reduces the strategy's position in {parent.spec.symbol}, and what takes "
                "risk off is not held back. Cancel it if another is to do the rest."
            )
        changed = replace(states.paused(parent), reason=reason)
        return await self._changed(changed, "PAUSED", reason)

    async def resume(self, parent_id: int) -> Parent:
        """Go on; what is left is spread over the time that is left."""
        committed = tally(self.children(parent_id)).committed
        changed = states.resumed(self.find(parent_id), committed, self._executor.now())
        return await self._changed(replace(changed, reason=""), "RESUMED", f"{committed:g} done or under way")

    async def cancel(self, parent_id: int, reason: str) -> Parent:
        """Cancel a parent's child and end it."""
        changed = states.stopping(self.find(parent_id), ParentStatus.CANCELED, reason)
        return await self._changed(changed, "CANCEL", reason)

    async def replace(self, parent_id: int, changes: dict[str, Any]) -> Parent:
        """Give a parent another quantity, limit price or end."""
        committed = tally(self.children(parent_id)).committed
        changed = states.replaced(self.find(parent_id), committed, self._executor.now(), changes)
        told = ", ".join(f"{name} {value}" for name, value in changes.items())
        return await self._changed(changed, "REPLACED", told)

    def stop_all(self, reason: str) -> None:
        """End every parent as soon as none of its children can fill; whoever asks for this cancels those."""
        for parent in self.active():
            children = self.children(parent.parent_id)
            ended = states.brought_to_end(parent, ParentStatus.CANCELED, reason, children, self._executor.now())
            if ended != parent:
                self._keep(ended, str(ended.status), reason)

    def pause_all(self, reason: str) -> None:
        """Hold back every parent that works and may open risk."""
        for parent in self.active():
            if parent.status == ParentStatus.WORKING and not parent.spec.reduce_only:
                self._hold_back(parent, reason)

    def _hold_back(self, parent: Parent, reason: str) -> None:
        """Pause a person's parent, who may resume it. One of a target ends: nobody would, and it bars its symbol."""
        if parent.spec.purpose == Purpose.TARGET:
            self.stop(parent, reason)
        else:
            self._keep(replace(states.paused(parent), reason=reason), "PAUSED", reason)

    def end_unlisted(self) -> None:
        """End every parent whose symbol the venue does not trade any more: no price will come, and none may be sent."""
        executor = self._executor
        for parent in self.active() if executor.instruments else ():
            if parent.spec.symbol in executor.instruments:
                continue
            children = self.children(parent.parent_id)
            why = f"the venue does not trade {parent.spec.symbol} any more"
            ended = states.brought_to_end(parent, ParentStatus.CANCELED, why, children, executor.now())
            if ended == parent:
                continue  # a child may still fill: the venue is asked for it elsewhere
            self._keep(ended, str(ended.status), why)
            if parent.status != ParentStatus.STOPPING:
                self.on_unlisted(parent)
                executor.spawn(executor.cancel_all([child for child in children if not child.is_final]))

    def stop(self, parent: Parent, reason: str) -> None:
        """End one parent now."""
        if not parent.is_ended and parent.status != ParentStatus.STOPPING:
            self._keep(states.stopping(parent, ParentStatus.CANCELED, reason), "CANCEL", reason)

    async def _changed(self, parent: Parent, event: str, detail: str) -> Parent:
        # in force at once: what takes risk off must not wait for the disk, and the rest is only as late as its record
        self._anew(parent)
        self.parents[parent.parent_id] = parent
        await self._durable(parent, event, detail)
        self._executor.on_change(parent.spec.symbol)
        return self.parents[parent.parent_id]

    # working -----------------------------------------------------------------------------------------------------

    async def work(self, symbol: str) -> None:
        """Look at each parent of a symbol once and do its next step."""
        for parent in self.active(symbol):
            if self._may_look(parent):
                await self._look(self.parents[parent.parent_id])

    def _may_look(self, parent: Parent) -> bool:
        """Return whether a parent can be decided on now; one that only winds down always can, and one that is late."""
        executor, symbol = self._executor, parent.spec.symbol
        if parent.status != ParentStatus.WORKING:
            return True
        if executor.now() >= given_up_ns(parent.spec):
            return not executor.awaits_fill(symbol)  # it ends with all its fills known; nothing else may put that off
        too_old = executor.market.age_s(symbol, executor.now()) > executor.config.max_price_age_s
        if too_old or executor.awaits_fill(symbol) or executor.backing_off(symbol, Purpose(parent.spec.purpose)):
            return False
        state = executor.trading_state()
        if state == TradingState.HALTED or (state == TradingState.REDUCE_ONLY and not parent.spec.reduce_only):
            return False
        if parent.spec.purpose == Purpose.TARGET and parent.parent_id not in self.ceiling:
            return False  # after a restart it waits until a decision wants it again
        if not parent.spec.reduce_only and (why := self.may_grow(symbol)) is not None:
            self._hold_back(parent, why)
        return True

    async def _look(self, parent: Parent) -> None:
        executor, parent_id = self._executor, parent.parent_id
        now = executor.now()
        if parent.status == ParentStatus.WORKING:
            parent = self._after_stall(parent, now)
        children = self.children(parent_id)
        step = next_step(parent, children, self._view(parent, now), now)
        if step.stop is not None:
            ended = states.brought_to_end(parent, step.stop, step.why, children, now)
            self._keep(ended, str(ended.status), step.why)
        await executor.cancel_all([executor.orders[i] for i in step.cancel if i in executor.orders])
        if step.place is not None:
            await executor.place(step.place, parent.decision_id, self._decision_px(parent), parent_id)

    def _after_stall(self, parent: Parent, now: int) -> Parent:
        """Spread the rest anew when nobody has looked for long: after a restart, a lost stream, a stop of trading."""
        last = self._looked_ns.get(parent.parent_id, 0)
        self._looked_ns[parent.parent_id] = now
        if now - max(last, parent.ts_from) <= STALL_S * NS_PER_S or now >= parent.spec.ts_end:
            return parent
        committed = tally(self.children(parent.parent_id)).committed
        parent = replace(parent, ts_from=now, base_qty=committed)
        self._anew(parent)
        return self._keep(
            parent, "SPREAD_ANEW", f"after {(now - last) / NS_PER_S:.0f} s" if last else "after a restart"
        )

    def _anew(self, parent: Parent) -> None:
        self._volume_from[parent.parent_id] = self._executor.market.flow(parent.spec.symbol).volume

    def _view(self, parent: Parent, now: int) -> View:
        executor, symbol = self._executor, parent.spec.symbol
        flow, known = executor.market.flow(symbol), self.flow_of(parent)
        nothing = BookTop(symbol, 0, 0, math.nan, 0.0, math.nan, 0.0)
        return View(
            executor.market.tops.get(symbol, nothing), executor.instruments[symbol],
            executor.account.position(symbol).qty, known.market_volume, flow.rate(now), flow.sigma,
            known.curve, self.ceiling.get(parent.parent_id, math.inf),
        )  # fmt: skip

    @staticmethod
    def _decision_px(parent: Parent) -> float:
        return parent.arrival_px if math.isnan(parent.decision_px) else parent.decision_px

    # record ------------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Take up, after a restart, the parents that had not ended, with all their children."""
        executor = self._executor
        ended = ", ".join(f"'{status}'" for status in states.ENDED)
        query = f"SELECT * FROM parents WHERE account = ? AND status NOT IN ({ended}) ORDER BY parent_id"
        for row in executor.store.rows(query, [executor.account_key]):
            parent = states.from_row(row)
            prefix = f"{order_prefix(executor.tag)}{CHILD}-{base36(parent.parent_id)}-"
            rows = executor.store.rows(
                "SELECT * FROM orders WHERE account = ? AND starts_with(client_id, ?) ORDER BY ts_intent",
                [executor.account_key, prefix],
            )
            executor.children[parent.parent_id] = [child["client_id"] for child in rows]
            self._final |= {order.client_id: order for order in map(from_row, rows) if order.is_final}
            self.parents[parent.parent_id] = parent
            if parent.spec.algorithm == Algorithm.VWAP:
                self.curves[parent.spec.symbol] = curve_of(executor.store, parent.spec.symbol)

    def _keep(self, parent: Parent, event: str, detail: str = "") -> Parent:
        was_ended = parent.parent_id in self.parents and self.parents[parent.parent_id].is_ended
        self.parents[parent.parent_id] = parent
        for table, row in self._rows(parent, event, detail):
            try:
                self._executor.store.append(table, [row])
            except StorageError as error:
                log.error("row not written", table=table, reason=str(error))
        if parent.is_ended and not was_ended:
            self.ceiling.pop(parent.parent_id, None)
            self.on_end(parent)
        return parent

    async def _durable(self, parent: Parent, event: str, detail: str) -> None:
        (table, row), (events, event_row) = self._rows(parent, event, detail)
        try:
            await asyncio.wrap_future(self._executor.store.append_ahead(table, [row]))
            self._executor.store.append(events, [event_row])
        except StorageError as error:
            raise CommandRefused(f"The parent order could not be recorded ({error}): {detail or event}.") from error

    def _rows(self, parent: Parent, event: str, detail: str) -> Iterator[tuple[str, dict[str, Any]]]:
        executor = self._executor
        counted = tally(self.children(parent.parent_id))
        yield "parents", parent.row(executor.account_key, counted)
        self._event_seq += 1
        yield "parent_events", {
            "seq": self._event_seq, "account": executor.account_key, "parent_id": parent.parent_id,
            "ts": executor.now(), "event": event, "detail": detail,
        }  # fmt: skip
