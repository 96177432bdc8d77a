"""What the Backtest page asks of long runs: start, follow, cancel, resume, discard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from engine.runtime.jobs import Jobs

Handler = Callable[[dict[str, Any]], Awaitable[Any]]


class RunDesk:
    """Actions by name, merged into the engine's others: ``questions`` change no record, ``orders`` carry a key.

    Parameters
    ----------
    jobs : Jobs
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self.questions: dict[str, Handler] = {
            "run.status": self._status, "run.result": self._result, "run.cancel": self._cancel,
        }  # fmt: skip
        self.orders: dict[str, Handler] = {
            "run.start": self._start, "run.resume": self._resume, "run.discard": self._discard,
        }  # fmt: skip

    async def _status(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._jobs.status(str(body["run_id"]))

    async def _result(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._jobs.result(str(body["run_id"]))

    async def _cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._jobs.cancel(str(body["run_id"]))

    async def _start(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._jobs.start(str(body.get("kind") or "backtest"), dict(body.get("config") or {}))

    async def _resume(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._jobs.resume(str(body.get("run_id")))

    async def _discard(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._jobs.discard(str(body.get("run_id")))
