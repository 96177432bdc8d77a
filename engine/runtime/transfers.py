"""Money that comes in or goes out of the account is neither profit nor loss: the limits' memory moves with it.

Peak equity, the day's opening equity and the equity at which the present period of the Kelly record began are scaled by
equity after over equity before. So a transfer changes no percentage: not the drawdown, not the day's loss, and a
deposit gives no room to lose more. The venue tells of a transfer twice, in the account's stream and as an income, in
either sequence and with minutes or a restart in between. What has been counted is kept in the same row as the memory
that it changed, so that each transfer counts once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.domain import Income
from engine.runtime import sentences
from engine.runtime.ledger import CENT

if TYPE_CHECKING:
    from engine.runtime.loop import Loop

NO_MONEY = 1e-6  # below it two sums are the same
MOVES_WITH_MONEY = ("peak_equity", "day_open_equity", "period_equity")


def moved_book(
    book: np.ndarray, amount: float, equity: float, emptied: float | None
) -> tuple[np.ndarray, float | None]:
    """Return the limits' memory after a transfer, and the drawdown at which the account was emptied by one, or None.

    Parameters
    ----------
    book : (1,) BOOK
        Not changed.
    amount : float, quote currency
        Above 0 for money that came in.
    equity : float, quote currency
        With the transfer in it.
    emptied : float, optional
        What the transfer before returned.

    Notes
    -----
    Where nothing was left, or less than nothing, there is no ratio. An account that was emptied by a withdrawal has
    nothing to guard and goes on at the same drawdown when money comes back. One that was emptied by losses gets the
    money on top of its peak and its day: it stays as deep below them as it is.
    """
    before, fresh = equity - amount, book.copy()
    if before > CENT and equity > CENT:
        for name in MOVES_WITH_MONEY:
            fresh[name] *= equity / before
        return fresh, None
    if before > CENT and equity >= -CENT:
        peak = max(float(book["peak_equity"][0]), before)
        for name in MOVES_WITH_MONEY:
            fresh[name] = 0.0
        return fresh, 1.0 - before / peak
    if equity > CENT and (emptied is not None or not book["peak_equity"][0] > CENT):
        fresh["peak_equity"], fresh["day_open_equity"] = equity / (1.0 - (emptied or 0.0)), equity
        fresh["period_equity"] = 0.0
        return fresh, None
    if amount > 0.0:
        for name in MOVES_WITH_MONEY:
            fresh[name] += np.where(book[name] > 0.0, amount, 0.0)
    return fresh, emptied


class Transfers:
    """Counts each transfer once, whichever way it is heard of first.

    Parameters
    ----------
    loop : Loop
        Its account, books and decider.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.n_moved = 0  # how often the memory was moved: what compares equities over time begins anew
        self._known = 0.0  # what the venue's incomes come to since the opening of the books, quote
        self._keys: set[tuple[str, str, str]] = set()
        self._pushed: list[tuple[int, float]] = []  # heard of in the stream only: number of the push, amount
        self._since: int | None = None  # when the books were opened from which that counts
        self._counted: float | None = None  # what the memory carries; None before there is one
        self._emptied: float | None = None
        self._explained = True  # whether incomes and fills explain the cash of now

    @property
    def _wanted(self) -> float:
        return self._known + sum(amount for _, amount in self._pushed)

    def _opening(self) -> int | None:
        """Return when the books were opened: what is known counts from there."""
        opening = self._loop.reconciler.ledger.opening
        return None if opening is None else int(opening["ts"])

    def memory(self) -> dict[str, Any]:
        """Return what ``begin`` needs after a restart."""
        pushed = [amount for _, amount in self._pushed]
        return {"since": self._since, "known": self._known, "pushed": pushed, "emptied": self._emptied}

    def begin(self, memory: dict[str, Any]) -> None:
        """Take up what the limits' memory had counted; what came since, while nobody listened, is counted now.

        A memory from before transfers were counted holds all that is known by now: as profit or loss.
        """
        kept, self._since = memory.get("transfers"), self._opening()
        if kept is None:
            self._counted = self._wanted
            return
        self._emptied = kept["emptied"]
        if kept["since"] != self._since:  # the books were opened anew, and what came before is in their opening
            self._counted = 0.0
        else:
            self._counted = kept["known"] + sum(kept["pushed"])
            arrived = self._known - kept["known"]
            if not self._explained and abs(sum(kept["pushed"]) - arrived) > CENT:
                self._pushed = [*((0, amount) for amount in kept["pushed"]), *self._pushed]
        self.catch_up()

    def pushed(self, number: int, amount: float) -> None:
        """Count a change of cash that the stream calls a transfer: the income that says so comes later.

        A push that comes after its income finds the cash as it is, which makes an amount of 0.
        """
        if math.isfinite(amount) and abs(amount) > NO_MONEY:
            self._pushed.append((number, amount))
            self.catch_up()

    def settle(self, incomes: list[Income], explained: bool, number: int) -> None:
        """Take the venue's incomes, once the cash that they explain is the account's.

        Parameters
        ----------
        incomes : list of Income
            Every transfer since the opening of the books.
        explained : bool
            Whether fills and incomes explain the cash to the cent. Then no push from before can be missing in them.
        number : int
            Of the newest push when the cash was asked for.
        """
        for income in incomes:
            if income.key not in self._keys:
                same = (push for push in self._pushed if abs(push[1] - income.amount) <= CENT)
                if (push := next(same, None)) is not None:
                    self._pushed.remove(push)
        self._keys = {income.key for income in incomes}
        self._known, self._explained = sum(income.amount for income in incomes), explained
        if explained:
            self._pushed = [push for push in self._pushed if push[0] > number]
        self.catch_up()

    def accept(self, unexplained: float, number: int) -> None:
        """Begin to count anew with new books. Cash that nobody explained counts against us: a gain as a deposit."""
        gift = unexplained - sum(amount for at, amount in self._pushed if at <= number)
        if gift > CENT:
            self._pushed.append((number, gift))
            self.catch_up()
        self._known, self._keys, self._since = 0.0, set(), self._opening()
        self._pushed = [push for push in self._pushed if push[0] > number]
        if self._counted is not None:
            self._counted = self._wanted
            self._loop.remember_risk()

    def catch_up(self) -> None:
        """Move the memory by what is known and not counted yet; while equity is unknown that waits."""
        loop = self._loop
        if self._counted is None or loop.decider is None:
            return
        amount, equity = self._wanted - self._counted, loop.equity_now()
        if abs(amount) <= NO_MONEY or not math.isfinite(equity):
            return
        book, self._emptied = moved_book(loop.decider.state.book, amount, equity, self._emptied)
        loop.decider.set_book(**{name: float(book[name][0]) for name in MOVES_WITH_MONEY})
        self._counted = self._wanted
        self.n_moved += 1
        loop.remember_risk()
        loop.incident("warning", "account", sentences.money_moved(amount, equity))
