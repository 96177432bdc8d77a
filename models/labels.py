"""What is to be forecast, each with the moment at which it becomes known: returns, direction, barriers, volatility."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.domain import F8, I8
from models.feature_kernel import SPLIT_GAP
from models.forecast import HORIZONS, Panel

NEVER = np.iinfo(np.int64).max
"""Moment at which a label becomes known that lies beyond the panel's end."""


class Labels(NamedTuple):
    """Values of T bars of N symbols; NaN where not known within the panel."""

    values: F8  # (T, N)
    ts_known: I8  # (T, N) ns; NEVER where not known within the panel


def _step_ns(ts_close: I8) -> int:
    return int(np.median(np.diff(ts_close))) if ts_close.shape[0] > 1 else 0


def adjusted_log_close(panel: Panel) -> F8:
    """Return log closes in one denomination a symbol.

    Parameters
    ----------
    panel : Panel

    Returns
    -------
    (T, N) float64
        NaN where a symbol has no bar. A price that opens more than three times away from its last close was
        redenominated, as in the features: that gap is taken out of everything after it.
    """
    log_open, log_close = np.log(panel.open_px), np.log(panel.close_px)
    result = log_close.copy()
    for i in range(log_close.shape[1]):
        rows = np.flatnonzero(np.isfinite(log_close[:, i]) & np.isfinite(log_open[:, i]))
        if rows.shape[0] == 0:
            continue
        gaps = log_open[rows[1:], i] - log_close[rows[:-1], i]
        result[rows[1:], i] -= np.cumsum(np.where(np.abs(gaps) > SPLIT_GAP, gaps, 0.0))
    return result


def ts_known_after(ts_close: I8, horizons: tuple[int, ...]) -> I8:
    """Return when the bar that is each horizon ahead closes.

    Parameters
    ----------
    ts_close : (T,) int64 ns
    horizons : tuple of int
        Bars ahead.

    Returns
    -------
    (T, H) int64 ns
        NEVER beyond the end.
    """
    result = np.full((ts_close.shape[0], len(horizons)), NEVER)
    for k, horizon in enumerate(horizons):
        if horizon < ts_close.shape[0]:
            result[:-horizon, k] = ts_close[horizon:]
    return result


def forward_log_returns(panel: Panel, horizons: tuple[int, ...] = HORIZONS) -> F8:
    """Return the log return from each bar's close to the close ``horizon`` bars later.

    Parameters
    ----------
    panel : Panel
    horizons : tuple of int
        Bars ahead.

    Returns
    -------
    (T, N, H) float64
        NaN beyond the end, where either close is unknown, and where bars are missing from the clock in between: the
        return would be over a longer time than it says.

    Notes
    -----
    Known at: ``ts_known_after``.
    """
    log_close = adjusted_log_close(panel)
    step_ns = _step_ns(panel.ts_close)
    result = np.full((*log_close.shape, len(horizons)), np.nan)
    for k, horizon in enumerate(horizons):
        if horizon >= log_close.shape[0]:
            continue
        whole = panel.ts_close[horizon:] - panel.ts_close[:-horizon] == horizon * step_ns
        moved = log_close[horizon:] - log_close[:-horizon]
        result[:-horizon, :, k] = np.where(whole[:, None], moved, np.nan)
    return result


def directions(log_returns: F8) -> F8:
    """Return 1 where a return is above zero, 0 where not, NaN where unknown; same shape, known at the same moment."""
    return np.where(np.isnan(log_returns), np.nan, (log_returns > 0.0).astype(np.float64))


def realized_volatility(panel: Panel, horizon: int) -> Labels:
    """Return the root mean square of the next ``horizon`` one-bar log returns, per bar.

    Parameters
    ----------
    panel : Panel
    horizon : int
        Bars ahead.

    Returns
    -------
    Labels
        NaN where one of the returns is unknown. Known at the close of the last bar of the horizon.
    """
    squares = forward_log_returns(panel, (1,))[:, :, 0] ** 2
    values = np.full(squares.shape, np.nan)
    if horizon > squares.shape[0]:
        return Labels(values, np.full(squares.shape, NEVER))
    windows = np.lib.stride_tricks.sliding_window_view(squares, horizon, axis=0)
    values[: windows.shape[0]] = np.sqrt(windows.mean(axis=-1))
    known = np.repeat(ts_known_after(panel.ts_close, (horizon,)), squares.shape[1], axis=1)
    return Labels(values, np.where(np.isfinite(values), known, NEVER))


def triple_barrier(panel: Panel, sigma: F8, horizon: int, width: float = 1.0) -> Labels:
    """Return which barrier the price touches first: 1 the upper, -1 the lower, 0 neither in time.

    The barriers are close * exp(± width * sigma * sqrt(horizon)), looked for in the highs and lows of the following
    bars. A bar that touches both does not say which came first: it counts as 0.

    Parameters
    ----------
    panel : Panel
    sigma : (T, N) float64
        Standard deviation of one bar's log return, known at the bar.
    horizon : int
        Bars until time is up.
    width : float
        Of each side, in standard deviations over the whole horizon.

    Returns
    -------
    Labels
        Known at the close of the bar that decided. NaN where a bar of the path is unknown before one decided.

    Notes
    -----
    Source: López de Prado (2018), Advances in Financial Machine Learning, chapter 3.
    """
    log_close = adjusted_log_close(panel)
    shift = log_close - np.log(panel.close_px)
    log_high, log_low = np.log(panel.high_px) + shift, np.log(panel.low_px) + shift
    reach = width * math.sqrt(horizon) * sigma
    values = np.full(log_close.shape, np.nan)
    known = np.full(log_close.shape, NEVER)
    open_still = np.isfinite(log_close) & np.isfinite(reach)
    step_ns = _step_ns(panel.ts_close)
    for ahead in range(1, min(horizon, log_close.shape[0] - 1) + 1):
        up, down = log_high[ahead:] - log_close[:-ahead], log_close[:-ahead] - log_low[ahead:]
        whole = panel.ts_close[ahead:] - panel.ts_close[:-ahead] == ahead * step_ns
        open_still[:-ahead] &= np.isfinite(up) & whole[:, None]
        above, below = up >= reach[:-ahead], down >= reach[:-ahead]
        decided = open_still[:-ahead] & (above | below | (ahead == horizon))
        values[:-ahead][decided] = (above.astype(np.float64) - below)[decided]
        known[:-ahead][decided] = np.broadcast_to(panel.ts_close[ahead:, None], decided.shape)[decided]
        open_still[:-ahead] &= ~decided
    return Labels(values, known)
