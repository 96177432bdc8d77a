"""Walk-forward folds by calendar month: train, then validate, then judge, and nothing known too late in between."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.domain import I8
from engine.errors import DataError
from models.forecast import HORIZONS

EMBARGO_BARS = HORIZONS[-1]
"""Bars left out between the parts, beyond the purge: what happens over one horizon is still much alike."""


class Fold(NamedTuple):
    """One step of a walk forward; slices of the panel's rows, in this order and apart."""

    train: slice
    valid: slice
    test: slice


def usable(ts_close: I8, ts_known: I8, rows: slice) -> npt.NDArray[np.bool_]:
    """Return which targets of ``rows`` are known by the close of the last of these bars.

    Parameters
    ----------
    ts_close : (T,) int64 ns
    ts_known : (T, ...) int64 ns
        When each label became known.
    rows : slice
        At least one bar.

    Returns
    -------
    (R, ...) bool
        The purge: a learner that uses no other targets of its training rows has seen nothing of what comes after them.
    """
    start, stop, _ = rows.indices(ts_close.shape[0])
    known: npt.NDArray[np.bool_] = ts_known[start:stop] <= ts_close[stop - 1]
    return known


def monthly_folds(
    ts_close: I8,
    first_test: str,
    last_test: str,
    valid_bars: int,
    train_bars: int | None = None,
    embargo_bars: int = EMBARGO_BARS,
    months: int = 1,
) -> list[Fold]:
    """Return the folds of a walk forward that refits every ``months`` months.

    A fold's test is its calendar months (UTC; a bar belongs to the month in which it ran). Before it lie
    ``embargo_bars`` bars that are not used, then (backwards) the validation bars, again ``embargo_bars`` bars, and the
    training bars. Each part's labels are purged by ``usable``: those of the training rows are all known before
    validation begins.

    Parameters
    ----------
    ts_close : (T,) int64 ns
    first_test, last_test : str
        Months as "2021-01", both judged.
    valid_bars : int
    train_bars : int, optional
        Length of a rolling training window. None: from the first bar on (expanding).
    embargo_bars : int
    months : int
        Months judged with one fit.

    Returns
    -------
    list of Fold
        Oldest first; tests follow each other without overlap.

    Raises
    ------
    DataError
        No bars in the months asked for, or no training bars before the first of them.
    """
    of_row = months_of(ts_close).astype(np.int64)
    first, last = (np.datetime64(month, "M").astype(np.int64) for month in (first_test, last_test))
    folds = []
    for month in range(int(first), int(last) + 1, months):
        start = int(np.searchsorted(of_row, month))
        stop = int(np.searchsorted(of_row, min(month + months, int(last) + 1)))
        if start == stop:
            continue
        valid_stop = start - embargo_bars
        train_stop = valid_stop - valid_bars - embargo_bars
        train_start = 0 if train_bars is None else max(0, train_stop - train_bars)
        if train_stop <= train_start:
            raise DataError(
                f"there are {start} bars before {np.datetime64(month, 'M')}; validation takes {valid_bars} and "
                f"the gaps {2 * embargo_bars}: nothing is left to train on, so start later or give more history"
            )
        folds.append(
            Fold(slice(train_start, train_stop), slice(valid_stop - valid_bars, valid_stop), slice(start, stop))
        )
    if not folds:
        raise DataError(f"no bar lies in the months from {first_test} to {last_test}: the panel has other months")
    return folds


def months_of(ts_close: I8) -> npt.NDArray[np.datetime64]:
    """Return the calendar month (UTC) in which each bar ran: one that closes as a month begins belongs to the last."""
    return (ts_close - 1).astype("datetime64[ns]").astype("datetime64[M]")
