"""Deposits and withdrawals move the limits' memory, each once, whatever comes between the two words on them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from engine.core.state import BOOK
from engine.domain import Income
from engine.runtime.transfers import MOVES_WITH_MONEY, Transfers, moved_book

T0 = 10**18


def book(peak=10_000.0, day_open=9_000.0, period=0.0):
    made = np.zeros(1, dtype=BOOK)
    made["peak_equity"], made["day_open_equity"], made["period_equity"] = peak, day_open, period
    return made


def place(made):
    return tuple(float(made[name][0]) for name in MOVES_WITH_MONEY)


def income(n, amount):
    return Income(str(n), "TRANSFER", "", amount, T0 + n)


class Account:
    """A loop of one account: ``move`` is what the venue does, the rest is how the engine hears of it."""

    def __init__(self, equity=8_800.0, memory=None, opened=T0):
        self.equity, self.told, self.kept, self.number = equity, [], None, 0
        self.reconciler = SimpleNamespace(ledger=SimpleNamespace(opening={"ts": opened}))
        self.decider = SimpleNamespace(state=SimpleNamespace(book=book()))
        self.decider.set_book = self.set_book
        self.transfers = Transfers(self)

    def set_book(self, **values):
        for name, value in values.items():
            self.decider.state.book[name] = value

    def equity_now(self):
        return self.equity

    def incident(self, severity, source, message):
        self.told.append(message)

    def remember_risk(self):
        self.kept = {"book": self.decider.state.book.copy(), "transfers": self.transfers.memory()}

    def push(self, amount):
        self.equity += amount
        self.number += 1
        self.transfers.pushed(self.number, amount)

    def settle(self, *incomes, explained=True, number=None):
        self.transfers.settle(list(incomes), explained, self.number if number is None else number)

    def restarted(self, equity=None, *incomes, explained=True, opened=None):
        """Return the next engine on this account, which knows only what was kept."""
        opened = opened or self.reconciler.ledger.opening["ts"]
        other = Account(self.equity if equity is None else equity, opened=opened)
        other.settle(*incomes, explained=explained)
        other.decider.state.book[:] = self.kept["book"]
        other.transfers.begin(self.kept)
        return other

    def losses(self):
        """Return the drawdown and the day's loss."""
        peak, day_open, _ = place(self.decider.state.book)
        return round(1.0 - self.equity / peak, 9), round(1.0 - self.equity / day_open, 9)


def begun(*incomes, equity=8_800.0):
    account = Account(equity)
    account.settle(*incomes)
    account.transfers.begin({})
    account.remember_risk()
    return account


BEFORE = (round(1 - 8_800 / 10_000, 9), round(1 - 8_800 / 9_000, 9))


@pytest.mark.parametrize("amount", [-8_000.0, -1_500.0, 900.0, 50_000.0])
def test_neither_way_changes_a_percentage(amount):
    fresh, emptied = moved_book(book(period=8_000.0), amount, 8_800.0 + amount, None)
    ratio = (8_800.0 + amount) / 8_800.0
    assert place(fresh) == pytest.approx((10_000.0 * ratio, 9_000.0 * ratio, 8_000.0 * ratio))
    assert emptied is None


def test_an_account_that_was_emptied_goes_on_at_the_drawdown_at_which_it_was():
    empty, emptied = moved_book(book(), -8_800.0, 0.0, None)
    assert place(empty) == (0.0, 0.0, 0.0)  # nothing to guard: no drawdown of 100 %
    assert emptied == pytest.approx(0.12)
    back, emptied = moved_book(empty, 4_400.0, 4_400.0, emptied)
    assert place(back) == pytest.approx((5_000.0, 4_400.0, 0.0))
    assert emptied is None


def test_money_put_into_a_bust_account_pays_for_no_loss():
    fresh, _ = moved_book(book(), 1_000.0, 950.0, None)  # equity was -50
    assert place(fresh) == (11_000.0, 10_000.0, 0.0)
    assert place(moved_book(book(), -100.0, -150.0, None)[0]) == place(book())


def test_a_first_deposit_gives_the_day_its_beginning():
    assert place(moved_book(book(0.0, 0.0), 500.0, 500.0, None)[0]) == (500.0, 500.0, 0.0)


