"""Aster's wire format: raw messages in, domain records out, and orders the other way. Pure; no socket, no clock.

Field names are the venue's. Anything unexpected raises here, at the edge, and never further in.
"""

from __future__ import annotations

import math
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Any

from engine.domain import (
    NS_PER_MS,
    ApprovedOrder,
    BalanceReport,
    Bar,
    BookSnapshot,
    BookTop,
    Fill,
    Income,
    Instrument,
    MarketTrade,
    MarkPrice,
    OrderStatus,
    OrderType,
    OrderUpdate,
    PositionReport,
    Side,
    Tif,
)
from engine.errors import DataError
from engine.ports import MovedBalance

QUOTE_ASSET = "USDT"
MONEY_MOVED = frozenset({
    "DEPOSIT", "WITHDRAW", "WITHDRAW_REJECT", "MARGIN_TRANSFER", "ASSET_TRANSFER", "ADMIN_DEPOSIT", "ADMIN_WITHDRAW",
    "COIN_SWAP_DEPOSIT", "COIN_SWAP_WITHDRAW",
})  # fmt: skip
"""Reasons of an ACCOUNT_UPDATE by which cash changes without any trading."""

_STATUS = {
    "NEW": OrderStatus.NEW,
    "PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "EXPIRED": OrderStatus.EXPIRED,
    "REJECTED": OrderStatus.REJECTED,
    "NEW_INSURANCE": OrderStatus.NEW,
    "NEW_ADL": OrderStatus.NEW,
}


def _ns(ms: Any) -> int:
    return int(ms) * NS_PER_MS


def _px_or_nan(value: Any) -> float:
    number = float(value) if value not in (None, "") else 0.0
    return number if number > 0 else math.nan


def _order_status(raw: str) -> str:
    try:
        return _STATUS[raw].value
    except KeyError:
        raise DataError(f"order status {raw!r} is not one of {', '.join(_STATUS)}") from None


# market data -------------------------------------------------------------------------------------------------------


def parse_kline(raw: dict[str, Any], ts_received: int) -> Bar:
    """Return the bar of one ``kline`` event."""
    k = raw["k"]
    return Bar(
        raw["s"], k["i"], _ns(k["t"]), float(k["o"]), float(k["h"]), float(k["l"]), float(k["c"]), float(k["v"]),
        bool(k["x"]), ts_received,
    )  # fmt: skip


def parse_kline_row(symbol: str, interval: str, row: list[Any]) -> Bar:
    """Return the bar of one row of a klines answer."""
    ts_open, open_px, high_px, low_px, close_px, volume = row[:6]
    return Bar(
        symbol, interval, int(ts_open) * NS_PER_MS, float(open_px), float(high_px), float(low_px), float(close_px),
        float(volume),
    )  # fmt: skip


def parse_agg_trade(raw: dict[str, Any], ts_received: int) -> MarketTrade:
    """Return the trade of one ``aggTrade`` event; the aggressor sells when the buyer was the maker."""
    side = Side.SELL if raw["m"] else Side.BUY
    return MarketTrade(raw["s"], _ns(raw["T"]), ts_received, float(raw["p"]), float(raw["q"]), int(side))


def parse_depth(raw: dict[str, Any], ts_received: int) -> BookSnapshot:
    """Return the book of one partial-depth event, best level first."""
    bids = tuple((float(px), float(qty)) for px, qty in raw["b"])
    asks = tuple((float(px), float(qty)) for px, qty in raw["a"])
    return BookSnapshot(raw["s"], _ns(raw.get("T") or raw["E"]), ts_received, bids, asks)


def parse_book_ticker(raw: dict[str, Any], ts_received: int) -> BookTop:
    """Return the best bid and ask of one ``bookTicker`` event."""
    return BookTop(
        raw["s"], _ns(raw.get("T") or raw["E"]), ts_received, float(raw["b"]), float(raw["B"]), float(raw["a"]),
        float(raw["A"]),
    )  # fmt: skip


def parse_mark_price(raw: dict[str, Any], ts_received: int) -> MarkPrice:
    """Return the mark price of one ``markPriceUpdate`` event."""
    rate = float(raw["r"]) if raw.get("r") not in (None, "") else math.nan
    return MarkPrice(
        raw["s"], _ns(raw["E"]), ts_received, float(raw["p"]), float(raw.get("i") or math.nan), rate,
        _ns(raw.get("T") or 0),
    )  # fmt: skip


