"""The stress replay of the book that is held: on demand, every night, and the newest outcome with its age."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import structlog

from engine.errors import CommandRefused
from engine.research.book_stress import stress
from engine.research.scenarios import BENCHMARK
from engine.runtime.elsewhere import elsewhere
from engine.runtime.risk_book import control_of, held_book, hourly_history, limits_in_force

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
log = structlog.get_logger("stress")
KIND = "stress"


class StressDesk:
    """Answers ``stress`` (the newest outcome) and ``stress.run``.

    Parameters
    ----------
    engine : Engine
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._running: asyncio.Task[dict[str, Any]] | None = None
        self.questions: dict[str, Handler] = {"stress": self._newest, "stress.run": self._run}

    async def _newest(self, body: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(newest_stress, self._engine)

    async def _run(self, body: dict[str, Any]) -> dict[str, Any]:
        """Replay now; whoever asks while a replay goes on gets that one's outcome."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(run_stress(self._engine, str(body.get("actor") or "desk")))
        return await asyncio.shield(self._running)


async def run_stress(engine: Engine, trigger: str) -> dict[str, Any]:
    """Replay every scenario against the book of now, keep the outcome and return it as ``newest_stress`` does."""
    book, config = held_book(engine), limits_in_force(engine.loop)
    began = time.time_ns()
    symbols = tuple(dict.fromkeys((*book.symbols, BENCHMARK)))
    returns = await asyncio.to_thread(hourly_history, engine.store, symbols)
    found = await asyncio.to_thread(elsewhere, stress, book, control_of(config, returns, book.symbols), returns)
    row = {
        "run_id": f"stress-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(began / 1e9))}-{began % 1_000_000:06d}",
        "kind": KIND, "status": "done", "ts_started": began, "ts_finished": time.time_ns(), "progress": 1.0,
        "config": json.dumps({"trigger": trigger, "account": engine.session.account_key}),
        "metrics": json.dumps({"worst": found["worst"], "holds": found["holds"], "equity": found["equity"]}),
        "result": json.dumps(found, allow_nan=False),
    }  # fmt: skip
    await asyncio.wrap_future(engine.store.append_durable("runs", [row]))
    return _answer(row)


def newest_stress(engine: Engine) -> dict[str, Any]:
    """Return this account's newest outcome: ``ts`` ns, ``age_s``, ``trigger`` and the fields of ``stress``.

    ``ts`` is None before the first: what an earlier account held says nothing of this one.
    """
    rows = engine.store.rows(
        "SELECT * FROM runs WHERE kind = ? AND ts_started >= ? AND (config ->> '$.account') = ? "
        "ORDER BY ts_started DESC LIMIT 1",
        [KIND, engine.loop.began_ns, engine.session.account_key],
    )
    return _answer(rows[0]) if rows else {"ts": None, "age_s": None, "trigger": None, "rows": []}


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    age_s = (time.time_ns() - row["ts_started"]) / 1e9
    told = {"ts": row["ts_started"], "age_s": age_s, "trigger": json.loads(row["config"])["trigger"]}
    return told | dict(json.loads(row["result"]))


async def stress_nightly(engine: Engine) -> None:
    """Replay once a night; what cannot be replayed now is not an incident."""
    if engine.loop.phase != "trading":
        return
    try:
        await run_stress(engine, "nightly")
    except CommandRefused as refusal:
        log.info("stress not replayed", reason=str(refusal))
