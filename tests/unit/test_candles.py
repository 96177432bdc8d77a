"""Candles: aggregation, flat bars, boundaries, consistency between intervals."""

import numpy as np
import pytest

from engine.venues.sandbox.market.bars import (
    HOUR_MS,
    INTERVALS,
    MINUTE_MS,
    aggregate,
    bucket_end,
    bucket_start,
    empty_bars,
    fill_gaps,
)
from engine.venues.sandbox.market.candles import CandleStore

START_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC, a Thursday


class Past:
    """A market with a made-up, gap-free past of one symbol."""

    symbols = ("BTCUSDT",)

    def __init__(self, start_ms=START_MS, n_minutes=3 * 1440, n_hours=80 * 24):
        rng = np.random.default_rng(5)
        first_ms = (start_ms - n_minutes * MINUTE_MS) // HOUR_MS * HOUR_MS
        self.minutes = walk(rng, first_ms, (start_ms - first_ms) // MINUTE_MS, MINUTE_MS)
        old = walk(rng, first_ms - n_hours * HOUR_MS, n_hours, HOUR_MS)
        recent = aggregate(self.minutes[self.minutes["open_ms"] < start_ms // HOUR_MS * HOUR_MS], "1h")
        self.hours = np.concatenate((old, recent))

    def history(self, symbol, interval):
        return self.minutes if interval == "1m" else self.hours


class NoPast:
    symbols = ("BTCUSDT",)

    def history(self, symbol, interval):
        return empty_bars()


def walk(rng, first_ms, n, step_ms):
    bars = empty_bars(n)
    bars["open_ms"] = first_ms + np.arange(n) * step_ms
    path = 100 + np.cumsum(rng.normal(0, 0.1, n + 1))
    bars["open"], bars["close"] = path[:-1], path[1:]
    bars["high"] = np.maximum(path[:-1], path[1:]) + 0.05
    bars["low"] = np.minimum(path[:-1], path[1:]) - 0.05
    bars["volume"], bars["n_trades"] = rng.uniform(1, 2, n), 3
    return bars


def row(bar):
    return tuple(bar[name].item() for name in ("open_ms", "open", "high", "low", "close", "volume", "n_trades"))


def test_trades_of_one_minute_make_one_bar():
    store = CandleStore(NoPast(), START_MS)
    for px, qty, sold, ms in (
        (10.0, 1.0, True, 0),
        (12.0, 2.0, False, 5),
        (9.0, 1.0, True, 9),
        (11.0, 0.5, False, 59_999),
    ):
        store.on_trade("BTCUSDT", px, qty, sold, START_MS + ms)
    bar = store.current("BTCUSDT", "1m")
    assert row(bar) == (START_MS, 10.0, 12.0, 9.0, 11.0, 4.5, 4)
    assert bar["quote_volume"] == pytest.approx(10 + 24 + 9 + 5.5)
    assert bar["taker_buy"] == pytest.approx(2.5)


def test_minutes_without_trades_are_flat_at_the_last_close():
    store = CandleStore(NoPast(), START_MS)
    store.on_trade("BTCUSDT", 10.0, 1.0, True, START_MS)
    store.on_trade("BTCUSDT", 11.0, 1.0, True, START_MS + 3 * MINUTE_MS)
    bars = store.klines("BTCUSDT", "1m")
    assert bars["open_ms"].tolist() == [START_MS + i * MINUTE_MS for i in range(4)]
    assert row(bars[1])[1:] == (10.0, 10.0, 10.0, 10.0, 0.0, 0)
    assert row(bars[2])[1:] == (10.0, 10.0, 10.0, 10.0, 0.0, 0)
    assert bars["close"][3] == 11.0


def test_advance_reports_each_bar_once_at_its_boundary():
    store = CandleStore(NoPast(), START_MS)
    store.on_trade("BTCUSDT", 10.0, 1.0, True, START_MS)
    assert store.advance(START_MS + MINUTE_MS - 1) == []
    closed = store.advance(START_MS + MINUTE_MS)
    assert [(s, i, b["close"]) for s, i, b in closed] == [("BTCUSDT", "1m", 10.0)]
    assert store.advance(START_MS + MINUTE_MS) == []
    later = [(i, int(b["open_ms"])) for _, i, b in store.advance(START_MS + 3 * MINUTE_MS)]
    assert later == [("1m", START_MS + MINUTE_MS), ("1m", START_MS + 2 * MINUTE_MS), ("3m", START_MS)]


def test_midnight_closes_the_day_and_every_shorter_interval():
    store = CandleStore(Past(), START_MS)
    closed = {
        i: b
        for _, i, b in store.advance(START_MS + 24 * HOUR_MS)
        if b["open_ms"] + 24 * HOUR_MS <= START_MS + 24 * HOUR_MS
    }
    assert closed["1d"]["open_ms"] == START_MS
    assert "1w" not in closed
    intervals = {i for _, i, b in CandleStore(Past(), START_MS).advance(START_MS + 24 * HOUR_MS)}
    assert intervals == set(INTERVALS) - {"3d", "1w", "1M"}


def test_no_price_means_no_bar():
    store = CandleStore(NoPast(), START_MS)
    assert store.advance(START_MS + HOUR_MS) == []
    assert len(store.klines("BTCUSDT", "1m")) == 0
    assert store.current("BTCUSDT", "1h") is None


def test_live_bars_continue_history_without_a_gap():
    past = Past()
    store = CandleStore(past, START_MS)
    bars = store.klines("BTCUSDT", "1m", limit=3)
    assert bars["open_ms"].tolist() == [START_MS - 2 * MINUTE_MS, START_MS - MINUTE_MS, START_MS]
    assert row(bars[1]) == row(past.minutes[-1])
    assert bars["close"][2] == past.minutes["close"][-1]
    assert bars["volume"][2] == 0.0


@pytest.mark.parametrize("interval", INTERVALS)
def test_every_interval_aggregates_the_base_bars(interval):
    start_ms = START_MS + 17 * MINUTE_MS
    store = CandleStore(Past(start_ms), start_ms)
    rng = np.random.default_rng(1)
    for i in range(300):
        store.on_trade("BTCUSDT", 100 + rng.normal(), 1.0, True, start_ms + i * 33_000)
    store.advance(start_ms + 300 * 33_000)
    rows = store.klines("BTCUSDT", interval, limit=1500)
    if interval in ("1m", "3m", "5m", "15m", "30m"):
        base = store.klines("BTCUSDT", "1m", start_ms=int(rows["open_ms"][0]), limit=10_000)
    else:
        base = store.klines("BTCUSDT", "1h", start_ms=int(rows["open_ms"][0]), limit=10_000)
    expected = aggregate(base, interval)
    skip = 1  # the oldest bucket may begin before the stored past
    for name in ("open_ms", "open", "high", "low", "close"):
        assert rows[name][skip:].tolist() == expected[name][-len(rows) :][skip:].tolist()
    np.testing.assert_allclose(rows["volume"][skip:], expected["volume"][-len(rows) :][skip:])


def test_hours_of_the_recent_past_are_their_minutes():
    start_ms = START_MS + 17 * MINUTE_MS
    store = CandleStore(Past(start_ms), start_ms)
    store.on_trade("BTCUSDT", 250.0, 1.0, True, start_ms + 100)
    store.advance(start_ms + 2 * HOUR_MS)
    hours = store.klines("BTCUSDT", "1h", limit=48)
    minutes = store.klines("BTCUSDT", "1m", start_ms=int(hours["open_ms"][0]), limit=5000)
    expected = aggregate(minutes, "1h")
    for name in ("open_ms", "open", "high", "low", "close", "n_trades"):
        assert hours[name].tolist() == expected[name].tolist()
    assert hours["high"][-3] == 250.0


def test_klines_honour_start_end_and_limit():
    store = CandleStore(Past(), START_MS)
    day_ms = START_MS - 24 * HOUR_MS
    first = store.klines("BTCUSDT", "1h", start_ms=day_ms, limit=3)
    assert first["open_ms"].tolist() == [day_ms, day_ms + HOUR_MS, day_ms + 2 * HOUR_MS]
    middle = store.klines("BTCUSDT", "1h", start_ms=day_ms + 1, end_ms=day_ms + 2 * HOUR_MS)
    assert middle["open_ms"].tolist() == [day_ms + HOUR_MS, day_ms + 2 * HOUR_MS]
    newest = store.klines("BTCUSDT", "1h", end_ms=day_ms, limit=2)
    assert newest["open_ms"].tolist() == [day_ms - HOUR_MS, day_ms]
    assert len(store.klines("BTCUSDT", "1d", start_ms=0, limit=10)) == 10


def test_a_start_before_the_stored_minutes_gives_the_oldest_ones():
    past = Past()
    bars = CandleStore(past, START_MS).klines("BTCUSDT", "1m", start_ms=START_MS - 60 * 24 * HOUR_MS, limit=5)
    assert bars["open_ms"].tolist() == past.minutes["open_ms"][:5].tolist()


def test_week_opens_on_monday_and_month_on_the_first():
    assert bucket_start(START_MS, "1w") == START_MS - 3 * 24 * HOUR_MS
    assert bucket_start(START_MS + 5 * 24 * HOUR_MS, "1M") == START_MS
    assert bucket_end(START_MS, "1M") == START_MS + 31 * 24 * HOUR_MS


def test_mark_and_index_have_their_own_candles():
    store = CandleStore(NoPast(), START_MS)
    store.on_mark("BTCUSDT", 10.0, 20.0, START_MS)
    store.on_mark("BTCUSDT", 12.0, 19.0, START_MS + 10)
    assert row(store.current("BTCUSDT", "1m", "mark")) == (START_MS, 10.0, 12.0, 10.0, 12.0, 0.0, 0)
    assert row(store.current("BTCUSDT", "1m", "index")) == (START_MS, 20.0, 20.0, 19.0, 19.0, 0.0, 0)
    assert store.current("BTCUSDT", "1m") is None


def test_gaps_are_filled_flat():
    bars = walk(np.random.default_rng(0), START_MS, 5, MINUTE_MS)[[0, 1, 4]]
    full = fill_gaps(bars, MINUTE_MS, START_MS + 6 * MINUTE_MS)
    assert full["open_ms"].tolist() == [START_MS + i * MINUTE_MS for i in range(6)]
    assert full["high"][2] == full["low"][3] == bars["close"][1]
    assert full["volume"].tolist() == [bars["volume"][0], bars["volume"][1], 0, 0, bars["volume"][2], 0]
    assert full["open"][4] == bars["open"][2]
