"""How the Health page writes certificates and drift: rows and sentences from the engine's answers. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from app.formats import UNKNOWN, age, is_known, moment, number
from app.tables import Column
from engine.domain import NS_PER_S

PARTS = (
    ("rounding", "Rounding", "Lots and smallest orders of the venue"),
    ("data", "Data", "What the decisions saw against what is stored, and marks against closes"),
    ("signal_time", "Signal time", "Decisions that were late or missing"),
    ("veto", "Veto", "Kill switch, gate, stops, a person: not carried out as the replay would"),
    ("latency", "Latency", "Mid at sending against the next open"),
    ("fill", "Fill", "Executed price and quantity against the mid at sending"),
    ("fee", "Fee", "Charged against the replay's rate"),
    ("funding", "Funding", "Paid against the announced rates"),
    ("residual", "Residual", "What the record cannot explain"),
)
DRIFT_COLUMNS = (
    Column("state", "State", "verdict", "Within or beyond the limit a day", 95),
    Column("day", "Day, UTC", "text", "", 95),
    Column(
        "pnl_recorded", "Recorded, USDT", "signed_money", "Profit of the account between its first and last decision"
    ),
    Column("pnl_replayed", "Replayed, USDT", "signed_money", "Profit of the same day through the backtester"),
    *(Column(name, title, "signed_money", f"{meaning}; USDT") for name, title, meaning in PARTS),
    Column("drift_bps", "Drift, bp", "number", "Recorded minus replayed, basis points of equity", 80),
)


def certificate_sentence(found: dict[str, Any], now_ns: int) -> tuple[str, str]:
    """Return what the certificate says, and its tone: ``good``, ``bad`` or ``none``."""
    name = f"version {str(found.get('strategy_version') or UNKNOWN)[:8]} of {found['strategy']}"
    if found["status"] == "pass":
        when = age((now_ns - found["ts"]) / NS_PER_S) if is_known(found["ts"]) else UNKNOWN
        return f"**Pass**: {name}. {found['decisions']} decisions alike to the bit, signed {when} ago.", "good"
    if found["status"] == "fail":
        first = (found.get("sentences") or ["no difference was named"])[0]
        differences = number(found["differences"], 0)
        said = f"{differences} differences in {found['decisions']} decisions: {first}"
        return f"**Fail**: {name}, signed {moment(found['ts'])} UTC. {said}.", "bad"
    why = f" {found['why']}." if found.get("why") else ""
    return f"**None** for {name}: it has not been shown that it decides live as it does in a backtest.{why}", "none"


def making_words(found: dict[str, Any], now_ns: int) -> str:
    """Return what the button says while a certificate is made: for how long it has been."""
    return f"Certifying … {age(max(now_ns - found['running_since'], 0) / NS_PER_S)}"


def certificate_details(found: dict[str, Any]) -> str:
    """Return how it was made, in one line; empty without a certificate."""
    tape, paths = found.get("tape"), found.get("paths")
    if not tape or not paths:
        return ""
    parts = [f"{name} {path['decisions']} decisions, {path['traded']} with orders" for name, path in paths.items()]
    own = found.get("own_account")
    told = f" {own} follow the strategy's own account and were compared from the same record." if own else ""
    return (
        f"Tape of {' and '.join(tape['symbols'])}: "
        + "; ".join(parts)
        + f".{told} Signature {found['signature'][:16]}…"
    )


def drift_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a row a measured day, newest first."""
    marked = [
        {**row, "state": "▲ within" if str(row.get("verdict", "")).startswith("within") else "▼ beyond"} for row in rows
    ]
    return pd.DataFrame(marked, columns=[column.name for column in DRIFT_COLUMNS])


def drift_sentence(rows: list[dict[str, Any]]) -> str:
    """Say what the newest measured day shows."""
    newest = rows[0]
    return f"{newest['day']}: {newest['verdict']}. {newest['n_decisions']} decisions, {newest['n_fills']} fills."
