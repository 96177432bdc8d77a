"""Why the models said what they said at each decision: worked out after it, a symbol at a time, kept, and found again.

Nothing here is on the way of an order. The models' process is asked only while no bar is due, bars and questions of
pages go first, and what there was no time for says so.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import structlog

from engine.domain import NS_PER_S
from engine.errors import CommandRefused
from engine.runtime.model_host import ModelHost
from engine.runtime.model_scores import BAR_NS
from storage.errors import StorageError

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

log = structlog.get_logger("models")

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
Known = Callable[[int], Awaitable[dict[str, Any]]]

BUDGET_S = 120.0
"""Of the models' process for the symbols of one bar, together."""

SLOWEST_S = 1.0  # that one symbol is thought to take before any was measured
SPARE_S = 0.2
NEXT_BAR = "the next bar came first"
HORIZON = 24
"""Bars; the one that ``models.reasons`` keeps."""

COLUMNS = "ts_close, symbol, version, horizon, why_not, took_ms, detail"


class Reasons:
    """Has the reasons of each answer of the set in force worked out, and answers ``models.reasons``.

    Parameters
    ----------
    engine : Engine
    host : ModelHost
    known : callable of a horizon
        What the engine knows of such forecasts, as ``ModelHost.explain`` takes it.
    """

    def __init__(self, engine: Engine, host: ModelHost, known: Known) -> None:
        self._loop, self._store, self._session = engine.loop, engine.store, getattr(engine, "session", None)
        self._host, self._known = host, known
        self._newest = 0  # close of the bar whose reasons are worked out, ns
        self._slowest_s = SLOWEST_S
        self.questions: dict[str, Handler] = {"models.reasons": self._answer}

    async def follow(self, answer: dict[str, Any]) -> None:
        """Have the reasons of an answer worked out, of the symbols with the strongest wishes first, and keep them."""
        try:
            await self._follow(answer)
        except StorageError as error:  # nothing waits for reasons, and the next answer tries anew
            log.warning("reasons not worked out", reason=str(error))

    async def _follow(self, answer: dict[str, Any]) -> None:
        ts_close, version = int(answer["ts_close"]), str(answer["version"])
        if ts_close < self._newest:
            return
        self._newest = ts_close
        rows = await asyncio.to_thread(self._rows, ts_close, version)
        there = {row["symbol"] for row in rows if row["why_not"] is None}
        wish = [abs(value) if value is not None else -1.0 for value in answer["weight"]]
        order = sorted(range(len(wish)), key=lambda i: -wish[i])
        due = [answer["symbols"][i] for i in order if answer["symbols"][i] not in there]
        known = await self._known(HORIZON)
        spent_s = 0.0
        for place, symbol in enumerate(due):
            why = NEXT_BAR if self._newest != ts_close else self._why_no_time(spent_s)
            if why is not None:
                self._keep([self._row(ts_close, one, version, why_not=why) for one in due[place:]])
                return
            began = time.monotonic()
            found = await self._host.reasons(symbol, ts_close, known, began + self._left_s())
            took_s = time.monotonic() - began
            spent_s += took_s
            if "error" in found:
                row = self._row(ts_close, symbol, version, why_not=str(found["error"]).rstrip("."))
            else:
                self._slowest_s = max(took_s, 0.9 * self._slowest_s)
                row = self._row(ts_close, symbol, version, detail=json.dumps(found), took_ms=1e3 * took_s)
            self._keep([row])

    def _left_s(self) -> float:
        """Return the seconds of the wall clock until the next bar closes; the practice market may run faster."""
        now = int(self._loop.market.ts_exchange or self._loop.clock.now())
        speed = float(self._session.speed) if self._session is not None else 1.0
        return (BAR_NS - now % BAR_NS) / NS_PER_S / max(speed, 1e-9)

    def _why_no_time(self, spent_s: float) -> str | None:
        if spent_s + self._slowest_s > BUDGET_S:
            return f"the {BUDGET_S:g} s for this were used up by other symbols"
        left_s = self._left_s()
        if left_s < 2.0 * self._slowest_s + SPARE_S:
            return f"the models waited for the bar that closed {left_s:.1f} s later, which came first"
        return None

    def _row(self, ts_close: int, symbol: str, version: str, **known: Any) -> dict[str, Any]:
        row = {"ts_close": ts_close, "symbol": symbol, "version": version, "horizon": HORIZON}
        return row | {"why_not": None, "took_ms": None, "detail": None} | known

    def _keep(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._loop.journal.append("reasons", rows)

    def _rows(self, ts_close: int, version: str) -> list[dict[str, Any]]:
        return self._store.rows(
            f"SELECT {COLUMNS} FROM reasons WHERE ts_close = ? AND version = ?", [ts_close, version]
        )

    async def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(self._found, body)

    def _found(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the reasons behind one symbol of a decision, or of the newest forecast where none is named."""
        decision, symbol = body.get("decision_id"), str(body.get("symbol"))
        if decision is None:
            latest = self._host.latest
            if latest is None:
                raise CommandRefused(self._host.trouble or "The models have not answered yet.")
            said: dict[str, Any] = latest
        else:
            found = self._store.rows("SELECT detail FROM decisions WHERE decision_id = ?", [int(decision)])
            if not found:
                raise CommandRefused(f"There is no decision {decision} on the record.")
            said = json.loads(found[0]["detail"]).get("models") or {"why_not": "models took no part in this decision"}
        if said.get("why_not"):
            return {"symbol": symbol, "ts_close": None, "version": None, "record": None, "why_not": said["why_not"]}
        ts_close, version = int(said["ts_close"]), str(said["version"])
        row = next((one for one in self._rows(ts_close, version) if one["symbol"] == symbol), None)
        why = self._why_absent(ts_close) if row is None else row["why_not"]
        record = None if row is None or row["detail"] is None else json.loads(row["detail"])
        return {"symbol": symbol, "ts_close": ts_close, "version": version, "record": record, "why_not": why}

    def _why_absent(self, ts_close: int) -> str:
        if ts_close == self._newest:
            return "it is being worked out: look again in a few seconds"
        return "the engine was stopped before it came to it, or the record is of before reasons were kept"
