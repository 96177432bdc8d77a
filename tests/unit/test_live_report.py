"""The account's own report: figures by hand, goals that a short record cannot decide, and a paper that opens."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from engine.domain import NS_PER_DAY, RULE_SENTENCE, Rule, Verdict
from engine.research.live_document import live_document
from engine.research.live_targets import MISSED, OPEN, REACHED, Record, growth_interval, sharpe_interval, target_rows
from engine.research.report_pdf import pdf_bytes
from engine.runtime import live_record as module
from engine.runtime.gauges import Book, gauges
from engine.runtime.live_record import live_record
from engine.settings import SystemConfig
from storage.database import Database

DAY = 20_000 * NS_PER_DAY
MINUTE = 60 * 10**9


def days(n, mean, spread=0.01):
    """Return n daily returns of exactly this mean and deviation."""
    found = np.random.default_rng(3).normal(size=n)
    found = (found - found.mean()) / found.std(ddof=1)
    return mean + spread * found


def record(**changes):
    base = Record(days(400, 0.003), 0.08, 0.02, 0.9995, 400.0, 8.0, 5_000)
    return base._replace(**changes)


def verdicts(found):
    return {row["name"]: row["verdict"] for row in target_rows(found, 1.0, 0.15, 0.05)}


def test_sharpe_and_growth_with_their_intervals_by_hand():
    value, low, high = sharpe_interval(days(365, 0.001))
    assert value == pytest.approx(0.1 * math.sqrt(365))
    half = 1.959964 * math.sqrt(1 + 0.005) / math.sqrt(365) * math.sqrt(365)
    assert (low, high) == (pytest.approx(value - half), pytest.approx(value + half))
    steady = growth_interval(np.full(100, 0.001))
    assert steady == pytest.approx((1.001**365 - 1,) * 3)
    assert math.isnan(sharpe_interval(days(19, 0.001))[0])


def test_a_goal_is_decided_only_by_enough_evidence():
    assert set(verdicts(record()).values()) == {REACHED}
    young = verdicts(record(daily_return=days(30, 0.003), n_days=30.0, n_decisions=10))
    assert set(young.values()) == {OPEN, REACHED}
    assert young["uptime"] == REACHED
    nothing = record(daily_return=np.zeros(0), max_drawdown=math.nan, worst_day=math.nan, uptime=math.nan, n_days=0.1,
                     latency_p99_ms=math.nan, n_decisions=0)  # fmt: skip
    assert set(verdicts(nothing).values()) == {OPEN}


def test_a_limit_that_was_gone_through_is_missed_at_once():
    found = verdicts(
        record(daily_return=days(400, -0.003), max_drawdown=0.151, worst_day=0.051, n_days=1.0, uptime=0.9)
    )
    assert found["largest drawdown"] == found["worst day"] == found["annual return"] == found["Sharpe ratio"] == MISSED
    assert found["uptime"] == OPEN


@pytest.fixture
def account(tmp_path, monkeypatch):
    """Return a loop with two days of record: 10,000, then 10,100 after a fall to 9,900; a quarter was recorded."""
    store = Database(tmp_path / "t.duckdb")
    now = DAY + 2 * NS_PER_DAY
    monkeypatch.setattr(module.time, "time_ns", lambda: now)
    rows = [(DAY, 10_000.0), (DAY + NS_PER_DAY - MINUTE, 9_900.0), (DAY + NS_PER_DAY + MINUTE, 10_100.0)]
    rows += [(DAY + 2 * MINUTE * i, 10_000.0) for i in range(1, 360)]
    store.append("equity", [{"ts": ts, "equity": value, "cash": value} for ts, value in rows])
    store.append("decisions", [
        {"decision_id": i, "ts_close": DAY, "ts_decided": DAY + i, "elapsed_ms": float(i)} for i in range(1, 101)
    ])  # fmt: skip
    fill = {"account": "me", "symbol": "BTCUSDT", "ts_received": DAY + 1}
    store.append("fills", [
        fill | {"trade_id": "1", "qty": 0.1, "px": 50_010.0, "decision_px": 50_000.0, "fee": 2.0, "pnl_realized": 0.0,
                "is_maker": False},
        fill | {"trade_id": "2", "qty": -0.05, "px": 50_200.0, "decision_px": 50_200.0, "fee": 0.0,
                "pnl_realized": 9.5, "is_maker": True},
    ])  # fmt: skip
    store.flush()
    held = SimpleNamespace(qty=0.05, entry_px=50_010.0)
    yield SimpleNamespace(
        store=store, began_ns=DAY, config=SystemConfig(), decider=None,
        reconciler=SimpleNamespace(ledger=SimpleNamespace(transfers=[])),
        session=SimpleNamespace(account_key="me", mode="paper", market_source="simulated"),
        account=SimpleNamespace(cash=10_100.0, open_positions=lambda: {"BTCUSDT": held}, position=lambda symbol: held),
        market=SimpleNamespace(mark_px=lambda symbol: 50_110.0),
    )  # fmt: skip
    store.close()


def test_record_adds_up_by_hand(account):
    found = live_record(account)
    assert found["equity"]["total_return"] == pytest.approx(0.01)
    assert found["equity"]["max_drawdown"] == pytest.approx(0.01)
    assert found["costs"]["slippage"] == pytest.approx(1.0)  # 0.1 at 10 worse; the maker's fill cost nothing
    assert found["costs"]["maker_share"] == pytest.approx(2_510.0 / 7_511.0)
    [row] = found["per_symbol"]
    assert (row["realized"], row["fees"], row["unrealized"]) == (9.5, 2.0, pytest.approx(5.0))
    assert row["net"] == pytest.approx(12.5)
    assert found["latency"]["p50_ms"] == pytest.approx(50.5)
    # 359 rows two minutes apart cover twice as many minutes, the first and the two of midnight theirs
    assert found["uptime"]["recorded"] == 719 + 1 + 4
    assert found["uptime"]["minutes"] == 2_880
    assert "prices are random" in found["caveats"][0]
    assert {row["verdict"] for row in found["targets"]} == {OPEN}


def test_paper_opens_and_says_what_is_missing(account):
    config = SystemConfig()
    empty_risk = {
        "equity": 10_100.0, "gauges": gauges(config, Book(10_100.0, 10_100.0, 10_000.0, {}, {}), None), "tail": [],
        "exposures": [], "totals": {"net": 0.0, "gross": 0.0}, "refused": [],
        "objections": {"day": None, "decisions": 0, "economy": 0, "rows": []},
    }  # fmt: skip
    doc = live_document(live_record(account), empty_risk, {"ts": None, "rows": []})
    assert doc.section("stress").words == ["No replay yet: make one on the Risk page or with python -m engine stress."]
    assert pdf_bytes(doc).startswith(b"%PDF")
    objection = {"rule": "DAILY_LOSS", "symbol": "BTCUSDT", "verdict": int(Verdict.REFUSE), "count": 2,
                 "measured": 0.03, "limit": 0.05, "ts": DAY, "sentence": RULE_SENTENCE[Rule.DAILY_LOSS]}  # fmt: skip
    mode = {"loss": 0.2, "loss_money": 2_000.0, "worst_day": 0.2, "drawdown": 0.2, "broken": ["daily loss"]}
    limits = {"max_daily_loss": 0.05, "max_drawdown": None}
    stress = {"ts": DAY, "trigger": "nightly", "equity": 10_100.0, "source": "Spot candles.", "limits": limits,
              "rows": [
        {"title": "Gap", "modes": dict.fromkeys(("held", "stops", "control"), mode)}]}  # fmt: skip
    full = empty_risk | {"objections": empty_risk["objections"] | {"decisions": 9, "rows": [objection]}}
    doc = live_document(live_record(account), full, stress)
    assert doc.section("summary").words[2] == "The drawdown limit is switched off: no scenario was held against it."
    assert "In 1 of 1 scenarios a limit would not hold" in doc.section("summary").words[3]
    assert doc.section("objections").tables[0].rows[0][:3] == ["daily loss", "BTCUSDT", "refuse"]
    assert pdf_bytes(doc).startswith(b"%PDF")
