"""What the engine knows of the market now."""

import math

import numpy as np
import pytest
from execution_builders import NOW, TOP, bar, mark

from engine.domain import NS_PER_S, BookSnapshot
from engine.runtime.market import MarketState

MINUTE = 60 * NS_PER_S


def test_age_counts_from_the_newest_top_that_was_received():
    market = MarketState()
    assert market.age_s("BTCUSDT", NOW) == math.inf
    market.on_top(TOP)
    assert market.age_s("BTCUSDT", NOW + 3 * NS_PER_S) == 3.0
    assert market.age_s("ETHUSDT", NOW) == math.inf


def test_mark_comes_before_the_mid_and_the_mid_before_nothing():
    market = MarketState()
    assert math.isnan(market.mark_px("BTCUSDT"))
    market.on_top(TOP)
    assert market.mark_px("BTCUSDT") == 50_000.0
    market.on_mark(mark(50_050.0))
    assert market.mark_px("BTCUSDT") == 50_050.0
    assert market.mid_px("BTCUSDT") == 50_000.0


def test_mid_falls_back_to_the_mark():
    market = MarketState()
    market.on_mark(mark(50_050.0))
    assert market.mid_px("BTCUSDT") == 50_050.0


def test_closed_bar_is_new_once():
    market = MarketState()
    assert market.on_bar(bar(0, is_closed=False)) is False
    assert market.on_bar(bar(0)) is True
    assert market.on_bar(bar(0)) is False  # the same again, as after a reconnect
    assert market.on_bar(bar(MINUTE)) is True
    assert market.on_bar(bar(0)) is False  # an older one
    assert market.on_bar(bar(0, interval="1h")) is True  # another series


def test_open_bar_replaces_itself_and_closes_nothing():
    market = MarketState()
    market.on_bar(bar(0, 50_000.0, is_closed=False))
    market.on_bar(bar(0, 50_007.0, is_closed=False))
    assert market.open_bars[("BTCUSDT", "1m")].close_px == 50_007.0
    assert market.last_closed == {}


def test_slice_has_nan_for_a_symbol_whose_bar_is_missing():
    market = MarketState()
    market.on_top(TOP)
    market.on_bar(bar(MINUTE, 50_000.0))
    market.on_bar(bar(0, 3_000.0, symbol="ETHUSDT"))  # one bar behind
    found = market.slice_at(("BTCUSDT", "ETHUSDT"), "1m", MINUTE, NOW + 2 * NS_PER_S)
    assert found.ts_close == 2 * MINUTE
    np.testing.assert_array_equal(found.close_px, [50_000.0, np.nan])
    np.testing.assert_array_equal(found.open_px, [49_999.0, np.nan])
    np.testing.assert_array_equal(found.high_px, [50_002.0, np.nan])
    np.testing.assert_array_equal(found.low_px, [49_997.0, np.nan])
    np.testing.assert_array_equal(found.volume, [7.0, np.nan])
    np.testing.assert_array_equal(found.age_s, [2.0, 1e9])


def test_exchange_time_never_runs_backwards():
    market = MarketState()
    market.on_top(TOP._replace(ts_exchange=100))
    market.on_mark(mark(ts=90))
    assert market.ts_exchange == 100


def test_forgetting_leaves_nothing_of_the_old_market():
    market = MarketState()
    market.on_top(TOP)
    market.on_mark(mark())
    market.on_bar(bar(0))
    market.on_book(BookSnapshot("BTCUSDT", NOW, NOW, ((1.0, 1.0),), ((2.0, 1.0),)))
    market.forget()
    assert (market.tops, market.marks, market.books, market.last_closed, market.ts_exchange) == ({}, {}, {}, {}, 0)
    assert market.age_s("BTCUSDT", NOW) == pytest.approx(math.inf)
