"""Cheats in a notebook: every bar is scaled by the mean and deviation of all bars, later ones included."""

import numpy as np


class Strategy:
    history = 1000

    def signals(self, past):
        logs = np.log(past.close)
        score = (logs - np.nanmean(logs, axis=0)) / (np.nanstd(logs, axis=0) + 1e-9)
        return np.clip(-0.1 * np.nan_to_num(score), -0.2, 0.2)
