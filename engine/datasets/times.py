"""Times in files: datetimes, ISO text, and integers in seconds, milliseconds, microseconds or nanoseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine.domain import I8, INTERVAL_S, NS_PER_S

Flags = npt.NDArray[np.bool_]

EXPECTED = "a time as ISO text (2024-01-31 13:00) or as seconds, ms, us or ns since 1970"
_UNITS = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))  # below the limit, times the factor, is ns
_NAT = np.iinfo(np.int64).min


def moment_text(ts_ns: int) -> str:
    """Return a moment as a person reads it, UTC, to the second."""
    return datetime.fromtimestamp(ts_ns / NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")


def interval_name(interval_s: int) -> str:
    """Return ``1h`` for 3600, and ``7 s`` for an interval that has no name here."""
    return next((name for name, seconds in INTERVAL_S.items() if seconds == interval_s), f"{interval_s} s")


def usual_step(ts: I8) -> int:
    """Return the most frequent distance between the times of a series, ns."""
    gaps = np.diff(ts)
    uneven = gaps[gaps != gaps[0]]  # of most files few or none, and sorting millions of equal numbers is slow
    steps, counts = np.unique(uneven, return_counts=True)
    steps, counts = np.append(steps, gaps[0]), np.append(counts, len(gaps) - len(uneven))
    return int(steps[np.argmax(counts)])


def parse_times(column: pa.ChunkedArray) -> tuple[I8, Flags]:
    """Return times as int64 ns UTC, and which rows hold none.

    Parameters
    ----------
    column : (T,) ChunkedArray
        Datetimes or ISO text (without a zone: UTC), or integers. The unit of an integer is told from its own
        magnitude, row by row: since 1973 seconds have at most 11 digits, milliseconds 12 to 14, and so on. An export
        whose unit changes half-way, as Binance's did in 2025, is read right.

    Returns
    -------
    ts : (T,) int64 ns
        0 where there is no time.
    bad : (T,) bool
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return parse_times(column.cast(kind.value_type))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _filled(column.cast(pa.timestamp("ns")).cast(pa.int64()))
    if pa.types.is_integer(kind):
        ts, bad = _filled(column.cast(pa.int64()))
        return _to_ns(ts), bad
    if pa.types.is_floating(kind):
        numbers = pc.fill_null(column, np.nan).to_numpy().astype(np.float64)
        bad = ~np.isfinite(numbers)
        return _to_ns(np.where(bad, 0.0, numbers)), bad
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _from_text(column)
    return np.zeros(len(column), np.int64), np.ones(len(column), bool)


def _filled(column: pa.ChunkedArray) -> tuple[I8, Flags]:
    if not column.null_count:
        return column.to_numpy(), np.zeros(len(column), bool)
    return pc.fill_null(column, 0).to_numpy(), column.is_null().to_numpy()


def _to_ns(numbers: npt.NDArray[Any]) -> I8:
    whole = numbers.astype(np.int64)
    largest, smallest = (int(whole.max()), int(whole.min())) if len(whole) else (0, 0)
    if smallest >= _UNITS[-1][0]:
        return whole
    ts = whole.copy()
    below = 0
    for limit, factor in _UNITS:
        if largest < limit and smallest >= below:  # the usual case: one unit; fractions of it are kept
            return np.round(numbers * factor).astype(np.int64) if whole.dtype != numbers.dtype else whole * factor
        inside = (np.abs(whole) >= below) & (np.abs(whole) < limit)
        ts[inside] *= factor
        below = limit
    return ts


def _from_text(column: pa.ChunkedArray) -> tuple[I8, Flags]:
    import pandas as pd

    texts = pd.Series(column.to_numpy(zero_copy_only=False)).str.strip()
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
    moments = pd.to_datetime(texts.where(np.isnan(numbers)), format="ISO8601", utc=True, errors="coerce")
    moments = moments.where(moments.dt.year.between(1700, 2200)).dt.tz_localize(None)  # what nanoseconds can hold
    ts: I8 = moments.to_numpy().astype("datetime64[ns]").astype(np.int64)
    is_number = np.isfinite(numbers)
    ts[is_number] = _to_ns(numbers[is_number])
    bad: Flags = (ts == _NAT) & ~is_number
    ts[bad] = 0
    return ts, bad
