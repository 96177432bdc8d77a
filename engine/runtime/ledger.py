"""The ledger: opening books plus every fill and every income must give what the venue shows, to the cent.

Ours is what the record says: fills, each once, and our own average-cost arithmetic on them. The venue's is what it
states: positions, wallet, income. What is left over is *unexplained*, and while it is not zero nothing new is opened.
Funding and transfers have one source only, the venue's income; cash joins them with our fills and must still come out.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.domain import BalanceReport, Fill, Income, PositionReport
from engine.runtime.account import FLAT, Position, after_fill
from storage.database import Database

CENT = 0.01
ENTRY_TOLERANCE = 1e-4  # relative: venues round average prices
FROM_TRADES = frozenset({"REALIZED_PNL", "COMMISSION"})
FUNDING = "FUNDING_FEE"
OF_TRADING = FROM_TRADES | {FUNDING, "INSURANCE_CLEAR"}
TRANSFERS = frozenset({
    "TRANSFER", "INTERNAL_TRANSFER", "CROSS_COLLATERAL_TRANSFER", "COIN_SWAP_DEPOSIT", "COIN_SWAP_WITHDRAW",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One invariant. ``ours`` and ``venue`` in the unit of its name: base, quote per base, or quote."""

    name: str
    ours: float
    venue: float
    tolerance: float

    @property
    def difference(self) -> float:
        """Ours minus the venue's."""
        return self.ours - self.venue

    @property
    def ok(self) -> bool:
        """Whether they agree."""
        return abs(self.difference) <= self.tolerance

    def sentence(self) -> str:
        """Say what differs."""
        return f"ledger: {self.name}: ours {self.ours:.10g}, the venue's {self.venue:.10g}"


