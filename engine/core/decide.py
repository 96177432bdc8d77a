"""One decision, in place: the kernel that ``step`` and ``simulate`` share, so that they cannot disagree."""

from __future__ import annotations

import numpy as np

from engine.core.account import equity_of, mark_book, valuation_px
from engine.core.book_rules import apply_book_rules, note_period
from engine.core.compiling import kernel_part
from engine.core.drafts import Draft
from engine.core.risk import (
    FULL_SIZE_DRAWDOWN,
    NO_NEW_RISK_LOSS,
    Standing,
    book_limited,
    gross_cap,
    refuse_all,
    write_symbol_limits,
)
from engine.core.size import write_sized_weights
from engine.core.sleeves import advance_sleeve, bars_needed, limits_book
from engine.core.state import State
from engine.core.targets import write_target
from engine.domain import F8, AccountView, InstrumentTable, Params, Rule, Sleeve, TradingState, Verdict

_RUNNING, _HALTED = int(TradingState.RUNNING), int(TradingState.HALTED)
_EMA_CROSS, _EXTERNAL = int(Sleeve.EMA_CROSS), int(Sleeve.EXTERNAL)
_WARM_UP, _REFUSE = int(Rule.WARM_UP), int(Verdict.REFUSE)
_MARGIN = 1e-9


@kernel_part
def _mark(n_symbols: int, state: State, draft: Draft, account: AccountView, cash: float) -> float:
    for i in range(n_symbols):
        draft.value_px[i] = valuation_px(account.mark_px[i], state.last_px[i], account.entry_px[i])
    return equity_of(n_symbols, cash, account.position_qty, account.entry_px, draft.value_px)


@kernel_part
def _write_present(n_symbols: int, draft: Draft, account: AccountView, equity: float) -> float:
    gross = 0.0
    per_equity = 1.0 / equity if equity != 0.0 else 0.0
    for i in range(n_symbols):
        held = account.position_qty[i]
        present = held + account.in_flight_qty[i]
        draft.present_weight[i] = present * draft.value_px[i] * per_equity if present != 0.0 else 0.0
        gross += abs(held * draft.value_px[i] * per_equity) if held != 0.0 else 0.0
    return gross


@kernel_part
def _standing(state: State, equity: float, trading_state: int, params: Params, keep_record: bool) -> Standing:
    """Compare equity with peak and day. Without a record, losses of ema-cross too small for any rule may be given as 0.

    That spares two divisions on most bars; the margin is far above rounding, so no rule sees a difference.
    """
    book = state.book[0]
    peak, day_open = book["peak_equity"], book["day_open_equity"]
    drawdown, day_loss = 0.0, 0.0
    exact = keep_record or params.sleeve != _EMA_CROSS
    if exact or not equity >= peak * (1.0 - params.max_drawdown * FULL_SIZE_DRAWDOWN + _MARGIN):
        drawdown = 1.0 - equity / peak if peak > 0.0 else 0.0
        if drawdown >= params.max_drawdown:
            book["drawdown_locked"] = 1
    if exact or not equity >= day_open * (1.0 - params.max_daily_loss * NO_NEW_RISK_LOSS + _MARGIN):
        day_loss = 1.0 - equity / day_open if day_open > 0.0 else 0.0
        if day_loss >= params.max_daily_loss:
            book["day_locked"] = 1
    worst = day_loss
    if params.sleeve != _EMA_CROSS:
        worst = max(day_loss, book["day_worst"])
        book["day_worst"] = worst
    locked, fallen = book["day_locked"] == 1, book["drawdown_locked"] == 1
    return Standing(equity, drawdown, peak, day_loss, worst, locked, fallen, trading_state)


@kernel_part
def _hold(n_symbols: int, draft: Draft, account: AccountView) -> None:
    for i in range(n_symbols):
        draft.target_qty[i] = account.position_qty[i] + account.in_flight_qty[i]
        draft.act[i] = 0


@kernel_part
def _is_calm(
    n_symbols: int, state: State, close_px: F8, t: int, age_s: F8, needed: int, standing: Standing, params: Params
) -> bool:
    """Return whether ema-cross has nothing to do and no rule objects: the common bar, told from few comparisons.

    True only when the whole gate would pass every symbol and leave its position alone: no signal is new, and every
    wish is either for nothing or within every limit.
    """
    if not standing.equity > 0.0 or standing.trading_state != _RUNNING:
        return False
    free = not standing.day_locked and standing.day_loss < NO_NEW_RISK_LOSS * params.max_daily_loss
    free = free and not standing.drawdown_locked and standing.drawdown <= params.max_drawdown * FULL_SIZE_DRAWDOWN
    share = 1.0 / n_symbols
    gross = 0.0
    for i in range(n_symbols):
        if state.crossed[i] == 1 or (params.gate and state.n_bars[i] < needed):
            return False
        weight = abs(state.signal[i] * share)
        gross += weight
        seen = close_px[t, i] > 0.0 and age_s[i] <= params.max_age_s
        if params.gate and weight > 0.0 and not (free and seen and weight <= params.max_symbol_weight):
            return False
    return not params.gate or gross <= gross_cap(params)


