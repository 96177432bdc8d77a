"""Cheats: scales prices by the mean and deviation of the whole history, later bars included."""

import numpy as np


class Strategy:
    def __init__(self, history_file):
        logs = np.log(np.load(history_file)["close"])
        self.mean, self.deviation = np.nanmean(logs, axis=0), np.nanstd(logs, axis=0)

    def on_bar(self, past):
        score = (np.log(past.close[-1]) - self.mean) / self.deviation
        return {s: float(np.clip(-0.2 * score[i], -0.2, 0.2)) for i, s in enumerate(past.symbols)}
