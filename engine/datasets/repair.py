"""Repair from another source: holes and bad bars are taken from it only where both agree at the edges. Pure.

Nothing is invented: a bar comes from the second source as it is, or not at all, and each one is listed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.datasets.findings import Check, Finding, counted
from engine.datasets.store import Series
from engine.datasets.times import moment_text
from engine.domain import F8, I8, NS_PER_MS, NS_PER_S

EDGE_BARS = 12  # compared on each side
LEAST_EDGE = 3  # bars that both sources must have on each side
TOLERANCE = 0.002  # of the price: what two venues may differ by at the edges
REPAIRABLE = (Check.GAP, Check.SPIKE, Check.WICK, Check.JUMP, Check.STALE, Check.COPY, Check.ZERO_VOLUME)
USUAL = (Check.GAP, Check.SPIKE, Check.STALE, Check.COPY)
"""What is repaired when nothing is chosen. Bars without volume may be true: the venue may have stood still."""


class Outcome(NamedTuple):
    """A repaired series and the record of what was done to it."""

    series: Series
    repairs: list[dict[str, Any]]  # each changed bar: what it was, what it is, and how well the sources agreed
    refused: list[str]  # sentences: what was left as it is, and why


class _Pair(NamedTuple):
    ours: Series
    theirs: Series
    step: int
    tolerance: float


def repair(
    ours: Series, theirs: Series, findings: list[Finding], interval_s: int, tolerance: float = TOLERANCE
) -> Outcome:  # fmt: skip
    """Fill gaps and replace bad bars of one series from another.

    Parameters
    ----------
    ours, theirs : Series
        Candles of the same interval, oldest first.
    findings : list of Finding
        What to repair: each with its spans. Other kinds than ``REPAIRABLE`` are passed over.
    interval_s : int
        Seconds between bars.
    tolerance : float
        Largest difference of closes at the edges of a piece, as a fraction of the price.

    Returns
    -------
    Outcome
        A gap is filled with every bar that the other source has inside it. A bad bar is replaced when the other source
        tells another price by more than the tolerance; where it tells the same, the bar is confirmed and stays.
        Either happens only where at least 3 of the 12 bars on each side are in both sources and all of those agree.
    """
    pair = _Pair(ours, theirs, interval_s * NS_PER_S, tolerance)
    added: dict[int, F8] = {}
    repairs: list[dict[str, Any]] = []
    refused: list[str] = []
    for finding in findings:
        if finding.check not in REPAIRABLE:
            continue
        for first, last, _ in finding.spans:
            difference, why = _edges(pair, first, last)
            if why:
                refused.append(f"{_name(finding, first, last)}: {why}")
                continue
            taken = _fill(pair, first, last) if finding.check == Check.GAP else _replace(pair, first, last)
            if not taken:
                sentence = "the other source has no bars there" if finding.check == Check.GAP else (
                    "the other source tells the same prices, so they stay")  # fmt: skip
                refused.append(f"{_name(finding, first, last)}: {sentence}")
            for ts, (old, new) in taken.items():
                added[ts] = new
                repairs.append(_record(ours.symbol, ts, finding.check, old, new, difference))
    return Outcome(_merged(ours, added), sorted(repairs, key=lambda r: int(r["ts_ms"])), refused)


def _name(finding: Finding, first: int, last: int) -> str:
    until = f" to {moment_text(last)}" if last > first else ""
    return f"{finding.symbol} {finding.check} {moment_text(first)}{until}"


def _edges(pair: _Pair, first: int, last: int) -> tuple[float, str]:
    """Return the largest difference at the edges of a piece, and why it forbids a repair, or ""."""
    worst = 0.0
    width = EDGE_BARS * pair.step
    for low, high, side in ((first - width, first, "before"), (last + pair.step, last + pair.step + width, "after")):
        ours, theirs = _closes(pair.ours, low, high), _closes(pair.theirs, low, high)
        shared, at, of = np.intersect1d(ours[0], theirs[0], assume_unique=True, return_indices=True)
        if len(shared) < LEAST_EDGE:
            return worst, (
                f"the sources share {counted(len(shared), 'bar')} of the {EDGE_BARS} {side} it; {LEAST_EDGE} are needed"
            )
        worst = max(worst, float(np.abs(theirs[1][of] / ours[1][at] - 1.0).max()))
        if worst > pair.tolerance:
            return worst, f"the sources differ by {worst:.2%} {side} it; {pair.tolerance:.2%} is the limit"
    return worst, ""


def _closes(series: Series, low: int, high: int) -> tuple[I8, F8]:
    part = slice(*np.searchsorted(series.ts, (low, high)))
    return series.ts[part], series.values[part, 3]


def _fill(pair: _Pair, first: int, last: int) -> dict[int, tuple[F8 | None, F8]]:
    part = slice(*np.searchsorted(pair.theirs.ts, (first, last + 1)))
    return {
        int(ts): (None, row)
        for ts, row in zip(pair.theirs.ts[part], pair.theirs.values[part], strict=True)
        if (int(ts) - first) % pair.step == 0
    }


def _replace(pair: _Pair, first: int, last: int) -> dict[int, tuple[F8 | None, F8]]:
    taken: dict[int, tuple[F8 | None, F8]] = {}
    for i in range(*np.searchsorted(pair.ours.ts, (first, last + 1))):
        ts = int(pair.ours.ts[i])
        j = int(np.searchsorted(pair.theirs.ts, ts))
        if j >= len(pair.theirs.ts) or pair.theirs.ts[j] != ts:
            continue
        old, new = pair.ours.values[i], pair.theirs.values[j]
        if float(np.abs(new[:4] / old[:4] - 1.0).max()) > pair.tolerance:
            taken[ts] = (old, new)
    return taken


def _record(
    symbol: str, ts: int, check: Check, old: npt.NDArray[np.float64] | None, new: F8, difference: float
) -> dict[str, Any]:  # fmt: skip
    action = "filled" if old is None else "replaced"
    return {
        "symbol": symbol, "ts_ms": ts // NS_PER_MS, "check": str(check), "action": action,
        "old": None if old is None else [float(x) for x in old], "new": [float(x) for x in new],
        "edge_difference": difference,
    }  # fmt: skip


def _merged(series: Series, added: dict[int, F8]) -> Series:
    if not added:
        return series
    times = np.array(sorted(added), np.int64)
    rows = np.array([added[int(ts)] for ts in times])
    keep = ~np.isin(series.ts, times)
    ts, values = np.concatenate([series.ts[keep], times]), np.concatenate([series.values[keep], rows])
    order = np.argsort(ts, kind="stable")
    return Series(series.symbol, ts[order], values[order])
