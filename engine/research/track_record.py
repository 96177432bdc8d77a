"""A track record: equity through time as returns over equal steps, and where it comes from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8, I8, NS_PER_S
from engine.errors import DataError

MS_PER_DAY = 86_400_000
EARLY_NS, LATE_NS = 5 * NS_PER_S, 120 * NS_PER_S
"""How far before and after the venue's time of a transfer a curve of equity may show it."""


class TrackRecord(NamedTuple):
    """Returns of an account or of a backtest."""

    returns: F8  # (T,) simple returns, one a step
    step_days: int  # days in a step; 1 unless the curve is coarser
    label: str  # for people: whose record this is
    kind: str  # "paper", "live" or "backtest"
    caveats: tuple[str, ...] = ()
    first_ts_ms: int = 0
    last_ts_ms: int = 0

    @property
    def per_year(self) -> float:
        """Steps in a year."""
        return 365.0 / self.step_days


class Grown(NamedTuple):
    """An account's equity through time with deposits and withdrawals taken out."""

    equity: F8  # (T,) what the first equity would have grown to without them, quote currency
    moved: F8  # (T,) money that had come in, less what had gone out, quote currency


def without_transfers(ts: I8, equity: F8, transfers: Iterable[tuple[int, float]]) -> Grown:
    """Take transfers out of a curve, so that its ratios are those of trading (time-weighted return).

    Each transfer divides what follows by equity after it over equity before it.

    Parameters
    ----------
    ts : (T,) int64, ns, oldest first
    equity : (T,) float64, quote currency
    transfers : pairs of int and float
        When (ns), and how much (quote currency, above 0 for money that came in).

    Notes
    -----
    The venue's clock and ours differ, and a row may lie between its word and ours: of the rows near that moment the one
    whose change is nearest to the amount is taken. A transfer that leaves nothing, or comes to nothing, has no ratio.
    """
    factor, moved = np.ones(len(equity)), np.zeros(len(equity))
    for when, amount in sorted(transfers):
        first, past = np.searchsorted(ts, [when - EARLY_NS, when + LATE_NS])
        near = np.arange(max(first, 1), min(max(past, np.searchsorted(ts, when) + 1), len(ts)))
        if not len(near):  # before the first row, or after the last one
            continue
        at = int(near[np.argmin(np.abs(equity[near] - equity[near - 1] - amount))])
        before = float(equity[at - 1])
        moved[at:] += amount
        if before > 0.0 and before + amount > 0.0:
            factor[at:] *= (before + amount) / before
    return Grown(equity / factor, moved)


def daily_returns(ts_ms: I8, equity: F8, *, whole_days: bool = False) -> tuple[F8, int]:
    """Return simple returns from day's end to day's end (UTC) and the days in a step.

    Parameters
    ----------
    ts_ms : (T,) int64
        Milliseconds, oldest first; a value at midnight belongs to the day that it ends.
    equity : (T,) float64, quote currency
    whole_days : bool
        Leave out the last day, which is not over yet.

    Returns
    -------
    returns, step_days
        A curve with fewer than one point a day gives longer steps, all of one length.

    Raises
    ------
    DataError
        Equity at or below zero: the account was lost, and a lost account has no returns to draw from.
    """
    if len(ts_ms) < 2:
        return np.empty(0), 1
    if not (np.isfinite(equity).all() and (equity > 0).all()):
        raise DataError("The record holds an equity at or below zero: this account was lost on the way.")
    day = (ts_ms - 1) // MS_PER_DAY
    spacing = float(np.median(np.diff(np.unique(day)))) if day[-1] > day[0] else 1.0
    step = max(1, math.ceil(spacing))
    bucket = (day - day[0]) // step
    last = np.flatnonzero(np.append(bucket[1:] != bucket[:-1], True))
    if whole_days:
        last = last[:-1]
    if len(last) < 2:
        return np.empty(0), step
    ends = equity[last]
    return np.asarray(ends[1:] / ends[:-1] - 1.0), step


def record_of_backtest(result: dict[str, Any], *, out_of_sample: bool = True) -> TrackRecord:
    """Return the record of a backtest's JSON: the part that the strategy was not chosen on, unless told otherwise.

    Raises
    ------
    DataError
        No equity curve in it, or a lost account.
    """
    points = [point for point in result.get("equity") or [] if point[1] is not None]
    if len(points) < 2:
        raise DataError("This result has no equity curve: run the backtest again, or choose another.")
    split_ms = (result.get("out_of_sample") or {}).get("first_ts_ms")
    late = [point for point in points if split_ms is not None and point[0] >= split_ms]
    use_late = out_of_sample and len(late) >= 2
    walked = result.get("kind") == "walkforward"  # every point of it was decided on parameters from earlier bars
    table = np.array(late if use_late else points, dtype=np.float64)
    ts_ms, equity = table[:, 0].astype(np.int64), table[:, 1]
    returns, step = daily_returns(ts_ms, equity)
    config = result.get("config") or {}
    name = f"{config.get('strategy') or 'backtest'} on {', '.join((config.get('symbols') or ['?'])[:4])}"
    trials = result.get("trials")
    caveats = ["A backtest is a story about the past; live results are usually worse."]
    if not use_late and not walked:
        caveats.append("The whole run is used, with the part on which the strategy was chosen: this flatters.")
    if isinstance(trials, int) and trials > 1:
        caveats.append(f"{trials} variants were tried on this data; the one that is looked at is seldom the worst.")
    part = "walk-forward" if walked else "out of sample" if use_late else "whole run"
    return TrackRecord(
        returns, step, f"backtest, {name}, {part}", "backtest", tuple(caveats), int(ts_ms[0]), int(ts_ms[-1])
    )


def day_text(ts_ms: int) -> str:
    """Return the UTC day of a moment as YYYY-MM-DD."""
    return datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%d")
