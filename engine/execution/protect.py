"""Protective stops: one close-position stop on the exchange for every position, none for a flat symbol."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.domain import NS_PER_S, Instrument, OrderSpec, OrderStatus, OrderType, Purpose, Side, Tif
from engine.execution.orders import Order
from engine.execution.planner import CANCEL_RETRY_S, IN_DOUBT, NOTHING, Plan

MOVE_TOLERANCE = 0.1  # of the stop's distance: smaller moves of the entry price do not move the stop


def protective_stop(
    symbol: str,
    position_qty: float,
    entry_px: float,
    mark_px: float,
    stops: Sequence[Order],
    distance: float,
    instrument: Instrument,
    now: int,
) -> Plan:
    """Return what to do about one symbol's protective stop.

    Parameters
    ----------
    position_qty : float
        Signed base units.
    entry_px, mark_px : float
        Quote per base. A position already beyond its stop gets one at ``distance`` from the mark instead, since the
        venue refuses a stop that would trigger at once.
    stops : sequence of Order
        This symbol's orders of purpose PROTECT that are not final.
    distance : float
        Fraction of the entry price.

    Notes
    -----
    The venue takes one close-position stop per direction. A stop that only moves is cancelled and placed anew in the
    same plan; a stop on the wrong side goes after the right one stands.
    """
    live = [order for order in stops if order.status not in IN_DOUBT]
    if len(live) != len(stops):
        return NOTHING
    if position_qty == 0.0:
        return Plan(_due(live, now), None)
    if not (entry_px > 0 and mark_px > 0):
        return NOTHING
    side = Side.SELL if position_qty > 0 else Side.BUY
    wanted_px = stop_price(position_qty, entry_px, distance, instrument)
    placeable = (mark_px - wanted_px) * -side > mark_px * distance * MOVE_TOLERANCE
    right_side = [order for order in live if order.spec.side == side]
    good = [order for order in right_side if _close(order.spec.stop_px, wanted_px, entry_px * distance)]
    # A stop that the price has come close to is never moved away from it: that would be no stop at all.
    keep = (good or (right_side if not placeable else []))[-1:]
    if keep:
        return Plan(_due([order for order in live if order is not keep[0]], now), None)
    stop_px = wanted_px if placeable else stop_price(position_qty, mark_px, distance, instrument)
    spec = OrderSpec(
        symbol, int(side), OrderType.STOP_MARKET.value, 0.0, math.nan, stop_px, Tif.GTC.value, False, True,
        Purpose.PROTECT.value,
    )  # fmt: skip
    moved = _due(right_side, now)
    # a cancel on its way is waited for: before it is through, the venue would refuse the new stop
    return Plan(moved, spec) if len(moved) == len(right_side) else NOTHING


def stop_price(position_qty: float, from_px: float, distance: float, instrument: Instrument) -> float:
    """Return the trigger price ``distance`` below (long) or above (short) a price, on the tick grid."""
    sign = 1.0 if position_qty > 0 else -1.0
    return round(from_px * (1.0 - sign * distance) / instrument.tick_size) * instrument.tick_size


def _close(stop_px: float, wanted_px: float, distance_px: float) -> bool:
    return abs(stop_px - wanted_px) <= distance_px * MOVE_TOLERANCE


def _due(orders: Sequence[Order], now: int) -> tuple[str, ...]:
    return tuple(
        order.client_id
        for order in orders
        if order.status != OrderStatus.INTENT and now - order.cancel_sent_ns > CANCEL_RETRY_S * NS_PER_S
    )
