"""The simulated market: reproducible, continuous, two-sided, lively, fair to people's orders, cheap."""

import copy
from collections import Counter

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.exchange import Exchange
from engine.venues.sandbox.market import CandleStore, make_market
from engine.venues.sandbox.market.bars import MINUTE_MS
from engine.venues.sandbox.market.process import YEAR_S, season
from engine.venues.sandbox.market.shocks import Shock
from engine.venues.sandbox.model import OrderRequest, TradeEvent

START_MS = 1_780_000_000_000


def build(symbols=("BTCUSDT", "ETHUSDT"), seed=2):
    market = make_market("simulated", symbols=symbols, seed=seed, start_ms=START_MS)
    exchange = Exchange(CONTRACTS)
    market.start(exchange, market.market_start_ms)
    exchange.drain()
    return market, exchange


def run(market, exchange, n, step_ms):
    """Advance n times; return (trades, end)."""
    now_ms, trades = market.market_start_ms, []
    for _ in range(n):
        now_ms += step_ms
        market.advance(exchange, now_ms)
        trades += [e for e in exchange.drain() if isinstance(e, TradeEvent)]
    return trades, now_ms


def test_same_seed_and_times_give_the_same_tape():
    first, second, other = (run(*build(seed=seed), 60, 100)[0] for seed in (2, 2, 3))
    assert len(first) > 20
    assert first == second
    assert first != other


def test_the_first_live_price_continues_the_history():
    market, exchange = build()
    close = market.history("BTCUSDT", "1m")["close"][-1]
    bid, _, ask, _ = exchange.best("BTCUSDT")
    assert market.history("BTCUSDT", "1m")["open_ms"][-1] + MINUTE_MS == market.market_start_ms
    assert bid * 0.1 < close < ask * 0.1
    assert exchange.mark("BTCUSDT") == pytest.approx(close, rel=0.003)


def test_books_stay_two_sided_uncrossed_and_deep():
    market, exchange = build(symbols=None)
    now_ms = market.market_start_ms
    for _ in range(50):
        now_ms += 100
        market.advance(exchange, now_ms)
        for symbol in market.symbols:
            bid, _, ask, _ = exchange.best(symbol)
            assert bid is not None
            assert ask is not None
            assert bid < ask
    for symbol in market.symbols:
        bids, asks, _ = exchange.depth(symbol, 20)
        assert len(bids) >= 15
        assert len(asks) >= 15
        assert (asks[0][0] - bids[0][0]) / bids[0][0] < 15e-4


def test_the_screen_moves_trades_and_book_updates_per_second():
    market, exchange = build(symbols=None, seed=4)
    before = {s: exchange.depth(s, 1)[2] for s in market.symbols}
    trades, _ = run(market, exchange, 200, 100)
    count = Counter(t.symbol for t in trades)
    assert count["BTCUSDT"] / 20 >= 5
    assert all(count[s] / 20 >= 0.4 for s in market.symbols)
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        assert (exchange.depth(symbol, 1)[2] - before[symbol]) / 20 >= 10


@pytest.mark.parametrize(("step_ms", "most"), [(100, 40), (60_000, 400)])
def test_ten_symbols_make_little_work_at_speed_1_and_600(step_ms, most):
    market, exchange = build(symbols=None)
    events, n_calls = 0, 20
    for call in range(1, n_calls + 1):
        market.advance(exchange, market.market_start_ms + call * step_ms)
        events += len(exchange.drain())
    assert 0 < events / n_calls < most


