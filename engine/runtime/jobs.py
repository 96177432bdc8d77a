"""Long jobs in processes of their own: the engine never waits for a backtest, and a crash stays where it happened."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing as mp
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import structlog

from engine.datasets.store import folder_of, located
from engine.errors import CommandRefused, DataError
from engine.runtime.model_scores import settled
from engine.runtime.run_requests import (
    PREFIX,
    RESUMABLE,
    BacktestRequest,
    SourceRequest,
    TrainingRequest,
    checked_request,
)
from engine.runtime.run_start import record_later, recorded_and_started
from engine.runtime.run_worker import work
from engine.settings import SystemConfig
from storage.database import Database, StorageError

log = structlog.get_logger("jobs")

MAX_RUNNING = 2
GRACE_S = 3.0
BARS, RATES, FINISHED = "bars", "rates", "finished"
"""Folders of a run: its input bars, and the chunks that are finished."""

RUN_ID = r"([a-z]+)-\d{8}-\d{6}-[0-9a-f]{6}"
STOPPED = ("failed", "cancelled")


def _new_id(prefix: str) -> str:
    return f"{prefix}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"


class Jobs:
    """Starts, watches and cancels runs; their outcome is kept in table ``runs``.

    Parameters
    ----------
    store : Database
    folder : Path
        For the runs' files: inputs, and what is finished of a run that can be resumed. Removed when a run is done.
    compute : callable, optional
        Returns the backend and address on which sweeps run, as the settings say at that moment.
    workers : dict of str to str, optional
        What does the kinds of run that the engine does not know itself, each as ``module:function``.
    in_force : callable, optional
        Returns the settings as they are at that moment, for runs that are to be under these.
    """

    def __init__(
        self, store: Database, folder: Path, compute: Callable[[], tuple[str, str]] = lambda: ("local", ""),
        workers: dict[str, str] | None = None, in_force: Callable[[], SystemConfig] = SystemConfig,
    ) -> None:  # fmt: skip
        self._store, self._folder, self._compute, self._in_force = store, folder, compute, in_force
        self._workers = workers or {}
        self._notes: dict[str, list[dict[str, Any]]] = {}
        self._context = mp.get_context("spawn")
        self._running: dict[str, tuple[Any, Event]] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self._close_lost_runs()

    def _close_lost_runs(self) -> None:
        lost = self._store.rows("SELECT * FROM runs WHERE status IN ('queued', 'running')")
        for row in lost:
            self._store.append("runs", [row | {"status": "failed", "error": "the engine stopped during the run"}])
        over = self._store.rows("SELECT run_id FROM runs WHERE status IN ('done', 'discarded')")
        self._sweep({row["run_id"] for row in over})

    def _sweep(self, over: set[str]) -> None:
        """Remove the folders of runs that nobody can go on with: those of an engine that was killed stay behind.

        A sweep that this record does not know may be that of the other mode's engine, which shares the folder.
        """
        resumable = {PREFIX[kind] for kind in RESUMABLE}
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            match = re.fullmatch(RUN_ID, folder.name)
            if match and (folder.name in over or match.group(1) not in resumable):
                shutil.rmtree(folder, ignore_errors=True)

    async def start(self, kind: str, config: dict[str, Any]) -> dict[str, Any]:
        """Start a backtest, a sweep or a walk-forward and return its ``run_id``.

        Raises
        ------
        CommandRefused
            Bad values, nothing to test on, or too many runs already.
        """
        request = checked_request(kind, config)
        if kind == "train" and kind not in self._workers:
            raise CommandRefused("This engine has nothing that trains models.")
        self._refuse_too_many()
        if isinstance(request, BacktestRequest):
            # our own costs first: what the fills say comes before any setting
            request = (await asyncio.to_thread(request.with_costs, self._folder.parent)).with_settings(self._in_force())
        run_id = _new_id(PREFIX[kind])
        inputs = await asyncio.to_thread(self._inputs, run_id, request)
        row = {
            "run_id": run_id, "kind": kind, "status": "running", "ts_started": time.time_ns(), "progress": 0.0,
            "config": request.model_dump_json(),
        }  # fmt: skip
        return await self._launch(row, request.model_dump() | inputs)

    async def start_given(self, kind: str, config: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
        """Start a run whose inputs are at hand, such as arrays, and return its ``run_id``.

        Parameters
        ----------
        kind : str
            Of ``engine.runtime.run_worker.WORK``; also the first part of the ``run_id``.
        config : dict
            What a person is told of the run; JSON types.
        inputs : dict
            What the worker takes; pickled.

        Raises
        ------
        CommandRefused
            Too many runs already.
        """
        self._refuse_too_many()
        row = {
            "run_id": _new_id(kind), "kind": kind, "status": "running", "ts_started": time.time_ns(), "progress": 0.0,
            "config": json.dumps(config),
        }  # fmt: skip
        return await self._launch(row, inputs)

    async def resume(self, run_id: str) -> dict[str, Any]:
        """Go on with a sweep or walk-forward that failed, was cancelled or was lost with the engine.

        Raises
        ------
        CommandRefused
            It is running or done, cannot be resumed, or its inputs are gone.
        """
        row = self._row(run_id)
        if row["status"] not in STOPPED:
            raise CommandRefused(f"Run {run_id} is {row['status']}: there is nothing to resume.")
        if row["kind"] not in RESUMABLE:
            raise CommandRefused(f"A {row['kind']} keeps nothing to go on from: start it again.")
        request = checked_request(row["kind"], json.loads(row["config"]))
        self._refuse_too_many()
        inputs = await asyncio.to_thread(self._inputs, run_id, request)
        fresh = row | {"status": "running", "progress": 0.0, "error": None, "ts_finished": None}
        return await self._launch(fresh, request.model_dump() | inputs, is_new=False)

    async def discard(self, run_id: str) -> dict[str, Any]:
        """Throw away what a sweep or walk-forward that stopped had finished; it cannot be resumed after that.

        Raises
        ------
        CommandRefused
            It is running or done, keeps nothing, or the record is full.
        """
        row = self._row(run_id)
        if row["status"] not in STOPPED or row["kind"] not in RESUMABLE or run_id in self._running:
            raise CommandRefused(f"{run_id} is a {row['kind']} that is {row['status']}: there is nothing to discard.")
        try:
            # the record first: folders of discarded runs are looked for at every start
            await asyncio.wrap_future(self._store.append_durable("runs", [row | {"status": "discarded"}]))
        except StorageError as error:
            raise CommandRefused(f"Nothing was discarded: it could not be recorded ({error}).") from error
        self._rows.pop(run_id, None)
        await asyncio.to_thread(shutil.rmtree, self._folder / run_id, ignore_errors=True)
        return {"discarded": run_id}

    def _refuse_too_many(self) -> None:
        if len(self._running) >= MAX_RUNNING:
            raise CommandRefused(f"{MAX_RUNNING} runs are going on already. Wait, or cancel one.")

    async def _launch(self, row: dict[str, Any], request: dict[str, Any], *, is_new: bool = True) -> dict[str, Any]:
        run_id, kind = row["run_id"], row["kind"]
        backend, address = self._compute()
        place = {"folder": str(self._folder / run_id / FINISHED), "backend": backend, "address": address}
        place |= {"home": str(self._folder.parent), "worker": self._workers.get(kind, "")}
        receiver, sender = self._context.Pipe(duplex=False)
        cancelled = self._context.Event()
        # a sweep of a user's file has workers of its own, which a daemon may not have
        process = self._context.Process(
            target=work, args=(kind, request | place, sender, cancelled), daemon=kind not in RESUMABLE
        )
        self._rows[run_id] = row
        try:
            await recorded_and_started(self._store, row, process)
        except CommandRefused:
            self._rows.pop(run_id)
            receiver.close()
            if is_new:  # one that is resumed keeps what it had finished
                shutil.rmtree(self._folder / run_id, ignore_errors=True)
            raise
        finally:
            sender.close()
        self._running[run_id] = (process, cancelled)
        threading.Thread(target=self._watch, args=(run_id, process, receiver, cancelled), daemon=True).start()
        return {"run_id": run_id}

    def _inputs(self, run_id: str, request: SourceRequest) -> dict[str, str | None]:
        home = self._folder.parent
        try:
            funding = located(home, request.funding) if request.funding else None
            if funding is not None and not funding.exists():
                raise CommandRefused(f"There is no data set or folder of funding rates {request.funding!r}.")
            if request.source == "dataset":
                path = folder_of(home, request.dataset or "")
            else:
                path = self._input_path(run_id, request)
            if funding is None and request.source == "history" and isinstance(request, TrainingRequest):
                funding = self._recorded_rates(run_id, tuple(request.symbols))
        except DataError as error:
            raise CommandRefused(str(error)) from error
        except OSError as error:
            raise CommandRefused(
                f"The run's bars could not be laid down in {self._folder}: {error}. Free disk space and start it again."
            ) from error
        return {"path": str(path), "funding": None if funding is None else str(funding)}

    def _input_path(self, run_id: str, request: SourceRequest) -> Path:
        if request.source == "path":
            path = Path(request.path or "").expanduser()
            if not request.path or not path.exists():
                raise CommandRefused(f"There is no file or folder {request.path!r} on this machine.")
            return path
        if request.interval not in ("1m", "1h"):
            raise CommandRefused("The engine's own history has intervals 1m and 1h.")
        folder = self._folder / run_id / BARS
        if folder.is_dir():
            return folder  # of the run that is resumed: the same bars as before
        if not request.symbols:
            raise CommandRefused("Choose at least one symbol.")
        self._store.flush()
        folder.mkdir(parents=True)
        try:
            self._lay_down(folder, request)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # a resume would take half of the bars for the bars
            with contextlib.suppress(OSError):
                folder.parent.rmdir()  # where nothing else lies in it
            raise
        return folder

    def _lay_down(self, folder: Path, request: SourceRequest) -> None:
        for symbol in request.symbols:
            rows = self._store.read(
                "SELECT ts_open // 1000000 AS timestamp, open_px AS open, high_px AS high, low_px AS low, "
                "close_px AS close, volume FROM bars WHERE symbol = ? AND interval = ? ORDER BY ts_open",
                [symbol, request.interval],
            )
            if rows.num_rows < 2:
                raise CommandRefused(
                    f"There are no stored {request.interval} candles of {symbol} yet. Try again shortly."
                )
            column = rows.column("timestamp").cast(pa.timestamp("ms", tz="UTC"))
            pa_parquet.write_table(rows.set_column(0, "timestamp", column), folder / f"{symbol}.parquet")

    def _recorded_rates(self, run_id: str, symbols: tuple[str, ...]) -> Path | None:
        """Write the funding rates that the engine saw being settled; None where it saw none."""
        folder = self._folder / run_id / RATES
        folder.mkdir(parents=True, exist_ok=True)
        found = settled(self._store, symbols, 0, time.time_ns())
        for symbol, (moments, rates) in found.items():
            if moments:
                columns = {"timestamp": pa.array(moments, pa.timestamp("ns", tz="UTC")), "rate": pa.array(rates)}
                pa_parquet.write_table(pa.table(columns), folder / f"{symbol}.parquet")
        return folder if any(moments for moments, _ in found.values()) else None

    def _watch(self, run_id: str, process: Any, receiver: Connection, cancelled: Event) -> None:
        outcome: dict[str, Any] = {}
        while True:
            try:
                kind, value = receiver.recv()
            except (EOFError, OSError):
                break
            if kind == "progress":
                self._rows[run_id]["progress"] = float(value)
            elif kind == "note":
                self._notes.setdefault(run_id, []).append(value)
            else:
                outcome = {"status": kind, **value}
        process.join(GRACE_S)
        if not outcome:
            ended = "the run's process ended without a result"
            outcome = {"status": "cancelled"} if cancelled.is_set() else {"status": "failed", "error": ended}
        row = self._rows[run_id] | outcome | {"ts_finished": time.time_ns()}
        if row["status"] == "done":
            row["progress"] = 1.0
        try:
            # the table first: whoever hears that the run is done must find it there
            self._store.append_durable("runs", [row]).result(30)
        except (StorageError, TimeoutError) as error:
            log.error("run not recorded", run_id=run_id, reason=str(error))
            self._rows[run_id] = row
            record_later(self._store, row)
        else:
            # only now: a result that is lost with the engine is put together again from what was finished
            if row["status"] == "done" or row["kind"] not in RESUMABLE:
                shutil.rmtree(self._folder / run_id, ignore_errors=True)
            self._rows.pop(run_id)
        self._running.pop(run_id, None)

    def status(self, run_id: str) -> dict[str, Any]:
        """Return status, progress (0 to 1) and message of a run."""
        row = self._row(run_id)
        return {"status": row["status"], "progress": row.get("progress") or 0.0, "message": row.get("error") or ""}

    def notes(self, run_id: str) -> list[dict[str, Any]]:
        """Return what a run has noted since this engine started it, oldest first."""
        return list(self._notes.get(run_id, ()))

    def newest(self, kind: str) -> dict[str, Any] | None:
        """Return the row of the newest run of a kind, None before the first."""
        running = [row for row in self._rows.values() if row["kind"] == kind]
        if running:
            return max(running, key=lambda row: row["ts_started"])
        rows = self._store.rows("SELECT run_id FROM runs WHERE kind = ? ORDER BY ts_started DESC LIMIT 1", [kind])
        return self._row(rows[0]["run_id"]) if rows else None

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
