"""Series for the tests of data sets: a quiet random walk, in which each fault is planted by hand."""

import numpy as np

from engine.datasets.store import Draft, Series
from engine.domain import NS_PER_S

HOUR = 3600 * NS_PER_S
START = 1_600_002_000 * NS_PER_S  # 2020-09-13 13:00 UTC


def walk(n=300, seed=3, symbol="BTCUSDT"):
    """Hourly bars, each opening at the close before it, moves of about 0.5 %."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.005, n)))
    opened = np.append(100.0, close[:-1])
    edge = np.abs(rng.normal(0, 0.002, n))
    high, low = np.maximum(opened, close) * (1 + edge), np.minimum(opened, close) * (1 - edge)
    values = np.column_stack([opened, high, low, close, rng.uniform(1, 5, n)])
    return Series(symbol, START + np.arange(n, dtype=np.int64) * HOUR, values)


def without(series, rows):
    keep = ~np.isin(np.arange(len(series.ts)), rows)
    return Series(series.symbol, series.ts[keep], series.values[keep])


def draft(name, *series, findings=(), kind="candles", interval_s=3600):
    return Draft(name, kind, interval_s, series, {"kind": "import", "path": "x.csv"}, [f.as_row() for f in findings])
