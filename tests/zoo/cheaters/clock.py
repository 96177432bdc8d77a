"""Broken: trades by the time of day at which the backtest runs."""

import time


class Strategy:
    def on_bar(self, past):
        return 0.1 if time.time_ns() % 2 else -0.1
