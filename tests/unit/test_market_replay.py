"""Replay: recorded bars and trades come out of the book as they went in."""

import datetime as dt
import random

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.exchange import Exchange
from engine.venues.sandbox.market import CandleStore, make_market
from engine.venues.sandbox.market.bars import HOUR_MS, MINUTE_MS
from engine.venues.sandbox.market.paths import Points, bar_path, coarsen
from engine.venues.sandbox.model import OrderRequest, TradeEvent

FIRST_MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC
BTC = CONTRACTS["BTCUSDT"]


def write_bars(folder, rows, symbol="BTCUSDT", step_ms=MINUTE_MS, first_ms=FIRST_MS):
    columns = list(zip(*rows, strict=True))
    table = pa.table(
        {
            "timestamp": pa.array([first_ms + i * step_ms for i in range(len(rows))], pa.timestamp("ms", "UTC")),
            **{name: list(map(float, columns[i])) for i, name in enumerate(("open", "high", "low", "close", "volume"))},
        }
    )
    pq.write_table(table, folder / f"{symbol}.parquet")
    return str(folder)


def random_rows(seed, n, px=40_000.0, deviation=30.0):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        first = px + rng.normal(0, deviation / 3)
        px = first + rng.normal(0, deviation)
        high, low = max(first, px) + rng.exponential(deviation / 2), min(first, px) - rng.exponential(deviation / 2)
        prices = [round(x, 1) for x in (first, high, low, px)]
        rows.append((*prices, round(rng.exponential(20.0), 3)))
    return rows


def play(market, steps, orders=()):
    """Drive a market and its candles as the server does; return (candles, exchange, trades)."""
    exchange, now_ms = Exchange(CONTRACTS), market.market_start_ms
    candles = CandleStore(market, now_ms)
    market.start(exchange, now_ms)
    exchange.open_account("me", 1e7, now_ms)
    for request in orders:
        exchange.place(request, now_ms)
    trades = []
    for step_ms in steps:
        if market.finished:
            break
        now_ms = min(now_ms + step_ms, now_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS)
        market.advance(exchange, now_ms)
        exchange.advance(now_ms)
        for event in exchange.drain():
            if isinstance(event, TradeEvent):
                contract = CONTRACTS[event.symbol]
                px, qty = contract.price(event.price_tick), contract.qty(event.lots)
                candles.on_trade(event.symbol, px, qty, event.buyer_is_maker, event.time_ms)
                trades.append(event)
        candles.advance(now_ms)
    return candles, exchange, trades


def steps_of(seed):
    draw = random.Random(seed)
    while True:
        yield draw.choice((100, 1_000, 7_000, 45_000, 60_000))


def ohlc(bars):
    return [tuple(float(bar[name]) for name in ("open", "high", "low", "close")) for bar in bars]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), deviation=st.sampled_from([0.0, 0.2, 30.0, 600.0]))
def test_replayed_minutes_reproduce_open_high_low_close_exactly(tmp_path_factory, seed, deviation):
    rows = random_rows(seed, 24, deviation=deviation)
    folder = write_bars(tmp_path_factory.mktemp("replay"), rows)
    market = make_market("replay", symbols=None, seed=seed, start_ms=FIRST_MS + 10 * MINUTE_MS, path=folder)
    candles, _, _ = play(market, steps_of(seed))
    assert market.market_start_ms == FIRST_MS + 10 * MINUTE_MS
    assert market.finished
    bars = candles.klines("BTCUSDT", "1m", limit=100)[:24]
    assert ohlc(bars) == [row[:4] for row in rows]
    assert bars["open_ms"].tolist() == [FIRST_MS + i * MINUTE_MS for i in range(24)]
    np.testing.assert_allclose(bars["volume"], [row[4] for row in rows], atol=0.2)


