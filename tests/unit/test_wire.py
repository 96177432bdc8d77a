"""The venue's messages, field by field, with messages of the shape that the venue documents."""

import doctest
import math
from decimal import Decimal

import pytest
from execution_builders import BTC, NAN, spec, stop_spec
from hypothesis import given
from hypothesis import strategies as st

from engine.domain import ApprovedOrder, OrderUpdate
from engine.errors import DataError
from engine.ports import MovedBalance
from engine.venues import wire

RX = 42
MS = 1_000_000
ORDER_EVENT = {
    "e": "ORDER_TRADE_UPDATE", "E": 1_700_000_000_123, "T": 1_700_000_000_120,
    "o": {
        "s": "BTCUSDT", "c": "ask3f9-1-1", "S": "SELL", "o": "LIMIT", "f": "GTC", "q": "0.300", "p": "50000.4",
        "ap": "50000.4", "sp": "0", "x": "TRADE", "X": "PARTIALLY_FILLED", "i": 8886774, "l": "0.100", "z": "0.200",
        "L": "50000.4", "N": "USDT", "n": "0.02", "T": 1_700_000_000_120, "t": 777, "m": True, "R": False,
        "wt": "CONTRACT_PRICE", "ot": "LIMIT", "ps": "BOTH", "cp": False, "rp": "-1.5",
    },
}  # fmt: skip
REST_ORDER = {
    "avgPrice": "0.00000", "clientOrderId": "ask3f9-1-1", "executedQty": "0", "orderId": 1917641, "origQty": "0.40",
    "origType": "STOP_MARKET", "price": "0", "reduceOnly": "true", "side": "BUY", "status": "NEW",
    "stopPrice": "51000", "closePosition": False, "symbol": "BTCUSDT", "time": 1_700_000_000_000,
    "timeInForce": "GTC", "type": "STOP_MARKET", "updateTime": 1_700_000_000_001,
}  # fmt: skip


def event(**changes):
    return ORDER_EVENT | {"o": ORDER_EVENT["o"] | changes}


def test_kline():
    k = {"t": 60_000, "T": 119_999, "s": "BTCUSDT", "i": "1m", "o": "1", "c": "4", "h": "5", "l": "0.5", "v": "7",
         "x": False}  # fmt: skip
    bar = wire.parse_kline({"e": "kline", "s": "BTCUSDT", "k": k}, RX)
    assert bar == ("BTCUSDT", "1m", 60_000 * MS, 1.0, 5.0, 0.5, 4.0, 7.0, False, RX)


def test_kline_row():
    row = [60_000, "1", "5", "0.5", "4", "7", 119_999, "28", 3, "1", "4", "0"]
    bar = wire.parse_kline_row("BTCUSDT", "1m", row)
    assert bar == ("BTCUSDT", "1m", 60_000 * MS, 1.0, 5.0, 0.5, 4.0, 7.0, True, 0)


@pytest.mark.parametrize(("buyer_is_maker", "side"), [(True, -1), (False, 1)])
def test_aggressor_is_the_side_that_was_not_the_maker(buyer_is_maker, side):
    raw = {"s": "BTCUSDT", "p": "50000.1", "q": "0.25", "T": 5, "m": buyer_is_maker}
    assert wire.parse_agg_trade(raw, RX) == ("BTCUSDT", 5 * MS, RX, 50_000.1, 0.25, side)


def test_depth_and_top():
    raw = {"s": "X", "E": 9, "T": 5, "b": [["1.0", "2"], ["0.9", "3"]], "a": [["1.1", "4"]]}
    assert wire.parse_depth(raw, RX) == ("X", 5 * MS, RX, ((1.0, 2.0), (0.9, 3.0)), ((1.1, 4.0),))
    raw = {"s": "X", "E": 9, "b": "1.0", "B": "2", "a": "1.1", "A": "4"}
    assert wire.parse_book_ticker(raw, RX) == ("X", 9 * MS, RX, 1.0, 2.0, 1.1, 4.0)


def test_mark_price_without_funding_is_unknown_and_not_zero():
    full = {"s": "X", "E": 9, "p": "1.5", "i": "1.4", "r": "0.0001", "T": 100}
    assert wire.parse_mark_price(full, RX) == ("X", 9 * MS, RX, 1.5, 1.4, 0.0001, 100 * MS)
    bare = wire.parse_mark_price({"s": "X", "E": 9, "p": "1.5", "r": ""}, RX)
    assert math.isnan(bare.funding_rate)
    assert math.isnan(bare.index_px)


