"""What an agent knows of its own position, and the paper book that tells it so where no account does."""

from __future__ import annotations

import math

import numpy as np

from engine.core.compiling import entry_kernel, kernel_part
from engine.domain import F8

OWN = ("position", "open_result", "cushion", "bars_held")
"""What an observation holds besides the features of the bar, see ``own_inputs``."""

N_OWN = len(OWN)
CLIP = 4.0
"""Inputs further out count as if they were there: the bound of ``models.tabular`` for features."""

_HELD_BARS = math.log1p(168.0)
_DAY_BARS = math.sqrt(24.0)


@kernel_part
def write_own_inputs(
    out: F8, weight: float, unit: float, entry_px: float, px: float, sigma: float, drawdown: float,
    max_drawdown: float, bars_held: float,
) -> None:  # fmt: skip
    """Write the four inputs of one symbol into ``out`` (4,), each within ±``CLIP``; 0 where something is unknown.

    position = weight / unit; open_result = sign(weight) ln(px / entry) / (sigma sqrt(24)), in days' volatilities;
    cushion = 1 - drawdown / max_drawdown; bars_held = ln(1 + bars) / ln(169), 1 after a week of hours.

    Parameters
    ----------
    out : (4,) float64
    weight : float
        Position over equity.
    unit : float
        Weight of full conviction.
    entry_px, px : float, quote per base
    sigma : float
        Standard deviation of one bar's log return.
    drawdown, max_drawdown : float, fractions of peak equity
    bars_held : float
        Bars since the position was last changed.

    Notes
    -----
    Known at: the close of the bar that ``px`` is the close of.
    """
    out[0] = weight / unit if unit > 0.0 else 0.0
    out[1] = 0.0
    if weight != 0.0 and entry_px > 0.0 and px > 0.0 and sigma > 0.0:
        out[1] = math.copysign(math.log(px / entry_px), weight * (px - entry_px)) / (sigma * _DAY_BARS)
    out[2] = 1.0 - drawdown / max_drawdown
    out[3] = math.log1p(bars_held) / _HELD_BARS
    for k in range(4):
        if not abs(out[k]) <= CLIP:
            out[k] = 0.0 if out[k] != out[k] else math.copysign(CLIP, out[k])


@entry_kernel
def own_inputs(
    out: F8, weight: F8, unit: F8, entry_px: F8, px: F8, sigma: F8, drawdown: float, max_drawdown: float, held: F8
) -> None:
    """Write the inputs of N symbols into ``out`` (N, 4); see ``write_own_inputs``."""
    for i in range(out.shape[0]):
        write_own_inputs(
            out[i], weight[i], unit[i], entry_px[i], px[i], sigma[i], drawdown, max_drawdown, held[i]
        )  # fmt: skip


@entry_kernel
def _mark(book: F8, px: F8, sigma: F8, funding: F8, unit_of_sigma: float, max_weight: float, max_drawdown: float,
          own: F8, earned: F8) -> None:  # fmt: skip
    """Mark every symbol's book row (weight, entry, equity, peak, bars, last px, unit) at a close, in place."""
    for i in range(book.shape[0]):
        row = book[i]
        before = row[2]
        if px[i] > 0.0:
            if row[5] > 0.0:
                row[2] *= 1.0 + row[0] * (px[i] / row[5] - 1.0)
            row[5] = px[i]
        if funding[i] == funding[i]:
            row[2] *= 1.0 - row[0] * funding[i]
        row[4] += 1.0
        row[6] = min(unit_of_sigma / sigma[i], max_weight) if sigma[i] > 0.0 else 0.0
        row[3] = max(row[3], row[2])
        drawdown = 1.0 - row[2] / row[3]
        if drawdown >= max_drawdown:
            row[3], drawdown = row[2], 0.0
        earned[i] = row[2] / before - 1.0
        write_own_inputs(own[i], row[0], row[6], row[1], px[i], sigma[i], drawdown, max_drawdown, row[4])


@entry_kernel
def _order(book: F8, wish: F8, cost_rate: float, band: float, earned: F8) -> None:
    """Move every book row to its wish and charge it, in place; NaN and what is within the band move nothing."""
    for i in range(book.shape[0]):
        row = book[i]
        target = wish[i] * row[6]
        change = abs(target - row[0])
        if not change > 0.0 or not row[5] > 0.0 or (change < band and target != 0.0):
            continue
        paid = cost_rate * change
        row[2] *= 1.0 - paid
        earned[i] = (1.0 + earned[i]) * (1.0 - paid) - 1.0
        if row[0] * target <= 0.0:
            row[1] = row[5]
        elif abs(target) > abs(row[0]):
            row[1] += (row[5] - row[1]) * (1.0 - row[0] / target)
        row[0] = target
        row[4] = 0.0


class PaperBook:
    """One small account a symbol that follows an agent's own wishes, so that the agent is told where it stands.

    The account that is really traded holds the wishes of many models, sized together. An agent that was told of that
    account would see positions that it did not choose. This book holds what the agent alone would hold: the wish times
    the weight of full conviction, filled at the close that decided it, with the costs and the rebalance band of its
    training. Lots and the gate's other rules are left out, and at the drawdown limit the peak starts again.

    Parameters
    ----------
    n_symbols : int
    vol_target : float, annualised fraction
    bars_per_year : float
    max_weight, max_drawdown, band : float
        As in ``Params``.
    cost_rate : float, fraction of notional
    """

    def __init__(
        self, n_symbols: int, vol_target: float, bars_per_year: float, max_weight: float, max_drawdown: float,
        band: float, cost_rate: float,
    ) -> None:  # fmt: skip
        self._book = np.zeros((n_symbols, 7))
        self._book[:, 2:4] = 1.0
        self._unit_of_sigma = vol_target / math.sqrt(bars_per_year)
        self._max_weight, self._max_drawdown = max_weight, max_drawdown
        self._band, self._cost_rate = band, cost_rate
        self.own = np.zeros((n_symbols, N_OWN))
        self.earned = np.zeros(n_symbols)  # simple return of the newest bar, with the costs of its order

    def mark(self, close_px: F8, sigma: F8, funding_due: F8) -> F8:
        """Take a closed bar (N,) and return the inputs (N, 4); NaN closes leave a symbol as it is."""
        _mark(self._book, close_px, sigma, funding_due, self._unit_of_sigma, self._max_weight, self._max_drawdown,
              self.own, self.earned)  # fmt: skip
        return self.own

    def order(self, wish: F8) -> None:
        """Take the wishes (N,) that were made at the bar marked last; NaN keeps what is held."""
        _order(self._book, wish, self._cost_rate, self._band, self.earned)
