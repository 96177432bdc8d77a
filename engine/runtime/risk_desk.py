"""What the Risk page asks: every limit with its headroom, exposures, correlation, and what the gate objected to."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.domain import NS_PER_DAY, NS_PER_S
from engine.research.book_risk import FEWEST_RETURNS, Returns, clusters_of, correlation_of, returns_of
from engine.runtime.gauges import Book, gauges
from engine.runtime.objections import Objections
from engine.settings import SystemConfig

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
HOUR_NS = 3_600 * NS_PER_S
CORRELATION_HOURS = 30 * 24
HISTORY_HOURS = 2 * 365 * 24
HISTORY_AGE_S = 300.0  # hourly bars change once an hour; a page asks every few seconds
MOST_REFUSALS = 50


class RiskDesk:
    """Answers ``risk``.

    Parameters
    ----------
    engine : Engine
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._store = engine, engine.store
        self._objections: Objections | None = None
        self._history: tuple[float, tuple[str, ...], Returns] | None = None
        self._lock = threading.Lock()
        self.questions: dict[str, Handler] = {"risk": self._risk}
        self.orders: dict[str, Handler] = {}

    async def _risk(self, body: dict[str, Any]) -> dict[str, Any]:
        positions = self._engine.loop.screen.position_rows()
        return await asyncio.to_thread(self._answer, self._book(positions), positions)

    @property
    def config(self) -> SystemConfig:
        """The limits in force: those of the decider, which the capital ladder may have made smaller."""
        loop = self._engine.loop
        return loop.config if loop.decider is None else loop.decider.config

    def _book(self, positions: list[dict[str, Any]]) -> Book:
        loop = self._engine.loop
        equity, peak, day_open = loop.equity_now(), math.nan, math.nan
        if loop.decider is not None and loop.decider.state.book[0]["peak_equity"] > 0:
            book = loop.decider.state.book[0]
            peak, day_open = max(float(book["peak_equity"]), equity), float(book["day_open_equity"])
        weight = {
            row["symbol"]: math.copysign(row["notional"], row["qty"]) / equity
            for row in positions if row["notional"] is not None
        }  # fmt: skip
        near = {row["symbol"]: loop.liquidation.distance(row["symbol"]) for row in positions}
        return Book(equity, peak, day_open, weight, near)

    def _answer(self, book: Book, positions: list[dict[str, Any]]) -> dict[str, Any]:
        if self._objections is None or self._objections.began_ns != self._engine.loop.began_ns:
            self._objections = Objections(self._store, self._engine.loop.began_ns)
        objections, newest = self._objections.today(), self._objections.newest
        detail = None if newest is None else newest["detail"]
        symbols = tuple(dict.fromkeys((*self.config.symbols, *book.weight)))
        correlation = _correlation(self.history(symbols))
        groups = _groups(symbols, correlation["matrix"])
        return {
            "as_of_ns": time.time_ns(), "equity": _plain(book.equity), "peak_equity": _plain(book.peak_equity),
            "day_open_equity": _plain(book.day_open_equity), "decision_id": newest and newest["decision_id"],
            "decided_ns": newest and newest["ts_decided"], "gauges": gauges(self.config, book, detail),
            "exposures": _exposures(book, positions, detail, groups), "totals": self._totals(book),
            "clusters": _clusters(book, groups), "correlation": correlation, "objections": objections,
            "refused": self._refused(),
        }  # fmt: skip

    def _totals(self, book: Book) -> dict[str, Any]:
        account = self._engine.loop.account
        return {
            "net": sum(book.weight.values()), "gross": sum(map(abs, book.weight.values())),
            "free_margin": _plain(account.free_margin), "maintenance_margin": _plain(account.maintenance_margin),
        }  # fmt: skip

    def history(self, symbols: tuple[str, ...]) -> Returns:
        """Return up to two years of hourly returns from the stored candles, read anew every few minutes."""
        with self._lock:
            held = self._history
            if held is not None and held[1] == symbols and time.monotonic() - held[0] < HISTORY_AGE_S:
                return held[2]
            found = self._read_history(symbols)
            self._history = (time.monotonic(), symbols, found)
            return found

    def _read_history(self, symbols: tuple[str, ...]) -> Returns:
        newest = self._store.rows("SELECT max(ts_open) AS ts FROM bars WHERE interval = '1h'")[0]["ts"] or 0
        table = self._store.read(
            "SELECT symbol, ts_open, close_px FROM bars WHERE interval = '1h' AND ts_open > ? AND "
            "list_contains(?, symbol)",
            [newest - HISTORY_HOURS * HOUR_NS, list(symbols)],
        )
        ts_close = table.column("ts_open").to_numpy() + HOUR_NS
        return returns_of(
            table.column("symbol").to_pylist(), ts_close, table.column("close_px").to_numpy(), symbols, HOUR_NS
        )

    def _refused(self) -> list[dict[str, Any]]:
        """Return a person's tickets that were refused today, newest first."""
        since = time.time_ns() // NS_PER_DAY * NS_PER_DAY
        rows = self._store.rows(
            "SELECT ts, payload, result FROM commands WHERE command = 'ticket.submit' AND status = 'refused' AND "
            "ts >= ? ORDER BY ts DESC LIMIT ?",
            [max(since, self._engine.loop.began_ns), MOST_REFUSALS],
        )
        return [_refusal(row) for row in rows]


