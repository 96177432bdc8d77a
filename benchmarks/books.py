"""Comparing two sets of books: what the engine believes and what the exchange holds, number by number.

Used by the chaos benchmarks. The engine's side comes from its Flight door while it runs, or from its database file when
it does not; the exchange's side from ``GET /sandbox/books``.
"""

from __future__ import annotations

import json
import math
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]

QTY_TOLERANCE = 1e-9
PX_TOLERANCE = 1e-6  # relative; average prices are printed with a limited number of digits
CENT = 0.01
MONEY_TOLERANCE = 1e-6  # per fill; the exchange counts in 1e-8
FINAL = frozenset({"FILLED", "CANCELED", "EXPIRED", "REJECTED"})
IN_DOUBT = frozenset({"INTENT", "SENT", "UNKNOWN"})


@dataclass(frozen=True, slots=True)
class OurBooks:
    """The engine's books. Rows have the columns of the tables ``orders``, ``fills`` and ``positions``."""

    orders: list[Row]
    fills: list[Row]
    positions: dict[str, float]  # signed base units, flat symbols left out
    cash: float  # quote currency


@dataclass(slots=True)
class Comparison:
    """What differs, in sentences. Everything empty means that the books are equal."""

    mismatches: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    orders: int = 0
    fills: int = 0

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.mismatches or self.duplicates or self.lost)


def venue_books(base_url: str, account: str | None = None, timeout_s: float = 10.0) -> Row:
    """Return the exchange's own books of an account, by default of its test account."""
    question = f"?account={account}" if account else ""
    with urllib.request.urlopen(f"{base_url}/sandbox/books{question}", timeout=timeout_s) as answer:
        return dict(json.loads(answer.read()))


def books_over_flight(door: Any) -> OurBooks:
    """Return the books of a running engine; ``door`` is a ``measuring.EngineDoor``."""
    orders = door.read(table="orders", limit=200_000).to_pylist()
    fills = door.read(table="fills", limit=200_000).to_pylist()
    positions = door.read(table="positions").to_pylist()
    cash = door.ask("status")["cash"]
    held = {row["symbol"]: row["qty"] for row in positions if row["qty"]}
    return OurBooks(orders, fills, held, math.nan if cash is None else float(cash))


def books_of_file(path: Path) -> OurBooks:
    """Return the books in the database file of an engine that does not run. Positions follow from the fills."""
    import duckdb

    with duckdb.connect(str(path), read_only=True) as connection:

        def rows(query: str) -> list[Row]:
            return connection.execute(query).fetch_arrow_table().to_pylist()

        fills = rows("SELECT * FROM fills ORDER BY ts_filled")
        newest = rows("SELECT cash FROM equity ORDER BY ts DESC LIMIT 1")
        held: Counter[str] = Counter()
        for fill in fills:
            held[fill["symbol"]] += fill["qty"]
        positions = {symbol: qty for symbol, qty in held.items() if abs(qty) > QTY_TOLERANCE}
        orders = rows("SELECT * FROM orders ORDER BY ts_intent")
        return OurBooks(orders, fills, positions, float(newest[0]["cash"]) if newest else math.nan)


def compare(ours: OurBooks, venue: Row, *, since_ns: int = 0) -> Comparison:
    """Return what differs between the engine's books and the exchange's.

    Parameters
    ----------
    ours : OurBooks
    venue : dict
        From ``venue_books``.
    since_ns : int
        Our orders and fills from before this moment belong to an earlier exchange and are left out.
    """
    orders = [row for row in ours.orders if (row["ts_intent"] or 0) >= since_ns]
    fills = [row for row in ours.fills if (row["ts_received"] or 0) >= since_ns]
    found = Comparison(orders=len(venue["orders"]), fills=len(venue["fills"]))
    _compare_orders(found, {row["client_id"]: row for row in orders}, venue["orders"])
    _compare_fills(found, fills, venue["fills"])
    _compare_positions(found, ours.positions, venue["positions"])
    _compare_money(found, ours.cash, fills, venue)
    return found


