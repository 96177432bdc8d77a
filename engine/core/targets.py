"""From approved weights to target quantities: lots, venue minimums and the rebalance band (rules 8 and 9)."""

from __future__ import annotations

import math

from engine.core.compiling import kernel, kernel_part
from engine.core.drafts import Draft, write_verdict
from engine.core.risk import is_forced
from engine.core.state import State
from engine.domain import InstrumentTable, Params, Rule, Sleeve, Verdict

_VENUE_FILTER, _BAND = int(Rule.VENUE_FILTER), int(Rule.REBALANCE_BAND)
_PASS, _REFUSE = int(Verdict.PASS), int(Verdict.REFUSE)
_EMA_CROSS = int(Sleeve.EMA_CROSS)
_LOT_SLACK = 1e-9  # of a lot: forgives the rounding error of a quotient, never grants a whole lot

BAND_SYMBOLS = 8
"""The rebalance band is stated for books of up to this many symbols; with more, weights and band shrink alike."""


@kernel
def whole_lots(qty: float, lot_size: float) -> float:
    """Return ``qty`` rounded toward zero to a multiple of ``lot_size``; unchanged when the lot size is 0.

    Examples
    --------
    >>> whole_lots(-0.0199, 0.01), whole_lots(0.3, 0.1)
    (-0.01, 0.30000000000000004)
    """
    if not lot_size > 0.0:
        return qty
    lots = math.floor(abs(qty) / lot_size + _LOT_SLACK)
    return math.copysign(lots * lot_size, qty) if lots > 0.0 else 0.0


@kernel_part
def _venue_refuses(target: float, present: float, px: float, i: int, instruments: InstrumentTable) -> bool:
    change = abs(target - present)
    if target == 0.0 or change == 0.0:
        return False  # a whole position can always be closed
    if change < instruments.min_qty[i] * (1.0 - _LOT_SLACK):
        return True
    grows = abs(target) > abs(present) or target * present < 0.0
    return grows and change * px < instruments.min_notional[i]


@kernel_part
def band_of(n_symbols: int, params: Params) -> float:
    """Return the rebalance band of a book of ``n_symbols``, weight."""
    return params.rebalance_band * min(1.0, BAND_SYMBOLS / n_symbols)


@kernel_part
def write_target(
    n_symbols: int,
    state: State,
    draft: Draft,
    i: int,
    present_qty: float,
    equity: float,
    over: bool,
    instruments: InstrumentTable,
    params: Params,
    keep_record: bool,
) -> None:
    """Write ``target_qty`` and ``act`` of symbol ``i`` and rules 8 and 9 into ``draft``.

    Quantities are rounded toward zero, so rounding never adds risk. The band blocks small changes, but neither closing
    to zero nor a reduction that the gate forces. ema-cross acts on its signal only, or when forced. Where nothing is
    to be done the target is the present quantity.

    Parameters
    ----------
    n_symbols : int
    state : State
    draft : Draft
        ``sized_weight``, ``approved_weight``, ``present_weight`` and ``value_px`` are read.
    i : int
    present_qty : float, signed base
        Position plus what is in flight.
    equity : float, quote currency
    over : bool
        The band may keep no position above its weight, and no pair too open; see ``apply_book_rules``.
    instruments : InstrumentTable
    params : Params
    keep_record : bool
    """
    approved = draft.approved_weight[i]
    present = draft.present_weight[i]
    px = draft.value_px[i]
    forced = params.gate and is_forced(draft.sized_weight[i], approved, present, over)
    target = present_qty
    if params.sleeve != _EMA_CROSS or state.crossed[i] == 1 or forced:
        if approved == 0.0:
            target = 0.0
        elif approved != present and px > 0.0:
            wanted = approved * equity / px
            target = whole_lots(wanted, instruments.lot_size[i]) if params.gate else wanted
    moves = target != present_qty
    venue_refuses = False
    in_band = False
    change = abs(approved - present)
    band = band_of(n_symbols, params)
    if moves:
        venue_refuses = params.gate and _venue_refuses(target, present_qty, px, i, instruments)
        tight = over and draft.shares[i] == 1.0  # a hedge that is left too small is risk as well
        in_band = change < band and target != 0.0 and not forced and not tight
    if params.gate:
        notional = abs(target - present_qty) * px if moves else 0.0
        verdict = _REFUSE if venue_refuses else _PASS
        write_verdict(draft, i, _VENUE_FILTER, verdict, notional, instruments.min_notional[i], keep_record)
        verdict = _REFUSE if in_band else _PASS
        write_verdict(draft, i, _BAND, verdict, change if moves else 0.0, band, keep_record)
    moves = moves and not venue_refuses and not in_band
    draft.target_qty[i] = target if moves else present_qty
    draft.act[i] = 1 if moves else 0
