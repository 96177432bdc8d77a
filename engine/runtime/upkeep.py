"""What the Health page asks for: drills, the capital ladder and incident bundles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import CommandRefused
from engine.runtime.bundle import make_bundle
from engine.runtime.kernels import compile_once
from engine.runtime.ladder import ladder, override
from engine.runtime.status import engine_status

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

Handler = Callable[[dict[str, Any]], Awaitable[Any]]


class Upkeep:
    """Actions by name, merged into the engine's others: ``questions`` change nothing, ``orders`` carry a key.

    Parameters
    ----------
    engine : Engine
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.questions: dict[str, Handler] = {
            "drills": self._drills,
            "ladder": self._ladder,
            "incident.bundle": self._bundle,
        }
        self.orders: dict[str, Handler] = {"drill.start": self._drill_start, "ladder.override": self._override}

    async def _drills(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self._engine.drills.rows)

    async def _ladder(self, body: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(ladder, self._engine.store, self._engine.loop.clock.now())

    async def _bundle(self, body: dict[str, Any]) -> dict[str, Any]:
        engine = self._engine
        incident_id = whole_number(body.get("incident_id"))
        folder = engine.store.path.parent
        path = body.get("path")
        target = folder / "bundles" / f"incident-{incident_id}.zip" if path is None else Path(str(path)).expanduser()
        status = engine_status(engine.loop, engine.clock_skew_ms)
        await asyncio.to_thread(engine.store.flush)
        return await asyncio.to_thread(make_bundle, engine.store, incident_id, target, status)

    async def _drill_start(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._engine.drills.start(whole_number(body.get("level")), str(body.get("actor") or "desk"))

    async def _override(self, body: dict[str, Any]) -> dict[str, Any]:
        engine = self._engine
        rung, reason = str(body.get("rung")), str(body.get("reason") or "")
        await asyncio.to_thread(override, engine.store, rung, reason, str(body.get("actor") or "desk"))
        await follow_ladder(engine)
        return await self._ladder({})


async def drill_when_due(engine: Engine) -> None:
    """Start the drill that the settings ask for by now, if any."""
    if engine.loop.phase == "trading":
        level = await asyncio.to_thread(engine.drills.due, engine.loop.config.drill_every_days)
        if level is not None:
            engine.drills.start(level, "schedule")


async def follow_ladder(engine: Engine) -> None:
    """Size with the share of capital that the evidence allows by now; a change is told."""
    before = engine.capital.share
    if engine.loop.phase == "trading" and await asyncio.to_thread(engine.capital.changed):
        now = engine.capital.share
        sentence = (
            f"live trading now uses {now:.0%} of its limits, before {before:.0%}: see the ladder on the Health page"
        )
        engine.loop.incident("warning", "ladder", sentence)
        await engine.apply(engine.loop.config)


def whole_number(value: Any) -> int:
    """Return an int sent by a client, or refuse."""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise CommandRefused(f"A whole number is wanted, as in 3, and {value!r} is none.") from None


async def when_idle(engine: Engine, history: asyncio.Task[None] | None) -> None:
    """Do what can wait until trading has begun: models want the hourly candles, backtests their kernels."""
    if history is not None:
        await asyncio.wait([history])
    if engine.loop.models is not None:
        engine.loop.models.is_ready = True
        engine.loop.models.start()
    await compile_once(engine.store, "core.simulate", "compile_scans")