@dataclass(frozen=True, slots=True)
class Statement:
    """All lines at one moment. ``unexplained`` is money, quote: cash left over plus position differences at mark."""

    lines: tuple[Line, ...]
    unexplained: float
    as_of_ns: int

    @property
    def residue(self) -> list[str]:
        """Sentences of the lines that do not agree."""
        return [line.sentence() for line in self.lines if not line.ok]

    @property
    def cash(self) -> Line:
        """The account's cash: the last line."""
        return self.lines[-1]

    def answer(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        lines = [asdict(line) | {"difference": line.difference, "ok": line.ok} for line in self.lines]
        return {"lines": lines, "unexplained": self.unexplained, "as_of_ns": self.as_of_ns}


@dataclass(frozen=True, slots=True)
class _Book:
    """One symbol so far. ``last`` is the place of the last fill worked in."""

    position: Position
    realized: float = 0.0
    last: tuple[int, int] = (0, 0)


class Ledger:
    """Adds up one account from its opening on.

    Parameters
    ----------
    store : Database
        Keeps the opening and the incomes.
    account_key : str
        Whose books.
    """

    def __init__(self, store: Database, account_key: str) -> None:
        self._store, self._account_key = store, account_key
        self.opening: dict[str, Any] | None = None
        self.last: Statement | None = None
        self._incomes: dict[tuple[str, str, str], Income] = {}
        self._checked_ns = 0
        self._forget_fills()

    # opening -----------------------------------------------------------------------------------------------------

    def restore(self) -> bool:
        """Take up the account where the last engine left it; return False when there is nothing to take up.

        Another account in the same data folder changes nothing: every row says whose it is.
        """
        self.opening = self._store.recall(self._key)
        if self.opening is None:
            return False
        self._checked_ns = int(self._store.recall(f"checked:{self._account_key}", 0))
        rows = self._store.rows("SELECT * FROM incomes WHERE account = ?", [self._account_key])
        self.add_incomes([Income(r["tran_id"], r["kind"], r["symbol"], r["amount"], r["ts"]) for r in rows], new=False)
        query = "SELECT * FROM fills WHERE account = ? AND ts_received >= ?"
        for row in self._store.rows(query, [self._account_key, self.opening["ts"]]):
            self.add_fill(_fill(row))
        return True

    async def open(
        self, positions: Iterable[PositionReport], balance: BalanceReport, incomes: list[Income], ts: int,
        venue_ns: int,
    ) -> None:  # fmt: skip
        """Begin the books with what the venue shows now.

        Parameters
        ----------
        incomes : list of Income
            Those that the venue's wallet holds already.
        ts, venue_ns : int
            Now, by our clock and by the venue's.
        """
        newest = max((income.ts for income in incomes), default=0)
        self._incomes = {}
        self._forget_fills()
        self.opening = {
            "ts": ts,
            "venue_ns": venue_ns,
            "cash": balance.cash,
            "positions": {report.symbol: [report.qty, report.entry_px] for report in positions if report.qty},
            "income_ts": newest,
            "counted": [list(income.key) for income in incomes if income.ts == newest],
        }
        await asyncio.wrap_future(self._store.remember(self._key, self.opening))

    def _forget_fills(self) -> None:
        self._fills: dict[str, dict[str, Fill]] = {}  # symbol, trade id
        self._waiting: dict[str, list[Fill]] = {}  # entered, not yet worked into the books
        self._books: dict[str, _Book] = {}
        self._totals = np.zeros(3)  # fees, realised profit as the venue said it, volume: quote
        self._newest_fill_ns = 0

    @property
    def _key(self) -> str:
        return f"ledger:{self._account_key}"

    # entries -----------------------------------------------------------------------------------------------------

    def add_fill(self, fill: Fill) -> None:
        """Enter one fill; the same one again changes nothing."""
        known = self._fills.setdefault(fill.symbol, {})
        if fill.trade_id in known:
            return
        known[fill.trade_id] = fill
        self._newest_fill_ns = max(self._newest_fill_ns, fill.ts_filled)
        self._totals += (fill.fee, fill.pnl_realized, abs(fill.qty * fill.px))
        self._waiting.setdefault(fill.symbol, []).append(fill)

    @property
    def income_since_ns(self) -> int | None:
        """From when on incomes must be asked for; None before the opening."""
        if self.opening is None:
            return None
        newest = max((income.ts for income in self._incomes.values()), default=0)
        return max(newest, self.opening["income_ts"])

    def add_incomes(self, incomes: Iterable[Income], *, new: bool = True) -> None:
        """Enter incomes, each once; those that the opening has counted are left out."""
        assert self.opening is not None
        counted = {tuple(key) for key in self.opening["counted"]}
        fresh = [
            income for income in incomes
            if income.ts >= self.opening["income_ts"] and income.key not in counted
            and income.key not in self._incomes
        ]  # fmt: skip
        self._incomes |= {income.key: income for income in fresh}
        if new and fresh:
            self._store.append("incomes", [{"account": self._account_key} | income._asdict() for income in fresh])

    @property
    def transfers(self) -> list[Income]:
        """Money that came in or went out since the opening; what the venue gives for another reason came in as well.

        What it takes under a name that is not known is a loss: the limits must see it.
        """
        return [
            income for income in list(self._incomes.values())  # other threads ask, while new ones are entered
            if income.kind in TRANSFERS or (income.kind not in OF_TRADING and income.amount > 0.0)
        ]  # fmt: skip

    @property
    def newest_fill_ns(self) -> int:
        """The venue's time of the newest fill entered; 0 when there is none."""
        return self._newest_fill_ns

    @property
    def fills(self) -> list[Fill]:
        """Every fill entered."""
        return [fill for rows in self._fills.values() for fill in rows.values()]

    def checked_ns(self) -> int:
        """Return up to when, in the venue's time, the fills are known to be complete."""
        assert self.opening is not None
        return max(self._checked_ns, int(self.opening["venue_ns"]))

    def mark_checked(self) -> None:
        """Remember that the books agreed with the venue's."""
        if self.newest_fill_ns > self._checked_ns:
            self._checked_ns = self.newest_fill_ns
            self._store.remember(f"checked:{self._account_key}", self._checked_ns)

    @property
    def symbols(self) -> set[str]:
        """Every symbol that the books hold something of."""
        return {*self._fills, *(self.opening or {"positions": {}})["positions"]}

    # the books ---------------------------------------------------------------------------------------------------

    def positions(self, lot_size: dict[str, float]) -> tuple[dict[str, Position], float]:
        """Return positions and realised profit (before fees, quote) by average cost over all fills in their order."""
        for symbol in self.symbols:
            self._bring_up_to_date(symbol, lot_size.get(symbol, 1e-9))
        books = {symbol: book.position for symbol, book in self._books.items()}
        return books, sum(book.realized for book in self._books.values())

    def _bring_up_to_date(self, symbol: str, lot_size: float) -> None:
        """Work in the fills that wait; one that belongs before the last one worked in starts the symbol anew."""
        book = self._books.get(symbol)
        waiting = sorted(self._waiting.pop(symbol, ()), key=_order_of)
        if book is None or (waiting and _order_of(waiting[0]) < book.last):
            opening = (self.opening or {"positions": {}})["positions"]
            book = _Book(Position(*opening.get(symbol, (0.0, 0.0))))
            waiting = sorted(self._fills.get(symbol, {}).values(), key=_order_of)
        position, realized = book.position, book.realized
        for fill in waiting:
            closed = min(abs(fill.qty), abs(position.qty)) if fill.qty * position.qty < 0 else 0.0
            realized += closed * (fill.px - position.entry_px) * (1.0 if position.qty > 0 else -1.0)
            position = after_fill(position, fill.qty, fill.px, lot_size)
        self._books[symbol] = _Book(position, realized, _order_of(waiting[-1]) if waiting else book.last)

    def state(
        self, reports: Iterable[PositionReport], balance: BalanceReport, lot_size: dict[str, float], ts: int
    ) -> Statement:
        """Return every invariant against the venue's present word."""
        assert self.opening is not None
        ours, realized = self.positions(lot_size)
        venue = {report.symbol: report for report in reports}
        lines, at_mark = [], 0.0
        for symbol in sorted({s for s, p in ours.items() if p.qty} | set(venue)):
            position, report = ours.get(symbol, FLAT), venue.get(symbol)
            qty = report.qty if report is not None else 0.0
            line = Line(f"quantity {symbol}", position.qty, qty, lot_size.get(symbol, 1e-9) / 2)
            lines.append(line)
            if line.ok and report is not None:
                tolerance = ENTRY_TOLERANCE * report.entry_px
                lines.append(Line(f"average price {symbol}", position.entry_px, report.entry_px, tolerance))
            elif not line.ok:
                px = report.mark_px if report is not None else position.entry_px
                at_mark += abs(line.difference) * (0.0 if math.isnan(px) else px)
        money = self._money_lines(realized, balance.cash)
        unexplained = round(money[-1].venue - money[-1].ours, 2) + 0.0
        if at_mark:
            unexplained = abs(unexplained) + at_mark
        self.last = Statement((*lines, *money), unexplained, ts)
        return self.last

    def _money_lines(self, realized: float, wallet: float) -> list[Line]:
        assert self.opening is not None
        fees, profit, volume = (float(total) for total in self._totals)
        said = Counter[str]()
        for income in self._incomes.values():
            said[income.kind] += income.amount  # type: ignore[assignment]
        funding = float(said[FUNDING])
        other = float(sum(amount for kind, amount in said.items() if kind not in FROM_TRADES | {FUNDING}))
        cash = self.opening["cash"] + profit - fees + funding + other
        rounding = CENT + 1e-8 * volume
        return [
            Line("realised PnL", realized, float(said["REALIZED_PNL"]), rounding),
            Line("fees", fees, 0.0 - float(said["COMMISSION"]), rounding),
            Line("funding (stated by the venue)", funding, funding, CENT),
            Line("transfers and other (stated by the venue)", other, other, CENT),
            Line("cash", cash, wallet, CENT),
        ]


def _order_of(fill: Fill) -> tuple[int, int]:
    return fill.ts_filled, int(fill.trade_id) if fill.trade_id.isdigit() else 0


def _fill(row: dict[str, Any]) -> Fill:
    return Fill(
        row["symbol"], row["trade_id"], row["client_id"] or "", row["venue_order_id"] or "", row["qty"], row["px"],
        row["fee"] or 0.0, row["pnl_realized"] or 0.0, bool(row["is_maker"]), row["ts_filled"], row["ts_received"],
    )  # fmt: skip
