"""What the fake engine answers about its own health: streams, ledger, drills, ladder, incidents and their bundles."""

from __future__ import annotations

import io
import json
import time
import zipfile

from fake_actions import refuse

from engine.domain import NS_PER_S

INCIDENT_COLUMNS = ["incident_id", "ts", "severity", "source", "message", "detail", "ts_resolved"]
DAY = 86_400 * NS_PER_S
MINUTE = 60 * NS_PER_S


def drift_day(day, drift_bps):
    parts = {"rounding": 0.11, "data": -0.42, "signal_time": 0.0, "veto": 1.9, "latency": -0.75, "fill": -4.2,
             "fee": 0.31, "funding": -0.02, "residual": 0.0}  # fmt: skip
    within = "within" if abs(drift_bps) <= 25 else "beyond"
    return {
        "day": day, "pnl_recorded": 41.2, "pnl_replayed": 41.2 - sum(parts.values()), **parts, "drift_bps": drift_bps,
        "n_decisions": 1440, "n_fills": 63, "equity": 10_000.0, "strategy": "trend",
        "verdict": f"{within} the limit of 25 bp a day: {drift_bps:+.1f} bp of equity, the largest part is fill with "
                   "-4.20",
    }  # fmt: skip


class FakeHealth:
    """One method an action, as in ``FakeActions``. ``absent`` names actions that this engine does not know."""

    absent: frozenset[str] = frozenset()

    def begin_health(self, *, empty: bool) -> None:
        now = time.time_ns()
        self.override_rows: list[dict] = []
        self.drill_rows: list[dict] = []
        self.drift_days: list[dict] = []
        self.certificate_status, self.certifying_since = "none", None
        self.incident_rows: list[dict] = []
        if empty:
            return
        outcomes = [(3, True, 132.4, 0.914, "2 positions and 9 orders closed", 2), (4, True, 154.6, 0.918,
                    "2 positions and 8 orders closed", 3), (2, False, None, None,
                    "expected no resting entry order within 60 s; it did not come", 9), (1, True, 84.1, None,
                    "entries refused, positions and orders kept", 12)]  # fmt: skip
        self.drill_rows = [
            {"drill_id": f"drill-{level}", "ts": now - days * DAY, "level": level, "ok": ok, "cancels_ms": cancels,
             "time_to_flat_s": flat, "flaky_s": None if flat is None else flat + 6.0,
             "failures": None if flat is None else 5, "message": message, "actor": "schedule"}
            for level, ok, cancels, flat, message, days in outcomes
        ]  # fmt: skip
        told = [("critical", "drill", "the drill of kill level 2 (cancel) failed"), ("warning", "account",
                "account stream is down: closed by the venue after 24 h"), ("error", "reconcile",
                "BTCUSDT: position 0.250 here, 0.200 at the venue; the venue's was adopted")]  # fmt: skip
        self.certificate_status = "pass"
        self.drift_days = [drift_day("2026-02-02", -2.9), drift_day("2026-02-01", 4.4), drift_day("2026-01-31", -40.2)]
        self.incident_rows = [
            dict(zip(INCIDENT_COLUMNS, [3 - i, now - i * 7 * MINUTE, *row, "", None], strict=True))
            for i, row in enumerate(told)
        ]

    def act_health(self, body):
        now = time.time_ns()
        return {
            "streams": [
                {"name": "market", "up": True, "age_s": 0.04, "reconnects": 2, "gaps": 1, "last_reason": "timeout"},
                {"name": "account", "up": True, "age_s": 14.2, "reconnects": 0, "gaps": 0, "last_reason": ""},
            ],
            "weight": {"used": 312, "limit": 2400, "by": {"trading": 41, "data": 255, "ui": 16}},
            "breakers": [
                {"endpoint": "orders", "state": "closed", "failures": 0, "retry_in_s": 0.0},
                {"endpoint": "market", "state": "open", "failures": 5, "retry_in_s": 12.0},
            ],
            "clock": {"skew_ms": 15.1, "ok": True, "checked_ns": now}, "ban_until_ns": None,
        }  # fmt: skip

    def act_ledger(self, body):
        lines = [("Wallet, USDT", 10_012.34, 10_012.34, 0.0), ("Realised PnL, USDT", 18.02, 18.02, 0.0),
                 ("Fees, USDT", -4.18, -4.18, 0.0), ("Funding, USDT", -1.5, -1.5, 0.0)]  # fmt: skip
        rows = [dict(zip(("name", "ours", "venue", "difference"), line, strict=True)) for line in lines]
        return {"lines": [] if self.books_empty else rows, "unexplained": 0.0, "as_of_ns": time.time_ns()}

    def act_drills(self, body):
        return self.drill_rows

    def act_drill_start(self, body):
        if any(row["ok"] is None for row in self.drill_rows):
            raise refuse("A drill of level 3 is going on. It takes about 15 s; wait for its outcome.")
        row = {"drill_id": "drill-new", "ts": time.time_ns(), "level": body["level"], "ok": None, "cancels_ms": None,
               "time_to_flat_s": None, "flaky_s": None, "failures": None, "message": "Going on.",
               "actor": "desk"}  # fmt: skip
        self.drill_rows.insert(0, row)
        return {"drill_id": row["drill_id"]}

    def act_certificate_get(self, body):
        if self.certificate_status == "none":
            return {"status": "none", "strategy_version": "0123abcd4567", "ts": None, "decisions": 0,
                    "differences": None, "signature": None, "strategy": "trend", "running_since": self.certifying_since,
                    "trouble": ""}  # fmt: skip
        path = {"decisions": 41, "traded": 37}
        return {
            "status": self.certificate_status, "strategy_version": "0123abcd4567", "ts": time.time_ns() - 3600 * 10**9,
            "decisions": 82, "differences": 0 if self.certificate_status == "pass" else 3, "signature": "ab" * 64,
            "strategy": "trend", "running_since": self.certifying_since, "trouble": "", "own_account": 0,
            "sentences": [] if self.certificate_status == "pass" else ["paper, decision 4: act does not follow"],
            "tape": {"symbols": ["BTCUSDT", "ETHUSDT"]}, "paths": {"paper": path, "live": path},
        }  # fmt: skip

    def act_certificate_start(self, body):
        if self.certifying_since is not None:
            raise refuse("A certificate is being made already. It takes up to a minute; wait for its outcome.")
        self.certifying_since = time.time_ns()
        return {"strategy": "trend", "running_since": self.certifying_since}

    def act_drift(self, body):
        return self.drift_days

    def act_drift_measure(self, body):
        self.drift_days.insert(0, drift_day("2026-02-03", -31.4))
        return self.drift_days[0]

    def act_ladder(self, body):
        missing = {
            "name": "Parity",
            "ok": False,
            "detail": "This version of trend (0123abcd) has no certificate: make one on the Health page.",
        }
        drift = {
            "name": "Drift",
            "ok": False,
            "detail": "0 of 5 days measured in the last 14.",
        }
        tested = {
            "name": "Backtest",
            "ok": False,
            "detail": "No backtest of this version of trend (0123abcd) with the whole honesty panel is on record here.",
        }
        good = [{"name": name, "ok": True, "detail": "Shown."} for name in ("Paper days", "Books agree", "Drill")]
        order = ("paper", "minimum", "tenth", "full")
        allowed = order.index(self.override_rows[0]["rung"]) if self.override_rows else 0
        rungs = [
            ("paper", "Paper", 0.0, []),
            ("minimum", "Minimum size", 0.01, [*good, missing, tested]),
            ("tenth", "10 %", 0.1, [*good, missing, tested, drift]),
            ("full", "Full", 1.0, [*good, missing, tested, drift]),
        ]
        rows = [{"name": name, "title": title, "share": share, "conditions": checks, "reached": i <= allowed,
                 "by_override": 0 < i <= allowed} for i, (name, title, share, checks) in enumerate(rungs)]  # fmt: skip
        return {"rung": rungs[allowed][0], "share": rungs[allowed][2], "rungs": rows, "overrides": self.override_rows}

    def act_ladder_override(self, body):
        if len(body["reason"]) < 20:
            raise refuse(f"An override needs a reason of at least 20 characters; this one has {len(body['reason'])}.")
        row = {"ts": time.time_ns(), "actor": body["actor"], "rung": body["rung"], "reason": body["reason"]}
        self.override_rows.insert(0, row)
        return self.act_ladder({})

    def act_incident_bundle(self, body):
        if body["incident_id"] not in [row["incident_id"] for row in self.incident_rows]:
            raise refuse(f"There is no incident {body['incident_id']}.")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("incident.json", json.dumps({"incident_id": body["incident_id"]}))
        path = self.home / "bundles" / f"incident-{body['incident_id']}.zip"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(packed.getvalue())
        return {"path": str(path), "bytes": path.stat().st_size}

    def act_order_lookup(self, body):
        row = next((row for row in self.books.open_orders() if row["client_id"] == body["client_id"]), None)
        if row is None:
            raise refuse(f"Order {body['client_id']} is not open.")
        row.update(status="NEW", unknown_since_ns=0, next_lookup_ns=0)
        self.publish_orders()
        return {"client_id": row["client_id"], "status": row["status"], "answer": "The venue has it: NEW, 0 filled."}