def parse_instruments(
    raw: dict[str, Any], fees: tuple[float, float], leverage: dict[str, float]
) -> dict[str, Instrument]:
    """Return tradable USDT perpetuals of an exchangeInfo answer.

    Parameters
    ----------
    raw : dict
        exchangeInfo.
    fees : (maker, taker)
        Fractions, from commissionRate.
    leverage : dict
        Largest leverage by symbol, from leverageBracket.
    """
    found = {}
    for row in raw["symbols"]:
        if row.get("status") != "TRADING" or not row.get("contractType") or row.get("quoteAsset") != QUOTE_ASSET:
            continue
        filters = {item["filterType"]: item for item in row["filters"]}
        lot, market_lot = filters["LOT_SIZE"], filters.get("MARKET_LOT_SIZE", filters["LOT_SIZE"])
        band = filters.get("PERCENT_PRICE", {})
        found[row["symbol"]] = Instrument(
            symbol=row["symbol"],
            base=row["baseAsset"],
            quote=row["quoteAsset"],
            tick_size=float(filters["PRICE_FILTER"]["tickSize"]),
            lot_size=float(lot["stepSize"]),
            min_qty=float(lot["minQty"]),
            max_qty=float(lot["maxQty"]),
            max_market_qty=float(market_lot["maxQty"]),
            min_notional=float(filters.get("MIN_NOTIONAL", {}).get("notional", 0.0)),
            price_band=float(band["multiplierUp"]) - 1.0 if band else math.nan,
            max_leverage=leverage.get(row["symbol"], math.nan),
            maker_fee=fees[0],
            taker_fee=fees[1],
        )
    return found


# account -----------------------------------------------------------------------------------------------------------


def parse_order(raw: dict[str, Any], ts_received: int) -> OrderUpdate:
    """Return the state of an order from a REST answer."""
    return OrderUpdate(
        symbol=raw["symbol"],
        client_id=raw["clientOrderId"],
        venue_order_id=str(raw["orderId"]),
        status=_order_status(raw["status"]),
        side=int(Side[raw["side"]]),
        order_type=raw.get("origType") or raw["type"],
        tif=raw.get("timeInForce") or Tif.GTC.value,
        qty=float(raw["origQty"]),
        filled_qty=float(raw["executedQty"]),
        avg_px=_px_or_nan(raw.get("avgPrice")),
        limit_px=_px_or_nan(raw.get("price")),
        stop_px=_px_or_nan(raw.get("stopPrice")),
        reduce_only=_flag(raw.get("reduceOnly")),
        close_position=_flag(raw.get("closePosition")),
        ts_exchange=_ns(raw.get("updateTime") or raw.get("time") or 0),
        ts_received=ts_received,
    )


def _flag(value: Any) -> bool:
    return value is True or str(value).lower() == "true"


def parse_order_event(raw: dict[str, Any], ts_received: int) -> tuple[OrderUpdate, Fill | None]:
    """Return the order and, when it traded, our fill, of one ORDER_TRADE_UPDATE."""
    o = raw["o"]
    side = Side[o["S"]]
    update = OrderUpdate(
        symbol=o["s"],
        client_id=o["c"],
        venue_order_id=str(o["i"]),
        status=_order_status(o["X"]),
        side=int(side),
        order_type=o.get("ot") or o["o"],
        tif=o["f"],
        qty=float(o["q"]),
        filled_qty=float(o["z"]),
        avg_px=_px_or_nan(o.get("ap")),
        limit_px=_px_or_nan(o.get("p")),
        stop_px=_px_or_nan(o.get("sp")),
        reduce_only=_flag(o.get("R")),
        close_position=_flag(o.get("cp")),
        ts_exchange=_ns(o.get("T") or raw["E"]),
        ts_received=ts_received,
    )
    if o["x"] not in ("TRADE", "CALCULATED") or float(o.get("l") or 0.0) == 0.0:
        return update, None
    fill = Fill(
        symbol=o["s"],
        trade_id=str(o["t"]),
        client_id=o["c"],
        venue_order_id=str(o["i"]),
        qty=float(o["l"]) * side,
        px=float(o["L"]),
        fee=float(o.get("n") or 0.0),
        pnl_realized=float(o.get("rp") or 0.0),
        is_maker=_flag(o.get("m")),
        ts_filled=_ns(o["T"]),
        ts_received=ts_received,
    )
    return update, fill


