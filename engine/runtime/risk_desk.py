"""What the Risk page asks: every limit with its headroom, exposures, correlation, and what the gate objected to."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.domain import NS_PER_DAY
from engine.execution.parents import Parent
from engine.research.book_risk import FEWEST_RETURNS, Returns, correlation_of, daily_returns, tail_rows
from engine.runtime.gate_clusters import Clusters, cluster_rows, clusters_in_force
from engine.runtime.gauges import Book, gauges
from engine.runtime.live_report_desk import LiveReportDesk, report_nightly
from engine.runtime.objections import Objections
from engine.runtime.risk_book import account_book, hourly_history, limits_in_force
from engine.runtime.shock_table import Moving, moving_together, shock_rows
from engine.runtime.stress_desk import StressDesk, stress_nightly

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
CORRELATION_HOURS = 30 * 24
HISTORY_AGE_S = 300.0  # hourly bars change once an hour; a page asks every few seconds
MOST_REFUSALS = 50
ASKED = {"ticket.submit": "ticket", "parents.start": "by algorithm", "parents.replace": "change by algorithm"}


class RiskDesk:
    """Answers ``risk``, and what a ``StressDesk`` and a ``LiveReportDesk`` do.

    Parameters
    ----------
    engine : Engine
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._store = engine, engine.store
        self._objections: Objections | None = None
        self._history: tuple[float, tuple[str, ...], Returns] | None = None
        self._lock = threading.Lock()
        self.questions: dict[str, Handler] = {"risk": self.answer}
        self.questions |= StressDesk(engine).questions | LiveReportDesk(engine, self.answer).questions
        self.orders: dict[str, Handler] = {}

    async def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the account's risk now, as ``app.risk_client`` describes it."""
        positions = self._engine.loop.screen.position_rows()
        book = account_book(self._engine.loop, positions)
        groups = clusters_in_force(self._engine.loop.decider)
        moving = moving_together(self._engine.loop.decider)
        return await asyncio.to_thread(self._answer, book, positions, groups, moving)

    def _answer(
        self, book: Book, positions: list[dict[str, Any]], groups: Clusters, moving: Moving | None
    ) -> dict[str, Any]:
        if self._objections is None or self._objections.began_ns != self._engine.loop.began_ns:
            self._objections = Objections(self._store, self._engine.loop.began_ns)
        objections, newest = self._objections.today(), self._objections.newest
        detail = None if newest is None else newest["detail"]
        config = limits_in_force(self._engine.loop)
        symbols = tuple(dict.fromkeys((*config.symbols, *book.weight)))
        returns = self.history(symbols)
        return {
            "as_of_ns": time.time_ns(), "equity": _plain(book.equity), "peak_equity": _plain(book.peak_equity),
            "day_open_equity": _plain(book.day_open_equity), "decision_id": newest and newest["decision_id"],
            "decided_ns": newest and newest["ts_decided"], "gauges": gauges(config, book, detail),
            "exposures": _exposures(book, positions, detail, groups), "totals": self._totals(book),
            "tail": _tail(returns, book), "clusters": cluster_rows(groups, dict(book.weight)),
            "clustering": _clustering(groups), "correlation": _correlation(returns),
            "objections": objections, "refused": self._refused(),
            "shocks": shock_rows(config, moving, book.weight, book.equity),
        }  # fmt: skip

    def _totals(self, book: Book) -> dict[str, Any]:
        account = self._engine.loop.account
        return {
            "net": _plain(sum(book.weight.values())), "gross": _plain(sum(map(abs, book.weight.values()))),
            "free_margin": _plain(account.free_margin), "maintenance_margin": _plain(account.maintenance_margin),
        }  # fmt: skip

    def history(self, symbols: tuple[str, ...]) -> Returns:
        """Return up to two years of hourly returns from the stored candles, read anew every few minutes."""
        with self._lock:
            held = self._history
            if held is not None and held[1] == symbols and time.monotonic() - held[0] < HISTORY_AGE_S:
                return held[2]
            found = hourly_history(self._store, symbols)
            self._history = (time.monotonic(), symbols, found)
            return found

    def _refused(self) -> list[dict[str, Any]]:
        """Return a person's orders that were refused today, newest first: tickets and what an algorithm was to work."""
        since = max(time.time_ns() // NS_PER_DAY * NS_PER_DAY, self._engine.loop.began_ns)
        rows = self._store.rows(
            "SELECT ts, command, payload, result FROM commands WHERE list_contains(?, command) AND status = 'refused' "
            "AND ts >= ? ORDER BY ts DESC LIMIT ?",
            [list(ASKED), since, MOST_REFUSALS],
        )
        parents = self._engine.loop.worker.parents.parents
        return [_refusal(row, parents) for row in rows]


async def risk_nightly(engine: Engine) -> None:
    """Once a night: hold the book against the crises, then write the account's report with the outcome."""
    await stress_nightly(engine)
    await report_nightly(engine, RiskDesk(engine).answer)


def _refusal(row: dict[str, Any], parents: Mapping[int, Parent]) -> dict[str, Any]:
    asked = json.loads(row["payload"] or "{}")
    changed = parents.get(asked["parent_id"]) if isinstance(asked.get("parent_id"), int) else None
    if changed is not None:  # a change names the order, not what it trades
        asked |= {"symbol": changed.spec.symbol, "side": "buy" if changed.spec.side > 0 else "sell"}
    return {
        "ts": row["ts"], "order": ASKED[row["command"]], "symbol": asked.get("symbol"), "side": asked.get("side"),
        "reason": row["result"],
    }  # fmt: skip


def _tail(returns: Returns, book: Book) -> list[dict[str, Any]]:
    """Return the book's next-day tail by method and level; weights that are unknown make it unknown."""
    weight = np.array([book.weight.get(symbol, 0.0) for symbol in returns.symbols])
    return [row._asdict() for row in tail_rows(daily_returns(returns), weight)] if np.isfinite(weight).all() else []


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


def _clustering(groups: Clusters) -> dict[str, Any]:
    """Return what clusters are formed by: threshold, memory, and what is missing."""
    return {
        "threshold": _plain(groups.threshold), "memory_hours": _plain(groups.memory_hours), "young": groups.young,
        "why": groups.why,
    }  # fmt: skip


def _exposures(
    book: Book, positions: list[dict[str, Any]], detail: dict[str, Any] | None, groups: Clusters
) -> list[dict[str, Any]]:
    approved = {} if detail is None else dict(zip(detail["symbols"], detail["approved_weight"], strict=True))
    cluster = groups.named()
    return [
        {
            "symbol": row["symbol"], "qty": row["qty"],
            "notional": _plain(book.weight[row["symbol"]] * book.equity),
            "weight": _plain(book.weight[row["symbol"]]), "approved": approved.get(row["symbol"]),
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
