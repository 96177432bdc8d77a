"""Reconciliation: orders, fills, positions, income and cash compared with the venue's.

At start the books are rebuilt from the record first: what was filled or finished while nobody listened is fetched, and
only what is then still different is a difference. A difference is shown, then adopted; what no fill and no income
explains stays on the ledger, and only reducing is allowed, until a later comparison or a person explains it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from engine.domain import NS_PER_S, BalanceReport, Income, OrderStatus, OrderUpdate, PositionReport
from engine.errors import CommandRefused, VenueError
from engine.runtime import sentences
from engine.runtime.account import Position
from engine.runtime.executor import Executor
from engine.runtime.ledger import Ledger

FRESH_S = 2.0  # an order this young may be missing from a snapshot that was taken before it arrived
FILL_MARGIN_S = 60.0
LOOKS = 4  # a difference that a message on its way explains is none
LOOK_AGAIN_S = 0.3


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
    ledger : Ledger
        Adds up what the record holds.
    """

    def __init__(self, executor: Executor, ledger: Ledger) -> None:
        self._executor, self.ledger = executor, ledger
        self._lock = asyncio.Lock()
        self.last: Reconciliation | None = None
        self.residue: tuple[str, ...] = ()  # what the ledger does not explain
        executor.entered = ledger.add_fill
        self.settled: Callable[[list[Income], bool, int], None] = lambda incomes, explained, n: None
        self.accepted: Callable[[float, int], None] = lambda unexplained, n: None
        self._asked_at = 0  # how many words on cash the stream had said when the venue was asked

    @property
    def agrees(self) -> bool:
        """Whether the last comparison was made and left nothing unexplained."""
        return self.last is not None and self.last.ok and not self.residue

    async def run(self, *, first: bool = False) -> Reconciliation:
        """Compare now, correct what differs, and return what differed.

        ``first`` is the comparison at start. On an account that this record does not know yet, the venue's positions
        and cash are the opening and no mismatch.
        """
        async with self._lock:
            now = self._executor.now()
            try:
                mismatches = await self._compare(first)
                message = "books agree" if not mismatches else f"{len(mismatches)} differences"
                outcome = Reconciliation(now, not mismatches, tuple(mismatches), message)
            except VenueError as trouble:
                told = f"the venue could not be asked ({trouble}); new risk waits, and it is asked again by itself"
                outcome = Reconciliation(now, False, (), told)
            self.last = outcome
            return outcome

    async def _compare(self, first: bool) -> list[str]:
        ledger = self.ledger
        if first and ledger.opening is None and not ledger.restore():
            return await self._open_books()
        if first:
            self._take_up_positions()
        await self._settle_orders(first)
        if first:
            await self._fetch_fills(self._symbols_to_ask())
        venue_orders, positions, balance = await self._snapshot()
        mismatches = await self._compare_orders(venue_orders)
        positions, balance = await self._settle_ledger(positions, balance)
        return mismatches + self._adopt(positions, balance)

    async def _open_books(self) -> list[str]:
        """Begin the ledger with what the venue shows."""
        executor = self._executor
        await self._settle_orders(True)
        venue_orders, positions, balance = await self._snapshot()
        incomes = await executor.venue.incomes_since(None)
        await self.ledger.open(positions, balance, incomes, executor.now(), executor.venue_ns(executor.now()))
        for update in venue_orders:
            executor.on_order(update)
        for report in positions:
            # what is held at the opening was not opened by a person at this desk: the strategy manages it
            position = Position(report.qty, report.entry_px, 0.0, report.liq_px, report.leverage)
            executor.account.positions[report.symbol] = position
        self._take_cash(balance, [], True)
        self.ledger.state(positions, balance, self._lot_sizes(), executor.now())  # a screen need not wait for the next
        return []

    def _take_up_positions(self) -> None:
        self._executor.restore_fills(self.ledger.fills)
        for symbol, position in self.ledger.positions(self._lot_sizes())[0].items():
            self._executor.account.positions[symbol] = position

    def _lot_sizes(self) -> dict[str, float]:
        return {symbol: instrument.lot_size for symbol, instrument in self._executor.instruments.items()}

    # orders ------------------------------------------------------------------------------------------------------

    async def _settle_orders(self, first: bool) -> None:
        """Ask about every order that we think is open, so that one that ended unseen gets its true end."""
        executor = self._executor
        now = executor.now()
        asked: list[Awaitable[object]] = []
        for order in list(executor.orders.values()):
            fresh = now - (order.ts_sent or order.ts_intent) < FRESH_S * NS_PER_S
            if fresh and not first:
                continue
            if order.status in (OrderStatus.UNKNOWN, OrderStatus.SENT):
                if first:
                    asked.append(executor.doubts.ask(order))
                executor.doubts.look_up(order.client_id)
            elif order.status != OrderStatus.INTENT:
                asked.append(self._settle(order.client_id))
        await asyncio.gather(*asked)

    async def _settle(self, client_id: str) -> None:
        executor = self._executor
        order = executor.orders[client_id]
        update = await executor.venue.order(order.spec.symbol, client_id)
        if update is not None:
            await executor.catch_up(update)
        elif client_id in executor.orders:
            executor.doubt(executor.orders[client_id], "the venue does not know it any more")

    async def _compare_orders(self, venue_orders: Iterable[OrderUpdate]) -> list[str]:
        executor = self._executor
        mismatches = []
        for update in venue_orders:
            if not executor.knows(update.client_id):
                mismatches.append(f"{update.symbol}: order {update.client_id} was not made by this engine")
            await executor.catch_up(update)
        return mismatches

    # fills and money ---------------------------------------------------------------------------------------------

    def _symbols_to_ask(self) -> set[str]:
        executor = self._executor
        ours = {*self.ledger.symbols, *executor.config.symbols, *(o.spec.symbol for o in executor.orders.values())}
        return ours & set(executor.instruments)

    async def _fetch_fills(self, symbols: set[str]) -> None:
        """Fetch what the stream may have missed: all fills since the newest that was compared, each applied once."""
        executor, ledger = self._executor, self.ledger
        assert ledger.opening is not None
        start_ns = max(ledger.checked_ns() - int(FILL_MARGIN_S * executor.speed * NS_PER_S), ledger.opening["venue_ns"])
        for symbol in sorted(symbols):
            page = await executor.venue.fills_since(symbol, start_ns, executor.venue_ns(executor.now()))
            missed = [fill for fill in page if not executor.has_seen(fill)]
            for fill in await executor.doubts.named(missed):
                executor.on_fill(fill)

    async def _settle_ledger(
        self, positions: list[PositionReport], balance: BalanceReport
    ) -> tuple[list[PositionReport], BalanceReport]:
        """Add the books up until they agree or looking again does not help; return the snapshot that was compared."""
        executor, ledger, lots = self._executor, self.ledger, self._lot_sizes()
        looks = 2 if self.residue else LOOKS  # a residue that stays is not worth the weight of many looks
        for look in range(looks):
            ledger.add_incomes(await executor.venue.incomes_since(ledger.income_since_ns))
            statement = ledger.state(positions, balance, lots, executor.now())
            self.residue = tuple(statement.residue)
            if not self.residue:
                ledger.mark_checked()
                break
            if look == looks - 1:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
            if look:  # messages had their time: what is still missing was lost
                await self._fetch_fills(self._symbols_to_ask())
            _, positions, balance = await self._snapshot()
        return positions, balance

    async def _snapshot(self) -> tuple[list[OrderUpdate], list[PositionReport], BalanceReport]:
        self._asked_at = self._executor.account.n_pushes
        return await self._executor.venue.snapshot()

    def _take_cash(self, balance: BalanceReport, transfers: list[Income], explained: bool) -> None:
        """Take the cash of a snapshot and the transfers in it at once; what the stream has said since is newer."""
        account = self._executor.account
        told = account.n_pushes != self._asked_at and math.isfinite(account.cash)
        account.apply_balance(balance._replace(cash=account.cash) if told else balance)
        self.settled(transfers, explained, self._asked_at)

    def _adopt(self, positions: list[PositionReport], balance: BalanceReport) -> list[str]:
        """Take the venue's word where ours differs, and say so."""
        executor = self._executor
        account, venue = executor.account, {report.symbol: report for report in positions}
        mismatches = list(self.residue)
        for symbol in sorted({*venue, *account.open_positions()} & set(executor.instruments)):
            report = venue.get(symbol) or _flat(symbol, executor.now())
            ours, unsettled = account.position(symbol).qty, f"quantity {symbol}:"
            # a position that agreed a moment ago and moved since is no difference: its fill has just arrived
            if any(unsettled in sentence for sentence in self.residue) and abs(report.qty - ours) > 0:
                mismatches.append(f"{symbol}: position ours {ours:g}, the venue's {report.qty:g}")
                account.adopt(report)
        for report in venue.values():
            account.note(report)
        statement = self.ledger.last
        self._take_cash(balance, self.ledger.transfers, statement is None or statement.cash.ok)
        return mismatches

    async def accept(self, reason: str) -> tuple[str, ...]:
        """Take the venue's books as the new opening; a person has explained the rest. Return what was left over."""
        if not reason.strip():
            raise CommandRefused(sentences.NO_REASON)
        async with self._lock:
            executor = self._executor
            left = self.residue
            _, positions, balance = await self._snapshot()
            self.ledger.add_incomes(await executor.venue.incomes_since(self.ledger.income_since_ns))
            statement = self.ledger.state(positions, balance, self._lot_sizes(), executor.now())
            transfers = self.ledger.transfers
            incomes = await executor.venue.incomes_since(None)
            await self.ledger.open(positions, balance, incomes, executor.now(), executor.venue_ns(executor.now()))
            for report in positions:
                executor.account.adopt(report)
            self._take_cash(balance, transfers, statement.cash.ok)
            self.accepted(statement.cash.venue - statement.cash.ours, self._asked_at)
            self.residue = ()
        return left


def _flat(symbol: str, now: int) -> PositionReport:
    return PositionReport(symbol, 0.0, 0.0, math.nan, math.nan, math.nan, now)
