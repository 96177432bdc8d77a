"""What all scans of a sweep share: averages of the closes, and how the costs' volatility develops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.core.compiling import FINGERPRINT, entry_kernel
from engine.core.frictions import new_venue, observe_ranges
from engine.core.matching import SimBars
from engine.core.sleeves import ema_after
from engine.domain import F8

LANES = 4
"""Averages that are worked out side by side."""


class Known(NamedTuple):
    """What scans of the same bars share."""

    averages: Mapping[int, F8]  # of closes by span, from the first close on, see ``averages``
    variance: F8  # see ``variances``


def _build_averages(fingerprint: str) -> Callable[..., Any]:
    @entry_kernel
    def compiled_averages(close_px, alpha, seed, out):  # type: ignore[no-untyped-def]
        _ = fingerprint  # part of the cache key
        one, two, three, four = seed[0], seed[1], seed[2], seed[3]  # side by side: each waits for its own past only
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


def averages(close_px: F8, spans: Sequence[int], seeds: Sequence[float] | None = None) -> dict[int, F8]:
    """Return the EMA of each span on every bar, for all scans of a sweep that need it.

    Parameters
    ----------
    close_px : (T, 1) float64, quote per base, > 0
    spans : sequence of int, bars
    seeds : sequence of float, optional
        Each average before the first bar; default: the first close.

    Returns
    -------
    dict of span to (T,) float64
    """
    found: dict[int, F8] = {}
    for first in range(0, len(spans), LANES):
        some = list(spans[first : first + LANES])
        start = [float(close_px[0, 0])] * len(some) if seeds is None else list(seeds[first : first + LANES])
        unused = LANES - len(some)
        out = np.empty((LANES, len(close_px)))
        alpha = np.array([2.0 / (span + 1.0) for span in some] + [0.0] * unused)
        _compiled_averages(close_px, alpha, np.array(start + [0.0] * unused), out)
        found |= dict(zip(some, out, strict=False))
    return found


def variances(bars: SimBars) -> F8:
    """Return what the venue knows of a bar's variance after each bar, (T,): the same for all scans of a sweep."""
    found = np.empty(len(bars.ts_close))
    _compiled_variance(bars, new_venue(1, 0), found)
    return found
