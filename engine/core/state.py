"""What one decision remembers of all bars before it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.core.compiling import copying_kernel
from engine.domain import F8, I8, NS_PER_DAY, Params

BOOK = np.dtype([
    ("peak_equity", np.float64),  # ccy, highest equity seen
    ("day_open_equity", np.float64),  # ccy, equity at the first decision of the UTC day
    ("ts_day_end", np.int64),  # ns, first instant of the next UTC day
    ("day_locked", np.int64),  # 1 after the daily loss limit, until ts_day_end
    ("drawdown_locked", np.int64),  # 1 after the drawdown limit, until rearm()
])  # fmt: skip
"""Account memory as a record: one row, so that compiled code can change it in a private copy."""


class State(NamedTuple):
    """Memory of the decision function; a value. Its arrays are never changed by ``step``, only copied.

    N symbols, H trend horizons (at least 2 columns, shared with ema-cross).
    """

    trail: F8  # (N, H) trend: log price minus its EMA; ema-cross: fast and slow EMA, quote per base
    last_px: F8  # (N,) newest close, 0 before the first
    covariance: F8  # (N, N) EWMA of log-return products, per bar
    n_bars: I8  # (N,) bars seen with a price
    signal: F8  # (N,) ema-cross: standing direction -1, 0 or 1
    crossed: npt.NDArray[np.int8]  # (N,) ema-cross: 1 when the newest bar is a signal
    log_return: F8  # (N,) newest log return, NaN without one
    book: np.ndarray  # (1,) BOOK


def new_state(n_symbols: int, params: Params) -> State:
    """Return the state before any bar.

    Parameters
    ----------
    n_symbols : int
        N, at least 1.
    params : Params
        Only the number of trend horizons matters here.

    Returns
    -------
    State
        No bars seen, no peak, no day.
    """
    if n_symbols < 1:
        raise ValueError(f"n_symbols {n_symbols} must be at least 1")
    width = max(len(params.trend_horizon_bars), 2)
    return State(
        trail=np.zeros((n_symbols, width)),
        last_px=np.zeros(n_symbols),
        covariance=np.zeros((n_symbols, n_symbols)),
        n_bars=np.zeros(n_symbols, dtype=np.int64),
        signal=np.zeros(n_symbols),
        crossed=np.zeros(n_symbols, dtype=np.int8),
        log_return=np.full(n_symbols, np.nan),
        book=np.zeros(1, dtype=BOOK),
    )


@copying_kernel
def copy_state(state: State) -> State:
    """Return a state that shares no memory with the given one."""
    return State(
        state.trail.copy(),
        state.last_px.copy(),
        state.covariance.copy(),
        state.n_bars.copy(),
        state.signal.copy(),
        state.crossed.copy(),
        state.log_return.copy(),
        state.book.copy(),
    )


def restore_book(state: State, peak_equity: float, day_open_equity: float, ts_day: int) -> State:
    """Return a copy that remembers an account from before a restart.

    Parameters
    ----------
    state : State
    peak_equity, day_open_equity : float, quote currency
        As recorded. The daily-loss lock follows from them at the next step.
    ts_day : int, ns
        Any moment of the UTC day that ``day_open_equity`` belongs to.

    Returns
    -------
    State
    """
    fresh = copy_state(state)
    fresh.book["peak_equity"][0] = peak_equity
    fresh.book["day_open_equity"][0] = day_open_equity
    fresh.book["ts_day_end"][0] = (ts_day // NS_PER_DAY + 1) * NS_PER_DAY
    return fresh


def rearm(state: State, equity: float) -> State:
    """Return a copy in which a person has accepted the loss: the peak restarts at ``equity``, locks are open."""
    fresh = copy_state(state)
    fresh.book["peak_equity"][0] = equity
    fresh.book["day_open_equity"][0] = equity
    fresh.book["day_locked"][0] = 0
    fresh.book["drawdown_locked"][0] = 0
    return fresh
