"""Sweeps and walk-forwards as jobs of the engine: started, recorded, lost, resumed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing as mp
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from job_builders import NO_PROCESSES, full
from sweep_builders import hourly
from typer.testing import CliRunner

from engine.__main__ import app
from engine.errors import CommandRefused
from engine.runtime.jobs import Jobs
from engine.runtime.run_worker import work
from engine.settings import SystemConfig
from storage.database import Database

SWEEP = {"source": "path", "strategy": "ema-cross", "symbols": [], "grid": {"fast": "3:5", "slow": [20]}}


@pytest.fixture(autouse=True)
def _other_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment name a folder that is not the engine's: nothing may come to lie there."""
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path / "elsewhere"))


@pytest.fixture
def bars_file(tmp_path: Path) -> Path:
    bars = hourly(n_bars=24 * 30)
    names = {
        "open": bars.open_px,
        "high": bars.high_px,
        "low": bars.low_px,
        "close": bars.close_px,
        "volume": bars.volume,
    }
    columns: dict[str, Any] = {"timestamp": bars.ts_open // 1_000_000}
    columns |= {name: np.ravel(column) for name, column in names.items()}
    path = tmp_path / "BTCUSDT.parquet"
    pa_parquet.write_table(pa.table(columns), path)
    return path


async def finished(jobs: Jobs, run_id: str) -> dict[str, Any]:
    while jobs.status(run_id)["status"] == "running":
        await asyncio.sleep(0.05)
    return jobs.status(run_id)


async def test_a_sweep_is_a_run_and_one_that_was_lost_with_the_engine_is_resumed(
    tmp_path: Path, bars_file: Path
) -> None:
    store = Database(tmp_path / "paper.duckdb")
    try:
        settings = SystemConfig(max_total_drawdown=0.07, max_cvar=0.01)
        jobs = Jobs(store, tmp_path / "runs", in_force=lambda: settings)
        config = SWEEP | {"path": str(bars_file), "settings": "in_force", "params": {"max_cvar": 0.03}}
        run_id = (await jobs.start("sweep", config))["run_id"]
        assert await finished(jobs, run_id) == {"status": "done", "progress": 1.0, "message": ""}
        rows = store.rows("SELECT kind, status, metrics, config FROM runs WHERE run_id = ?", [run_id])
        assert (rows[0]["kind"], rows[0]["status"], json.loads(rows[0]["metrics"])["n_trials"]) == ("sweep", "done", 3)
        assert not (tmp_path / "runs" / run_id).exists()
        params = jobs.result(run_id)["config"]["params"]
        assert (params["max_total_drawdown"], params["max_cvar"]) == (0.07, 0.03)  # in force, and stated
        # counted in the folder of this engine, whatever the environment says
        assert len((tmp_path / "research" / "trials.jsonl").read_text().splitlines()) == 3
        assert not (tmp_path / "elsewhere").exists()
        with pytest.raises(CommandRefused, match="is done: there is nothing to resume"):
            await jobs.resume(run_id)

        lost = {"run_id": "sw-lost", "kind": "sweep", "status": "running", "config": rows[0]["config"]}
        await asyncio.wrap_future(store.append_durable("runs", [lost]))
        jobs = Jobs(store, tmp_path / "runs")  # other settings are in force now: the run keeps those it began under
        store.flush()
        assert jobs.status("sw-lost") == {
            "status": "failed", "progress": 0.0, "message": "the engine stopped during the run",
        }  # fmt: skip
        await jobs.resume("sw-lost")
        assert (await finished(jobs, "sw-lost"))["status"] == "done"
        assert jobs.result("sw-lost")["rows"] == jobs.result(run_id)["rows"]
    finally:
        store.close()


async def test_what_cannot_be_run_or_resumed_is_refused(tmp_path: Path, bars_file: Path) -> None:
    store = Database(tmp_path / "paper.duckdb")
    try:
        jobs = Jobs(store, tmp_path / "runs")
        with pytest.raises(CommandRefused, match="no kind of run 'guess'"):
            await jobs.start("guess", {})
        with pytest.raises(CommandRefused, match=r"train_days"):
            await jobs.start("walkforward", SWEEP | {"path": str(bars_file), "train_days": -1})
        with pytest.raises(CommandRefused, match="settings: Input should be 'default' or 'in_force'"):
            await jobs.start("sweep", SWEEP | {"path": str(bars_file), "settings": "mine"})
        with pytest.raises(CommandRefused, match="Costs: there are no costs of our own"):
            await jobs.start("sweep", SWEEP | {"path": str(bars_file), "costs": "own"})
        with pytest.raises(CommandRefused, match="'own 1, 99 orders, live' is neither assumed nor own"):
            await jobs.start("sweep", SWEEP | {"path": str(bars_file), "costs": "own 1, 99 orders, live"})
        with pytest.raises(CommandRefused, match="no run 'nothing'"):
            await jobs.resume("nothing")
        row = {"run_id": "bt-1", "kind": "backtest", "status": "failed", "config": "{}"}
        await asyncio.wrap_future(store.append_durable("runs", [row]))
        with pytest.raises(CommandRefused, match="keeps nothing to go on from"):
            await jobs.resume("bt-1")
    finally:
        store.close()


@pytest.mark.parametrize("is_resumed", [False, True])
async def test_a_run_that_cannot_begin_leaves_nothing_behind(
    is_resumed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Database(tmp_path / "paper.duckdb")
    try:
        bars = [{"symbol": "A", "interval": "1h", "ts_open": t, "open_px": 1.0, "high_px": 1.0, "low_px": 1.0,
                 "close_px": 1.0, "volume": 1.0} for t in (0, 3_600 * 10**9)]  # fmt: skip
        config = SWEEP | {"source": "history", "symbols": ["A"]}
        old = {"run_id": "sw-old", "kind": "sweep", "status": "cancelled", "config": json.dumps(config)}
        store.append("bars", bars)
        await asyncio.wrap_future(store.append_durable("runs", [old]))
        kept = tmp_path / "runs" / "sw-old" / "finished"
        kept.mkdir(parents=True)
        jobs = Jobs(store, tmp_path / "runs")
        monkeypatch.setattr(jobs, "_context", NO_PROCESSES)

        async def begin() -> dict[str, Any]:
            return await (jobs.resume("sw-old") if is_resumed else jobs.start("sweep", config))

        with monkeypatch.context() as patch:
            patch.setattr(store, "append_durable", full)
            with pytest.raises(CommandRefused, match=r"could not be recorded \(No space left on device\). Free disk"):
                await begin()
        newest = jobs.newest("sweep")
        assert newest is not None
        assert (newest["run_id"], newest["status"]) == ("sw-old", "cancelled")
        for _ in range(3):  # more often than runs may go on at a time
            with pytest.raises(CommandRefused, match=r"did not begin: its process could not be started .*allocate"):
                await begin()
        store.flush()
        rows = store.rows("SELECT status, error FROM runs WHERE run_id != 'sw-old' OR status != 'cancelled'")
        assert {row["status"] for row in rows} == {"failed"}
        assert [path.name for path in (tmp_path / "runs").iterdir()] == ["sw-old"]
        assert kept.is_dir()
    finally:
        store.close()


def test_a_result_that_cannot_be_recorded_now_is_kept_and_recorded_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Database(tmp_path / "paper.duckdb")
    try:
        jobs = Jobs(store, tmp_path / "runs")
        finished_parts = tmp_path / "runs" / "sw-1" / "finished"
        finished_parts.mkdir(parents=True)
        jobs._rows["sw-1"] = {"run_id": "sw-1", "kind": "sweep", "status": "running", "config": "{}"}
        receiver, sender = mp.Pipe(duplex=False)
        sender.send(("done", {"result": '{"best": 3}', "metrics": "{}"}))
        sender.close()
        with monkeypatch.context() as patch:
            patch.setattr(store, "append_durable", full)
            jobs._watch("sw-1", SimpleNamespace(join=lambda grace_s: None), receiver, mp.Event())
        assert jobs.status("sw-1") == {"status": "done", "progress": 1.0, "message": ""}
        assert finished_parts.is_dir()
        store.flush()
        (row,) = store.rows("SELECT status, result FROM runs WHERE run_id = 'sw-1'")
        assert row == {"status": "done", "result": '{"best": 3}'}
    finally:
        store.close()


async def test_bars_that_could_not_be_written_are_not_taken_for_the_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Database(tmp_path / "paper.duckdb")
    try:
        row = {"symbol": "A", "interval": "1h", "open_px": 1.0, "high_px": 1.0, "low_px": 1.0, "close_px": 1.0}
        store.append("bars", [row | {"ts_open": t, "volume": 1.0} for t in (0, 3_600 * 10**9)])
        jobs = Jobs(store, tmp_path / "runs")

        def half(table: Any, path: Path) -> None:
            path.write_bytes(b"PAR1")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("engine.runtime.jobs.pa_parquet.write_table", half)
        with pytest.raises(CommandRefused, match=r"could not be laid down .*No space left"):
            await jobs.start("sweep", SWEEP | {"source": "history", "symbols": ["A"]})
        assert list((tmp_path / "runs").iterdir()) == []
    finally:
        store.close()


async def test_what_stopped_is_discarded_and_a_start_removes_what_nobody_can_go_on_with(tmp_path: Path) -> None:
    store = Database(tmp_path / "paper.duckdb")
    ids = {
        name: f"{name[:2]}-20260102-030405-{n:06x}" for n, name in enumerate(("sw-kept", "sw-gone", "wf-done", "bt"))
    }
    try:
        rows = [
            {"run_id": ids["sw-kept"], "kind": "sweep", "status": "running"},
            {"run_id": ids["sw-gone"], "kind": "sweep", "status": "cancelled"},
            {"run_id": ids["wf-done"], "kind": "walkforward", "status": "done"},
            {"run_id": ids["bt"], "kind": "backtest", "status": "running"},
        ]  # fmt: skip
        await asyncio.wrap_future(store.append_durable("runs", rows))
        other_mode = "sw-20260102-030405-ffffff"
        for name in (*ids.values(), other_mode, "my notes"):
            (tmp_path / "runs" / name / "bars").mkdir(parents=True)
        jobs = Jobs(store, tmp_path / "runs")
        store.flush()
        left = {ids["sw-kept"], ids["sw-gone"], other_mode, "my notes"}
        assert {path.name for path in (tmp_path / "runs").iterdir()} == left
        assert await jobs.discard(ids["sw-gone"]) == {"discarded": ids["sw-gone"]}
        assert not (tmp_path / "runs" / ids["sw-gone"]).exists()
        with pytest.raises(CommandRefused, match="is discarded: there is nothing to resume"):
            await jobs.resume(ids["sw-gone"])
        for name, what in (("bt", "backtest that is failed"), ("wf-done", "walkforward that is done")):
            with pytest.raises(CommandRefused, match=f"{what}: there is nothing to discard"):
                await jobs.discard(ids[name])
    finally:
        store.close()


@pytest.mark.parametrize(("train_days", "outcome"), [(10.0, "done"), (90.0, "failed")])
def test_the_worker_of_a_walk_forward_sends_one_outcome(
    train_days: float, outcome: str, tmp_path: Path, bars_file: Path
) -> None:
    receiver, sender = mp.Pipe(duplex=False)
    request = SWEEP | {
        "path": str(bars_file), "funding": None, "params": {}, "start": None, "end": None, "cash": 10_000.0,
        "costs": "assumed", "n_random": None, "seed": 0, "choose_by": None, "train_days": train_days,
        "test_days": 5.0, "anchored": False, "purge_days": 1.0, "embargo_days": 0.0,
        "home": str(tmp_path), "folder": str(tmp_path / "done"), "backend": "local", "address": "",
    }  # fmt: skip
    work("walkforward", request, sender, mp.Event())
    sent = []
    with contextlib.suppress(EOFError):
        while True:
            sent.append(receiver.recv())
    kind, value = sent[-1]
    assert kind == outcome
    if outcome == "done":
        assert json.loads(value["metrics"])["n_folds"] == 4
    else:
        assert "the data holds 30 days; one fold takes 90 of training" in value["error"]


def test_the_command_line_counts_in_the_folder_that_it_is_told(tmp_path: Path, bars_file: Path) -> None:
    home, out = tmp_path / "own", tmp_path / "out" / "result.json"
    words = ["backtest", "--data", str(bars_file), "--strategy", "ema-cross", "--param", "fast=3", "--param", "slow=20",
             "--panel", "off", "--json", str(out), "--data-dir", str(home)]  # fmt: skip
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert json.loads(out.read_text())["trials"] == 1
    assert len((home / "research" / "trials.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "elsewhere").exists()
