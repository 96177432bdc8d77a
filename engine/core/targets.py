"""From approved weights to target quantities: participation, lots, venue minimums, rebalance band and order rate."""

from __future__ import annotations

import math

import numpy as np

from engine.core.compiling import kernel, kernel_part
from engine.core.drafts import Draft, write_verdict
from engine.core.risk import is_forced
from engine.core.state import State
from engine.domain import F8, NS_PER_S, InstrumentTable, Params, Rule, Sleeve, Verdict

_VENUE_FILTER, _BAND = int(Rule.VENUE_FILTER), int(Rule.REBALANCE_BAND)
_PARTICIPATION, _ORDER_RATE = int(Rule.PARTICIPATION), int(Rule.ORDER_RATE)
_PASS, _CLIP, _REFUSE = int(Verdict.PASS), int(Verdict.CLIP), int(Verdict.REFUSE)
_NS_PER_MINUTE, _NS_PER_HOUR = 60 * NS_PER_S, 3600 * NS_PER_S
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
def _growth(target: float, present: float) -> float:
    """Return the base units that exposure grows by; a position that turns counts with all of its new side."""
    if target * present <= 0.0:
        return abs(target)
    return max(abs(target) - abs(present), 0.0)


@kernel_part
def _taken(state: State, i: int, ts_close: int) -> float:
    """Return the notional that was added to symbol ``i`` in the present hour."""
    return state.added[i, 1] if state.added[i, 0] == float(ts_close // _NS_PER_HOUR) else 0.0


@kernel_part
def _within_participation(
    state: State, draft: Draft, i: int, target: float, present: float, hour_notional: F8, t: int, ts_close: int,
    instruments: InstrumentTable, params: Params, keep_record: bool,
) -> float:  # fmt: skip
    """Return the target with its growth limited to what is left of the hour's share; reducing is never limited."""
    limit = params.risk[0]["max_participation"]
    if not (hour_notional.shape[0] > 0 and limit < np.inf):
        write_verdict(draft, i, _PARTICIPATION, _PASS, 0.0, limit, keep_record)
        return target
    px, usual, grows = draft.value_px[i], hour_notional[t, i], _growth(target, present)
    used = _taken(state, i, ts_close)
    share = (used + grows * px) / usual if usual > 0.0 else np.inf
    if not (grows > 0.0 and not share <= limit):
        write_verdict(draft, i, _PARTICIPATION, _PASS, share if share < np.inf else np.nan, limit, keep_record)
        return target
    room = max(limit * usual - used, 0.0) / px if usual > 0.0 and px > 0.0 else 0.0
    kept = abs(present) if target * present > 0.0 else 0.0  # a position that turns is closed whatever the limit
    size = whole_lots(kept + room, instruments.lot_size[i])
    limited = math.copysign(max(size, kept), target)
    verdict = _CLIP if size > kept else _REFUSE
    write_verdict(draft, i, _PARTICIPATION, verdict, share, limit, keep_record)
    return limited if size > 0.0 or kept > 0.0 else 0.0


@kernel_part
def _too_many(
    state: State, draft: Draft, i: int, grows: bool, ts_close: int, params: Params, keep_record: bool
) -> bool:
    """Return whether symbol ``i`` may not be acted on in this minute any more, and count it where it may."""
    book, limit, minute = state.book[0], params.risk[0]["max_orders"], ts_close // _NS_PER_MINUTE
    if book["minute"] != minute:
        book["minute"] = minute
        book["n_acts"] = 0
    refused = grows and not book["n_acts"] < limit
    write_verdict(draft, i, _ORDER_RATE, _REFUSE if refused else _PASS, book["n_acts"] + 1.0, limit, keep_record)
    if not refused:
        book["n_acts"] += 1
    return refused


@kernel_part
def write_target(
    n_symbols: int,
    state: State,
    draft: Draft,
    i: int,
    present_qty: float,
    equity: float,
    over: bool,
    hour_notional: F8,
    t: int,
    ts_close: int,
    instruments: InstrumentTable,
    params: Params,
    keep_record: bool,
) -> None:
    """Write ``target_qty`` and ``act`` of symbol ``i`` and the rules on orders into ``draft``.

    Quantities are rounded toward zero, so rounding never adds risk. The band blocks small changes, but neither closing
    to zero nor a reduction that the gate forces. ema-cross acts on its signal only, or when forced, and is left to the
    venue's filters and the band. Where nothing is to be done the target is the present quantity.

    Parameters
    ----------
    n_symbols : int
    state : State
        What is added to a symbol in this hour and acted on in this minute is noted in it.
    draft : Draft
        ``sized_weight``, ``approved_weight``, ``present_weight`` and ``value_px`` are read.
    i : int
    present_qty : float, signed base
        Position plus what is in flight.
    equity : float, quote currency
    over : bool
        The band may keep no position above its weight, and no pair too open; see ``apply_book_rules``.
    hour_notional : (T, N) float64, quote currency, or (0, N)
    t : int
        Its row.
    ts_close : int, ns
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
    limited = params.gate and params.sleeve != _EMA_CROSS
    if limited and (keep_record or target != present_qty):
        target = _within_participation(
            state, draft, i, target, present_qty, hour_notional, t, ts_close, instruments, params, keep_record
        )
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
    if limited and moves:
        grows = _growth(target, present_qty)
        moves = not _too_many(state, draft, i, grows > 0.0, ts_close, params, keep_record)
        if moves and grows > 0.0 and hour_notional.shape[0] > 0:
            used = _taken(state, i, ts_close)
            state.added[i, 0] = float(ts_close // _NS_PER_HOUR)
            state.added[i, 1] = used + grows * px
    elif limited:
        write_verdict(draft, i, _ORDER_RATE, _PASS, 0.0, params.risk[0]["max_orders"], keep_record)
    draft.target_qty[i] = target if moves else present_qty
    draft.act[i] = 1 if moves else 0
