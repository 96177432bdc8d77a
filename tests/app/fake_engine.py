"""An engine that only looks like one: it speaks the real Flight interface over invented, self-consistent books.

    engine = FakeEngine(home).start()       # writes <home>/engine.json, serves on 127.0.0.1
    engine.calls                            # every action received: [(name, body), …]
    engine.stop()

``FakeEngine(home, empty=True)`` has no order, fill, position, decision or equity yet. By hand:
``python tests/app/fake_engine.py --home DIR``.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import secrets
import signal
import threading
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.flight as fl
from fake_actions import FakeActions, plain, refuse
from fake_books import (
    DECISION_COLUMNS,
    FILL_COLUMNS,
    ORDER_COLUMNS,
    POSITION_COLUMNS,
    RUN_COLUMNS,
    FakeBooks,
)
from fake_data import FakeData
from fake_execution import FakeExecution
from fake_health import INCIDENT_COLUMNS, FakeHealth
from fake_market import TICK, FakeMarket
from fake_models import FakeModels
from fake_portfolio import FakePortfolio
from fake_research import FakeResearch
from fake_risk import FakeRisk

from engine.execution.day import day_rung
from engine.settings import SystemConfig

TICK_S = 0.05
LIVE_SCHEMA = pa.schema([("json", pa.string())])
OPEN_ORDER_COLUMNS = ["client_id", "symbol", "side", "order_type", "tif", "qty", "filled_qty", "limit_px", "stop_px",
                      "reduce_only", "purpose", "status", "ts_intent", "unknown_since_ns",
                      "next_lookup_ns"]  # fmt: skip


class _Auth(fl.ServerMiddlewareFactory):
    def __init__(self, token: str) -> None:
        super().__init__()
        self.expected = f"Bearer {token}"

    def start_call(self, info, headers):
        sent = {name.lower(): values for name, values in headers.items()}.get("authorization", [""])[0]
        if not secrets.compare_digest(sent, self.expected):
            raise fl.FlightUnauthenticatedError("bad token")


class FakeEngine(
    FakeActions,
    FakeHealth,
    FakeResearch,
    FakeData,
    FakeModels,
    FakeRisk,
    FakeExecution,
    FakePortfolio,
    fl.FlightServerBase,
):
    def __init__(self, home: Path, *, empty: bool = False, mode: str = "paper", seed: int = 7, ticking: bool = True):
        self.home, self.mode, self.ticking = Path(home), mode, ticking
        self.token = secrets.token_hex(16)
        fl.FlightServerBase.__init__(self, "grpc://127.0.0.1:0", middleware={"auth": _Auth(self.token)})
        self.market = FakeMarket(seed)
        self.books = FakeBooks(self.market, empty=empty)
        self.books_empty = empty
        self.begin_health(empty=empty)
        self.begin_data(empty=empty)
        self.begin_execution(empty=empty)
        self.begin_models(empty=empty)
        self.config = SystemConfig()
        self.started_ns = time.time_ns()
        self.engine_id = secrets.token_hex(4)
        self.kill_level, self.kill_reason, self.day_worst = 0, None, 0.0
        self.calls: list[tuple[str, dict]] = []
        self.done_keys: dict[str, dict] = {}
        self.audit_rows: list[dict] = []
        self.listeners: list[queue.Queue] = []
        self.stopping = threading.Event()
        self.armed_items = False
        self.vault_kinds: dict[str, str] = {}
        self.vault_factor = False

    # ---- life ----------------------------------------------------------------------------------------------------

    def start(self) -> FakeEngine:
        self.home.mkdir(parents=True, exist_ok=True)
        card = {"pid": os.getpid(), "flight_url": f"grpc://127.0.0.1:{self.port}", "token": self.token,
                "mode": self.mode, "started_ns": self.started_ns, "version": "0.1.0",
                "engine_id": self.engine_id}  # fmt: skip
        partial = self.home / "engine.json.part"
        partial.write_text(json.dumps(card))
        partial.chmod(0o600)
        partial.rename(self.home / "engine.json")
        if self.ticking:
            threading.Thread(target=self._tick_for_ever, daemon=True).start()
        return self

    def stop(self, *, leave_card: bool = False) -> None:
        self.stopping.set()
        if not leave_card:
            (self.home / "engine.json").unlink(missing_ok=True)
        self.shutdown()

    def publish(self, message: dict) -> None:
        text = json.dumps(plain(message))
        for listener in list(self.listeners):
            listener.put(text)

    def _tick_for_ever(self) -> None:
        beat = 0
        while not self.stopping.wait(TICK_S):
            beat += 1
            for symbol in self.market.px:
                self._tick(symbol, beat)
            if beat % 5 == 0:
                self.publish({"t": "positions", "rows": self.books.positions()})
            if beat % 20 == 0:
                self.publish({"t": "status", **self.status()})

    def _tick(self, symbol: str, beat: int) -> None:
        now = time.time_ns()
        bar, px, qty, direction = self.market.tick(symbol)
        self.publish({"t": "top", "s": symbol, "b": px - TICK[symbol], "a": px + TICK[symbol], "m": px, "ts": now,
                      "rx": now})  # fmt: skip
        prices = [bar["open_px"], bar["high_px"], bar["low_px"], bar["close_px"], bar["volume"]]
        self.publish({"t": "bar", "s": symbol, "i": "1m", "o": int(bar["ts_open"]) // 1_000_000, "p": prices,
                      "x": False, "rx": now})  # fmt: skip
        if beat % 3 == 0:
            self.publish({"t": "trade", "s": symbol, "p": px, "q": qty, "d": direction, "ts": now, "rx": now})
        if beat % 4 == 0:
            bids, asks = self.market.book(symbol)
            self.publish({"t": "book", "s": symbol, "b": bids, "a": asks, "ts": now, "rx": now})

    def publish_orders(self) -> None:
        self.publish(self._orders_message())

    def _orders_message(self) -> dict:
        rows = [{name: row.get(name) for name in OPEN_ORDER_COLUMNS} for row in self.books.open_orders()]
        return {"t": "orders", "rows": rows}

    # ---- reads ---------------------------------------------------------------------------------------------------

    def do_get(self, context, ticket):
        request = json.loads(ticket.ticket)
        if request["table"] == "live":
            return fl.GeneratorStream(LIVE_SCHEMA, self._live())
        frame = self._frame(request)
        return fl.RecordBatchStream(pa.Table.from_pandas(frame, preserve_index=False))

    def _frame(self, request: dict) -> pd.DataFrame:
        books, table, limit = self.books, request["table"], request.get("limit") or 10_000
        symbol = request.get("symbol")
        if table == "bars":
            if symbol not in self.market.px:
                raise refuse(f"The engine does not know {symbol}.", "DataError")
            return self.market.bars(symbol, request["interval"], limit)
        if table == "equity":
            rows = books.equity_rows
            return rows[rows["ts"] >= request.get("since_ns", 0)].tail(limit)
        rows, columns = {
            "orders": (books.open_orders() if request.get("open_only") else books.orders[::-1], ORDER_COLUMNS),
            "fills": (books.fills[::-1], FILL_COLUMNS),
            "positions": (books.positions(), POSITION_COLUMNS),
            "decisions": (books.decisions[::-1], DECISION_COLUMNS),
            "runs": (books.run_rows(), RUN_COLUMNS),
            "audit": (self.audit_rows[::-1], ["seq", "ts", "actor", "action", "detail", "prev_hash", "hash"]),
            "incidents": (self.incident_rows, INCIDENT_COLUMNS),
            "commands": ([], ["idempotency_key", "ts", "command", "payload", "status", "result"]),
        }[table]
        if symbol and table != "decisions":
            rows = [row for row in rows if row["symbol"] == symbol]
        return pd.DataFrame(rows[:limit], columns=columns)

    def _live(self):
        mine: queue.Queue = queue.Queue()
        self.listeners.append(mine)
        hello = {"t": "hello", "engine_id": self.engine_id, "mode": self.mode, "symbols": list(self.market.px)}
        positions = {"t": "positions", "rows": self.books.positions()}
        opening = [hello, {"t": "status", **self.status()}, positions, self._orders_message()]
        try:
            yield pa.record_batch([[json.dumps(plain(message)) for message in opening]], schema=LIVE_SCHEMA)
            while not self.stopping.is_set():
                batch = []
                try:
                    batch.append(mine.get(timeout=0.2))
                    while len(batch) < 500:
                        batch.append(mine.get_nowait())
                except queue.Empty:
                    pass
                if batch:
                    yield pa.record_batch([batch], schema=LIVE_SCHEMA)
        finally:
            self.listeners.remove(mine)

    # ---- actions -------------------------------------------------------------------------------------------------

    def do_action(self, context, action):
        body = json.loads(action.body.to_pybytes() or b"{}")
        self.calls.append((action.type, body))
        key = body.get("idempotency_key")
        if key in self.done_keys:
            result = self.done_keys[key]
        else:
            if action.type in self.absent:
                raise refuse(f"There is no action {action.type!r}.")
            result = getattr(self, "act_" + action.type.replace(".", "_"))(body)
            if key:
                self.done_keys[key] = result
        yield fl.Result(json.dumps(plain(result)).encode())

    def status(self) -> dict:
        equity, now = self.books.equity(), time.time_ns()
        history = self.books.equity_rows["equity"]
        peak = max(float(history.max()), equity) if len(history) else equity
        day_pnl = float(self.books.equity_rows["day_pnl"].iat[-1]) if len(history) else 0.0
        last = self.books.decisions[-1] if self.books.decisions else None
        return {
            "engine_id": self.engine_id, "mode": self.mode, "market_source": "simulated", "speed": 1.0,
            "started_ns": self.started_ns, "now_ns": now, "market_ns": now, "phase": "trading",
            "trading_state": 2 if self.kill_level == 4 else 1 if self.kill_level else 0,
            "kill_level": self.kill_level, "kill_reason": self.kill_reason, "equity": equity, "cash": self.books.cash,
            "pnl_unrealized": equity - self.books.cash, "day_pnl": day_pnl, "day_pnl_pct": day_pnl / equity,
            "drawdown": 1 - equity / peak, "peak_equity": peak, "max_daily_loss": 0.05, "day_worst": self.day_worst,
            "day_rung": str(day_rung(self.day_worst, self.config)),
            "gross_weight": sum(abs(row["notional"]) for row in self.books.positions()) / equity, "margin_ratio": 0.013,
            "last_event_age_s": 0.04,
            "feeds": [{"name": name, "age_s": 0.1, "state": "ok"} for name in ("bars", "trades", "book", "account")],
            "last_decision": last and {name: last[name] for name in ("decision_id", "ts_close", "summary")},
            "next_decision_ns": (now // 60_000_000_000 + 1) * 60_000_000_000,
            "last_reconcile": {"ts": now - 4_000_000_000, "ok": True, "mismatches": 0, "message": "All equal."},
            "symbols": list(self.market.px), "decision_interval": "1m", "open_orders": len(self.books.open_orders()),
            "unknown_orders": sum(row["status"] == "UNKNOWN" for row in self.books.open_orders()), "unexplained": 0.0,
            "version": "0.1.0",
        }  # fmt: skip

    def act_status(self, body):
        return self.status()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--empty", action="store_true")
    options = parser.parse_args()
    engine = FakeEngine(options.home, empty=options.empty).start()
    # Not engine.wait(): it blocks outside Python, where no signal handler runs.
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    while not ended.wait(0.1):
        pass
    engine.stop()
    os._exit(0)


if __name__ == "__main__":
    main()