@pytest.mark.parametrize("step_ms", [10_000, 60_000])
def test_replayed_hours_reproduce_open_high_low_close_exactly(tmp_path, step_ms):
    rows = random_rows(3, 12, deviation=400.0)
    folder = write_bars(tmp_path, rows, step_ms=HOUR_MS)
    market = make_market("replay", symbols=["BTCUSDT"], seed=1, start_ms=FIRST_MS + 6 * HOUR_MS, path=folder)
    assert ohlc(market.history("BTCUSDT", "1h")) == [row[:4] for row in rows[:6]]
    minutes = market.history("BTCUSDT", "1m")
    assert len(minutes) == 6 * 60
    assert [minutes["high"][i : i + 60].max() for i in range(0, 360, 60)] == [row[1] for row in rows[:6]]
    candles, _, _ = play(market, iter(lambda: step_ms, None))
    assert ohlc(candles.klines("BTCUSDT", "1h", limit=100)[:12]) == [row[:4] for row in rows]


def test_same_seed_and_steps_give_the_same_trades(tmp_path):
    folder = write_bars(tmp_path, random_rows(8, 6))
    runs = []
    for seed in (1, 1, 2):
        market = make_market("replay", symbols=None, seed=seed, start_ms=FIRST_MS, path=folder)
        runs.append(play(market, iter(lambda: 500, None))[2])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_resting_orders_fill_when_the_path_trades_through_them(tmp_path):
    # Rises from 40000 to 40100 by way of 39950, then falls to 39900.
    rows = [(40_000, 40_100, 39_950, 40_100, 50), (40_100, 40_110, 39_900, 39_900, 50)]
    folder = write_bars(tmp_path, rows)
    market = make_market("replay", symbols=None, seed=1, start_ms=FIRST_MS, path=folder)
    orders = [
        OrderRequest("me", "BTCUSDT", 1, "LIMIT", 0.5, 39_960.0),
        OrderRequest("me", "BTCUSDT", -1, "LIMIT", 0.5, 40_090.0),
        OrderRequest("me", "BTCUSDT", 1, "LIMIT", 0.5, 39_800.0),
    ]
    _, exchange, _ = play(market, iter(lambda: 250, None), orders)
    fills = [(t.side, t.price_tick, t.lots, t.is_maker) for t in exchange.user_trades("me")]
    assert {f[3] for f in fills} == {True}
    bought = [f for f in fills if f[0] > 0]
    sold = [f for f in fills if f[0] < 0]
    assert (sum(f[2] for f in bought), {f[1] for f in bought}) == (500, {399_600})
    assert (sum(f[2] for f in sold), {f[1] for f in sold}) == (500, {400_900})
    assert [o.price_tick for o in exchange.open_orders("me")] == [398_000]


def test_a_stop_that_the_price_gaps_over_fills_at_the_new_price(tmp_path):
    rows = [(40_000, 40_010, 39_990, 40_000, 50), (38_000, 38_010, 37_990, 38_000, 50)]
    folder = write_bars(tmp_path, rows)
    market = make_market("replay", symbols=None, seed=1, start_ms=FIRST_MS, path=folder)
    orders = [
        OrderRequest("me", "BTCUSDT", 1, "MARKET", 0.1),
        OrderRequest("me", "BTCUSDT", -1, "STOP_MARKET", None, stop_price=39_500.0, close_position=True),
    ]
    _, exchange, _ = play(market, iter(lambda: 250, None), orders)
    exit_fill = [t for t in exchange.user_trades("me") if t.side < 0]
    assert sum(t.lots for t in exit_fill) == 100
    assert all(379_000 < t.price_tick < 380_500 for t in exit_fill)


def test_every_book_is_two_sided_from_the_start_on(tmp_path):
    folder = write_bars(tmp_path, random_rows(1, 4))
    market = make_market("replay", symbols=None, seed=1, start_ms=FIRST_MS, path=folder)
    exchange = Exchange(CONTRACTS)
    market.start(exchange, FIRST_MS)
    bids, asks, _ = exchange.depth("BTCUSDT", 20)
    assert len(bids) == len(asks) == 20
    assert bids[0][0] < BTC.nearest_tick(random_rows(1, 4)[0][0]) < asks[0][0]


def test_asking_for_every_contract_plays_those_that_have_a_file(tmp_path):
    write_bars(tmp_path, random_rows(1, 40), symbol="ETHUSDT")
    folder = write_bars(tmp_path, random_rows(2, 40))
    market = make_market("replay", symbols=tuple(CONTRACTS), seed=1, start_ms=FIRST_MS, path=folder)
    assert market.symbols == ("BTCUSDT", "ETHUSDT")


