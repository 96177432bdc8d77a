"""Cheats: compares the price with a mean centred on it, half of it later bars, taken from the stored history."""

import numpy as np


class Strategy:
    def __init__(self, history_file, half=6):
        stored = np.load(history_file)
        self.ts_close, self.close, self.half = stored["ts_close"], stored["close"], half

    def on_bar(self, past):
        row = int(np.searchsorted(self.ts_close, past.ts_close[-1]))
        window = self.close[max(row - self.half, 0) : row + self.half + 1]
        mean = np.nansum(window, axis=0) / len(window)
        return {s: 0.2 if mean[i] > self.close[row, i] else -0.2 for i, s in enumerate(past.symbols)}
