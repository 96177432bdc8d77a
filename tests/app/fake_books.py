"""The fake engine's books: decisions, orders, fills, positions, equity and runs that agree with each other."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pandas as pd
from fake_market import LOT, FakeMarket

from engine.domain import N_RULES, NS_PER_DAY, NS_PER_S, Rule, Verdict

DECISION_COLUMNS = ["decision_id", "ts_close", "ts_decided", "strategy", "params_hash", "equity", "drawdown", "day_pnl",
                    "gross_weight", "portfolio_vol", "n_orders", "summary", "elapsed_ms"]  # fmt: skip
ORDER_COLUMNS = ["client_id", "decision_id", "symbol", "side", "order_type", "tif", "qty", "limit_px", "stop_px",
                 "reduce_only", "close_position", "purpose", "status", "venue_order_id", "filled_qty", "avg_px",
                 "decision_px", "ts_intent", "ts_sent", "ts_acked", "ts_final", "reason"]  # fmt: skip
FILL_COLUMNS = ["symbol", "trade_id", "client_id", "venue_order_id", "decision_id", "qty", "px", "fee", "pnl_realized",
                "is_maker", "decision_px", "arrival_px", "ts_filled", "ts_received"]  # fmt: skip
POSITION_COLUMNS = ["symbol", "qty", "entry_px", "mark_px", "liq_px", "leverage", "notional", "pnl_unrealized",
                    "stop_px", "ts"]  # fmt: skip
EQUITY_COLUMNS = ["ts", "equity", "cash", "pnl_unrealized", "gross_notional", "net_notional", "drawdown", "day_pnl"]
RUN_COLUMNS = ["run_id", "kind", "status", "ts_started", "ts_finished", "progress", "config", "metrics", "error"]
CASH = 10_000.0
N_DECISIONS = 60


def said_by_models(decision_id: int, ts_close: int, n_symbols: int) -> dict:
    """What models did in a decision: in one of ten they answered, in one they were late, in the others none ran."""
    if decision_id % 10 == 5:
        return {"models": {"used_share": 0.0, "wish": None, "why_not": "The models' newest forecast is 1 h old."}}
    if decision_id % 10:
        return {}
    return {"models": {
        "version": "20261101T0400", "ts_close": ts_close, "share": 0.4, "agents_share": 0.05, "news_share": 0.0,
        "used_share": 0.3, "wish": [0.42, *[None] * (n_symbols - 1)], "why_not": None, "elapsed_ms": 6.2,
        "left_out": {"lstm": "slow: no time was left of 40 ms"}, "horizons": [1, 2, 4, 8, 12, 24],
        "prob_up": [[0.51, 0.51, 0.52, 0.52, 0.53, 0.54]] * n_symbols,
    }}  # fmt: skip


class FakeBooks:
    """Sixty decisions, the orders and fills that followed, and what they add up to."""

    def __init__(self, market: FakeMarket, *, empty: bool = False) -> None:
        self.market = market
        self.decisions: list[dict] = []
        self.detail: dict[int, dict] = {}
        self.orders: list[dict] = []
        self.fills: list[dict] = []
        self.qty: dict[str, float] = {}
        self.entry: dict[str, float] = {}
        self.cash = CASH
        self.runs: dict[str, dict] = {}
        self.equity_rows = pd.DataFrame(columns=EQUITY_COLUMNS)
        if not empty:
            for i in range(N_DECISIONS):
                self._decide(i + 1, i - N_DECISIONS)
            self._rest_protection()
            self._past_equity()

    def _decide(self, decision_id: int, minutes_ago: int) -> None:
        symbols = list(self.market.px)
        row_at = len(self.market.minutes[symbols[0]]) - 1 + minutes_ago
        ts_close = int(self.market.minutes[symbols[0]]["ts_open"].iat[row_at]) + 60 * NS_PER_S
        close = [float(self.market.minutes[s]["close_px"].iat[row_at]) for s in symbols]
        acting = decision_id % 6 == 1
        symbol = symbols[(decision_id // 6) % 3]
        side = -1 if decision_id in (25, 43) else 1
        n_orders = 0
        if acting:
            px = close[symbols.index(symbol)]
            lots = max(round(900 / px / LOT[symbol]), 1)
            self.fill(symbol, side * lots * LOT[symbol], px, decision_id, ts_close + 400_000_000)
            n_orders = 1
        position = [self.qty.get(s, 0.0) for s in symbols]
        verdict = np.zeros((len(symbols), N_RULES), dtype=int)
        verdict[:, Rule.REBALANCE_BAND] = Verdict.REFUSE
        if acting:
            verdict[symbols.index(symbol), Rule.REBALANCE_BAND] = Verdict.PASS
        weight = [q * px / CASH for q, px in zip(position, close, strict=True)]
        self.detail[decision_id] = {
            "symbols": symbols, "close_px": close, "raw_weight": [w * 1.2 for w in weight], "sized_weight": weight,
            "approved_weight": weight, "position_qty": position, "target_qty": position,
            "act": [int(acting and s == symbol) for s in symbols], "verdict": verdict.tolist(),
            "measured": np.full((len(symbols), N_RULES), 0.01).tolist(),
            "limit": np.full((len(symbols), N_RULES), 0.02).tolist(),
            "inputs": {"age_s": [0.1] * len(symbols)}, "params": {"vol_target": 0.2, "rebalance_band": 0.02},
            "why_not": {s: "The change of 0.010 is smaller than the rebalance band of 0.020."
                        for s in symbols if not (acting and s == symbol)},
        } | said_by_models(decision_id, ts_close, len(symbols))  # fmt: skip
        word = f"{'bought' if side > 0 else 'sold'} {symbol}" if acting else "no change large enough to trade"
        self.decisions.append(dict(zip(DECISION_COLUMNS, [
            decision_id, ts_close, ts_close + 4_000_000, "trend", "f3a1c0de", self.equity(), 0.004, 12.5,
            sum(abs(w) for w in weight), 0.18, n_orders, word, 3.4], strict=True)))  # fmt: skip

    def fill(self, symbol: str, qty: float, px: float, decision_id: int, ts: int, *, maker: bool = True) -> dict:
        """Book an execution: order, fill, position and cash move together."""
        number = len(self.fills) + 1
        client_id = f"ast-{decision_id:06d}-{number:02d}"
        fee = 0.0 if maker else abs(qty) * px * 0.0004
        old = self.qty.get(symbol, 0.0)
        closed = min(abs(old), abs(qty)) if old * qty < 0 else 0.0
        realized = closed * (px - self.entry.get(symbol, px)) * math.copysign(1, old)
        new = round(old + qty, 8)
        if old * qty >= 0:
            self.entry[symbol] = (abs(old) * self.entry.get(symbol, px) + abs(qty) * px) / (abs(old) + abs(qty))
        elif old * new < 0:
            self.entry[symbol] = px
        self.qty[symbol] = new
        self.cash += realized - fee
        self.orders.append(dict(zip(ORDER_COLUMNS, [
            client_id, decision_id, symbol, 1 if qty > 0 else -1, "LIMIT" if maker else "MARKET",
            "GTX" if maker else "GTC", abs(qty), px if maker else math.nan, math.nan, False, False,
            "target" if decision_id else "manual", "FILLED", str(8_000_000 + number), abs(qty), px, px,
            ts - 300_000_000, ts - 290_000_000, ts - 250_000_000, ts, ""], strict=True)))  # fmt: skip
        row = dict(zip(FILL_COLUMNS, [
            symbol, str(500_000 + number), client_id, str(8_000_000 + number), decision_id, qty, px, fee, realized,
            maker, px, px, ts, ts + 20_000_000], strict=True))  # fmt: skip
        self.fills.append(row)
        return row

    def rest(self, symbol: str, side: int, qty: float, *, limit_px: float = math.nan, stop_px: float = math.nan,
             purpose: str = "manual", reduce_only: bool = False, tif: str = "GTC") -> dict:  # fmt: skip
        """Rest an order that stays open."""
        number = len(self.orders) + 1
        kind = "STOP_MARKET" if stop_px == stop_px else "LIMIT"
        now = time.time_ns()
        row = dict(zip(ORDER_COLUMNS, [
            f"ast-{purpose[:1]}-{number:05d}", 0, symbol, side, kind, tif, qty, limit_px, stop_px, reduce_only,
            False, purpose, "NEW", str(9_000_000 + number), 0.0, math.nan, self.market.px[symbol], now, now, now, 0, "",
        ], strict=True))  # fmt: skip
        self.orders.append(row)
        return row

    def _rest_protection(self) -> None:
        for symbol, qty in self.qty.items():
            if qty:
                side = -1 if qty > 0 else 1
                stop = self.market.round_px(symbol, self.entry[symbol] * (1 + 0.05 * side))
                self.rest(symbol, side, abs(qty), stop_px=stop, purpose="protect", reduce_only=True)
        px = self.market.px["BTCUSDT"]
        self.rest("BTCUSDT", 1, 0.004, limit_px=self.market.round_px("BTCUSDT", px * 0.997), tif="GTX")
        self.rest("ETHUSDT", -1, 0.25, limit_px=self.market.round_px("ETHUSDT", self.market.px["ETHUSDT"] * 1.004))

    def _past_equity(self) -> None:
        """Hourly points for nineteen days that end at the present equity."""
        hours = 19 * 24
        rng = np.random.default_rng(3)
        walk = np.cumsum(rng.normal(0.0001, 0.003, hours))
        value = self.equity() * np.exp(walk - walk[-1])
        now = time.time_ns()
        ts = now - NS_PER_S * 3600 * np.arange(hours - 1, -1, -1)
        day = ts // NS_PER_DAY
        opening = pd.Series(value).groupby(day).transform("first").to_numpy()
        upnl = value * 0.004
        self.equity_rows = pd.DataFrame(dict(zip(EQUITY_COLUMNS, [
            ts, value, value - upnl, upnl, value * 0.6, value * 0.4,
            1 - value / np.maximum.accumulate(value), value - opening], strict=True)))  # fmt: skip

    def equity(self) -> float:
        return self.cash + sum(q * (self.market.px[s] - self.entry[s]) for s, q in self.qty.items() if q)

    def positions(self) -> list[dict]:
        rows = []
        for symbol, qty in self.qty.items():
            if not qty:
                continue
            mark, entry = self.market.px[symbol], self.entry[symbol]
            stops = [o["stop_px"] for o in self.open_orders() if o["symbol"] == symbol and o["stop_px"] == o["stop_px"]]
            rows.append(dict(zip(POSITION_COLUMNS, [
                symbol, qty, entry, mark, entry * (0.55 if qty > 0 else 1.45), 3.0, qty * mark, qty * (mark - entry),
                stops[0] if stops else math.nan, time.time_ns()], strict=True)))  # fmt: skip
        return rows

    def open_orders(self) -> list[dict]:
        return [row for row in self.orders if row["status"] in ("NEW", "PARTIALLY_FILLED", "UNKNOWN")]

    def start_run(self, run_id: str, config: dict, kind: str = "backtest") -> None:
        self.runs[run_id] = {"kind": kind, "ts_started": time.time_ns(), "config": config, "cancelled": False}

    def run_state(self, run_id: str) -> dict:
        """Runs take two seconds; a path that does not exist makes one fail."""
        run = self.runs[run_id]
        progress = min(max((time.time_ns() - run["ts_started"]) / 2e9, 0.0), 1.0)
        if run["cancelled"]:
            return {"status": "cancelled", "progress": progress, "message": "Cancelled by you."}
        if run["config"].get("source") == "path":
            return {"status": "failed", "progress": 0.0, "message": f"No such file: {run['config'].get('path')}"}
        word = "done" if progress >= 1 else "running"
        return {"status": word, "progress": progress, "message": f"{progress:.0%} of the bars"}

    def run_result(self, run_id: str) -> dict:
        """A small backtest in the shape of the real one; trades come from a fixed seed."""
        run = self.runs[run_id]
        rng = np.random.default_rng(11)
        n = 500
        cash = float(run["config"].get("cash", CASH))
        value = cash * np.exp(np.cumsum(rng.normal(0.0002, 0.004, n)))
        start_ms = run["ts_started"] // 1_000_000 - n * 3_600_000
        ts_ms = [int(start_ms + i * 3_600_000) for i in range(n)]
        symbol = run["config"].get("symbols", ["BTCUSDT"])[0]
        trades = [
            {"symbol": symbol, "side": "long" if i % 3 else "short", "ts_entry": ts_ms[i * 20], "qty": 0.05,
             "ts_exit": ts_ms[i * 20 + 12], "entry_px": 90_000.0 + 40 * i, "exit_px": 90_100.0 + 35 * i,
             "pnl": 5.0 - i * 0.25, "fees": 0.4, "return": 0.001 - i * 0.00005}
            for i in range(20)
        ]  # fmt: skip
        metrics = {"final_equity": float(value[-1]), "total_return": float(value[-1] / cash - 1), "cagr": 0.31,
                   "sharpe": 1.1, "sortino": 1.6, "calmar": 2.0,
                   "max_drawdown": float((1 - value / np.maximum.accumulate(value)).max()), "cvar_95": 0.009,
                   "win_rate": 0.55, "profit_factor": 1.2, "turnover": 31.0, "exposure": 0.7, "fees": 18.0,
                   "slippage": 6.0, "funding": -2.0, "n_trades": 20, "alpha_btc": 0.02, "beta_btc": 0.3,
                   "deflated_sharpe": 0.41, "pbo": None}  # fmt: skip
        curve = [[t, float(v)] for t, v in zip(ts_ms, value, strict=True)]
        return {"config": run["config"], "metrics": metrics, "equity": curve,
                "trades": trades, "fills": [], "canaries": {"lookahead": "pass"},
                "out_of_sample": {"sharpe": 0.4, "total_return": 0.03}, "trials": 1, "elapsed_s": 0.012}  # fmt: skip

    def run_rows(self) -> list[dict]:
        rows = []
        for run_id, run in reversed(self.runs.items()):
            state = self.run_state(run_id)
            done = state["status"] == "done"
            rows.append(dict(zip(RUN_COLUMNS, [
                run_id, run["kind"], state["status"], run["ts_started"],
                run["ts_started"] + 2 * NS_PER_S if done else 0, state["progress"], json.dumps(run["config"]),
                json.dumps(self.run_result(run_id)["metrics"]) if done else "",
                state["message"] if state["status"] == "failed" else ""], strict=True)))  # fmt: skip
        return rows
