"""What the engine answers about the goal and a finished run: from the record, in its units, or a refusal in words."""

import base64
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from report_example import full_result

from engine.domain import NS_PER_DAY, NS_PER_MS
from engine.errors import CommandRefused
from engine.research.candles import Candles, stretch_of
from engine.research.goal_answer import goal_answer
from engine.runtime.goal_desk import GoalDesk
from engine.runtime.report_desk import MOST_CANDLES, ReportDesk
from storage.database import Database

DAY = 1_780_272_000 * 10**9 // NS_PER_DAY * NS_PER_DAY
HOUR_NS = 3_600 * 10**9


@pytest.fixture
def store(tmp_path):
    database = Database(tmp_path / "paper.duckdb")
    yield database
    database.close()


class KnownRuns:
    def result(self, run_id):
        if run_id != "bt-1":
            raise CommandRefused(f"There is no run {run_id!r}.")
        return full_result()


def goal_desk(store, equity=(), now_days=60, mode="paper"):
    rows = [{"ts": DAY + i * NS_PER_DAY + 1, "equity": value, "cash": value} for i, value in enumerate(equity)]
    store.append("equity", rows)
    store.flush()
    loop = SimpleNamespace(
        store=store, began_ns=DAY, clock=SimpleNamespace(now=lambda: DAY + now_days * NS_PER_DAY),
        session=SimpleNamespace(mode=mode, market_source="simulated"),
        equity_now=lambda: float(equity[-1]) if len(equity) else float("nan"),
        reconciler=SimpleNamespace(ledger=SimpleNamespace(transfers=[])),
    )  # fmt: skip
    return GoalDesk(SimpleNamespace(loop=loop), KnownRuns())


async def ask(desk, **body):
    return await desk.questions["goal"](body)


async def test_goal_of_the_account_begins_at_its_equity_and_names_its_market(store):
    equity = 10_000.0 * np.cumprod(1.0 + np.random.default_rng(2).normal(0.001, 0.01, 50))
    desk = goal_desk(store, equity)
    answer = await ask(desk, by="2026-08-10", target=20_000.0)
    assert answer["goal"]["equity"] == pytest.approx(equity[-1])
    assert answer["record"]["returns"] == 48  # 50 days, of which the last is not over
    assert "whose prices are random" in answer["record"]["caveats"][0]
    assert await ask(desk, by="2026-08-10", target=20_000.0) is answer  # from memory


async def test_goal_of_a_fresh_account_is_not_enough_evidence(store):
    answer = await ask(goal_desk(store, ()), by="2026-12-31")
    assert answer["evidence"]["state"] == "none"
    assert answer["goal"]["equity"] == 10_000.0


async def test_goal_of_a_run_begins_at_its_cash(store, monkeypatch):
    monkeypatch.setattr("engine.runtime.goal_desk._elsewhere", lambda *question: goal_answer(*question, outer=5))
    answer = await ask(goal_desk(store), run_id="bt-1", by="2026-08-10", sample="whole", target=12_000)
    assert answer["record"]["kind"] == "backtest"
    assert answer["goal"]["equity"] == 10_000.0


@pytest.mark.parametrize(("body", "word"), [
    ({"by": "2020-01-01"}, "not ahead of today"), ({"by": "soon"}, "not a date"),
    ({"by": "2027-01-01", "target": "much"}, "must be a number"), ({"run_id": "bt-9"}, "no run"),
    ({"by": "2027-01-01", "target": 5.0}, "above today's equity"),
])  # fmt: skip
async def test_goal_refuses_in_words(store, body, word):
    with pytest.raises(CommandRefused, match=word):
        await ask(goal_desk(store), **body)


async def test_report_comes_in_three_forms(store):
    report = ReportDesk(store, KnownRuns()).questions["run.report"]
    assert (await report({"run_id": "bt-1"}))["title"] == "Backtest: trend"
    assert (await report({"run_id": "bt-1", "format": "html"}))["html"].startswith("<!doctype html>")
    assert base64.b64decode((await report({"run_id": "bt-1", "format": "pdf"}))["pdf_base64"]).startswith(b"%PDF")
    with pytest.raises(CommandRefused, match="none of them"):
        await report({"run_id": "bt-1", "format": "docx"})


def kept_run(store, config):
    store.append("runs", [{"run_id": "bt-1", "kind": "backtest", "status": "done", "config": json.dumps(config)}])
    store.flush()
    return ReportDesk(store, KnownRuns()).questions["run.candles"]


async def test_candles_of_a_run_on_a_file(store, tmp_path):
    times = DAY + HOUR_NS * np.arange(4)
    px = np.array([10.0, 11.0, 12.0, 13.0])
    columns = {"timestamp": pa.array(times // NS_PER_MS, pa.timestamp("ms", tz="UTC")), "open": px, "high": px + 1,
               "low": px - 1, "close": px, "volume": px}  # fmt: skip
    pa_parquet.write_table(pa.table(columns), tmp_path / "AUSDT.parquet")
    candles = kept_run(store, {"source": "path", "path": str(tmp_path / "AUSDT.parquet")})
    start_ms = int(times[1]) // NS_PER_MS
    answer = await candles({"run_id": "bt-1", "symbol": "AUSDT", "start_ms": start_ms})
    assert answer["candles"][0] == [start_ms, 11.0, 12.0, 10.0, 11.0]
    assert len(answer["candles"]) == 3
    with pytest.raises(CommandRefused, match="no run"):
        await candles({"run_id": "bt-2", "symbol": "AUSDT"})


async def test_candles_of_a_run_on_the_engines_history(store):
    bars = [{"symbol": "AUSDT", "interval": "1h", "ts_open": DAY + i * HOUR_NS, "open_px": 5.0, "high_px": 6.0,
             "low_px": 4.0, "close_px": 5.5, "volume": 1.0} for i in range(3)]  # fmt: skip
    store.append("bars", bars)
    answer = await kept_run(store, {"source": "history", "interval": "1h"})({"run_id": "bt-1", "symbol": "AUSDT"})
    assert answer["candles"] == [[(DAY + i * HOUR_NS) // NS_PER_MS, 5.0, 6.0, 4.0, 5.5] for i in range(3)]


def test_too_many_bars_become_longer_candles_and_none_is_lost():
    n = 2 * MOST_CANDLES + 1
    px = np.arange(1.0, n + 1)
    found = stretch_of(Candles(np.arange(n), px, px + 0.5, px - 0.5, px), 0, n, MOST_CANDLES)
    assert len(found.ts_open) == n // 3 + 1  # three to a candle
    assert (found.open_px[0], found.high_px[0], found.low_px[0], found.close_px[0]) == (1.0, 3.5, 0.5, 3.0)
    assert found.close_px[-1] == n


def test_bars_that_do_not_exist_are_left_out():
    px = np.array([1.0, np.nan, 3.0])
    assert stretch_of(Candles(np.arange(3), px, px, px, px), 0, 3, 10).close_px.tolist() == [1.0, 3.0]
