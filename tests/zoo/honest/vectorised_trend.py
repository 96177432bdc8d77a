"""Moves of the last 20 bars for all bars at once; each row uses only what came before it."""

import numpy as np


class Strategy:
    history = 1000

    def signals(self, past):
        weights = np.full(past.close.shape, np.nan)
        weights[20:] = 0.2 * np.sign(np.nan_to_num(past.close[20:] - past.close[:-20]))
        return weights
