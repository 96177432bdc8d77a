"""Whether two data sets tell of the same market moves, whatever they are called and however they were cut.

Trials are counted on what was looked at. A renamed file, fewer symbols, other dates, prices in another unit, a longer
bar or the perpetual instead of the spot market is not a new experiment, so it does not start a new count.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.domain import F8, I8, NS_PER_DAY
from engine.research.figures import day_ends
from engine.research.loading import BarTable

SAME_CORRELATION = 0.97
"""Daily returns of one coin on two venues correlate above 0.99; Bitcoin and Ether at about 0.85."""

MIN_COMMON_DAYS = 30
RUN_LENGTH = 6
RETURN_STEP = 1e-5
MAX_MARKS = 16_384
MIN_COMMON_MARKS = 8
SAME_MARKS = 0.2

U8 = npt.NDArray[np.uint64]


class Sketch(NamedTuple):
    """What is kept of a data set in order to know it again."""

    days: I8  # (D,) UTC day numbers
    returns: npt.NDArray[np.float32]  # (D, N) logarithmic return of each day
    marks: list[U8]  # per symbol, sorted: hashes of some short runs of returns, independent of date and price level
    every: I8  # (N,) one of how many hashes was kept, a power of two


def _mixed(values: U8) -> U8:
    # finaliser of splitmix64: every bit of the input changes half of the output
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)), dtype=np.uint64)


def _marks(closes: F8) -> tuple[U8, int]:
    known = closes[np.isfinite(closes)]
    if len(known) <= RUN_LENGTH:
        return np.empty(0, dtype=np.uint64), 1
    steps = np.round(np.diff(np.log(known)) / RETURN_STEP).astype(np.int64)
    n = len(steps) - RUN_LENGTH + 1
    hashes = np.zeros(n, dtype=np.uint64)
    still = np.zeros(n, dtype=np.int64)
    with np.errstate(over="ignore"):
        for k in range(RUN_LENGTH):
            part = steps[k : k + n]
            still += part == 0
            hashes = _mixed(hashes + part.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    found = np.unique(hashes[still < RUN_LENGTH // 2])
    every = 1
    while len(found) > MAX_MARKS:
        every *= 2
        found = found[found % np.uint64(every) == 0]
    return found, every


def sketch(bars: BarTable) -> Sketch:
    """Return what is needed to know a data set again.

    Parameters
    ----------
    bars : BarTable
        Everything that was loaded, before any cut by date.
    """
    rows = day_ends(bars.ts_close)
    with np.errstate(invalid="ignore"):
        returns = np.diff(np.log(bars.close_px[rows]), axis=0)
    pairs = [_marks(bars.close_px[:, i]) for i in range(len(bars.symbols))]
    days = ((bars.ts_close[rows] - 1) // NS_PER_DAY)[1:]
    return Sketch(days, returns.astype(np.float32), [marks for marks, _ in pairs], np.array([k for _, k in pairs]))


def _same_days(one: Sketch, other: Sketch) -> bool:
    _, here, there = np.intersect1d(one.days, other.days, return_indices=True)
    if len(here) < MIN_COMMON_DAYS:
        return False
    for a in one.returns[here].T.astype(np.float64):
        for b in other.returns[there].T.astype(np.float64):
            both = np.isfinite(a) & np.isfinite(b)
            if both.sum() < MIN_COMMON_DAYS or np.std(a[both]) == 0 or np.std(b[both]) == 0:
                continue
            if abs(float(np.corrcoef(a[both], b[both])[0, 1])) > SAME_CORRELATION:
                return True
    return False


def _same_marks(one: Sketch, other: Sketch) -> bool:
    for a, every_a in zip(one.marks, one.every, strict=True):
        for b, every_b in zip(other.marks, other.every, strict=True):
            every = np.uint64(max(every_a, every_b))
            kept_a, kept_b = a[a % every == 0], b[b % every == 0]
            common = len(np.intersect1d(kept_a, kept_b, assume_unique=True))
            if common >= max(MIN_COMMON_MARKS, SAME_MARKS * min(len(kept_a), len(kept_b))):
                return True
    return False


def same_market(one: Sketch, other: Sketch) -> bool:
    """Return whether two data sets share at least one price series over some common time.

    By daily returns on common dates (other venues, bar lengths and symbol names look alike), or by short runs of
    returns wherever they occur (shifted dates, and stretches too short for daily returns).
    """
    return _same_days(one, other) or _same_marks(one, other)


def save_sketch(found: Sketch, path: Path) -> None:
    """Write a sketch; the file appears complete or not at all."""
    temporary = path.with_name(f"{path.stem}.part.npz")
    ends = np.cumsum([len(marks) for marks in found.marks])
    np.savez_compressed(
        temporary, days=found.days, returns=found.returns, marks=np.concatenate(found.marks), ends=ends,
        every=found.every,
    )  # fmt: skip
    temporary.replace(path)


def load_sketch(path: Path) -> Sketch:
    """Read a sketch that ``save_sketch`` wrote."""
    with np.load(path) as stored:
        marks = np.split(stored["marks"], stored["ends"][:-1])
        return Sketch(stored["days"], stored["returns"], marks, stored["every"])
