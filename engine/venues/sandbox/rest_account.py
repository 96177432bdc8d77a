"""Private REST endpoints about the account: balance, positions, settings, fills, income, keys."""

from __future__ import annotations

import time
from typing import Any

from engine.venues.sandbox import codes
from engine.venues.sandbox.codes import Refusal
from engine.venues.sandbox.endpoint import Call, Endpoint, Table, per_symbol
from engine.venues.sandbox.model import AccountView
from engine.venues.sandbox.rest_orders import window_of
from engine.venues.sandbox.views import (
    Json,
    account_view,
    balance_view,
    bracket_view,
    income_view,
    position_risk_view,
    user_trade_view,
)

SUCCESS: Json = {"code": 200, "msg": "success"}


def balance(call: Call) -> list[Json]:
    """Return the wallet."""
    return balance_view(call.exchange.account(call.account_id))


def account(call: Call) -> Json:
    """Return totals, asset and positions."""
    return account_view(_complete(call), call.venue.contracts) | {"canWithdraw": call.can_withdraw}


def _complete(call: Call) -> AccountView:
    """Return the account with a row for every listed symbol, as the venue shows it."""
    for symbol in call.venue.symbols:
        call.exchange.leverage(call.account_id, symbol)  # gives a symbol never touched its flat row
    return call.exchange.account(call.account_id)


def position_risk(call: Call) -> list[Json]:
    """Return the account's positions, flat ones included."""
    view = _complete(call)
    return [position_risk_view(view.positions[symbol], call.venue.contracts[symbol]) for symbol in call.symbols()]


def leverage_bracket(call: Call) -> Json | list[Json]:
    """Return the leverage ladder: one object for a symbol, a list for all."""
    if call.params.get("symbol"):
        return bracket_view(call.contract())
    return [bracket_view(contract) for contract in call.venue.contracts.values()]


def commission_rate(call: Call) -> Json:
    """Return the fees of a symbol as fractions."""
    maker, taker = call.venue.fees
    return {
        "symbol": call.contract().symbol,
        "makerCommissionRate": f"{maker:.6f}",
        "takerCommissionRate": f"{taker:.6f}",
    }


def set_leverage(call: Call) -> Json:
    """Set the leverage of a symbol."""
    contract = call.contract()
    leverage = call.params.integer("leverage")
    if leverage is None:
        raise codes.missing("leverage")
    call.exchange.set_leverage(call.account_id, contract.symbol, leverage, call.now_ms)
    return {
        "symbol": contract.symbol,
        "leverage": leverage,
        "maxNotionalValue": str(contract.max_notional(leverage)),
    }


def set_margin_type(call: Call) -> Json:
    """Set the margin type of a symbol; the exchange keeps cross margin."""
    symbol = call.contract().symbol
    wanted = call.params.choice("marginType", ("ISOLATED", "CROSSED"), -1130)
    call.exchange.set_margin_type(call.account_id, symbol, wanted, call.now_ms)
    return SUCCESS


def adjust_margin(call: Call) -> Json:
    """Refuse to move margin into a position, because positions are cross."""
    call.contract()
    raise Refusal(-4049, "Add margin only support for isolated position.")


def margin_history(call: Call) -> list[Json]:
    """Return margin moved into positions: none, because positions are cross."""
    call.contract()
    return []


def position_mode(call: Call) -> Json:
    """Return the position mode, always one-way."""
    return {"dualSidePosition": False}


def set_position_mode(call: Call) -> Json:
    """Refuse hedge mode, and say that one-way is already set."""
    call.params.text("dualSidePosition")
    if call.params.flag("dualSidePosition"):
        raise Refusal(codes.UPCOMING_METHOD, "Hedge mode is not offered by the practice exchange.")
    raise Refusal(codes.NO_POSITION_SIDE_CHANGE)


def assets_mode(call: Call) -> Json:
    """Return the margin mode, always single-asset."""
    return {"multiAssetsMargin": False}


def set_assets_mode(call: Call) -> Json:
    """Refuse multi-asset mode, and say that single-asset is already set."""
    call.params.text("multiAssetsMargin")
    if call.params.flag("multiAssetsMargin"):
        raise Refusal(codes.UPCOMING_METHOD, "Multi-assets mode is not offered by the practice exchange.")
    raise Refusal(-4171, "No need to change multi-assets mode.")


def user_trades(call: Call) -> list[Json]:
    """Return the account's fills of a symbol, oldest first."""
    contract = call.contract()
    start, end = window_of(call)
    from_id = call.params.integer("fromId")
    if from_id is not None and (start is not None or end is not None):
        raise Refusal(codes.BAD_COMBINATION, "fromId cannot be sent with startTime or endTime.")
    order_id = call.params.integer("orderId")
    fills = call.exchange.user_trades(
        call.account_id, contract.symbol, start, end, from_id, call.params.limit(500, 1000)
    )
    return [user_trade_view(fill, contract) for fill in fills if order_id is None or fill.order_id == order_id]


def income(call: Call) -> list[Json]:
    """Return what changed the wallet, oldest first."""
    symbol = call.contract().symbol if call.params.get("symbol") else None
    start, end = call.params.integer("startTime"), call.params.integer("endTime")
    rows = call.exchange.income(
        call.account_id, symbol, call.params.get("incomeType"), start, end, call.params.limit(100, 1000)
    )
    return [income_view(row) for row in rows]


