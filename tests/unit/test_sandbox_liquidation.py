"""Liquidation prices against the closed form, and every step of a liquidation in money."""

import pytest
from sandbox_floor import BTC, ETH, NOW, bid, buy, floor, place, sell

from engine.venues.sandbox.model import LiquidationEvent, MarginCallEvent, OrderEvent
from engine.venues.sandbox.state import INSURANCE


def leveraged_long():
    """Return a floor where ann is long 0.5 BTC at 60000 with 988 USDT (1000 less 4 bp of 30000)."""
    x = floor(deposit=1_000.0, leverage=100)
    buy(x, "ann", 60000.0, 0.5)
    assert x.account("ann").wallet_balance == 988.0
    x.drain()
    return x


@pytest.mark.parametrize(
    ("deposit", "leverage", "side", "qty", "expected"),
    [
        (1_000.0, 100, 1, 0.5, (30_000 - 988) / (0.5 * (1 - 0.005))),
        (1_000.0, 100, -1, 0.5, (30_000 + 988) / (0.5 * (1 + 0.005))),
        # 600 k of notional: second bracket, maintenance 0.65 % less 450
        (20_000.0, 50, 1, 10.0, (600_000 - 19_760 - 450) / (10 * (1 - 0.0065))),
        (20_000.0, 50, -1, 10.0, (600_000 + 19_760 + 450) / (10 * (1 + 0.0065))),
        (10_000.0, 20, 1, 0.1, 0.0),  # cash covers a fall to zero
    ],
)
def test_liquidation_price_is_the_closed_form_and_is_where_it_happens(deposit, leverage, side, qty, expected):
    x = floor(deposit, leverage)
    (buy if side > 0 else sell)(x, "ann", 60000.0, qty)
    liq = x.account("ann").positions[BTC].liq_px
    assert liq == pytest.approx(expected, abs=1e-3)
    if expected:
        x.set_prices(BTC, index=liq + side * 0.01, now_ms=NOW)
        assert x.account("ann").positions[BTC].qty == side * qty
        x.set_prices(BTC, index=liq - side * 0.01, now_ms=NOW)
        assert x.account("ann").positions[BTC].qty == 0.0


def test_liquidation_price_counts_the_other_positions():
    x = floor(deposit=1_000.0, leverage=100)
    buy(x, "ann", 60000.0, 0.2)
    sell(x, "ann", 3000.0, 1.0, symbol=ETH)
    x.set_prices(ETH, index=3100.0, now_ms=NOW)
    wallet = 1_000 - 0.0004 * (12_000 + 3_000)
    others = wallet - 100 - 0.005 * 3_100
    assert x.account("ann").positions[BTC].liq_px == pytest.approx((12_000 - others) / (0.2 * 0.995), abs=1e-3)


def test_margin_call_comes_first_and_once():
    x = leveraged_long()
    x.set_prices(BTC, index=58_400.0, now_ms=NOW)  # balance 188, maintenance 146: 78 %
    assert not [e for e in x.drain() if isinstance(e, MarginCallEvent)]
    x.set_prices(BTC, index=58_380.0, now_ms=NOW + 1)  # 178 against 145.95: 82 %
    x.set_prices(BTC, index=58_370.0, now_ms=NOW + 2)
    assert [e for e in x.drain() if isinstance(e, MarginCallEvent)] == [MarginCallEvent("ann", NOW + 1, (BTC,))]
    x.set_prices(BTC, index=60_000.0, now_ms=NOW + 3)
    x.set_prices(BTC, index=58_300.0, now_ms=NOW + 4)
    kinds = [type(e) for e in x.drain() if isinstance(e, (MarginCallEvent, LiquidationEvent))]
    assert kinds == [MarginCallEvent, LiquidationEvent]


