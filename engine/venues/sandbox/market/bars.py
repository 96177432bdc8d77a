"""Bars of the practice exchange: their layout, their intervals, and one way to aggregate them.

Times are market time in UTC milliseconds. A bar covers ``[open_ms, close)`` and is known at its close.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
MINUTE_HISTORY_MS = 15 * DAY_MS
HOUR_HISTORY_MS = 730 * DAY_MS

BAR_DTYPE = np.dtype(
    [
        ("open_ms", "i8"),
        ("open", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
        ("volume", "f8"),
        ("quote_volume", "f8"),
        ("n_trades", "i8"),
        ("taker_buy", "f8"),
    ]
)

# Fixed lengths in ms. A month has no fixed length; bucket functions treat it apart.
INTERVAL_MS: dict[str, int] = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": 7 * DAY_MS,
}
INTERVALS: tuple[str, ...] = (*INTERVAL_MS, "1M")
# 1 January 1970 was a Thursday; weeks open on Mondays.
_WEEK_OFFSET_MS = 4 * DAY_MS

Bars = npt.NDArray[np.void]


def empty_bars(n: int = 0) -> Bars:
    """Return `n` zeroed bars of `BAR_DTYPE`."""
    return np.zeros(n, dtype=BAR_DTYPE)


def bucket_open(open_ms: npt.NDArray[np.int64], interval: str) -> npt.NDArray[np.int64]:
    """Return the opening time of the `interval` bar that contains each moment.

    Parameters
    ----------
    open_ms : (N,) int64, UTC ms
    interval : one of `INTERVALS`
        Weeks open on Monday 00:00 UTC, months on the first day, 3d bars count from 1970-01-01.
    """
    if interval == "1M":
        months = open_ms.astype("datetime64[ms]").astype("datetime64[M]")
        return months.astype("datetime64[ms]").astype(np.int64)
    offset = _WEEK_OFFSET_MS if interval == "1w" else 0
    length = INTERVAL_MS[interval]
    return (open_ms - offset) // length * length + offset


def bucket_start(moment_ms: int, interval: str) -> int:
    """Return the opening time (ms) of the `interval` bar that contains `moment_ms`."""
    if interval == "1M":
        return int(bucket_open(np.array([moment_ms], dtype=np.int64), interval)[0])
    offset = _WEEK_OFFSET_MS if interval == "1w" else 0
    length = INTERVAL_MS[interval]
    return (moment_ms - offset) // length * length + offset


def bucket_end(open_ms: int, interval: str) -> int:
    """Return the first moment (ms) after the `interval` bar that opens at `open_ms`."""
    if interval == "1M":
        month = np.datetime64(open_ms, "ms").astype("datetime64[M]") + 1
        return int(month.astype("datetime64[ms]").astype(np.int64))
    return open_ms + INTERVAL_MS[interval]


def aggregate(bars: Bars, interval: str) -> Bars:
    """Aggregate finer bars into `interval` bars; a bucket without bars gives no row.

    Parameters
    ----------
    bars : (N,) BAR_DTYPE, oldest first
    interval : one of `INTERVALS`, at least as long as the input's own

    Returns
    -------
    (M,) BAR_DTYPE, one per bucket that has input, the first and last possibly made of a part of their bucket.
    """
    if len(bars) == 0:
        return empty_bars()
    opens = bucket_open(bars["open_ms"], interval)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(opens)) + 1))
    ends = np.concatenate((starts[1:], [len(bars)])) - 1
    out = empty_bars(len(starts))
    out["open_ms"] = opens[starts]
    out["open"] = bars["open"][starts]
    out["close"] = bars["close"][ends]
    out["high"] = np.maximum.reduceat(bars["high"], starts)
    out["low"] = np.minimum.reduceat(bars["low"], starts)
    for field in ("volume", "quote_volume", "n_trades", "taker_buy"):
        out[field] = np.add.reduceat(bars[field], starts)
    return out


def fill_gaps(bars: Bars, step_ms: int, end_ms: int) -> Bars:
    """Return one bar per step from the first bar to `end_ms`; missing ones are flat at the previous close, no volume.

    Parameters
    ----------
    bars : (N,) BAR_DTYPE, oldest first, on the grid of `step_ms`
    step_ms : int
    end_ms : int
        First moment after the last bar wanted.
    """
    if len(bars) == 0:
        return bars
    open_ms = np.arange(bars["open_ms"][0], end_ms, step_ms, dtype=np.int64)
    source = np.searchsorted(bars["open_ms"], open_ms, side="right") - 1
    out = bars[source].copy()
    missing = out["open_ms"] != open_ms
    out["open_ms"] = open_ms
    for field in ("open", "high", "low"):
        out[field][missing] = out["close"][missing]
    for field in ("volume", "quote_volume", "n_trades", "taker_buy"):
        out[field][missing] = 0
    return out