def _compare_orders(found: Comparison, ours: dict[str, Row], venue: list[Row]) -> None:
    times = Counter(row["clientOrderId"] for row in venue)
    found.duplicates += [f"order {client_id} is {n} times at the venue" for client_id, n in times.items() if n > 1]
    for theirs in venue:
        mine = ours.get(theirs["clientOrderId"])
        if mine is None:
            found.lost.append(f"order {theirs['clientOrderId']} is at the venue and not in our record")
        else:
            _compare_order(found, mine, theirs)
    for client_id, mine in ours.items():
        if client_id not in times and mine["status"] not in ("REJECTED", "INTENT"):
            found.mismatches.append(f"order {client_id}: ours {mine['status']}, the venue has none")


def _compare_order(found: Comparison, mine: Row, theirs: Row) -> None:
    client_id, status = mine["client_id"], theirs["status"]
    if mine["status"] != status:
        found.mismatches.append(f"order {client_id}: ours {mine['status']}, the venue's {status}")
    if abs((mine["filled_qty"] or 0.0) - float(theirs["executedQty"])) > QTY_TOLERANCE:
        found.mismatches.append(f"order {client_id}: filled ours {mine['filled_qty']}, theirs {theirs['executedQty']}")
    elif float(theirs["executedQty"]) and not math.isclose(
        mine["avg_px"] or 0.0, float(theirs["avgPrice"]), rel_tol=PX_TOLERANCE, abs_tol=0.01
    ):
        found.mismatches.append(f"order {client_id}: average ours {mine['avg_px']}, theirs {theirs['avgPrice']}")


def _compare_fills(found: Comparison, ours: list[Row], venue: list[Row]) -> None:
    mine = {(row["symbol"], str(row["trade_id"])): row for row in ours}
    if len(mine) != len(ours):
        found.duplicates.append(f"{len(ours) - len(mine)} fills are twice in our record")
    known = set()
    for theirs in venue:
        key = (theirs["symbol"], str(theirs["id"]))
        known.add(key)
        row = mine.get(key)
        if row is None:
            found.lost.append(f"fill {key[1]} of {key[0]} is at the venue and not in our record")
            continue
        sign = 1.0 if theirs["buyer"] else -1.0
        pairs = (
            ("quantity", row["qty"], sign * float(theirs["qty"]), QTY_TOLERANCE),
            ("price", row["px"], float(theirs["price"]), PX_TOLERANCE),
            ("fee", row["fee"], float(theirs["commission"]), MONEY_TOLERANCE),
            ("profit", row["pnl_realized"], float(theirs["realizedPnl"]), MONEY_TOLERANCE),
        )
        for name, have, want, tolerance in pairs:
            if have is None or abs(have - want) > tolerance:
                found.mismatches.append(f"fill {key[1]} of {key[0]}: {name} ours {have}, theirs {want}")
    extra = set(mine) - known
    found.duplicates += [f"fill {trade_id} of {symbol} is not at the venue" for symbol, trade_id in sorted(extra)]


def _compare_positions(found: Comparison, ours: dict[str, float], venue: list[Row]) -> None:
    theirs = {row["symbol"]: float(row["positionAmt"]) for row in venue}
    for symbol in sorted({*ours, *theirs}):
        have, want = ours.get(symbol, 0.0), theirs.get(symbol, 0.0)
        if abs(have - want) > QTY_TOLERANCE:
            found.mismatches.append(f"position {symbol}: ours {have:g}, the venue's {want:g}")


def _compare_money(found: Comparison, cash: float, fills: list[Row], venue: Row) -> None:
    wallet = float(venue["balances"]["wallet"])
    if not abs(cash - wallet) < CENT:
        found.mismatches.append(f"cash: ours {cash:.4f}, the venue's {wallet:.4f}")
    realized = sum(row["pnl_realized"] or 0.0 for row in fills)
    theirs = sum(float(row["realizedPnl"]) for row in venue["fills"])
    if abs(realized - theirs) > CENT:
        found.mismatches.append(f"realised profit: ours {realized:.4f}, the venue's {theirs:.4f}")
