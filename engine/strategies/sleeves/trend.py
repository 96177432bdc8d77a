"""Trend following: the very rule of the core's trend sleeve, symbol by symbol.

raw_i = tanh(mean over horizons of the log price's distance from its EMA, in units of a random walk's), over volatility,
at the volatility target times its conviction. Source: Moskowitz, Ooi & Pedersen (2012); Baz et al. (2015).
"""

from __future__ import annotations

from engine.core.compiling import kernel_part
from engine.core.sleeves import trend_signal
from engine.core.state import State
from engine.domain import F8, Params


@kernel_part
def write_trend(raw: F8, sigma: F8, state: State, needed: float, params: Params) -> int:
    """Write raw wishes (N,) in [-1, 1]; return whether there are any. Known at: the close. Warm-up: ``needed`` bars."""
    awake = 0
    for i in range(raw.shape[0]):
        raw[i] = 0.0
        if sigma[i] > 0.0 and state.n_bars[i] >= needed:
            raw[i] = trend_signal(state, i, params)
            awake = 1
    return awake
