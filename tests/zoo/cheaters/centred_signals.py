"""Cheats in a notebook: a mean that is centred on each bar, computed for all bars at once."""

import numpy as np


class Strategy:
    history = 1000

    def __init__(self, half=6):
        self.half = half

    def signals(self, past):
        n, half = len(past.close), self.half
        total = np.vstack([np.zeros(past.close.shape[1]), np.nancumsum(past.close, axis=0)])
        last, first = np.minimum(np.arange(n) + half + 1, n), np.maximum(np.arange(n) - half, 0)
        mean = (total[last] - total[first]) / (last - first)[:, None]
        return np.where(mean > past.close, 0.2, -0.2)