@pytest.mark.parametrize("amount", [-1_500.0, 900.0])
def test_the_push_counts_at_once_and_its_income_not_again(amount):
    account = begun()
    account.push(amount)
    assert account.losses() == BEFORE
    account.settle(explained=False)  # the venue's list of incomes is behind
    account.settle(income(1, amount))
    account.settle(income(1, amount))
    assert account.losses() == BEFORE
    assert len(account.told) == account.transfers.n_moved == 1


def test_an_income_without_a_push_counts_with_the_cash_and_a_late_push_not_again():
    account = begun()
    account.equity -= 1_500.0
    account.settle(income(1, -1_500.0))
    assert account.losses() == BEFORE
    account.push(0.0)  # its cash is what it is already
    assert account.transfers.n_moved == 1


def test_a_push_that_held_a_lost_trade_as_well_is_corrected_by_the_income():
    account = begun()
    account.push(400.0)  # a deposit of 500, and a loss of 100 of which no word came
    account.settle(income(1, 500.0))
    assert account.losses()[0] == pytest.approx(1.0 - (8_800.0 - 100.0) / 10_000.0, abs=1e-3)


def test_what_was_pushed_after_the_venue_was_asked_is_not_taken_for_missing():
    account = begun()
    account.push(900.0)
    account.settle(number=0)  # asked before, and its cash explained
    assert account.losses() == BEFORE
    account.settle(income(1, 900.0))
    assert account.losses() == BEFORE


def test_two_transfers_of_which_one_income_is_behind():
    account = begun()
    account.push(900.0)
    account.push(-300.0)
    account.settle(income(1, 900.0), explained=False)
    assert account.losses() == BEFORE
    account.settle(income(1, 900.0), income(2, -300.0))
    assert account.losses() == BEFORE


@pytest.mark.parametrize("told", ["push", "income", "both"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_restart_at_any_moment_counts_once(told, kept):
    account = begun(income(1, 700.0))
    at_start = account.kept
    account.push(-1_500.0) if told != "income" else setattr(account, "equity", 7_300.0)
    if told != "push":
        account.settle(income(1, 700.0), income(2, -1_500.0))
    if not kept:  # it ended before the memory was written
        account.kept = at_start
    after = account.restarted(None, income(1, 700.0), income(2, -1_500.0))
    assert after.losses() == BEFORE
    after.remember_risk()
    assert after.restarted(None, income(1, 700.0), income(2, -1_500.0)).losses() == BEFORE


def test_a_transfer_while_nobody_listened_counts_at_the_start():
    account = begun()
    assert account.restarted(18_800.0, income(1, 10_000.0)).losses() == BEFORE


def test_a_push_whose_income_is_still_missing_after_a_restart_stays_counted():
    account = begun()
    account.push(-1_500.0)
    after = account.restarted(None, explained=False)
    assert after.losses() == BEFORE
    after.settle(income(1, -1_500.0))
    assert after.losses() == BEFORE
    assert after.transfers.n_moved == 0


def test_while_equity_is_unknown_a_transfer_waits():
    account = begun()
    account.equity = float("nan")
    account.settle(income(1, -1_500.0))
    assert account.transfers.n_moved == 0
    account.equity = 7_300.0
    account.transfers.catch_up()
    assert account.losses() == BEFORE


def test_a_person_who_explains_the_books_begins_to_count_anew_and_an_unknown_gain_is_a_deposit():
    account = begun(income(1, 700.0))
    account.equity += 600.0
    account.settle(income(1, 700.0), explained=False)
    account.reconciler.ledger.opening = {"ts": T0 + 9}
    account.transfers.accept(600.0, account.number)
    assert account.losses() == BEFORE
    after = account.restarted(None)
    assert (after.losses(), after.transfers.n_moved) == (BEFORE, 0)
    account.equity -= 600.0
    account.transfers.accept(-600.0, account.number)  # an unknown loss is one
    assert account.losses() > BEFORE


def test_books_opened_anew_without_a_word_to_the_memory_count_what_came_since():
    account = begun(income(1, 700.0))
    after = account.restarted(9_700.0, income(2, 900.0), opened=T0 + 9)
    assert after.losses() == BEFORE


def test_a_memory_from_before_transfers_were_counted_counts_none_again():
    account = Account()
    account.settle(income(1, 700.0))
    account.transfers.begin({"peak_equity": 10_000.0})
    assert account.transfers.n_moved == 0
