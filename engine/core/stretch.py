"""Stretches of bars on which a position of ema-cross stays as it is, measured many bars at a time.

Between two crossings the gate leaves a position alone unless it must be reduced, or the venue liquidates it. With cash
and quantity fixed, weight and every ceiling on it follow from equity alone, so that between two values of equity
nothing happens and the same rules object on every bar. ``range_of`` works those values out once; a bar is then told
from three comparisons without a branch, several bars in one instruction. All limits keep a margin far above rounding:
a bar that might be near one is never passed over, it goes through the decision kernel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.core.compiling import kernel_part
from engine.core.lanes import any_order_sum, largest, least
from engine.core.risk import DRIFT_TOLERANCE, FULL_SIZE_DRAWDOWN, NO_NEW_RISK_LOSS
from engine.domain import F8

STRETCH_BARS = 256
"""Most bars that are measured at once."""

_MARGIN = 1e-7  # relative; rounding is below 1e-13, and that of a root of a small difference below 1e-8


class Tape(NamedTuple):
    """Columns of one symbol that a stretch reads, and where it writes. T bars."""

    close_px: F8  # (T,)
    low_px: F8  # (T,), or (0,) when they are not read
    high_px: F8
    keeps: bool  # equity and weight are wanted on every bar, and how often each rule objected
    equity: F8  # (T,) of the record; without ``keeps`` (STRETCH_BARS,) scratch
    weight: F8


class Holding(NamedTuple):
    """A position that stays as it is."""

    cash: float  # ccy
    qty: float  # signed base, not 0
    entry_px: float
    worst_above: float  # the bar's worst price is above this and below that, or the venue may liquidate
    worst_below: float


class QuietRange(NamedTuple):
    """Equity, ccy, between which nothing happens to a position and the same rules object on every bar."""

    above: float
    below: float
    twin: float  # there the present weight equals what the gate approves: the same clip is then called a refusal
    width: float  # of the neighbourhood of ``twin`` that is not passed over
    rising: float  # what ``above`` is at least, as a share of a new peak
    is_soft: bool  # the drawdown rule clips the wish on every bar
    is_capped: bool  # the cap on weight does


class Measured(NamedTuple):
    """What a stretch came to."""

    n_unsure: int  # bars that may not be passed over
    lowest: float  # equity, ccy
    highest: float
    sum_equity: float
    sum_gross: float


@kernel_part
def holding_of(cash: float, qty: float, entry_px: float, maintenance_rate: float) -> Holding:
    """Return a position with the prices beyond which the venue may liquidate it; none for a rate of 0.

    It does where cash + qty * (px - entry) <= |qty| * px * rate.
    """
    if not maintenance_rate > 0.0:
        return Holding(cash, qty, entry_px, -np.inf, np.inf)
    rate = maintenance_rate * (1.0 + _MARGIN)
    slack = _MARGIN * (entry_px + abs(cash / qty))
    if qty > 0.0:
        px = (entry_px - cash / qty) / (1.0 - rate) + slack / abs(1.0 - rate) if rate < 1.0 else np.inf
        return Holding(cash, qty, entry_px, max(px, 0.0), np.inf)
    return Holding(cash, qty, entry_px, 0.0, (entry_px - cash / qty) / (1.0 + rate) - slack)


@kernel_part
def _weight_bounds(equity: float, sign: float, debt: float, ceiling: float) -> tuple[float, float]:
    """Return the equity between which the weight, sign * (1 - debt / equity), stays at or below a fixed ceiling."""
    slope = sign - ceiling
    bound = sign * debt / slope if slope != 0.0 else (-np.inf if sign * debt >= 0.0 else np.inf)
    return (-np.inf, bound) if slope > 0.0 else (bound, np.inf)


@kernel_part
def _touching(equity: float, sign: float, debt: float, slope: float, offset: float) -> tuple[float, float]:
    """Return both values of equity at which the weight equals the ceiling slope * equity - offset.

    sign * (equity - debt) = equity * (slope * equity - offset); between them the weight is above. Without any, the
    point where it comes closest, twice.
    """
    middle = (sign + offset) / (2.0 * slope)
    apart = math.sqrt(max(middle * middle - sign * debt / slope, 0.0))
    return middle - apart, middle + apart


@kernel_part
def range_of(equity, holding, peak, book, params):  # type: ignore[no-untyped-def]
    """Return the quiet range around ``equity``, empty when it is near a limit. The signal is in favour of the position.

    ``book`` is the account's memory but for the peak, which may have moved on. Without the gate a limit that is reached
    is still noted there, once.

    The gate wishes for the whole account. It clips that to the cap, and below a third of the drawdown limit to
    (equity / peak - (1 - max)) / (max - max / 3); beyond the lower of both by DRIFT_TOLERANCE it forces a reduction.
    """
    day_open = book["day_open_equity"]
    if not params.gate:
        above, rising = 0.0, 0.0
        if book["drawdown_locked"] == 0:
            above, rising = max(peak * (1.0 - params.max_drawdown), 0.0), 1.0 - params.max_drawdown + 4.0 * _MARGIN
        if book["day_locked"] == 0:
            above = max(above, day_open * (1.0 - params.max_daily_loss))
        return QuietRange(above * (1.0 + _MARGIN), np.inf, -np.inf, 0.0, rising, False, False)
    sign = 1.0 if holding.qty > 0.0 else -1.0
    debt = holding.cash - holding.qty * holding.entry_px  # equity = debt + qty * px
    width = _MARGIN * (abs(equity) + abs(debt) + peak)
    per_cushion = 1.0 / (params.max_drawdown * (1.0 - FULL_SIZE_DRAWDOWN))
    slope, offset = per_cushion / peak, per_cushion * (1.0 - params.max_drawdown)
    soft_from = peak * (1.0 - params.max_drawdown * FULL_SIZE_DRAWDOWN)
    above = max(peak * (1.0 - params.max_drawdown), day_open * (1.0 - NO_NEW_RISK_LOSS * params.max_daily_loss), 0.0)
    below, twin, cap = np.inf, -np.inf, params.max_symbol_weight
    is_soft = equity < soft_from
    is_capped = cap < 1.0
    if is_soft:
        below = soft_from
        capped_from = (cap + offset) / slope
        is_capped = is_capped and equity > capped_from
        if is_capped:
            above = max(above, capped_from)
        else:
            below = min(below, capped_from)
    else:
        above = max(above, soft_from)
    if is_capped:
        low, high = _weight_bounds(equity, sign, debt, cap * (1.0 + DRIFT_TOLERANCE))
        above, below, twin = max(above, low), min(below, high), sign * debt / (sign - cap)
    elif is_soft:
        low, high = _touching(equity, sign, debt, slope * (1.0 + DRIFT_TOLERANCE), offset * (1.0 + DRIFT_TOLERANCE))
        near, far = _touching(equity, sign, debt, slope, offset)
        if equity > 0.5 * (low + high):
            above, twin = max(above, high), far
        else:
            below, twin = min(below, low), near
    rising = 1.0 - params.max_drawdown * FULL_SIZE_DRAWDOWN + 4.0 * _MARGIN
    return QuietRange(above + width, below - width, twin, width, rising, is_soft, is_capped)


@kernel_part
def _is_unsure(equity: float, worst_px: float, held: Holding, quiet: QuietRange) -> bool:
    inside = (equity > quiet.above) & (equity < quiet.below) & (abs(equity - quiet.twin) >= quiet.width)
    return not (inside & (worst_px > held.worst_above) & (worst_px < held.worst_below))


@kernel_part
def measure(first: int, end: int, tape: Tape, held: Holding, quiet: QuietRange) -> Measured:
    """Write equity and weight of bars [first, end), at most STRETCH_BARS, and return what they came to."""
    n = end - first
    at = first if tape.keeps else 0
    close_px = tape.close_px[first:end]
    equity_of, weight_of = tape.equity[at : at + n], tape.weight[at : at + n]
    worst_px = close_px
    if tape.low_px.shape[0] > 0:
        worst_px = tape.low_px[first:end] if held.qty > 0.0 else tape.high_px[first:end]
    n_unsure, lowest, highest, sum_equity, sum_gross = 0, np.inf, -np.inf, 0.0, 0.0
    for k in range(n):
        px = close_px[k]
        equity = held.cash + held.qty * (px - held.entry_px)
        weight = held.qty * px * (1.0 / equity)
        equity_of[k] = equity
        weight_of[k] = weight
        n_unsure += 1 if _is_unsure(equity, worst_px[k], held, quiet) else 0
        lowest = least(lowest, equity)
        highest = largest(highest, equity)
        sum_equity = any_order_sum(sum_equity, equity)
        sum_gross = any_order_sum(sum_gross, abs(weight))
    return Measured(n_unsure, lowest, highest, sum_equity, sum_gross)


@kernel_part
def first_unsure(first: int, end: int, tape: Tape, held: Holding, quiet: QuietRange) -> int:
    """Return the first of bars [first, end) that may not be passed over, or ``end``."""
    ranges = tape.low_px.shape[0] > 0
    for t in range(first, end):
        px = tape.close_px[t]
        worst_px = px if not ranges else (tape.low_px[t] if held.qty > 0.0 else tape.high_px[t])
        if _is_unsure(held.cash + held.qty * (px - held.entry_px), worst_px, held, quiet):
            return t
    return end
