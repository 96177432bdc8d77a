"""What the fake engine answers about the goal and a run's report: the real answers, for invented records."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import numpy as np
from fake_actions import refuse

from engine.errors import DataError
from engine.research.goal import Goal
from engine.research.goal_answer import days_until, goal_answer
from engine.research.report_document import document, for_risk
from engine.research.report_html import html_page
from engine.research.report_pdf import pdf_bytes
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

    def act_run_report(self, body):
        doc = document(self.act_run_result(body))
        if body.get("format") == "html":
            return {"html": html_page(doc)}
        if body.get("format") == "pdf":
            return {"pdf_base64": base64.b64encode(pdf_bytes(for_risk(doc))).decode()}
        return doc.to_json()

    def act_run_candles(self, body):
        self.act_run_result(body)
        bars = self.market.bars(body["symbol"], "1h", 300)
        columns = ["open_px", "high_px", "low_px", "close_px"]
        return {"candles": [[int(row["ts_open"]) // 1_000_000, *(row[name] for name in columns)]
                            for row in bars.to_dict("records")]}  # fmt: skip

    def _goal_record(self, body) -> TrackRecord:
        if body.get("run_id"):
            return record_of_backtest(self.act_run_result(body), out_of_sample=body["sample"] != "whole")
        returns = np.empty(0) if self.books_empty else np.random.default_rng(3).normal(0.002, 0.01, DAYS)
        return TrackRecord(returns, 1, "this account, paper", "paper", ("Paper trading.",))
