"""What the AI Insights page asks of the trained models' registry, and the trainings it starts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from engine.domain import NS_PER_S
from engine.errors import CommandRefused
from engine.runtime.challenge import Challenge, Judge
from engine.runtime.news import Reader
from engine.runtime.retraining import Adviser, Retraining

if TYPE_CHECKING:
    from engine.runtime.engine import Engine
    from engine.runtime.jobs import Jobs
    from engine.runtime.live_models import LiveModels

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
INTERVAL = "1h"
ENDED = ("done", "failed", "cancelled")


class Book(Judge, Adviser, Reader, Protocol):
    """The registry, as ``models.book.ModelBook`` is one."""

    fewest_bars: int  # hourly ones, for a training

    def overview(self, n_bars: dict[str, int], ts_now: int) -> dict[str, Any]:
        """Return what models there are and what they have shown."""

    def retire(self, name: str, reason: str, actor: str, ts_now: int) -> dict[str, Any]:
        """Use a set or a learner no more."""

    def roll_back(self, reason: str, actor: str, ts_now: int) -> dict[str, Any]:
        """Put the set before the present one into force again."""


class ModelDesk:
    """Answers ``models``, starts and cancels trainings, and changes which set is in force.

    Parameters
    ----------
    engine : Engine
    jobs : Jobs
    book : Book
    live : LiveModels, optional
        The models as they run: what they count now, and what their forecasts came to.
    """

    def __init__(self, engine: Engine, jobs: Jobs, book: Book, live: LiveModels | None = None) -> None:
        self._engine, self._jobs, self._book, self._live = engine, jobs, book, live
        self._retraining: Retraining | None = None
        self._challenge = Challenge(engine.loop, engine.store, book)
        if live is not None:
            self._retraining = Retraining(engine, jobs, book, live, self._train)
            live.host.on_hour = live.on_champion = self._when_due
            live.on_challenger = self._challenge.follow
        self.questions: dict[str, Handler] = {"models": self._models, "models.training": self._run}
        self.orders: dict[str, Handler] = {
            "models.train": self._train, "models.cancel": self._cancel, "models.promote": self._promote,
            "models.rollback": self._roll_back, "models.retire": self._retire,
        }  # fmt: skip

    async def _when_due(self) -> None:
        """Put an heir into force whose time has come, then see whether there is a reason to train."""
        await self._challenge.hand_over()
        if self._retraining is not None:
            await self._retraining.when_due()

    async def _models(self, body: dict[str, Any]) -> dict[str, Any]:
        overview = await asyncio.to_thread(self._overview)
        training = await asyncio.to_thread(self._training)
        if training is not None and training["status"] not in ENDED:
            overview["offer"] = None
        running = {} if self._live is None else await asyncio.to_thread(self._live.overlay, overview)
        challenges = await asyncio.to_thread(self._challenges, overview)
        told = [] if self._retraining is None else (await asyncio.to_thread(self._retraining.advice))[1]
        return overview | running | {"training": training, "challenges": challenges, "retraining": told}

    async def _run(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"training": await asyncio.to_thread(self._training)}

    def _challenges(self, overview: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            row | found if (found := self._challenge.standing(row["champion"], row["challenger"]))["outcomes"] else row
            for row in overview["challenges"]
        ]

    def _overview(self) -> dict[str, Any]:
        return self._book.overview(self._n_bars(), self._engine.loop.clock.now())

    def _n_bars(self) -> dict[str, int]:
        store, symbols = self._engine.store, self._engine.loop.config.symbols
        rows = store.rows("SELECT symbol, count(*) AS n FROM bars WHERE interval = ? GROUP BY symbol", [INTERVAL])
        known = {row["symbol"]: int(row["n"]) for row in rows}
        return {symbol: known.get(symbol, 0) for symbol in symbols}

    def _training(self) -> dict[str, Any] | None:
        row = self._jobs.newest("train")
        if row is None:
            return None
        notes = self._jobs.notes(row["run_id"])
        share = float(row.get("progress") or 0.0)
        elapsed_s = (self._engine.loop.clock.now() - row["ts_started"]) / NS_PER_S
        going_on = row["status"] not in ENDED
        message = (row.get("error") or "") if not going_on else _at_work(notes)
        return {
            "run_id": row["run_id"], "status": row["status"], "progress": share, "message": message,
            "seconds_left": elapsed_s * (1.0 - share) / share if going_on and share > 0.05 else None,
            "reason": _reason_of(row), "curves": curves_of(notes),
        }  # fmt: skip

    async def _train(self, body: dict[str, Any]) -> dict[str, Any]:
        running = await asyncio.to_thread(self._training)
        if running is not None and running["status"] not in ENDED:
            raise CommandRefused(f"Training {running['run_id']} is going on already. Wait for it, or cancel it.")
        n_bars = await asyncio.to_thread(self._n_bars)
        enough = [symbol for symbol, n in n_bars.items() if n >= self._book.fewest_bars]
        if not enough:
            raise CommandRefused(
                "There are too few hourly candles to learn from. Let the engine gather history, or train on a data "
                "set: python -m engine train --data NAME."
            )
        config = {
            "source": "history", "interval": INTERVAL, "symbols": enough,
            "reason": str(body.get("reason") or "a person asked for it"), "actor": str(body.get("actor") or "desk"),
        }  # fmt: skip
        return await self._jobs.start("train", config)

    async def _cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._jobs.cancel(str(body.get("run_id"))) | {"run_id": str(body.get("run_id"))}

    async def _promote(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._change(self._book.promote, "models.promote", body, str(body.get("version")))

    async def _retire(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._change(self._book.retire, "models.retire", body, str(body.get("name")))

    async def _roll_back(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._change(self._book.roll_back, "models.rollback", body)

    async def _change(
        self, change: Callable[..., dict[str, Any]], action: str, body: dict[str, Any], *what: str
    ) -> dict[str, Any]:
        reason, actor = str(body.get("reason") or ""), str(body.get("actor") or "desk")
        found = await asyncio.to_thread(change, *what, reason, actor, self._engine.loop.clock.now())
        self._engine.store.audit(actor, action, {"reason": reason, **found})
        return found


def _at_work(notes: list[dict[str, Any]]) -> str:
    return f"teaching {notes[-1]['name']}" if notes else "working out the inputs"


def _reason_of(row: dict[str, Any]) -> str:
    return str(json.loads(row["config"]).get("reason") or "")


def curves_of(notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a learning curve for each learner and seed: points of step, training loss and validation loss."""
    found: dict[tuple[str, int], list[list[Any]]] = {}
    for note in notes:
        if note["train"] is not None or note["valid"] is not None:
            points = found.setdefault((note["name"], note["seed"]), [])
            points.append([note["step"], note["train"], note["valid"]])
    return [{"name": name, "seed": seed, "points": points} for (name, seed), points in found.items()]
