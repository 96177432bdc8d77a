"""The tables that a client may read, by name. Parameters are checked here; no client sends SQL."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from engine.domain import INTERVAL_S, NS_PER_S, Bar
from engine.errors import CommandRefused
from engine.runtime.loop import Loop
from engine.runtime.model_scores import forecast_scores

MAX_ROWS = 200_000
FINAL = "('FILLED', 'CANCELED', 'EXPIRED', 'REJECTED')"
DECISION_COLUMNS = (
    "decision_id, ts_close, ts_decided, strategy, params_hash, equity, drawdown, day_pnl, gross_weight, portfolio_vol, "
    "n_orders, summary, elapsed_ms"
)
POSITION_SCHEMA = pa.schema([
    ("symbol", pa.string()), ("qty", pa.float64()), ("entry_px", pa.float64()), ("mark_px", pa.float64()),
    ("liq_px", pa.float64()), ("leverage", pa.float64()), ("notional", pa.float64()),
    ("pnl_unrealized", pa.float64()), ("stop_px", pa.float64()), ("manual_qty", pa.float64()), ("ts", pa.int64()),
])  # fmt: skip


class Queries:
    """Reads for clients. Called from server threads; each read uses a cursor of its own.

    Parameters
    ----------
    loop : Loop
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._store = loop.store
        self._tables: dict[str, Callable[[dict[str, Any]], pa.Table]] = {
            "bars": self._bars,
            "orders": self._orders,
            "fills": self._fills,
            "positions": self._positions,
            "decisions": self._decisions,
            "equity": self._equity,
            "runs": self._runs,
            "forecasts": self._forecasts,
            "forecast_scores": lambda q: forecast_scores(self._store, int(q.get("since_ns") or 0)),
            "incidents": lambda q: self._newest("incidents", "incident_id", q),
            "audit": lambda q: self._newest("audit", "seq", q),
            "commands": lambda q: self._newest("commands", "ts", q),
        }

    def read(self, query: dict[str, Any]) -> pa.Table:
        """Return the table that a ticket asks for."""
        name = query.get("table")
        if name not in self._tables:
            raise CommandRefused(f"There is no table {name!r}. There are {', '.join(sorted(self._tables))}, live.")
        return self._tables[name](query)

    def _bars(self, query: dict[str, Any]) -> pa.Table:
        symbol, interval, limit = str(query["symbol"]), str(query["interval"]), _limit(query, 1500)
        if interval not in INTERVAL_S:
            raise CommandRefused(f"Interval {interval!r} is not one of {', '.join(INTERVAL_S)}.")
        base = "1m" if INTERVAL_S[interval] < 3600 else "1h"
        span = INTERVAL_S[interval] * NS_PER_S
        end = int(query.get("end_ns") or (self._loop.market.ts_exchange or self._loop.clock.now()) + span)
        start = end - (limit + 1) * span
        open_bars = [b for b in (self._loop.market.open_bars.get((symbol, i)) for i in {base, "1m"}) if b is not None]
        table = self._store.read(
            "SELECT ts_open // ? * ? AS ts_open, arg_min(open_px, b.ts_open) AS open_px, max(high_px) AS high_px, "
            "min(low_px) AS low_px, arg_max(close_px, b.ts_open) AS close_px, sum(volume) AS volume "
            "FROM bars b WHERE symbol = ? AND interval = ? AND ts_open >= ? AND ts_open < ? GROUP BY 1 ORDER BY 1",
            [span, span, symbol, base, start, end],
        )
        newest = max(open_bars, key=lambda bar: (bar.interval == base, bar.ts_open), default=None)
        if newest is None or query.get("end_ns"):
            return table.slice(max(table.num_rows - limit, 0))
        return _with_open_bar(table, newest, span, limit)

    def _orders(self, query: dict[str, Any]) -> pa.Table:
        where, params = _where(query, symbol="symbol")
        if query.get("open_only"):
            where += [f"status NOT IN {FINAL}", "account = ?"]
            params.append(self._loop.session.account_key)
        return self._select("*", "orders", where, params, "ts_intent DESC", query, 500)

    def _fills(self, query: dict[str, Any]) -> pa.Table:
        where, params = _where(query, symbol="symbol", since_ns="ts_filled")
        return self._select("*", "fills", where, params, "ts_filled DESC, trade_id DESC", query, 1000)

    def _positions(self, query: dict[str, Any]) -> pa.Table:
        return pa.Table.from_pylist(self._loop.screen.position_rows(), schema=POSITION_SCHEMA)

    def _decisions(self, query: dict[str, Any]) -> pa.Table:
        where, params = _where(query, since_ns="ts_close")
        if query.get("symbol"):
            where.append("contains(detail, ?)")
            params.append(f'"{query["symbol"]}"')
        return self._select(DECISION_COLUMNS, "decisions", where, params, "decision_id DESC", query, 200)

    def _forecasts(self, query: dict[str, Any]) -> pa.Table:
        where, params = _where(query, symbol="symbol", model="model", version="version", since_ns="ts_close")
        return self._select("*", "forecasts", where, params, "ts_close DESC, symbol, model, horizon", query, 5000)

    def _equity(self, query: dict[str, Any]) -> pa.Table:
        limit = _limit(query, 5000)
        since = max(int(query.get("since_ns") or 0), self._loop.began_ns)
        table = self._store.read("SELECT * FROM equity WHERE ts >= ? ORDER BY ts", [since])
        step = max(math.ceil(table.num_rows / limit), 1)
        if step == 1:
            return table
        keep = sorted({*range(0, table.num_rows, step), table.num_rows - 1})
        return table.take(pa.array(keep))

    def _runs(self, query: dict[str, Any]) -> pa.Table:
        columns = "run_id, kind, status, ts_started, ts_finished, progress, config, metrics, error"
        return self._select(columns, "runs", [], [], "ts_started DESC", query, 100)

    def _newest(self, table: str, order: str, query: dict[str, Any]) -> pa.Table:
        return self._select("*", table, [], [], f"{order} DESC", query, 200)

    def _select(
        self,
        columns: str,
        table: str,
        where: list[str],
        params: list[Any],
        order: str,
        query: dict[str, Any],
        default_limit: int,
    ) -> pa.Table:
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        # every name here is a constant of this module; what a client sent is in params
        statement = f"SELECT {columns} FROM {table} {condition} ORDER BY {order} LIMIT ?"
        return self._store.read(statement, [*params, _limit(query, default_limit)])


