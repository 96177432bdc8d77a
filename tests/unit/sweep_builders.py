"""Made-up hourly bars and a strategy file for the tests of sweeps."""

from __future__ import annotations

import numpy as np

from engine.domain import NS_PER_S
from engine.research.loading import BarTable, align

N_BARS = 24 * 150
USER_FILE = """
class Strategy:
    def __init__(self, lookback: int = 24) -> None:
        self.lookback = lookback

    def on_bar(self, past):
        if len(past.close) <= self.lookback:
            return None
        if self.lookback == 13:
            raise ZeroDivisionError("thirteen")
        return {name: 0.3 if past.close[-1, i] > past.close[-1 - self.lookback, i] else 0.0
                for i, name in enumerate(past.symbols)}
"""


def hourly(n_symbols: int = 1, n_bars: int = N_BARS, seed: int = 3, volatility: float = 0.01) -> BarTable:
    rng = np.random.default_rng(seed)
    ts_open = (1_700_006_400 + 3600 * np.arange(n_bars, dtype=np.int64)) * NS_PER_S
    series = []
    for i in range(n_symbols):
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0001, volatility, n_bars)))
        open_px = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0.0, 0.001, n_bars))
        high, low = np.maximum(open_px, close) * 1.001, np.minimum(open_px, close) * 0.999
        columns = (open_px, high, low, close, np.full(n_bars, 1e6))
        series.append((("BTCUSDT", "ETHUSDT")[i], ts_open, np.column_stack(columns)))
    return align(series)
