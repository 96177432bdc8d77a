"""What the fake engine says of parent orders and of what trading costs."""

from __future__ import annotations

import time

from fake_actions import refuse

from engine.execution.impact import Paid, assumed_model, fitted
from engine.execution.preview import Manner, Situation, choices, expected_fee
from engine.execution.quality import PARTS
from engine.research.own_costs import offered

MINUTE = 60 * 10**9


def ended_parent(number: int, now: int) -> dict:
    parts = dict(zip(PARTS, (0.5, 0.25, 1.0, 0.25, 0.0), strict=True))
    return {
        "parent_id": number, "symbol": "BTCUSDT", "side": 1, "qty": 0.2, "algorithm": "twap", "status": "DONE",
        "filled_qty": 0.2, "avg_px": 50_010.0, "ts_created": now - 9 * MINUTE, "ts_end": now - MINUTE,
        "ts_final": now - MINUTE, "reason": "", "quality": {
            "parts": parts, "total": 2.0, "total_bps": 2.0, "notional": 10_000.0, "filled": 0.2, "maker_share": 0.5,
            "against": {"arrival_bps": 1.5, "vwap_bps": -0.3, "twap_bps": 0.2},
        },
    }  # fmt: skip


class FakeExecution:
    """Mixed into ``FakeEngine``."""

    def begin_execution(self, *, empty: bool) -> None:
        now = time.time_ns()
        self.running_parents = [] if empty else [{
            "parent_id": 41, "symbol": "BTCUSDT", "side": 1, "qty": 0.4, "algorithm": "adaptive", "status": "WORKING",
            "purpose": "manual", "filled_qty": 0.1, "working_qty": 0.02, "doubtful_qty": 0.0, "written_off_qty": 0.0,
            "avg_px": 50_000.0, "due_qty": 0.12, "limit_px": None, "reduce_only": False, "arrival_px": 49_990.0,
            "decision_px": None, "decision_id": 0, "ts_created": now - 5 * MINUTE, "ts_end": now + 10 * MINUTE,
            "reason": "", "actor": "desk", "n_children": 6, "max_participation": 0.0, "allowed_qty": 0.4,
            "holds_until": None,
            "schedule": [[now - 5 * MINUTE + i * MINUTE, 0.4 * i / 15] for i in range(16)],
            "done": [[now - 3 * MINUTE, 0.05], [now - 2 * MINUTE, 0.1]],
        }]  # fmt: skip
        self.ended_parents = [] if empty else [ended_parent(40, now)]

    def act_parents(self, body):
        return {"running": self.running_parents, "ended": self.ended_parents, "now_ns": time.time_ns()}

    def act_parents_preview(self, body):
        answer = self.act_ticket_preview(body | {"kind": "market"})
        side, px = (1 if body["side"] == "buy" else -1), answer["px"]
        instrument = self.act_instruments({})[body["symbol"]]
        from engine.domain import Instrument

        known = Instrument(**instrument)
        market = Situation(side, answer["qty"], px, 1e-5, None, 10.0, 1e-4, known)
        manner = Manner(body.get("minutes", 15.0) * 60, body.get("urgency", 1.0), 0.1, True)
        problems = [r["sentence"] for r in answer["reasons"] if r["verdict"] == "refuse"]
        model = assumed_model(0.0004, 0.0)
        rows = choices(market, manner, model) if answer["qty"] else []
        fee = expected_fee(body.get("algorithm", "adaptive"), True, answer["notional"], known, model)
        return answer | fee | {"choices": rows, "problems": problems, "reduces": False}

    def act_parents_start(self, body):
        preview = self.act_parents_preview(body)
        if not preview["ok"]:
            raise refuse(preview["problems"][0])
        return {"parent_id": 77, "status": "WORKING"}

    def _on_parent(self, body, status):
        found = [p for p in self.running_parents if p["parent_id"] == body["parent_id"]]
        if not found:
            raise refuse(f"There is no parent order {body['parent_id']} at work. At work: none.")
        found[0]["status"] = status
        return found[0]

    def act_parents_pause(self, body):
        return self._on_parent(body, "PAUSED")

    def act_parents_resume(self, body):
        return self._on_parent(body, "WORKING")

    def act_parents_cancel(self, body):
        return self._on_parent(body, "STOPPING")

    def act_parents_replace(self, body):
        found = self._on_parent(body, "WORKING")
        return found | {"qty": body.get("qty", found["qty"])}

    def act_execution_costs(self, body):
        assumed = assumed_model(0.0004, 0.0)
        if self.books_empty:
            return {"version": None, "model": assumed.as_json(), "assumed": assumed.as_json(), "children": []}
        rows = [Paid(2e-4 + 1e-5 * i, 0.0, 0.001 * i, 0.005, 1000.0, 0.0, 0.4, 0.0, False) for i in range(1, 9)]
        model = fitted(rows, 0.0004, 0.0)
        children = [
            {"ts": time.time_ns(), "symbol": "BTCUSDT", "rested": i % 2 == 0, "notional": 1000.0, "paid_bps": 2.0 + i,
             "assumed_bps": 3.0 + i, "fitted_bps": 2.5 + i, "participation": 0.001 * i}
            for i in range(8)
        ]  # fmt: skip
        version = {"version": "c1234", "ts": time.time_ns(), "n_fills": 8, "n_parents": 1, "market": "simulated"}
        return {"version": version, "model": model.as_json(), "assumed": assumed.as_json(), "children": children}

    def act_costs_own(self, body):
        return offered(self.home)

    def act_execution_fit(self, body):
        return {"version": "c1235"}
