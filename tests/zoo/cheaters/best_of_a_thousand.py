"""Cheats unknowingly: one of a thousand random rules, kept because it came out best."""

import numpy as np

FIRST_NS, WEEK_NS = 1_640_995_200 * 10**9, 7 * 86_400 * 10**9


class Strategy:
    def __init__(self, rule=0):
        # a toss for each week and coin, the same in every run
        self.tosses = np.random.default_rng(rule).choice([-0.2, 0.2], (60, 8))

    def on_bar(self, past):
        week = int(past.ts_close[-1] - FIRST_NS) // WEEK_NS
        return dict(zip(past.symbols, self.tosses[week].tolist(), strict=True))
