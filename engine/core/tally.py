"""What a sweep keeps of a scan: sums and extremes instead of an equity curve, and what closed trades came to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine.core.compiling import FINGERPRINT, entry_kernel, kernel_part
from engine.core.matching import FillLog
from engine.core.scanning import SimTrack

TALLY = np.dtype([
    ("sum_equity", np.float64),  # ccy, over all bars
    ("sum_gross", np.float64),  # of gross weights, over all bars
    ("peak", np.float64),  # ccy, highest equity so far, the opening included
    ("trough", np.float64),  # ccy, lowest equity since that peak
    ("drawdown", np.float64),  # fraction, largest fall from a peak that is over
    ("lowest", np.float64),  # ccy, lowest equity of all bars
])  # fmt: skip
_DUST = 1e-9  # of a position: what lots and sums of floats leave behind


class Trips(NamedTuple):
    """Closed trades, each with its result after fees and before funding."""

    n: int
    n_won: int  # with a result above 0
    gains: float  # ccy, of those
    losses: float  # ccy, of those that lost, positive

    @property
    def win_rate(self) -> float:
        """Share of trades that won; NaN without trades."""
        return self.n_won / self.n if self.n else math.nan

    @property
    def profit_factor(self) -> float:
        """Gains over losses; NaN without either, inf without losses."""
        if self.losses > 0.0:
            return self.gains / self.losses
        return math.inf if self.gains > 0.0 else math.nan


def new_tally(cash: float) -> np.ndarray:
    """Return the tally of a scan that has not begun, (1,) TALLY; ``cash`` is the opening equity."""
    tally = np.zeros(1, dtype=TALLY)
    for name in ("peak", "trough", "lowest"):
        tally[name] = cash
    return tally


@kernel_part
def count_equity(tally, equity, gross):  # type: ignore[no-untyped-def]
    """Add one bar to ``tally[0]``, in place. A drawdown is worked out once a peak is passed, from its lowest point."""
    row = tally[0]
    row["sum_equity"] += equity
    row["sum_gross"] += gross
    row["lowest"] = min(row["lowest"], equity)
    if equity > row["peak"]:
        row["drawdown"] = max(row["drawdown"], 1.0 - row["trough"] / row["peak"])
        row["peak"] = equity
        row["trough"] = equity
    elif equity < row["trough"]:
        row["trough"] = equity


@kernel_part
def count_track(first: int, last: int, track: SimTrack, tally: np.ndarray) -> None:
    """Add the recorded bars [first, last) to the tally, in place."""
    for t in range(first, last):
        gross = 0.0
        for i in range(track.weight.shape[1]):
            gross += abs(track.weight[t, i])
        count_equity(tally, track.equity[t], gross)


def largest_drawdown(tally: np.ndarray) -> float:
    """Return the largest fall from a running peak, a fraction; 1.0 once the account was lost."""
    row = tally[0]
    return 1.0 if row["lowest"] <= 0.0 else float(max(row["drawdown"], 1.0 - row["trough"] / row["peak"]))


def _build_count(fingerprint: str) -> Callable[..., Any]:
    @entry_kernel
    def compiled_count(first, last, track, tally):  # type: ignore[no-untyped-def]
        _ = fingerprint  # part of the cache key
        count_track(first, last, track, tally)

    counter: Callable[..., Any] = compiled_count
    return counter


def _build_trips(fingerprint: str) -> Callable[..., Any]:
    @entry_kernel
    def compiled_trips(n_fills, fills, memory):  # type: ignore[no-untyped-def]
        _ = fingerprint  # part of the cache key
        sign, held, opened_qty, cash_flow, fees = memory[0], memory[1], memory[2], memory[3], memory[4]
        n, n_won, gains, losses = 0, 0, 0.0, 0.0
        for k in range(n_fills):
            i, qty, px, fee = fills.symbol[k], fills.qty[k], fills.px[k], fills.fee[k]
            left = qty
            if sign[i] != 0.0 and left * sign[i] < 0.0:
                closing = min(abs(left), abs(held[i]))
                cash_flow[i] += closing * px * sign[i]
                fees[i] += fee * closing / abs(qty)
                held[i] -= closing * sign[i]
                left += closing * sign[i]
                if abs(held[i]) <= _DUST * opened_qty[i]:
                    pnl = cash_flow[i] - fees[i]
                    n, n_won = n + 1, n_won + (1 if pnl > 0.0 else 0)
                    gains, losses = gains + max(pnl, 0.0), losses - min(pnl, 0.0)
                    sign[i] = 0.0
            if abs(left) > _DUST * abs(qty):
                if sign[i] == 0.0:
                    sign[i] = 1.0 if left > 0.0 else -1.0
                    held[i] = opened_qty[i] = cash_flow[i] = fees[i] = 0.0
                opened_qty[i] += abs(left)
                cash_flow[i] -= abs(left) * px * sign[i]
                held[i] += left
                fees[i] += fee * abs(left) / abs(qty)
        return n, n_won, gains, losses

    trips: Callable[..., Any] = compiled_trips
    return trips


_compiled_count = _build_count(FINGERPRINT)
_compiled_trips = _build_trips(FINGERPRINT)


def tally_of(track: SimTrack, cash: float) -> np.ndarray:
    """Return the tally of a finished scan, (1,) TALLY."""
    tally = new_tally(cash)
    _compiled_count(0, len(track.equity), track, tally)
    return tally


def trips_of(fills: FillLog, n_fills: int, n_symbols: int) -> Trips:
    """Return what all closed trades came to.

    Parameters
    ----------
    fills : FillLog
        In the order of execution.
    n_fills : int
        How many of its entries are valid.
    n_symbols : int

    Returns
    -------
    Trips
        What is still open is not a trade yet; a fill that flips a position closes one and opens the next.
    """
    return Trips(*_compiled_trips(n_fills, fills, np.zeros((5, n_symbols))))
