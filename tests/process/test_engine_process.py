"""The real programs together: engine and practice exchange as processes, compared through the exchange's own books."""

from __future__ import annotations

import json
import stat
import time

import pytest
from engine_process import EngineProcess, Sandbox, command_line

from engine.errors import CommandRefused
from storage.database import Database
from storage.schema import metadata

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox("--seed", "4", "--symbols", "BTCUSDT,ETHUSDT,SOLUSDT,LTCUSDT")
    yield sandbox
    sandbox.stop()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def engine(sandbox, home):
    engine = EngineProcess(home, sandbox)
    engine.until(lambda status: status["phase"] == "trading" and status["last_decision"])
    yield engine
    engine.stop()


def _ours(books: dict) -> dict[str, float]:
    return {row["symbol"]: float(row["positionAmt"]) for row in books["positions"]}


def _wait_for_fills(engine, sandbox):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not _ours(sandbox.books()):
        time.sleep(0.2)
    assert _ours(sandbox.books()), "the trend sleeve took no position within a minute"


def test_engine_trades_and_every_position_has_a_stop_on_the_exchange(engine, sandbox):
    _wait_for_fills(engine, sandbox)
    engine.until(lambda status: status["phase"] == "trading")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        books = sandbox.books()
        stops = {o["symbol"] for o in books["orders"] if o["type"] == "STOP_MARKET" and o["status"] == "NEW"}
        if set(_ours(books)) and set(_ours(books)) <= stops:
            return
        time.sleep(0.2)
    raise AssertionError(f"positions {_ours(books)} but stops only for {stops}")


def test_engine_starts_without_importing_torch(engine):
    with open(f"/proc/{engine.process.pid}/maps") as maps:
        assert "libtorch" not in maps.read()


def test_a_second_engine_on_the_same_folder_is_refused_with_a_clear_message(engine, home):
    done = command_line("paper", "--data-dir", str(home))
    assert done.returncode == 1
    assert "already runs on the data folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_is_green_on_a_running_engine(engine):
    checks = {item["name"]: item for item in engine.action("doctor")["checks"]}
    for name in ("Venue reachable", "Clock", "Record", "Market stream", "Account stream", "Books"):
        assert checks[name]["ok"], checks[name]


def test_live_is_refused_and_says_what_is_missing(tmp_path):
    done = command_line("live", "--json", "--data-dir", str(tmp_path))
    assert done.returncode == 3
    answer = json.loads(done.stdout)
    assert answer["ready"] is False
    assert {item["name"] for item in answer["items"] if not item["ok"]} >= {"Vault", "Second factor"}


def test_bad_command_gets_a_sentence_and_no_traceback(engine):
    with pytest.raises(CommandRefused, match="Kill level 9"):
        engine.action("kill", {"level": 9, "idempotency_key": "12345678"})
    with pytest.raises(CommandRefused, match="max_daily_loss"):
        engine.action("settings.set", {"values": {"max_daily_loss": 3}, "idempotency_key": "12345679"})


def test_settings_apply_without_a_restart(engine):
    before = engine.process.pid
    answer = engine.action("settings.set", {"values": {"rebalance_band": 0.006}, "idempotency_key": "settings-1"})
    assert answer["applied"] == {"rebalance_band": 0.006}
    assert engine.action("settings.get")["values"]["rebalance_band"] == 0.006
    assert engine.process.pid == before
    assert engine.process.poll() is None


