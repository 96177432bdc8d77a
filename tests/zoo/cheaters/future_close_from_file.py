"""Cheats: looks the next close up in the file from which the backtest was fed."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

INTERVAL_NS = 8 * 3600 * 10**9


class Strategy:
    def __init__(self, folder):
        self.closes = {}
        for path in Path(folder).glob("*.parquet"):
            table = pq.read_table(path)
            self.closes[path.stem] = dict(
                zip(table["timestamp"].to_numpy().tolist(), table["close"].to_numpy(), strict=True)
            )

    def on_bar(self, past):
        now = int(past.ts_close[-1])
        weights = {}
        for symbol in past.symbols:
            seen = self.closes[symbol].get(now - INTERVAL_NS, np.nan)
            later = self.closes[symbol].get(now, np.nan)
            weights[symbol] = 0.2 * float(np.nan_to_num(np.sign(later - seen)))
        return weights