@kernel_part
def _asks_nothing(
    n_symbols: int, draft: Draft, account: AccountView, external_weight: F8, t: int, standing: Standing, params: Params
) -> bool:
    """Return whether given weights ask for nothing and every rule leaves the book alone: most bars of a daily book.

    True only when the whole gate would approve the present weights of all symbols, none of them for anything.
    """
    if not (params.gate and standing.equity > 0.0 and standing.trading_state == _RUNNING) or limits_book(params):
        return False
    limits = params.risk[0]
    until = min(limits["reduce_share"], limits["flatten_share"]) * params.max_daily_loss
    if standing.day_locked or standing.drawdown_locked or not standing.day_worst < until:
        return False
    gross, quiet = 0.0, True
    for i in range(n_symbols):
        wish, weight = external_weight[t, i], abs(draft.present_weight[i])
        gross += weight
        known = weight > 0.0 or account.position_qty[i] + account.in_flight_qty[i] == 0.0
        quiet = quiet and wish != wish and known and weight <= params.max_symbol_weight
    return quiet and gross <= gross_cap(params)


@kernel_part
def _keep_present(n_symbols: int, draft: Draft, account: AccountView) -> None:
    for i in range(n_symbols):
        present = draft.present_weight[i]
        draft.raw_weight[i] = np.nan
        draft.sized_weight[i] = present
        draft.approved_weight[i] = present
    draft.objections[_WARM_UP, _REFUSE] += n_symbols  # as the whole gate counts a symbol without an opinion
    _hold(n_symbols, draft, account)


@kernel_part
def decide(
    n_symbols: int,
    state: State,
    draft: Draft,
    close_px: F8,
    hour_notional: F8,
    external_weight: F8,
    t: int,
    ts_close: int,
    age_s: F8,
    account: AccountView,
    cash: float,
    instruments: InstrumentTable,
    params: Params,
    keep_record: bool,
) -> tuple[float, float, float]:
    """Advance ``state`` by bar ``t`` and write the decision into ``draft``, both in place.

    Parameters
    ----------
    n_symbols : int
    state, draft : State, Draft
        Private to the caller; changed.
    close_px, external_weight : (T, N) float64
        Row ``t`` of each is used; the second only by the EXTERNAL sleeve and by trend with a model share.
    hour_notional : (T, N) float64, quote currency, or (0, N)
        What usually trades in an hour as of row ``t``; without rows nothing is limited by it.
    t : int
    ts_close : int, ns
    age_s : (N,) float64, seconds
    account : AccountView
        Its ``cash`` is ignored in favour of the argument, so that a scan need not rebuild it.
    cash : float, quote currency
    instruments : InstrumentTable
    params : Params
    keep_record : bool
        Write verdicts with measured numbers and limits; otherwise they are only counted, and a bar on which
        nothing is to be done leaves the draft's weights as they were.

    Returns
    -------
    tuple of float
        Equity (ccy), gross weight of the present book, annualised volatility of the sized weights. The last two may be
        NaN without ``keep_record``.
    """
    equity = _mark(n_symbols, state, draft, account, cash)
    if equity == equity:
        mark_book(state, equity, ts_close)
    advance_sleeve(n_symbols, state, close_px, t, params, keep_record)
    standing = _standing(state, equity, account.trading_state, params, keep_record)
    needed = bars_needed(params)
    skippable = params.sleeve == _EMA_CROSS and not keep_record
    if skippable and _is_calm(n_symbols, state, close_px, t, age_s, needed, standing, params):
        _hold(n_symbols, draft, account)
        return equity, np.nan, np.nan
    gross = _write_present(n_symbols, draft, account, equity)
    if params.sleeve != _EMA_CROSS:
        note_period(state, draft, equity, params)
    can_keep = params.sleeve == _EXTERNAL and not keep_record
    if can_keep and _asks_nothing(n_symbols, draft, account, external_weight, t, standing, params):
        _keep_present(n_symbols, draft, account)
        return equity, gross, np.nan
    volatility = write_sized_weights(n_symbols, state, draft, external_weight, t, needed, params, keep_record)

    halted = params.gate and account.trading_state == _HALTED
    if halted or equity != equity:
        refuse_all(n_symbols, draft, _HALTED)
        _hold(n_symbols, draft, account)
        return equity, gross, volatility
    wished, over = 0.0, False
    if params.gate and equity > 0.0:
        wished = write_symbol_limits(n_symbols, state, draft, close_px, t, age_s, needed, standing, params, keep_record)
        if params.sleeve != _EMA_CROSS:
            records = keep_record and params.gate  # a variable: for a constant it would be compiled anew
            wished, over = apply_book_rules(state, draft, standing, params, records)
    elif params.gate:
        refuse_all(n_symbols, draft, account.trading_state)
    for i in range(n_symbols):
        if params.gate:
            draft.approved_weight[i] = book_limited(draft, i, wished, params, keep_record)
        else:
            draft.approved_weight[i] = draft.sized_weight[i]
        present_qty = account.position_qty[i] + account.in_flight_qty[i]
        write_target(
            n_symbols, state, draft, i, present_qty, equity, over, hour_notional, t, ts_close, instruments, params,
            keep_record,
        )  # fmt: skip
    return equity, gross, volatility


def no_limits(n_symbols: int) -> InstrumentTable:
    """Return filters that let every quantity through."""
    return InstrumentTable(
        np.zeros(n_symbols), np.zeros(n_symbols), np.zeros(n_symbols), np.full(n_symbols, np.inf), np.zeros(n_symbols)
    )
