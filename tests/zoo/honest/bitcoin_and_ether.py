"""Follows the two oldest coins only, by name, because those are what its owner trusts."""


class Strategy:
    def on_bar(self, past):
        if len(past.close) < 25:
            return None
        return {
            s: 0.4 if past.close[-1, past.symbols.index(s)] > past.close[-25:, past.symbols.index(s)].mean() else -0.4
            for s in ("BTCUSDT", "ETHUSDT")
        }
