"""The least that any compiled backtest must do, in bare numba: the bounds of ``backtest.py``. No account, no gate."""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit
def bare_kernel(open_px, close_px, fast, slow, fee, slippage, cash):
    """Two EMAs, a crossing, fills with fee and slippage, an equity curve."""
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


@njit(parallel=True)
def bare_sweep(open_px, close_px, pairs, fee, slippage, cash):
    """Final equity of each pair of spans, over all cores."""
    final = np.empty(pairs.shape[0])
    for k in prange(pairs.shape[0]):
        final[k] = bare_kernel(open_px, close_px, pairs[k, 0], pairs[k, 1], fee, slippage, cash)[-1]
    return final


@njit
def bare_rebalance(open_px, close_px, every, fee, slippage, cash):
    """Equal weights over all symbols at the open after every ``every``-th close; equity at each close."""
    n_bars, n_symbols = close_px.shape
    equity = np.empty(n_bars)
    qty = np.zeros(n_symbols)
    for t in range(n_bars):
        if t > 0 and (t - 1) % every == 0:
            for i in range(n_symbols):
                wanted = equity[t - 1] / n_symbols / close_px[t - 1, i]
                traded = wanted - qty[i]
                px = open_px[t, i] * (1.0 + slippage if traded > 0.0 else 1.0 - slippage)
                cash -= traded * px + abs(traded) * px * fee
                qty[i] = wanted
        value = cash
        for i in range(n_symbols):
            value += qty[i] * close_px[t, i]
        equity[t] = value
    return equity
