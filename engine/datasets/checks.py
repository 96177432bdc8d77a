"""Rows that cannot be right: what was found, what was expected, row by row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.domain import F8

BARS = ("open", "high", "low", "close", "volume")
"""Columns of a candle beside its time, in the order of every (T, 5) array here."""


class RowFault(NamedTuple):
    """One kind of fault over the rows of a series."""

    rows: npt.NDArray[np.bool_]  # (T,)
    found: str  # "has high below open or close"
    expected: str  # "high to be the largest of the four prices"


def _in_row(wrong: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.asarray(wrong.any(axis=1))


def value_faults(values: F8) -> list[RowFault]:
    """Return what is wrong with the prices and volumes of candles; no entry for what is right.

    Parameters
    ----------
    values : (T, 5) float64
        open, high, low, close (quote currency), volume (base). NaN where the file held no number.

    Returns
    -------
    list of RowFault
        In the order in which a person should hear of them; a row may be in several.
    """
    open_px, high_px, low_px, close_px, volume = values.T
    # one pass finds almost every good file good: comparisons with NaN are false
    good = (
        (low_px > 0)
        & (low_px <= open_px)
        & (low_px <= close_px)
        & (high_px >= open_px)
        & (high_px >= close_px)
        & (high_px < np.inf)
        & (volume >= 0)
        & (volume < np.inf)
    )
    if good.all():
        return []
    faults = (
        RowFault(_in_row(np.isnan(values)), "holds NaN", "a number in every column; a missing bar is allowed"),
        RowFault(_in_row(np.isinf(values)), "holds infinity", "finite numbers"),
        RowFault(_in_row(values[:, :4] <= 0), "has a price <= 0", "prices above 0"),
        RowFault(volume < 0, "has a negative volume", "a volume of 0 or more"),
        RowFault(
            high_px < np.maximum(open_px, close_px), "has high below open or close", "high to be the largest price"
        ),
        RowFault(low_px > np.minimum(open_px, close_px), "has low above open or close", "low to be the smallest price"),
    )
    return [fault for fault in faults if fault.rows.any()]
