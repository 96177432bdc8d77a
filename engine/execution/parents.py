"""Parent orders: a large order that an algorithm works in small children, and everything that may happen to it.

A parent is a value. What it has done is told by its children alone, which are ordinary orders on the record: their
ids carry the parent's. So nothing about quantities can differ between the two after a crash.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from engine.domain import NS_PER_S, Purpose
from engine.errors import CommandRefused
from engine.execution.orders import QTY_EPSILON, Order, none_if_nan
from engine.execution.planner import IN_DOUBT


class Algorithm(StrEnum):
    """How a parent's quantity is spread over time; ``engine.execution.schedule`` has the formulas."""

    TWAP = "twap"
    VWAP = "vwap"
    POV = "pov"
    ALMGREN_CHRISS = "almgren-chriss"
    ADAPTIVE = "adaptive"
    ICEBERG = "iceberg"


class ParentStatus(StrEnum):
    """Life of a parent. STOPPING waits until no child can fill any more, then becomes what ``ending`` says."""

    WORKING = "WORKING"
    PAUSED = "PAUSED"
    STOPPING = "STOPPING"
    DONE = "DONE"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"


ENDED = frozenset({ParentStatus.DONE, ParentStatus.CANCELED, ParentStatus.EXPIRED})


class ParentSpec(NamedTuple):
    """What is wanted. Times in ns, ``qty`` in base units, ``limit_px`` NaN when any price will do."""

    symbol: str
    side: int
    qty: float
    algorithm: str
    ts_start: int
    ts_end: int
    limit_px: float = math.nan
    reduce_only: bool = False
    purpose: str = Purpose.MANUAL.value
    urgency: float = 1.0  # almgren-chriss and adaptive: kappa times the duration; 0 is TWAP, 3 is in a hurry
    participation: float = 0.1  # pov: our share of everything that trades, in (0, 1)
    display_qty: float = 0.0  # iceberg: what one child shows, base units; 0: a twentieth
    hidden: bool = False  # iceberg: children rest without being shown
    passive: bool = True  # post at the touch first; off: every child crosses the spread
    max_participation: float = 0.0  # of everything that trades, for every algorithm; 0: no cap


@dataclass(frozen=True, slots=True)
class Parent:
    """A parent as it is now. The schedule in force began at ``ts_from`` with ``base_qty`` behind it."""

    parent_id: int
    spec: ParentSpec
    status: ParentStatus
    ts_created: int
    ts_from: int
    base_qty: float = 0.0
    decision_id: int = 0
    decision_px: float = math.nan
    arrival_px: float = math.nan
    actor: str = ""
    reason: str = ""
    ending: str = ""
    ts_final: int = 0
    n_replaced: int = 0

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will be sent for it, and nothing it sent can fill."""
        return self.status in ENDED

    def row(self, account: str, tally: Tally) -> dict[str, Any]:
        """Return the parent as a row of table ``parents``, with what its children had come to when it was written."""
        spec, state = self.spec, self
        return {
            "account": account, "parent_id": state.parent_id, "symbol": spec.symbol, "side": spec.side,
            "qty": spec.qty, "algorithm": spec.algorithm, "status": str(state.status), "filled_qty": tally.filled,
            "avg_px": none_if_nan(tally.avg_px), "decision_id": state.decision_id,
            "decision_px": none_if_nan(state.decision_px), "arrival_px": none_if_nan(state.arrival_px),
            "ts_created": state.ts_created, "ts_start": spec.ts_start, "ts_end": spec.ts_end,
            "ts_final": state.ts_final, "reason": state.reason, "actor": state.actor, "purpose": spec.purpose,
            "state": json.dumps({
                "limit_px": none_if_nan(spec.limit_px), "reduce_only": spec.reduce_only, "urgency": spec.urgency,
                "participation": spec.participation, "display_qty": spec.display_qty, "hidden": spec.hidden,
                "passive": spec.passive, "max_participation": spec.max_participation,
                "ts_from": state.ts_from, "base_qty": state.base_qty,
                "ending": state.ending, "n_replaced": state.n_replaced,
            }),
        }  # fmt: skip


def from_row(row: dict[str, Any]) -> Parent:
    """Return the parent that ``row`` wrote."""

    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    kept = json.loads(row["state"])
    spec = ParentSpec(
        row["symbol"], int(row["side"]), float(row["qty"]), row["algorithm"], int(row["ts_start"]),
        int(row["ts_end"]), number(kept["limit_px"]), bool(kept["reduce_only"]), row["purpose"],
        float(kept["urgency"]), float(kept["participation"]), float(kept["display_qty"]), bool(kept["hidden"]),
        bool(kept["passive"]), float(kept.get("max_participation", 0.0)),
    )  # fmt: skip
    return Parent(
        int(row["parent_id"]), spec, ParentStatus(row["status"]), int(row["ts_created"]), int(kept["ts_from"]),
        float(kept["base_qty"]), int(row["decision_id"] or 0), number(row["decision_px"]), number(row["arrival_px"]),
        row["actor"] or "", row["reason"] or "", kept["ending"], int(row["ts_final"] or 0), int(kept["n_replaced"]),
    )  # fmt: skip


class Tally(NamedTuple):
    """What a parent's children have come to, base units, unsigned."""

    filled: float
    working: float  # may still fill, and the venue has said so
    doubtful: float  # may still fill, or may not exist
    written_off: float  # of children that the venue denied twice: never counted on, never sent again
    avg_px: float  # of what filled; NaN when nothing did

    @property
    def committed(self) -> float:
        """What has filled or might: the parent's quantity less this is all that may be sent."""
        return self.filled + self.working + self.doubtful + self.written_off