def test_trade_event_is_an_order_and_a_fill_signed_by_side():
    update, fill = wire.parse_order_event(ORDER_EVENT, RX)
    assert (update.status, update.qty, update.filled_qty, update.avg_px) == ("PARTIALLY_FILLED", 0.3, 0.2, 50_000.4)
    assert (update.side, update.venue_order_id, update.ts_exchange) == (-1, "8886774", 1_700_000_000_120 * MS)
    assert math.isnan(update.stop_px)
    assert (fill.qty, fill.px, fill.fee, fill.pnl_realized) == (-0.1, 50_000.4, 0.02, -1.5)
    assert (fill.trade_id, fill.client_id, fill.is_maker) == ("777", "ask3f9-1-1", True)


@pytest.mark.parametrize("execution", ["NEW", "CANCELED", "EXPIRED"])
def test_event_that_is_no_trade_has_no_fill(execution):
    update, fill = wire.parse_order_event(event(x=execution, X=execution, l="0"), RX)
    assert (update.status, fill) == (execution, None)


def test_liquidation_fill_counts_as_a_fill():
    assert wire.parse_order_event(event(x="CALCULATED"), RX)[1].qty == -0.1


def test_triggered_stop_keeps_the_type_it_was_made_with():
    update, _ = wire.parse_order_event(event(o="MARKET", ot="STOP_MARKET", sp="49000", cp=True, x="NEW", X="NEW"), RX)
    assert (update.order_type, update.stop_px, update.close_position) == ("STOP_MARKET", 49_000.0, True)


@pytest.mark.parametrize(("raw", "status"), [("NEW_INSURANCE", "NEW"), ("NEW_ADL", "NEW")])
def test_statuses_of_liquidation(raw, status):
    assert wire.parse_order_event(event(X=raw, x="NEW"), RX)[0].status == status


def test_unheard_of_status_is_refused_at_the_edge():
    with pytest.raises(DataError, match="'PENDING_CANCEL' is not one of"):
        wire.parse_order_event(event(X="PENDING_CANCEL"), RX)


def test_rest_order_with_zero_prices_and_text_flags():
    update = wire.parse_order(REST_ORDER, RX)
    assert isinstance(update, OrderUpdate)
    assert (update.order_type, update.stop_px, update.reduce_only) == ("STOP_MARKET", 51_000.0, True)
    assert (update.close_position, update.qty, update.filled_qty) == (False, 0.4, 0.0)
    assert math.isnan(update.avg_px)
    assert math.isnan(update.limit_px)
    assert update.ts_exchange == 1_700_000_000_001 * MS


def test_user_trade_takes_our_id_from_the_caller():
    row = {"symbol": "BTCUSDT", "id": 5, "orderId": 9, "side": "SELL", "qty": "0.002", "price": "50000",
           "commission": "0.04", "realizedPnl": "1.25", "maker": False, "time": 7}  # fmt: skip
    fill = wire.parse_user_trade(row, "mine", RX)
    assert fill == ("BTCUSDT", "5", "mine", "9", -0.002, 50_000.0, 0.04, 1.25, False, 7 * MS, RX)


def test_account_event_reports_money_and_positions():
    raw = {"a": {"m": "ORDER", "B": [{"a": "BNB", "wb": "1"}, {"a": "USDT", "wb": "9998.5", "cw": "9998.5"}],
                 "P": [{"s": "BTCUSDT", "pa": "-0.100", "ep": "50000.4", "up": "0"}]}}  # fmt: skip
    money, position = wire.parse_account_event(raw, RX)
    assert money.cash == 9_998.5
    assert math.isnan(money.free_margin)
    assert (position.symbol, position.qty, position.entry_px) == ("BTCUSDT", -0.1, 50_000.4)
    assert math.isnan(position.leverage)
    assert wire.parse_account_event({"a": {"m": "ORDER"}}, RX) == []
    assert not isinstance(money, MovedBalance)


@pytest.mark.parametrize(("reason", "moved"), [("DEPOSIT", True), ("WITHDRAW", True), ("FUNDING_FEE", False)])
def test_account_event_tells_money_that_was_moved_from_money_that_was_made(reason, moved):
    (money,) = wire.parse_account_event({"a": {"m": reason, "B": [{"a": "USDT", "wb": "10"}]}}, RX)
    assert (isinstance(money, MovedBalance), money.cash) == (moved, 10.0)


