"""How this account has done, as one JSON object: what goes into live_performance.json and onto paper."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from engine.domain import NS_PER_DAY, NS_PER_MS, NS_PER_S
from engine.research.live_targets import MIN_DAYS, Record, target_rows
from engine.research.track_record import daily_returns
from engine.runtime.goal_desk import PAPER_CAVEATS
from engine.runtime.loop import Loop
from engine.runtime.performance import own_curve, performance
from engine.runtime.risk_book import limits_in_force
from engine.runtime.screen import finite

MINUTE_NS = 60 * NS_PER_S
CURVE_POINTS = 2_000


def live_record(loop: Loop) -> dict[str, Any]:
    """Return the account's record since it was first traded: equity, costs, uptime, latency, symbols, goals.

    Money in the quote currency, returns as fractions, times in ms since 1970 (UTC). None is unknown. Reads the record
    only; call it from a thread.
    """
    since = loop.began_ns
    ts, equity, grown = own_curve(loop, since)
    told = performance(loop, since)
    returns, _ = daily_returns(ts // NS_PER_MS, grown.equity, whole_days=True)
    latency, uptime = _latency(loop), _uptime(ts, since)
    config, days = limits_in_force(loop), (time.time_ns() - since) / NS_PER_DAY
    record = Record(
        returns, _known(told["ratios"]["max_drawdown"]), _worst_day(told["daily"]), uptime["share"], days,
        _known(latency["p99_ms"]), latency["n"],
    )  # fmt: skip
    mode, source = str(loop.session.mode), loop.session.market_source
    return {
        "version": 1, "generated_ms": time.time_ns() // NS_PER_MS, "mode": mode, "market_source": source,
        "caveats": list(PAPER_CAVEATS.get(source, ())) if mode == "paper" else [],
        "strategy": config.strategy, "symbols": list(config.symbols), "began_ms": since // NS_PER_MS,
        "days": days, "equity": _equity(ts, equity, told["ratios"]), "ratios": told["ratios"],
        "enough": told["enough"], "note": told["note"], "daily": told["daily"], "monthly": told["monthly"],
        "curve": _curve(ts, equity), "drawdown": told["drawdown"],
        "costs": _costs(loop, told["ratios"]), "uptime": uptime, "latency": latency, "per_symbol": _symbols(loop),
        "targets": target_rows(record, config.target_annual_return, config.max_total_drawdown, config.max_daily_loss),
        "ratios_need_days": MIN_DAYS,
    }  # fmt: skip


def _equity(ts: np.ndarray, equity: np.ndarray, ratios: dict[str, Any]) -> dict[str, Any]:
    names = ("first", "last", "highest", "lowest")
    if not len(equity):
        return dict.fromkeys((*names, "total_return", "max_drawdown", "as_of_ms"))
    values = (equity[0], equity[-1], equity.max(), equity.min())
    return dict(zip(names, map(float, values), strict=True)) | {
        "total_return": ratios["total_return"], "max_drawdown": ratios["max_drawdown"],
        "as_of_ms": int(ts[-1]) // NS_PER_MS,
    }  # fmt: skip


def _curve(ts: np.ndarray, equity: np.ndarray) -> list[list[float]]:
    step = max(math.ceil(len(ts) / CURVE_POINTS), 1)
    return [[int(ts[i]) // NS_PER_MS, float(equity[i])] for i in range(0, len(ts), step)]


def _worst_day(daily: list[dict[str, Any]]) -> float:
    return max((-row["return"] for row in daily), default=math.nan)


def _uptime(ts: np.ndarray, since_ns: int) -> dict[str, Any]:
    """Return the share of minutes since the beginning in which the account was recorded.

    The engine writes a row a minute while it runs and knows its equity. A minute counts when a row lies within it or
    the one before, so that a row a second late is no outage.
    """
    minutes = max((time.time_ns() - since_ns) // MINUTE_NS, 1)
    seen = np.unique((ts - since_ns) // MINUTE_NS)
    covered = np.union1d(seen, seen + 1)
    n = int(((covered >= 0) & (covered < minutes)).sum())
    return {"share": n / minutes, "minutes": int(minutes), "recorded": n}


def _latency(loop: Loop) -> dict[str, Any]:
    table = loop.store.read(
        "SELECT elapsed_ms FROM decisions WHERE ts_decided >= ? AND elapsed_ms IS NOT NULL", [loop.began_ns]
    )
    found = table.column("elapsed_ms").to_numpy()
    names = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
    if not len(found):
        return {"n": 0, **dict.fromkeys(names)}
    values = np.percentile(found, [50, 95, 99, 100]).tolist()
    return {"n": len(found), **dict(zip(names, values, strict=True))}


def _costs(loop: Loop, ratios: dict[str, Any]) -> dict[str, Any]:
    row = loop.store.rows(
        "SELECT count(*) AS n, coalesce(sum(qty * (px - decision_px)), 0) AS slippage, "
        "coalesce(sum(abs(qty * px)) FILTER (is_maker), 0) AS maker FROM fills "
        "WHERE account = ? AND ts_received >= ? AND decision_px > 0",
        [loop.session.account_key, loop.began_ns],
    )[0]
    traded = ratios["traded"] or 0.0
    paid = [ratios["fees"], row["slippage"], ratios["funding"]]
    total = sum(value for value in paid if value is not None)
    return {
        "fees": ratios["fees"], "funding": ratios["funding"], "slippage": row["slippage"], "total": total,
        "traded": traded, "turnover": ratios["turnover"], "n_fills": row["n"],
        "cost_bps": total / traded * 1e4 if traded > 0 else None,
        "maker_share": row["maker"] / traded if traded > 0 else None,
    }  # fmt: skip


def _symbols(loop: Loop) -> list[dict[str, Any]]:
    """Return a row a symbol that was traded or is held: what it earned, what that cost, what is still open."""
    rows = loop.store.rows(
        "SELECT symbol, count(*) AS n_fills, sum(pnl_realized) AS realized, sum(fee) AS fees, "
        "sum(abs(qty * px)) AS traded FROM fills WHERE account = ? AND ts_received >= ? GROUP BY symbol",
        [loop.session.account_key, loop.began_ns],
    )
    found = {row["symbol"]: row for row in rows}
    for symbol in loop.account.open_positions():
        found.setdefault(symbol, {"symbol": symbol, "n_fills": 0, "realized": 0.0, "fees": 0.0, "traded": 0.0})
    for symbol, row in found.items():
        position, mark = loop.account.position(symbol), loop.market.mark_px(symbol)
        row["qty"] = position.qty
        row["unrealized"] = finite(position.qty * (mark - position.entry_px)) if position.qty else 0.0
        row["net"] = None if row["unrealized"] is None else row["realized"] - row["fees"] + row["unrealized"]
    return [found[symbol] for symbol in sorted(found)]


def _known(value: float | None) -> float:
    return math.nan if value is None else value
