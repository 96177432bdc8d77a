"""Broken: turns the whole book over at every bar, which only pays where trading is free."""

import numpy as np


class Strategy:
    def on_bar(self, past):
        if len(past.close) < 3:
            return 0.0
        move = np.nan_to_num(np.sign(past.close[-1] - past.close[-3]))
        return {s: 0.2 * float(move[i]) for i, s in enumerate(past.symbols)}
