"""What the account is worth, and the memory that the loss limits need."""

from __future__ import annotations

import numpy as np

from engine.core.compiling import kernel
from engine.core.state import State
from engine.domain import F8, NS_PER_DAY


@kernel
def valuation_px(mark_px: float, last_px: float, entry_px: float) -> float:
    """Return the best known price of a symbol: mark, else newest close, else entry; NaN if none is known."""
    if mark_px > 0.0:
        return mark_px
    if last_px > 0.0:
        return last_px
    if entry_px > 0.0:
        return entry_px
    return np.nan


@kernel
def equity_of(n_symbols: int, cash: float, position_qty: F8, entry_px: F8, value_px: F8) -> float:
    """Return cash plus unrealised PnL of linear positions, in the quote currency.

    equity = cash + sum_i qty_i * (px_i - entry_i)

    Parameters
    ----------
    n_symbols : int
        N; passed, so that a scan of one symbol compiles without loops.
    cash : float, quote currency
    position_qty, entry_px, value_px : (N,) float64
        Signed base; quote per base. A flat symbol may have a NaN price.

    Returns
    -------
    float
        NaN when an open position has no known price: unknown is not zero.
    """
    equity = cash
    for i in range(n_symbols):
        if position_qty[i] != 0.0:
            equity += position_qty[i] * (value_px[i] - entry_px[i])
    return equity


@kernel
def mark_book(state: State, equity: float, ts_close: int) -> None:
    """Update peak equity and roll the UTC day of ``ts_close``, in place.

    A bar that closes at 00:00:00 opens the new day: its equity is what that day's loss is measured from.
    """
    book = state.book[0]
    if equity > book["peak_equity"]:
        book["peak_equity"] = equity
    if ts_close >= book["ts_day_end"]:
        book["ts_day_end"] = (ts_close // NS_PER_DAY + 1) * NS_PER_DAY
        book["day_open_equity"] = equity
        book["day_worst"] = 0.0
        book["day_locked"] = 0


@kernel
def apply_fill(position_qty: F8, entry_px: F8, i: int, qty: float, px: float) -> float:
    """Book one execution of symbol ``i`` in place and return the PnL that it realised, before fees.

    Adding averages the entry price by quantity; reducing keeps it; a flip opens the rest at ``px``.

    Parameters
    ----------
    position_qty, entry_px : (N,) float64, signed base and quote per base
    i : int
    qty : float, signed base
    px : float, quote per base

    Returns
    -------
    float, quote currency
    """
    held = position_qty[i]
    after = held + qty
    realised = 0.0
    if held == 0.0 or held * qty > 0.0:
        entry_px[i] = (entry_px[i] * held + px * qty) / after if held != 0.0 else px
    else:
        closed = -qty if abs(qty) <= abs(held) else held
        realised = closed * (px - entry_px[i])
        if after == 0.0:
            entry_px[i] = 0.0
        elif after * held < 0.0:
            entry_px[i] = px
    position_qty[i] = after
    return realised
