"""The data doctor for funding rates: missing settlements, changed schedules, rates in the wrong unit."""

from __future__ import annotations

import numpy as np

from engine.datasets.findings import Check, Finding, Severity, by_weight, counted
from engine.datasets.times import moment_text
from engine.domain import F8, I8, NS_PER_S

ROUND_NS = 60 * NS_PER_S  # venues stamp a settlement some milliseconds late
NEIGHBOURS = 9  # settlements whose usual distance is the schedule there
MISSING = 1.5  # times that distance: one settlement at least is missing
LARGEST_RATE = 0.04  # a fraction; venues cap one settlement at 0.5 to 4 %
USUAL_RATE = 0.003  # a fraction: a median beyond it is a rate in per cent
LISTED = 60


def examine_funding(symbol: str, ts: I8, rates: F8) -> list[Finding]:
    """Return everything questionable about one symbol's funding rates, the worst first.

    Parameters
    ----------
    symbol : str
    ts : (T,) int64 ns
        Settlement times as in the file.
    rates : (T,) float64
        Fraction paid per settlement, + when longs pay; NaN where the file held no number.

    Returns
    -------
    list of Finding
        The schedule may change inside a series, as venues change it: what is missing is told from the nine
        neighbouring distances, and each schedule is named.
    """
    found = []
    broken = ~np.isfinite(rates)
    if broken.any():
        row = int(np.argmax(broken))
        sentence = (
            f"Row {row + 1} at {moment_text(int(ts[row]))} holds no rate; expected a number. "
            f"There {'is' if broken.sum() == 1 else 'are'} {counted(int(broken.sum()), 'such row')}."
        )
        found.append(_finding(Check.BROKEN, Severity.ERROR, symbol, ts[broken], sentence))
    order = np.argsort(ts, kind="stable")
    if (np.diff(ts) < 0).any():
        newest_first = bool((np.diff(ts) < 0).all())
        severity = Severity.NOTE if newest_first else Severity.ERROR
        sentence = "The file has its newest row first." if newest_first else "Time goes backwards in the file."
        found.append(_finding(Check.CLOCK, severity, symbol, ts, sentence))
    order = order[~broken[order]]
    moments, values = rounded(ts[order]), rates[order]
    repeated = np.append(False, np.diff(moments) == 0)
    if repeated.any():
        first = moment_text(int(moments[np.argmax(repeated)]))
        sentence = f"Settlements that are there more than once: {repeated.sum():,}, the first at {first}."
        found.append(_finding(Check.DUPLICATE, Severity.ERROR, symbol, moments[repeated], sentence))
    moments, values = moments[~repeated], values[~repeated]
    if len(moments) >= 3:
        found += _schedule(symbol, moments)
    return by_weight(found + _rates(symbol, moments, values))


def rounded(ts: I8) -> I8:
    """Return settlement times on the minute, ns: a venue's stamp is some milliseconds late."""
    return (ts + ROUND_NS // 2) // ROUND_NS * ROUND_NS


def usual_distance(moments: I8) -> I8:
    """Return the distance between settlements that is usual around each, ns: the median of nine. Shape (T - 1,)."""
    gaps = np.diff(moments)
    width = min(NEIGHBOURS, len(gaps))
    wide = np.pad(gaps, (width // 2, width - 1 - width // 2), mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(wide, width), axis=1).astype(np.int64)


def _finding(check: Check, severity: Severity, symbol: str, ts: I8, sentence: str) -> Finding:
    return Finding(check, severity, symbol, int(ts.min()), int(ts.max()), len(ts), sentence)


def _schedule(symbol: str, moments: I8) -> list[Finding]:
    usual = usual_distance(moments)
    gaps = np.diff(moments)
    at = np.flatnonzero(gaps > MISSING * usual)
    found = []
    for i in at[np.argsort(-gaps[at], kind="stable")][:LISTED]:
        n_missing = round(gaps[i] / usual[i]) - 1
        first, last = int(moments[i] + usual[i]), int(moments[i + 1] - usual[i])
        sentence = (
            f"{counted(n_missing, 'settlement')} missing between {moment_text(int(moments[i]))} and "
            f"{moment_text(int(moments[i + 1]))}, where one is due every {_hours(int(usual[i]))}."
        )
        spans = ((first, last, n_missing),)
        found.append(Finding(Check.GAP, Severity.WARNING, symbol, first, last, n_missing, sentence, spans))
    if len(at) > LISTED:
        sentence = f"And {len(at) - LISTED:,} shorter gaps."
        found.append(_finding(Check.GAP, Severity.WARNING, symbol, moments[at], sentence))
    changes = np.flatnonzero(np.diff(usual) != 0) + 1
    starts = [0, *changes.tolist()]
    if len(starts) <= 12:
        parts = [f"every {_hours(int(usual[i]))} from {moment_text(int(moments[i]))}" for i in starts]
    else:
        shares = {int(step): float((usual == step).mean()) for step in np.unique(usual)}
        parts = [f"every {_hours(step)} ({share:.0%} of the time)" for step, share in shares.items()]
    sentence = f"Settles {', then '.join(parts)}."
    found.append(_finding(Check.SCHEDULE, Severity.NOTE, symbol, moments, sentence))
    return found


def _hours(ns: int) -> str:
    hours = ns / NS_PER_S / 3600
    return f"{hours:g} h"


def _rates(symbol: str, moments: I8, rates: F8) -> list[Finding]:
    if not len(rates):
        return []
    usual = float(np.median(np.abs(rates)))
    if usual > USUAL_RATE:
        sentence = (
            f"The usual rate is {usual:.3%} a settlement, far above any venue's; expected a fraction (0.0001 is "
            "0.01 %). Is the file in per cent, or a rate per year?"
        )
        return [_finding(Check.RATE, Severity.ERROR, symbol, moments, sentence)]
    large = np.abs(rates) > LARGEST_RATE
    if not large.any():
        return []
    worst = int(np.argmax(np.abs(rates)))
    sentence = (
        f"Rates beyond {LARGEST_RATE:.0%} a settlement: {large.sum():,}, the largest {rates[worst]:+.2%} at "
        f"{moment_text(int(moments[worst]))}; venues cap them below that."
    )
    return [_finding(Check.RATE, Severity.ERROR, symbol, moments[large], sentence)]
