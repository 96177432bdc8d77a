"""The simulated market shows what real returns show: no memory in returns, memory in volatility, fat tails."""

import numpy as np
import pytest

from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.exchange import Exchange
from engine.venues.sandbox.market.assets import ASSETS
from engine.venues.sandbox.market.bars import HOUR_MS, MINUTE_MS, aggregate
from engine.venues.sandbox.market.history import build_history
from engine.venues.sandbox.market.process import CALM, STRESSED
from engine.venues.sandbox.market.simulated import SimulatedMarket

START_MS = 1_780_000_020_000
CHECKED = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT")


@pytest.fixture(scope="module", params=[3, 11])
def past(request):
    return build_history(ASSETS, CONTRACTS, START_MS, request.param)


def returns(bars):
    return np.diff(np.log(bars["close"]))


def autocorrelation(x, lag):
    return float(np.corrcoef(x[:-lag], x[lag:])[0, 1])


def excess_kurtosis(x):
    z = x - x.mean()
    return float(np.mean(z**4) / np.mean(z**2) ** 2 - 3)


@pytest.mark.parametrize("interval", ["minutes", "hours"])
@pytest.mark.parametrize("symbol", CHECKED)
def test_returns_have_no_memory_but_volatility_has(past, symbol, interval):
    r = returns(getattr(past, interval)[symbol])
    # The largest 0.1 % are capped for the correlations: one jump would drown two weeks of minutes.
    cap = np.quantile(np.abs(r), 0.999)
    r = np.clip(r, -cap, cap)
    size = np.abs(r)
    assert abs(autocorrelation(r, 1)) < 0.05
    assert autocorrelation(size, 10) > 0.05
    assert autocorrelation(size, 1) > autocorrelation(size, 100)
    assert autocorrelation(size, 50) > 0.02


@pytest.mark.parametrize("interval", ["minutes", "hours"])
@pytest.mark.parametrize("symbol", CHECKED)
def test_returns_have_fat_tails(past, symbol, interval):
    assert excess_kurtosis(returns(getattr(past, interval)[symbol])) > 2


def test_assets_move_together(past):
    btc, eth = (returns(past.hours[s]) for s in ("BTCUSDT", "ETHUSDT"))
    assert 0.5 < np.corrcoef(btc, eth)[0, 1] < 0.95


@pytest.mark.parametrize("symbol", CHECKED)
def test_volatility_is_near_the_level_assumed(past, symbol):
    annual = returns(past.hours[symbol]).std() * np.sqrt(365 * 24)
    assert annual == pytest.approx(ASSETS[symbol].annual_vol, rel=0.3)


def test_busy_hours_are_more_volatile_than_quiet_ones(past):
    bars = past.hours["BTCUSDT"][1:]
    hour = bars["open_ms"] // HOUR_MS % 24
    size = np.abs(returns(past.hours["BTCUSDT"]))
    assert size[(hour >= 13) & (hour < 17)].mean() > 1.3 * size[(hour >= 3) & (hour < 6)].mean()


def test_history_meets_the_start_and_the_reference_prices(past):
    for symbol, asset in ASSETS.items():
        minutes, hours = past.minutes[symbol], past.hours[symbol]
        assert minutes["open_ms"][-1] + MINUTE_MS == START_MS
        assert minutes["close"][-1] == pytest.approx(asset.reference_px, rel=0.1)
        assert np.all(np.diff(minutes["open_ms"]) == MINUTE_MS)
        assert np.all(np.diff(hours["open_ms"]) == HOUR_MS)
        assert len(hours) == 730 * 24
        assert np.array_equal(minutes["open"][1:], minutes["close"][:-1])
        assert np.all(minutes["high"] >= np.maximum(minutes["open"], minutes["close"]))
        assert np.all(minutes["low"] <= np.minimum(minutes["open"], minutes["close"]))
        assert hours["open_ms"][-1] + HOUR_MS == START_MS // HOUR_MS * HOUR_MS


def test_recent_hours_are_the_sum_of_their_minutes(past):
    for symbol in ASSETS:
        expected = aggregate(past.minutes[symbol], "1h")[:-1]
        hours = past.hours[symbol][-len(expected) :]
        for name in ("open_ms", "open", "high", "low", "close", "n_trades"):
            assert np.array_equal(hours[name], expected[name])


def test_funding_settles_at_the_interval_within_the_cap(past):
    rows = np.array(past.funding["BTCUSDT"])
    step = CONTRACTS["BTCUSDT"].funding_interval_h * HOUR_MS
    assert np.all(rows[:, 0] % step == 0)
    assert np.all(np.diff(rows[:, 0]) == step)
    assert np.abs(rows[:, 1]).max() <= CONTRACTS["BTCUSDT"].funding_cap
    # Most of the time the premium is small and the interest rate of 1 bp is what remains.
    assert np.median(rows[:, 1]) == pytest.approx(0.0001)
    assert rows[:, 1].min() < 0 < rows[:, 1].max()


def spread_and_depth(regime):
    market = SimulatedMarket(["BTCUSDT"], 4, START_MS)
    market.set_regime(regime)
    exchange = Exchange(CONTRACTS)
    now_ms = market.market_start_ms
    market.start(exchange, now_ms)
    spreads, depths = [], []
    for i in range(400):
        now_ms += 100
        market.advance(exchange, now_ms)
        if i >= 100:
            bids, asks, _ = exchange.depth("BTCUSDT", 100)
            middle = (bids[0][0] + asks[0][0]) / 2
            spreads.append((asks[0][0] - bids[0][0]) / middle)
            depths.append(sum(lots for tick, lots in bids if tick > middle * (1 - 5e-4)))
    return np.mean(spreads), np.mean(depths)


def test_stress_widens_the_spread_and_thins_the_book():
    calm_spread, calm_depth = spread_and_depth(CALM)
    stressed_spread, stressed_depth = spread_and_depth(STRESSED)
    assert stressed_spread > 1.5 * calm_spread
    assert stressed_depth < 0.7 * calm_depth
