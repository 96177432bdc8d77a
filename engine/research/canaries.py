"""Canaries: does anything change in the past when the future changes?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.domain import F8
from engine.research.loading import BarTable

N_CUTS = 3
TAIL_BARS = 200

Rerun = Callable[[BarTable], tuple[F8, F8]]
"""Runs the strategy from scratch over bars and returns equity (T,) and weight (T, N)."""


def head(bars: BarTable, n_bars: int) -> BarTable:
    """Return the first bars as copies, so that nothing later is in reach."""
    columns = [column[:n_bars].copy() for column in bars[2:8]]
    return BarTable(bars.symbols, bars.interval_s, *columns, bars.fingerprint)


def with_other_future(bars: BarTable, cut_at: int, rng: np.random.Generator) -> BarTable:
    """Return a copy in which every price from ``cut_at`` on is moved by its own random factor."""
    changed = head(bars, min(cut_at + TAIL_BARS, len(bars.ts_open)))
    n_tail = len(changed.ts_open) - cut_at
    factor = np.exp(rng.normal(0.0, 0.1, (n_tail, len(bars.symbols))))
    for column in (changed.open_px, changed.high_px, changed.low_px, changed.close_px):
        column[cut_at:] *= factor
    return changed


def _same(one: F8, other: F8) -> bool:
    return bool(np.array_equal(one, other, equal_nan=True))


def run_canaries(bars: BarTable, equity: F8, weight: F8, rerun: Rerun, longest: int) -> dict[str, str]:
    """Return ``pass`` or ``fail`` for each canary.

    lookahead: the run is repeated on prefixes; equity and weights up to each cut must be the same to the bit.
    future_shift: the run is repeated with other prices after each cut; nothing up to the cut may change.

    Parameters
    ----------
    bars : BarTable
    equity, weight : (T,) and (T, N) float64
        Of the run under test.
    rerun : Rerun
    longest : int
        Cuts are drawn within the first so many bars, to bound the cost.
    """
    n_bars = min(len(bars.ts_open), longest)
    if n_bars < 4:
        return {"lookahead": "pass", "future_shift": "pass"}
    rng = np.random.default_rng(int(bars.fingerprint[:8], 16))
    verdicts = {"lookahead": "pass", "future_shift": "pass"}
    for cut_at in sorted(rng.integers(n_bars // 2, n_bars, N_CUTS).tolist()):
        trials = {"lookahead": head(bars, cut_at), "future_shift": with_other_future(bars, cut_at, rng)}
        for name, table in trials.items():
            again_equity, again_weight = rerun(table)
            if not (_same(again_equity[:cut_at], equity[:cut_at]) and _same(again_weight[:cut_at], weight[:cut_at])):
                verdicts[name] = "fail"
    return verdicts
