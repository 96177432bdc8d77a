"""Fees, profit, cost accounting, funding and margin with numbers worked out by hand."""

import pytest
from sandbox_floor import BTC, ETH, NOW, ask, bid, buy, code, floor, place, sell

from engine.venues.sandbox.accounts import Position, window
from engine.venues.sandbox.model import AccountEvent, ConfigEvent, FundingEvent, Income


def test_taker_pays_four_basis_points_and_maker_nothing():
    x = floor()
    place(x, "bob", -1, "LIMIT", 0.1, 60000.1)
    ask(x, 60000.2, 0.1)
    place(x, "ann", 1, "MARKET", 0.15)
    assert x.account("ann").wallet_balance == pytest.approx(
        10_000 - 0.0004 * (0.1 * 60000.1 + 0.05 * 60000.2), abs=1e-8
    )
    assert x.account("bob").wallet_balance == 10_000.0
    assert x.totals()["fees"] == 360_000_800
    assert [(t.commission_q, t.is_maker) for t in x.user_trades("ann")] == [(240_000_400, False), (120_000_400, False)]
    assert [(t.commission_q, t.is_maker) for t in x.user_trades("bob")] == [(0, True)]


def test_flip_realises_the_old_side_and_opens_the_new_at_its_price():
    x = floor()
    buy(x, "ann", 60000.0, 0.1)
    sell(x, "ann", 61000.0, 0.3)
    view = x.account("ann")
    position = view.positions[BTC]
    assert (position.qty, position.entry_px) == (-0.2, 61000.0)
    assert [r.amount_q for r in x.income("ann", income_type="REALIZED_PNL")] == [100 * 10**8]
    assert view.wallet_balance == pytest.approx(10_000 + 100 - 0.0004 * (6_000 + 18_300), abs=1e-8)
    assert position.unrealized == pytest.approx(0.2 * (61_000 - x.mark(BTC)), abs=1e-8)


def test_average_entry_survives_a_partial_close():
    x = floor()
    buy(x, "ann", 60000.0, 0.1)
    buy(x, "ann", 60300.0, 0.2)
    sell(x, "ann", 60100.0, 0.15)
    position = x.account("ann").positions[BTC]
    assert (position.qty, position.entry_px) == (0.15, 60200.0)
    assert [r.amount_q for r in x.income("ann", income_type="REALIZED_PNL")] == [-15 * 10**8]


@pytest.mark.parametrize("sign", [1, -1])
def test_odd_costs_never_leak_a_quantum(sign):
    position, cash = Position(), 0
    for lots, lot_q in ((3 * sign, 1000), (4 * sign, 1001), (-2 * sign, 997), (-4 * sign, 1003), (-1 * sign, 999)):
        before = position.unrealized_q(1234) + cash
        cash += position.fill(lots, lot_q)
        assert position.unrealized_q(1234) + cash == before + lots * (1234 - lot_q)
    assert (position.lots, position.cost_q) == (0, 0)
    assert cash == sign * (2 * 997 + 4 * 1003 + 999 - 3 * 1000 - 4 * 1001)


def test_longs_pay_shorts_a_positive_funding_rate():
    x = floor()
    place(x, "bob", -1, "LIMIT", 0.1, 60000.0)
    place(x, "ann", 1, "MARKET", 0.1)
    before = {n: x.account(n).wallet_balance for n in ("ann", "bob")}
    x.drain()
    x.settle_funding(BTC, 0.0001, NOW)
    paid = {n: x.account(n).wallet_balance - before[n] for n in ("ann", "bob")}
    assert paid["ann"] == pytest.approx(-0.6, abs=1e-8)
    assert paid["bob"] == pytest.approx(0.6, abs=1e-8)
    assert x.income("ann", income_type="FUNDING_FEE")[0].amount_q == -60_000_000
    assert x.drain() == [
        AccountEvent("ann", "FUNDING_FEE", NOW, ()),
        AccountEvent("bob", "FUNDING_FEE", NOW, ()),
        FundingEvent(BTC, 0.0001, 60000.0, NOW),
    ]


