"""Two guards that outlast a bad moment: away from liquidation while we live, entries off the book when we do not.

**What must be verified on the real venue before it is relied on:** whether ``countdownCancelAll`` takes conditional
orders. The documents do not say; the practice exchange takes them. So the switch is armed only where there is nothing
that it must not take: no position, no stop, no other conditional order.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import structlog

from engine.domain import CONDITIONAL_TYPES, NS_PER_MS, NS_PER_S, OrderSpec, OrderStatus, Purpose, Side
from engine.errors import VenueError
from engine.execution.planner import tradable_qty
from engine.runtime.executor import Executor
from engine.runtime.kill import closing_order
from engine.runtime.worker import Worker

log = structlog.get_logger("guards")

COUNTDOWN_MS = 60_000  # the venue cancels this long after our last word
REFRESH_S = 20.0
TELL_S = 2.0  # a stop waits no longer than this for the countdown to be called off
RESTING = frozenset({OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED})
GUARD_PAUSE_S = 10.0  # between two reductions: the venue's new liquidation price must be known first
KEPT_SHARE = 0.5  # of a position, at each reduction


class DeadManSwitch:
    """Has the venue cancel working entries of symbols without a position when nothing is heard of us any more.

    Parameters
    ----------
    executor : Executor
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.armed_ns: dict[str, int] = {}  # symbol -> when the venue heard of us last
        self._lock = asyncio.Lock()
        executor.before_stop = self.disarm

    def must_not_run(self, symbol: str) -> bool:
        """Return whether a symbol has something that must survive us: a position, a stop, what is not ours."""
        executor = self._executor
        if executor.account.position(symbol).qty != 0.0 or executor.awaits_fill(symbol):
            return True
        return any(
            order.spec.close_position
            or order.spec.order_type in CONDITIONAL_TYPES
            or order.spec.purpose in (Purpose.PROTECT, Purpose.EXTERNAL)
            for order in executor.open_orders(symbol)
        )

    def may_arm(self, symbol: str) -> bool:
        """Return whether a symbol has resting entries and nothing that must survive us."""
        resting = any(order.status in RESTING for order in self._executor.open_orders(symbol))
        return resting and self._executor.config.use_dead_man_switch and not self.must_not_run(symbol)

    async def refresh(self) -> None:
        """Arm, keep alive or disarm every symbol; called every few seconds."""
        executor = self._executor
        for symbol in {*self.armed_ns, *(order.spec.symbol for order in executor.open_orders())}:
            age_s = (executor.now() - self.armed_ns.get(symbol, 0)) / NS_PER_S
            if self.may_arm(symbol):
                if age_s > REFRESH_S:
                    await self._arm(symbol)
            elif self.must_not_run(symbol) or age_s > 2 * REFRESH_S:  # not each gap is worth a call
                await self.disarm(symbol)

    async def _arm(self, symbol: str) -> None:
        async with self._lock:
            if self.may_arm(symbol):  # a fill may have come while another request was under way
                self.armed_ns[symbol] = self._executor.now()  # before it is sent: a lost answer may have armed it
                await self._tell(symbol, COUNTDOWN_MS)

    async def disarm(self, symbol: str) -> None:
        """Call the countdown off where one may run: before a stop is placed, and when a position has appeared."""
        async with self._lock:  # never on the wire beside an arming that could overtake it
            if symbol in self.armed_ns and await self._tell(symbol, 0):
                self.armed_ns.pop(symbol, None)

    async def forget_earlier(self) -> None:
        """Call off what an earlier life of this engine may have armed."""
        executor = self._executor
        since = executor.now() - 2 * COUNTDOWN_MS * NS_PER_MS
        young = (o for o in (*executor.orders.values(), *executor.recent.values()) if o.ts_intent > since)
        for symbol in {*executor.account.open_positions(), *(order.spec.symbol for order in young)}:
            self.armed_ns.setdefault(symbol, 0)
            await self.disarm(symbol)

    async def _tell(self, symbol: str, after_ms: int) -> bool:
        try:
            await asyncio.wait_for(self._executor.venue.countdown(symbol, after_ms), TELL_S)
        except (VenueError, TimeoutError) as trouble:  # tried again with the next refresh
            log.warning("dead-man switch not set", symbol=symbol, after_ms=after_ms, reason=str(trouble))
            return False
        return True


class LiquidationGuard:
    """Reduces a position whose mark has come close to its liquidation price: the strategy's part and a person's alike.

    A cut that were the strategy's alone would be bought back with its next wish, where a person holds the position.

    Parameters
    ----------
    executor : Executor
    worker : Worker
        Works towards no target of the symbol any more until the next decision.
    tell : callable (sentence)
        Hears of each reduction.
    """

    def __init__(self, executor: Executor, worker: Worker, tell: Callable[[str], None]) -> None:
        self._executor, self._worker, self._tell = executor, worker, tell
        self._acted_ns: dict[str, int] = {}

    def distance(self, symbol: str) -> float:
        """Return |mark − liquidation price| / mark of a position; NaN when flat or unknown."""
        position = self._executor.account.position(symbol)
        mark_px = self._executor.market.mark_px(symbol)
        if position.qty == 0.0 or not (position.liq_px > 0 and mark_px > 0):
            return math.nan
        return max((mark_px - position.liq_px) * (1.0 if position.qty > 0 else -1.0), 0.0) / mark_px

    def is_close(self, symbol: str) -> bool:
        """Return whether a position is within the guarded distance: it may not grow then."""
        return self.distance(symbol) <= self._executor.config.min_liquidation_distance

    def sweep(self) -> bool:
        """Reduce what is too close; return whether anything was. The caller asks for new liquidation prices then."""
        executor, acted = self._executor, False
        now, limit = executor.now(), executor.config.min_liquidation_distance
        for symbol, position in executor.account.open_positions().items():
            recent = now - self._acted_ns.get(symbol, 0) < GUARD_PAUSE_S * NS_PER_S
            closing = executor.awaits_fill(symbol) or executor.open_orders(symbol, Purpose.FLATTEN)
            top = executor.market.tops.get(symbol)
            if recent or closing or top is None or not self.is_close(symbol):
                continue
            qty = tradable_qty(position.qty * (KEPT_SHARE - 1.0), position.qty, top, executor.instruments[symbol])
            if qty == 0.0:  # too small to be halved
                qty = tradable_qty(-position.qty, position.qty, top, executor.instruments[symbol])
            self._acted_ns[symbol] = now
            acted = True
            side = Side.SELL if position.qty > 0 else Side.BUY
            keep = position.qty + side * qty
            self._tell(
                f"{symbol}: mark {executor.market.mark_px(symbol):g} is {self.distance(symbol):.2%} from liquidation "
                f"at {position.liq_px:g}, the limit is {limit:.2%}: position {position.qty:g} is cut to {keep:g}"
            )
            executor.spawn(self._cut(closing_order(symbol, side, qty)))
        return acted

    async def _cut(self, order: OrderSpec) -> None:
        """Send the cut, and end what works towards the position as it was."""
        reason = "the position is close to its liquidation price and is cut"
        await asyncio.gather(self._executor.place(order), self._worker.drop(order.symbol, reason))
