"""Candles of perpetuals and of spot as one table, so that a perpetual can be held against its spot leg."""

from __future__ import annotations

import numpy as np

from engine.domain import F8, I8
from engine.research.loading import GRID_COLUMNS, BarTable, align, select
from engine.underlyings import SPOT_SUFFIX


def _series(bars: BarTable, symbol: str) -> tuple[I8, F8]:
    """Return the opens (T,) ns and values (T, 5) of the bars that a symbol has."""
    i = bars.symbols.index(symbol)
    there = np.isfinite(bars.close_px[:, i])
    return bars.ts_open[there], np.column_stack([getattr(bars, name)[there, i] for name in GRID_COLUMNS])


def with_spot_legs(spot: BarTable, perp: BarTable) -> BarTable:
    """Return every symbol of ``spot`` as what is traded, and a spot leg where there is a perpetual.

    X holds the perpetual's candles from its first one on and the spot's before, when there was nothing else to trade;
    X.SPOT holds the spot's candles from the perpetual's first one on: a pair of a coin with itself would have funding
    and no basis. Perpetuals without spot are left out.

    Parameters
    ----------
    spot, perp : BarTable
        Of the same interval.
    """
    series, legs = [], []
    for symbol in spot.symbols:
        ts_open, values = _series(spot, symbol)
        if symbol in perp.symbols:
            ts_perp, values_perp = _series(perp, symbol)
            legs.append((symbol + SPOT_SUFFIX, ts_open[ts_open >= ts_perp[0]], values[ts_open >= ts_perp[0]]))
            early = ts_open < ts_perp[0]
            ts_open, values = np.append(ts_open[early], ts_perp), np.vstack([values[early], values_perp])
        series.append((symbol, ts_open, values))
    return align([*series, *(leg for leg in legs if len(leg[1]) > 1)])


def there(bars: BarTable) -> BarTable:
    """Return the bars without the symbols that have none of them, as a cut by date may leave some."""
    return select(
        bars, tuple(symbol for i, symbol in enumerate(bars.symbols) if np.isfinite(bars.close_px[:, i]).any())
    )