def test_start_outside_the_recording_leaves_half_of_it_as_history(tmp_path):
    folder = write_bars(tmp_path, random_rows(1, 40))
    market = make_market("replay", symbols=None, seed=1, start_ms=1_900_000_000_000, path=folder)
    assert market.market_start_ms == FIRST_MS + 20 * MINUTE_MS
    assert len(market.history("BTCUSDT", "1m")) == 20
    assert market.history_funding("BTCUSDT") == []


def test_a_missing_bar_is_flat_and_trades_nothing(tmp_path):
    rows = random_rows(2, 6)
    folder = write_bars(tmp_path, rows)
    table = pq.read_table(tmp_path / "BTCUSDT.parquet")
    pq.write_table(pa.concat_tables([table.slice(0, 3), table.slice(4)]), tmp_path / "BTCUSDT.parquet")
    market = make_market("replay", symbols=None, seed=1, start_ms=FIRST_MS, path=folder)
    candles, _, _ = play(market, iter(lambda: 10_000, None))
    bars = candles.klines("BTCUSDT", "1m")
    assert ohlc(bars[3:4]) == [(rows[2][3],) * 4]
    assert bars["volume"][3] == 0
    assert ohlc(bars[4:6]) == [row[:4] for row in rows[4:]]


def write_ticks(folder, n=600, side=True):
    rng = np.random.default_rng(4)
    times = np.sort(FIRST_MS + rng.integers(0, 10 * MINUTE_MS, n))
    px = np.round(40_000 + np.cumsum(rng.normal(0, 2, n)), 1)
    table = {"timestamp": times, "price": px, "qty": np.round(rng.exponential(0.1, n) + 0.001, 3)}
    if side:
        table["side"] = np.where(rng.random(n) < 0.5, "buy", "sell")
    pyarrow.csv.write_csv(pa.table(table), folder / "BTCUSDT.csv")
    return table


def test_recorded_trades_print_one_by_one_at_slow_speed(tmp_path):
    recorded = write_ticks(tmp_path)
    market = make_market("replay", symbols=None, seed=1, start_ms=FIRST_MS + 5 * MINUTE_MS, path=str(tmp_path))
    _, _, trades = play(market, iter(lambda: 100, None))
    live = recorded["timestamp"] >= FIRST_MS + 5 * MINUTE_MS
    assert [t.price_tick for t in trades] == np.round(recorded["price"][live] * 10).astype(int).tolist()
    assert [t.lots for t in trades] == np.round(recorded["qty"][live] * 1000).astype(int).tolist()
    assert [t.time_ms for t in trades] == recorded["timestamp"][live].tolist()
    assert [t.buyer_is_maker for t in trades] == (recorded["side"][live] == "sell").tolist()


def test_fast_replay_of_trades_keeps_each_minutes_extremes_and_volume(tmp_path):
    recorded = write_ticks(tmp_path, side=False)
    market = make_market("replay", symbols=None, seed=1, start_ms=FIRST_MS + 5 * MINUTE_MS, path=str(tmp_path))
    candles, _, trades = play(market, iter(lambda: 60_000, None))
    assert len(trades) < 200
    bars = candles.klines("BTCUSDT", "1m")
    minute = (recorded["timestamp"] - FIRST_MS) // MINUTE_MS
    for i in range(10):
        px = recorded["price"][minute == i]
        assert ohlc(bars[i : i + 1]) == [(px[0], px.max(), px.min(), px[-1])]
        assert bars["volume"][i] == pytest.approx(recorded["qty"][minute == i].sum())


@settings(max_examples=200, deadline=None)
@given(
    ticks=st.lists(st.integers(1000, 1100), min_size=4, max_size=4),
    lots=st.integers(0, 5000),
    seed=st.integers(0, 99),
    interval_ms=st.sampled_from([MINUTE_MS, HOUR_MS]),
)
def test_paths_stay_inside_their_bar_and_touch_both_ends(ticks, lots, seed, interval_ms):
    low, first, last, high = min(ticks), ticks[1], ticks[2], max(ticks)
    path = bar_path(FIRST_MS, interval_ms, (first, high, low, last), lots, np.random.default_rng(seed))
    if lots == 0 and high == low:
        assert len(path.tick) == 0
        return
    assert (path.tick[0], path.tick[-1], path.tick.max(), path.tick.min()) == (first, last, high, low)
    assert path.time_ms[0] == FIRST_MS
    assert path.time_ms[-1] == FIRST_MS + interval_ms - 1
    assert np.all(np.diff(path.time_ms) > 0)
    anchors = path.tick[path.anchor]
    assert anchors.tolist() == ([first, low, high, last] if last >= first else [first, high, low, last])
    assert path.lots.min() >= 1