@pytest.mark.parametrize(("step_ms", "n_minutes"), [(1_000, 15), (30_000, 90), (60_000, 90)])
def test_minute_ranges_have_the_size_that_volatility_asks_for(step_ms, n_minutes):
    market, exchange = build(symbols=("BTCUSDT",), seed=9)
    candles = CandleStore(market, market.market_start_ms)
    now_ms, variances = market.market_start_ms, []
    for _ in range(n_minutes * MINUTE_MS // step_ms):
        now_ms += step_ms
        market.advance(exchange, now_ms)
        for e in exchange.drain():
            if isinstance(e, TradeEvent):
                candles.on_trade("BTCUSDT", e.price_tick / 10, e.lots / 1000, e.buyer_is_maker, e.time_ms)
        candles.advance(now_ms)
        level = market._past.par.level[0] * market._fair.vol_ratio[0] * season(now_ms)
        variances.append(level**2 * 60 / YEAR_S)
    bars = candles.klines("BTCUSDT", "1m", limit=n_minutes + 1)[:-1]
    assert len(bars) == n_minutes
    # The expected range of a Brownian minute is sqrt(8 / pi) = 1.596 deviations; the spread adds a little.
    ratio = np.log(bars["high"] / bars["low"]).mean() / (1.596 * np.sqrt(np.mean(variances)))
    assert 0.75 < ratio < 1.35
    assert np.all(bars["volume"] > 0)


def test_a_passing_price_fills_people_at_their_limit():
    market, exchange = build(symbols=("BTCUSDT",), seed=2)
    now_ms = market.market_start_ms
    exchange.open_account("me", 1e6, now_ms)
    bid, _, ask, _ = exchange.best("BTCUSDT")
    buy = exchange.place(OrderRequest("me", "BTCUSDT", 1, "LIMIT", 0.05, (bid - 50) / 10), now_ms)
    sell = exchange.place(OrderRequest("me", "BTCUSDT", -1, "LIMIT", 0.05, (ask + 50) / 10), now_ms)
    for _ in range(3_000):
        now_ms += 100
        market.advance(exchange, now_ms)
        if not (buy.is_open or sell.is_open):
            break
    fills = exchange.user_trades("me")
    assert {t.price_tick for t in fills} == {bid - 50, ask + 50}
    assert all(t.is_maker for t in fills)
    assert (buy.executed_lots, sell.executed_lots) == (50, 50)


def test_a_large_market_order_walks_the_book_and_the_book_recovers():
    market, exchange = build(symbols=("BTCUSDT",), seed=2)
    now_ms = market.market_start_ms
    exchange.open_account("me", 1e8, now_ms)
    _, _, asked, _ = exchange.best("BTCUSDT")
    order = exchange.place(OrderRequest("me", "BTCUSDT", 1, "MARKET", 1.5), now_ms)
    ticks = [t.price_tick for t in exchange.user_trades("me")]
    assert order.executed_lots == 1500
    assert ticks[0] == asked
    assert ticks == sorted(ticks)
    assert len(set(ticks)) > 3
    assert exchange.best("BTCUSDT")[2] > asked
    for _ in range(30):
        now_ms += 100
        market.advance(exchange, now_ms)
    assert len(exchange.depth("BTCUSDT", 20)[1]) >= 15


def test_fair_value_depends_on_time_and_not_on_the_steps_taken():
    ends = []
    for step_ms in (50, 170, 3_000, 20_000, 60_000):
        market, exchange = build()
        now_ms, end_ms = market.market_start_ms, market.market_start_ms + 60_000
        while now_ms < end_ms:
            now_ms = min(now_ms + step_ms, end_ms)
            market.advance(exchange, now_ms)
        ends.append((market.fair_px("BTCUSDT"), market.fair_px("ETHUSDT")))
    assert len(set(ends)) == 1


def test_a_clock_that_stands_still_or_runs_back_changes_nothing():
    market, exchange = build()
    market.advance(exchange, market.market_start_ms + 60_000)
    before, updates = market.fair_px("BTCUSDT"), exchange.depth("BTCUSDT", 1)[2]
    market.advance(exchange, market.market_start_ms + 60_000)
    market.advance(exchange, market.market_start_ms)
    assert (market.fair_px("BTCUSDT"), exchange.depth("BTCUSDT", 1)[2]) == (before, updates)


def test_an_hour_in_one_step_is_bounded_work():
    market, exchange = build(symbols=None)
    market.advance(exchange, market.market_start_ms + 3_600_000)
    assert 0 < len(exchange.drain()) < 1_000


def test_unknown_symbols_and_markets_are_refused_by_name():
    with pytest.raises(ConfigError, match="PEPEUSDT"):
        make_market("simulated", symbols=["PEPEUSDT"], seed=1, start_ms=START_MS)
    with pytest.raises(ConfigError, match="dreamed"):
        make_market("dreamed", symbols=None, seed=1, start_ms=START_MS)
    with pytest.raises(ConfigError, match="negative"):
        make_market("simulated", symbols=None, seed=-1, start_ms=START_MS)


def near_depth(market, exchange, symbol):
    bids, asks, _ = exchange.depth(symbol, 5)
    return sum(lots for _, lots in (*bids, *asks))


def test_a_crash_moves_its_symbols_thins_their_books_and_changes_no_dice():
    shaken = make_market("simulated", symbols=("BTCUSDT", "ETHUSDT"), seed=2, start_ms=START_MS)
    calm, calm_exchange, exchange = copy.deepcopy(shaken), Exchange(CONTRACTS), Exchange(CONTRACTS)
    start_ms = shaken.market_start_ms
    calm.start(calm_exchange, start_ms)
    shaken.start(exchange, start_ms)
    for market in (calm, shaken):
        market.set_regime(2)  # a crash stresses the market; the comparison is with one that is stressed all the same
    shaken.shake(Shock(("BTCUSDT",), start_ms + 30_000, 300_000, -0.3, 0.25))
    depths = []
    for minute in (1, 3, 6, 16, 25):
        for market, books in ((calm, calm_exchange), (shaken, exchange)):
            market.advance(books, start_ms + minute * 60_000)
        share = min(max((minute * 60 - 30) / 300, 0.0), 1.0)
        assert shaken.fair_px("BTCUSDT") / calm.fair_px("BTCUSDT") == pytest.approx(0.7**share, rel=1e-9)
        assert shaken.fair_px("ETHUSDT") == calm.fair_px("ETHUSDT")
        assert exchange.mark("BTCUSDT") == pytest.approx(shaken.fair_px("BTCUSDT"), rel=0.01)
        bid, _, ask, _ = exchange.best("BTCUSDT")
        assert bid < ask
        depths.append(near_depth(shaken, exchange, "BTCUSDT") / near_depth(calm, calm_exchange, "BTCUSDT"))
    assert max(depths[1:3]) < 0.6  # standing quotes are replaced as the price leaves them
    assert depths[-1] > 0.6
