"""Reconciliation: orders, fills, positions and cash compared with the venue's. A difference is shown, then adopted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from engine.domain import NS_PER_S, OrderStatus, PositionReport
from engine.errors import VenueError
from engine.runtime.executor import Executor

FRESH_S = 2.0  # an order this young may be missing from a snapshot that was taken before it arrived
CASH_TOLERANCE = 0.01  # one cent
FILL_MARGIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The outcome of one comparison."""

    ts: int
    ok: bool
    mismatches: tuple[str, ...]
    message: str


class Reconciler:
    """Compares our books with the venue's.

    Parameters
    ----------
    executor : Executor
        Its orders, fills and account are compared and corrected.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._lock = asyncio.Lock()
        self.last: Reconciliation | None = None
        self._since_ns = 0

    async def run(self, *, first: bool = False) -> Reconciliation:
        """Compare now, correct what differs, and return what differed.

        ``first`` is the comparison at start, when our account is still empty: the venue's positions and cash are taken
        over and are no mismatch.
        """
        async with self._lock:
            now = self._executor.now()
            try:
                mismatches = await self._compare(first)
                message = "books agree" if not mismatches else f"{len(mismatches)} differences adopted"
                outcome = Reconciliation(now, not mismatches, tuple(mismatches), message)
                self._since_ns = now
            except VenueError as trouble:
                outcome = Reconciliation(now, False, (), f"the venue could not be asked: {trouble}")
            self.last = outcome
            return outcome

    async def _compare(self, first: bool) -> list[str]:
        executor = self._executor
        await self._settle_orders(first)
        venue_orders, positions, balance = await executor.venue.snapshot()
        ours = set(executor.orders)
        mismatches = []
        for update in venue_orders:
            if update.client_id not in ours and update.client_id not in executor.recent:
                mismatches.append(f"{update.symbol}: order {update.client_id} was not made by this engine")
            await executor.catch_up(update)
        cash_before, had_cash = executor.account.cash, executor.account.cash == executor.account.cash
        if had_cash and abs(balance.cash - cash_before) > CASH_TOLERANCE and await self._still_differs(cash_before):
            mismatches.append(f"cash: ours {cash_before:.2f}, the venue's {balance.cash:.2f}")
        executor.account.apply_balance(balance)
        mismatches += await self._compare_positions({report.symbol: report for report in positions}, first)
        return [] if first else mismatches

    async def _still_differs(self, cash_before: float) -> bool:
        await asyncio.sleep(0.3)  # the push that explains it may be on its way
        return self._executor.account.cash == cash_before

    async def _settle_orders(self, first: bool) -> None:
        executor = self._executor
        now = executor.now()
        for order in list(executor.orders.values()):
            fresh = now - (order.ts_sent or order.ts_intent) < FRESH_S * NS_PER_S
            if order.status == OrderStatus.INTENT or (fresh and not first):
                continue
            if order.status in (OrderStatus.UNKNOWN, OrderStatus.SENT):
                executor.look_up(order.client_id)
                continue
            update = await executor.venue.order(order.spec.symbol, order.client_id)
            if update is not None:
                await executor.catch_up(update)

    async def _compare_positions(self, venue: dict[str, PositionReport], first: bool) -> list[str]:
        executor = self._executor
        differing = self._differing(venue)
        if differing and not first:
            await self._fetch_missed_fills(differing)
            await asyncio.sleep(0.3)
            _, positions, _ = await executor.venue.snapshot()
            venue = {report.symbol: report for report in positions}
            differing = self._differing(venue)
        mismatches = []
        for symbol in differing:
            report = venue.get(symbol) or _flat(symbol, executor.now())
            ours = executor.account.position(symbol).qty
            mismatches.append(f"{symbol}: position ours {ours:g}, the venue's {report.qty:g}")
            executor.account.adopt(report)
        for report in venue.values():
            executor.account.note(report)
        if first:
            self._hand_over()
        return mismatches

    def _hand_over(self) -> None:
        # what is held at start came from this engine's earlier life: its strategy manages it on
        positions = self._executor.account.positions
        for symbol, position in positions.items():
            positions[symbol] = type(position)(position.qty, position.entry_px, 0.0, position.liq_px, position.leverage)

    def _differing(self, venue: dict[str, PositionReport]) -> list[str]:
        account, instruments = self._executor.account, self._executor.instruments
        symbols = {*venue, *account.open_positions()} & set(instruments)
        return sorted(
            symbol
            for symbol in symbols
            if abs((venue[symbol].qty if symbol in venue else 0.0) - account.position(symbol).qty)
            > instruments[symbol].lot_size / 2
        )

    async def _fetch_missed_fills(self, symbols: list[str]) -> None:
        executor = self._executor
        start_ns = max(self._since_ns - int(FILL_MARGIN_S * NS_PER_S), 0)
        by_venue_id = {
            order.venue_order_id: order.client_id for order in (*executor.orders.values(), *executor.recent.values())
        }
        for symbol in symbols:
            for fill in await executor.venue.fills_since(symbol, start_ns):
                executor.on_fill(fill._replace(client_id=by_venue_id.get(fill.venue_order_id, "")))


def _flat(symbol: str, now: int) -> PositionReport:
    return PositionReport(symbol, 0.0, 0.0, float("nan"), float("nan"), float("nan"), now)
