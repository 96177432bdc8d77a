"""Cheats: adds to its own cash in the simulated account."""

import sys


class Strategy:
    def on_bar(self, past):
        frame = sys._getframe()
        while frame is not None and not hasattr(frame.f_locals.get("scan"), "external_weight"):
            frame = frame.f_back
        frame.f_locals["scan"].account.money["cash"][0] += 25.0
        return 0.0
