"""The engine's status as a person reads it: UTC times with their ages, per cent, and sentences. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from engine.domain import NS_PER_S, KillLevel, TradingState

UNKNOWN = "unknown"
MINUTE_S, HOUR_S, DAY_S = 60.0, 3_600.0, 86_400.0


def moment(ns: int) -> str:
    """Write a moment in UTC, to the second.

    Examples
    --------
    >>> moment(1_795_705_391_400_560_391)
    '2026-11-26 15:03:11 UTC'
    """
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(ns // NS_PER_S))


def span(seconds: float) -> str:
    """Write a length of time in its two largest units.

    Examples
    --------
    >>> span(0.04), span(75), span(7_300), span(200_000)
    ('0.0 s', '1 min 15 s', '2 h 1 min', '2 d 7 h')
    """
    if seconds < MINUTE_S:
        return f"{seconds:.1f} s"
    if seconds < HOUR_S:
        return f"{int(seconds // MINUTE_S)} min {int(seconds % MINUTE_S)} s"
    if seconds < DAY_S:
        return f"{int(seconds // HOUR_S)} h {int(seconds % HOUR_S // MINUTE_S)} min"
    return f"{int(seconds // DAY_S)} d {int(seconds % DAY_S // HOUR_S)} h"


def at(ns: int, now_ns: int) -> str:
    """Write a moment and how far it is from now."""
    apart = (now_ns - ns) / NS_PER_S
    return f"{moment(ns)}, {span(apart)} ago" if apart >= 0.0 else f"{moment(ns)}, in {span(-apart)}"


def status_words(status: dict[str, Any]) -> dict[str, str]:
    """Return the lines of ``python -m engine status``, but for those about models.

    Parameters
    ----------
    status : dict
        As ``engine.runtime.status.engine_status`` gives it. None in it is unknown, but for ``kill_reason`` and
        ``storage_trouble``, where it says that there is none. What is not known here is written as it is.

    Returns
    -------
    dict of str to str
        Ages are of the engine's clock; the market's, which may run faster, is one of its own.
    """
    now = int(status["now_ns"])
    market = int(status.get("market_ns") or now)
    write: dict[str, tuple[str, Callable[[Any], str]]] = {
        "started_ns": ("running since", lambda ns: at(ns, now)), "now_ns": ("as of", moment),
        "market_ns": ("market's clock", moment), "speed": ("market's speed", lambda x: f"{x:g} x the clock's"),
        "next_decision_ns": ("next decision", lambda ns: at(ns, market)),
        "trading_state": ("new risk", lambda x: TradingState(x).name.lower().replace("_", " ")),
        "kill_level": ("kill switch", lambda x: KillLevel(x).name.lower()),
        "last_event_age_s": ("newest price", _ago), "feeds": ("streams", _feeds),
        "last_decision": ("last decision", lambda row: _decision(row, market)),
        "last_reconcile": ("books compared", lambda row: _comparison(row, now)),
        "symbols": ("symbols", ", ".join), "clock_skew_ms": ("clock against the venue's", lambda x: f"{x:+.0f} ms"),
        "last_time_to_flat_s": ("last flattening took", span),
    }  # fmt: skip
    write |= {name: (words, _money) for name, words in MONEY.items()}
    write |= {name: (words, _percent) for name, words in SHARES.items()}
    none = {name: "none" for name in ("kill_reason", "storage_trouble") if status.get(name) is None}
    lines = {}
    for name, value in status.items():
        if name != "models":
            words, shown = write.get(name, (name.replace("_", " "), str))
            lines[words] = none.get(name) or (UNKNOWN if value is None else shown(value))
    return lines


def status_lines(models: dict[str, Any] | None) -> dict[str, Any]:
    """Return the models' part of the status in words, a line each; see ``engine.runtime.model_state``."""
    if models is None:
        return {"set in use": "this engine runs no models"}
    lines: dict[str, Any] = {"set in use": models["set"] or "none"}
    if models["set"] is not None:
        left = models["expires_in_days"]
        expiry = f"expires in {left:.0f} days" if left > 0 else "has expired: train it again"
        lines["age"] = f"{span(DAY_S * models['age_days'])}, {expiry}"
        lines["members on"] = ", ".join(models["on"]) or "none"
        lines["left out"] = "; ".join(f"{name}: {why}" for name, why in models["left_out"].items()) or "nobody"
        lines["challenger"] = models["challenger"] or "none"
    return lines | {"share of a decision": f"{100 * models['share']:.0f} %", "because": models["why"]}


MONEY = {
    "equity": "equity", "cash": "cash", "pnl_unrealized": "open profit", "day_pnl": "profit today",
    "peak_equity": "highest equity", "unexplained": "unexplained by the ledger",
}  # fmt: skip
SHARES = {
    "day_pnl_pct": "return today", "day_worst": "deepest loss today", "drawdown": "drawdown",
    "max_daily_loss": "daily loss allowed", "max_total_drawdown": "drawdown allowed",
    "gross_weight": "exposure of equity", "margin_ratio": "maintenance margin of equity",
}  # fmt: skip


def _money(value: float) -> str:
    return f"{value:,.2f} USDT"


def _percent(fraction: float) -> str:
    return f"{100.0 * fraction:.2f} %"


def _ago(seconds: float) -> str:
    return f"{span(seconds)} ago"


def _feeds(rows: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{row['name']} {row['state']}, {UNKNOWN if row['age_s'] is None else 'newest ' + _ago(row['age_s'])}"
        for row in rows
    )


def _decision(row: dict[str, Any], market_ns: int) -> str:
    orders = f"{row['n_orders']} order{'' if row['n_orders'] == 1 else 's'}"
    return f"{row['decision_id']}, of the bar that closed {at(row['ts_close'], market_ns)}: {orders}. {row['summary']}"


def _comparison(row: dict[str, Any], now_ns: int) -> str:
    verdict = row["message"] if row["ok"] else f"NOT AGREEING, {row['mismatches']} differences: {row['message']}"
    return f"{at(row['ts'], now_ns)}: {verdict}"
