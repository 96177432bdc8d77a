"""Conditional orders: when stops, take-profits and trailing stops trigger, and what they become.

STOP*: buy when price >= stop, sell when price <= stop; TAKE_PROFIT* the opposite. The price is the last trade
(CONTRACT_PRICE) or the mark (MARK_PRICE). Every trade price is looked at, in sequence. A triggered order keeps its id,
becomes LIMIT or MARKET, and announces itself with a second NEW. It expires instead when nothing is left to reduce,
when the margin does not suffice, or, with price protection, when last and mark are too far apart.
"""

from __future__ import annotations

from engine.venues.sandbox import margin, matching
from engine.venues.sandbox.filters import take_bound_tick
from engine.venues.sandbox.model import LIMIT_TYPES, STOP_TYPES, TRAILING, Order, VenueReject
from engine.venues.sandbox.state import Listing, State

MAX_TRIGGER_ROUNDS = 10_000
"""Trade prices worked off per operation; reached only if orders fed on each other endlessly."""


def hit(order: Order, lot_q: int, unit_q: int) -> bool:
    """Return whether a price (quanta per lot) triggers a STOP* or TAKE_PROFIT* order."""
    distance = (lot_q - order.stop_tick * unit_q) * order.side
    return distance >= 0 if order.type in STOP_TYPES else distance <= 0


def trail(order: Order, lot_q: int, unit_q: int) -> bool:
    """Advance a trailing stop by one price and return whether it triggers.

    A sell activates when the price reaches its activation price from below, then follows the highest price and
    triggers at ``high * (1 - rate)``; a buy mirrors it. Without an activation price it is active from the start.
    """
    side = order.side
    if not order.activated:
        if order.activation_tick and (lot_q - order.activation_tick * unit_q) * side > 0:
            return False
        order.activated = True
        order.extreme_lot_q = lot_q
    if (lot_q - order.extreme_lot_q) * side < 0:
        order.extreme_lot_q = lot_q
    rate = round(order.callback_rate * 100)  # percent to 1e-4
    return (lot_q * 10_000 - order.extreme_lot_q * (10_000 + side * rate)) * side >= 0


def park(state: State, listing: Listing, order: Order, now_ms: int) -> None:
    """Accept a conditional order; refuse one that the current price would trigger at once (-2021)."""
    unit_q = listing.contract.unit_q
    lot_q = listing.mark_lot_q if order.working_type == "MARK_PRICE" else listing.last_lot_q()
    if order.type == TRAILING:
        wrong_side = order.activation_tick and (order.activation_tick * unit_q - lot_q) * order.side > 0
        if wrong_side:
            raise VenueReject(-2021, "Order would immediately trigger.")
        trail(order, lot_q, unit_q)
    elif hit(order, lot_q, unit_q):
        raise VenueReject(-2021, "Order would immediately trigger.")
    listing.conditionals[order.order_id] = order
    account = state.accounts[order.account_id]
    account.remember(order)
    state.emit(account, order, "NEW", now_ms)


def run_triggers(state: State, listing: Listing, now_ms: int) -> None:
    """Show conditional orders every trade price since the last call; their own fills are shown too."""
    pending = listing.pending_ticks
    rounds = 0
    while pending and rounds < MAX_TRIGGER_ROUNDS:
        rounds += 1
        lot_q = pending.pop(0) * listing.contract.unit_q
        show_price(state, listing, "CONTRACT_PRICE", lot_q, now_ms)
    pending.clear()


def show_price(state: State, listing: Listing, source: str, lot_q: int, now_ms: int) -> None:
    """Trigger every conditional order on ``source`` (CONTRACT_PRICE or MARK_PRICE) that one price hits."""
    unit_q = listing.contract.unit_q
    due = [
        o
        for o in listing.conditionals.values()
        if o.working_type == source and (trail(o, lot_q, unit_q) if o.type == TRAILING else hit(o, lot_q, unit_q))
    ]
    for order in due:
        # An earlier one of the same price may have cancelled it (a liquidation cannot happen here, a trim can).
        if order.order_id in listing.conditionals:
            _trigger(state, listing, order, now_ms)


def _trigger(state: State, listing: Listing, order: Order, now_ms: int) -> None:
    account = state.accounts[order.account_id]
    del listing.conditionals[order.order_id]
    if order.type == TRAILING:
        order.stop_tick = listing.contract.nearest_tick(listing.contract.price_of_lot_q(_trail_stop(order)))
    order.type = "LIMIT" if order.type in LIMIT_TYPES else "MARKET"
    order.update_ms = now_ms
    if order.reduce_only or order.close_position:
        left = state.position(account, listing).reducible(order.side)
        order.orig_lots = left if order.close_position else min(order.orig_lots, left)
    if not order.orig_lots or (order.price_protect and _torn(listing)):
        matching.finish(state, account, order, "EXPIRED", now_ms)
        return
    limit_tick = order.price_tick or take_bound_tick(listing, order.side)
    if not order.close_position:
        try:
            margin.check_affordable(state, listing, order, value_lot_q(listing, order), without=order)
        except VenueReject:
            matching.finish(state, account, order, "EXPIRED", now_ms)
            return
    state.emit(account, order, "NEW", now_ms)
    matching.execute(state, listing, order, limit_tick, now_ms)


def value_lot_q(listing: Listing, order: Order) -> int:
    """Return the price (quanta per lot) at which margin values an order: its limit, or 5 bp through the best price."""
    unit_q = listing.contract.unit_q
    if order.type == "LIMIT":
        return order.price_tick * unit_q
    best = listing.book.best_tick(-order.side)
    lot_q = best * unit_q if best is not None else listing.mark_lot_q
    return lot_q + order.side * (lot_q // 2000)


def _trail_stop(order: Order) -> int:
    return order.extreme_lot_q * (10_000 + order.side * round(order.callback_rate * 100)) // 10_000


def _torn(listing: Listing) -> bool:
    gap = abs(listing.last_lot_q() - listing.mark_lot_q)
    return gap > listing.mark_lot_q * listing.contract.trigger_protect