def open_listen_key(call: Call) -> Json:
    """Return the key of the private stream; a living one is extended."""
    return {"listenKey": call.venue.users.open_key(call.account_id, call.wall_s)}


def renew_listen_key(call: Call) -> Json:
    """Extend the key of the private stream."""
    call.venue.users.renew(call.account_id, call.wall_s)
    return {}


def close_listen_key(call: Call) -> Json:
    """Close the private stream's key."""
    call.venue.users.close_key(call.account_id)
    return {}


def builders(call: Call) -> list[dict[str, str]]:
    """Return the builders that the account has approved."""
    return call.venue.builders.get(call.account_id, [])


def approve_builder(call: Call) -> Json:
    """Record a builder. Orders that name one trade without its fee: the practice exchange has no builders."""
    builder = call.params.text("builder")
    approved = call.venue.builders.setdefault(call.account_id, [])
    approved[:] = [row for row in approved if row["builderAddress"] != builder]
    approved.append(
        {
            "userAddress": call.account_id,
            "builderAddress": builder,
            "maxFeeRate": call.params.get("maxFeeRate") or "0",
            "builderName": call.params.get("builderName") or "",
        }
    )
    return SUCCESS


def remove_builder(call: Call) -> Json:
    """Forget a builder."""
    builder = call.params.text("builder")
    approved = call.venue.builders.get(call.account_id, [])
    approved[:] = [row for row in approved if row["builderAddress"] != builder]
    return SUCCESS


def agents(call: Call) -> list[Json]:
    """Return the addresses that may sign for the account."""
    signers = call.venue.keys.signers_of(call.account_id)
    keys = call.venue.keys
    return [{"userAddress": call.account_id, "agentAddress": a, "canPerpTrade": True,
             "canWithdraw": keys.can_withdraw(a)} for a in signers if a != call.account_id]  # fmt: skip


def noop(call: Call) -> Json:
    """Do nothing: the request has spent its nonce, so that an older one with it can no longer be executed."""
    return SUCCESS


def spot_account(call: Call) -> dict[str, Any]:
    """Return the spot account, which is empty."""
    return {
        "feeTier": 0, "canTrade": False, "canDeposit": False, "canWithdraw": False, "canBurnAsset": False,
        "updateTime": time.time_ns() // 1_000_000, "balances": [],
    }  # fmt: skip


def spot_transfer(call: Call) -> Json:
    """Refuse transfers: nothing is held in spot, and deposits come from ``/sandbox/deposit``."""
    raise Refusal(codes.BALANCE_INSUFFICIENT, "The practice exchange has no spot wallet.")


TABLE: Table = {
    ("GET", "balance"): Endpoint(balance, 5, True),
    ("GET", "account"): Endpoint(account, 5, True),
    ("GET", "accountWithJoinMargin"): Endpoint(account, 5, True),
    ("GET", "positionRisk"): Endpoint(position_risk, 5, True),
    ("GET", "leverageBracket"): Endpoint(leverage_bracket, 1, True),
    ("GET", "commissionRate"): Endpoint(commission_rate, 20, True),
    ("POST", "leverage"): Endpoint(set_leverage, 1, True),
    ("POST", "marginType"): Endpoint(set_margin_type, 1, True),
    ("POST", "positionMargin"): Endpoint(adjust_margin, 1, True),
    ("GET", "positionMargin/history"): Endpoint(margin_history, 1, True),
    ("GET", "positionSide/dual"): Endpoint(position_mode, 30, True),
    ("POST", "positionSide/dual"): Endpoint(set_position_mode, 1, True),
    ("GET", "multiAssetsMargin"): Endpoint(assets_mode, 30, True),
    ("POST", "multiAssetsMargin"): Endpoint(set_assets_mode, 1, True),
    ("GET", "userTrades"): Endpoint(user_trades, 5, True),
    ("GET", "income"): Endpoint(income, 30, True),
    ("POST", "listenKey"): Endpoint(open_listen_key, 1, True),
    ("PUT", "listenKey"): Endpoint(renew_listen_key, 1, True),
    ("DELETE", "listenKey"): Endpoint(close_listen_key, 1, True),
    ("GET", "builder"): Endpoint(builders, 1, True),
    ("POST", "approveBuilder"): Endpoint(approve_builder, 1, True),
    ("DELETE", "builder"): Endpoint(remove_builder, 1, True),
    ("GET", "agent"): Endpoint(agents, 1, True),
    ("POST", "noop"): Endpoint(noop, 1, True),
}

SPOT: Table = {
    ("GET", "account"): Endpoint(spot_account, 5, True),
    ("GET", "openOrders"): Endpoint(lambda call: [], per_symbol(1, 40), True),
    ("POST", "asset/wallet/transfer"): Endpoint(spot_transfer, 5, True),
    ("POST", "listenKey"): Endpoint(open_listen_key, 1, True),
    ("PUT", "listenKey"): Endpoint(renew_listen_key, 1, True),
    ("DELETE", "listenKey"): Endpoint(close_listen_key, 1, True),
}
