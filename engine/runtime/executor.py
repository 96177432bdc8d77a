"""The executor: the only place that sends orders.

Every order is durable as an intent before its request leaves. An order whose outcome is unknown is looked up by its id
until the venue has said "no such order" twice, some seconds apart, with no fill seen; it is never sent again. Fills are
the only thing that moves a position, each one once.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import structlog

from engine.domain import (
    CONDITIONAL_TYPES,
    NS_PER_S,
    ApprovedOrder,
    Fill,
    Instrument,
    OrderSpec,
    OrderStatus,
    OrderUpdate,
    Purpose,
    TradingState,
)
from engine.errors import CommandRefused, Rejected, StateUnknown, Unreachable, VenueError
from engine.execution import orders as states
from engine.execution.ids import child_order_id, client_order_id, is_ours
from engine.execution.orders import Order
from engine.runtime import sentences
from engine.runtime.account import Account
from engine.runtime.doubts import Doubts
from engine.runtime.market import MarketState
from engine.runtime.order_rate import OrderRate
from engine.settings import SystemConfig
from engine.venues.aster import AsterVenue
from storage.database import Database, StorageError

log = structlog.get_logger("executor")

BACK_OFF_S = 2.0
RECENT_FINAL = 2000


class Executor:
    """Works targets, keeps stops, answers for every order.

    Parameters
    ----------
    venue, store, market, account :
        The engine's parts.
    account_key : str
        Whose orders and fills these are on the record.
    tag : str
        This data folder's part of every client order id.
    sequence : int
        Orders ever made in this data folder.
    trading_state : callable
        What is allowed now; asked again right before each request leaves.
    publish : callable
        Hears of order and fill changes.
    """

    def __init__(
        self,
        venue: AsterVenue,
        store: Database,
        market: MarketState,
        account: Account,
        *,
        account_key: str,
        tag: str,
        sequence: int,
        now: Callable[[], int],
        trading_state: Callable[[], TradingState],
        publish: Callable[[str, Any], None],
    ) -> None:
        self.venue, self.store, self.market, self.account = venue, store, market, account
        self.account_key, self.tag, self.sequence, self.now = account_key, tag, sequence, now
        self.trading_state, self.publish = trading_state, publish
        self.config = SystemConfig()
        self.speed = 1.0  # market time per wall time
        self.instruments: dict[str, Instrument] = {}
        self.orders: dict[str, Order] = {}
        self.recent: dict[str, Order] = {}
        self.children: dict[int, list[str]] = {}  # by parent order, oldest first
        self.kill_epoch = 0  # raised by the kill switch: what was planned before it is not sent
        self._filled: dict[str, float] = {}
        self._seen_trades: set[tuple[str, str]] = set()
        self._event_seq = store.rows("SELECT coalesce(max(seq), 0) AS n FROM order_events")[0]["n"]
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refused_ns: dict[tuple[str, str], int] = {}
        self.doubts, self.rate = Doubts(self), OrderRate()
        self.entered: Callable[[Fill], None] = lambda fill: None  # hears of every new fill
        self.on_stopped: Callable[[Fill, float, str], None] = lambda fill, of_strategy, purpose: None  # not its own
        self.why: Callable[[], str] = lambda: "the trading state forbids more"  # what holds new risk back
        self.before_stop: Callable[[str], Awaitable[None]] | None = None  # what must be true before a stop is sent
        self.on_change: Callable[[str], None] = lambda symbol: None

    # state -------------------------------------------------------------------------------------------------------

    def open_orders(self, symbol: str | None = None, purpose: Purpose | None = None) -> list[Order]:
        """Return our orders that are not final."""
        return [
            order
            for order in self.orders.values()
            if (symbol is None or order.spec.symbol == symbol) and (purpose is None or order.spec.purpose == purpose)
        ]

    def in_flight_qty(self, symbol: str) -> float:
        """Return the signed base units that working orders may still add to the strategy's part of a position."""
        return sum(order.in_flight_qty for order in self.open_orders(symbol) if order.spec.purpose != Purpose.MANUAL)

    def venue_ns(self, ts: int) -> int:
        """Return the venue's market time of a moment of ours; a practice market may run faster, or in the past."""
        now = self.now()
        return (self.market.ts_exchange or now) - int((now - ts) * self.speed)

    def restore(self, rows: list[dict[str, Any]]) -> None:
        """Take up, after a restart, the orders that were not final and the newest of those that were."""
        for row in rows:
            order = states.from_row(row)
            if order.status in (OrderStatus.INTENT, OrderStatus.SENT):
                order = states.unknown(order, "the engine stopped before the venue answered", self.now())
            (self.recent if order.is_final else self.orders)[order.client_id] = order
        self.rate.sent_before(row["ts_sent"] for row in rows)

    def restore_fills(self, fills: list[Fill]) -> None:
        """Take up, after a restart, which fills were applied."""
        self._seen_trades = {(fill.symbol, fill.trade_id) for fill in fills}
        self._filled = {}
        for fill in fills:
            self._filled[fill.client_id] = self._filled.get(fill.client_id, 0.0) + abs(fill.qty)

    def _keep(self, order: Order, event: str, detail: str = "") -> None:
        previous = self.orders.get(order.client_id)
        if order.is_final:
            self.orders.pop(order.client_id, None)
            self.recent[order.client_id] = order
            while len(self.recent) > RECENT_FINAL:
                self.recent.pop(next(iter(self.recent)))
        else:
            self.orders[order.client_id] = order
        if previous == order:
            return
        self._event_seq += 1
        self._write("orders", self._row(order))
        self._write(
            "order_events",
            {"seq": self._event_seq, "client_id": order.client_id, "ts": self.now(), "event": event, "detail": detail},
        )
        self.publish("orders", None)

    def _row(self, order: Order) -> dict[str, Any]:
        return {"account": self.account_key} | order.row()

    def _write(self, table: str, row: dict[str, Any]) -> None:
        try:
            self.store.append(table, [row])
        except StorageError as error:
            log.error("row not written", table=table, reason=str(error))

    # sending -----------------------------------------------------------------------------------------------------

    async def place(
        self, spec: OrderSpec, decision_id: int = 0, decision_px: float = math.nan, parent_id: int = 0
    ) -> Order:
        """Approve, write and send one order; return what is known of it afterwards.

        Raises
        ------
        CommandRefused
            The trading state forbids it, or its intent could not be made durable. Nothing was sent.
        """
        self._check(spec)
        epoch = self.kill_epoch
        if self.before_stop is not None and (spec.close_position or spec.order_type in CONDITIONAL_TYPES):
            await self.before_stop(spec.symbol)
        self.sequence += 1
        client_id = client_order_id(self.tag, decision_id, self.sequence)
        if parent_id:  # counted as its parent's before anything else can happen
            client_id = child_order_id(self.tag, parent_id, self.sequence)
            self.children.setdefault(parent_id, []).append(client_id)
        approved = ApprovedOrder(client_id, decision_id, spec, decision_px)
        top = self.market.tops.get(spec.symbol)
        arrival_px = math.nan if top is None else (top.bid_px + top.ask_px) / 2
        order = states.new_order(approved, self.now(), arrival_px)
        self.orders[client_id] = order
        try:
            await asyncio.wrap_future(self.store.append_ahead("orders", [self._row(order)]))
        except StorageError as error:
            self._keep(states.rejected(order, f"intent not durable: {error}", self.now()), "NOT_SENT")
            raise CommandRefused(sentences.not_recorded(spec.symbol, error)) from error
        if epoch != self.kill_epoch and spec.purpose != Purpose.FLATTEN:
            self._keep(states.rejected(order, "the kill switch was pressed before it was sent", self.now()), "NOT_SENT")
            raise CommandRefused(sentences.switch_pressed(spec.symbol))
        self._keep(states.sent(order, self.now()), "SENT")
        await self._submit(approved)
        return self.known(client_id)

    async def _submit(self, approved: ApprovedOrder) -> None:
        client_id = approved.client_id
        try:
            self.on_order(await self.venue.submit(approved))
        except Rejected as refusal:
            self._finish(client_id, states.rejected, str(refusal), "REJECTED")
        except Unreachable as trouble:
            self._finish(client_id, states.rejected, f"not accepted: {trouble}", "NOT_SENT")
        except StateUnknown as doubt:
            order = self.orders.get(client_id)
            if order is not None:
                self._in_doubt(states.unknown(order, str(doubt), self.now()), str(doubt))

    def _finish(self, client_id: str, change: Callable[..., Order], reason: str, event: str) -> None:
        order = self.orders.get(client_id)
        if order is None:
            return
        self._refused_ns[(order.spec.symbol, str(order.spec.purpose))] = self.now()
        self._keep(change(order, reason, self.now()), event, reason)
        log.warning("order refused", client_id=client_id, symbol=order.spec.symbol, reason=reason)
        if order.spec.purpose == Purpose.PROTECT:
            self.publish("fault", sentences.no_stop(order.spec.symbol, reason, BACK_OFF_S))

    def _check(self, spec: OrderSpec) -> None:
        if spec.purpose in (Purpose.FLATTEN, Purpose.PROTECT):
            return
        state = self.trading_state()
        position_qty = self.account.position(spec.symbol).qty
        reduces = position_qty * spec.side < 0 and spec.qty <= abs(position_qty) + states.QTY_EPSILON
        if state == TradingState.HALTED:
            raise CommandRefused(sentences.halted(spec.symbol, self.why()))
        if state == TradingState.REDUCE_ONLY and not reduces:
            raise CommandRefused(sentences.only_reducing(spec.symbol, position_qty, self.why()))
        self.rate.admit(spec.symbol, reduces, self.now(), self.config.max_orders_per_minute)

    async def cancel(self, order: Order) -> None:
        """Ask the venue to cancel one order. An order in doubt is looked up instead."""
        await self.cancel_all([order])

    async def cancel_all(self, wanted: list[Order]) -> None:
        """Ask the venue to cancel orders, one request per symbol and ten orders."""
        by_symbol: dict[str, list[str]] = {}
        for order in wanted:
            by_symbol.setdefault(order.spec.symbol, []).append(order.client_id)
            current = self.orders.get(order.client_id)
            if current is not None:
                self.orders[order.client_id] = replace(current, cancel_sent_ns=self.now())
        results = await asyncio.gather(
            *(self.venue.cancel_many(symbol, ids) for symbol, ids in by_symbol.items()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, VenueError):
                log.warning("cancel not confirmed", reason=str(result))
            elif isinstance(result, BaseException):
                raise result

    # news --------------------------------------------------------------------------------------------------------

    def on_order(self, update: OrderUpdate) -> None:
        """Apply the venue's word on an order; an order that we did not make is adopted."""
        order = self._find(update.client_id)
        if order is None:
            self._keep(states.adopt(update), "ADOPTED", update.order_type)
            return
        known = order
        if order.status == OrderStatus.REJECTED and update.status != OrderStatus.REJECTED:
            known = states.revived(order)  # given up as not found, and there all the same
            self.recent.pop(update.client_id, None)
        changed = states.apply_update(known, update)
        if changed != order:
            if changed.filled_qty > self._filled.get(update.client_id, 0.0) + states.QTY_EPSILON:
                self.doubts.fill_gaps.setdefault(update.client_id, self.now())
            self._keep(changed, update.status)
            self.on_change(update.symbol)

    def on_fill(self, fill: Fill) -> bool:
        """Apply one execution once; return False when it was known."""
        key = (fill.symbol, fill.trade_id)
        if key in self._seen_trades:
            return False
        self._seen_trades.add(key)
        order = self._find(fill.client_id)
        before = self._filled.get(fill.client_id, 0.0)
        self._filled[fill.client_id] = before + abs(fill.qty)
        if order is not None and self._filled[fill.client_id] >= order.filled_qty - states.QTY_EPSILON:
            self.doubts.fill_gaps.pop(fill.client_id, None)
        instrument = self.instruments.get(fill.symbol)
        purpose = Purpose.EXTERNAL if order is None else order.spec.purpose
        held = self.account.position(fill.symbol)
        self.account.apply_fill(fill, 0.0 if instrument is None else instrument.lot_size, purpose)
        self.entered(fill)
        if purpose not in (Purpose.TARGET, Purpose.FLATTEN):
            self.on_stopped(fill, held.qty - held.manual_qty, purpose)
        if order is not None:
            self._keep(states.apply_fill(order, fill, before), "FILL", f"{fill.qty:g} @ {fill.px:g}")
        row = {
            "account": self.account_key, "symbol": fill.symbol, "trade_id": fill.trade_id, "client_id": fill.client_id,
            "venue_order_id": fill.venue_order_id, "decision_id": order.decision_id if order else 0, "qty": fill.qty,
            "px": fill.px, "fee": fill.fee, "pnl_realized": fill.pnl_realized, "is_maker": fill.is_maker,
            "decision_px": states.none_if_nan(order.decision_px) if order else None,
            "arrival_px": states.none_if_nan(order.arrival_px) if order else None,
            "ts_filled": fill.ts_filled, "ts_received": fill.ts_received,
        }  # fmt: skip
        self._write("fills", row)
        self.publish("fill", row)
        self.on_change(fill.symbol)
        return True

    def awaits_fill(self, symbol: str) -> bool:
        """Return whether an order of the symbol is known to have filled while the fill itself has not arrived.

        Until it arrives the position is behind, and anything planned from it would be doubled.
        """
        return any(self.known(client_id).spec.symbol == symbol for client_id in self.doubts.fill_gaps)

    def backing_off(self, symbol: str, purpose: Purpose) -> bool:
        """Return whether such an order was refused just now: the same request would be refused again at once."""
        return self.now() - self._refused_ns.get((symbol, purpose.value), 0) < BACK_OFF_S * NS_PER_S

    def known(self, client_id: str) -> Order:
        """Return an order by our id; KeyError when there never was one."""
        order = self._find(client_id)
        if order is None:
            raise KeyError(client_id)
        return order

    def knows(self, client_id: str) -> bool:
        """Return whether an order is on our record."""
        return self._find(client_id) is not None

    def _find(self, client_id: str) -> Order | None:
        order = self.orders.get(client_id) or self.recent.get(client_id)
        if order is None and is_ours(client_id, self.tag):  # final long ago: the record still has it
            query = "SELECT * FROM orders WHERE client_id = ? AND account = ?"
            rows = self.store.rows(query, [client_id, self.account_key])
            order = states.from_row(rows[0]) if rows else None
        return order

    # doubt -------------------------------------------------------------------------------------------------------

    def has_seen(self, fill: Fill) -> bool:
        """Return whether a fill was applied already."""
        return (fill.symbol, fill.trade_id) in self._seen_trades

    def filled_of(self, client_id: str) -> float:
        """Return what the fills of an order add up to, unsigned base units."""
        return self._filled.get(client_id, 0.0)

    def client_ids_by_venue_id(self) -> dict[str, str]:
        """Return our ids of the orders in memory by the venue's."""
        return {o.venue_order_id: o.client_id for o in (*self.recent.values(), *self.orders.values())}

    def give_up(self, client_id: str) -> None:
        """Close an order that the venue does not have, or, if it had filled in part, has no longer."""
        change = states.rejected if self.filled_of(client_id) == 0.0 else states.expired
        self._finish(client_id, change, states.NO_SUCH_ORDER, "NOT_FOUND")

    def doubt(self, order: Order, reason: str) -> None:
        """Treat an order as one in doubt, whatever was known of it, and look it up."""
        self._in_doubt(states.doubted(order, reason, self.now()), reason)

    def _in_doubt(self, order: Order, reason: str) -> None:
        self._keep(order, "UNKNOWN", reason)
        self.doubts.look_up(order.client_id)
        if order.status == OrderStatus.UNKNOWN:  # news that came before the failure leaves none
            self.publish("doubt", sentences.in_doubt(order.spec.symbol, order.client_id, reason))

    async def catch_up(self, update: OrderUpdate) -> None:
        """Apply an order's state together with the fills that the stream may have missed."""
        if update.filled_qty > self._filled.get(update.client_id, 0.0) + states.QTY_EPSILON:
            for fill in await self.venue.fills(update.symbol, update.venue_order_id, update.client_id):
                self.on_fill(fill)
        self.on_order(update)

    # tasks -----------------------------------------------------------------------------------------------------------

    def spawn(self, work: Awaitable[None]) -> None:
        """Run something in the background; its failure is logged and published."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("task failed", exc_info=task.exception())
            self.publish("fault", sentences.task_failed(task.exception()))

    async def close(self) -> None:
        """End what is running; orders stay as they are."""
        for task in list(self._tasks):
            task.cancel()
        for task in list(self._tasks):
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
