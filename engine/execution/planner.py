"""How a target position becomes orders: post-only at the touch first, across the spread when it has waited too long.

Pure: it is asked again whenever something changed, sees only what is true now, and answers with what to do. While any
order of the symbol is in doubt it answers with nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from engine.domain import NS_PER_S, BookTop, Instrument, OrderSpec, OrderStatus, OrderType, Purpose, Side, Tif
from engine.execution.orders import Order

IN_DOUBT = frozenset({OrderStatus.INTENT, OrderStatus.SENT, OrderStatus.UNKNOWN})
REQUOTE_AFTER_S = 2.0  # leave a quote at least this long, or every tick would cost an order
CANCEL_RETRY_S = 2.0
CROSS_LIMIT = 0.002  # a crossing order pays at most this fraction beyond the touch


class Target(NamedTuple):
    """What one symbol's position should become."""

    symbol: str
    target_qty: float  # signed base
    decision_id: int
    decision_px: float
    ts_set: int


class Policy(NamedTuple):
    """How patient to be."""

    use_maker: bool
    maker_wait_s: float


class Plan(NamedTuple):
    """What to do now: cancel these, then place this one."""

    cancel: tuple[str, ...]
    place: OrderSpec | None


NOTHING = Plan((), None)


def plan(
    target: Target,
    position_qty: float,
    working: Sequence[Order],
    top: BookTop,
    instrument: Instrument,
    now: int,
    policy: Policy,
) -> Plan:
    """Return the next action towards a target.

    Parameters
    ----------
    target : Target
        Position wanted, signed base units.
    position_qty : float
        Position now, signed base units, every known fill applied.
    working : sequence of Order
        This symbol's orders of purpose TARGET that are not final.
    top : BookTop
        Best bid and ask, fresh.
    now : int
        ns, same clock as ``target.ts_set`` and the orders' times.
    """
    if any(order.status in IN_DOUBT for order in working):
        return NOTHING
    leaves = next_leg(target.target_qty - position_qty, position_qty)
    qty = tradable_qty(leaves, position_qty, top, instrument)
    if qty == 0.0:
        return Plan(_cancellable(working, now), None)
    side = Side.BUY if leaves > 0 else Side.SELL
    waited_s = (now - target.ts_set) / NS_PER_S
    patient = policy.use_maker and waited_s < policy.maker_wait_s
    reduce_only = position_qty * leaves < 0
    if working:
        if patient and len(working) == 1 and _still_right(working[0], side, qty, top, instrument, now):
            return NOTHING
        return Plan(_cancellable(working, now), None)
    return Plan((), _order(target.symbol, side, qty, reduce_only, patient, top, instrument))


def next_leg(leaves: float, position_qty: float) -> float:
    """Return how much of ``leaves`` one order may do: a flip goes through zero first, reduce-only.

    >>> next_leg(-3.0, 1.0), next_leg(-3.0, 0.0), next_leg(2.0, 1.0)
    (-1.0, -3.0, 2.0)
    """
    if position_qty * leaves < 0 and abs(leaves) > abs(position_qty):
        return -position_qty
    return leaves


def tradable_qty(leaves: float, position_qty: float, top: BookTop, instrument: Instrument) -> float:
    """Return the quantity that the venue takes for ``leaves``, base units, 0 when it is too small.

    Reducing orders need no minimum notional; a remainder below one lot is not tradable.
    """
    lots = math.floor(abs(leaves) / instrument.lot_size + 1e-9)
    qty = min(lots * instrument.lot_size, instrument.max_market_qty)
    reduces = position_qty * leaves < 0
    if qty < instrument.min_qty or (not reduces and qty * top.bid_px < instrument.min_notional):
        return 0.0
    return qty


def _still_right(order: Order, side: Side, qty: float, top: BookTop, instrument: Instrument, now: int) -> bool:
    if order.spec.side != side or abs(order.leaves_qty - qty) > instrument.lot_size / 2:
        return False
    touch = top.bid_px if side == Side.BUY else top.ask_px
    at_touch = abs(order.spec.limit_px - touch) < instrument.tick_size / 2
    young = now - order.ts_intent < REQUOTE_AFTER_S * NS_PER_S
    return at_touch or young


def _cancellable(working: Sequence[Order], now: int) -> tuple[str, ...]:
    return tuple(order.client_id for order in working if now - order.cancel_sent_ns > CANCEL_RETRY_S * NS_PER_S)


def _order(
    symbol: str, side: Side, qty: float, reduce_only: bool, patient: bool, top: BookTop, instrument: Instrument
) -> OrderSpec:
    if patient:
        limit_px, tif = (top.bid_px if side == Side.BUY else top.ask_px), Tif.GTX
    else:
        touch = top.ask_px if side == Side.BUY else top.bid_px
        limit_px, tif = crossing_px(touch, side, instrument), Tif.IOC
    return OrderSpec(
        symbol, int(side), OrderType.LIMIT.value, qty, limit_px, math.nan, tif.value, reduce_only, False,
        Purpose.TARGET.value,
    )  # fmt: skip


def crossing_px(touch_px: float, side: int, instrument: Instrument) -> float:
    """Return the limit of an order that crosses now: the touch plus ``CROSS_LIMIT``, on the tick grid."""
    ticks = touch_px * (1.0 + side * CROSS_LIMIT) / instrument.tick_size
    # away from the touch, so that rounding cannot turn a crossing order into a resting one
    whole = math.ceil(ticks) if side == Side.BUY else math.floor(ticks)
    return whole * instrument.tick_size
