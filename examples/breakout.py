"""Example strategy: long while the close is the highest of the last n bars, out when it is the lowest.

python -m engine backtest --data PATH --strategy examples/breakout.py --param n=48 --param share=0.2
"""

from __future__ import annotations


class Strategy:
    """Breakout of the last ``n`` bars with ``share`` of the account in each symbol."""

    def __init__(self, n: int = 48, share: float = 0.2) -> None:
        self.n = n
        self.share = share

    def on_bar(self, past):
        """Return new weights at a breakout; symbols left out keep their position."""
        if len(past.close) <= self.n:
            return None  # no opinion yet: positions stay as they are
        weights = {}
        window = past.close[-self.n - 1 : -1]
        newest = past.close[-1]
        for i, symbol in enumerate(past.symbols):
            if newest[i] > window[:, i].max():
                weights[symbol] = self.share
            elif newest[i] < window[:, i].min():
                weights[symbol] = 0.0
        return weights
