"""Buys what fell most in the last bars, sells what rose: loses in this market, and honestly so."""

import numpy as np


class Strategy:
    def on_bar(self, past):
        if len(past.close) < 15:
            return None
        step = np.diff(np.log(past.close[-15:]), axis=0)
        up = np.maximum(step, 0).mean(axis=0)
        strength = up / (np.abs(step).mean(axis=0) + 1e-12)
        return {s: float(np.nan_to_num(0.3 * (0.5 - strength[i]))) for i, s in enumerate(past.symbols)}
