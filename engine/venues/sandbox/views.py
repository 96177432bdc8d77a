"""The venue's JSON objects, built from the exchange's records. Quantities and prices are exact decimal strings."""

from __future__ import annotations

from typing import Any

from engine.venues.sandbox.contracts import Contract
from engine.venues.sandbox.model import AccountView, Income, Order, PositionView, UserTrade
from engine.venues.sandbox.wire import money, trimmed

Json = dict[str, Any]

ORDER_TYPES = ("LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX", "HIDDEN")
MARGIN_TYPE = {"CROSSED": "cross", "ISOLATED": "isolated"}


def side_name(side: int) -> str:
    """Return BUY or SELL."""
    return "BUY" if side > 0 else "SELL"


def average_px(order: Order, contract: Contract) -> str:
    """Return the mean fill price as a string with one more digit pair than the tick, "0" when nothing is filled."""
    if order.executed_lots == 0:
        return "0"
    px = order.cum_quote_q / 1e8 / (order.executed_lots * contract.lot_size)
    return f"{px:.{contract.price_precision + 2}f}"


def order_view(order: Order, contract: Contract) -> Json:
    """Return an order as REST shows it."""
    view: Json = {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": order.status,
        "clientOrderId": order.client_order_id,
        "price": contract.price_text(order.price_tick),
        "avgPrice": average_px(order, contract),
        "origQty": contract.qty_text(order.orig_lots),
        "executedQty": contract.qty_text(order.executed_lots),
        "cumQty": contract.qty_text(order.executed_lots),
        "cumQuote": money(order.cum_quote_q),
        "timeInForce": order.tif,
        "type": order.type,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": side_name(order.side),
        "positionSide": order.position_side,
        "stopPrice": contract.price_text(order.stop_tick),
        "workingType": order.working_type,
        "priceProtect": order.price_protect,
        "origType": order.orig_type,
        "time": order.time_ms,
        "updateTime": order.update_ms,
    }
    if order.orig_type == "TRAILING_STOP_MARKET":
        view["activatePrice"] = contract.price_text(order.activation_tick)
        view["priceRate"] = trimmed(order.callback_rate)
    return view


def ack_view(order: Order, contract: Contract) -> Json:
    """Return an order as the venue's ACK shows it: accepted, whatever has filled since comes by stream."""
    if order.status == "REJECTED":
        return order_view(order, contract)
    view = order_view(order, contract)
    zero = contract.qty_text(0)
    view.update(
        status="NEW", avgPrice="0", executedQty=zero, cumQty=zero, cumQuote=money(0), updateTime=order.time_ms,
        type=order.orig_type,
    )  # fmt: skip
    return view


def user_trade_view(trade: UserTrade, contract: Contract) -> Json:
    """Return one fill as userTrades shows it. Commission is positive when paid."""
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "side": side_name(trade.side),
        "price": contract.price_text(trade.price_tick),
        "qty": contract.qty_text(trade.lots),
        "quoteQty": money(trade.quote_q),
        "realizedPnl": money(trade.realized_q),
        "commission": money(trade.commission_q),
        "commissionAsset": "USDT",
        "time": trade.time_ms,
        "positionSide": "BOTH",
        "maker": trade.is_maker,
        "buyer": trade.side > 0,
    }


def income_view(income: Income) -> Json:
    """Return one change of the wallet as income shows it."""
    return {
        "symbol": income.symbol,
        "incomeType": income.income_type,
        "income": money(income.amount_q),
        "asset": "USDT",
        "info": income.income_type,
        "time": income.time_ms,
        "tranId": str(income.tran_id),
        "tradeId": str(income.trade_id) if income.trade_id else "",
    }


def signed_qty(position: PositionView, contract: Contract) -> str:
    """Return a position's quantity as an exact string."""
    return contract.qty_text(contract.nearest_lots(position.qty))


def position_risk_view(position: PositionView, contract: Contract) -> Json:
    """Return one row of positionRisk. ``notional`` is signed like the quantity."""
    return {
        "symbol": position.symbol,
        "positionAmt": signed_qty(position, contract),
        "entryPrice": trimmed(position.entry_px) if position.qty else "0.0",
        "markPrice": trimmed(position.mark_px),
        "unRealizedProfit": f"{position.unrealized:.8f}",
        "liquidationPrice": trimmed(position.liq_px),
        "leverage": str(position.leverage),
        "maxNotionalValue": trimmed(position.max_notional),
        "marginType": MARGIN_TYPE.get(position.margin_type.upper(), "cross"),
        "isolatedMargin": "0.00000000",
        "isAutoAddMargin": "false",
        "positionSide": "BOTH",
        "notional": f"{signed_notional(position):.8f}",
        "isolatedWallet": "0",
        "updateTime": position.update_ms,
    }


