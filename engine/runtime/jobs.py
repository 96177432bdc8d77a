"""Long jobs in processes of their own: the engine never waits for a backtest, and a crash stays where it happened."""

from __future__ import annotations

import asyncio
import json
import multiprocessing as mp
import shutil
import threading
import time
import uuid
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.datasets.store import folder_of, located
from engine.errors import CommandRefused, DataError
from storage.database import Database, StorageError

log = structlog.get_logger("jobs")

MAX_RUNNING = 2
GRACE_S = 3.0
CURVE_POINTS = 4000  # a screen shows no more


class BacktestRequest(BaseModel):
    """What the backtest form sends."""

    model_config = ConfigDict(extra="forbid")
    source: str = Field("history", pattern="^(history|path|dataset)$")
    path: str | None = None
    dataset: str | None = Field(None, description="NAME of a stored data set, or NAME@VERSION")
    funding: str | None = Field(None, description="A stored data set of funding rates, or a folder of them")
    symbols: list[str] = Field(default_factory=list)
    interval: str = "1h"
    strategy: str = "trend"
    params: dict[str, Any] = Field(default_factory=dict)
    start: str | None = None
    end: str | None = None
    cash: float = Field(10_000.0, gt=0)


class Jobs:
    """Starts, watches and cancels runs; their outcome is kept in table ``runs``.

    Parameters
    ----------
    store : Database
    folder : Path
        For the runs' input files, removed when a run ends.
    """

    def __init__(self, store: Database, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._context = mp.get_context("spawn")
        self._running: dict[str, tuple[Any, Event]] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self._close_lost_runs()

    def _close_lost_runs(self) -> None:
        for row in self._store.rows("SELECT * FROM runs WHERE status IN ('queued', 'running')"):
            self._store.append("runs", [row | {"status": "failed", "error": "the engine stopped during the run"}])

    async def start(self, kind: str, config: dict[str, Any]) -> dict[str, Any]:
        """Start a backtest and return its ``run_id``.

        Raises
        ------
        CommandRefused
            Bad values, nothing to test on, or too many runs already.
        """
        if kind != "backtest":
            raise CommandRefused(f"There is no kind of run {kind!r}.")
        try:
            request = BacktestRequest.model_validate(config)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise CommandRefused(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        if len(self._running) >= MAX_RUNNING:
            raise CommandRefused(f"{MAX_RUNNING} runs are going on already. Wait, or cancel one.")
        run_id = f"bt-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        inputs = await asyncio.to_thread(self._inputs, run_id, request)
        row = {
            "run_id": run_id, "kind": kind, "status": "running", "ts_started": time.time_ns(), "progress": 0.0,
            "config": request.model_dump_json(),
        }  # fmt: skip
        self._rows[run_id] = row
        await asyncio.wrap_future(self._store.append_durable("runs", [row]))
        receiver, sender = self._context.Pipe(duplex=False)
        cancelled = self._context.Event()
        process = self._context.Process(
            target=_work, args=(request.model_dump() | inputs, sender, cancelled), daemon=True
        )
        process.start()
        sender.close()
        self._running[run_id] = (process, cancelled)
        threading.Thread(target=self._watch, args=(run_id, process, receiver), daemon=True).start()
        return {"run_id": run_id}

    def _inputs(self, run_id: str, request: BacktestRequest) -> dict[str, str | None]:
        home = self._folder.parent
        try:
            funding = located(home, request.funding) if request.funding else None
            if funding is not None and not funding.exists():
                raise CommandRefused(f"There is no data set or folder of funding rates {request.funding!r}.")
            if request.source == "dataset":
                path = folder_of(home, request.dataset or "")
            else:
                path = self._input_path(run_id, request)
        except DataError as error:
            raise CommandRefused(str(error)) from error
        return {"path": str(path), "funding": None if funding is None else str(funding)}

    def _input_path(self, run_id: str, request: BacktestRequest) -> Path:
        if request.source == "path":
            path = Path(request.path or "").expanduser()
            if not request.path or not path.exists():
                raise CommandRefused(f"There is no file or folder {request.path!r} on this machine.")
            return path
        if request.interval not in ("1m", "1h"):
            raise CommandRefused("The engine's own history has intervals 1m and 1h.")
        folder = self._folder / run_id
        folder.mkdir(parents=True)
        self._store.flush()
        for symbol in request.symbols:
            rows = self._store.read(
                "SELECT ts_open // 1000000 AS timestamp, open_px AS open, high_px AS high, low_px AS low, "
                "close_px AS close, volume FROM bars WHERE symbol = ? AND interval = ? ORDER BY ts_open",
                [symbol, request.interval],
            )
            if rows.num_rows < 2:
                shutil.rmtree(folder)
                raise CommandRefused(
                    f"There are no stored {request.interval} candles of {symbol} yet. Try again shortly."
                )
            column = rows.column("timestamp").cast(pa.timestamp("ms", tz="UTC"))
            pa_parquet.write_table(rows.set_column(0, "timestamp", column), folder / f"{symbol}.parquet")
        if not request.symbols:
            raise CommandRefused("Choose at least one symbol.")
        return folder

    def _watch(self, run_id: str, process: Any, receiver: Connection) -> None:
        outcome: dict[str, Any] = {"status": "failed", "error": "the run's process ended without a result"}
        while True:
            try:
                kind, value = receiver.recv()
            except (EOFError, OSError):
                break
            if kind == "progress":
                self._rows[run_id]["progress"] = float(value)
            else:
                outcome = {"status": kind, **value}
        process.join(GRACE_S)
        row = self._rows[run_id] | outcome | {"ts_finished": time.time_ns()}
        if row["status"] == "done":
            row["progress"] = 1.0
        shutil.rmtree(self._folder / run_id, ignore_errors=True)
        try:
            # the table first: whoever hears that the run is done must find it there
            self._store.append_durable("runs", [row]).result(30)
        except (StorageError, TimeoutError) as error:
            log.error("run not recorded", run_id=run_id, reason=str(error))
            self._rows[run_id] = row
        else:
            self._rows.pop(run_id)
        self._running.pop(run_id, None)

    def status(self, run_id: str) -> dict[str, Any]:
        """Return status, progress (0 to 1) and message of a run."""
        row = self._row(run_id)
        return {"status": row["status"], "progress": row.get("progress") or 0.0, "message": row.get("error") or ""}

    def result(self, run_id: str) -> dict[str, Any]:
        """Return the result of a finished run."""
        row = self._row(run_id)
        if not row.get("result"):
            raise CommandRefused(f"Run {run_id} has no result: it is {row['status']}. {row.get('error') or ''}".strip())
        return dict(json.loads(row["result"]))

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Ask a run to stop; end its process if it does not."""
        running = self._running.get(run_id)
        if running is None:
            return self.status(run_id)
        process, cancelled = running
        cancelled.set()
        threading.Timer(GRACE_S, process.terminate).start()
        return {"status": "cancelling", "progress": self._rows[run_id].get("progress") or 0.0, "message": ""}

    def _row(self, run_id: str) -> dict[str, Any]:
        live = self._rows.get(run_id)
        if live is not None:
            return live
        rows = self._store.rows("SELECT * FROM runs WHERE run_id = ?", [run_id])
        if not rows:
            raise CommandRefused(f"There is no run {run_id!r}.")
        return rows[0]

    def close(self) -> None:
        """End every run."""
        for process, _ in list(self._running.values()):
            process.terminate()


def _work(request: dict[str, Any], sender: Connection, cancelled: Event) -> None:
    """Run one backtest in this process and send its outcome; a person reads the error, so it is one sentence."""
    from engine.errors import WorkstationError
    from engine.research.backtest import BacktestConfig, run_backtest

    sent_at = 0.0

    def progress(share: float) -> None:
        nonlocal sent_at
        if time.monotonic() - sent_at > 0.1:
            sent_at = time.monotonic()
            sender.send(("progress", share))

    try:
        config = BacktestConfig(
            data=request["path"], funding=request["funding"], strategy=request["strategy"], params=request["params"],
            symbols=tuple(request["symbols"]), start=request["start"], end=request["end"], cash=request["cash"],
        )  # fmt: skip
        result = run_backtest(config, progress=progress, cancelled=cancelled.is_set).to_json(CURVE_POINTS)
        payload = {"result": json.dumps(result, allow_nan=False), "metrics": json.dumps(result["metrics"])}
        sender.send(("cancelled", {}) if cancelled.is_set() else ("done", payload))
    except (WorkstationError, ValueError) as error:
        sender.send(("cancelled", {}) if cancelled.is_set() else ("failed", {"error": str(error)}))
    except Exception as error:
        log.exception("run failed")
        sender.send(("failed", {"error": f"{type(error).__name__}: {error}"}))
    finally:
        sender.close()