def _refusal(row: dict[str, Any]) -> dict[str, Any]:
    ticket = json.loads(row["payload"] or "{}")
    return {
        "ts": row["ts"], "symbol": ticket.get("symbol"), "side": ticket.get("side"), "reason": row["result"],
    }  # fmt: skip


def _correlation(returns: Returns) -> dict[str, Any]:
    """Return the correlation of hourly returns over the last month, or why it is unknown."""
    recent = returns.log_return[-CORRELATION_HOURS:]
    kept = [index for index in range(len(returns.symbols)) if np.isfinite(recent[:, index]).any()]
    found = correlation_of(recent[:, kept]) if kept else None
    missing = [symbol for index, symbol in enumerate(returns.symbols) if index not in kept]
    answer: dict[str, Any] = {
        "symbols": [returns.symbols[index] for index in kept], "hours": len(recent), "missing": missing,
        "matrix": None if found is None else found.tolist(), "why": None,
    }  # fmt: skip
    if found is None:
        answer["why"] = (
            f"A correlation needs {FEWEST_RETURNS} hours in which every symbol has a candle; so far there are fewer."
        )
    return answer


def _groups(symbols: tuple[str, ...], matrix: list[list[float]] | None) -> list[list[str]] | None:
    if matrix is None or len(matrix) != len(symbols):
        return None
    return [[symbols[index] for index in group] for group in clusters_of(np.array(matrix))]


def _clusters(book: Book, groups: list[list[str]] | None) -> list[dict[str, Any]] | None:
    """Return net and gross weight of each cluster that holds something; None when clusters are unknown."""
    if groups is None:
        return None
    rows = []
    for number, group in enumerate(groups, 1):
        weights = [book.weight[symbol] for symbol in group if symbol in book.weight]
        if weights:
            rows.append({
                "name": f"C{number}", "symbols": group, "net": sum(weights), "gross": sum(map(abs, weights)),
            })  # fmt: skip
    return rows


def _exposures(
    book: Book, positions: list[dict[str, Any]], detail: dict[str, Any] | None, groups: list[list[str]] | None
) -> list[dict[str, Any]]:
    approved = {} if detail is None else dict(zip(detail["symbols"], detail["approved_weight"], strict=True))
    cluster = {symbol: f"C{number}" for number, group in enumerate(groups or [], 1) for symbol in group}
    return [
        {
            "symbol": row["symbol"], "qty": row["qty"],
            "notional": _plain(book.weight.get(row["symbol"], math.nan) * book.equity),
            "weight": book.weight.get(row["symbol"]), "approved": approved.get(row["symbol"]),
            "cluster": cluster.get(row["symbol"]), "stop_px": row["stop_px"],
            "stop_loss": _stop_loss(row), "liquidation_distance": _plain(book.liquidation_distance[row["symbol"]]),
        }
        for row in positions
    ]  # fmt: skip


def _stop_loss(row: dict[str, Any]) -> float | None:
    """Return what a position loses from now until its stop fills at its price, quote currency; None without a stop."""
    if row["stop_px"] is None or row["mark_px"] is None:
        return None
    return float(max((row["mark_px"] - row["stop_px"]) * row["qty"], 0.0))


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
