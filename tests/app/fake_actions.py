"""What the fake engine does when asked to: kill switch, ticket, orders, settings, runs."""

from __future__ import annotations

import json
import secrets
import time

import pyarrow.flight as fl
from fake_market import LOT, TICK
from pydantic import ValidationError

from engine.settings import SystemConfig, field_descriptions

TAKER_FEE = 0.0004


def refuse(message: str, error: str = "CommandRefused") -> fl.FlightServerError:
    return fl.FlightServerError(json.dumps({"error": error, "message": message}))


def plain(value):
    """NaN becomes null, as the interface promises."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value


class FakeActions:
    """One method an action, ``act_`` and the action's name with underscores. Mixed into ``FakeEngine``."""

    def act_instruments(self, body):
        return {symbol: {
            "symbol": symbol, "base": symbol[:-4], "quote": "USDT", "tick_size": TICK[symbol], "lot_size": LOT[symbol],
            "min_qty": LOT[symbol], "max_qty": 1e6, "max_market_qty": 1e5, "min_notional": 5.0, "price_band": 0.05,
            "max_leverage": 50.0, "maker_fee": 0.0, "taker_fee": TAKER_FEE} for symbol in TICK}  # fmt: skip

    def act_decision(self, body):
        number = body["decision_id"]
        row = next((row for row in self.books.decisions if row["decision_id"] == number), None)
        if row is None:
            raise refuse(f"There is no decision {number}.")
        return {**row, "detail": self.books.detail[number],
                "orders": [o for o in self.books.orders if o["decision_id"] == number],
                "fills": [f for f in self.books.fills if f["decision_id"] == number]}  # fmt: skip

    def act_settings_get(self, body):
        return {"values": self.config.model_dump(mode="json"), "fields": field_descriptions()}

    def act_settings_set(self, body):
        try:
            self.config = SystemConfig(**{**self.config.model_dump(), **body["values"]})
        except ValidationError as error:
            raise refuse("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())) from None
        return {"applied": body["values"], "values": self.config.model_dump(mode="json")}

    def act_kill(self, body):
        self.kill_level, self.kill_reason = body["level"], body["reason"]
        if body["level"] >= 2:
            self._cancel(None)
        if body["level"] >= 3:
            for row in self.books.positions():
                self.act_position_close({"symbol": row["symbol"]})
        self._note(body.get("actor", ""), f"kill {body['level']}", body["reason"])
        self.publish({"t": "status", **self.status()})
        return {"kill_level": self.kill_level, "accepted_ns": time.time_ns(), "cancels_sent_ms": 3.0}

    def act_resume(self, body):
        if self.kill_level == 4 and body.get("confirm") != "RESUME":
            raise refuse("After a halt, type RESUME to release the kill switch.")
        self.kill_level, self.kill_reason = 0, None
        self._note(body.get("actor", ""), "resume", "")
        self.publish({"t": "status", **self.status()})
        return {"kill_level": 0}

    def _note(self, actor: str, action: str, detail: str) -> None:
        self.audit_rows.append({"seq": len(self.audit_rows) + 1, "ts": time.time_ns(), "actor": actor, "action": action,
                                "detail": detail, "prev_hash": "", "hash": secrets.token_hex(8)})  # fmt: skip

    def act_ticket_preview(self, body):
        symbol, size = body["symbol"], body["size"]
        px = body.get("limit_px") or body.get("stop_px") or self.market.px[symbol]
        equity = self.books.equity()
        value = float(size["value"] or 0)
        notional = {"base": value * px, "quote": value, "risk_pct": equity * value / 100 / 0.05}[size["unit"]]
        qty = int(notional / px / LOT[symbol] + 1e-9) * LOT[symbol]
        notional = qty * px
        sign = 1 if body["side"] == "buy" else -1
        reasons = [{"rule": "TRADING_STATE", "verdict": "pass", "sentence": "Trading is running."}]
        if self.kill_level and not body.get("reduce_only"):
            reasons[0] = {"rule": "TRADING_STATE", "verdict": "refuse", "sentence": "The kill switch is on."}
        if notional < 5:
            reasons.append({"rule": "VENUE_FILTER", "verdict": "refuse",
                            "sentence": f"Notional {notional:.2f} USDT is below the minimum of 5 USDT."})  # fmt: skip
        elif notional > equity * 0.5:
            sentence = f"{symbol} would be {notional / equity:.2f} of equity; the cap is 0.50."
            reasons.append({"rule": "SYMBOL_CAP", "verdict": "refuse", "sentence": sentence})
        else:
            reasons.append({"rule": "SYMBOL_CAP", "verdict": "pass", "sentence": "Below the symbol's cap of 0.50."})
        rate = 0.0 if body["kind"] == "post_only" else TAKER_FEE
        return {"ok": all(r["verdict"] != "refuse" for r in reasons), "reasons": reasons, "qty": qty, "px": px,
                "notional": notional, "fee": notional * rate, "fee_rate": rate, "margin": notional / 3,
                "liq_px": px * (1 - sign * 0.45), "position_after": self.books.qty.get(symbol, 0.0) + sign * qty,
                "worst_loss": notional * 0.05 + notional * rate, "warnings": []}  # fmt: skip

    def act_ticket_submit(self, body):
        preview = self.act_ticket_preview(body)
        if not preview["ok"]:
            raise refuse(next(r["sentence"] for r in preview["reasons"] if r["verdict"] == "refuse"))
        sign = 1 if body["side"] == "buy" else -1
        if body["kind"] == "market":
            row = self.books.fill(body["symbol"], sign * preview["qty"], preview["px"], 0, time.time_ns(), maker=False)
            self.publish({"t": "fill", **row})
            self.publish({"t": "positions", "rows": self.books.positions()})
            return {"client_id": row["client_id"], "status": "FILLED"}
        nan = float("nan")
        row = self.books.rest(body["symbol"], sign, preview["qty"], limit_px=body.get("limit_px") or nan,
                              stop_px=body.get("stop_px") or nan, reduce_only=bool(body.get("reduce_only")),
                              tif="GTX" if body["kind"] == "post_only" else "GTC")  # fmt: skip
        self.publish_orders()
        return {"client_id": row["client_id"], "status": "NEW"}

    def _cancel(self, symbol: str | None, client_id: str | None = None) -> int:
        rows = [row for row in self.books.open_orders()
                if symbol in (None, row["symbol"]) and client_id in (None, row["client_id"])]  # fmt: skip
        for row in rows:
            row.update(status="CANCELED", ts_final=time.time_ns())
        self.publish_orders()
        return len(rows)

    def act_order_cancel(self, body):
        if not self._cancel(None, body["client_id"]):
            raise refuse(f"Order {body['client_id']} is not open.")
        return {"client_id": body["client_id"], "status": "CANCELED"}

    def act_orders_cancel_all(self, body):
        return {"cancelled": self._cancel(body.get("symbol"))}

    def act_position_close(self, body):
        symbol = body["symbol"]
        qty = self.books.qty.get(symbol, 0.0)
        if not qty:
            raise refuse(f"There is no open position in {symbol}.")
        row = self.books.fill(symbol, -qty, self.market.px[symbol], 0, time.time_ns(), maker=False)
        self._cancel(symbol)
        self.publish({"t": "fill", **row})
        self.publish({"t": "positions", "rows": self.books.positions()})
        return {"client_id": row["client_id"], "status": "FILLED"}

    def act_reconcile(self, body):
        return {"ok": True, "mismatches": []}

    def act_arming(self, body):
        names = [("Credentials in the vault", False, "No key is stored."), ("Preflight checks", True, "All passed."),
                 ("Two-factor code", False, "Not set up."), ("Reconciled", True, "4 s ago.")]  # fmt: skip
        items = [{"name": name, "ok": ok or self.armed_items, "detail": detail} for name, ok, detail in names]
        return {"items": items, "ready": self.armed_items, "command": "python -m engine live --data-dir /home/me"}

    def act_vault(self, body):
        return {"exists": bool(self.vault_kinds) or self.vault_factor, "names": list(self.vault_kinds),
                "kinds": dict(self.vault_kinds), "second_factor": self.vault_factor}  # fmt: skip

    def act_arm(self, body):
        self._opened(body)
        ok = body["code"] == "123456"
        item = {"name": "Two-factor code", "ok": ok, "detail": "accepted" if ok else "Found: a wrong code."}
        return {"armed": ok, "items": [item]}

    def _opened(self, body) -> None:
        if body["passphrase"] != "correct horse battery":
            raise refuse("The passphrase does not open the vault, or the file was changed (wrong 1 times).", "Wrong")

    def act_vault_store(self, body):
        self._opened(body)
        self.vault_kinds[body["name"]] = body["kind"]
        return self.act_vault(body)

    def act_vault_remove(self, body):
        self._opened(body)
        del self.vault_kinds[body["name"]]
        return self.act_vault(body)

    def act_totp_setup(self, body):
        box = '<path d="M0,0H5V5H0z" fill="#000"/>'
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10">{box}</svg>'
        return {"uri": "otpauth://totp/Astrolabe:live?secret=JBSWY3DPEHPK3PXP&issuer=Astrolabe", "qr_svg": svg}

    def act_totp_confirm(self, body):
        self._opened(body)
        if body["code"] != "123456":
            raise refuse("The code does not belong to this QR code: scan it again.")
        self.vault_factor = True
        return self.act_vault(body)

    def act_run_start(self, body):
        run_id = f"run-{len(self.books.runs) + 1:04d}"
        self.books.start_run(run_id, body["config"], body.get("kind") or "backtest")
        return {"run_id": run_id}

    def act_run_status(self, body):
        return self.books.run_state(self._run_id(body))

    def act_run_cancel(self, body):
        self.books.runs[self._run_id(body)]["cancelled"] = True
        return {"run_id": body["run_id"], "status": "cancelled"}

    def act_run_result(self, body):
        if self.books.run_state(self._run_id(body))["status"] != "done":
            raise refuse(f"Run {body['run_id']} has no result yet.")
        return self.books.run_result(body["run_id"])

    def _run_id(self, body) -> str:
        if body["run_id"] not in self.books.runs:
            raise refuse(f"There is no run {body['run_id']}.")
        return body["run_id"]

    def act_export(self, body):
        return {"path": body["path"], "rows": len(self._frame({"table": body["table"]}))}

    def act_doctor(self, body):
        return {"checks": [{"name": "database", "ok": True, "detail": "writable"},
                           {"name": "venue", "ok": True, "detail": "simulated"}]}  # fmt: skip
