"""One step of the environment, compiled: the parts of the backtest's scan, cut between the close and the decision.

A scan decides on a bar in the same turn that meets it. An agent must look at the closed bar first, so a step here is
the second half of one turn (decide, record, send) and the first half of the next (fill, mark, settle funding). The
parts are those of ``engine.core.simulate``, in the same order, so an episode is a scan to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from engine.core.account import equity_of, valuation_px
from engine.core.compiling import FINGERPRINT, entry_kernel, kernel_part
from engine.core.decide import decide
from engine.core.drafts import Draft
from engine.core.frictions import observe_ranges, trade_bar
from engine.core.matching import SimAccount, fill_pending, pay_funding
from engine.core.simulate import _mark, _record, _send_decided
from engine.core.state import State
from engine.domain import F8, AccountView, TradingState
from models.own_book import write_own_inputs

_RUNNING = int(TradingState.RUNNING)


@kernel_part
def _look(
    n_symbols: int, t: int, close_px: F8, state: State, draft: Draft, account: SimAccount, max_drawdown: float,
    sigma: F8, unit: F8, held: F8, own: F8,
) -> float:  # fmt: skip
    """Write what the agent knows of its account at the close of bar ``t`` into ``own`` (N, 4), and return equity."""
    for i in range(n_symbols):
        draft.value_px[i] = valuation_px(account.mark_px[i], state.last_px[i], account.entry_px[i])
    equity = equity_of(n_symbols, account.money[0]["cash"], account.position_qty, account.entry_px, draft.value_px)
    peak = max(state.book[0]["peak_equity"], equity)
    drawdown = 1.0 - equity / peak if peak > 0.0 else 1.0
    per_equity = 1.0 / equity if equity > 0.0 else 0.0
    for i in range(n_symbols):
        qty = account.position_qty[i]
        weight = qty * draft.value_px[i] * per_equity if qty != 0.0 else 0.0
        write_own_inputs(
            own[i], weight, unit[t, i], account.entry_px[i], close_px[t, i], sigma[t, i], drawdown, max_drawdown,
            held[i],
        )  # fmt: skip
    return equity


def _build(fingerprint: str, plain: bool) -> Callable[..., Any]:
    @entry_kernel
    def compiled_turn(  # type: ignore[no-untyped-def]
        t, first, bars, external_weight, state, draft, account, venue, log, track, instruments, costs, assumptions,
        params, sigma, unit, held, own,
    ):  # fmt: skip
        _ = fingerprint  # part of the cache key
        n = account.position_qty.shape[0]
        view = AccountView(
            0.0, account.position_qty, account.in_flight_qty, account.entry_px, account.mark_px, _RUNNING
        )  # fmt: skip
        bar_s = (bars.ts_close[1] - bars.ts_close[0]) / 1e9
        money = account.money[0]
        if not first:
            equity, _gross, _volatility = decide(
                n, state, draft, bars.close_px, external_weight, t, bars.ts_close[t], account.age_s, view,
                money["cash"], instruments, params, False,
            )  # fmt: skip
            _record(n, account, track, t, equity)
            _send_decided(n, account, state, draft, venue, t, False, plain)
            if not plain:
                observe_ranges(n, venue, bars, t)
            t += 1
        fills_before = money["n_fills"]
        if plain:
            fill_pending(n, account, log, venue.pending, state, bars.open_px, t, False, costs)
        else:
            trade_bar(n, account, log, venue, bars, t, False, instruments, costs, assumptions)
        _mark(n, account, bars.close_px, t, bar_s)
        if bars.funding_rate.shape[0] > 0:
            pay_funding(n, account, bars.funding_rate, t)
        for i in range(n):
            held[i] += 1.0
        for k in range(fills_before, money["n_fills"]):
            held[log.symbol[k]] = 0.0
        return _look(n, t, bars.close_px, state, draft, account, params.max_drawdown, sigma, unit, held, own)

    turn: Callable[..., Any] = compiled_turn
    return turn


@cache
def turn_kernel(plain: bool) -> Callable[..., Any]:
    """Return the step for plain costs, or the one with everything of ``engine.core.frictions``."""
    return _build(FINGERPRINT, plain)
