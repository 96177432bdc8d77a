"""When conditional orders trigger, and what becomes of them."""

import pytest
from sandbox_floor import BTC, NOW, ask, bid, buy, code, floor, place, story


def print_price(x, price):
    """Make the last trade happen at a price between two strangers."""
    if not x.has_account("noise"):
        x.open_account("noise", 1e6, NOW, internal=True)
    tick = x.contracts[BTC].nearest_tick(price)
    best = x._state.listings[BTC].book.best_tick(-1)
    side = 1 if best is None or tick < best else -1
    rest = x.quote("maker", BTC, -side, tick, 1, NOW)
    x.quote("noise", BTC, side, tick, 1, NOW)
    x.withdraw_quote(rest, NOW)


@pytest.mark.parametrize(
    ("kind", "side", "stop", "just_short", "at"),
    [
        ("STOP_MARKET", 1, 60100.0, 60099.9, 60100.0),
        ("STOP_MARKET", -1, 59900.0, 59900.1, 59900.0),
        ("TAKE_PROFIT_MARKET", 1, 59900.0, 59900.1, 59900.0),
        ("TAKE_PROFIT_MARKET", -1, 60100.0, 60099.9, 60100.0),
    ],
)
@pytest.mark.parametrize("source", ["CONTRACT_PRICE", "MARK_PRICE"])
def test_trigger_table(kind, side, stop, just_short, at, source):
    x = floor()
    if source == "CONTRACT_PRICE":

        def move(price):
            print_price(x, price)
    else:

        def move(price):
            x.set_prices(BTC, index=price, now_ms=NOW)

    order = place(x, "ann", side, kind, 0.01, stop_price=stop, working_type=source)
    move(just_short)
    assert (order.status, order.type) == ("NEW", kind)
    # Liquidity for the market order that follows.
    (ask if side > 0 else bid)(x, 60000.0 + side * 500, 1.0)
    move(at)
    assert (order.status, order.type, order.orig_type) == ("FILLED", "MARKET", kind)
    assert story(x, order) == [("NEW", "NEW", 0), ("NEW", "NEW", 0), ("TRADE", "FILLED", 10)]


@pytest.mark.parametrize(
    ("kind", "side", "stop"),
    [
        ("STOP_MARKET", 1, 60000.0),
        ("STOP", -1, 60000.0),
        ("TAKE_PROFIT", 1, 60000.0),
        ("TAKE_PROFIT_MARKET", -1, 59999.9),
    ],
)
def test_what_would_trigger_at_once_is_refused(kind, side, stop):
    x = floor()
    assert code(place, x, "ann", side, kind, 0.01, price=stop, stop_price=stop) == -2021
    assert x.open_orders("ann") == []


def test_stop_limit_rests_at_its_limit_with_its_own_id():
    x = floor()
    order = place(x, "ann", 1, "STOP", 0.01, 60050.0, stop_price=60100.0)
    print_price(x, 60100.0)
    assert (order.type, order.orig_type, order.status) == ("LIMIT", "STOP", "NEW")
    assert x.depth(BTC, 1)[0] == [(600500, 10)]


def test_trailing_sell_follows_the_high_and_fires_one_percent_below():
    x = floor()
    buy(x, "ann", 60000.0, 0.01)
    order = place(x, "ann", -1, "TRAILING_STOP_MARKET", 0.01, activation_price=60200.0, callback_rate=1.0)
    bid(x, 59000.0, 1.0)
    for price, activated in ((60100.0, False), (59500.0, False), (60200.0, True), (60500.0, True), (59895.1, True)):
        print_price(x, price)
        assert (order.activated, order.status) == (activated, "NEW")
    print_price(x, 59895.0)  # 60500 * 0.99
    assert (order.status, order.type) == ("FILLED", "MARKET")


def test_trailing_buy_mirrors_it_and_refuses_the_wrong_side():
    x = floor()
    assert code(place, x, "ann", 1, "TRAILING_STOP_MARKET", 0.01, activation_price=60100.0, callback_rate=1.0) == -2021
    assert code(place, x, "ann", -1, "TRAILING_STOP_MARKET", 0.01, activation_price=59900.0, callback_rate=1.0) == -2021
    order = place(x, "ann", 1, "TRAILING_STOP_MARKET", 0.01, callback_rate=0.5)
    assert order.activated
    ask(x, 60500.0, 1.0)
    print_price(x, 59800.0)
    print_price(x, 60098.9)
    assert order.status == "NEW"
    print_price(x, 60099.0)  # 59800 * 1.005
    assert order.status == "FILLED"


def test_close_position_takes_the_size_at_trigger_time_and_stays_until_then():
    x = floor()
    order = place(x, "ann", -1, "STOP_MARKET", None, stop_price=59500.0, close_position=True)
    buy(x, "ann", 60000.0, 0.02)
    buy(x, "ann", 60000.0, 0.03)
    bid(x, 59400.0, 1.0)
    print_price(x, 59500.0)
    assert (order.status, order.executed_lots, x.account("ann").positions[BTC].qty) == ("FILLED", 50, 0.0)


def test_nothing_left_to_reduce_expires_at_trigger():
    x = floor()
    buy(x, "ann", 60000.0, 0.02)
    stop = place(x, "ann", -1, "STOP_MARKET", 0.02, stop_price=59500.0, reduce_only=True)
    close = place(x, "ann", -1, "STOP_MARKET", None, stop_price=59400.0, close_position=True)
    bid(x, 59300.0, 1.0)
    place(x, "ann", -1, "MARKET", 0.02)  # at 59300: closes, and is the price that triggers both
    assert (stop.status, close.status) == ("EXPIRED", "EXPIRED")
    assert x.account("ann").positions[BTC].qty == 0.0


def test_price_protection_expires_when_last_and_mark_disagree():
    x = floor()
    x._state.listings[BTC].contract = x.contracts[BTC]._replace(market_take_bound=0.05)
    buy(x, "ann", 60000.0, 0.02)
    guarded, bare = (
        place(x, "ann", -1, "STOP_MARKET", 0.01, stop_price=59500.0, price_protect=p) for p in (True, False)
    )
    place(x, "bob", 1, "LIMIT", 0.05, 58799.0)
    x.quote("maker", BTC, -1, None, 1, NOW)  # mark 60000, a little more than 2 % away
    assert guarded.status == "EXPIRED"
    assert bare.status == "FILLED"


def test_stop_that_the_margin_cannot_carry_expires():
    x = floor(deposit=100.0)
    stop = place(x, "ann", 1, "STOP_MARKET", 0.05, stop_price=60500.0)
    ask(x, 60500.0, 1.0)
    print_price(x, 60500.0)
    assert (stop.status, stop.executed_lots) == ("EXPIRED", 0)


def test_triggered_orders_trigger_others():
    x = floor()
    first = place(x, "ann", 1, "STOP_MARKET", 0.01, stop_price=60100.0)
    second = place(x, "bob", 1, "STOP_MARKET", 0.01, stop_price=60300.0)
    ask(x, 60300.0, 0.01)
    ask(x, 60400.0, 0.01)
    print_price(x, 60100.0)
    assert (first.status, second.status) == ("FILLED", "FILLED")
    assert x.last_tick(BTC) == 604000
