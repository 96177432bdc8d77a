"""What the fake engine says of the sleeves: asleep and awake ones, and a comparison of a year."""

from __future__ import annotations

import time

from fake_actions import refuse

from engine.domain import NS_PER_DAY
from engine.runtime.portfolio_desk import sleeves_now
from engine.strategies.portfolio import SHARINGS

NAMES = ("trend", "momentum", "carry", "models", "tail", "basis")
MONTHS = [1_700_000_000_000 + 30 * 86_400_000 * k for k in range(12)]


def report():
    """A comparison over twelve months; carry lost, trend earned, the hedge cost."""
    sleeves = [
        {"name": name, "sharpe": sharpe, "sharpe_before": sharpe, "sharpe_after": sharpe and sharpe / 2,
         "return_a_year": 0.1 * (sharpe or 0.0), "volatility": 0.1, "contribution_a_year": 0.05 * (sharpe or 0.0),
         "mean_share": 0.3, "last_share": 0.4, "awake_share": 0.9}
        for name, sharpe in zip(NAMES, (1.6, 0.9, -0.4, None, -0.2, None), strict=True)
    ]  # fmt: skip
    rows = [
        {"name": name, "sharpe": sharpe, "cagr": 0.1, "volatility": 0.08, "max_drawdown": 0.05, "turnover": 3.0,
         "costs_a_year": 0.0018, "seconds": 0.1}
        for name, sharpe in (("equal weight", 1.1), ("risk parity", 1.2), ("QUBO, annealed", 0.8))
    ]  # fmt: skip
    monthly = {"ts_ms": MONTHS} | {name: [0.01 * (k % 3 - 1) for k in range(12)] for name in NAMES}
    return {
        "sharing": {"rule": "equal-weight", "since": 19_700, "changes": [{"day": 19_700, "rule": "equal-weight"}],
                    "record": RECORD, "made": 19_783, "days": 365, "bar": 2.0, "needed": 180},
        "ts": time.time_ns(), "days": 365, "symbols": ["BTCUSDT", "ETHUSDT"], "funding": True, "why": None,
        "cost": 0.0006, "costs": "assumed",
        "first_ts_ms": MONTHS[0], "last_ts_ms": MONTHS[-1],
        "evidence": {"sleeves": sleeves, "split_ms": MONTHS[8], "shares": monthly, "contributions": monthly,
                     "learning": {"days": 300, "learner_loss": 150.0, "best": "trend", "best_loss": 146.5,
                                  "regret": 3.5, "bound": 28.0, "rate": [0.1, 0.1], "first_rate": 0.19}},
        "optimisers": {"rows": rows, "best": "risk parity", "beats_control": False, "control": "equal weight",
                       "train_days": 150, "test_days": 30, "folds": 5, "first_ts_ms": MONTHS[5],
                       "last_ts_ms": MONTHS[-1], "names": list(NAMES), "last": {}, "cost": 0.0006,
                       "learned": {"names": list(NAMES[:3]), "adaptive_beats_equal": False}},
    }  # fmt: skip


RECORD = [
    {"rule": rule, "days": days, "sharpe": 1.4, "control": 1.1, "errors": errors}
    for rule, days, errors in (("risk-parity", 400, 2.4), ("minimum-cvar", 400, 1.1),
                               ("hierarchical-risk-parity", 90, 3.0), ("mean-variance", 400, None))
]  # fmt: skip


def sharing_now(wanted="adaptive", rule="adaptive", made=19_783, owed=()):
    """Who shares the risk out now, as the engine says it."""
    planned = made is not None and wanted not in ("adaptive", "equal-weight")
    return {
        "wanted": wanted, "rule": rule, "since": 19_755 if planned else None, "made": made if planned else None,
        "begins": made + 1 if planned else None, "n_days": 365 if planned else None, "days": 31, "needed": 60,
        "share": {"trend": 0.6, "momentum": 0.4} if planned else {}, "record": RECORD if wanted == "evidence" else [],
        "owed": list(owed), "coming": None, "is_making": False, "trouble": None, "cost": 0.0006,
    }  # fmt: skip


class FakePortfolio:
    """Mixed into ``FakeEngine``."""

    portfolio_report: dict | None = None
    portfolio_refusal: str | None = None
    comparison: dict | None = None
    sharing: dict | None = None

    def act_portfolio(self, body):
        told = [] if self.books_empty else [self._said(k) for k in range(40)]
        return {"strategy": "trend" if self.books_empty else "portfolio", "in_force": not self.books_empty} | (
            sleeves_now(told)
        ) | {"report": self.portfolio_report, "comparison": self.comparison, "sharing": {
            "now": None if self.books_empty else self.sharing or sharing_now(), "choices": list(SHARINGS),
            "wanted": None if self.books_empty else "adaptive", "bar": 2.0, "needed": 180,
            "own": None if self.books_empty else {"tail_budget": 0.2},
        }}  # fmt: skip

    def _said(self, k):
        now = time.time_ns()
        sleeves = {
            name: {"share": 0.3 + 0.01 * k, "net": 0.0001, "awake": name != "basis", "held": [0.2, -0.1]}
            for name in NAMES
        }  # fmt: skip
        return {"ts_close": now - k * NS_PER_DAY // 24, "ts_decided": now - k * NS_PER_DAY // 24}, sleeves

    def act_portfolio_compare(self, body):
        if self.portfolio_refusal:
            raise refuse(self.portfolio_refusal)
        self.books.start_run("portfolio-1", {}, "portfolio")
        self.books.runs["portfolio-1"]["ts_started"] += NS_PER_DAY  # goes on until finish_comparison
        self.comparison = {"run_id": "portfolio-1", "status": "running", "progress": 0.4, "error": None,
                           "ts_started": time.time_ns(), "ts_finished": None}  # fmt: skip
        return {"run_id": "portfolio-1"}

    def act_portfolio_cancel(self, body):
        self.act_run_cancel({"run_id": "portfolio-1"})
        self.comparison |= {"status": "cancelled"}
        return {"status": "cancelling", "progress": 0.4, "message": ""}

    def finish_comparison(self):
        """Let the comparison that goes on come to its end."""
        self.books.runs["portfolio-1"]["ts_started"] = 0
        self.comparison |= {"status": "done", "progress": 1.0}
        self.portfolio_report = report()
