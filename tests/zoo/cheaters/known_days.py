"""Cheats without any door: the days on which to be long were written into the file by somebody who had seen them."""

SIGNS = "@SIGNS@"
FIRST_NS, INTERVAL_NS = 1_640_995_200 * 10**9, 8 * 3600 * 10**9


class Strategy:
    def on_bar(self, past):
        row = int(past.ts_close[-1] - FIRST_NS) // INTERVAL_NS
        return {"BTCUSDT": 0.4 if SIGNS[row] == "+" else -0.4}
