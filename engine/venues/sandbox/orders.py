"""What clients do with orders: place, amend, cancel, countdown. Each call ends with triggers worked off."""

from __future__ import annotations

from dataclasses import replace

from engine.venues.sandbox import conditional, filters, margin, matching
from engine.venues.sandbox.accounts import Account
from engine.venues.sandbox.model import CONDITIONAL, Order, OrderRequest, VenueReject
from engine.venues.sandbox.state import Listing, State

MAX_AMENDS = 10_000


def place(state: State, req: OrderRequest, now_ms: int) -> Order:
    """Accept a request, match it, and return the order in its state afterwards; ``VenueReject`` changes nothing."""
    listing, account = state.listing(req.symbol), state.account(req.account_id)
    if account.internal:
        price_tick = None if req.type == "MARKET" else listing.contract.nearest_tick(req.price or 0.0)
        lots = listing.contract.nearest_lots(req.qty or 0.0)
        return quote(state, account, listing, (req.side, price_tick, lots, req.tif), now_ms)
    order = filters.build_order(state, listing, account, req, now_ms)
    if order.type in CONDITIONAL:
        conditional.park(state, listing, order, now_ms)
        state.n_orders += 1
        return order
    margin.check_affordable(state, listing, order, conditional.value_lot_q(listing, order))
    state.n_orders += 1
    account.remember(order)
    state.emit(account, order, "NEW", now_ms)
    limit_tick = order.price_tick or filters.take_bound_tick(listing, order.side)
    matching.execute(state, listing, order, limit_tick, now_ms)
    after(state, listing, now_ms)
    return order


def quote(
    state: State, account: Account, listing: Listing, terms: tuple[int, int | None, int, str], now_ms: int
) -> Order:
    """Place an order of an internal account without filters; ``terms`` is (side, price_tick or None, lots, tif).

    No price means MARKET without a bound.
    """
    side, tick, lots, tif = terms
    if lots <= 0 or (tick is not None and tick <= 0):
        raise ValueError(f"quote of {lots} lots at tick {tick}: both must be positive")
    state.n_orders += 1
    order_id = state.n_orders
    kind = "MARKET" if tick is None else "LIMIT"
    order = Order(
        order_id, "", account.account_id, listing.contract.symbol, side, kind, kind, "GTC" if tick is None else tif,
        tick or 0, 0, lots, 0, 0, "NEW", False, False, 0, 0.0, "CONTRACT_PRICE", False, now_ms, now_ms,
    )  # fmt: skip
    account.open_orders[order_id] = order
    matching.execute(state, listing, order, tick, now_ms)
    if listing.pending_ticks or state.touched:
        after(state, listing, now_ms)
    return order


def after(state: State, listing: Listing, now_ms: int) -> None:
    """Finish an operation: let conditional orders see its trades, then tell accounts."""
    conditional.run_triggers(state, listing, now_ms)
    state.flush(now_ms)


def cancel(state: State, account: Account, order: Order | None, now_ms: int) -> Order:
    """Cancel an open order; refuse an unknown or finished one with -2011."""
    if order is None or not order.is_open:
        raise VenueReject(-2011, "Unknown order sent.")
    matching.pull(state, account, order, "CANCELED", now_ms)
    return order


def cancel_all(state: State, account: Account, symbol: str, now_ms: int) -> int:
    """Cancel every open order of a symbol, conditional ones included, and return how many there were."""
    orders = [o for o in account.open_orders.values() if o.symbol == symbol]
    for order in orders:
        matching.pull(state, account, order, "CANCELED", now_ms)
    return len(orders)


def amend(
    state: State, account: Account, order: Order | None, qty: float | None, price: float | None, now_ms: int
) -> Order:
    """Change quantity and price of a live LIMIT order, and return it.

    The order keeps its place in the queue only if the price stays and the quantity does not grow. A quantity not
    above what has been filled cancels it; so does a post-only order's new price that would take.

    Raises
    ------
    VenueReject
        -2013 no such open order, -5028 not a LIMIT order, -5027 nothing to change, -5026 more than 10000 amendments,
        or the code of the filter or margin rule that the new terms break.
    """
    if order is None or not order.is_open:
        raise VenueReject(-2013, "Order does not exist.")
    if order.type != "LIMIT":
        raise VenueReject(-5028, "Only LIMIT orders can be modified.")
    listing = state.listings[order.symbol]
    lots = filters.lots_of(listing.contract, qty, market=False)
    tick = filters.tick_of(listing.contract, price, "price")
    _check_amendment(state, listing, account, order, lots, tick)
    if lots <= order.executed_lots:
        matching.pull(state, account, order, "CANCELED", now_ms)
        return order
    _apply(state, listing, account, order, lots, tick, now_ms)
    after(state, listing, now_ms)
    return order


def _check_amendment(state: State, listing: Listing, account: Account, order: Order, lots: int, tick: int) -> None:
    if (lots, tick) == (order.orig_lots, order.price_tick):
        raise VenueReject(-5027, "No need to modify the order.")
    if order.n_amends >= MAX_AMENDS:
        raise VenueReject(-5026, "Exceed maximum modify order limit.")
    filters.check_percent_price(listing, order.side, tick, listing.mark_lot_q)
    wish = replace(order, orig_lots=lots, price_tick=tick)
    if order.reduce_only:
        left = state.position(account, listing).reducible(order.side)
        if lots - order.executed_lots > left:
            raise VenueReject(-2022, "ReduceOnly Order is rejected.")
    else:
        filters.check_notional(listing, wish)
    if lots > order.executed_lots:
        margin.check_affordable(state, listing, wish, tick * listing.contract.unit_q, without=order)


def _apply(state: State, listing: Listing, account: Account, order: Order, lots: int, tick: int, now_ms: int) -> None:
    order.n_amends += 1
    order.update_ms = now_ms
    state.dirty[order.symbol] = now_ms
    if tick == order.price_tick and lots < order.orig_lots:
        listing.book.reduce(order, order.orig_lots - lots)
        order.orig_lots = lots
        state.emit(account, order, "AMENDMENT", now_ms)
        return
    listing.book.remove(order)
    account.reduce_orders.pop(order.order_id, None)
    order.orig_lots, order.price_tick = lots, tick
    state.emit(account, order, "AMENDMENT", now_ms)
    matching.execute(state, listing, order, tick, now_ms)


def set_countdown(state: State, account: Account, symbol: str, countdown_ms: int, now_ms: int) -> None:
    """Arm the dead-man switch of a symbol, re-arm it, or stop it with 0."""
    state.listing(symbol)
    if countdown_ms < 0:
        raise VenueReject(-1130, "Data sent for parameter 'countdownTime' is not valid.")
    key = (account.account_id, symbol)
    if countdown_ms:
        state.deadlines[key] = now_ms + countdown_ms
    else:
        state.deadlines.pop(key, None)


def fire_countdowns(state: State, now_ms: int) -> None:
    """Cancel all orders of every (account, symbol) whose countdown ran out."""
    due = [key for key, deadline in state.deadlines.items() if deadline <= now_ms]
    for account_id, symbol in due:
        del state.deadlines[account_id, symbol]
        cancel_all(state, state.accounts[account_id], symbol, now_ms)
