"""How the account has done, from its own record. What the record is too short for stays unknown."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.core import metrics
from engine.domain import NS_PER_DAY
from engine.research.track_record import Grown, without_transfers
from engine.runtime.loop import Loop
from engine.runtime.screen import finite

MIN_DAYS = 20  # fewer daily returns say nothing about a ratio


def own_curve(loop: Loop, since_ns: int) -> tuple[np.ndarray, np.ndarray, Grown]:
    """Return times (ns), equity and equity without transfers of the account since a moment, from the record."""
    rows = loop.store.read("SELECT ts, equity FROM equity WHERE ts >= ? ORDER BY ts", [max(since_ns, loop.began_ns)])
    ts, equity = rows.column("ts").to_numpy(), rows.column("equity").to_numpy()
    moved = [(income.ts, income.amount) for income in loop.reconciler.ledger.transfers]
    return ts, equity, without_transfers(ts, equity, moved)


def performance(loop: Loop, since_ns: int) -> dict[str, Any]:
    """Return ratios, daily and monthly returns and the drawdown curve since a moment, without deposits and withdrawals.

    Ratios are of daily returns, annualised with 365, and None with fewer than ``MIN_DAYS`` of them.
    """
    since = max(since_ns, loop.began_ns)
    ts, own, (equity, moved) = own_curve(loop, since)
    daily = _daily(ts, equity, own - moved)
    returns = np.array([row["return"] for row in daily], dtype=np.float64)
    enough = len(returns) >= MIN_DAYS
    came = float(moved[-1]) if len(moved) else 0.0
    ratios = {**_ratios(equity, returns, enough), **_costs(loop, since, own, came), "n_days": len(daily)}
    peak = np.maximum.accumulate(equity) if len(equity) else equity
    step = max(math.ceil(len(ts) / 2000), 1)
    drawdown = [[int(ts[i]) // 1_000_000, float(1.0 - equity[i] / peak[i])] for i in range(0, len(ts), step)]
    notes = [] if enough else [f"Ratios need {MIN_DAYS} daily returns; there are {len(daily)} so far."]
    if moved.any():
        notes.append(f"Deposits less withdrawals, {came:+,.2f} USDT, are taken out of returns and drawdown.")
    return {
        "ratios": ratios, "daily": daily, "monthly": _monthly(daily), "drawdown": drawdown, "enough": enough,
        "note": " ".join(notes), "as_of_ns": int(ts[-1]) if len(ts) else None,
    }  # fmt: skip


def _daily(ts: np.ndarray, equity: np.ndarray, earned: np.ndarray) -> list[dict[str, Any]]:
    """Return one row a UTC day: its return against the day before's last equity (the first day's: its first).

    ``earned`` is equity less what came in, money: its change is the day's profit.
    """
    rows: list[dict[str, Any]] = []
    if not len(ts):
        return rows
    days = ts // NS_PER_DAY
    last_of_day = np.flatnonzero(np.append(days[1:] != days[:-1], True))
    before, had = float(equity[0]), float(earned[0])
    for index in last_of_day:
        value, has = float(equity[index]), float(earned[index])
        date = str(np.datetime64(int(days[index]), "D"))
        rows.append({"date": date, "return": value / before - 1.0, "pnl": has - had})
        before, had = value, has
    return rows


def _monthly(daily: list[dict[str, Any]]) -> list[dict[str, Any]]:
    growth: dict[str, float] = {}
    for row in daily:
        month = row["date"][:7]
        growth[month] = growth.get(month, 1.0) * (1.0 + row["return"])
    return [{"month": month, "return": value - 1.0} for month, value in growth.items()]


def _ratios(equity: np.ndarray, returns: np.ndarray, enough: bool) -> dict[str, float | None]:
    names = ("sharpe", "sortino", "calmar", "cvar_95", "volatility", "win_rate", "profit_factor")
    ratios: dict[str, float | None] = dict.fromkeys(names)
    ratios["total_return"] = finite(equity[-1] / equity[0] - 1.0) if len(equity) > 1 else None
    ratios["max_drawdown"] = finite(metrics.max_drawdown(equity)) if len(equity) > 1 else None
    if not enough:
        return ratios
    gains, losses = returns[returns > 0].sum(), -returns[returns < 0].sum()
    ratios["sharpe"] = finite(metrics.sharpe_ratio(returns, 365.0))
    ratios["sortino"] = finite(metrics.sortino_ratio(returns, 365.0))
    years = len(returns) / 365.0
    cagr = float((equity[-1] / equity[0]) ** (1.0 / years) - 1.0)
    fall = ratios["max_drawdown"] or 0.0
    ratios["calmar"] = finite(cagr / fall) if fall > 0 else None
    ratios["cvar_95"] = finite(metrics.conditional_value_at_risk(returns, 0.95))
    ratios["volatility"] = finite(float(returns.std(ddof=1)) * math.sqrt(365.0))
    ratios["win_rate"] = float((returns > 0).mean())
    ratios["profit_factor"] = finite(float(gains / losses)) if losses > 0 else None
    return ratios


def _costs(loop: Loop, since: int, equity: np.ndarray, moved: float) -> dict[str, float | None]:
    """Return fees, funding and turnover; positive is paid. Funding explains the cash besides fills and transfers."""
    row = loop.store.rows(
        "SELECT coalesce(sum(fee), 0) AS fees, coalesce(sum(pnl_realized), 0) AS pnl, "
        "coalesce(sum(abs(qty * px)), 0) AS traded FROM fills WHERE account = ? AND ts_received >= ?",
        [loop.session.account_key, since],
    )[0]
    first = loop.store.rows("SELECT cash FROM equity WHERE ts >= ? ORDER BY ts LIMIT 1", [since])
    funding = None
    if first and since <= loop.began_ns:
        funding = finite(first[0]["cash"] + row["pnl"] - row["fees"] + moved - loop.account.cash)
    mean = float(equity.mean()) if len(equity) else math.nan
    return {"fees": row["fees"], "funding": funding, "traded": row["traded"], "turnover": finite(row["traded"] / mean)}