def test_coarsening_keeps_anchors_and_volume():
    n = 1000
    rng = np.random.default_rng(0)
    anchor = np.zeros(n, dtype=bool)
    anchor[[0, 300, 999]] = True
    points = Points(np.arange(n), rng.integers(90, 110, n), rng.integers(1, 9, n), rng.random(n) < 0.5, anchor)
    short = coarsen(points, 10)
    assert len(short.tick) <= 14
    assert short.lots.sum() == points.lots.sum()
    assert {0, 300, 999} <= set(short.time_ms.tolist())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop_columns("high"), ('"high"', "missing")),
        (lambda t: t.set_column(1, "open", [[1.0, 2.0, None]]), ('"open"', "row 3", "empty")),
        (lambda t: t.set_column(1, "open", [[1.0, float("nan"), 2.0]]), ('"open"', "row 2", "finite")),
        (lambda t: t.set_column(2, "high", [[99.0, 1.0, 99.0]]), ('"high"', "below the open", "row 1")),
        (lambda t: t.set_column(5, "volume", [[1.0, -1.0, 1.0]]), ('"volume"', "row 2", "negative")),
        (lambda t: t.set_column(4, "close", [["a", "b", "c"]]), ('"close"', "not a number")),
        (lambda t: t.take([0, 2, 1]), ('"timestamp"', "row 3", "later")),
        (
            lambda t: t.set_column(0, "timestamp", [[1704067200, 1704067260, 1704067320]]),
            ('"timestamp"', "milliseconds"),
        ),
        (lambda t: t.set_column(0, "timestamp", [[FIRST_MS, FIRST_MS + 17, FIRST_MS + 34]]), ('"timestamp"', "17 ms")),
        (lambda t: t.slice(0, 0), ("no rows",)),
    ],
)
def test_bad_files_are_refused_with_file_column_and_row(tmp_path, change, words):
    write_bars(tmp_path, random_rows(1, 3))
    file = tmp_path / "BTCUSDT.parquet"
    pq.write_table(change(pq.read_table(file)), file)
    with pytest.raises(DataError) as caught:
        make_market("replay", symbols=None, seed=1, start_ms=0, path=str(tmp_path))
    for word in ("BTCUSDT.parquet", *words):
        assert word in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "BTCUSDT.parquet").write_bytes(b"not parquet")
    for path, words in ((tmp_path, "cannot be read"), (tmp_path / "none", "no such file")):
        with pytest.raises(DataError, match=words):
            make_market("replay", symbols=None, seed=1, start_ms=0, path=str(path))
    with pytest.raises(DataError, match="ETHUSDT"):
        make_market("replay", symbols=["ETHUSDT"], seed=1, start_ms=0, path=str(tmp_path))


def test_csv_with_written_dates_and_a_single_file_are_understood(tmp_path):
    rows = random_rows(1, 5)
    lines = ["timestamp,open,high,low,close,volume"]
    for i, row in enumerate(rows):
        moment = dt.datetime.fromtimestamp(FIRST_MS / 1000 + 60 * i, dt.UTC)
        lines.append(f"{moment:%Y-%m-%d %H:%M:%S}," + ",".join(map(str, row)))
    file = tmp_path / "bitcoin.csv"
    file.write_text("\n".join(lines))
    market = make_market("replay", symbols=["BTCUSDT"], seed=1, start_ms=FIRST_MS + 2 * MINUTE_MS, path=str(file))
    assert market.symbols == ("BTCUSDT",)
    assert ohlc(market.history("BTCUSDT", "1m")) == [row[:4] for row in rows[:2]]
    with pytest.raises(DataError, match="name one contract"):
        make_market("replay", symbols=None, seed=1, start_ms=FIRST_MS, path=str(file))
