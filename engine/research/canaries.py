"""Canaries: does anything change in the past when the future changes?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.core.matching import FillLog
from engine.core.simulate import SimResult
from engine.domain import F8
from engine.research.loading import BarTable

N_CUTS = 3
TAIL_BARS = 200
BAR_COLUMNS = ("ts_open", "open_px", "high_px", "low_px", "close_px", "volume")

Rerun = Callable[[BarTable], tuple[SimResult, F8]]
"""Runs the strategy from scratch over bars; returns the result and the user's wishes (T, N), (1, N) when built in."""


def head(bars: BarTable, n_bars: int) -> BarTable:
    """Return the first bars as copies, so that nothing later is in reach."""
    columns = {name: getattr(bars, name)[:n_bars].copy() for name in BAR_COLUMNS}
    return bars._replace(**columns)


def with_other_future(bars: BarTable, cut_at: int, rng: np.random.Generator) -> BarTable:
    """Return a copy in which every price from ``cut_at`` on is moved by its own random factor."""
    changed = head(bars, min(cut_at + TAIL_BARS, len(bars.ts_open)))
    n_tail = len(changed.ts_open) - cut_at
    factor = np.exp(rng.normal(0.0, 0.1, (n_tail, len(bars.symbols))))
    for column in (changed.open_px, changed.high_px, changed.low_px, changed.close_px):
        column[cut_at:] *= factor
    return changed


def _ordered(fills: FillLog, bar: int, n_symbols: int) -> F8:
    """Return the sign of what was traded at the open of a bar: the decision at the close before, (N,)."""
    at_bar = fills.bar == bar
    return np.sign(np.bincount(fills.symbol[at_bar], weights=fills.qty[at_bar], minlength=n_symbols))


def _same_until(cut_at: int, bars: BarTable, one: tuple[SimResult, F8], other: tuple[SimResult, F8]) -> bool:
    """Return whether two runs agree on everything that was decided before ``cut_at``.

    The decision at the last close before the cut shows only as the trade at the cut, so that is compared too.
    """
    (result, wish), (again, wish_again) = one, other
    past = slice(0, cut_at)
    pairs = [(result.track.equity, again.track.equity), (result.track.weight, again.track.weight)]
    if len(wish) > 1:
        pairs.append((wish, wish_again))
    n_symbols = len(bars.symbols)
    ended = len(again.track.equity) == cut_at
    orders = np.sign(again.account.in_flight_qty) if ended else _ordered(again.fills, cut_at, n_symbols)
    tradable = np.isfinite(bars.open_px[cut_at])
    return all(np.array_equal(a[past], b[past], equal_nan=True) for a, b in pairs) and bool(
        np.array_equal(orders[tradable], _ordered(result.fills, cut_at, n_symbols)[tradable])
    )


def run_canaries(bars: BarTable, run: tuple[SimResult, F8], rerun: Rerun, longest: int) -> dict[str, str]:
    """Return ``pass`` or ``fail`` for each canary.

    lookahead: the run is repeated on prefixes; decisions and equity up to each cut must be the same to the bit.
    future_shift: the run is repeated with other prices after each cut; nothing up to the cut may change.

    Parameters
    ----------
    bars : BarTable
    run : tuple
        The run under test: its result and the user's wishes.
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
            if not _same_until(cut_at, bars, run, rerun(table)):
                verdicts[name] = "fail"
    return verdicts
