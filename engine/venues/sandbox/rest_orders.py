"""Private REST endpoints that place, change, cancel and show orders."""

from __future__ import annotations

import json
from typing import Any

from engine.venues.sandbox import codes
from engine.venues.sandbox.clock import wall_ms
from engine.venues.sandbox.codes import Refusal
from engine.venues.sandbox.endpoint import Call, Endpoint, Table, per_symbol
from engine.venues.sandbox.model import Order, OrderRequest, VenueReject
from engine.venues.sandbox.params import Params
from engine.venues.sandbox.views import ORDER_TYPES, TIMES_IN_FORCE, Json, ack_view, order_view

BATCH_LIMIT = 5
CANCEL_BATCH_LIMIT = 10
WEEK_MS = 7 * 86_400_000
_LIMIT_TYPES = ("LIMIT", "STOP", "TAKE_PROFIT")


def parse_order(params: Params, account_id: str) -> OrderRequest:
    """Return the order that parameters ask for.

    Raises
    ------
    Refusal
        Missing or malformed parameters, or a hedge-mode side: the practice exchange keeps one-way positions.
    """
    kind = params.choice("type", ORDER_TYPES, codes.BAD_ORDER_TYPE)
    if params.choice("positionSide", ("BOTH", "LONG", "SHORT"), codes.POSITION_SIDE_MISMATCH, "BOTH") != "BOTH":
        raise Refusal(codes.POSITION_SIDE_MISMATCH)
    tif = params.choice("timeInForce", TIMES_IN_FORCE, codes.BAD_TIF, "GTC")
    if kind == "LIMIT":
        params.text("timeInForce")
    close_position = params.flag("closePosition")
    request = OrderRequest(
        account_id=account_id,
        symbol=params.text("symbol").upper(),
        side=1 if params.choice("side", ("BUY", "SELL"), codes.BAD_SIDE) == "BUY" else -1,
        type=kind,
        qty=params.number("quantity"),
        price=params.number("price") if kind in _LIMIT_TYPES else None,
        stop_price=params.number("stopPrice"),
        tif=tif,
        reduce_only=params.flag("reduceOnly"),
        close_position=close_position,
        client_order_id=params.get("newClientOrderId"),
        activation_price=params.number("activationPrice"),
        callback_rate=params.number("callbackRate"),
        working_type=params.choice("workingType", ("CONTRACT_PRICE", "MARK_PRICE"), -4031, "CONTRACT_PRICE"),
        price_protect=params.flag("priceProtect"),
    )
    _check_mandatory(request)
    return request


def _check_mandatory(request: OrderRequest) -> None:
    if request.qty is None and not request.close_position:
        raise codes.missing("quantity")
    if request.type in _LIMIT_TYPES and request.price is None:
        raise codes.missing("price")
    if request.type == "TRAILING_STOP_MARKET":
        if request.callback_rate is None:
            raise codes.missing("callbackRate")
    elif request.type not in ("LIMIT", "MARKET") and request.stop_price is None:
        raise codes.missing("stopPrice")


def _shown(call: Call, order: Order) -> Json:
    return order_view(order, call.venue.contracts[order.symbol])


def _place(call: Call, params: Params) -> Json:
    answer = params.choice("newOrderRespType", ("ACK", "RESULT"), codes.BAD_RESPONSE_TYPE, "ACK")
    request = parse_order(params, call.account_id)
    contract = call.contract_of(request.symbol)
    order = call.exchange.place(request, call.now_ms)
    # an order that never rested (GTX that would take, IOC, FOK) answers with its end also in an ACK
    never_worked = order.status in ("EXPIRED", "REJECTED") and order.executed_lots == 0
    if answer == "RESULT" or never_worked:
        return order_view(order, contract)
    return ack_view(order, contract)


def create_order(call: Call) -> Json:
    """Place one order. ``newOrderRespType``: ACK (the default) reports it as NEW, RESULT as it stands."""
    call.orders_used = call.venue.limits.use_orders(call.account_id, 1, wall_ms())
    return _place(call, call.params)


def create_batch(call: Call) -> list[Json]:
    """Place up to five orders; each item answers for itself."""
    items = _json_list(call.params, "batchOrders")
    if not 1 <= len(items) <= BATCH_LIMIT:
        raise Refusal(codes.TOO_MANY_IN_BATCH)
    call.orders_used = call.venue.limits.use_orders(call.account_id, len(items), wall_ms())
    return [_attempt(call, _item_params(item)) for item in items]


def _item_params(item: Any) -> Params:
    if not isinstance(item, dict):
        raise Refusal(codes.ILLEGAL_VALUE, "Each of batchOrders must be a JSON object.")
    return Params({name: str(value) for name, value in item.items() if value is not None})


def _attempt(call: Call, params: Params) -> Json:
    try:
        return _place(call, params)
    except VenueReject as reject:
        return {"code": reject.code, "msg": reject.msg}
    except Refusal as refusal:
        return {"code": refusal.code, "msg": refusal.message}


def _json_list(params: Params, name: str) -> list[Any]:
    try:
        content = json.loads(params.text(name))
    except ValueError:
        raise codes.missing(name) from None
    if not isinstance(content, list):
        raise codes.missing(name)
    return content


def _which(params: Params) -> dict[str, Any]:
    order_id, client_id = params.integer("orderId"), params.get("origClientOrderId")
    if order_id is None and client_id is None:
        raise Refusal(codes.PARAM_MISSING, "Either orderId or origClientOrderId must be sent.")
    return {"order_id": order_id} if order_id is not None else {"client_order_id": client_id}


