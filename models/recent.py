"""The bars that a tape has seen lately, kept for whoever asks afterwards why something was said of the newest one."""

from __future__ import annotations

from collections import deque

import numpy as np

from engine.domain import F8, I8
from models.forecast import HORIZONS, Learnable, Panel

KEPT_BARS = 1_000
"""Six weeks of hours: similar bars are looked for among these, and 50 symbols of 50 inputs are 10 MB."""


class Recent:
    """Inputs, closes and volatility of the newest bars, oldest first.

    Parameters
    ----------
    symbols : tuple of str
    most : int
        Bars that are kept.
    """

    def __init__(self, symbols: tuple[str, ...], most: int = KEPT_BARS) -> None:
        self._symbols = symbols
        self._rows: deque[tuple[int, F8, np.ndarray, F8]] = deque(maxlen=most)
        self._data: Learnable | None = None
        self.ts_first = 0  # close of the first bar ever seen, ns: where a repetition has to begin
        self.ts_warm = 0  # of the last one that came as history and not bar by bar; sets how wide intervals begin

    def add(self, ts_close: I8, close_px: F8, features: np.ndarray, sigma: F8) -> None:
        """Take bars (T,), (T, N), (T, N, F) and (T, N) that come after all others."""
        if not self.ts_first and len(ts_close):
            self.ts_first = int(ts_close[0])
        self._rows.extend((int(ts), close_px[t], features[t], sigma[t]) for t, ts in enumerate(ts_close))
        self._data = None

    def data(self) -> Learnable:
        """Return what is kept, without targets; made once for all who ask about a bar."""
        if self._data is None:
            ts, close_px, features, sigma = (np.array(column) for column in zip(*self._rows, strict=True))
            unknown = np.full(close_px.shape, np.nan)
            panel = Panel(self._symbols, ts, unknown, unknown, unknown, close_px, *(unknown,) * 4)
            target = np.full((*close_px.shape, len(HORIZONS)), np.nan)
            self._data = Learnable(panel, features, sigma, target, np.repeat(ts[:, None], len(HORIZONS), axis=1))
        return self._data