def test_funding_settles_itself_at_the_boundary_with_the_interest_rate():
    x = floor()
    x._auto_funding = True
    x._state.listings[BTC].contract = x.contracts[BTC]._replace(interest_rate=0.0001)
    boundary = x.premium(BTC, NOW).next_funding_ms
    assert boundary % (8 * 3_600_000) == 0
    x.advance(NOW)
    x.advance(boundary - 1)
    assert not [e for e in x.drain() if isinstance(e, FundingEvent)]
    x.advance(boundary + 5)
    x.advance(boundary + 6)
    events = [e for e in x.drain() if isinstance(e, FundingEvent) and e.symbol == BTC]
    assert events == [FundingEvent(BTC, 0.0001, 60000.0, boundary)]
    assert x.premium(BTC, boundary + 6).last_rate == 0.0001


@pytest.mark.parametrize(
    ("premium", "rate"), [(0.0, 0.0), (0.0003, 0.0), (0.002, 0.0015), (-0.001, -0.0005), (0.5, 0.02)]
)
def test_funding_rate_follows_the_premium_beyond_five_basis_points(premium, rate):
    x = floor()
    mid = 60000.0 * (1 + premium)
    bid(x, mid - 0.1, 1.0)
    ask(x, mid + 0.1, 1.0)
    x.set_prices(BTC, index=60000.0, now_ms=NOW + 60_000)
    assert x.funding_rate(BTC) == pytest.approx(rate, abs=1e-9)


def test_mark_is_the_median_and_ignores_one_wild_trade():
    x = floor()
    ask(x, 90000.0, 0.01)
    x.quote("maker", BTC, 1, None, 10, NOW)  # expires against its own order
    assert x.last_tick(BTC) is None
    x.open_account("noise", 1e6, NOW, internal=True)
    ask(x, 90000.0, 0.01)
    x.quote("noise", BTC, 1, None, 10, NOW)
    assert x.last_tick(BTC) == 900000
    x.set_prices(BTC, index=60000.0, now_ms=NOW + 1000)
    assert x.mark(BTC) == 60000.0


def test_margin_of_position_and_orders_is_the_larger_side():
    x = floor()
    buy(x, "ann", 60000.0, 0.1)
    assert x.account("ann").initial_margin == pytest.approx(300.0)
    place(x, "ann", -1, "LIMIT", 0.05, 60600.0)  # only reduces
    assert x.account("ann").initial_margin == pytest.approx(300.0)
    place(x, "ann", 1, "LIMIT", 0.1, 59400.0)
    assert x.account("ann").initial_margin == pytest.approx((6000 + 5940) / 20)
    view = x.account("ann")
    assert view.available == pytest.approx(view.margin_balance - view.initial_margin)
    assert view.maint_margin == pytest.approx(0.005 * 6000)


def test_balance_decides_what_can_be_opened():
    x = floor(deposit=1_000.0, leverage=10)
    assert code(place, x, "ann", 1, "LIMIT", 0.167, 60000.0) == -2019  # needs 1002
    assert place(x, "ann", 1, "LIMIT", 0.166, 60000.0).status == "NEW"  # needs 996
    assert code(place, x, "ann", 1, "LIMIT", 0.001, 60000.0) == -2019
    assert place(x, "ann", -1, "LIMIT", 0.166, 60001.0).status == "NEW"  # the other side shares the margin


def test_a_price_worse_than_mark_costs_margin_at_once():
    x = floor(deposit=1_000.0, leverage=10)
    # 0.152 at 60600 needs 921.12 and loses 91.2 at once, 12.32 too much; 0.15 comes to 909 + 90
    assert code(place, x, "bob", 1, "LIMIT", 0.152, 60600.0) == -2019
    assert place(x, "bob", 1, "LIMIT", 0.15, 60600.0).status == "NEW"