def modify_order(call: Call) -> Json:
    """Change price and quantity of a resting LIMIT order; both are mandatory."""
    symbol = call.contract().symbol
    qty, price = call.params.number("quantity"), call.params.number("price")
    if qty is None:
        raise codes.missing("quantity")
    if price is None:
        raise codes.missing("price")
    order = call.exchange.amend(
        call.account_id, symbol, **_which(call.params), qty=qty, price=price, now_ms=call.now_ms
    )
    return _shown(call, order)


def cancel_order(call: Call) -> Json:
    """Cancel one order."""
    symbol = call.contract().symbol
    return _shown(call, call.exchange.cancel(call.account_id, symbol, **_which(call.params), now_ms=call.now_ms))


def cancel_batch(call: Call) -> list[Json]:
    """Cancel up to ten orders; unknown ones answer -2011 in their place."""
    symbol = call.contract().symbol
    if call.params.get("orderIdList"):
        wanted: list[dict[str, Any]] = [
            {"order_id": int(item)} for item in _json_list(call.params, "orderIdList") if str(item).isdigit()
        ]
    else:
        wanted = [{"client_order_id": str(item)} for item in _json_list(call.params, "origClientOrderIdList")]
    if not 1 <= len(wanted) <= CANCEL_BATCH_LIMIT:
        raise Refusal(-4032, "Invalid number of orders to cancel.")
    answers: list[Json] = []
    for which in wanted:
        try:
            order = call.exchange.cancel(call.account_id, symbol, **which, now_ms=call.now_ms)
            answers.append(_shown(call, order))
        except VenueReject as reject:
            answers.append({"code": reject.code, "msg": reject.msg})
    return answers


def cancel_all(call: Call) -> Json:
    """Cancel every open order of a symbol."""
    call.exchange.cancel_all(call.account_id, call.contract().symbol, call.now_ms)
    return {"code": "200", "msg": "The operation of cancel all open order is done."}


def countdown(call: Call) -> Json:
    """Arm or, with 0, stop the dead-man switch of a symbol."""
    symbol = call.contract().symbol
    length_ms = call.params.integer("countdownTime")
    if length_ms is None or length_ms < 0:
        raise codes.missing("countdownTime")
    call.exchange.countdown(call.account_id, symbol, length_ms, call.now_ms)
    return {"symbol": symbol, "countdownTime": str(length_ms)}


def query_order(call: Call) -> Json:
    """Return one order, whatever its state."""
    symbol = call.contract().symbol
    return _shown(call, call.exchange.order(call.account_id, symbol, **_which(call.params)))


def query_open_order(call: Call) -> Json:
    """Return one order that is still open; -2013 otherwise."""
    symbol = call.contract().symbol
    order = call.exchange.order(call.account_id, symbol, **_which(call.params))
    if not order.is_open:
        raise Refusal(codes.NO_SUCH_ORDER)
    return _shown(call, order)


def open_orders(call: Call) -> list[Json]:
    """Return open orders of one symbol or of all."""
    symbol = call.contract().symbol if call.params.get("symbol") else None
    return [_shown(call, order) for order in call.exchange.open_orders(call.account_id, symbol)]


def window_of(call: Call) -> tuple[int | None, int | None]:
    """Return startTime and endTime; the venue allows less than seven days between them."""
    start, end = call.params.integer("startTime"), call.params.integer("endTime")
    if start is not None and end is not None:
        if start > end:
            raise Refusal(-1023, "Start time is greater than end time.")
        if end - start > WEEK_MS:
            raise Refusal(codes.BAD_WINDOW, "More than 7 days between startTime and endTime.")
    return start, end


def all_orders(call: Call) -> list[Json]:
    """Return orders of a symbol, oldest first."""
    symbol = call.contract().symbol
    start, end = window_of(call)
    orders = call.exchange.all_orders(
        call.account_id, symbol, start, end, call.params.integer("orderId"), call.params.limit(500, 1000)
    )
    return [_shown(call, order) for order in orders]


def force_orders(call: Call) -> list[Json]:
    """Return the account's liquidation orders."""
    limit = call.params.limit(50, 100)
    rows: list[Json] = []
    for symbol in call.symbols():
        orders = call.exchange.all_orders(call.account_id, symbol, None, None, None, 1000)
        rows += [_shown(call, order) for order in orders if order.client_order_id.startswith("autoclose-")]
    return sorted(rows, key=lambda row: row["time"])[-limit:]


TABLE: Table = {
    ("POST", "order"): Endpoint(create_order, 1, True),
    ("PUT", "order"): Endpoint(modify_order, 1, True),
    ("DELETE", "order"): Endpoint(cancel_order, 1, True),
    ("GET", "order"): Endpoint(query_order, 1, True),
    ("GET", "openOrder"): Endpoint(query_open_order, 1, True),
    ("GET", "openOrders"): Endpoint(open_orders, per_symbol(1, 40), True),
    ("GET", "allOrders"): Endpoint(all_orders, 5, True),
    ("GET", "forceOrders"): Endpoint(force_orders, per_symbol(20, 50), True),
    ("POST", "batchOrders"): Endpoint(create_batch, 5, True),
    ("DELETE", "batchOrders"): Endpoint(cancel_batch, 1, True),
    ("DELETE", "allOpenOrders"): Endpoint(cancel_all, 1, True),
    ("POST", "countdownCancelAll"): Endpoint(countdown, 10, True),
}
