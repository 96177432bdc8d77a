"""Price-time priority, times in force, hidden orders, reduce-only, amendments, cancels, countdown."""

import pytest
from sandbox_floor import BTC, NOW, ask, bid, buy, code, floor, place, story

from engine.venues.sandbox.model import BookEvent, TradeEvent


def trades(exchange):
    return [(e.price_tick, e.lots, e.buyer_is_maker) for e in exchange.drain() if isinstance(e, TradeEvent)]


def test_better_price_first_then_earlier_order():
    x = floor()
    early, late, better = (
        place(x, n, -1, "LIMIT", 0.01, p) for n, p in (("ann", 60010.0), ("bob", 60010.0), ("bob", 60005.0))
    )
    bought = x.quote("maker", BTC, 1, None, 15, NOW)
    assert bought.status == "FILLED"
    assert (better.status, early.status, early.executed_lots, late.executed_lots) == (
        "FILLED",
        "PARTIALLY_FILLED",
        5,
        0,
    )
    assert trades(x) == [(600050, 10, False), (600100, 5, False)]


def test_partial_fill_rests_with_the_remainder_at_the_limit():
    x = floor()
    ask(x, 60001.0, 0.02)
    order = place(x, "ann", 1, "LIMIT", 0.05, 60001.0)
    assert story(x, order) == [("NEW", "NEW", 0), ("TRADE", "PARTIALLY_FILLED", 20)]
    assert x.depth(BTC, 5)[:2] == ([(600010, 30)], [])
    assert order.cum_quote_q == 20 * 600010 * 10_000


@pytest.mark.parametrize(
    ("tif", "price", "status", "filled", "left_in_book"),
    [
        ("GTC", 60001.0, "PARTIALLY_FILLED", 20, [(600010, 10)]),
        ("IOC", 60001.0, "EXPIRED", 20, []),
        ("FOK", 60001.0, "EXPIRED", 0, []),
        ("FOK", 60002.0, "FILLED", 30, []),
        ("GTX", 60001.0, "EXPIRED", 0, []),
        ("GTX", 60000.9, "NEW", 0, [(600009, 30)]),
        ("HIDDEN", 60001.0, "PARTIALLY_FILLED", 20, []),
    ],
)
def test_times_in_force(tif, price, status, filled, left_in_book):
    x = floor()
    ask(x, 60001.0, 0.02)
    ask(x, 60002.0, 0.02)
    order = place(x, "ann", 1, "LIMIT", 0.03, price, tif=tif)
    assert (order.status, order.executed_lots) == (status, filled)
    assert x.depth(BTC, 5)[0] == left_in_book


def test_hidden_orders_trade_but_are_not_shown_and_hold_off_post_only():
    x = floor()
    hidden = place(x, "ann", -1, "LIMIT", 0.01, 60001.0, tif="HIDDEN")
    assert x.best(BTC) == (None, None, None, None)
    assert place(x, "bob", 1, "LIMIT", 0.01, 60001.0, tif="GTX").status == "EXPIRED"
    assert place(x, "bob", 1, "MARKET", 0.01).status == "FILLED"
    assert hidden.status == "FILLED"


def test_market_order_expires_at_the_take_bound_and_without_a_counterparty():
    x = floor()
    assert place(x, "ann", 1, "MARKET", 0.01).status == "EXPIRED"
    ask(x, 61200.0, 0.01)  # exactly mark * 1.02
    ask(x, 61200.1, 0.01)
    order = place(x, "ann", 1, "MARKET", 0.02)
    assert (order.status, order.executed_lots) == ("EXPIRED", 10)
    assert code(place, x, "ann", 1, "MARKET", 0.01) == -4131


def test_own_resting_order_expires_instead_of_trading_with_itself():
    x = floor()
    mine = place(x, "ann", -1, "LIMIT", 0.01, 60001.0)
    ask(x, 60001.0, 0.01)
    taker = place(x, "ann", 1, "LIMIT", 0.01, 60001.0)
    assert (mine.status, taker.status, x.account("ann").positions[BTC].qty) == ("EXPIRED", "FILLED", 0.01)


@pytest.mark.parametrize(
    ("qty", "price", "keeps"), [(0.005, 60010.0, True), (0.02, 60010.0, False), (0.01, 60011.0, False)]
)
def test_amend_keeps_priority_only_when_it_shrinks_in_place(qty, price, keeps):
    x = floor()
    first, second = place(x, "ann", -1, "LIMIT", 0.01, 60010.0), place(x, "bob", -1, "LIMIT", 0.01, 60010.0)
    x.amend("ann", BTC, order_id=first.order_id, qty=qty, price=price, now_ms=NOW)
    x.quote("maker", BTC, 1, None, 1, NOW)
    assert (first.executed_lots, second.executed_lots) == ((1, 0) if keeps else (0, 1))


def test_amend_matches_at_the_new_price_and_has_its_own_refusals():
    x = floor()
    ask(x, 60005.0, 0.01)
    order = place(x, "ann", 1, "LIMIT", 0.01, 59990.0, client_order_id="a1")
    assert code(x.amend, "ann", BTC, client_order_id="a1", qty=0.01, price=59990.0, now_ms=NOW) == -5027
    assert code(x.amend, "ann", BTC, client_order_id="nope", qty=0.01, price=59990.0, now_ms=NOW) == -2013
    assert code(x.amend, "ann", BTC, client_order_id="a1", qty=0.01, price=59990.05, now_ms=NOW) == -4014
    assert code(x.amend, "ann", BTC, client_order_id="a1", qty=100.0, price=59990.0, now_ms=NOW) == -2019
    x.amend("ann", BTC, client_order_id="a1", qty=0.01, price=60005.0, now_ms=NOW)
    assert order.status == "FILLED"
    assert [kind for kind, *_ in story(x, order)] == ["NEW", "AMENDMENT", "TRADE"]


