"""The models as they run: their process, their forecasts on the record, and what the Insights page asks of both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import structlog

from engine.domain import NS_PER_DAY
from engine.errors import CommandRefused
from engine.runtime import model_record, model_scores
from engine.runtime.model_host import ModelHost
from engine.runtime.model_state import is_sleeve, share_now, why_now
from engine.runtime.reasons import Reasons
from storage.errors import StorageError

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

log = structlog.get_logger("models")

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
KEPT_DAYS = 365
"""Older forecasts and reasons are deleted, once a day: at fifty symbols an hour adds some 2,400 rows a set."""

HORIZONS = [1, 2, 4, 8, 12, 24]
BASE = "base-rate"
DRIFT_WORDS = "The newest week of hourly bars against every week that the models in force have learned from."


class LiveModels:
    """Actions by name, merged into the engine's others; all are questions.

    Parameters
    ----------
    engine : Engine
    module : str
        What runs in the process: ``models.serve``.
    """

    def __init__(self, engine: Engine, module: str) -> None:
        self._engine, self._loop, self._store = engine, engine.loop, engine.store
        self.host = engine.loop.models = ModelHost(
            engine.store.path.parent, module, engine.loop.config.symbols, self._history, engine.loop.clock.now,
            engine.loop.incident, self._keep, funding=self._funding,
        )  # fmt: skip
        self._reasons = Reasons(engine, self.host, self._known)
        self.questions: dict[str, Handler] = {"models.forecast": self._forecast, "models.explain": self._explain}
        self.questions |= self._reasons.questions
        self.orders: dict[str, Handler] = {}
        self.on_champion: Callable[[], Coroutine[Any, Any, None]] | None = None  # after each of its answers
        self.on_challenger: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._following: set[asyncio.Task[None]] = set()
        self._scores: tuple[tuple[int, int], model_record.DayScores] | None = None
        self._tidied_day = 0

    def _history(self, symbols: tuple[str, ...], interval: str, count: int) -> list[Any]:
        self._store.flush()
        return model_scores.stored_bars(self._store, symbols, interval, count)

    def _funding(self, symbols: tuple[str, ...], ts_close: int) -> list[float | None]:
        return model_scores.rates_at(self._store, symbols, ts_close)

    def _keep(self, role: str, answer: dict[str, Any]) -> None:
        loaded = self.host.loaded
        if loaded is not None:
            rows = model_scores.forecast_rows(role, answer, loaded["levels"], loaded["horizons"])
            if rows:
                self._loop.journal.append("forecasts", rows)
        then = self.on_champion if role == "champion" else self.on_challenger
        if then is not None:
            self._follow(then())
        if role == "champion":
            self._follow(self._reasons.follow(answer))
        day = int(answer["ts_close"]) // NS_PER_DAY
        if day > self._tidied_day:
            self._tidied_day = day
            self._follow(asyncio.to_thread(self._forget, (day - KEPT_DAYS) * NS_PER_DAY))

    def _follow(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    def _forget(self, before_ns: int) -> None:
        try:
            for table in ("forecasts", "reasons"):
                self._store.execute(f"DELETE FROM {table} WHERE ts_close < ?", [before_ns])
        except StorageError as error:  # tomorrow again
            log.warning("old forecasts not deleted", reason=str(error))

    def _fared(self) -> model_record.DayScores:
        """Return how forecasts fared, worked out anew once an hour: outcomes come with bars."""
        hour = int(self._loop.clock.now()) // model_scores.BAR_NS
        key = (hour, int((self.host.latest or {}).get("ts_close") or 0))
        known = self._scores
        if known is None or known[0] != key:
            known = self._scores = key, model_record.day_scores(self._store)
        return known[1]

    def overlay(self, overview: dict[str, Any]) -> dict[str, Any]:
        """Return what is known only of models that run: their share now and why, and what their forecasts came to."""
        config, latest, fared = self._loop.config, self.host.latest, self._fared()
        said = {
            "share": share_now(self.host, config), "why": why_now(self.host, config, overview["why"]),
            "reliability": model_record.reliability(fared, HORIZONS), "coverage": model_record.coverage(fared),
            "record_days": model_record.RECORD_DAYS, "drift_words": DRIFT_WORDS,
            "drift": ((latest or {}).get("beside") or {}).get("drift", []),
        }  # fmt: skip
        left_out = (latest or {}).get("left_out") or {}
        models = [
            row | {"failed": row["failed"] or left_out.get(row["name"])} if row["role"] != "challenger" else row
            for row in overview["models"]
        ]
        return said | {"models": models}

    async def _forecast(self, body: dict[str, Any]) -> dict[str, Any]:
        symbol, latest, loaded = str(body.get("symbol")), self.host.latest, self.host.loaded
        if latest is None or loaded is None:
            raise CommandRefused(self.host.trouble or "The models have not answered yet.")
        if symbol not in latest["symbols"]:
            raise CommandRefused(f"The models forecast {', '.join(latest['symbols'])}, and not {symbol}.")
        i, ensemble, models = latest["symbols"].index(symbol), latest.get("ensemble"), latest.get("models") or {}
        if ensemble is None:
            raise CommandRefused("The models have no forecast: " + "; ".join(latest["left_out"].values()))
        mid = loaded["levels"].index(0.5)
        unknown = [None] * len(HORIZONS)
        members = []
        for name in loaded["members"]:
            one = models.get(name)
            members.append({
                "name": name, "fresh": one is not None,
                "prob_up": one["prob_up"][i] if one else unknown,
                "median": [quantile[mid] for quantile in one["quantile"][i]] if one else unknown,
                "weight": one["weight"][i] if one else [0.0] * len(HORIZONS),
            })  # fmt: skip
        base, beside = models.get(BASE), latest.get("beside") or {}
        return {
            "ts_close": latest["ts_close"], "close_px": latest["close_px"][i], "sigma": latest["sigma"][i],
            "levels": loaded["levels"], "quantile": ensemble["quantile"][i], "prob_up": ensemble["prob_up"][i],
            "base_up": base["prob_up"][i] if base else unknown, "prob_spread": latest["prob_spread"][i],
            "members": members, "agents": [_vote(row, i) for row in beside.get("agents", [])],
            "regimes": beside.get("regimes") and beside["regimes"] | {"changes": beside["changes"]},
        }  # fmt: skip

    async def _explain(self, body: dict[str, Any]) -> dict[str, Any]:
        symbol, model, horizon = str(body.get("symbol")), str(body.get("model")), int(body.get("horizon") or 24)
        if horizon not in HORIZONS:
            raise CommandRefused(f"{horizon} is not one of the horizons {', '.join(map(str, HORIZONS))}, bars.")
        return await self.host.explain(symbol, model, horizon, await self._known(horizon))

    async def _known(self, horizon: int) -> dict[str, Any]:
        """Return what the engine knows of forecasts over a horizon: what models count, and how past ones fared."""
        scores, config = await asyncio.to_thread(self._fared), self._loop.config
        known = {"share": share_now(self.host, config), "is_sleeve": is_sleeve(config)}
        return known | model_record.fared(scores, horizon)


def _vote(row: dict[str, Any], i: int) -> dict[str, Any]:
    """Return what one agent says of one symbol."""
    return row | {name: row[name][i] for name in ("vote", "spread", "low", "high") if name in row}
