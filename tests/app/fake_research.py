"""What the fake engine answers about the goal: the real answer, for an invented record, with few paths."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from fake_actions import refuse

from engine.errors import DataError
from engine.research.goal import Goal
from engine.research.goal_answer import days_until, goal_answer
from engine.research.track_record import TrackRecord, record_of_backtest

DAYS = 300
OUTER = 10  # times 200 paths


class FakeResearch:
    """Mixed into ``FakeEngine``."""

    def act_goal(self, body):
        try:
            record = self._goal_record(body)
            _, days = days_until(body.get("by"), datetime.now(UTC).date())
            goal = Goal(
                body.get("equity") or 10_000.0, body["target"], days, body["max_drawdown"], body["ruin_loss"],
                body["leverage"],
            )  # fmt: skip
            return goal_answer(record, goal, self.started_ns // 1_000_000, outer=OUTER)
        except DataError as error:
            raise refuse(str(error)) from None

    def _goal_record(self, body) -> TrackRecord:
        if body.get("run_id"):
            return record_of_backtest(self.act_run_result(body), out_of_sample=body["sample"] != "whole")
        returns = np.empty(0) if self.books_empty else np.random.default_rng(3).normal(0.002, 0.01, DAYS)
        return TrackRecord(returns, 1, "this account, paper", "paper", ("Paper trading.",))
