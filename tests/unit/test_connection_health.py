"""Breakers, clocks, pulses, trade numbers and missing candles, each on a clock that the test moves."""

import math

import pytest

from engine.domain import NS_PER_S, Bar
from engine.errors import Unreachable
from engine.runtime.market import MarketState
from engine.venues.breakers import FAILURES_TO_OPEN, Breaker
from engine.venues.health import (
    BACKFILL_AFTER_S,
    BACKFILL_AGAIN_S,
    ClockWatch,
    StreamWatch,
    TradeGap,
    TradeSequence,
)


class Ticks:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


# breakers -----------------------------------------------------------------------------------------------------------


def opened():
    now, told = Ticks(), []
    breaker = Breaker("orders", told.append, now)
    for _ in range(FAILURES_TO_OPEN):
        breaker.admit(False)
        breaker.failed("no answer in time")
    return breaker, now, told


def test_breaker_opens_after_failures_in_a_row_and_says_so():
    breaker, _, told = opened()
    assert breaker.report() == {"endpoint": "orders", "state": "open", "failures": 5, "retry_in_s": 2.0}
    assert len(told) == 1
    assert "placing orders failed 5 times in a row (last: no answer in time)" in told[0]
    with pytest.raises(Unreachable, match=r"Nothing was sent: placing orders failed 5 times.*next attempt.*in 2 s"):
        breaker.admit(False)
    breaker.admit(True)  # a cancel is tried all the same


def test_success_in_between_keeps_it_closed():
    breaker = Breaker("orders", pytest.fail, Ticks())
    for _ in range(3):
        for _ in range(FAILURES_TO_OPEN - 1):
            breaker.failed("connection lost")
        breaker.succeeded()
    assert breaker.state == "closed"


def test_half_open_lets_one_probe_through_and_its_outcome_decides():
    breaker, now, told = opened()
    now.now_s += 2.0
    breaker.admit(False)
    assert breaker.report()["state"] == "half_open"
    with pytest.raises(Unreachable):
        breaker.admit(False)  # the probe is under way
    breaker.failed("no answer in time")
    assert breaker.report()["retry_in_s"] == 4.0  # twice as long
    now.now_s += 4.0
    breaker.admit(False)
    breaker.succeeded()
    assert breaker.state == "closed"
    assert told[1:] == ["placing orders works again"]
    breaker.admit(False)


def test_cancelled_probe_makes_room_for_the_next():
    breaker, now, _ = opened()
    now.now_s += 2.0
    breaker.admit(False)
    breaker.abandoned()
    breaker.admit(False)
    breaker.succeeded()
    assert breaker.state == "closed"


def test_cancel_that_works_closes_an_open_breaker():
    breaker, _, _ = opened()
    breaker.admit(True)
    breaker.succeeded()
    assert breaker.state == "closed"


# clock --------------------------------------------------------------------------------------------------------------


def measured(skew_s, round_trip_s=0.1):
    watch = ClockWatch()
    watch.note((100.0 + round_trip_s / 2 + skew_s) * 1e3, 100.0, 100.0 + round_trip_s)
    return watch


@pytest.mark.parametrize("skew_s", [0.0, 1.9, -1.9])
def test_clocks_that_agree_go_unmentioned(skew_s):
    watch = measured(skew_s, round_trip_s=0.8)
    assert watch.skew_ms == pytest.approx(skew_s * 1e3)
    assert (watch.ok, watch.warning(), watch.suspended()) == (True, None, None)


@pytest.mark.parametrize(("skew_s", "ours"), [(3.0, "-3.0 s"), (-4.9, r"\+4.9 s")])
def test_drifting_clock_is_a_warning(skew_s, ours):
    watch = measured(skew_s)
    assert not watch.ok
    assert watch.suspended() is None
    assert watch.warning() is not None
    with pytest.raises(AssertionError, match=f"differs from the venue's by {ours}"):
        raise AssertionError(watch.warning())


@pytest.mark.parametrize("skew_s", [11.0, -11.0])
def test_clock_beyond_the_margin_suspends_trading_until_it_is_right(skew_s):
    watch = measured(skew_s)
    assert "only reducing orders are sent" in watch.suspended()
    assert watch.warning() is None
    watch.note(200_050.0, 200.0, 200.1)
    assert watch.suspended() is None


def test_slow_answer_tells_nothing():
    watch = measured(0.0)
    assert not watch.note(1e9, 100.0, 103.0)
    assert not watch.note(1e9, 100.0, 99.0)  # the wall clock was set back while it waited
    assert watch.skew_ms == pytest.approx(0.0)
    assert math.isnan(ClockWatch().skew_ms)
    assert ClockWatch().suspended() is None


# pulses -------------------------------------------------------------------------------------------------------------


