"""The market in which the zoo lives: eight coins in eight-hour bars that trend for days; two of them die on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from engine.domain import NS_PER_S
from engine.research.loading import BarTable, align

N_BARS = 720  # 240 days
DEATH = 500
COINS = ("BTCUSDT", "ETHUSDT", "ADAUSDT", "SOLUSDT", "XRPUSDT", "LTCUSDT", "ZZZUSDT", "QQQUSDT")
DEAD = ("ZZZUSDT", "QQQUSDT")
BEST = ("SOLUSDT", "XRPUSDT")  # rose most, known only at the end
INTERVAL_S = 8 * 3600
SEED = 139
DRIFT, NOISE = 0.0028, 0.008  # log return of a bar


def zoo_bars(seed: int = SEED) -> BarTable:
    """Each coin's expected return keeps its sign for some two weeks: a rule that follows moves earns honestly."""
    rng = np.random.default_rng(seed)
    ts_open = (1_640_995_200 + INTERVAL_S * np.arange(N_BARS, dtype=np.int64)) * NS_PER_S
    series = []
    for coin in COINS:
        turns = np.cumsum(rng.random(N_BARS) < 1 / 45)
        sign = rng.choice([-1.0, 1.0]) * np.where(turns % 2 == 0, 1.0, -1.0)
        bias = 0.0012 if coin in BEST else -0.0016 if coin in DEAD else 0.0
        close_px = 50.0 * np.exp(np.cumsum(bias + DRIFT * sign + rng.normal(0.0, NOISE, N_BARS)))
        open_px = np.concatenate([[50.0], close_px[:-1]]) * np.exp(rng.normal(0.0, 0.0002, N_BARS))
        reach = 1.0 + np.abs(rng.normal(0.0, 0.002, N_BARS))
        high_px, low_px = np.maximum(open_px, close_px) * reach, np.minimum(open_px, close_px) / reach
        values = np.column_stack([open_px, high_px, low_px, close_px, rng.lognormal(5.0, 0.5, N_BARS)])
        n = DEATH if coin in DEAD else N_BARS
        series.append((coin, ts_open[:n], values[:n]))
    return align(series)


def write_files(bars: BarTable, folder: Path) -> None:
    """Write ``SYMBOL.parquet`` for every coin, as a person keeps them on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, coin in enumerate(bars.symbols):
        there = np.isfinite(bars.close_px[:, i])
        named = {"open": bars.open_px, "high": bars.high_px, "low": bars.low_px, "close": bars.close_px}
        columns = {"timestamp": bars.ts_open[there], **{name: grid[there, i] for name, grid in named.items()}}
        columns["volume"] = bars.volume[there, i]
        pa_parquet.write_table(pa.table(columns), folder / f"{coin}.parquet")
