"""Cheats: trades only the coins of which everybody knows today that they did best."""


class Strategy:
    def on_bar(self, past):
        return {"SOLUSDT": 0.4, "XRPUSDT": 0.4}
