"""Long the two strongest coins of the last 30 bars, short the two weakest, chosen anew every fifth bar."""

import numpy as np


class Strategy:
    def on_bar(self, past):
        if len(past.close) < 31 or len(past.close) % 5:
            return None
        move = past.close[-1] / past.close[-31]
        there = np.flatnonzero(np.isfinite(move))
        order = there[np.argsort(move[there])]
        weights = dict.fromkeys(past.symbols, 0.0)
        weights |= {past.symbols[i]: -0.2 for i in order[:2]} | {past.symbols[i]: 0.2 for i in order[-2:]}
        return weights
