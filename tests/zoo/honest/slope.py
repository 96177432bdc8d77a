"""Sizes by the slope of a line through the last 20 log closes, in units of their deviation from it."""

import numpy as np


class Strategy:
    def on_bar(self, past):
        if len(past.close) < 20:
            return None
        x = np.arange(20.0) - 9.5
        y = np.log(past.close[-20:])
        slope = x @ (y - y.mean(axis=0)) / (x @ x)
        rest = (y - y.mean(axis=0) - np.outer(x, slope)).std(axis=0) + 1e-9
        score = np.tanh(8 * slope / rest)
        return {s: 0.2 * float(np.nan_to_num(score[i])) for i, s in enumerate(past.symbols)}