def test_amending_to_what_is_filled_cancels():
    x = floor()
    order = place(x, "ann", -1, "LIMIT", 0.01, 60010.0)
    x.quote("maker", BTC, 1, None, 4, NOW)
    assert x.amend("ann", BTC, order_id=order.order_id, qty=0.004, price=60010.0, now_ms=NOW).status == "CANCELED"
    assert x.depth(BTC, 5)[1] == []


def test_reduce_only_is_cut_to_the_position_and_dies_with_it():
    x = floor()
    assert code(place, x, "ann", -1, "LIMIT", 0.01, 60010.0, reduce_only=True) == -2022
    buy(x, "ann", 60000.0, 0.02)
    assert code(place, x, "ann", 1, "LIMIT", 0.01, 59990.0, reduce_only=True) == -2022
    near, far = (place(x, "ann", -1, "LIMIT", 0.05, p, reduce_only=True) for p in (60010.0, 60020.0))
    assert (near.orig_lots, far.orig_lots) == (20, 20)
    x.quote("maker", BTC, 1, None, 15, NOW)
    assert (near.executed_lots, far.orig_lots) == (15, 5)  # 5 lots left to reduce
    x.quote("maker", BTC, 1, None, 5, NOW)
    assert (near.status, far.status, x.account("ann").positions[BTC].qty) == ("FILLED", "EXPIRED", 0.0)


def test_fill_or_kill_sees_through_reduce_only_orders_that_would_shrink():
    x = floor()
    buy(x, "ann", 60000.0, 0.01)
    for price in (60010.0, 60020.0):
        place(x, "ann", -1, "LIMIT", 0.01, price, reduce_only=True)
    assert place(x, "bob", 1, "LIMIT", 0.02, 60020.0, tif="FOK").status == "EXPIRED"
    assert place(x, "bob", 1, "LIMIT", 0.01, 60020.0, tif="FOK").status == "FILLED"


def test_cancel_cancel_all_and_their_codes():
    x = floor()
    order = place(x, "ann", -1, "LIMIT", 0.01, 60010.0, client_order_id="mine")
    place(x, "ann", 1, "STOP_MARKET", 0.01, stop_price=61000.0)
    assert code(x.cancel, "bob", BTC, order_id=order.order_id, now_ms=NOW) == -2011
    assert x.cancel("ann", BTC, client_order_id="mine", now_ms=NOW).status == "CANCELED"
    assert code(x.cancel, "ann", BTC, client_order_id="mine", now_ms=NOW) == -2011
    assert x.cancel_all("ann", BTC, NOW) == 1
    assert x.open_orders("ann") == []
    assert x.order("ann", BTC, client_order_id="mine").order_id == order.order_id
    assert code(x.order, "ann", BTC, order_id=10**9) == -2013


def test_countdown_cancels_its_symbol_once_time_is_up_unless_rearmed():
    x = floor()
    place(x, "ann", -1, "LIMIT", 0.01, 60010.0)
    place(x, "ann", -1, "LIMIT", 0.01, 3010.0, symbol="ETHUSDT")
    x.countdown("ann", BTC, 1000, NOW)
    x.countdown("ann", BTC, 1000, NOW + 900)
    x.advance(NOW + 1899)
    assert len(x.open_orders("ann", BTC)) == 1
    x.advance(NOW + 1900)
    assert [o.symbol for o in x.open_orders("ann")] == ["ETHUSDT"]
    x.countdown("ann", "ETHUSDT", 1000, NOW + 2000)
    x.countdown("ann", "ETHUSDT", 0, NOW + 2500)
    x.advance(NOW + 9000)
    assert len(x.open_orders("ann", "ETHUSDT")) == 1


def test_depth_changes_rebuild_the_displayed_book():
    x = floor()
    bid(x, 59990.0, 0.01)
    mirror = {}
    last = 0
    for action in (
        lambda: ask(x, 60010.0, 0.02),
        lambda: place(x, "ann", 1, "MARKET", 0.015),
        lambda: place(x, "ann", 1, "LIMIT", 0.01, 59995.0, tif="HIDDEN"),
        lambda: x.quote("maker", BTC, -1, 599900, 25, NOW),
    ):
        action()
        change = x.depth_changes(BTC)
        assert change.previous_update_id == last
        last = change.last_update_id
        mirror.update({(1, t): q for t, q in change.bids} | {(-1, t): q for t, q in change.asks})
        bids, asks, last_id = x.depth(BTC, 100)
        shown = {(1, t): q for t, q in bids} | {(-1, t): q for t, q in asks}
        assert {k: q for k, q in mirror.items() if q} == shown
        assert last_id == last


def test_internal_accounts_are_silent_and_leave_nothing_behind():
    x = floor()
    quote = bid(x, 59990.0, 0.01)
    assert x.withdraw_quote(quote, NOW)
    assert not x.withdraw_quote(quote, NOW)
    assert [type(e) for e in x.drain()] == [BookEvent]
    maker = x._state.accounts["maker"]
    kept = (maker.orders, maker.open_orders, maker.trades, maker.incomes, maker.client_ids)
    assert [len(rows) for rows in kept] == [0, 0, 0, 0, 0]
