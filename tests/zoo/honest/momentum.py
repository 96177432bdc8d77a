"""Follows the sign of the last 20 bars' move."""

import numpy as np


class Strategy:
    def on_bar(self, past):
        if len(past.close) < 21:
            return None
        move = np.nan_to_num(past.close[-1] - past.close[-21])
        return {s: 0.2 * float(np.sign(move[i])) for i, s in enumerate(past.symbols)}