def tally(children: Sequence[Order]) -> Tally:
    """Add up children. A child that was given up as not found keeps its quantity: the venue may have been wrong."""
    filled = worth = working = doubtful = written_off = 0.0
    for child in children:
        filled += child.filled_qty
        worth += child.filled_qty * child.avg_px if child.filled_qty > 0 else 0.0
        if child.is_written_off:
            written_off += max(child.spec.qty - child.filled_qty, 0.0)
        elif child.status in IN_DOUBT:
            doubtful += child.leaves_qty
        else:
            working += child.leaves_qty
    return Tally(filled, working, doubtful, written_off, worth / filled if filled > 0 else math.nan)


def paused(parent: Parent) -> Parent:
    """Return the parent without permission to send.

    Raises
    ------
    CommandRefused
        It is not working.
    """
    if parent.status != ParentStatus.WORKING:
        raise CommandRefused(f"Parent order {parent.parent_id} is {parent.status}: only one that works can be paused.")
    return replace(parent, status=ParentStatus.PAUSED)


def resumed(parent: Parent, committed: float, now: int) -> Parent:
    """Return the parent at work again; what is left is spread anew over the time that is left.

    Raises
    ------
    CommandRefused
        It is not paused, or its end has passed.
    """
    if parent.status != ParentStatus.PAUSED:
        raise CommandRefused(f"Parent order {parent.parent_id} is {parent.status}: only a paused one can be resumed.")
    if now >= parent.spec.ts_end:
        raise CommandRefused(
            f"The end of parent order {parent.parent_id} passed while it was paused: give it a new one (replace) first."
        )
    return replace(parent, status=ParentStatus.WORKING, ts_from=now, base_qty=committed)


def stopping(parent: Parent, ending: ParentStatus, reason: str) -> Parent:
    """Return the parent on its way to an end: its children are cancelled, nothing new is sent."""
    if parent.is_ended:
        raise CommandRefused(f"Parent order {parent.parent_id} is {parent.status} already: there is nothing to cancel.")
    if parent.status == ParentStatus.STOPPING:
        return parent
    return replace(parent, status=ParentStatus.STOPPING, ending=str(ending), reason=reason)


def brought_to_end(parent: Parent, ending: ParentStatus, why: str, children: Sequence[Order], now: int) -> Parent:
    """Return the parent after a step that said stop: at its end when no child can fill any more, else STOPPING."""
    if parent.status != ParentStatus.STOPPING:
        parent = stopping(parent, ending, why or parent.reason)
    if any(not child.is_final for child in children):
        return parent
    return finished(parent, now, tally(children).filled)


def finished(parent: Parent, now: int, filled: float) -> Parent:
    """Return the parent at its end; one that filled whole is DONE, whatever it was stopped for."""
    whole = filled >= parent.spec.qty - QTY_EPSILON
    status = ParentStatus.DONE if whole else ParentStatus(parent.ending or ParentStatus.EXPIRED)
    return replace(parent, status=status, ts_final=now)


def replaced(parent: Parent, committed: float, now: int, changes: dict[str, Any]) -> Parent:
    """Return the parent with another quantity, limit price or end; the rest is scheduled anew from now.

    Parameters
    ----------
    committed : float
        What has filled or might, base units: the new quantity may not be below it.
    changes : dict
        Any of ``qty`` (base), ``limit_px``, ``ts_end`` (ns).

    Raises
    ------
    CommandRefused
        It is not working or paused, or the change is impossible.
    """
    if parent.status not in (ParentStatus.WORKING, ParentStatus.PAUSED):
        raise CommandRefused(f"Parent order {parent.parent_id} is {parent.status}: it cannot be changed any more.")
    spec = parent.spec._replace(**changes)
    if spec.qty < committed - QTY_EPSILON or not spec.qty > 0:
        raise CommandRefused(
            f"Parent order {parent.parent_id} has {committed:g} filled or under way, and {spec.qty:g} was asked for. "
            "Pause it, wait until its child is cancelled, and replace it then; or cancel it."
        )
    if spec.ts_end <= now:
        raise CommandRefused(f"The new end is {(now - spec.ts_end) / NS_PER_S:.0f} s ago: choose one to come.")
    return replace(parent, spec=spec, ts_from=now, base_qty=committed, n_replaced=parent.n_replaced + 1)