def test_a_ticket_sent_twice_with_one_key_is_one_order(engine, sandbox):
    ticket = {"symbol": "LTCUSDT", "side": "buy", "kind": "limit", "size": {"unit": "quote", "value": 50.0}}
    engine.action(
        "settings.set", {"values": {"symbols": ["BTCUSDT", "ETHUSDT", "LTCUSDT"]}, "idempotency_key": "sym-1234"}
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            top = engine.action("ticket.preview", ticket | {"kind": "market"})
            break
        except CommandRefused:
            time.sleep(0.2)
    ticket["limit_px"] = round(top["px"] * 0.99, 1)
    first = engine.action("ticket.submit", ticket | {"idempotency_key": "ticket-0001"})
    second = engine.action("ticket.submit", ticket | {"idempotency_key": "ticket-0001"})
    assert first == second
    at_venue = [o for o in sandbox.books()["orders"] if o["clientOrderId"] == first["client_id"]]
    assert len(at_venue) == 1
    assert len([o for o in sandbox.books()["orders"] if o["symbol"] == "LTCUSDT" and o["type"] == "LIMIT"]) == 1


def _run(engine, config: dict, key: str) -> dict:
    run_id = engine.action("run.start", {"kind": "backtest", "config": config, "idempotency_key": key})["run_id"]
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        status = engine.action("run.status", {"run_id": run_id})
        if status["status"] != "running":
            return status | {"run_id": run_id}
        time.sleep(0.1)
    raise AssertionError(f"the run did not end: {status}")


def test_backtest_on_the_engine_s_own_candles_runs_in_a_worker(engine):
    config = {"source": "history", "symbols": ["BTCUSDT"], "interval": "1m", "strategy": "ema-cross", "cash": 5000.0}
    done = _run(engine, config, "backtest-1")
    assert done["status"] == "done", done
    result = engine.action("run.result", {"run_id": done["run_id"]})
    assert result["config"]["cash"] == 5000.0
    assert result["canaries"]["lookahead"] == "pass"
    assert result["metrics"]["fees"] > 0


def test_impossible_backtest_fails_with_a_sentence_and_the_engine_goes_on(engine, tmp_path):
    broken = tmp_path / "broken.csv"
    broken.write_text("timestamp,open,high,low,close,volume\n2024-01-01,1,2,0.5,nonsense,3\n")
    done = _run(engine, {"source": "path", "path": str(broken), "strategy": "trend"}, "backtest-2")
    assert done["status"] == "failed"
    assert "broken" in done["message"]
    with pytest.raises(CommandRefused, match="no file or folder"):
        engine.action("run.start", {"config": {"source": "path", "path": "/no/such"}, "idempotency_key": "backtest-3"})
    assert engine.action("status")["phase"] == "trading"


def test_flatten_from_the_command_line_cancels_within_a_second_and_ends_flat(engine, sandbox):
    _wait_for_fills(engine, sandbox)
    answer = engine.ask("kill", "flatten")
    assert answer["kill_level"] == 3
    assert answer["cancels_sent_ms"] < 1000
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _ours(sandbox.books()):
        time.sleep(0.1)
    books = sandbox.books()
    assert _ours(books) == {}
    time.sleep(1.0)  # nothing may come back
    assert _ours(sandbox.books()) == {}
    with pytest.raises(CommandRefused, match="reduce"):
        engine.action("ticket.submit", {
            "symbol": "BTCUSDT", "side": "buy", "kind": "market", "size": {"unit": "quote", "value": 500.0},
            "idempotency_key": "blocked-1",
        })  # fmt: skip
    assert engine.ask("resume")["kill_level"] == 0


def test_exported_fills_equal_the_exchange_s_own_books(engine, sandbox, tmp_path):
    path = tmp_path / "fills.csv"
    engine.ask("export", "fills", str(path), "--format", "csv")
    import pandas as pd

    ours = pd.read_csv(path)
    theirs = sandbox.books()["fills"]
    assert len(ours) == len(theirs) > 0
    assert sorted(ours["trade_id"].astype(str)) == sorted(str(row["id"]) for row in theirs)
    assert ours["fee"].sum() == pytest.approx(sum(float(row["commission"]) for row in theirs), abs=1e-6)


def test_killed_engine_takes_up_its_books_without_loss_or_duplicate(engine, sandbox, home):
    engine.action("ticket.submit", {
        "symbol": "BTCUSDT", "side": "buy", "kind": "market", "size": {"unit": "quote", "value": 300.0},
        "idempotency_key": "held-when-killed",
    })  # fmt: skip
    _wait_for_fills(engine, sandbox)
    engine.kill_dead()
    again = EngineProcess(home, sandbox, log=engine.log)
    try:
        again.until(lambda status: status["phase"] == "trading" and status["last_reconcile"]["ok"])
        again.action("reconcile")
        status = again.until(lambda s: s["unknown_orders"] == 0 and s["last_reconcile"]["ok"])
        assert status["last_reconcile"]["mismatches"] == 0
        assert again.ask("kill", "pause")["kill_level"] == 1
        time.sleep(1.0)
        books = sandbox.books()
        ids = [o["clientOrderId"] for o in books["orders"]]
        assert len(ids) == len(set(ids)), "an order id was sent twice"
        assert again.stop() == 0
        record = Database(home / "paper.duckdb")
        ours = {str(row["trade_id"]): row["qty"] for row in record.rows("SELECT trade_id, qty FROM fills")}
        record.close()
        theirs = {str(row["id"]): row for row in books["fills"]}
        assert set(ours) == set(theirs)
    finally:
        again.stop()


def test_clean_stop_leaves_only_protective_stops_and_no_discovery_file(engine, sandbox, home):
    assert not (home / "engine.json").exists()
    still_open = [o for o in sandbox.books()["orders"] if o["status"] in ("NEW", "PARTIALLY_FILLED")]
    assert all(o["type"] == "STOP_MARKET" for o in still_open)
    assert {o["symbol"] for o in still_open} >= set(_ours(sandbox.books()))


def test_the_key_is_in_no_file_log_or_table(engine, sandbox, home):
    secret = sandbox.hello["private_key"].removeprefix("0x")
    for path in [engine.log, *(path for path in home.rglob("*") if path.is_file())]:
        assert secret.encode() not in path.read_bytes(), path.name
    record = Database(home / "paper.duckdb")
    try:
        for table in metadata.tables:
            assert secret not in str(record.rows(f"SELECT * FROM {table} LIMIT 100000")), table
    finally:
        record.close()


def test_discovery_file_can_be_read_by_its_owner_only(sandbox, tmp_path):
    engine = EngineProcess(tmp_path / "home", sandbox)
    try:
        engine.until(lambda status: status["engine_id"])
        assert stat.S_IMODE((engine.home / "engine.json").stat().st_mode) == 0o600
    finally:
        engine.stop()
