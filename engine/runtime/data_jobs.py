"""Imports, repairs and downloads in processes of their own, so that no file however long delays a decision."""

from __future__ import annotations

import asyncio
import json
import multiprocessing as mp
import threading
import time
import uuid
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel, ValidationError

from engine.datasets.arriving import DownloadRequest
from engine.datasets.importing import ImportRequest
from engine.datasets.repairing import RepairRequest
from engine.datasets.store import discard_parts
from engine.errors import BadRows, CommandRefused, DataError, WorkstationError
from engine.runtime.run_start import record_later, recorded_and_started
from storage.database import Database, StorageError

log = structlog.get_logger("data")

MAX_RUNNING = 2
SENT_EVERY_S = 0.2
GRACE_S = 3.0
UPLOADS = "uploads"
UPLOAD_KEPT_S = 86_400.0
"""The page lays an upload down again while it shows it; what nobody touched for a day is shown nowhere any more."""

REQUESTS: dict[str, type[BaseModel]] = {"import": ImportRequest, "repair": RepairRequest, "download": DownloadRequest}
"""Kinds of work, as table ``runs`` names them, and what each is asked with."""

Report = Callable[[float, str], None]


class DataJobs:
    """Starts, watches and cancels work on data sets; its outcome is kept in table ``runs``.

    Parameters
    ----------
    store : Database
    home : Path
        The data folder.
    """

    def __init__(self, store: Database, home: Path) -> None:
        self._store, self._home = store, home
        self._context = mp.get_context("spawn")
        self._running: dict[str, tuple[Any, Event]] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self._is_closing = False
        discard_parts(home)
        _discard_uploads(home)

    async def start(self, kind: str, config: dict[str, Any]) -> dict[str, Any]:
        """Begin and return ``{"run_id"}``.

        Raises
        ------
        CommandRefused
            Bad values, or too much going on already.
        """
        request = checked(kind, config)
        if len(self._running) >= MAX_RUNNING:
            raise CommandRefused(f"{MAX_RUNNING} imports, repairs or downloads are going on. Wait, or cancel one.")
        run_id = f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        row = {
            "run_id": run_id, "kind": kind, "status": "running", "ts_started": time.time_ns(), "progress": 0.0,
            "config": request.model_dump_json(),
        }  # fmt: skip
        self._rows[run_id] = row | {"message": ""}
        receiver, sender = self._context.Pipe(duplex=False)
        cancelled = self._context.Event()
        process = self._context.Process(
            target=_work, args=(kind, str(self._home), request.model_dump_json(), sender, cancelled), daemon=True
        )
        self._running[run_id] = (process, cancelled)
        try:
            await recorded_and_started(self._store, row, process)
        except CommandRefused:
            self._running.pop(run_id)
            self._rows.pop(run_id)
            receiver.close()
            raise
        finally:
            sender.close()
        threading.Thread(target=self._watch, args=(run_id, row, process, receiver, cancelled), daemon=True).start()
        return {"run_id": run_id}

    def _watch(self, run_id: str, row: dict[str, Any], process: Any, receiver: Connection, cancelled: Event) -> None:
        outcome: dict[str, Any] = {}
        while True:
            try:
                status, value = receiver.recv()
            except (EOFError, OSError):
                break
            if status == "progress":
                self._rows[run_id] |= value
            else:
                outcome = {"status": status, **value}
        process.join()
        if not outcome:
            outcome = self._without_result(cancelled)
        discard_parts(self._home, process.pid)
        done = row | {"progress": self._rows[run_id]["progress"]} | outcome | {"ts_finished": time.time_ns()}
        try:
            self._store.append_durable("runs", [done]).result(30)
        except (StorageError, TimeoutError) as error:
            log.error("work not recorded", run_id=run_id, reason=str(error))
            record_later(self._store, done)
            self._rows[run_id] = done | {"message": done.get("error") or ""}
        else:
            self._rows.pop(run_id)
        self._running.pop(run_id, None)

    def _without_result(self, cancelled: Event) -> dict[str, Any]:
        if self._is_closing:
            return {"status": "failed", "error": "the engine stopped before it was finished; start it again"}
        if cancelled.is_set():
            return {"status": "cancelled", "error": "cancelled before it was finished"}
        return {"status": "failed", "error": "the process ended without a result; start it again"}

    def status(self, run_id: str) -> dict[str, Any]:
        """Return status, progress (0 to 1), message and, when it is over, the result."""
        live = self._rows.get(run_id)
        rows = [live] if live else self._store.rows("SELECT * FROM runs WHERE run_id = ?", [run_id])
        if not rows or rows[0]["kind"] not in REQUESTS:
            raise CommandRefused(f"There is no import, repair or download {run_id!r}.")
        row = rows[0]
        result = json.loads(row["result"]) if row.get("result") else None
        return {
            "status": row["status"], "progress": row.get("progress") or 0.0, "kind": row["kind"],
            "message": row.get("message") or row.get("error") or "", "result": result,
        }  # fmt: skip

    def active(self) -> list[str]:
        """Return what is going on now."""
        return list(self._running)

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Ask it to stop. A download keeps what has arrived; an import or a repair stores nothing."""
        running = self._running.get(run_id)
        if running is not None:
            process, cancelled = running
            cancelled.set()
            if self._rows[run_id]["kind"] != "download":
                threading.Timer(GRACE_S, process.terminate).start()  # one long file is read without a pause
        return self.status(run_id)

    def close(self) -> None:
        """End everything; downloads can be started again where they are."""
        self._is_closing = True
        for process, cancelled in list(self._running.values()):
            cancelled.set()
            if process.pid is not None:  # else it was about to begin
                process.terminate()


def checked(kind: str, config: dict[str, Any]) -> BaseModel:
    """Return a request, or refuse it with one sentence a field."""
    if kind not in REQUESTS:
        raise CommandRefused(f"There is no kind of work {kind!r}; expected of {', '.join(REQUESTS)}.")
    try:
        return REQUESTS[kind].model_validate(config)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise CommandRefused("; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}" for item in problems
        )) from error  # fmt: skip


def carry_out(
    kind: str, home: Path, request: Any, report: Report, cancelled: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Import, repair or download, here and now, and return the result as plain JSON types.

    Parameters
    ----------
    kind : str
        Of ``REQUESTS``.
    home : Path
        The data folder.
    request : BaseModel
        The request of that kind.
    report : callable
        Called with the finished share, 0 to 1, and a sentence.
    cancelled : callable
        Asked by a download after every page.

    Returns
    -------
    dict
        ``dataset`` (``NAME@2``, or None where a repair changed nothing), ``rows``, ``findings`` (their number),
        ``changes``, ``refused`` and ``repaired``.
    """
    from engine.datasets.importing import import_files
    from engine.datasets.repairing import repair_dataset
    from engine.datasets.store import reference

    outcome: dict[str, Any] = {"refused": [], "repaired": 0}
    if kind == "import":
        manifest = import_files(home, request, lambda share: report(share, "reading and checking"))
    elif kind == "repair":
        answer = repair_dataset(home, request, lambda share: report(share, "comparing the sources"))
        manifest = answer["manifest"]
        outcome = {"refused": answer["refused"], "repaired": answer["repaired"]}
    else:
        from engine.runtime.downloading import download  # brings ccxt with it

        manifest = asyncio.run(download(home, request, report, cancelled))
    if manifest is None:
        return outcome | {"dataset": None, "rows": 0, "findings": 0, "changes": []}
    return outcome | {
        "dataset": reference(manifest), "rows": manifest["rows"], "findings": len(manifest["findings"]),
        "changes": manifest["changes"],
    }  # fmt: skip