def _limit(query: dict[str, Any], default: int) -> int:
    limit = int(query.get("limit") or default)
    if not 1 <= limit <= MAX_ROWS:
        raise CommandRefused(f"limit {limit} is not between 1 and {MAX_ROWS}.")
    return limit


def _where(query: dict[str, Any], **columns: str) -> tuple[list[str], list[Any]]:
    where, params = [], []
    for name, column in columns.items():
        value = query.get(name)
        if value:
            where.append(f"{column} >= ?" if name == "since_ns" else f"{column} = ?")
            params.append(value)
    return where, params


def _with_open_bar(table: pa.Table, bar: Bar, span: int, limit: int) -> pa.Table:
    """Return the candles with the one that is still forming as the last row, merged when its span has begun."""
    rows = table.slice(max(table.num_rows - limit, 0)).to_pylist()
    ts_open = bar.ts_open // span * span
    if rows and rows[-1]["ts_open"] == ts_open and bar.ts_open > ts_open:
        last = rows[-1]
        last["high_px"], last["low_px"] = max(last["high_px"], bar.high_px), min(last["low_px"], bar.low_px)
        last["close_px"], last["volume"] = bar.close_px, last["volume"] + bar.volume
    elif not rows or rows[-1]["ts_open"] < ts_open:
        rows.append({
            "ts_open": ts_open, "open_px": bar.open_px, "high_px": bar.high_px, "low_px": bar.low_px,
            "close_px": bar.close_px, "volume": bar.volume,
        })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=table.schema)
