"""What the scan of one symbol knows of a block of bars before it decides on any: averages and where they cross."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.core.compiling import kernel_part
from engine.core.frictions import observe_ranges
from engine.core.lanes import fetch, first_set
from engine.core.matching import SimBars
from engine.core.scanning import SimTrack
from engine.core.sleeves import ema_after, ema_alpha
from engine.core.stretch import Tape
from engine.core.tally import new_tally
from engine.domain import F8, I8, N_RULES, Params

BLOCK_BARS = 2048
"""Bars that are looked at together: few enough to stay in the fastest cache."""

FETCHED_AHEAD = 2
"""Crossings between what is decided and what is fetched from memory for later."""

_GROUP = 8  # flags of a byte each that are looked at as one number


class Ahead(NamedTuple):
    """What such a scan is given besides what every scan is given, and where it looks ahead."""

    skips: bool  # quiet bars are passed over
    known: bool  # ``fast``, ``slow`` and ``variance`` hold all bars already
    tape: Tape
    funding_rate: F8  # (T,), or (0,) without funding
    fast: F8  # averages on every bar, (T,), or of a block and the bar before it, (BLOCK_BARS + 1,); quote per base
    slow: F8
    variance: F8  # of one bar's log return as the venue knows it after each bar, likewise; (0,) with plain costs
    flags: npt.NDArray[np.uint8]  # (BLOCK_BARS + _GROUP,) scratch: 1 on bars that are not passed over
    flag_groups: I8  # the same memory, _GROUP flags each
    crossings: I8  # (BLOCK_BARS + 1 + FETCHED_AHEAD,) scratch: bars that are not passed over, closed by the end
    marks: I8  # (D + 1,) bars whose equity is wanted where not every bar's is, closed by T
    marked: F8  # (D,) that equity, ccy
    next_mark: I8  # (1,) index into ``marks``
    before: I8  # (N_RULES, 3) scratch: objections before the newest bar, then those that it raised
    tally: np.ndarray  # (1,) TALLY, kept where not every bar is


@kernel_part
def has_prices(first: int, end: int, ahead: Ahead) -> bool:
    """Return whether every bar of [first, end) has the prices that are read."""
    close_px, missing = ahead.tape.close_px[first:end], 0
    for k in range(end - first):
        missing += 0 if close_px[k] > 0.0 else 1
    if ahead.tape.low_px.shape[0] > 0:
        low_px, high_px = ahead.tape.low_px[first:end], ahead.tape.high_px[first:end]
        for k in range(end - first):
            missing += 0 if (low_px[k] > 0.0) & (high_px[k] > 0.0) else 1
    return missing == 0


@kernel_part
def _write_averages(first: int, end: int, ahead: Ahead, state, params: Params) -> None:  # type: ignore[no-untyped-def]
    close_px, fast_of, slow_of = ahead.tape.close_px[first:end], ahead.fast, ahead.slow
    fast, slow = state.trail[0, 0], state.trail[0, 1]
    alpha_fast, alpha_slow = ema_alpha(params.ema_fast), ema_alpha(params.ema_slow)
    fast_of[0], slow_of[0] = fast, slow
    for k in range(end - first):
        fast = ema_after(fast, close_px[k], alpha_fast)
        slow = ema_after(slow, close_px[k], alpha_slow)
        fast_of[k + 1], slow_of[k + 1] = fast, slow


@kernel_part
def _write_variance(first: int, end: int, bars: SimBars, ahead: Ahead, venue) -> None:  # type: ignore[no-untyped-def]
    variance, last_px, n_ranges = venue.variance[0], venue.last_px[0], venue.n_ranges[0]
    for t in range(first, end):
        observe_ranges(1, venue, bars, t)
        ahead.variance[t - first + 1] = venue.variance[0]
    venue.variance[0], venue.last_px[0], venue.n_ranges[0] = variance, last_px, n_ranges


@kernel_part
def _write_crossings(first: int, end: int, base: int, ahead: Ahead) -> None:
    """Write the bars of [first, end) on which the averages may have crossed, or funding is due: rather too many.

    On those the difference of the averages changes its sign, or is zero. A group of bars is looked at together, the
    lowest byte of its number being the first bar. The prices that the bars between crossings are measured with are
    fetched from memory meanwhile.
    """
    fast, slow = ahead.fast[first - base : end - base], ahead.slow[first - base : end - base]
    fast_before, slow_before = ahead.fast[first - base - 1 : end - base], ahead.slow[first - base - 1 : end - base]
    n_bars, flags = end - first, ahead.flags
    for k in range(n_bars):
        flags[k] = 1 if (fast[k] - slow[k]) * (fast_before[k] - slow_before[k]) <= 0.0 else 0
    if ahead.funding_rate.shape[0] > 0:
        for k in range(n_bars):
            flags[k] = 1 if abs(ahead.funding_rate[first + k]) > 0.0 else flags[k]  # NaN: none due
    for k in range(n_bars, n_bars + _GROUP):
        flags[k] = 0
    ranges, n = ahead.tape.low_px.shape[0] > 0, 0
    for group in range((n_bars + _GROUP - 1) // _GROUP):
        left = ahead.flag_groups[group]
        fetch(ahead.tape.close_px, first + _GROUP * group)
        if ranges:
            fetch(ahead.tape.low_px, first + _GROUP * group)
        while left != 0:
            t = first + _GROUP * group + first_set(left) // _GROUP
            left &= left - 1
            ahead.crossings[n] = t
            n += 1
    ahead.crossings[n] = end
    for k in range(FETCHED_AHEAD):
        ahead.crossings[n + 1 + k] = end


@kernel_part
def fetch_for(t: int, bars: SimBars, ahead: Ahead, has_volatility: bool) -> None:
    """Fetch from memory what the decision on bar ``t`` and a fill on the next one read, far from what was read last.

    For one crossing at a time: asked for together, much of a block's is not there when its turn comes.
    """
    fetch(bars.open_px, t + 1)
    if has_volatility:
        fetch(bars.volume, t + 1)
        if ahead.known:
            fetch(ahead.variance, t - 1)
            fetch(ahead.variance, t)


@kernel_part
def look_at(first, end, bars, ahead, state, venue, params, has_volatility):  # type: ignore[no-untyped-def]
    """Write averages, variance and crossings of a block; return the bar that index 0 of the former stands for."""
    if ahead.known:
        _write_crossings(first, end, 0, ahead)
        return 0
    _write_averages(first, end, ahead, state, params)
    if has_volatility:
        _write_variance(first, end, bars, ahead, venue)
    _write_crossings(first, end, first - 1, ahead)
    return first - 1


def flat_column(column: F8) -> F8:
    """Return a (T, 1) column as (T,), or nothing where it is not given."""
    return np.ascontiguousarray(column.reshape(-1))


def new_ahead(bars: SimBars, track: SimTrack, skips: bool, ranges: bool) -> Ahead:
    """Return what a scan of one symbol that records every bar looks ahead with.

    Parameters
    ----------
    bars : SimBars
    track : SimTrack
    skips : bool
        See ``can_skip``.
    ranges : bool
        High and low are read.
    """
    nothing, block, flags = np.empty(0), BLOCK_BARS + 1, np.empty(BLOCK_BARS + _GROUP, dtype=np.uint8)
    low_px, high_px = (flat_column(bars.low_px), flat_column(bars.high_px)) if ranges else (nothing, nothing)
    tape = Tape(flat_column(bars.close_px), low_px, high_px, True, track.equity, track.weight.reshape(-1))
    return Ahead(
        skips, False, tape, flat_column(bars.funding_rate), np.empty(block), np.empty(block), np.empty(block), flags,
        flags.view(np.int64), np.empty(block + FETCHED_AHEAD, dtype=np.int64), np.zeros(1, dtype=np.int64), nothing,
        np.zeros(1, dtype=np.int64), np.zeros((N_RULES, 3), dtype=np.int64), new_tally(0.0),
    )  # fmt: skip
