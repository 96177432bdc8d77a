"""The venue's order filters: turn a request into an order, or refuse it with the venue's code."""

from __future__ import annotations

import re

from engine.venues.sandbox.accounts import Account
from engine.venues.sandbox.contracts import Contract
from engine.venues.sandbox.model import (
    CONDITIONAL,
    LIMIT_TYPES,
    QUANTA,
    TRAILING,
    Order,
    OrderRequest,
    VenueReject,
)
from engine.venues.sandbox.state import Listing, State

TYPES = frozenset({"LIMIT", "MARKET"}) | CONDITIONAL
TIFS = frozenset({"GTC", "IOC", "FOK", "GTX", "HIDDEN"})
CLIENT_ID = re.compile(r"[\.A-Z\:/a-z0-9_-]{1,36}\Z")
RESERVED = ("autoclose-", "adl_autoclose")
"""Beginnings of client ids that only the venue's own orders carry."""


def build_order(state: State, listing: Listing, account: Account, req: OrderRequest, now_ms: int) -> Order:
    """Return the order a request describes, checked against every filter but margin; nothing is changed.

    Raises
    ------
    VenueReject
        With the venue's code: -1102, -1106, -1115, -1116, -1117, -2007, -2022, -2025, -4001, -4002, -4003, -4004,
        -4005, -4006, -4013, -4014, -4015, -4016, -4023, -4024, -4045, -4061, -4116, -4130, -4131, -4136 or -4164.
    """
    contract = listing.contract
    _check_words(req)
    lots = 0 if req.close_position else lots_of(contract, req.qty, req.type not in LIMIT_TYPES)
    price_tick = tick_of(contract, req.price, "price") if req.type in LIMIT_TYPES else 0
    stop_tick = tick_of(contract, req.stop_price, "stopPrice") if req.type in CONDITIONAL - {TRAILING} else 0
    activation_tick, rate = _trailing_terms(contract, req)
    _check_client_id(account, req.client_order_id)
    _check_counts(listing, account, req)
    _check_bounds(listing, req, price_tick, stop_tick)
    tif = req.tif if req.type in LIMIT_TYPES else "GTC"
    order = Order(
        state.n_orders + 1, req.client_order_id or f"auto-{state.n_orders + 1}", account.account_id, req.symbol,
        req.side, req.type, req.type, tif, price_tick, stop_tick, lots, 0, 0, "NEW",
        req.reduce_only, req.close_position, activation_tick, rate, req.working_type, req.price_protect,
        now_ms, now_ms,
    )  # fmt: skip
    _check_reduction(state, listing, account, order)
    if not (order.reduce_only or order.close_position):
        check_notional(listing, order)
    return order


def lots_of(contract: Contract, qty: float | None, market: bool) -> int:
    """Return a quantity in lots or refuse it (-1102, -4003, -4004, -4005, -4023)."""
    if qty is None:
        raise VenueReject(-1102, "Mandatory parameter 'quantity' was not sent, was empty/null, or malformed.")
    if not qty > 0:
        raise VenueReject(-4003, "Quantity less than or equal to zero.")
    if qty > (contract.max_market_qty if market else contract.max_qty):
        raise VenueReject(-4005, "Quantity greater than max quantity.")
    if qty < contract.min_qty * (1 - 1e-9):
        raise VenueReject(-4004, "Quantity less than min quantity.")
    steps = qty / contract.lot_size
    if abs(steps - round(steps)) > 1e-6:
        raise VenueReject(-4023, "Quantity not increased by step size.")
    return round(steps)


