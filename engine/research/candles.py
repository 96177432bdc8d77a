"""Few enough candles for a chart: a stretch of one symbol's bars, joined to longer ones where there are too many."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.domain import F8, I8


class Candles(NamedTuple):
    """Bars of one symbol, oldest first."""

    ts_open: I8  # (T,) ns
    open_px: F8
    high_px: F8
    low_px: F8
    close_px: F8


def stretch_of(bars: Candles, start_ns: int, end_ns: int, most: int) -> Candles:
    """Return the bars that open in [start, end), several joined to one where they are more than ``most``.

    Parameters
    ----------
    bars : Candles
        NaN where there is no bar; such rows are left out.
    start_ns, end_ns : int
    most : int
        Largest number of candles wanted.
    """
    inside = (bars.ts_open >= start_ns) & (bars.ts_open < end_ns) & np.isfinite(bars.close_px)
    kept = Candles(
        bars.ts_open[inside], bars.open_px[inside], bars.high_px[inside], bars.low_px[inside], bars.close_px[inside]
    )
    n = len(kept.ts_open)
    if n <= most:
        return kept
    first = np.arange(0, n, math.ceil(n / most))
    last = np.append(first[1:], n) - 1
    return Candles(
        kept.ts_open[first], kept.open_px[first], np.maximum.reduceat(kept.high_px, first),
        np.minimum.reduceat(kept.low_px, first), kept.close_px[last],
    )  # fmt: skip
