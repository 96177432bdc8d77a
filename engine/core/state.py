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
    ("day_worst", np.float64),  # largest loss of the UTC day so far, fraction; 0 for ema-cross
    ("day_locked", np.int64),  # 1 after the daily loss limit, until ts_day_end
    ("drawdown_locked", np.int64),  # 1 after the drawdown limit, until rearm()
    ("edge_n", np.float64),  # periods of the strategy's own record, older ones counting for less
    ("edge_sum", np.float64),  # of net returns over the volatility forecast for them
    ("edge_square", np.float64),  # of their squares
    ("period_equity", np.float64),  # ccy, equity when the present period began; 0: unknown
    ("period_volatility", np.float64),  # forecast for the present period, fraction; 0: nothing held, or unknown
    ("period_bars", np.int64),  # bars of the present period
    ("n_periods", np.int64),  # periods seen
    ("dof", np.float64),  # degrees of freedom fitted to those kept; 0 before there are enough
    ("minute", np.int64),  # since the epoch, in which ``n_acts`` symbols were acted on
    ("n_acts", np.int64),
])  # fmt: skip
"""Account memory as a record: one row, so that compiled code can change it in a private copy."""

KEPT_PERIODS = 365
"""Periods whose returns are kept for the tail."""

RETURN, SIGMA, FIRST, UNIT_TAIL, CLUSTER, Z = range(6)
PAST_SIGMA = Z + KEPT_PERIODS
PAST_COLUMNS = PAST_SIGMA + KEPT_PERIODS
"""Columns of ``State.past``, a row a symbol. RETURN: log return since the period began. SIGMA: volatility forecast for
it, 0 while unknown. FIRST: ``n_bars`` when it began. UNIT_TAIL: expected shortfall of weight 1 on its worse side, over
what ``tail_days`` multiplies it by. CLUSTER: scratch. From Z on, a ring: simple returns of past periods over the
volatility forecast for them; from PAST_SIGMA on that volatility. One more row is scratch for losses."""


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
    past: F8  # (N + 1, PAST_COLUMNS) what the gate remembers of past periods (days); all zero for ema-cross
    added: F8  # (N, 2) hour since the epoch, and the notional (ccy) that was added to the symbol in it


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
        past=np.zeros((n_symbols + 1, PAST_COLUMNS)),
        added=np.zeros((n_symbols, 2)),
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
        state.past.copy(),
        state.added.copy(),
    )


class Remembered(NamedTuple):
    """What of the account's memory outlives a restart besides peak and day; see ``BOOK``."""

    day_worst: float = 0.0
    edge_n: float = 0.0
    edge_sum: float = 0.0
    edge_square: float = 0.0


def remembered(state: State) -> Remembered:
    """Return what ``restore_book`` takes back after a restart."""
    return Remembered(*(float(state.book[name][0]) for name in Remembered._fields))


def restore_book(
    state: State, peak_equity: float, day_open_equity: float, ts_day: int, kept: Remembered | None = None
) -> State:
    """Return a copy that remembers an account from before a restart.

    Parameters
    ----------
    state : State
    peak_equity, day_open_equity : float, quote currency
        As recorded. The daily-loss lock follows from them at the next step.
    ts_day : int, ns
        Any moment of the UTC day that ``day_open_equity`` belongs to.
    kept : Remembered, optional
        Default: no worst loss of the day but the present one, and no record of the strategy's edge.

    Returns
    -------
    State
    """
    fresh = copy_state(state)
    fresh.book["peak_equity"][0] = peak_equity
    fresh.book["day_open_equity"][0] = day_open_equity
    fresh.book["ts_day_end"][0] = (ts_day // NS_PER_DAY + 1) * NS_PER_DAY
    for name, value in (kept or Remembered())._asdict().items():
        fresh.book[name][0] = value
    return fresh


def adopt_book(state: State, other: State, same_strategy: bool) -> State:
    """Return a copy with another state's peak, day and locks, and its record of the edge if that is of this strategy.

    The period under way is not taken over: it began at another bar.
    """
    fresh = copy_state(state)
    fresh.book[:] = other.book
    for name in ("period_bars", "n_periods", "dof"):
        fresh.book[name] = state.book[name]
    for name in ("period_equity", "period_volatility"):
        fresh.book[name][0] = 0.0
    if not same_strategy:
        for name in ("edge_n", "edge_sum", "edge_square"):
            fresh.book[name][0] = 0.0
    return fresh


def rearm(state: State, equity: float) -> State:
    """Return a copy in which a person has accepted the loss: the peak restarts at ``equity``, locks are open."""
    fresh = copy_state(state)
    fresh.book["peak_equity"][0] = equity
    fresh.book["day_open_equity"][0] = equity
    fresh.book["day_worst"][0] = 0.0
    fresh.book["day_locked"][0] = 0
    fresh.book["drawdown_locked"][0] = 0
    return fresh