def parse_user_trade(raw: dict[str, Any], client_id: str, ts_received: int) -> Fill:
    """Return one row of userTrades, which carries the venue's order id but not ours."""
    side = Side[raw["side"]]
    return Fill(
        raw["symbol"], str(raw["id"]), client_id, str(raw["orderId"]), float(raw["qty"]) * side, float(raw["price"]),
        float(raw["commission"]), float(raw["realizedPnl"]), _flag(raw["maker"]), _ns(raw["time"]), ts_received,
    )  # fmt: skip


def parse_income(raw: dict[str, Any]) -> Income:
    """Return one row of income: a change of the wallet, signed."""
    return Income(
        str(raw["tranId"]), raw["incomeType"], raw.get("symbol") or "", float(raw["income"]), _ns(raw["time"])
    )


def parse_account_event(raw: dict[str, Any], ts_received: int) -> list[BalanceReport | PositionReport]:
    """Return what one ACCOUNT_UPDATE says about money and positions. Margins are not pushed and stay NaN."""
    a = raw["a"]
    kind = MovedBalance if a.get("m") in MONEY_MOVED else BalanceReport
    reports: list[BalanceReport | PositionReport] = [
        kind(float(b["wb"]), math.nan, math.nan, ts_received) for b in a.get("B", []) if b["a"] == QUOTE_ASSET
    ]
    for p in a.get("P", []):
        reports.append(
            PositionReport(p["s"], float(p["pa"]), float(p["ep"]), math.nan, math.nan, math.nan, ts_received)
        )
    return reports


def parse_position(raw: dict[str, Any], ts_received: int) -> PositionReport:
    """Return one row of positionRisk."""
    return PositionReport(
        raw["symbol"], float(raw["positionAmt"]), float(raw["entryPrice"]), _px_or_nan(raw.get("markPrice")),
        _px_or_nan(raw.get("liquidationPrice")), float(raw["leverage"]), ts_received,
    )  # fmt: skip


def parse_account(raw: dict[str, Any], ts_received: int) -> BalanceReport:
    """Return the money of a v4 account answer."""
    for row in raw["assets"]:
        if row["asset"] == QUOTE_ASSET:
            return BalanceReport(
                float(row["walletBalance"]), float(row["availableBalance"]), float(row["maintMargin"]), ts_received
            )
    raise DataError(
        f"the account answer has no {QUOTE_ASSET} row: this program trades contracts settled in {QUOTE_ASSET}"
    )


# orders out --------------------------------------------------------------------------------------------------------


def on_grid(value: float, step: float, *, down: bool) -> str:
    """Return a decimal string on the step's grid: quantities rounded down, prices to the nearest.

    >>> on_grid(0.0019999, 0.001, down=True)
    '0.001'
    """
    grid = Decimal(str(step))
    rounding = ROUND_DOWN if down else ROUND_HALF_EVEN
    # repr gives the shortest text of the float, so 0.3 stays 0.3 and is not 0.299999…
    steps = (Decimal(repr(float(value))) / grid).quantize(Decimal(1), rounding=rounding)
    return format((steps * grid).normalize(), "f")


def order_request(order: ApprovedOrder, instrument: Instrument) -> dict[str, str]:
    """Return the parameters of POST order for an approved order."""
    spec = order.spec
    request = {
        "symbol": spec.symbol,
        "side": Side(spec.side).name,
        "type": spec.order_type,
        "newClientOrderId": order.client_id,
        "newOrderRespType": "RESULT",
    }
    if not spec.close_position:
        request["quantity"] = on_grid(spec.qty, instrument.lot_size, down=True)
    if spec.order_type in (OrderType.LIMIT, OrderType.STOP, OrderType.TAKE_PROFIT):
        request["timeInForce"] = spec.tif
        request["price"] = on_grid(spec.limit_px, instrument.tick_size, down=False)
    if spec.order_type not in (OrderType.LIMIT, OrderType.MARKET):
        request["stopPrice"] = on_grid(spec.stop_px, instrument.tick_size, down=False)
        request["workingType"] = "MARK_PRICE"
    if spec.close_position:
        request["closePosition"] = "true"
    elif spec.reduce_only:
        request["reduceOnly"] = "true"
    return request
