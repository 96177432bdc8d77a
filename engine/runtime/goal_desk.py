"""What the Goal page asks: the chance of the goal from this account's record, or from a finished backtest."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from engine.domain import NS_PER_MS
from engine.errors import CommandRefused, DataError
from engine.research.goal import MIN_RETURNS, Goal
from engine.research.goal_answer import SEED_EQUITY, SEED_TARGET, days_until, goal_answer
from engine.research.track_record import TrackRecord, daily_returns, record_of_backtest
from engine.runtime.elsewhere import elsewhere
from engine.runtime.performance import own_curve

if TYPE_CHECKING:
    from engine.runtime.engine import Engine
    from engine.runtime.jobs import Jobs

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
KEPT_ANSWERS = 16
PAPER_CAVEATS = {
    "simulated": ("Paper trading on a simulated market, whose prices are random: a gain on it says nothing.",),
    "replay": ("Paper trading on recorded prices: what happened next was already known to somebody.",),
    "mirror": ("Paper trading: nobody at the real venue ever saw these orders, so fills may be too kind.",),
}


class GoalDesk:
    """Answers ``goal``: one question at a time, in a process of its own; the same question again from memory.

    Parameters
    ----------
    engine : Engine
    jobs : Jobs
        Knows the results of finished backtests.
    """

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self._engine, self._jobs = engine, jobs
        self._answers: dict[str, dict[str, Any]] = {}
        self._working = asyncio.Lock()
        self.questions: dict[str, Handler] = {"goal": self._goal}

    async def _goal(self, body: dict[str, Any]) -> dict[str, Any]:
        now_ms = self._engine.loop.clock.now() // NS_PER_MS
        try:
            async with self._working:
                return await asyncio.to_thread(self._answer, body, now_ms)
        except (DataError, ValueError) as error:
            raise CommandRefused(str(error)) from error

    def _answer(self, body: dict[str, Any], now_ms: int) -> dict[str, Any]:
        record, equity = self._record(body)
        today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
        _, days = days_until(body.get("by") or None, today)
        goal = Goal(
            _number(body, "equity", equity), _number(body, "target", SEED_TARGET), days,
            _number(body, "max_drawdown", 0.15), _number(body, "ruin_loss", 0.5), _number(body, "leverage", 1.0),
        )  # fmt: skip
        asked = json.dumps([goal._asdict(), record.label, record.step_days], sort_keys=True)
        key = hashlib.sha256(asked.encode() + record.returns.tobytes()).hexdigest()
        if key not in self._answers:
            while len(self._answers) >= KEPT_ANSWERS:
                self._answers.pop(next(iter(self._answers)))
            self._answers[key] = _elsewhere(record, goal.checked(), now_ms)
        return self._answers[key]

    def _record(self, body: dict[str, Any]) -> tuple[TrackRecord, float]:
        run_id = body.get("run_id")
        if run_id:
            result = self._jobs.result(str(run_id))
            record = record_of_backtest(result, out_of_sample=body.get("sample") != "whole")
            return record, float((result.get("config") or {}).get("cash") or SEED_EQUITY)
        return self._account()

    def _account(self) -> tuple[TrackRecord, float]:
        loop = self._engine.loop
        ts, _, grown = own_curve(loop, loop.began_ns)
        ts_ms = ts // NS_PER_MS
        returns, step = daily_returns(ts_ms, grown.equity, whole_days=True)
        mode, source = str(loop.session.mode), loop.session.market_source
        caveats = PAPER_CAVEATS.get(source, ()) if mode == "paper" else ()
        span = (int(ts_ms[0]), int(ts_ms[-1])) if len(ts_ms) else (0, 0)
        now = loop.equity_now()
        return TrackRecord(returns, step, f"this account, {mode}", mode, caveats, *span), (
            float(now) if math.isfinite(now) else SEED_EQUITY
        )


def _elsewhere(record: TrackRecord, goal: Goal, now_ms: int) -> dict[str, Any]:
    """Work the answer out in a process of its own: a hundred thousand paths must not delay a decision."""
    if len(record.returns) < MIN_RETURNS:
        return goal_answer(record, goal, now_ms)  # nothing is simulated
    answer: dict[str, Any] = elsewhere(goal_answer, record, goal, now_ms)
    return answer


def _number(body: dict[str, Any], name: str, default: float) -> float:
    value = body.get(name)
    try:
        return default if value is None else float(value)
    except (TypeError, ValueError):
        raise CommandRefused(f"{name} must be a number, not {value!r}.") from None
