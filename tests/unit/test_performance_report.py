"""The account's own figures, from hand-worked equity rows."""

import math
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from engine.domain import NS_PER_DAY, Income
from engine.runtime.performance import MIN_DAYS, performance
from storage.database import Database

DAY = int(datetime(2026, 1, 30, tzinfo=UTC).timestamp()) * 10**9
HOUR = NS_PER_DAY // 24


@pytest.fixture
def store(tmp_path):
    database = Database(tmp_path / "t.duckdb")
    yield database
    database.close()


def report(store, rows, *, cash=10_000.0, since=0, fills=(), began=DAY, transfers=()):
    store.append("equity", [{"ts": ts, "equity": equity, "cash": equity} for ts, equity in rows])
    store.append("fills", list(fills))
    store.flush()
    session, account = SimpleNamespace(account_key="me"), SimpleNamespace(cash=cash)
    moved = [Income(f"{n}", "TRANSFER", "", amount, ts) for n, (ts, amount) in enumerate(transfers)]
    reconciler = SimpleNamespace(ledger=SimpleNamespace(transfers=moved))
    loop = SimpleNamespace(store=store, began_ns=began, account=account, session=session, reconciler=reconciler)
    return performance(loop, since)


def fill(trade_id, fee, pnl, qty=0.1, px=50_000.0):
    return {"account": "me", "symbol": "BTCUSDT", "trade_id": trade_id, "qty": qty, "px": px, "fee": fee,
            "pnl_realized": pnl, "ts_received": DAY + 1}  # fmt: skip


def test_days_and_months_compound_to_the_whole(store):
    rows = [
        (DAY, 10_000.0), (DAY + HOUR, 10_100.0),  # 30 January: +1 %
        (DAY + NS_PER_DAY, 9_595.0),  # 31 January: −5 %
        (DAY + 2 * NS_PER_DAY, 9_786.9),  # 1 February: +2 %
    ]  # fmt: skip
    answer = report(store, rows)
    assert [row["date"] for row in answer["daily"]] == ["2026-01-30", "2026-01-31", "2026-02-01"]
    assert [row["return"] for row in answer["daily"]] == pytest.approx([0.01, -0.05, 0.02])
    assert [row["pnl"] for row in answer["daily"]] == pytest.approx([100.0, -505.0, 191.9])
    january, february = answer["monthly"]
    assert (january["month"], january["return"]) == ("2026-01", pytest.approx(1.01 * 0.95 - 1))
    assert (february["month"], february["return"]) == ("2026-02", pytest.approx(0.02))
    assert answer["ratios"]["total_return"] == pytest.approx(-0.02131)
    assert answer["ratios"]["max_drawdown"] == pytest.approx(0.05)  # 10100 to 9595
    assert answer["as_of_ns"] == DAY + 2 * NS_PER_DAY


def test_deposits_and_withdrawals_are_neither_profit_nor_loss_nor_funding(store):
    second = 10**9
    rows = [
        (DAY, 10_000.0), (DAY + HOUR, 11_000.0),  # +10 %
        (DAY + 2 * HOUR, 5_500.0),  # half is withdrawn
        (DAY + NS_PER_DAY, 5_225.0),  # -5 %
        (DAY + NS_PER_DAY + HOUR, 10_225.0), (DAY + NS_PER_DAY + 2 * HOUR, 10_736.25),  # 5000 come in, then +5 %
    ]  # fmt: skip
    moved = [(DAY + 2 * HOUR - 3 * second, -5_500.0), (DAY + NS_PER_DAY + HOUR + 2 * second, 5_000.0)]
    answer = report(store, rows, cash=10_736.25, transfers=moved)
    assert [row["return"] for row in answer["daily"]] == pytest.approx([0.1, 0.95 * 1.05 - 1.0])
    assert [row["pnl"] for row in answer["daily"]] == pytest.approx([1_000.0, 236.25])
    assert answer["ratios"]["total_return"] == pytest.approx(1.1 * 0.95 * 1.05 - 1.0)
    assert answer["ratios"]["max_drawdown"] == pytest.approx(0.05)
    assert answer["ratios"]["funding"] == pytest.approx(10_000.0 - 500.0 - 10_736.25)  # nothing of it is a transfer
    assert "-500.00 USDT" in answer["note"]


