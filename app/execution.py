"""How the Execution page writes parent orders and their cost: rows, numbers and sentences. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from app.formats import is_known, moment, number, percent, plural
from app.tables import Column, Figure

SIDE = {1: "▲ buy", -1: "▼ sell"}
ALGORITHMS = {
    "adaptive": "Adaptive", "twap": "TWAP", "vwap": "VWAP", "pov": "Share of volume", "almgren-chriss":
    "Almgren–Chriss", "iceberg": "Iceberg", "direct": "At once",
}  # fmt: skip
WAYS = tuple(name for name in ALGORITHMS if name != "direct")
FIELDS = {
    "adaptive": ("urgency", "cap", "cross"), "twap": ("cap", "cross"), "vwap": ("cap", "cross"),
    "pov": ("participation", "cross"), "almgren-chriss": ("urgency", "cap", "cross"),
    "iceberg": ("display", "hidden", "cap"),
}  # fmt: skip
"""What of a parent order can be chosen for each way, besides what all have."""

WAY_HELP = {
    "adaptive": "Waits at the touch, and pays the spread when waiting is expected to cost more",
    "twap": "The same quantity in every slice of the time", "vwap": "As the symbol's volume is spread over the day",
    "pov": "A share of everything that trades; what is left at the end is given up",
    "almgren-chriss": "More at first, the more urgent it is",
    "iceberg": "Rests at one price and shows a part of itself",
}  # fmt: skip
BACKTESTS = (
    "Backtests assume a wider spread: 0.01 of the last hour's volatility on top of the half spread, which this model "
    "does not have."
)
COEFFICIENTS = {
    "half_spread": ("Half spread, bp", 1e4), "impact": ("Impact factor (σ·√share)", 1.0),
    "permanent": ("Impact that stays (σ·share)", 1.0),
}  # fmt: skip

ENDED_COLUMNS = (
    Column("parent_id", "Order"), Column("ts_final", "Ended, UTC", "time"), Column("symbol", "Symbol"),
    Column("side", "Side"), Column("algorithm", "Way"), Column("status", "End"),
    Column("filled", "Filled", "bar", "Share of the quantity that filled"),
    Column("total_bps", "Shortfall, bp", "cost_bp", "Of the notional at the decision; positive is a cost"),
    Column("total", "Shortfall, USDT", "cost_money", "The sum of the five parts"),
    Column("delay", "Delay", "cost_money", "USDT: from the decision to the beginning"),
    Column("spread", "Spread", "cost_money", "USDT: against the mid when each child was sent"),
    Column("impact", "Impact and drift", "cost_money", "USDT: how the mid moved meanwhile, by us or by itself"),
    Column("fees", "Fees", "cost_money", "USDT"),
    Column("opportunity", "Not filled", "cost_money", "USDT: what did not fill, at the price of the end"),
    Column("arrival_bps", "Against arrival, bp", "cost_bp"), Column("vwap_bps", "Against VWAP, bp", "cost_bp"),
    Column("twap_bps", "Against TWAP, bp", "cost_bp"),
    Column("maker_share", "As maker", "bar"), Column("reason", "Why it ended"),
)  # fmt: skip
CHOICE_COLUMNS = (
    Column("way", "Way"), Column("cost_bps", "Expected cost, bp", "cost_bp", "Spread, impact, fees, of the notional"),
    Column("risk_bps", "± bp", "money", "One standard deviation of where the price goes meanwhile, for or against"),
    Column("cost", "Expected cost, USDT", "cost_money"),
)  # fmt: skip
MODEL_COLUMNS = (
    Column("name", "Number"), Column("assumed", "Assumed", "number"), Column("value", "From our fills", "number"),
    Column("error", "Standard error", "number", "Of the value; the assumption's own doubt while there are no fills"),
    Column("n", "Orders", "count"),
)  # fmt: skip


def title_of(parent: dict[str, Any]) -> str:
    """Return what a running parent is, in one line."""
    way = ALGORITHMS.get(parent["algorithm"], parent["algorithm"])
    limit = f", limit {number(parent['limit_px'], 2)}" if is_known(parent["limit_px"]) else ""
    reduce = ", reduce only" if parent["reduce_only"] else ""
    return f"{SIDE[parent['side']]} {parent['qty']:g} {parent['symbol']} · {way}{limit}{reduce}"


def state_of(parent: dict[str, Any], now_ns: int) -> str:
    """Return how far a running parent is and how long it has, in one line."""
    left_s = max(parent["ts_end"] - now_ns, 0) / 1e9
    parts = [f"**{parent['status']}**", f"{parent['filled_qty']:g} of {parent['qty']:g} filled"]
    parts.append(f"{percent(share_of(parent), 0)} where {percent(parent['due_qty'] / parent['qty'], 0)} is due by now")
    if parent["working_qty"]:
        parts.append(f"{parent['working_qty']:g} working")
    if parent["doubtful_qty"]:
        parts.append(f":orange[{parent['doubtful_qty']:g} in doubt]")
    if parent["written_off_qty"]:
        parts.append(f"{parent['written_off_qty']:g} given up after a lost order")
    parts.append(f"{left_s / 60:.1f} min left" if left_s else "past its end")
    if parent.get("max_participation"):
        allowed, cap = parent["allowed_qty"], percent(parent["max_participation"], 0)
        parts.append(f"{cap} of what trades allows {allowed:g} by now")
    if parent["reason"]:
        parts.append(parent["reason"])
    return " · ".join(parts)


def hold_sentence(parent: dict[str, Any]) -> str:
    """Return what a paused order of the strategy holds back and until when; empty for all others."""
    if not parent.get("holds_until"):
        return ""
    return (
        f"Paused: until {moment(parent['holds_until'])} UTC, when it expires, the strategy does not grow its position "
        f"in {parent['symbol']} in any other way. Resume or cancel it to end that; what takes risk off goes through."
    )


def share_of(parent: dict[str, Any]) -> float:
    """Return the filled share, 0 to 1."""
    return min(max(parent["filled_qty"] / parent["qty"], 0.0), 1.0)


def headline(answer: dict[str, Any], costs: dict[str, Any] | None) -> list[Figure]:
    """Return the headline numbers of the page."""
    running, ended = answer["running"], [row["quality"] for row in answer["ended"] if row["quality"]]
    known = [cost for cost in ended if is_known(cost["total"]) and is_known(cost["notional"])]
    notional = sum(cost["notional"] for cost in known)  # an order whose cost is unknown did not cost nothing
    mean = sum(cost["total"] for cost in known) / notional * 1e4 if notional > 0 else None
    maker = None if costs is None or costs["version"] is None else costs["model"]["maker_share"]
    return [
        Figure("At work", number(len(running), 0), "Parent orders that have not ended"),
        Figure("Ended", number(len(ended), 0), "The newest, with their cost measured"),
        Figure(
            "Shortfall, bp",
            number(mean, 2),
            f"Of the notional of the {len(known)} of these whose cost is known, fees included; positive is a cost",
        ),
        Figure("Filled as maker", percent(maker), "Share of our notional that added liquidity, by the newest fit"),
    ]


def ended_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return ended parents with their shortfall and its parts, newest first."""
    rows = []
    for parent in answer["ended"]:
        quality = parent["quality"] or {"parts": {}, "against": {}}
        rows.append({
            "parent_id": str(parent["parent_id"]), "ts_final": parent["ts_final"], "symbol": parent["symbol"],
            "side": SIDE[parent["side"]], "algorithm": ALGORITHMS.get(parent["algorithm"], parent["algorithm"]),
            "status": parent["status"], "filled": parent["filled_qty"] / parent["qty"],
            "total_bps": quality.get("total_bps"), "total": quality.get("total"),
            "maker_share": quality.get("maker_share"), "reason": parent["reason"],
        } | quality["parts"] | quality["against"])  # fmt: skip
    return pd.DataFrame(rows)