def test_account_without_the_quote_asset_is_refused():
    row = {"asset": "USDT", "walletBalance": "10", "availableBalance": "8", "maintMargin": "1"}
    assert wire.parse_account({"assets": [{"asset": "BNB"}, row]}, RX) == (10.0, 8.0, 1.0, RX)
    with pytest.raises(DataError, match="no USDT row"):
        wire.parse_account({"assets": []}, RX)


def test_position_of_the_flat_has_no_liquidation_price():
    raw = {"symbol": "X", "positionAmt": "0.0", "entryPrice": "0.0", "markPrice": "5", "liquidationPrice": "0",
           "leverage": "20"}  # fmt: skip
    position = wire.parse_position(raw, RX)
    assert (position.qty, position.mark_px, position.leverage) == (0.0, 5.0, 20.0)
    assert math.isnan(position.liq_px)


def symbol_row(**changes):
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": "1", "maxPrice": "1000000", "tickSize": "0.1"},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "120", "stepSize": "0.001"},
        {"filterType": "MIN_NOTIONAL", "notional": "5"},
        {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0200", "multiplierDown": "0.9800"},
    ]
    row = {"symbol": "BTCUSDT", "status": "TRADING", "contractType": "PERPETUAL", "baseAsset": "BTC",
           "quoteAsset": "USDT", "filters": filters}  # fmt: skip
    return row | changes


def test_instruments_are_read_from_the_filters():
    found = wire.parse_instruments({"symbols": [symbol_row()]}, (0.0, 0.0004), {"BTCUSDT": 125.0})
    assert found["BTCUSDT"]._replace(price_band=0.02) == BTC
    assert found["BTCUSDT"].price_band == pytest.approx(0.02)


@pytest.mark.parametrize("change", [{"status": "SETTLING"}, {"quoteAsset": "USD1"}, {"contractType": None}])
def test_what_cannot_be_traded_here_is_left_out(change):
    assert wire.parse_instruments({"symbols": [symbol_row(**change)]}, (0.0, 0.0004), {}) == {}


def test_unknown_leverage_is_unknown():
    found = wire.parse_instruments({"symbols": [symbol_row()]}, (0.0, 0.0004), {})
    assert math.isnan(found["BTCUSDT"].max_leverage)


@pytest.mark.parametrize(
    ("value", "step", "down", "text"),
    [
        (0.3, 0.001, True, "0.3"),  # 0.3 / 0.001 is 299.99… in floats
        (0.0019999, 0.001, True, "0.001"),
        (0.1 + 0.2, 0.1, True, "0.3"),
        (50_000.04, 0.1, False, "50000"),
        (50_000.06, 0.1, False, "50000.1"),
        (1e-5, 1e-5, True, "0.00001"),
        (1_500_000.0, 1.0, True, "1500000"),
        (100.0, 10.0, False, "100"),
    ],
)
def test_number_on_the_grid(value, step, down, text):
    assert wire.on_grid(value, step, down=down) == text


@given(st.floats(1e-6, 1e6), st.sampled_from([1.0, 0.1, 0.01, 0.001, 1e-5]))
def test_grid_text_is_a_multiple_and_never_above_when_rounded_down(value, step):
    text = Decimal(wire.on_grid(value, step, down=True))
    assert text % Decimal(str(step)) == 0
    assert 0 <= Decimal(repr(value)) - text < Decimal(str(step))


def request_of(a_spec):
    return wire.order_request(ApprovedOrder("ask3f9-1-1", 1, a_spec, 50_000.0), BTC)


def test_limit_request():
    assert request_of(spec(1, 0.1, 49_999.9, reduce_only=True)) == {
        "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "newClientOrderId": "ask3f9-1-1",
        "newOrderRespType": "RESULT", "quantity": "0.1", "timeInForce": "GTX", "price": "49999.9",
        "reduceOnly": "true",
    }  # fmt: skip


def test_market_request_has_neither_price_nor_time_in_force():
    request = request_of(spec(-1, 0.25, NAN, order_type="MARKET"))
    assert (request["side"], request["quantity"]) == ("SELL", "0.25")
    assert not {"price", "timeInForce", "stopPrice", "reduceOnly", "closePosition"} & set(request)


def test_protective_stop_request_closes_all_at_the_mark_price():
    request = request_of(stop_spec(-1, 47_500.04))
    assert (request["type"], request["stopPrice"], request["workingType"]) == ("STOP_MARKET", "47500", "MARK_PRICE")
    assert request["closePosition"] == "true"
    assert not {"quantity", "reduceOnly", "price"} & set(request)


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(wire).failed == 0
