"""The simulated market: reproducible, continuous, two-sided, lively, fair to people's orders, cheap."""

import time
from collections import Counter

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.exchange import Exchange
from engine.venues.sandbox.market import CandleStore, make_market
from engine.venues.sandbox.market.bars import MINUTE_MS
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


def test_a_minute_of_market_time_costs_little_cpu():
    market, exchange = build(symbols=None)
    began = time.process_time()
    run(market, exchange, 100, 100)
    assert (time.process_time() - began) / 10.0 < 0.25
    began = time.process_time()
    run_from, _ = build(symbols=None), None
    began = time.process_time()
    run(*run_from, 20, 60_000)
    # At speed 600 each tenth of a second of wall time is a minute of market time.
    assert (time.process_time() - began) / 2.0 < 0.5


@pytest.mark.parametrize("step_ms", [100, 1_000, 60_000])
def test_minute_ranges_have_the_size_that_volatility_asks_for(step_ms):
    market, exchange = build(symbols=("BTCUSDT",), seed=9)
    candles = CandleStore(market, market.market_start_ms)
    n_minutes = 10 if step_ms == 100 else 60
    now_ms, deviations = market.market_start_ms, []
    for _ in range(n_minutes * MINUTE_MS // step_ms):
        now_ms += step_ms
        market.advance(exchange, now_ms)
        for event in exchange.drain():
            if isinstance(event, TradeEvent):
                candles.on_trade(
                    "BTCUSDT", event.price_tick * 0.1, event.lots * 1e-3, event.buyer_is_maker, event.time_ms
                )
        candles.advance(now_ms)
        deviations.append(market._vol_ratio[0])
    bars = candles.klines("BTCUSDT", "1m", limit=n_minutes + 1)[:-1]
    span = np.log(bars["high"] / bars["low"]).mean()
    past = market.history("BTCUSDT", "1m")[-240:]
    expected = np.log(past["high"] / past["low"]).mean()
    assert 0.35 * expected < span < 2.5 * expected
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


def test_any_jump_of_the_clock_is_bounded_work():
    market, exchange = build(symbols=None)
    began = time.process_time()
    market.advance(exchange, market.market_start_ms + 3 * 86_400_000)
    assert time.process_time() - began < 0.5
    before = market.fair_px("BTCUSDT")
    market.advance(exchange, market.market_start_ms)
    assert market.fair_px("BTCUSDT") == before


def test_history_is_built_in_under_two_seconds():
    began = time.process_time()
    make_market("simulated", symbols=None, seed=1, start_ms=START_MS)
    assert time.process_time() - began < 3.0


def test_unknown_symbols_and_markets_are_refused_by_name():
    with pytest.raises(ConfigError, match="PEPEUSDT"):
        make_market("simulated", symbols=["PEPEUSDT"], seed=1, start_ms=START_MS)
    with pytest.raises(ConfigError, match="dreamed"):
        make_market("dreamed", symbols=None, seed=1, start_ms=START_MS)
    with pytest.raises(ConfigError, match="negative"):
        make_market("simulated", symbols=None, seed=-1, start_ms=START_MS)
