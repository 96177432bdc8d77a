"""The ledger's arithmetic, against examples worked by hand."""

import math

import pytest

from engine.domain import BalanceReport, Fill, Income, PositionReport
from engine.runtime.ledger import Ledger
from storage.database import Database

LOTS = {"BTCUSDT": 0.001}
T0 = 10**18


@pytest.fixture
def store(tmp_path):
    database = Database(tmp_path / "paper.duckdb")
    yield database
    database.close()


def fill(trade_id, qty, px, fee=0.0, profit=0.0):
    return Fill("BTCUSDT", str(trade_id), "x", "1", qty, px, fee, profit, False, T0 + trade_id, T0 + trade_id)


def income(tran_id, kind, amount):
    return Income(str(tran_id), kind, "", amount, T0 + tran_id)


def held(qty, entry_px, mark_px=110.0):
    return [PositionReport("BTCUSDT", qty, entry_px, mark_px, math.nan, 1.0, T0)]


def money(cash):
    return BalanceReport(cash, 0.0, 0.0, T0)


async def opened(store, cash=1000.0, positions=()):
    ledger = Ledger(store, "acc")
    await ledger.open(positions, money(cash), [income(0, "TRANSFER", cash)], T0, T0)
    return ledger


def lines(statement):
    return {line.name: (round(line.ours, 6), round(line.venue, 6)) for line in statement.lines}


async def test_fills_fees_funding_and_deposits_add_up_to_the_wallet(store):
    ledger = await opened(store)
    # buy 2 @ 100, buy 2 @ 104: average 102. Sell 3 @ 110: realised 3 * (110 - 102) = 24. One is left at 102.
    for one in (fill(1, 2, 100, 0.08), fill(2, 2, 104, 0.08), fill(3, -3, 110, 0.13, 24.0)):
        ledger.add_fill(one)
    ledger.add_incomes([
        income(0, "TRANSFER", 1000.0),  # counted by the opening: must not count again
        income(1, "COMMISSION", -0.08), income(2, "COMMISSION", -0.08), income(3, "COMMISSION", -0.13),
        income(4, "REALIZED_PNL", 24.0), income(5, "FUNDING_FEE", -0.5), income(6, "TRANSFER", 50.0),
    ])  # fmt: skip
    # 1000 + 24 - 0.29 - 0.5 + 50 = 1073.21
    statement = ledger.state(held(1, 102.0), money(1073.21), LOTS, T0)
    assert statement.residue == []
    assert statement.unexplained == 0.0
    assert lines(statement) == {
        "quantity BTCUSDT": (1, 1), "average price BTCUSDT": (102, 102), "realised PnL": (24, 24), "fees": (0.29, 0.29),
        "funding (stated by the venue)": (-0.5, -0.5), "transfers and other (stated by the venue)": (50, 50),
        "cash": (1073.21, 1073.21),
    }  # fmt: skip


async def test_a_missing_cent_is_within_rounding_and_two_are_unexplained(store):
    ledger = await opened(store)
    assert ledger.state([], money(1000.009), LOTS, T0).residue == []
    statement = ledger.state([], money(1000.02), LOTS, T0)
    assert statement.residue == ["ledger: cash: ours 1000, the venue's 1000.02"]
    assert statement.unexplained == 0.02


async def test_a_missing_fill_shows_in_quantity_fees_and_at_its_mark(store):
    ledger = await opened(store)
    ledger.add_incomes([income(1, "COMMISSION", -0.4)])
    statement = ledger.state(held(0.1, 100.0), money(999.6), LOTS, T0)
    assert [sentence.split(":")[1].strip() for sentence in statement.residue] == ["quantity BTCUSDT", "fees", "cash"]
    assert statement.unexplained == pytest.approx(0.1 * 110 + 0.4)  # position at mark, and the cash


async def test_fills_that_arrive_late_are_put_in_their_place(store):
    ledger = await opened(store)
    for one in (fill(3, -1, 110, profit=10.0), fill(1, 1, 100), fill(2, 1, 120, profit=0.0)):
        ledger.add_fill(one)
    # in order: 1 @ 100, 1 @ 120 -> average 110; selling one @ 110 realises nothing
    books, realized = ledger.positions(LOTS)
    assert (books["BTCUSDT"].qty, books["BTCUSDT"].entry_px, realized) == (1, 110, 0.0)


async def test_a_restart_takes_the_same_books_up(store):
    ledger = await opened(store, positions=held(0.5, 90.0))
    ledger.add_incomes([income(1, "FUNDING_FEE", -1.0)])
    row = fill(1, 0.5, 110)._asdict() | {"account": "acc", "decision_id": 0, "decision_px": None, "arrival_px": None}
    store.append_durable("fills", [row]).result(10)
    later = Ledger(store, "acc")
    assert later.restore()
    later.add_fill(fill(1, 0.5, 110))  # known already
    later.add_incomes([income(1, "FUNDING_FEE", -1.0)])
    statement = later.state(held(1.0, 100.0), money(999.0), LOTS, T0)  # (0.5 * 90 + 0.5 * 110) / 1 = 100
    assert statement.residue == []


async def test_another_account_with_the_same_trade_ids_changes_nothing(store):
    await opened(store)
    other = Ledger(store, "other")
    assert not other.restore()
    await other.open([], money(5.0), [], T0, T0)
    for account, one in (("acc", fill(1, 0.5, 110, 0.1)), ("other", fill(1, -2.0, 90, 0.2))):
        row = one._asdict() | {"account": account, "decision_id": 0, "decision_px": None, "arrival_px": None}
        store.append_durable("fills", [row]).result(10)
    first, second = Ledger(store, "acc"), Ledger(store, "other")
    assert first.restore()
    assert second.restore()
    assert first.state(held(0.5, 110.0), money(999.9), LOTS, T0).residue == ["ledger: fees: ours 0.1, the venue's 0"]
    assert [fill.qty for fill in second.fills] == [-2.0]
