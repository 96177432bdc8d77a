"""Every filter with the venue's code, and the contract table itself."""

import pytest
from sandbox_floor import BTC, NOW, buy, code, floor, place

from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.model import QUANTA


@pytest.mark.parametrize(
    ("expected", "side", "kind", "qty", "price", "terms"),
    [
        (-1121, 1, "LIMIT", 0.01, 60000.0, {"symbol": "NOPEUSDT"}),
        (-1117, 0, "LIMIT", 0.01, 60000.0, {}),
        (-1116, 1, "ICEBERG", 0.01, 60000.0, {}),
        (-1115, 1, "LIMIT", 0.01, 60000.0, {"tif": "PO"}),
        (-4061, 1, "LIMIT", 0.01, 60000.0, {"position_side": "LONG"}),
        (-1102, 1, "LIMIT", None, 60000.0, {}),
        (-1102, 1, "LIMIT", 0.01, None, {}),
        (-1102, 1, "STOP_MARKET", 0.01, None, {}),
        (-4003, 1, "LIMIT", 0.0, 60000.0, {}),
        (-4003, 1, "LIMIT", float("nan"), 60000.0, {}),
        (-4004, 1, "LIMIT", 0.0005, 60000.0, {}),
        (-4005, 1, "LIMIT", 1000.001, 60000.0, {}),
        (-4005, 1, "MARKET", 120.001, None, {}),
        (-4023, 1, "LIMIT", 0.0015, 60000.0, {}),
        (-4001, 1, "LIMIT", 0.01, -1.0, {}),
        (-4002, 1, "LIMIT", 0.01, 1e9, {}),
        (-4013, 1, "LIMIT", 0.01, 0.01, {}),
        (-4014, 1, "LIMIT", 0.01, 60000.05, {}),
        (-4006, 1, "STOP_MARKET", 0.01, None, {"stop_price": 0.0}),
        (-4016, 1, "LIMIT", 0.01, 61200.1, {}),
        (None, 1, "LIMIT", 0.01, 61200.0, {}),
        (None, 1, "LIMIT", 0.01, 30000.0, {}),
        (-4024, -1, "LIMIT", 0.01, 58799.9, {}),
        (None, -1, "LIMIT", 0.01, 58800.0, {}),
        (-4164, 1, "LIMIT", 0.001, 4999.0, {}),
        (-4015, 1, "LIMIT", 0.01, 60000.0, {"client_order_id": "a b"}),
        (-4015, 1, "LIMIT", 0.01, 60000.0, {"client_order_id": "x" * 37}),
        (-4015, 1, "LIMIT", 0.01, 60000.0, {"client_order_id": "autoclose-1"}),
        (-2007, 1, "TRAILING_STOP_MARKET", 0.01, None, {"callback_rate": 5.1}),
        (-2007, 1, "TRAILING_STOP_MARKET", 0.01, None, {}),
        (-4136, 1, "MARKET", None, None, {"close_position": True}),
        (-1106, 1, "STOP_MARKET", 0.01, None, {"stop_price": 61000.0, "close_position": True}),
        (-1106, 1, "STOP_MARKET", None, None, {"stop_price": 61000.0, "close_position": True, "reduce_only": True}),
        (-2022, 1, "STOP_MARKET", 0.01, None, {"stop_price": 61000.0, "reduce_only": True}),
    ],
)
def test_filter_codes(expected, side, kind, qty, price, terms):
    x = floor(deposit=1_000_000.0)
    before = x.totals()
    assert code(place, x, "ann", side, kind, qty, price, **terms) == expected
    if expected:
        assert x.open_orders("ann") == []
        assert x.totals() == before
        assert x.drain() == []


def test_unknown_account_is_unauthorised():
    assert code(place, floor(), "eve", 1, "LIMIT", 0.01, 60000.0) == -1002


def test_minimum_notional_is_waived_for_reduce_only():
    x = floor()
    x.set_prices(BTC, index=4000.0, now_ms=NOW)
    buy(x, "ann", 4000.0, 0.002)
    place(x, "ann", -1, "LIMIT", 0.001, 4000.0, tif="GTX", reduce_only=True)
    assert code(place, x, "ann", -1, "LIMIT", 0.001, 4000.0) == -4164
    assert code(place, x, "ann", -1, "MARKET", 0.001) == -4164
    assert [o.orig_lots for o in x.open_orders("ann")] == [1]


def test_client_ids_are_unique_among_open_orders_only():
    x = floor()
    first = place(x, "ann", 1, "LIMIT", 0.01, 59000.0, client_order_id="same")
    assert code(place, x, "ann", 1, "LIMIT", 0.01, 59000.0, client_order_id="same") == -4116
    assert place(x, "bob", 1, "LIMIT", 0.01, 59000.0, client_order_id="same").status == "NEW"
    x.cancel("ann", BTC, order_id=first.order_id, now_ms=NOW)
    second = place(x, "ann", 1, "LIMIT", 0.01, 59000.0, client_order_id="same")
    assert x.order("ann", BTC, client_order_id="same").order_id == second.order_id


def test_order_counts_are_limited():
    x = floor(deposit=1_000_000.0)
    for _ in range(200):
        place(x, "ann", 1, "LIMIT", 0.001, 59000.0)
    assert code(place, x, "ann", 1, "LIMIT", 0.001, 59000.0) == -2025
    for _ in range(10):
        place(x, "ann", 1, "STOP_MARKET", 0.001, stop_price=61000.0)
    assert code(place, x, "ann", 1, "STOP_MARKET", 0.001, stop_price=61000.0) == -4045


def test_one_close_position_order_per_direction_and_type():
    x = floor()
    terms = {"close_position": True}
    place(x, "ann", -1, "STOP_MARKET", None, stop_price=59000.0, **terms)
    place(x, "ann", -1, "TAKE_PROFIT_MARKET", None, stop_price=61000.0, **terms)
    assert code(place, x, "ann", -1, "STOP_MARKET", None, stop_price=58000.0, **terms) == -4130


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda c: c.symbol)
def test_contract_steps_are_whole_quanta_and_texts_round_trip(contract):
    assert contract.unit_q == pytest.approx(contract.tick_size * contract.lot_size * QUANTA, abs=1e-9)
    assert contract.unit_q >= 1
    assert contract.lot_q(contract.price(12_345)) == 12_345 * contract.unit_q
    assert contract.nearest_tick(float(contract.price_text(98_765))) == 98_765
    assert contract.nearest_lots(float(contract.qty_text(-777))) == -777
    assert contract.price_of_lot_q(12_345 * contract.unit_q) == contract.price(12_345)


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda c: c.symbol)
def test_brackets_are_continuous_and_margin_covers_maintenance(contract):
    for lower, upper in zip(contract.brackets, contract.brackets[1:], strict=False):
        assert lower.notional_cap == upper.notional_floor
        edge = lower.notional_cap
        assert edge * lower.maint_margin_ratio - lower.cum == pytest.approx(edge * upper.maint_margin_ratio - upper.cum)
        assert upper.initial_leverage < lower.initial_leverage
    assert all(b.maint_margin_ratio < 1 / b.initial_leverage for b in contract.brackets)


def test_known_leverage_points():
    known = {
        ("BTC", 40): 12e6,
        ("ETH", 20): 65e6,
        ("SOL", 20): 8e6,
        ("DOGE", 20): 4e6,
        ("BNB", 20): 2e6,
        ("XRP", 20): 2e6,
    }
    assert {k: CONTRACTS[f"{k[0]}USDT"].max_notional(k[1]) for k in known} == known
