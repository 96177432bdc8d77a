"""Our orders and their states. Applying the same news twice, or in another order, ends in the same state."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from engine.domain import FINAL_STATUSES, ApprovedOrder, Fill, OrderSpec, OrderStatus, OrderUpdate, Purpose

QTY_EPSILON = 1e-12
NO_SUCH_ORDER = "the venue has no such order"

# How far along its life an order is; news may only move it onwards.
_RANK = {
    OrderStatus.INTENT: 0,
    OrderStatus.SENT: 1,
    OrderStatus.UNKNOWN: 2,
    OrderStatus.NEW: 3,
    OrderStatus.PARTIALLY_FILLED: 4,
    OrderStatus.FILLED: 6,
    OrderStatus.CANCELED: 5,
    OrderStatus.EXPIRED: 5,
    OrderStatus.REJECTED: 5,
}


@dataclass(frozen=True, slots=True)
class Order:
    """One of our orders as far as we know. ``filled_qty`` is unsigned, base units."""

    client_id: str
    decision_id: int
    spec: OrderSpec
    status: OrderStatus
    venue_order_id: str = ""
    filled_qty: float = 0.0
    avg_px: float = math.nan
    decision_px: float = math.nan
    arrival_px: float = math.nan
    ts_intent: int = 0
    ts_sent: int = 0
    ts_acked: int = 0
    ts_final: int = 0
    reason: str = ""
    not_found: int = 0
    cancel_sent_ns: int = 0
    unknown_since_ns: int = 0

    @property
    def is_final(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.status in FINAL_STATUSES

    @property
    def is_written_off(self) -> bool:
        """Whether it was closed because the venue denied it: nobody ever saw its end."""
        return self.is_final and self.reason == NO_SUCH_ORDER and self.status != OrderStatus.FILLED

    @property
    def leaves_qty(self) -> float:
        """Unfilled remainder, base units; 0 when final."""
        return 0.0 if self.is_final else max(self.spec.qty - self.filled_qty, 0.0)

    @property
    def in_flight_qty(self) -> float:
        """Signed remainder that may still move the position; a resting stop does not count."""
        counts = self.spec.purpose in (Purpose.TARGET, Purpose.MANUAL, Purpose.FLATTEN) and math.isnan(
            self.spec.stop_px
        )
        return self.leaves_qty * self.spec.side if counts else 0.0

    def row(self) -> dict[str, Any]:
        """Return the order as a row of table ``orders``."""
        spec = self.spec
        return {
            "client_id": self.client_id, "decision_id": self.decision_id, "symbol": spec.symbol, "side": spec.side,
            "order_type": str(spec.order_type), "tif": str(spec.tif), "qty": spec.qty,
            "limit_px": none_if_nan(spec.limit_px), "stop_px": none_if_nan(spec.stop_px),
            "reduce_only": spec.reduce_only, "close_position": spec.close_position, "purpose": str(spec.purpose),
            "status": str(self.status), "venue_order_id": self.venue_order_id, "filled_qty": self.filled_qty,
            "avg_px": none_if_nan(self.avg_px), "decision_px": none_if_nan(self.decision_px),
            "ts_intent": self.ts_intent, "ts_sent": self.ts_sent, "ts_acked": self.ts_acked,
            "ts_final": self.ts_final, "reason": self.reason,
        }  # fmt: skip


def none_if_nan(value: float) -> float | None:
    """Return None for NaN: unknown is NULL on disk."""
    return None if math.isnan(value) else value


def new_order(approved: ApprovedOrder, ts_intent: int, arrival_px: float = math.nan) -> Order:
    """Return the intent of an approved order, before it is written or sent."""
    return Order(
        approved.client_id, approved.decision_id, approved.spec, OrderStatus.INTENT,
        decision_px=approved.decision_px, arrival_px=arrival_px, ts_intent=ts_intent,
    )  # fmt: skip


def adopt(update: OrderUpdate) -> Order:
    """Return an order that the venue has and we did not make: shown, counted, not fought."""
    spec = OrderSpec(
        update.symbol, update.side, update.order_type, update.qty, update.limit_px, update.stop_px, update.tif,
        update.reduce_only, update.close_position, Purpose.EXTERNAL,
    )  # fmt: skip
    order = Order(update.client_id, 0, spec, OrderStatus.SENT, ts_intent=update.ts_exchange)
    return apply_update(order, update)


def from_row(row: dict[str, Any]) -> Order:
    """Return the order that ``row`` wrote."""

    def number(name: str) -> float:
        return math.nan if row[name] is None else float(row[name])

    spec = OrderSpec(
        row["symbol"], int(row["side"]), row["order_type"], float(row["qty"]), number("limit_px"), number("stop_px"),
        row["tif"], bool(row["reduce_only"]), bool(row["close_position"]), row["purpose"],
    )  # fmt: skip
    return Order(
        row["client_id"], int(row["decision_id"]), spec, OrderStatus(row["status"]), row["venue_order_id"] or "",
        float(row["filled_qty"] or 0.0), number("avg_px"), number("decision_px"), math.nan, int(row["ts_intent"] or 0),
        int(row["ts_sent"] or 0), int(row["ts_acked"] or 0), int(row["ts_final"] or 0), row["reason"] or "",
    )  # fmt: skip


def sent(order: Order, ts: int) -> Order:
    """Mark an intent as handed to the socket."""
    return replace(order, status=OrderStatus.SENT, ts_sent=ts)


def unknown(order: Order, reason: str, ts: int = 0) -> Order:
    """Mark that no trustworthy answer came. News that came before the failure stands."""
    return order if _RANK[order.status] > _RANK[OrderStatus.UNKNOWN] else doubted(order, reason, ts)


def doubted(order: Order, reason: str, ts: int) -> Order:
    """Mark that what was known of the order is in question: the venue contradicts itself."""
    return replace(order, status=OrderStatus.UNKNOWN, reason=reason, not_found=0, unknown_since_ns=ts)


def rejected(order: Order, reason: str, ts: int) -> Order:
    """Mark that the venue refused, or that the order never left us."""
    return replace(order, status=OrderStatus.REJECTED, reason=reason, ts_final=ts)


def expired(order: Order, reason: str, ts: int) -> Order:
    """Mark that the rest of the order is gone."""
    return replace(order, status=OrderStatus.EXPIRED, reason=reason, ts_final=ts)


def apply_update(order: Order, update: OrderUpdate) -> Order:
    """Return the order after the venue's word. Late or repeated news changes nothing."""
    status = OrderStatus(update.status)
    newer = _RANK[status] >= _RANK[order.status] and not order.is_final
    filled_qty = max(order.filled_qty, update.filled_qty)
    covers = update.filled_qty >= order.filled_qty - QTY_EPSILON and not math.isnan(update.avg_px)
    avg_px = update.avg_px if covers else order.avg_px
    if not newer and (filled_qty, none_if_nan(avg_px)) == (order.filled_qty, none_if_nan(order.avg_px)):
        return order
    final = newer and status in FINAL_STATUSES
    return replace(
        order,
        status=status if newer else order.status,
        venue_order_id=update.venue_order_id or order.venue_order_id,
        filled_qty=filled_qty,
        avg_px=avg_px,
        ts_acked=order.ts_acked or update.ts_received,
        ts_final=update.ts_received if final else order.ts_final,
    )


def revived(order: Order) -> Order:
    """Return a refused order as one in doubt: the venue speaks of it after all."""
    return replace(order, status=OrderStatus.UNKNOWN, ts_final=0, not_found=0)


def apply_fill(order: Order, fill: Fill, filled_before: float) -> Order:
    """Return the order after one fill; ``filled_before`` is what its fills summed to until now (unsigned)."""
    order = replace(order, venue_order_id=order.venue_order_id or fill.venue_order_id)
    filled = filled_before + abs(fill.qty)
    if filled <= order.filled_qty + QTY_EPSILON:
        return order
    known_px = order.avg_px if filled_before > 0 and not math.isnan(order.avg_px) else 0.0
    avg_px = (known_px * filled_before + fill.px * abs(fill.qty)) / filled
    full = not order.spec.close_position and filled >= order.spec.qty - QTY_EPSILON
    status = OrderStatus.FILLED if full else OrderStatus.PARTIALLY_FILLED
    if order.is_final and not full:
        status = order.status
    return replace(
        order, filled_qty=filled, avg_px=avg_px, status=status, ts_acked=order.ts_acked or fill.ts_received,
        ts_final=fill.ts_received if full else order.ts_final,
    )  # fmt: skip
