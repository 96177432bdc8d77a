"""Cheats: makes the next bar's open that of the bar that has just closed, and so fills at a price that has gone."""

import sys

import numpy as np


class Strategy:
    def __init__(self):
        self.n = 0

    def on_bar(self, past):
        self.n += 1
        frame = sys._getframe()
        while frame is not None and not hasattr(frame.f_locals.get("scan"), "external_weight"):
            frame = frame.f_back
        opens = frame.f_locals["scan"].bars.open_px
        if self.n < len(opens):
            opens[self.n] = past.open[-1]
        move = np.sign(past.close[-1] - past.open[-1])
        return {s: 0.2 * float(np.nan_to_num(move[i])) for i, s in enumerate(past.symbols)}