def test_stream_counts_reconnections_and_knows_its_age():
    now = Ticks()
    watch = StreamWatch("account", now)
    assert watch.report()["age_s"] is None
    watch.connected()
    now.now_s += 7.0
    assert watch.age_s == 7.0
    watch.pulse(2.0)  # a ping was answered two seconds ago
    assert watch.age_s == 2.0
    watch.pulse(50.0)
    assert watch.age_s == 2.0
    watch.lost("gone")
    watch.connected()
    assert (watch.report()["reconnects"], watch.report()["last_reason"]) == (1, "gone")


def test_owed_news_is_forgiven_by_any_message_and_by_a_new_connection():
    now = Ticks()
    watch = StreamWatch("account", now)
    watch.owe()
    assert watch.owed_s == 0.0  # nobody is connected, so nobody can tell
    watch.connected()
    watch.owe()
    now.now_s += 6.0
    watch.owe()  # the debt counts from its first day
    assert watch.owed_s == 6.0
    watch.heard()
    assert watch.owed_s == 0.0
    watch.owe()
    watch.lost("gone")
    assert watch.owed_s == 0.0


# trade numbers ------------------------------------------------------------------------------------------------------


def sequence():
    told = []
    return TradeSequence(told.append), told


def test_trades_in_order_make_no_gap():
    trades, told = sequence()
    assert all(trades.accept("BTCUSDT", n) for n in range(10, 20))
    assert all(trades.accept("ETHUSDT", n) for n in range(500, 510))
    assert (trades.lost, trades.gaps, trades.repeated, told) == (0, 0, 0, [])


def test_lost_late_and_repeated_trades_are_told_apart():
    trades, told = sequence()
    assert [trades.accept("BTCUSDT", n) for n in (1, 2, 5, 4, 4, 5, 6)] == [True, True, True, True, False, False, True]
    assert (trades.lost, trades.gaps, trades.repeated) == (1, 1, 2)
    assert trades.accept("BTCUSDT", 3)  # the last of the missing
    assert (trades.lost, trades.gaps) == (0, 0)
    assert told == []


def test_large_loss_is_told_with_its_numbers():
    trades, told = sequence()
    trades.accept("BTCUSDT", 1)
    trades.accept("BTCUSDT", 5002)
    assert told == ["BTCUSDT: 5000 market trades were lost (numbers 2 to 5001)"]
    assert trades.accept("BTCUSDT", 5001)
    assert trades.lost == 4999


def test_missing_trades_are_due_after_a_pause_and_each_is_filled_once():
    now, told = Ticks(), []
    trades = TradeSequence(told.append, now)
    for number in (1, 4, 5, 7):
        trades.accept("BTCUSDT", number)
    assert trades.due() == []  # they may only have been overtaken
    now.now_s += BACKFILL_AFTER_S
    assert trades.due() == [TradeGap("BTCUSDT", 2, 3), TradeGap("BTCUSDT", 6, 6)]
    assert [trades.fill("BTCUSDT", number) for number in (2, 2, 4, 9)] == [True, False, False, False]
    assert not trades.accept("BTCUSDT", 2)  # the stream brings it late: it is on the record already
    assert (trades.lost, trades.fetched) == (2, 1)
    assert [trades.settle(gap) for gap in (TradeGap("BTCUSDT", 2, 3), TradeGap("BTCUSDT", 6, 6))] == [1, 1]
    assert (trades.due(), trades.lost) == ([], 2)


def test_trades_that_could_not_be_asked_for_are_due_again_later():
    now = Ticks()
    trades = TradeSequence(pytest.fail, now)
    trades.accept("BTCUSDT", 1)
    trades.accept("BTCUSDT", 3)
    now.now_s += BACKFILL_AFTER_S
    trades.ask_later()
    assert trades.due() == []
    now.now_s += BACKFILL_AGAIN_S
    assert trades.due() == [TradeGap("BTCUSDT", 2, 2)]


def test_restarted_venue_begins_its_numbers_anew():
    trades, told = sequence()
    for n in (900, 901):
        trades.accept("BTCUSDT", n)
    trades.reconnected()
    assert trades.accept("BTCUSDT", 3)
    assert trades.accept("BTCUSDT", 4)
    assert not trades.accept("BTCUSDT", 4)
    trades.reconnected()
    trades.accept("BTCUSDT", 10)
    assert (trades.lost, told) == (5, [])


# candles ------------------------------------------------------------------------------------------------------------


def bar(minute, symbol="BTCUSDT"):
    return Bar(symbol, "1m", minute * 60 * NS_PER_S, 1.0, 1.0, 1.0, 1.0, 1.0)


def test_missing_minutes_are_noted_once_with_their_bounds():
    market = MarketState()
    for minute in (10, 11, 15, 15, 16):
        market.on_bar(bar(minute))
    market.on_bar(bar(40, "ETHUSDT"))  # the first of a symbol misses nothing
    (hole,) = market.holes
    assert hole == ("BTCUSDT", "1m", 12 * 60 * NS_PER_S, 15 * 60 * NS_PER_S, 3)