def signed_notional(position: PositionView) -> float:
    """Return a position's value at the mark, negative when short, USDT."""
    return abs(position.notional) if position.qty >= 0 else -abs(position.notional)


def balance_view(account: AccountView) -> list[Json]:
    """Return the rows of ``balance``. Only USDT is held."""
    return [
        {
            "accountAlias": account.account_id[-4:],
            "asset": "USDT",
            "balance": f"{account.wallet_balance:.8f}",
            "crossWalletBalance": f"{account.wallet_balance:.8f}",
            "crossUnPnl": f"{account.unrealized:.8f}",
            "availableBalance": f"{account.available:.8f}",
            "maxWithdrawAmount": f"{withdrawable(account):.8f}",
            "marginAvailable": True,
            "updateTime": account.update_ms,
        }
    ]


def withdrawable(account: AccountView) -> float:
    """Return what could leave the account, USDT: free margin, unrealised profit excluded."""
    return max(0.0, min(account.available, account.wallet_balance - account.initial_margin))


def account_view(account: AccountView, contracts: dict[str, Contract]) -> Json:
    """Return ``/fapi/v4/account`` and ``accountWithJoinMargin``: totals, one asset, every listed position."""
    order_margin = account.initial_margin - sum(p.initial_margin for p in account.positions.values())
    totals = {
        "WalletBalance": account.wallet_balance,
        "UnrealizedProfit": account.unrealized,
        "MarginBalance": account.margin_balance,
        "InitialMargin": account.initial_margin,
        "MaintMargin": account.maint_margin,
        "PositionInitialMargin": account.initial_margin - order_margin,
        "OpenOrderInitialMargin": max(0.0, order_margin),
        "CrossWalletBalance": account.wallet_balance,
        "CrossUnPnl": account.unrealized,
    }
    fields = {name: f"{value:.8f}" for name, value in totals.items()}
    asset: Json = {name[0].lower() + name[1:]: text for name, text in fields.items()}
    asset |= {
        "asset": "USDT",
        "availableBalance": f"{account.available:.8f}",
        "maxWithdrawAmount": f"{withdrawable(account):.8f}",
        "marginAvailable": True,
        "updateTime": account.update_ms,
    }
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "updateTime": account.update_ms,
        "multiAssetsMargin": False,
        **{f"total{name}": text for name, text in fields.items()},
        "availableBalance": f"{account.available:.8f}",
        "maxWithdrawAmount": f"{withdrawable(account):.8f}",
        "assets": [asset],
        "positions": [_account_position(account.positions[s], contracts[s]) for s in account.positions],
    }


def _account_position(position: PositionView, contract: Contract) -> Json:
    return {
        "symbol": position.symbol,
        "initialMargin": f"{position.initial_margin:.8f}",
        "maintMargin": f"{position.maint_margin:.8f}",
        "unrealizedProfit": f"{position.unrealized:.8f}",
        "positionInitialMargin": f"{position.initial_margin:.8f}",
        "openOrderInitialMargin": "0",
        "leverage": str(position.leverage),
        "isolated": position.margin_type.upper() == "ISOLATED",
        "entryPrice": trimmed(position.entry_px) if position.qty else "0.0",
        "maxNotional": trimmed(position.max_notional),
        "positionSide": "BOTH",
        "positionAmt": signed_qty(position, contract),
        "notional": f"{signed_notional(position):.8f}",
        "isolatedWallet": "0",
        "updateTime": position.update_ms,
    }


def bracket_view(contract: Contract) -> Json:
    """Return one row of leverageBracket."""
    return {
        "symbol": contract.symbol,
        "brackets": [
            {
                "bracket": step.bracket,
                "initialLeverage": step.initial_leverage,
                "notionalCap": step.notional_cap,
                "notionalFloor": step.notional_floor,
                "maintMarginRatio": step.maint_margin_ratio,
                "cum": step.cum,
            }
            for step in contract.brackets
        ],
    }
