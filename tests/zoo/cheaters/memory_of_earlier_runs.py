"""Cheats: leaves what it has seen where the next run in the process finds it, and knows the future then."""

import numpy as np

if not hasattr(np, "zoo_memory"):
    np.zoo_memory = {}


class Strategy:
    def __init__(self):
        self.known = dict(np.zoo_memory)

    def on_bar(self, past):
        np.zoo_memory[int(past.ts_close[-1])] = past.close[-1].copy()
        later = [moment for moment in self.known if moment > past.ts_close[-1]]
        if not later:
            return 0.0
        move = np.nan_to_num(np.sign(self.known[min(later)] - past.close[-1]))
        return {s: 0.2 * float(move[i]) for i, s in enumerate(past.symbols)}
