"""Small records for tests of execution and runtime."""

from __future__ import annotations

import math
from dataclasses import replace

from engine.domain import (
    NS_PER_S,
    ApprovedOrder,
    Bar,
    BookTop,
    Fill,
    Instrument,
    MarkPrice,
    OrderSpec,
    OrderStatus,
    OrderUpdate,
    Purpose,
)
from engine.execution import orders as states
from engine.execution.orders import Order

NAN = math.nan
NOW = 1_000 * NS_PER_S
BTC = Instrument(
    symbol="BTCUSDT", base="BTC", quote="USDT", tick_size=0.1, lot_size=0.001, min_qty=0.001, max_qty=1000.0,
    max_market_qty=120.0, min_notional=5.0, price_band=0.02, max_leverage=125.0, maker_fee=0.0, taker_fee=0.0004,
)  # fmt: skip
TOP = BookTop("BTCUSDT", NOW, NOW, 49_999.9, 1.0, 50_000.1, 1.0)


def spec(side=1, qty=0.1, limit_px=49_999.9, **changes) -> OrderSpec:
    base = OrderSpec(
        "BTCUSDT", side, "LIMIT", qty, limit_px, NAN, "GTX", False, False, Purpose.TARGET.value
    )  # fmt: skip
    return base._replace(**changes)


def stop_spec(side=-1, stop_px=47_500.0) -> OrderSpec:
    return spec(
        side, 0.0, NAN, order_type="STOP_MARKET", stop_px=stop_px, tif="GTC", close_position=True, purpose="protect"
    )


def order(status=OrderStatus.NEW, a_spec=None, *, age_s=0.0, client_id="asabcd-1-1", **changes) -> Order:
    """An order as it is ``age_s`` seconds after it was made."""
    made = states.new_order(ApprovedOrder(client_id, 1, a_spec or spec(), 50_000.0), NOW - int(age_s * NS_PER_S))
    return replace(made, status=status, **changes)


def update(status="NEW", filled=0.0, avg=NAN, *, qty=0.1, client_id="asabcd-1-1", ts=NOW, **changes) -> OrderUpdate:
    base = OrderUpdate(
        "BTCUSDT", client_id, "77", status, 1, "LIMIT", "GTX", qty, filled, avg, 49_999.9, NAN, False, False, ts, ts
    )
    return base._replace(**changes)


def fill(qty=0.1, px=50_000.0, trade_id="1", client_id="asabcd-1-1", **changes) -> Fill:
    return Fill("BTCUSDT", trade_id, client_id, "77", qty, px, 0.0, 0.0, True, NOW, NOW)._replace(**changes)


def mark(px=50_000.0, symbol="BTCUSDT", ts=NOW) -> MarkPrice:
    return MarkPrice(symbol, ts, ts, px, px, 0.0001, 0)


def bar(ts_open=0, close_px=50_000.0, symbol="BTCUSDT", interval="1m", is_closed=True) -> Bar:
    return Bar(symbol, interval, ts_open, close_px - 1, close_px + 2, close_px - 3, close_px, 7.0, is_closed, NOW)
