"""One backtest of 1,000,000 one-minute bars against a bare numba kernel, in the same run. Prints JSON.

    python benchmarks/backtest.py [--bars 1000000] [--repeats 5]

The bare kernel is the least that any compiled backtest of this rule must do: two EMAs, a crossing, fills with fee and
slippage, an equity curve. It has no account, no gate and no records.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable

import numpy as np
from numba import njit

from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.simulate import SimBars, simulate
from engine.core.step import new_state, step, warm_up
from engine.domain import NS_PER_S, AccountView, MarketSlice
from engine.settings import SystemConfig

FEE, SLIPPAGE, CASH = 0.0004, 0.0001, 10_000.0


@njit
def bare_kernel(open_px, close_px, fast, slow, fee, slippage, cash):
    equity = np.empty(close_px.shape[0])
    alpha_fast, alpha_slow = 2.0 / (fast + 1.0), 2.0 / (slow + 1.0)
    ema_fast = ema_slow = close_px[0]
    qty, signal = 0.0, 0
    equity[0] = cash
    for t in range(1, close_px.shape[0]):
        if signal == 1 and qty == 0.0:
            px = open_px[t] * (1.0 + slippage)
            qty = cash / (px * (1.0 + fee))
            cash -= qty * px * (1.0 + fee)
        elif signal == -1 and qty > 0.0:
            px = open_px[t] * (1.0 - slippage)
            cash += qty * px * (1.0 - fee)
            qty = 0.0
        signal = 0
        fast_before, slow_before = ema_fast, ema_slow
        ema_fast += alpha_fast * (close_px[t] - ema_fast)
        ema_slow += alpha_slow * (close_px[t] - ema_slow)
        if t >= slow - 1:
            if ema_fast > ema_slow and fast_before <= slow_before:
                signal = 1
            elif ema_fast < ema_slow and fast_before >= slow_before:
                signal = -1
        equity[t] = cash + qty * close_px[t]
    return equity


def best_ms(work: Callable[[], object], repeats: int) -> float:
    work()
    elapsed = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        elapsed.append(time.perf_counter() - started)
    return 1000 * min(elapsed)


def minute_bars(n_bars: int) -> SimBars:
    rng = np.random.default_rng(7)
    close_px = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.0007, n_bars)))
    open_px = np.concatenate([close_px[:1], close_px[:-1]]) * np.exp(rng.normal(0.0, 0.0001, n_bars))
    ts_close = 1_600_000_020 * NS_PER_S + np.arange(n_bars, dtype=np.int64) * 60 * NS_PER_S
    return SimBars(ts_close, open_px.reshape(-1, 1), close_px.reshape(-1, 1), np.zeros((0, 1)))


def step_latency_us(n_symbols: int, repeats: int) -> dict[str, float]:
    rng = np.random.default_rng(1)
    params = SystemConfig(decision_interval="1h").params()
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (2000, n_symbols)), axis=0))
    state = warm_up(new_state(n_symbols, params), closes, params)
    zeros, ones, last = np.zeros(n_symbols), np.ones(n_symbols), closes[-1]
    market = MarketSlice(1_700_000_000 * NS_PER_S, last, last, last, last, ones, zeros)
    account = AccountView(CASH, zeros, zeros, zeros, last, 0)
    elapsed = []
    for _ in range(repeats):
        started = time.perf_counter()
        step(state, market, account, no_limits(n_symbols), zeros, params)
        elapsed.append(time.perf_counter() - started)
    return {"p50": 1e6 * float(np.percentile(elapsed, 50)), "p99": 1e6 * float(np.percentile(elapsed, 99))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    bars = minute_bars(options.bars)
    base = SystemConfig(strategy="ema-cross", decision_interval="1m", allow_short=False).params()
    # a gate that never has to shrink the book still computes and records every rule on every bar
    gated = base._replace(gate=True, max_symbol_weight=1.5, max_drawdown=0.99, max_daily_loss=0.9)
    costs, limits = Costs(FEE, SLIPPAGE), no_limits(1)
    open_px, close_px = bars.open_px[:, 0].copy(), bars.close_px[:, 0].copy()
    bare = best_ms(lambda: bare_kernel(open_px, close_px, 20, 100, FEE, SLIPPAGE, CASH), options.repeats)
    gate_on = best_ms(lambda: simulate(bars, limits, costs, gated, CASH), options.repeats)
    gate_on_default = best_ms(lambda: simulate(bars, limits, costs, base, CASH), options.repeats)
    gate_off = best_ms(lambda: simulate(bars, limits, costs, base._replace(gate=False), CASH), options.repeats)
    difference = np.max(np.abs(
        simulate(bars, limits, costs, base._replace(gate=False), CASH).track.equity
        - bare_kernel(open_px, close_px, 20, 100, FEE, SLIPPAGE, CASH)
    ))  # fmt: skip
    report = {
        "bars": options.bars,
        "best_of": options.repeats,
        "bare_kernel_ms": bare,
        "gate_on_ms": gate_on,
        "gate_on_default_limits_ms": gate_on_default,
        "gate_off_ms": gate_off,
        "gate_on_over_bare": gate_on / bare,
        "target_over_bare": 5.0,
        "largest_equity_difference_gate_off": float(difference),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "step_us": {str(n): step_latency_us(n, 2000) for n in (10, 50)},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
