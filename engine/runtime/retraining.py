"""When models train again unasked: by the calendar, before they expire, after drift, and after a market's change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from engine.domain import NS_PER_DAY, NS_PER_MS, NS_PER_S
from engine.errors import CommandRefused
from engine.runtime.challenge import log_loss_sql, pinball_sql
from engine.runtime.model_scores import BAR_NS, ENSEMBLE, INTERVAL
from storage.database import Database

if TYPE_CHECKING:
    from engine.runtime.engine import Engine
    from engine.runtime.jobs import Jobs
    from engine.runtime.live_models import LiveModels

BASE = "base-rate"
RECENT_DAYS = 30
AFTER_FAILURE_S = 6 * 3_600
"""A training that failed is not tried again sooner than this."""

Train = Callable[[dict[str, Any]], Awaitable[Any]]


class Adviser(Protocol):
    """What the registry says of retraining, as ``models.book.ModelBook`` does."""

    def standing(self, ts_now: int) -> dict[str, int]:
        """Return of the newest set ``ts_trained`` and ``ts_last``, and ``ts_expires`` and ``ts_heir``, ns or 0."""

    def why_train(self, facts: dict[str, Any]) -> tuple[str | None, list[str]]:
        """Return why to train now, None if there is no reason, and how far each reason is, in sentences."""


def recent_losses(store: Database, version: str, since_ns: int) -> list[dict[str, Any]]:
    """Return daily sums of what the ensemble of a set lost less than its base rate; see ``models.retraining``."""
    return store.rows(
        # every number and name that is put into the text is a constant of ours
        "WITH o AS (SELECT f.ts_close, f.symbol, f.horizon, ln(c.close_px / f.close_px) / (f.sigma * sqrt(f.horizon)) "
        "AS outcome FROM forecasts f JOIN bars c ON c.symbol = f.symbol AND c.interval = $1 "
        f"AND c.ts_open = f.ts_close + (f.horizon - 1) * {BAR_NS} "
        f"WHERE f.model = '{ENSEMBLE}' AND f.version = $2 AND f.ts_close >= $3 "
        "AND f.close_px > 0 AND f.sigma > 0 AND c.close_px > 0), "
        f"d AS (SELECT o.ts_close // {NS_PER_DAY} AS day, o.horizon, "
        f"{log_loss_sql('b')} - {log_loss_sql('a')} AS log_loss_gain, "
        f"{pinball_sql('b')} AS base_pinball, {pinball_sql('b')} - {pinball_sql('a')} AS pinball_gain FROM o "
        "JOIN forecasts a ON a.ts_close = o.ts_close AND a.symbol = o.symbol AND a.horizon = o.horizon "
        f"AND a.model = '{ENSEMBLE}' AND a.version = $2 "
        "JOIN forecasts b ON b.ts_close = o.ts_close AND b.symbol = o.symbol AND b.horizon = o.horizon "
        f"AND b.model = '{BASE}' AND b.version = $2) "
        "SELECT day, horizon, sum(log_loss_gain) AS log_loss_gain, sum(pinball_gain) AS pinball_gain, "
        "sum(base_pinball) AS base_pinball, count(pinball_gain) AS n FROM d WHERE pinball_gain IS NOT NULL "
        "GROUP BY day, horizon",
        [INTERVAL, version, since_ns],
    )


class Retraining:
    """Asks, after every hour's answer and once an hour, whether there is a reason to train again.

    Parameters
    ----------
    engine : Engine
    jobs : Jobs
    adviser : Adviser
    live : LiveModels
    train : callable of a body
        Starts a training of the stored history.
    """

    def __init__(self, engine: Engine, jobs: Jobs, adviser: Adviser, live: LiveModels, train: Train) -> None:
        self._loop, self._store, self._jobs = engine.loop, engine.store, jobs
        self._adviser, self._live, self._train = adviser, live, train
        self._busy = asyncio.Lock()
        self._failed: str | None = None  # the newest refusal, which is told once
        self._judged: tuple[tuple[str, int], list[dict[str, Any]]] | None = None  # losses, by set and newest bar

    async def when_due(self) -> None:
        """Start a training if there is a reason by now. Nothing before the first one, which a person starts."""
        if self._busy.locked() or self._loop.phase != "trading":
            return
        async with self._busy:
            why, _ = await asyncio.to_thread(self.advice)
            if why is None:
                return
            try:
                await self._train({"reason": why, "actor": why.split(":")[0]})
                self._failed = None
            except CommandRefused as refusal:
                if str(refusal) != self._failed:
                    self._failed = str(refusal)
                    self._loop.incident("warning", "models", f"A training did not begin ({why}): {refusal}")

    def advice(self) -> tuple[str | None, list[str]]:
        """Return why to train now, or None, and how far each reason is, in sentences."""
        config, now = self._loop.config, self._loop.clock.now()
        standing = self._adviser.standing(now)
        latest = self._live.host.latest or {}
        beside, version = latest.get("beside") or {}, latest.get("version")
        changes = beside.get("changes") or []
        change = (changes[-1][0] * NS_PER_MS, changes[-1][1]) if changes and config.use_regime_retraining else None
        losses: list[dict[str, Any]] = []
        if version is not None and config.use_drift_retraining:
            losses = self._losses(version, int(latest["ts_close"]))
        row = self._jobs.newest("train")
        why, told = self._adviser.why_train({
            "ts_now": now, "ts_tried": _tried(row, standing["ts_trained"]), "ts_last": standing["ts_last"],
            "ts_expires": standing["ts_expires"], "ts_heir": standing["ts_heir"],
            "drift": beside.get("drift") or [] if config.use_drift_retraining else [], "losses": losses,
            "change": change,
            "every_days": config.retrain_every_days if config.use_retraining else None,
            "pause_days": config.retrain_pause_days,
        })  # fmt: skip
        return (None if _is_too_soon(row, now) else why), told

    def _losses(self, version: str, ts_close: int) -> list[dict[str, Any]]:
        """Return the losses as of the newest bar: outcomes come with bars, so between two of them nothing changes."""
        known = self._judged
        if known is None or known[0] != (version, ts_close):
            since = ts_close - RECENT_DAYS * NS_PER_DAY
            known = self._judged = (version, ts_close), recent_losses(self._store, version, since)
        return known[1]


def _tried(row: dict[str, Any] | None, ts_trained: int) -> int:
    if row is None or row["status"] != "done" or ts_trained <= 0:
        return ts_trained
    return max(ts_trained, int(row["ts_started"]))


def _is_too_soon(row: dict[str, Any] | None, now: int) -> bool:
    if row is None:
        return False
    if row["status"] in ("queued", "running"):
        return True
    return row["status"] != "done" and now - int(row["ts_started"]) < AFTER_FAILURE_S * NS_PER_S
