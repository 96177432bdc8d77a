"""exchangeInfo and the other static descriptions of what is listed."""

from __future__ import annotations

from typing import Any

from engine.venues.sandbox.contracts import Contract
from engine.venues.sandbox.options import SandboxOptions
from engine.venues.sandbox.views import ORDER_TYPES, TIMES_IN_FORCE
from engine.venues.sandbox.wire import trimmed

Json = dict[str, Any]


def exchange_info(contracts: dict[str, Contract], options: SandboxOptions, now_ms: int) -> Json:
    """Return futures exchangeInfo."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, options.weight_limit),
            _limit("ORDERS", "MINUTE", 1, options.order_limit_1m),
            _limit("ORDERS", "SECOND", 10, options.order_limit_10s),
        ],
        "exchangeFilters": [],
        "assets": [_asset("USDT")],
        "symbols": [_symbol(contract) for contract in contracts.values()],
    }


def spot_exchange_info(contracts: dict[str, Contract], now_ms: int) -> Json:
    """Return spot exchangeInfo: the assets, and no spot pair, since the practice exchange trades perpetuals only."""
    assets = ["USDT", *dict.fromkeys(contract.base for contract in contracts.values())]
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": [],
        "exchangeFilters": [],
        "assets": [_asset(name) for name in assets],
        "symbols": [],
    }


def _limit(kind: str, interval: str, count: int, limit: int) -> Json:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def _asset(name: str) -> Json:
    return {"asset": name, "marginAvailable": name == "USDT", "autoAssetExchange": "0"}


def _symbol(contract: Contract) -> Json:
    return {
        "symbol": contract.symbol,
        "pair": contract.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "maintMarginPercent": trimmed(contract.brackets[0].maint_margin_ratio * 100),
        "requiredMarginPercent": trimmed(100 / contract.max_leverage),
        "baseAsset": contract.base,
        "quoteAsset": contract.quote,
        "marginAsset": contract.quote,
        "pricePrecision": contract.price_precision,
        "quantityPrecision": contract.qty_precision,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "settlePlan": 0,
        "triggerProtect": trimmed(contract.trigger_protect),
        "liquidationFee": trimmed(contract.liquidation_fee),
        "marketTakeBound": trimmed(contract.market_take_bound),
        "filters": _filters(contract),
        "orderTypes": list(ORDER_TYPES),
        "timeInForce": list(TIMES_IN_FORCE),
    }


def _filters(contract: Contract) -> list[Json]:
    px, lot = trimmed(contract.tick_size), trimmed(contract.lot_size)
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": trimmed(contract.min_price),
            "maxPrice": trimmed(contract.max_price),
            "tickSize": px,
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": trimmed(contract.min_qty),
            "maxQty": trimmed(contract.max_qty),
            "stepSize": lot,
        },
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": trimmed(contract.min_qty),
            "maxQty": trimmed(contract.max_market_qty),
            "stepSize": lot,
        },
        {"filterType": "MAX_NUM_ORDERS", "limit": contract.max_orders},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": contract.max_algo},
        {"filterType": "MIN_NOTIONAL", "notional": trimmed(contract.min_notional)},
        {
            "filterType": "PERCENT_PRICE",
            "multiplierUp": trimmed(1 + contract.percent_price),
            "multiplierDown": trimmed(1 - contract.percent_price),
            "multiplierDecimal": "4",
        },
    ]