def test_the_book_closes_the_position_and_the_fee_takes_what_is_left():
    x = leveraged_long()
    resting = place(x, "ann", 1, "LIMIT", 0.1, 58_200.0)
    bid(x, 58_300.0, 1.0)
    x.drain()
    fund = x.totals()["insurance"]
    x.set_prices(BTC, index=58_300.0, now_ms=NOW)  # balance 138, maintenance 145.75
    events = x.drain()
    assert resting.status == "CANCELED"
    forced = [e for e in events if isinstance(e, OrderEvent) and e.order.client_order_id.startswith("autoclose-")]
    assert [(e.execution_type, e.order.status, e.last_tick) for e in forced] == [
        ("NEW", "NEW", 0),
        ("CALCULATED", "FILLED", 583_000),
    ]
    left_q = (988 - 850) * 10**8 - 1_166_000_000  # loss 850, taker fee 11.66
    (liquidation,) = (e for e in events if isinstance(e, LiquidationEvent))
    assert (liquidation.fee_q, liquidation.taken_lots) == (left_q, 0)
    assert x.totals()["insurance"] - fund == left_q
    assert x.account("ann").wallet_balance == 0.0


def test_without_bids_the_fund_takes_over_at_the_bankruptcy_price_and_unwinds_later():
    x = leveraged_long()
    x.set_prices(BTC, index=57_000.0, now_ms=NOW)  # 512 below zero
    (liquidation,) = (e for e in x.drain() if isinstance(e, LiquidationEvent))
    assert (liquidation.taken_lots, liquidation.order.status) == (500, "FILLED")
    assert x.account("ann").wallet_balance == 0.0
    fund = x._state.accounts[INSURANCE]
    assert (fund.positions[BTC].lots, fund.positions[BTC].cost_q) == (500, 500 * 580_240 * 10_000)
    assert x.totals()["insurance"] == (1_000_000 - 512) * 10**8
    bid(x, 57_000.0, 0.3)
    x.advance(NOW + 1000)
    assert fund.positions[BTC].lots == 200
    totals = x.totals()
    assert totals.pop("deposits") == sum(totals.values())


def test_book_and_fund_share_a_forced_close_in_one_order():
    x = leveraged_long()
    bid(x, 58_300.0, 0.2)
    x.set_prices(BTC, index=58_300.0, now_ms=NOW)
    fills = [e for e in x.drain() if isinstance(e, OrderEvent) and e.order.account_id == "ann"]
    # The bankruptcy price stays where it was: the sale at mark moves no balance but its fee.
    assert [(e.execution_type, e.order.status, e.last_lots) for e in fills] == [
        ("NEW", "NEW", 0), ("CALCULATED", "PARTIALLY_FILLED", 200), ("CALCULATED", "FILLED", 300),
    ]  # fmt: skip
    assert [(t.price_tick, t.lots) for t in x.user_trades("ann")][1:] == [(583_000, 200), (580_240, 300)]


def test_the_fund_pays_a_wallet_that_fees_pushed_below_zero():
    x = leveraged_long()
    bid(x, 58_024.0, 1.0)  # exactly the bankruptcy price
    fund = x.totals()["insurance"]
    x.set_prices(BTC, index=58_200.0, now_ms=NOW)
    fee_q = 29_012 * 40_000
    assert x.account("ann").wallet_balance == 0.0
    assert x.totals()["insurance"] == fund - fee_q
    assert [r.amount_q for r in x.income("ann", income_type="INSURANCE_CLEAR")] == [fee_q]


def test_liquidation_stops_as_soon_as_the_rest_is_safe():
    x = floor(deposit=1_000.0, leverage=100)
    buy(x, "ann", 60000.0, 0.5)
    buy(x, "ann", 3000.0, 0.1, symbol=ETH)
    x._state.listings[BTC].contract = x.contracts[BTC]._replace(liquidation_fee=0.001)
    bid(x, 58_300.0, 1.0)
    x.set_prices(BTC, index=58_300.0, now_ms=NOW)
    view = x.account("ann")
    assert (view.positions[BTC].qty, view.positions[ETH].qty) == (0.0, 0.1)
    assert view.wallet_balance == pytest.approx(1_000 - 12 - 0.12 - 850 - 0.0004 * 29_150 - 0.001 * 29_150, abs=1e-6)
