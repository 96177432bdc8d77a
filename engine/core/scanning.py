"""One bar of a backtest: fills at its open, what happens inside it, its close, funding, and then the decision."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.core.compiling import kernel_part
from engine.core.costs import Costs
from engine.core.decide import decide
from engine.core.drafts import Draft
from engine.core.frictions import Assumptions, SimVenue, observe_ranges, send_order, trade_bar
from engine.core.matching import FillLog, SimAccount, SimBars, fill_pending, pay_funding
from engine.core.state import State
from engine.domain import F8, I8, N_RULES, AccountView, InstrumentTable, Params, Sleeve, TradingState

_EMA_CROSS = int(Sleeve.EMA_CROSS)
_RUNNING = int(TradingState.RUNNING)
FILLS_PER_BAR = 4
"""Most fills of one symbol in one bar: a flip of two, then a stop or a liquidation; one to spare."""


class SimTrack(NamedTuple):
    """What a scan records."""

    equity: F8  # (T,) ccy at each close
    weight: F8  # (T, N) position value over equity at each close
    rule_counts: I8  # (N_RULES, 3) how often each rule said pass, clip, refuse


def new_track(n_bars: int, n_symbols: int) -> SimTrack:
    """Return memory for the record of a scan."""
    counts = np.zeros((N_RULES, 3), dtype=np.int64)
    if n_symbols != 1:
        return SimTrack(np.empty(n_bars), np.empty((n_bars, n_symbols)), counts)
    # in one piece: memory as large as this run's is kept for the next one, two halves of it are given back and come
    # anew page by page, which takes longer than the scan
    both = np.empty(2 * n_bars)
    return SimTrack(both[:n_bars], both[n_bars:].reshape(n_bars, 1), counts)


@kernel_part
def _mark(n_symbols: int, account: SimAccount, bars: SimBars, t: int) -> None:
    for i in range(n_symbols):
        if bars.close_px[t, i] > 0.0:
            account.mark_px[i] = bars.close_px[t, i]
            account.age_s[i] = 0.0
        else:
            account.age_s[i] += (bars.ts_close[1] - bars.ts_close[0]) / 1e9 if bars.ts_close.shape[0] > 1 else 0.0


@kernel_part
def _record(n_symbols: int, account: SimAccount, track: SimTrack, row: int, equity: float) -> None:
    track.equity[row] = equity
    per_equity = 1.0 / equity if equity != 0.0 else 0.0
    for i in range(n_symbols):
        held = account.position_qty[i]
        track.weight[row, i] = held * account.mark_px[i] * per_equity if held != 0.0 else 0.0


@kernel_part
def _send_decided(
    n_symbols: int, account: SimAccount, state: State, draft: Draft, venue: SimVenue, t: int, all_in: bool, plain: bool
) -> None:
    for i in range(n_symbols):
        if draft.act[i] == 1 or (all_in and state.crossed[i] == 1):
            if plain:
                venue.pending[i] = 1
                account.in_flight_qty[i] = draft.target_qty[i] - account.position_qty[i]
            else:
                aim = state.signal[i] if all_in else draft.target_qty[i]
                send_order(account, venue, i, t, draft.target_qty[i], aim)


@kernel_part
def open_bar(
    n_symbols: int, t: int, bars: SimBars, state: State, account: SimAccount, venue: SimVenue, log: FillLog,
    instruments: InstrumentTable, costs: Costs, assumptions: Assumptions, params: Params, plain: bool,
) -> None:  # fmt: skip
    """Let everything happen to the account that happens before the close of bar ``t``.

    ``plain`` leaves out everything that ``Assumptions`` and the later fields of ``Costs`` describe.
    """
    all_in = params.sleeve == _EMA_CROSS and not params.gate
    if plain:
        fill_pending(n_symbols, account, log, venue.pending, state, bars.open_px, t, all_in, costs)
    else:
        trade_bar(n_symbols, account, log, venue, bars, t, all_in, instruments, costs, assumptions)


@kernel_part
def close_bar(
    n_symbols: int, t: int, ts_close: int, row: int, bars: SimBars, external_weight: F8, state: State, draft: Draft,
    account: SimAccount, venue: SimVenue, track: SimTrack, instruments: InstrumentTable, costs: Costs, params: Params,
    observes: bool, plain: bool,
) -> None:  # fmt: skip
    """Mark bar ``t`` at its close, settle funding, decide, and record it in ``row`` of the track.

    ``ts_close`` (ns) is the bar's own; any other moment of the same UTC day does as well. Without ``observes`` the
    venue's volatility is left to the caller, who knows it.
    """
    view = AccountView(0.0, account.position_qty, account.in_flight_qty, account.entry_px, account.mark_px, _RUNNING)
    all_in = params.sleeve == _EMA_CROSS and not params.gate
    _mark(n_symbols, account, bars, t)
    if bars.funding_rate.shape[0] > 0:
        pay_funding(n_symbols, account, bars.funding_rate, t)
    equity, _gross, _volatility = decide(
        n_symbols, state, draft, bars.close_px, bars.hour_notional, external_weight, t, ts_close, account.age_s, view,
        account.money[0]["cash"], instruments, params, False,
    )  # fmt: skip
    _record(n_symbols, account, track, row, equity)
    _send_decided(n_symbols, account, state, draft, venue, t, all_in, plain)
    if observes and not plain and (costs.spread_per_volatility > 0.0 or costs.impact > 0.0):
        observe_ranges(n_symbols, venue, bars, t)
