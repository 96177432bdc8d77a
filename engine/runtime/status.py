"""The status that every page shows. None in it means unknown, never zero."""

from __future__ import annotations

import math
import time
from typing import Any

from engine.domain import INTERVAL_S, NS_PER_S, KillLevel, OrderStatus
from engine.execution.day import day_rung
from engine.runtime.loop import Loop
from engine.runtime.model_state import model_status
from engine.runtime.screen import finite

VERSION = "0.1.0"
STALE_S = 5.0


def engine_status(loop: Loop, clock_skew_ms: float) -> dict[str, Any]:
    """Return the engine's state as one JSON-ready object. Money in the quote currency, times in ns."""
    now = time.time_ns()
    market_ns = loop.market.ts_exchange or now
    interval_ns = INTERVAL_S[loop.config.decision_interval] * NS_PER_S
    orders = loop.executor.orders.values()
    return {
        "engine_id": loop.session.engine_id,
        "mode": str(loop.session.mode),
        "market_source": loop.session.market_source,
        "speed": loop.session.speed,
        "started_ns": loop.session.started_ns,
        "now_ns": now,
        "market_ns": market_ns,
        "phase": loop.phase,
        "trading_state": int(loop.trading_state()),
        "kill_level": int(loop.kill.level),
        "kill_reason": loop.kill.reason,
        **_money(loop),
        "max_daily_loss": loop.config.max_daily_loss,
        "max_total_drawdown": loop.config.max_total_drawdown,
        "last_event_age_s": _age_s(loop, "market", now),
        "feeds": [_feed(loop, "market", now), _feed(loop, "account", now)],
        "last_decision": loop.last_decision,
        "next_decision_ns": (market_ns // interval_ns + 1) * interval_ns,
        "last_reconcile": _reconciliation(loop),
        "unexplained": _unexplained(loop),
        "symbols": list(loop.config.symbols),
        "decision_interval": loop.config.decision_interval,
        "open_orders": len(orders),
        "unknown_orders": sum(order.status == OrderStatus.UNKNOWN for order in orders),
        "clock_skew_ms": finite(clock_skew_ms),
        "storage_trouble": loop.storage_trouble,
        "models": model_status(loop.models, loop.config, loop.clock.now()),
        "last_time_to_flat_s": finite(loop.kill.last_flatten_s),
        "version": VERSION,
    }


def why_restricted(loop: Loop) -> str:
    """Return, in words, what holds new risk back now; the first that applies, the strictest first."""
    account, last = loop.streams.get("account"), loop.reconciler.last
    if loop.kill.level > KillLevel.NONE:
        return f"the kill switch is at {loop.kill.level.name.lower()} ({loop.kill.reason or 'no reason given'})"
    if loop.storage_trouble is not None:
        return "the record cannot be written: free disk space"
    if (suspended := loop.suspended()) is not None:
        return suspended.rstrip(".")
    if account is None or not account.up:
        return "the account's stream is down, and it reconnects by itself"
    if last is None:
        return "the books have not been compared with the venue's yet: the engine is still starting"
    if not last.ok:
        return f"the books do not agree with the venue's ({last.message}): see the Health page"
    return "nothing any more: try again"


def _money(loop: Loop) -> dict[str, float | str | None]:
    equity, cash = loop.equity_now(), loop.account.cash
    peak = day_open = day_worst = math.nan
    if loop.decider is not None and loop.decider.state.book[0]["peak_equity"] > 0:
        book = loop.decider.state.book[0]
        peak, day_open = max(float(book["peak_equity"]), equity), float(book["day_open_equity"])
        if day_open > 0:
            day_worst = max(float(book["day_worst"]), 1.0 - equity / day_open, 0.0)
    gross = sum(abs(p.qty) * loop.market.mark_px(s) for s, p in loop.account.open_positions().items())
    return {
        "equity": finite(equity),
        "cash": finite(cash),
        "pnl_unrealized": finite(equity - cash),
        "day_pnl": finite(equity - day_open),
        "day_pnl_pct": finite(equity / day_open - 1.0),
        "day_worst": finite(day_worst),
        "day_rung": None if math.isnan(day_worst) else str(day_rung(day_worst, loop.config)),
        "drawdown": finite(1.0 - equity / peak),
        "peak_equity": finite(peak),
        "gross_weight": finite(gross / equity),
        "margin_ratio": finite(loop.account.maintenance_margin / equity),
    }


def _unexplained(loop: Loop) -> float | None:
    """Return what the ledger could not derive, quote currency; None before the first comparison."""
    statement = loop.reconciler.ledger.last
    return None if statement is None else finite(statement.unexplained)


def _age_s(loop: Loop, stream: str, now: int) -> float | None:
    last = loop.last_event_ns.get(stream)
    return None if last is None else (now - last) / NS_PER_S


def _feed(loop: Loop, stream: str, now: int) -> dict[str, Any]:
    state, age_s = loop.streams.get(stream), _age_s(loop, stream, now)
    down = state is None or not state.up
    stale = stream == "market" and (age_s is None or age_s > STALE_S)  # the account may rightly be silent
    return {"name": stream, "age_s": age_s, "state": "down" if down else "stale" if stale else "ok"}


def _reconciliation(loop: Loop) -> dict[str, Any] | None:
    last = loop.reconciler.last
    if last is None:
        return None
    return {"ts": last.ts, "ok": last.ok, "mismatches": len(last.mismatches), "message": last.message}
