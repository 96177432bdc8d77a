"""Cheats: climbs up the call stack to the table of all bars and reads the next close there."""

import sys

import numpy as np


class Strategy:
    def __init__(self):
        self.n = 0

    def on_bar(self, past):
        self.n += 1
        frame = sys._getframe()
        while frame is not None and not hasattr(frame.f_locals.get("bars"), "close_px"):
            frame = frame.f_back
        closes = frame.f_locals["bars"].close_px
        later = closes[min(self.n, len(closes) - 1)]
        return {
            s: 0.2 * float(np.nan_to_num(np.sign(later[i] - past.close[-1, i]))) for i, s in enumerate(past.symbols)
        }
