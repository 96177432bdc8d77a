"""The worker: asks the planner what each symbol needs now, and has the executor do it."""

from __future__ import annotations

import math

import structlog

from engine.domain import Purpose
from engine.errors import CommandRefused
from engine.execution.orders import QTY_EPSILON
from engine.execution.planner import Plan, Policy, Target, plan
from engine.execution.protect import protective_stop
from engine.runtime.executor import Executor
from engine.runtime.large import by_algorithm
from engine.runtime.parents import ParentBook

log = structlog.get_logger("worker")


class Worker:
    """Works targets and keeps stops, one look at a time per symbol.

    Parameters
    ----------
    executor : Executor
        Sends what is planned; pokes this worker when something changed.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.targets: dict[str, Target] = {}
        self.parents = ParentBook(executor)
        self.suspended = False  # the kill switch is flattening: nothing else may send
        self._busy: set[str] = set()
        self._dirty: set[str] = set()
        executor.on_change = self.poke

    def set_target(self, target: Target) -> None:
        """Work towards a position from now on. An unchanged one keeps its patience clock, unless it is urgent now."""
        old = self.targets.get(target.symbol)
        if old is not None and abs(old.target_qty - target.target_qty) < QTY_EPSILON and old.ts_set <= target.ts_set:
            return
        self.targets[target.symbol] = target
        self.poke(target.symbol)

    def forget(self, symbol: str) -> None:
        """Stop working towards one symbol's target."""
        self.targets.pop(symbol, None)

    async def drop(self, symbol: str, reason: str) -> None:
        """Stop working towards a symbol's target, and end what does: the next decision sees the position of then."""
        self.forget(symbol)
        if (parent := self.parents.of_target(symbol)) is not None:
            self.parents.stop(parent, reason)
        await self._executor.cancel_all(self._executor.open_orders(symbol, Purpose.TARGET))

    def working_notional(self) -> float:
        """Return how much working orders and unfinished targets may still add to the book's gross, quote currency."""
        executor, added = self._executor, 0.0
        under_way = (order.spec.symbol for order in executor.open_orders())
        for symbol in {*self.targets, *under_way, *(parent.spec.symbol for parent in self.parents.active())}:
            position, mark_px = executor.account.position(symbol), executor.market.mark_px(symbol)
            remainders = [order.in_flight_qty for order in executor.open_orders(symbol)]
            remainders.append(self.parents.unsent_qty(symbol))
            ends = [
                position.qty + sum(qty for qty in remainders if qty > 0),
                position.qty + sum(qty for qty in remainders if qty < 0),
            ]
            if (target := self.targets.get(symbol)) is not None:
                ends.append(target.target_qty + position.manual_qty)
            more = max(max(map(abs, ends)) - abs(position.qty), 0.0) * mark_px
            added += more if math.isfinite(more) else 0.0
        return added

    def clear(self) -> None:
        """Forget every target; positions and stops stay."""
        self.targets.clear()

    def retire(self, symbols: set[str]) -> None:
        """Close what the strategy holds in symbols that it no longer trades."""
        for symbol in symbols:
            mark_px = self._executor.market.mark_px(symbol)
            self.set_target(Target(symbol, 0.0, 0, mark_px, self._executor.now()))

    def poke(self, symbol: str) -> None:
        """Look at a symbol soon; several pokes make one look."""
        if symbol in self._busy:
            self._dirty.add(symbol)
        elif symbol in self._executor.instruments and not self.suspended:
            self._busy.add(symbol)
            self._executor.spawn(self._look(symbol))

    def tick(self) -> None:
        """Look at every symbol with a target, an order or a position; called a few times a second."""
        executor = self._executor
        executor.doubts.chase()
        self.parents.end_unlisted()
        for symbol in {
            *self.targets,
            *executor.account.open_positions(),
            *(order.spec.symbol for order in executor.orders.values()),
            *(parent.spec.symbol for parent in self.parents.active()),
        }:
            self.poke(symbol)

    async def _look(self, symbol: str) -> None:
        try:
            # each on its own: a target that the state refuses must not cost the position its stop
            for work in (self._work_target, self._work_parents, self._keep_stop_unless_suspended):
                try:
                    await work(symbol)
                except CommandRefused as refusal:
                    log.info("not sent", symbol=symbol, reason=str(refusal))
        finally:
            self._busy.discard(symbol)
            if symbol in self._dirty:
                self._dirty.discard(symbol)
                self.poke(symbol)

    async def _work_target(self, symbol: str) -> None:
        executor = self._executor
        target, top = self.targets.get(symbol), executor.market.tops.get(symbol)
        if target is None or top is None or executor.awaits_fill(symbol):
            return
        too_old = executor.market.age_s(symbol, executor.now()) > executor.config.max_price_age_s
        if too_old or executor.backing_off(symbol, Purpose.TARGET):
            return
        position = executor.account.position(symbol)
        wanted = target._replace(target_qty=target.target_qty + position.manual_qty)
        if await by_algorithm(executor, self.parents, wanted):
            return
        policy = Policy(executor.config.use_maker_orders, executor.config.maker_wait_s)
        working = executor.open_orders(symbol, Purpose.TARGET)
        action = plan(wanted, position.qty, working, top, executor.instruments[symbol], executor.now(), policy)
        if not self.suspended:
            await self._carry_out(action, target.decision_id, target.decision_px)

    async def _work_parents(self, symbol: str) -> None:
        if not self.suspended:
            await self.parents.work(symbol)

    async def _keep_stop_unless_suspended(self, symbol: str) -> None:
        if not self.suspended:
            await self.keep_stop(symbol)

    async def keep_stop(self, symbol: str) -> None:
        """Place, move or cancel a symbol's protective stop as its position demands, also while suspended."""
        executor = self._executor
        if executor.awaits_fill(symbol) or executor.backing_off(symbol, Purpose.PROTECT):
            return
        position = executor.account.position(symbol)
        action = protective_stop(
            symbol,
            position.qty if executor.config.use_protective_stops else 0.0,
            position.entry_px,
            executor.market.mark_px(symbol),
            executor.open_orders(symbol, Purpose.PROTECT),
            executor.config.protective_stop_pct,
            executor.instruments[symbol],
            executor.now(),
        )
        await self._carry_out(action, 0, math.nan)

    async def _carry_out(self, action: Plan, decision_id: int, decision_px: float) -> None:
        executor = self._executor
        await executor.cancel_all([executor.orders[i] for i in action.cancel if i in executor.orders])
        if action.place is not None:
            await executor.place(action.place, decision_id, decision_px)
