"""Bars for the tests of research: seeded walks, some with a trend that a rule can find."""

import numpy as np

from engine.domain import NS_PER_S
from engine.research.loading import align

START_S = 1_600_002_000


def walk(n_bars=2400, seed=0, symbols=("BTCUSDT", "ETHUSDT"), drift=None, interval_s=3600):
    """Return aligned bars; ``drift`` is a (T, N) array of expected logarithmic returns."""
    rng = np.random.default_rng(seed)
    ts_open = (START_S + interval_s * np.arange(n_bars)) * NS_PER_S
    series = []
    for i, symbol in enumerate(symbols):
        steps = rng.normal(0, 0.008, n_bars) + (0.0 if drift is None else drift[:, i])
        close_px = 100 * np.exp(np.cumsum(steps))
        open_px = np.concatenate([[100.0], close_px[:-1]])
        high_px, low_px = np.maximum(open_px, close_px) * 1.001, np.minimum(open_px, close_px) * 0.999
        series.append((symbol, ts_open, np.column_stack([open_px, high_px, low_px, close_px, np.ones(n_bars)])))
    return align(series)