def model_rows(costs: dict[str, Any]) -> pd.DataFrame:
    """Return the model's numbers: assumed, fitted, with standard errors."""
    rows = []
    for name, (label, scale) in COEFFICIENTS.items():
        found = costs["model"][name]
        rows.append({
            "name": label, "assumed": found["assumed"] * scale, "value": found["value"] * scale,
            "error": found["error"] * scale, "n": found["n"],
        })  # fmt: skip
    for name, label in (("taker_fee", "Fee as taker, bp"), ("maker_fee", "Fee as maker, bp")):
        rows.append({
            "name": label, "assumed": costs["assumed"][name] * 1e4, "value": costs["model"][name] * 1e4,
            "error": None, "n": costs["model"]["n_children"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def model_sentence(costs: dict[str, Any]) -> str:
    """Return which model is in force and what it rests on."""
    version = costs["version"]
    if version is None:
        return f"No model has been fitted to this market yet: previews use what is assumed. {BACKTESTS}"
    where = "real money" if version["market"] == "live" else f"the practice exchange's {version['market']} market"
    return (
        f"Model {version['version']} of {moment(version['ts'])} UTC, from {plural(version['n_fills'], 'order')} of "
        f"ours and {plural(version['n_parents'], 'parent order')}, of {where} alone. Few fills move it little: each "
        f"number is drawn towards what was assumed. {BACKTESTS} They use the fit on request."
    )


def cost_sentence(costs: dict[str, Any]) -> str:
    """Return in a sentence how far what was paid is from what was assumed."""
    crossing = [row for row in costs["children"] if not row["rested"]]
    if not crossing:
        return "No order of ours has crossed the spread yet, so nothing can be compared."
    paid = sum(row["paid_bps"] * row["notional"] for row in crossing)
    assumed = sum(row["assumed_bps"] * row["notional"] for row in crossing)
    whole = sum(row["notional"] for row in crossing)
    return (
        f"{len(crossing)} orders that crossed the spread paid {paid / whole:.2f} bp against the mid on average; "
        f"{assumed / whole:.2f} bp were assumed. Fees come on top."
    )


def manner_words(ticket: dict[str, Any]) -> str:
    """Return how a reviewed order will be worked: the way, its time, and what else of it was chosen for that way."""
    way = ticket["algorithm"]
    words = [f"{ALGORITHMS[way]} within {ticket['minutes']:g} min"]
    if is_known(ticket.get("limit_px")):
        words.append(f"at {number(ticket['limit_px'], 2)} USDT at worst")
    if way in ("adaptive", "almgren-chriss"):
        words.append(f"urgency {ticket['urgency']:g}")
    if way == "pov":
        words.append(f"{percent(ticket['participation'], 1)} of the volume")
    if ticket.get("max_participation"):
        words.append(f"at most {percent(ticket['max_participation'], 1)} of what trades")
    if way == "iceberg":
        shown = ticket.get("display_qty")
        words.append(f"{shown:g} shown at once" if shown else "a twentieth shown at once")
        words += ["hidden"] * bool(ticket.get("hidden"))
    elif not ticket.get("passive", True):
        words.append("every part crosses the spread")
    return ", ".join(words)


def fee_words(preview: dict[str, Any]) -> str:
    """Return the expected fee, or its range while it is not known which part rests."""
    if is_known(preview.get("fee")):
        seen = preview.get("resting_orders")
        rests = f", {percent(preview['maker_share'], 0)} as maker by {plural(seen, 'resting order')}" if seen else ""
        return f"fee {number(preview['fee'], 4)} USDT ({number(preview['fee_rate'] * 1e4, 1, 'bp')}{rests})"
    low, high = preview["fee_rates"]
    return (
        f"fee {number(preview['fee_low'], 4)} to {number(preview['fee_high'], 4)} USDT (all maker "
        f"{number(low * 1e4, 1, 'bp')}, all taker {number(high * 1e4, 1, 'bp')}: no order of ours has rested yet)"
    )


def choice_rows(choices: list[dict[str, Any]], chosen: str) -> pd.DataFrame:
    """Return every way of working an order with what it is expected to cost; the chosen one is marked."""
    rows = []
    for row in choices:
        name = ALGORITHMS.get(row["algorithm"], row["algorithm"])
        name += ", if it fills" if row["algorithm"] == "iceberg" else ""
        rows.append({"way": f"→ {name}" if row["algorithm"] == chosen else name, "cost_bps": row["cost_bps"],
                     "risk_bps": row["risk_bps"], "cost": row["cost"]})  # fmt: skip
    return pd.DataFrame(rows)
