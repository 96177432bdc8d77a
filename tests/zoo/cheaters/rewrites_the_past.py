"""Broken: makes the arrays that it was handed writable and smooths the past."""


class Strategy:
    def on_bar(self, past):
        past.close.setflags(write=True)
        past.close[:-1] = past.close[-1]
        return 0.1
