"""What all scans of a sweep share: averages of the closes, and how the costs' volatility develops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.core.compiling import FINGERPRINT, entry_kernel
from engine.core.frictions import new_venue, observe_ranges
from engine.core.matching import SimBars
from engine.core.sleeves import ema_after
from engine.domain import F8

LANES = 4
"""Averages that are worked out side by side."""


SideBySide = Callable[[Callable[[int], None], Iterable[int]], Iterable[None]]


class Known(NamedTuple):
    """What scans of the same bars share."""

    averages: Mapping[int, F8]  # of closes by span, from the first close on, see ``averages``
    variance: F8  # see ``variances``; (0,) where no scan's costs read it


def _build_averages(fingerprint: str) -> Callable[..., Any]:
    @entry_kernel
    def compiled_averages(close_px, alpha, out):  # type: ignore[no-untyped-def]
        _ = fingerprint  # part of the cache key
        one = two = three = four = close_px[0, 0]  # side by side: each waits for its own past only
        for t in range(close_px.shape[0]):
            px = close_px[t, 0]
            one = ema_after(one, px, alpha[0])
            two = ema_after(two, px, alpha[1])
            three = ema_after(three, px, alpha[2])
            four = ema_after(four, px, alpha[3])
            out[0, t], out[1, t], out[2, t], out[3, t] = one, two, three, four

    averages: Callable[..., Any] = compiled_averages
    return averages


def _build_variance(fingerprint: str) -> Callable[..., Any]:
    @entry_kernel
    def compiled_variance(bars, venue, out):  # type: ignore[no-untyped-def]
        _ = fingerprint  # part of the cache key
        for t in range(out.shape[0]):
            observe_ranges(1, venue, bars, t)
            out[t] = venue.variance[0]

    variance: Callable[..., Any] = compiled_variance
    return variance


_compiled_averages = _build_averages(FINGERPRINT)
_compiled_variance = _build_variance(FINGERPRINT)


def averages(close_px: F8, spans: Sequence[int], side_by_side: SideBySide = map) -> dict[int, F8]:
    """Return the EMA of each span on every bar, for all scans of a sweep that need it.

    Parameters
    ----------
    close_px : (T, 1) float64, quote per base, > 0
    spans : sequence of int, bars
    side_by_side : callable, optional
        What groups of averages are handed to, such as the ``map`` of a pool of threads.

    Returns
    -------
    dict of span to (T,) float64
        Each starts at the first close. They lie in one piece of memory: asked for piece by piece, it takes four times
        as long to come.
    """
    firsts = range(0, len(spans), LANES)
    out = np.empty((LANES * len(firsts), len(close_px)))
    alpha = np.zeros(len(out))
    alpha[: len(spans)] = [2.0 / (span + 1.0) for span in spans]

    def some(first: int) -> None:
        group = slice(first, first + LANES)
        _compiled_averages(close_px, alpha[group], out[group])

    for _ in side_by_side(some, firsts):
        pass
    return dict(zip(spans, out, strict=False))


def variances(bars: SimBars) -> F8:
    """Return what the venue knows of a bar's variance after each bar, (T,): the same for all scans of a sweep."""
    found = np.empty(len(bars.ts_close))
    _compiled_variance(bars, new_venue(1, 0), found)
    return found
