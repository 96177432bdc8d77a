"""Works a run's equity out again from its fills and the bars, by other code than the simulation's."""

from __future__ import annotations

import numpy as np

from engine.core.matching import FillLog
from engine.domain import F8
from engine.research.loading import GRID_COLUMNS, BarTable

TOLERANCE = 1e-6
"""Relative difference of equity, or distance of a fill from its bar, that float sums may make."""

STALE_CORRELATION = -0.5
STALE_SHARE = 0.5


def checksum(bars: BarTable) -> tuple[float, ...]:
    """Return sums that change when any price or volume is overwritten."""
    step = 1.0 + (np.arange(len(bars.ts_open)) % 997) / 997.0  # so that swapped rows show too
    return tuple(float(np.nansum(getattr(bars, name) * step[:, None])) for name in GRID_COLUMNS)


def equity_again(bars: BarTable, fills: FillLog, funding: F8 | None, cash: float) -> F8:
    """Return equity at each close (T,): cash less what was bought and paid, plus what is held at its mark.

    Parameters
    ----------
    bars : BarTable
    fills : FillLog
    funding : (T, N) float64 or None
        Rates due at each close.
    cash : float, quote currency
        Opening balance.
    """
    n_bars = len(bars.ts_open)
    equity = np.full(n_bars, cash)
    for i in range(len(bars.symbols)):
        mine = fills.symbol == i
        if not mine.any():
            continue
        bought = np.bincount(fills.bar[mine], weights=fills.qty[mine], minlength=n_bars)
        spent = np.bincount(
            fills.bar[mine], weights=fills.qty[mine] * fills.px[mine] + fills.fee[mine], minlength=n_bars
        )
        close_px = bars.close_px[:, i]
        known = np.isfinite(close_px)
        newest = np.maximum.accumulate(np.where(known, np.arange(n_bars), 0))
        marks = np.where(known, close_px, np.nan_to_num(close_px[newest]))
        held = np.cumsum(bought)
        # also where the candle is missing: the venue settles on its mark, whoever records candles
        paid = np.cumsum(held * marks * np.nan_to_num(funding[:, i])) if funding is not None else 0.0
        equity += held * marks - np.cumsum(spent) - paid
    return equity


def fills_inside_bars(bars: BarTable, fills: FillLog) -> bool:
    """Return whether no purchase was below the low and no sale above the high of its bar."""
    low, high = bars.low_px[fills.bar, fills.symbol], bars.high_px[fills.bar, fills.symbol]
    cheap = (fills.qty > 0) & ~(fills.px >= low * (1.0 - TOLERANCE))
    dear = (fills.qty < 0) & ~(fills.px <= high * (1.0 + TOLERANCE))
    return not bool((cheap | dear).any())


def opens_are_stale(bars: BarTable) -> bool:
    """Return whether a file's opens lie a bar back, so that a fill at the next open is one at a price that has gone.

    In a market the next open is about the last close. Opens of the bar before undo most of the last bar's move.
    """
    gap = np.log(bars.open_px[1:] / bars.close_px[:-1])
    move = np.log(bars.close_px[1:] / bars.close_px[:-1])
    body = np.vstack([np.full((1, gap.shape[1]), np.nan), move[:-1]])
    for i in range(gap.shape[1]):
        both = np.isfinite(gap[:, i]) & np.isfinite(body[:, i])
        if both.sum() < 100:
            continue
        one, other = gap[both, i], body[both, i]
        if np.std(other) == 0 or np.std(one) <= STALE_SHARE * np.std(other):
            continue
        if np.corrcoef(one, other)[0, 1] < STALE_CORRELATION:
            return True
    return False


def audited(bars: BarTable, fills: FillLog, equity: F8, funding: F8 | None, cash: float) -> bool:
    """Return whether the fills are possible and give the recorded equity."""
    again = equity_again(bars, fills, funding, cash)
    off = np.abs(again - equity) > TOLERANCE * np.maximum(np.abs(equity), cash)
    return not bool(off.any()) and fills_inside_bars(bars, fills) and not opens_are_stale(bars)
