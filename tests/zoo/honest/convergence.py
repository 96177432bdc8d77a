"""Difference of two means and the mean of that difference: the textbook's momentum oscillator."""

import numpy as np


def smoothed(values, n):
    weights = (1 - 2 / (n + 1)) ** np.arange(len(values))[::-1]
    return (weights[:, None] * values).sum(axis=0) / weights.sum()


class Strategy:
    def on_bar(self, past):
        if len(past.close) < 60:
            return None
        logs = np.log(past.close[-60:])
        gap = smoothed(logs[-26:], 6) - smoothed(logs, 24)
        return {s: 0.2 * float(np.nan_to_num(np.sign(gap[i]))) for i, s in enumerate(past.symbols)}