def _work(kind: str, home: str, text: str, sender: Connection, cancelled: Event) -> None:
    """Carry out one request in this process and send what became of it; a person reads the error."""
    sent_at, sent_share = 0.0, -1.0

    def report(share: float, said: str) -> None:
        nonlocal sent_at, sent_share
        # a download asks itself, and keeps what has arrived
        if kind != "download" and share < 1.0 and cancelled.is_set():
            raise DataError("cancelled; nothing was stored")
        # words without progress say why there is none: a person must see them
        if share == sent_share or time.monotonic() - sent_at > SENT_EVERY_S:
            sent_at, sent_share = time.monotonic(), share
            sender.send(("progress", {"progress": share, "message": said}))

    try:
        request = REQUESTS[kind].model_validate_json(text)
        result = carry_out(kind, Path(home), request, report, cancelled.is_set)
        sender.send(("done", {"progress": 1.0, "result": json.dumps(result)}))
        _forget_upload(Path(home), request)
    except BadRows as error:
        sender.send(("failed", {"error": str(error), "result": json.dumps({"bad_rows": error.rows})}))
    except (WorkstationError, OSError, ValueError) as error:
        sender.send(("cancelled" if cancelled.is_set() else "failed", {"error": str(error)}))
    except Exception as error:
        log.exception("work on a data set failed")
        sender.send(("failed", {"error": f"{type(error).__name__}: {error}"}))
    finally:
        sender.close()


def _forget_upload(home: Path, request: BaseModel) -> None:
    """Remove a file that the screen laid down for this import; the data set holds its rows now."""
    path = getattr(request, "path", None)
    if path is not None and path.parent == home / UPLOADS:
        path.unlink(missing_ok=True)


def _discard_uploads(home: Path) -> None:
    """Remove uploads that no page can be showing any more."""
    folder = home / UPLOADS
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_file() and time.time() - path.stat().st_mtime > UPLOAD_KEPT_S:
            path.unlink(missing_ok=True)
