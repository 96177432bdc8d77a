"""What a data doctor may find: checks, severities, and one record for each finding."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.domain import I8, NS_PER_MS

MAX_SPANS = 400
"""More pieces than that are not listed one by one: a picture shows no more, and a manifest must stay readable."""


class Check(StrEnum):
    """What is looked for."""

    CLOCK = "clock jump"
    DUPLICATE = "duplicate"
    BROKEN = "broken row"
    GAP = "gap"
    ZERO_VOLUME = "zero volume"
    STALE = "stale price"
    COPY = "copied bar"
    SPIKE = "spike"
    JUMP = "jump"
    WICK = "long wick"
    RATE = "funding rate"
    SCHEDULE = "funding schedule"


class Severity(StrEnum):
    """How much it matters to a backtest."""

    ERROR = "error"  # results on it would be wrong
    WARNING = "warning"  # results near it may be wrong: look
    NOTE = "note"  # true of the market or harmless; worth knowing


class Finding(NamedTuple):
    """One thing found in one symbol."""

    check: Check
    severity: Severity
    symbol: str
    first_ts: int  # ns: where it begins; bars: open of the first one concerned
    last_ts: int  # ns: where it ends
    n_rows: int  # bars or rows concerned
    sentence: str
    spans: tuple[tuple[int, int, int], ...] = ()  # (first ns, last ns, count) of each piece

    def as_row(self) -> dict[str, Any]:
        """Return it as plain JSON types, times in ms."""
        return {
            "check": str(self.check), "severity": str(self.severity), "symbol": self.symbol,
            "first_ts_ms": self.first_ts // NS_PER_MS, "last_ts_ms": self.last_ts // NS_PER_MS, "count": self.n_rows,
            "sentence": self.sentence, "spans": [[a // NS_PER_MS, b // NS_PER_MS, n] for a, b, n in self.spans],
        }  # fmt: skip


ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


def by_weight(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with the worst first, and within that by symbol and time."""
    return sorted(findings, key=lambda f: (ORDER[f.severity], f.symbol, f.first_ts))


def counted(number: int, word: str) -> str:
    """Return ``1 bar`` or ``1,200 bars``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def runs(flags: npt.NDArray[np.bool_]) -> tuple[I8, I8]:
    """Return where each run of True begins and how long it is, in rows."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False]))))
    return edges[::2], edges[1::2] - edges[::2]


def longest(begins: I8, lengths: I8) -> npt.NDArray[np.intp]:
    """Return which runs to list: all, or the ``MAX_SPANS`` longest in order of time."""
    if len(begins) <= MAX_SPANS:
        return np.arange(len(begins))
    return np.sort(np.argsort(lengths, kind="stable")[-MAX_SPANS:])
