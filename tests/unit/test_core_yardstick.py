"""ema-cross with gate=off against the public definition, written once more in plain Python."""

import numpy as np
import pytest

from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.simulate import SimBars, simulate
from engine.domain import NS_PER_S
from engine.settings import SystemConfig

FEE, SLIPPAGE, CASH = 0.0004, 0.0001, 10_000.0


def reference(opens, closes, fast, slow, both):
    """Spot-like bookkeeping: cash and quantity only."""
    fast_ema = slow_ema = closes[0]
    cash, qty, signal, equity = CASH, 0.0, 0, []
    for t, close in enumerate(closes):
        if signal and t > 0:
            px = opens[t] * (1 + SLIPPAGE) if signal > 0 else opens[t] * (1 - SLIPPAGE)
            cash += qty * px - abs(qty) * px * FEE
            qty = 0.0
            if signal > 0 or both:
                qty = signal * cash / (px * (1 + FEE))
                cash -= qty * px + abs(qty) * px * FEE
        signal = 0
        if t > 0:
            before = fast_ema - slow_ema
            fast_ema += 2 / (fast + 1) * (close - fast_ema)
            slow_ema += 2 / (slow + 1) * (close - slow_ema)
            now = fast_ema - slow_ema
            if t >= slow - 1:
                signal = 1 if now > 0 >= before else -1 if now < 0 <= before else 0
        equity.append(cash + qty * close)
    return np.array(equity)


def market(seed, n_bars):
    rng = np.random.default_rng(seed)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n_bars)))
    opens = np.concatenate([[100.0], closes[:-1]]) * np.exp(rng.normal(0, 0.002, n_bars))
    return opens, closes


def simulated(opens, closes, fast, slow, both):
    params = SystemConfig(strategy="ema-cross", ema_fast=fast, ema_slow=slow).params()
    ts_close = (1_600_000_000 + 60 * np.arange(len(closes))) * NS_PER_S
    bars = SimBars(ts_close, opens.reshape(-1, 1), closes.reshape(-1, 1), np.zeros((0, 1)))
    return simulate(bars, no_limits(1), Costs(FEE, SLIPPAGE), params._replace(gate=False, allow_short=both), CASH)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("fast", "slow"), [(20, 100), (3, 7), (1, 2)])
def test_yardstick_agrees_with_its_definition(fast, slow, both):
    opens, closes = market(fast + slow, 3000)
    result = simulated(opens, closes, fast, slow, both)
    expected = reference(opens, closes, fast, slow, both)
    assert len(result.fills.qty) > 10
    np.testing.assert_allclose(result.track.equity, expected, rtol=1e-9, atol=0)


def test_hand_worked_round_trip():
    # fast 1 follows the close, slow 2 lags: rise at bar 2 crosses up, fall at bar 4 crosses down
    closes = np.array([100.0, 90.0, 110.0, 120.0, 80.0, 80.0])
    opens = np.array([100.0, 100.0, 95.0, 112.0, 118.0, 79.0])
    result = simulated(opens, closes, 1, 2, False)
    buy = 112.0 * 1.0001
    qty = 10_000 / (buy * 1.0004)
    sell = 79.0 * 0.9999
    final = qty * sell * (1 - 0.0004)
    assert result.fills.bar.tolist() == [3, 5]
    assert result.track.equity.tolist() == pytest.approx(
        [10_000, 10_000, 10_000, qty * 120, qty * 80, final], rel=1e-12
    )


def test_no_signal_before_the_slow_span():
    closes = np.array([100.0, 90.0, 110.0, 120.0, 80.0, 80.0, 80.0])
    result = simulated(closes.copy(), closes, 1, 5, False)
    assert all(bar >= 5 for bar in result.fills.bar)


def test_last_signal_is_not_filled():
    closes = np.array([100.0, 90.0, 110.0])
    assert len(simulated(closes.copy(), closes, 1, 2, False).fills.bar) == 0
