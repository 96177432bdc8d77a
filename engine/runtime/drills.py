"""Kill-switch drills: started by a button or a schedule, run in a process of their own, kept on the record."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import structlog

from engine.domain import NS_PER_DAY, KillLevel
from engine.errors import CommandRefused
from engine.runtime.evidence import both
from storage.database import Database, StorageError

log = structlog.get_logger("drills")

FRESH_DAYS = 30.0
DRILL_TIMEOUT_S = 480.0
KEPT = 200
LEVELS = tuple(level for level in KillLevel if level != KillLevel.NONE)
OUTCOME = ("level", "ok", "cancels_ms", "time_to_flat_s", "flaky_s", "failures", "message")
ABOUT = "about half a minute"  # how long one takes


class Drills:
    """Starts drills, one at a time, and keeps their outcome.

    Parameters
    ----------
    store : Database
    incident : callable of severity, source and sentence
        Told of a drill that failed.
    now : callable returning ns
    """

    def __init__(self, store: Database, incident: Callable[[str, str, str], None], now: Callable[[], int]) -> None:
        self._store, self._incident, self._now = store, incident, now
        self._running: dict[str, Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> dict[str, Any] | None:
        """The drill that goes on now, as a row without an outcome."""
        return self._running

    def start(self, level: int, actor: str) -> dict[str, Any]:
        """Begin a drill and return its ``drill_id``.

        Raises
        ------
        CommandRefused
            No such level, or one is going on already.
        """
        if level not in LEVELS:
            raise CommandRefused(f"Drill level {level} is not 1 (pause), 2 (cancel), 3 (flatten) or 4 (halt).")
        if self._running is not None:
            raise CommandRefused(
                f"A drill of level {self._running['level']} is going on. It takes {ABOUT}; wait for its outcome."
            )
        row = dict.fromkeys(OUTCOME) | {
            "drill_id": f"drill-{uuid.uuid4().hex[:8]}", "ts": self._now(), "level": level, "actor": actor,
            "message": "Going on.",
        }  # fmt: skip
        self._running = row
        self._store.audit(actor, "drill.start", {"drill_id": row["drill_id"], "level": level})
        self._task = asyncio.create_task(self._run(row))
        return {"drill_id": row["drill_id"]}

    def due(self, every_days: float) -> int | None:
        """Return the level that was rehearsed longest ago, if that is longer than ``every_days``, and none goes on."""
        level, last_ns = stalest_level(self._store)
        is_due = self._running is None and self._now() - last_ns > every_days * NS_PER_DAY
        return int(level) if is_due else None

    def rows(self) -> list[dict[str, Any]]:
        """Return every drill, newest first; the one going on has ``ok`` None."""
        kept = drill_rows(self._store)
        return kept if self._running is None else [self._running, *kept]

    async def _run(self, row: dict[str, Any]) -> None:
        try:
            outcome = await self._rehearse(int(row["level"]))
        except asyncio.CancelledError:
            raise
        except Exception as trouble:
            # Whatever went wrong, a drill without an outcome must never read as one that passed.
            log.exception("drill died")
            outcome = {"ok": False, "message": f"the drill itself failed: {type(trouble).__name__}: {trouble}"}
        finally:
            self._process = None
        done = row | outcome
        try:
            await asyncio.wrap_future(record_drill(self._store, done))
        except StorageError as error:
            log.error("drill not recorded", reason=str(error))
        self._running = None
        if not done["ok"]:
            name = KillLevel(done["level"]).name.lower()
            self._incident(
                "critical", "drill",
                f"the drill of kill level {done['level']} ({name}) failed: {done['message']}. Live trading stays "
                "refused until a drill of this level passes: start one on the Health page.",
            )  # fmt: skip

    async def _rehearse(self, level: int) -> dict[str, Any]:
        # the drill sees nothing of the account that trades: neither its keys nor where its venue is
        own = {name: value for name, value in os.environ.items() if not name.startswith(("ASTER_", "ASTROLABE_"))}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "engine.runtime.rehearsal", "--level", str(level), env=own,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            said, trouble = await asyncio.wait_for(self._process.communicate(), DRILL_TIMEOUT_S)
        except TimeoutError:
            await self._end_process()
            return {"ok": False, "message": f"no outcome within {DRILL_TIMEOUT_S:.0f} s"}
        lines = said.decode(errors="replace").strip().splitlines()
        if not lines:
            last = trouble.decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
            return {"ok": False, "message": f"the drill's process ended without an outcome; its last words: {last[0]}"}
        outcome = json.loads(lines[-1])
        return {name: outcome[name] for name in OUTCOME}

    async def _end_process(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 15.0)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def stop(self) -> None:
        """End a drill that goes on; it leaves no record of an outcome."""
        await self._end_process()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def record_drill(store: Database, row: dict[str, Any]) -> Future[None]:
    """Append a finished drill to table ``metrics`` and to the audit chain; the future is done when both are on disk."""
    labels = {name: row.get(name) for name in ("drill_id", *OUTCOME)} | {"actor": row.get("actor")}
    value = row["time_to_flat_s"] if row.get("time_to_flat_s") is not None else _seconds(row.get("cancels_ms"))
    # in the same lane as the audit row behind it, so that one future speaks for both
    store.append_durable("metrics", [{"ts": row["ts"], "name": "drill", "value": value, "labels": json.dumps(labels)}])
    return store.audit(str(row.get("actor") or "engine"), "drill", labels)


def drill_rows(store: Database) -> list[dict[str, Any]]:
    """Return the finished drills of this data folder, newest first: ``drill_id, ts, level, ok, time_to_flat_s, …``."""
    query = f"SELECT ts, labels FROM metrics WHERE name = 'drill' ORDER BY ts DESC LIMIT {KEPT}"
    rows = [json.loads(row["labels"]) | {"ts": row["ts"]} for row in both(store, query)]
    return sorted(rows, key=lambda row: -int(row["ts"]))


def stalest_level(store: Database) -> tuple[KillLevel, int]:
    """Return the level rehearsed longest ago and when, ns; 0 for never. Flatten comes first when all are equal."""
    newest: dict[KillLevel, int] = dict.fromkeys(LEVELS, 0)
    for row in drill_rows(store):
        rehearsed = KillLevel(row["level"])
        newest[rehearsed] = max(newest[rehearsed], int(row["ts"]))
    order = (KillLevel.FLATTEN, KillLevel.HALT, KillLevel.CANCEL, KillLevel.PAUSE)
    level = min(order, key=lambda item: newest[item])
    return level, newest[level]


def drill_verdict(store: Database, now_ns: int) -> tuple[bool, str]:
    """Return whether the drills allow live trading, and the sentence that says why.

    The newest drill of flatten must have passed within ``FRESH_DAYS``; the newest of no other level may have failed.
    """
    newest: dict[int, dict[str, Any]] = {}
    for row in drill_rows(store):
        newest.setdefault(int(row["level"]), row)
    failed = [row for row in newest.values() if not row["ok"]]
    if failed:
        row = failed[0]
        return False, (
            f"The last drill of level {row['level']} failed: {row['message']}. Find the cause, then rehearse it again "
            "on the Health page."
        )
    flatten = newest.get(KillLevel.FLATTEN)
    if flatten is None:
        return False, f"Flatten has never been rehearsed here. Start the drill on the Health page; it takes {ABOUT}."
    days = (now_ns - int(flatten["ts"])) / NS_PER_DAY
    if days > FRESH_DAYS:
        return False, f"The last drill of flatten is {days:.0f} days old; {FRESH_DAYS:.0f} is the limit. Rehearse it."
    return True, f"Flat in {flatten['time_to_flat_s']:.2f} s, {days:.1f} days ago; {FRESH_DAYS:.0f} days is the limit."


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1e3