def tick_of(contract: Contract, price: float | None, name: str) -> int:
    """Return a price in ticks or refuse it (-1102, -4001 or -4006, -4002, -4013, -4014)."""
    if price is None:
        raise VenueReject(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    if not price > 0:
        raise VenueReject(-4006 if name == "stopPrice" else -4001, f"{name} less than or equal to zero.")
    if price > contract.max_price:
        raise VenueReject(-4002, f"{name} greater than max price.")
    if price < contract.min_price * (1 - 1e-9):
        raise VenueReject(-4013, f"{name} less than min price.")
    ticks = price / contract.tick_size
    if abs(ticks - round(ticks)) > 1e-6:
        raise VenueReject(-4014, f"{name} not increased by tick size.")
    return round(ticks)


def check_percent_price(listing: Listing, side: int, price_tick: int, reference_q: int) -> None:
    """Refuse a limit price too far on the aggressive side of a reference: -4016 for buys, -4024 for sells."""
    bound = listing.contract.percent_price
    price_q = price_tick * listing.contract.unit_q
    if side > 0 and price_q > reference_q * (1 + bound):
        raise VenueReject(-4016, f"Limit price can't be higher than {1 + bound:g} times the reference price.")
    if side < 0 and price_q < reference_q * (1 - bound):
        raise VenueReject(-4024, f"Limit price can't be lower than {1 - bound:g} times the reference price.")


def check_notional(listing: Listing, order: Order) -> None:
    """Refuse an order below the minimum notional (-4164); unpriced orders count at their stop price, else at mark."""
    tick = order.price_tick or order.stop_tick
    lot_q = tick * listing.contract.unit_q or listing.mark_lot_q
    if order.orig_lots * lot_q < listing.contract.min_notional * QUANTA:
        floor = f"{listing.contract.min_notional:g}"
        raise VenueReject(-4164, f"Order's notional must be no smaller than {floor} (unless you choose reduce only).")


def take_bound_tick(listing: Listing, side: int) -> int:
    """Return the worst price in ticks that a market order may reach: mark times 1 ± the contract's take bound."""
    bound = listing.contract.market_take_bound
    edge = listing.mark_lot_q * (1 + side * bound) / listing.contract.unit_q
    return int(edge) if side > 0 else -int(-edge // 1)


def _check_words(req: OrderRequest) -> None:
    if req.side not in (1, -1):
        raise VenueReject(-1117, "Invalid side.")
    if req.type not in TYPES:
        raise VenueReject(-1116, "Invalid orderType.")
    if req.tif not in TIFS:
        raise VenueReject(-1115, "Invalid timeInForce.")
    if req.position_side != "BOTH":
        raise VenueReject(-4061, "Order's position side does not match user's setting.")
    if req.working_type not in ("CONTRACT_PRICE", "MARK_PRICE"):
        raise VenueReject(-1102, "Mandatory parameter 'workingType' was malformed.")
    if req.close_position:
        if req.type not in ("STOP_MARKET", "TAKE_PROFIT_MARKET"):
            raise VenueReject(-4136, "Target strategy invalid for orderType, closePosition.")
        if req.qty is not None:
            raise VenueReject(-1106, "Parameter 'quantity' sent when not required.")
        if req.reduce_only:
            raise VenueReject(-1106, "Parameter 'reduceOnly' sent when not required.")


def _trailing_terms(contract: Contract, req: OrderRequest) -> tuple[int, float]:
    if req.type != TRAILING:
        return 0, 0.0
    rate = req.callback_rate
    if rate is None or not 0.1 <= rate <= 5.0:
        raise VenueReject(-2007, "Invalid callBack rate.")
    if req.activation_price is None:
        return 0, round(rate, 2)
    return tick_of(contract, req.activation_price, "activationPrice"), round(rate, 2)


def _check_client_id(account: Account, client_order_id: str | None) -> None:
    if client_order_id is None:
        return
    if not CLIENT_ID.match(client_order_id) or client_order_id.startswith(RESERVED):
        raise VenueReject(-4015, "Client order id is not valid.")
    # The venue documents the rule (unique among open orders) but no code; -4116 is what its relatives answer.
    if account.client_ids.get(client_order_id) in account.open_orders:
        raise VenueReject(-4116, "ClientOrderId is duplicated.")


def _check_counts(listing: Listing, account: Account, req: OrderRequest) -> None:
    mine = [o for o in account.open_orders.values() if o.symbol == req.symbol]
    waiting = [o for o in mine if o.is_conditional]
    if req.type in CONDITIONAL:
        if len(waiting) >= listing.contract.max_algo:
            raise VenueReject(-4045, "Reach max stop order limit.")
        if req.close_position and any(o.close_position and o.side == req.side and o.type == req.type for o in waiting):
            raise VenueReject(-4130, "An open stop or take profit order with closePosition in this direction exists.")
    elif len(mine) - len(waiting) >= listing.contract.max_orders:
        raise VenueReject(-2025, "Reach max open order limit.")


def _check_bounds(listing: Listing, req: OrderRequest, price_tick: int, stop_tick: int) -> None:
    if not listing.mark_lot_q:
        raise VenueReject(-1000, "The symbol has no price yet.")
    if req.type == "LIMIT":
        check_percent_price(listing, req.side, price_tick, listing.mark_lot_q)
    elif price_tick:
        # A stop-limit order goes live near its stop price, so that is what its limit is measured against.
        check_percent_price(listing, req.side, price_tick, stop_tick * listing.contract.unit_q)
    elif req.type == "MARKET":
        best = listing.book.best_tick(-req.side)
        if best is not None and (best - take_bound_tick(listing, req.side)) * req.side > 0:
            raise VenueReject(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")


def _check_reduction(state: State, listing: Listing, account: Account, order: Order) -> None:
    if not order.reduce_only:
        return
    left = state.position(account, listing).reducible(order.side)
    if not left:
        raise VenueReject(-2022, "ReduceOnly Order is rejected.")
    if not order.is_conditional:
        # The venue cuts a reduce-only order to the position; conditional ones are cut when they trigger.
        order.orig_lots = min(order.orig_lots, left)