def test_drawdown_curve_is_the_fall_from_the_peak_so_far(store):
    answer = report(store, [(DAY, 100.0), (DAY + 1_000_000, 80.0), (DAY + 2_000_000, 120.0), (DAY + 3_000_000, 90.0)])
    ms = DAY // 1_000_000
    assert answer["drawdown"] == [[ms, 0.0], [ms + 1, pytest.approx(0.2)], [ms + 2, 0.0], [ms + 3, 0.25]]


def test_too_few_days_leave_the_ratios_unknown_and_say_so(store):
    answer = report(store, [(DAY + n * NS_PER_DAY, 10_000.0 + n) for n in range(5)])
    assert answer["enough"] is False
    assert (answer["ratios"]["sharpe"], answer["ratios"]["volatility"]) == (None, None)
    assert answer["note"] == f"Ratios need {MIN_DAYS} daily returns; there are 5 so far."


def test_ratios_of_enough_days_agree_with_their_definitions(store):
    returns = np.array([0.01, -0.005] * 15)
    equity = 10_000.0 * np.cumprod(1.0 + np.append(0.0, returns))
    answer = report(store, [(DAY + n * NS_PER_DAY, value) for n, value in enumerate(equity)])
    ratios = answer["ratios"]
    daily = np.append(0.0, returns)  # the first day has no return of its own
    assert answer["enough"] is True
    assert ratios["volatility"] == pytest.approx(daily.std(ddof=1) * math.sqrt(365))
    assert ratios["sharpe"] == pytest.approx(daily.mean() / daily.std(ddof=1) * math.sqrt(365))
    assert ratios["win_rate"] == pytest.approx(15 / 31)
    assert ratios["profit_factor"] == pytest.approx(0.01 * 15 / (0.005 * 15))
    assert ratios["cvar_95"] == pytest.approx(0.005)  # the worst twentieth is two of the losing days


def test_funding_is_what_fills_do_not_explain(store):
    # 10000 at first; fills realised 30 and cost 4; now 10021: 10000 + 30 − 4 − 10021 = 5 of funding paid
    answer = report(
        store, [(DAY, 10_000.0), (DAY + HOUR, 10_021.0)], cash=10_021.0,
        fills=[fill("1", 3.0, 0.0), fill("2", 1.0, 30.0, qty=-0.1, px=50_300.0)],
    )  # fmt: skip
    ratios = answer["ratios"]
    assert (ratios["fees"], ratios["funding"]) == (4.0, pytest.approx(5.0))
    assert ratios["traded"] == pytest.approx(5_000.0 + 5_030.0)
    assert ratios["turnover"] == pytest.approx(10_030.0 / 10_010.5)


def test_rows_of_an_earlier_account_do_not_count(store):
    answer = report(store, [(DAY - HOUR, 50_000.0), (DAY, 10_000.0), (DAY + HOUR, 10_100.0)])
    assert answer["ratios"]["total_return"] == pytest.approx(0.01)


def test_later_start_leaves_funding_unknown(store):
    answer = report(store, [(DAY, 10_000.0), (DAY + HOUR, 9_900.0)], since=DAY + 1)
    assert answer["ratios"]["funding"] is None
    assert len(answer["daily"]) == 1


def test_empty_record_is_unknown_and_not_zero(store):
    answer = report(store, [])
    assert (answer["daily"], answer["monthly"], answer["drawdown"], answer["as_of_ns"]) == ([], [], [], None)
    assert answer["ratios"]["total_return"] is None
    assert answer["ratios"]["max_drawdown"] is None
    assert answer["ratios"]["turnover"] is None
