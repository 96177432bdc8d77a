"""Example of a vectorised strategy: long above the moving average of n bars, short below, flat near it.

python -m engine backtest --data PATH --strategy examples/moving_average.py --param n=72 --param share=0.2
"""

from __future__ import annotations

import numpy as np


class Strategy:
    """Distance of the close from its mean of ``n`` bars, in units of ``band``; ``share`` of the account at most."""

    def __init__(self, n: int = 72, share: float = 0.2, band: float = 0.01) -> None:
        self.n, self.share, self.band = n, share, band
        self.history = 2 * n  # how many bars a decision looks back at

    def signals(self, past):
        """Return one row of weights a bar; the engine takes the last row, that of the bar which has just closed."""
        weights = np.full(past.close.shape, np.nan)  # NaN: no opinion, the position stays
        if len(past.close) < self.n:
            return weights
        mean = np.lib.stride_tricks.sliding_window_view(past.close, self.n, axis=0).mean(axis=-1)
        distance = past.close[self.n - 1 :] / mean - 1.0
        weights[self.n - 1 :] = self.share * np.clip(distance / self.band, -1.0, 1.0)
        return weights