def test_leverage_caps_the_notional_and_cannot_be_set_below_what_margin_allows():
    x = floor(deposit=10_000_000.0, leverage=100)
    assert code(place, x, "ann", 1, "LIMIT", 5.001, 60000.0) == -2027  # 100x carries 300 k
    assert place(x, "ann", 1, "LIMIT", 5.0, 60000.0).status == "NEW"
    assert code(x.set_leverage, "ann", BTC, 101, NOW) == -4028
    assert code(x.set_leverage, "ann", BTC, 0, NOW) == -4028
    x.set_leverage("ann", BTC, 50, NOW)
    assert x.leverage("ann", BTC) == 50
    assert [e for e in x.drain() if isinstance(e, ConfigEvent)] == [ConfigEvent("ann", BTC, 50, NOW)]
    poor = floor(deposit=100.0, leverage=50)
    place(poor, "ann", 1, "LIMIT", 0.05, 60000.0)
    assert code(poor.set_leverage, "ann", BTC, 10, NOW) == -2019


def test_margin_type_answers():
    x = floor()
    assert code(x.set_margin_type, "ann", BTC, "CROSSED", NOW) == -4046
    assert code(x.set_margin_type, "ann", BTC, "ISOLATED", NOW) == -4168


def test_cross_margin_is_shared_between_symbols():
    x = floor(deposit=1_000.0)
    buy(x, "ann", 60000.0, 0.2)  # ties up 600
    assert code(place, x, "ann", 1, "LIMIT", 3.0, 3000.0, symbol=ETH) == -2019  # 450 of 395 left
    x.set_prices(BTC, index=61000.0, now_ms=NOW)
    assert x.account("ann").positions[BTC].unrealized == pytest.approx(0.2 * (x.mark(BTC) - 60000))
    assert x.mark(BTC) == 61000.0
    assert place(x, "ann", 1, "LIMIT", 3.0, 3000.0, symbol=ETH).status == "NEW"


def test_withdrawal_is_limited_to_what_is_available():
    x = floor()
    buy(x, "ann", 60000.0, 0.1)
    assert code(x.deposit, "ann", -9_800.0, NOW) == -2018
    x.deposit("ann", -9_600.0, NOW)
    assert x.income("ann", income_type="TRANSFER")[-1].amount_q == -9_600 * 10**8


def test_window_keeps_the_newest_or_pages_forward():
    rows = [Income(i, "", "TRANSFER", 1, i * 10, 0) for i in range(5)]
    assert [r.tran_id for r in window(rows, None, None, 2, newest=True)] == [3, 4]
    assert [r.tran_id for r in window(rows, 10, 30, 2, newest=False)] == [1, 2]


def test_records_page_by_id_and_time():
    x = floor()
    ids = [place(x, "ann", 1, "LIMIT", 0.01, 59000.0 + i, now=NOW + i).order_id for i in range(4)]
    assert [o.order_id for o in x.all_orders("ann", BTC, limit=2)] == ids[2:]
    assert [o.order_id for o in x.all_orders("ann", BTC, from_id=ids[1], limit=2)] == ids[1:3]
    assert [o.order_id for o in x.all_orders("ann", BTC, start_ms=NOW + 1, end_ms=NOW + 2)] == ids[1:3]
    assert x.all_orders("ann", ETH) == []


def test_oldest_finished_orders_are_forgotten_and_open_ones_never(monkeypatch):
    monkeypatch.setattr("engine.venues.sandbox.accounts.KEPT_ROWS", 5)
    x = floor()
    kept = place(x, "ann", 1, "LIMIT", 0.01, 59000.0)
    for i in range(8):
        order = place(x, "ann", 1, "LIMIT", 0.01, 59000.0, client_order_id=f"c{i}")
        x.cancel("ann", BTC, order_id=order.order_id, now_ms=NOW)
    assert [o.client_order_id for o in x.all_orders("ann")] == [kept.client_order_id, "c3", "c4", "c5", "c6", "c7"]
    assert code(x.order, "ann", BTC, client_order_id="c2") == -2013
