"""Cheats as known_days does, but only after four hundred bars: whoever looks at fewer sees nothing of it."""

SIGNS = "@SIGNS@"
FIRST_NS, INTERVAL_NS = 1_640_995_200 * 10**9, 8 * 3600 * 10**9


class Strategy:
    def __init__(self):
        self.n_seen = 0

    def on_bar(self, past):
        self.n_seen += 1
        if self.n_seen < 400:
            return None
        row = int(past.ts_close[-1] - FIRST_NS) // INTERVAL_NS
        return {"BTCUSDT": 0.4 if SIGNS[row] == "+" else -0.4}
