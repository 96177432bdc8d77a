"""What the fake engine says of risk: its own books against the limits, a correlation map, today's objections."""

from __future__ import annotations

import time

import numpy as np

from engine.domain import RULE_SENTENCE, Rule, Verdict
from engine.runtime.gauges import Book, gauges
from engine.runtime.shock_table import Moving, shock_rows

GROUPS = {"BTCUSDT": "C1", "ETHUSDT": "C1", "SOLUSDT": "C2"}
MOVING = Moving(tuple(GROUPS), 1e-4 * (0.5 + 0.5 * np.eye(3)), np.array([True, True, False]))


def _scenario(key, title, loss, broken, *, by_beta=(), quote_value=1.0):
    mode = {"loss": loss, "loss_money": loss * 10_000, "end": -loss, "end_dollars": quote_value - 1.0 - loss,
            "drawdown": loss, "worst_day": loss, "liquidation_distance": 0.8, "liquidated": False, "costs": 4.0,
            "broken": list(broken)}  # fmt: skip
    return {"key": key, "title": title, "kind": "synthetic", "hours": 1, "by_beta": list(by_beta), "note": "A note.",
            "quote_value": quote_value, "modes": {name: mode for name in ("held", "stops", "control")}}  # fmt: skip


class FakeRisk:
    """Mixed into ``FakeEngine``."""

    stress_result: dict | None = None

    def act_risk(self, body):
        equity, rows = self.books.equity(), self.books.positions()
        weight = {row["symbol"]: row["notional"] / equity for row in rows}
        near = {row["symbol"]: abs(row["mark_px"] - row["liq_px"]) / row["mark_px"] for row in rows}
        book = Book(equity, equity / 0.97, equity / 0.99, weight, near)
        empty = self.books_empty
        last = None if empty else self.books.decisions[-1]
        detail = None if empty else self.books.detail[last["decision_id"]]
        return {
            "as_of_ns": time.time_ns(), "equity": equity, "peak_equity": book.peak_equity,
            "day_open_equity": book.day_open_equity, "decision_id": last and last["decision_id"],
            "decided_ns": last and last["ts_decided"], "gauges": gauges(self.config, book, detail),
            "exposures": [self._exposure(row, weight, near) for row in rows],
            "totals": {"net": sum(weight.values()), "gross": sum(map(abs, weight.values())),
                       "free_margin": 7_200.0, "maintenance_margin": 41.0},
            "clustering": {"threshold": 0.7, "memory_hours": 168.0, "young": [],
                           "why": "The engine has not begun to decide." if empty else None},
            "clusters": self._clusters(weight), "tail": self._tail(equity),
            "correlation": self._correlation(), "objections": self._objections(last),
            "shocks": None if empty else shock_rows(self.config, MOVING, weight, equity),
            "refused": [] if empty else [{"ts": last["ts_decided"], "order": "ticket", "symbol": "SOLUSDT",
                                          "side": "buy", "reason": "SOLUSDT would be 0.72; the cap is 0.50."}],
        }  # fmt: skip

    def act_stress(self, body):
        if self.books_empty or self.stress_result is None:
            return {"ts": None, "age_s": None, "trigger": None, "rows": []}
        return self.stress_result

    def act_stress_run(self, body):
        weight = {row["symbol"]: row["notional"] / self.books.equity() for row in self.books.positions()}
        limits = {"max_daily_loss": 0.05, "max_drawdown": 0.15}
        rows = [_scenario("gap-down", "Gap: everything −30 % at once", 0.12, ["daily loss"]),
                _scenario("2022-11", "November 2022: FTX", 0.03, [], by_beta=["NEWUSDT"]),
                _scenario("depeg", "Stablecoin depeg", 0.0, [], quote_value=0.9)]  # fmt: skip
        self.stress_result = {
            "ts": time.time_ns(), "age_s": 0.4, "trigger": body.get("actor"), "rows": rows, "limits": limits,
            "equity": self.books.equity(), "weight": weight, "holds": False, "source": "Computed from spot candles.",
            "worst": {"key": "gap-down", "loss": 0.12}, "beta": {}, "sigma_day": {},
        }  # fmt: skip
        return self.stress_result

    def _tail(self, equity):
        held = 0.0 if self.books_empty else 1.0
        return [{"method": method, "level": level, "value_at_risk": held * 0.02 / (1 - level) ** 0.25,
                 "expected_shortfall": None if level == 0.99 else held * 0.03 / (1 - level) ** 0.25, "n_days": 64}
                for method in ("HISTORICAL", "STUDENT_T", "FILTERED") for level in (0.95, 0.975, 0.99)]  # fmt: skip

    def _exposure(self, row, weight, near):
        return {"symbol": row["symbol"], "qty": row["qty"], "notional": row["notional"],
                "weight": weight[row["symbol"]], "approved": weight[row["symbol"]], "cluster": GROUPS[row["symbol"]],
                "stop_px": row["stop_px"], "stop_loss": abs(row["notional"]) * 0.05,
                "liquidation_distance": near[row["symbol"]]}  # fmt: skip

    def _clusters(self, weight):
        if self.books_empty:
            return None
        return [{"name": name, "symbols": [s for s in GROUPS if GROUPS[s] == name],
                 "net": sum(w for s, w in weight.items() if GROUPS[s] == name),
                 "gross": sum(abs(w) for s, w in weight.items() if GROUPS[s] == name)}
                for name in sorted({GROUPS[s] for s in weight})]  # fmt: skip

    def _correlation(self):
        if self.books_empty:
            return {"symbols": [], "matrix": None, "hours": 3, "missing": list(GROUPS),
                    "why": "A correlation needs 48 hours in which every symbol has a candle."}  # fmt: skip
        return {"symbols": list(GROUPS), "matrix": [[1.0, 0.81, -0.12], [0.81, 1.0, 0.3], [-0.12, 0.3, 1.0]],
                "hours": 720, "missing": [], "why": None}  # fmt: skip

    def _objections(self, last):
        if last is None:
            return {"day": None, "decisions": 0, "economy": 0, "rows": []}
        return {"day": last["ts_close"], "decisions": 60, "economy": 170, "rows": [
            {"rule": "DAILY_LOSS", "symbol": "BTCUSDT", "verdict": int(Verdict.REFUSE), "count": 3, "measured": 0.031,
             "limit": 0.05, "ts": last["ts_close"], "sentence": RULE_SENTENCE[Rule.DAILY_LOSS]},
            {"rule": "SYMBOL_CAP", "symbol": "ETHUSDT", "verdict": int(Verdict.CLIP), "count": 12, "measured": 0.61,
             "limit": 0.5, "ts": last["ts_close"], "sentence": RULE_SENTENCE[Rule.SYMBOL_CAP]},
        ]}  # fmt: skip
