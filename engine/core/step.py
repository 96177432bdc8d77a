"""The decision function: one closed bar in, new state and decision out. Pure and compiled.

Backtest scans the same kernels over arrays (``simulate``); paper and live call ``step`` once per bar close. Nothing
else decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.core.compiling import FINGERPRINT, cached_copying_kernel
from engine.core.decide import decide
from engine.core.drafts import new_draft
from engine.core.sleeves import advance_sleeve
from engine.core.state import (
    Remembered,
    State,
    adopt_book,
    copy_state,
    new_state,
    rearm,
    remembered,
    restore_book,
)
from engine.core.stress import check_shocks
from engine.core.turnover import hour_notional
from engine.domain import (
    F8,
    AccountView,
    Decision,
    InstrumentTable,
    MarketSlice,
    Params,
    Sleeve,
    TradingState,
)
from engine.limits import RISK_LIMITS
from engine.underlyings import check_underlying

__all__ = [
    "Remembered", "State", "adopt_book", "compile_kernels", "new_state", "normal_params", "rearm", "remembered",
    "restore_book", "step", "warm_up",
]  # fmt: skip


def _build_step(fingerprint: str) -> Callable[..., Any]:
    @cached_copying_kernel
    def compiled_step(  # type: ignore[no-untyped-def]
        state, draft, close_px, hour_notional, external_weight, ts_close, age_s, account, instruments, params
    ):  # fmt: skip
        _ = fingerprint  # part of the cache key
        fresh = copy_state(state)
        equity, gross, volatility = decide(
            fresh.last_px.shape[0],
            fresh,
            draft,
            close_px,
            hour_notional,
            external_weight,
            0,
            ts_close,
            age_s,
            account,
            account.cash,
            instruments,
            params,
            True,
        )
        return fresh, equity, gross, volatility

    return compiled_step


def _build_warm_up(fingerprint: str) -> Callable[..., Any]:
    @cached_copying_kernel
    def compiled_warm_up(state, close_px, params):  # type: ignore[no-untyped-def]
        _ = fingerprint  # part of the cache key
        fresh = copy_state(state)
        for t in range(close_px.shape[0]):
            advance_sleeve(fresh.last_px.shape[0], fresh, close_px, t, params, True)
        return fresh

    return compiled_warm_up


_compiled_step = _build_step(FINGERPRINT)
_compiled_warm_up = _build_warm_up(FINGERPRINT)


def _f8(values: F8) -> F8:
    return np.ascontiguousarray(values, dtype=np.float64)


def _row_of(hour_notional: F8, n_symbols: int) -> F8:
    row = _f8(hour_notional)
    if row.shape not in ((0,), (n_symbols,)):
        raise ValueError(f"market.hour_notional has shape {row.shape}, expected ({n_symbols},), or nothing")
    return row.reshape(-1, n_symbols)


def normal_params(params: Params) -> Params:
    """Return ``params`` with exactly the types that the kernels are compiled for."""
    integers = ("sleeve", "ema_fast", "ema_slow")
    switches = ("allow_short", "gate")
    fields: dict[str, Any] = {}
    for name, value in params._asdict().items():
        if name in ("trend_horizon_bars", "tail_table", "shocks"):
            fields[name] = _f8(value)
        elif name == "risk":
            fields[name] = np.ascontiguousarray(value, dtype=RISK_LIMITS)
        elif name == "underlying":
            fields[name] = np.ascontiguousarray(value, dtype=np.int64)
        elif name in integers:
            fields[name] = int(value)
        else:
            fields[name] = bool(value) if name in switches else float(value)
    return Params(**fields)


def warm_up(state: State, close_px: F8, params: Params) -> State:
    """Return the state after the sleeve has seen a history of closes; the account plays no part.

    Parameters
    ----------
    state : State
        Not changed.
    close_px : (T, N) float64, quote per base, oldest first
        NaN where a symbol has no bar: its state is carried.
    params : Params

    Returns
    -------
    State
    """
    closes = _f8(close_px)
    if closes.ndim != 2 or closes.shape[1] != len(state.last_px):
        raise ValueError(f"close_px has shape {closes.shape}, expected (T, {len(state.last_px)})")
    fresh: State = _compiled_warm_up(state, closes, normal_params(params))
    return fresh


def step(
    state: State,
    market: MarketSlice,
    account: AccountView,
    instruments: InstrumentTable,
    external_weight: F8,
    params: Params,
) -> tuple[State, Decision]:
    """Decide on one closed bar.

    Order: mark the account; peak and UTC day; sleeve; portfolio size; risk gate in the order of ``Rule``; lots, venue
    minimums and rebalance band.

    Parameters
    ----------
    state : State
        Not changed.
    market : MarketSlice
        The bar that has just closed; (N,) arrays. A NaN close carries that symbol's sleeve and stops its growth.
    account : AccountView
        Money and positions as known at ``market.ts_close``. Marks value positions and convert weights to quantities;
        a NaN mark falls back to the newest close, then to the entry price.
    instruments : InstrumentTable
        The venue's filters. Zeros switch a filter off.
    external_weight : (N,) float64, weight
        EXTERNAL: the weight, where NaN keeps the present one. Trend with a ``model_share``: the models' conviction in
        [-1, 1], where NaN leaves the rule alone.
    params : Params

    Returns
    -------
    State
        A new value that shares no memory with the old one.
    Decision
        ``raw_weight`` is NaN where the sleeve has no opinion yet. When equity is unknown, nothing is acted on.

    Notes
    -----
    Known at: ``market.ts_close``. Deterministic to the bit for equal inputs.
    """
    n_symbols = len(state.last_px)
    draft = new_draft(n_symbols)
    fields = {name: _f8(getattr(account, name)) for name in ("position_qty", "in_flight_qty", "entry_px", "mark_px")}
    exact_account = AccountView(cash=float(account.cash), trading_state=int(account.trading_state), **fields)
    close_px = _f8(market.close_px).reshape(1, -1)
    if close_px.shape[1] != n_symbols:
        raise ValueError(f"market has {close_px.shape[1]} symbols, state has {n_symbols}")
    check_underlying(params.underlying, n_symbols)
    check_shocks(params.shocks, n_symbols)
    fresh, equity, gross, volatility = _compiled_step(
        state,
        draft,
        close_px,
        _row_of(market.hour_notional, n_symbols),
        _f8(external_weight).reshape(1, -1),
        int(market.ts_close),
        _f8(market.age_s),
        exact_account,
        InstrumentTable(*(_f8(column) for column in instruments)),
        normal_params(params),
    )
    book = fresh.book[0]
    peak = float(book["peak_equity"])
    decision = Decision(
        ts_close=int(market.ts_close),
        raw_weight=draft.raw_weight,
        sized_weight=draft.sized_weight,
        approved_weight=draft.approved_weight,
        target_qty=draft.target_qty,
        act=draft.act,
        verdict=draft.verdict,
        measured=draft.measured,
        limit=draft.limit,
        equity=equity,
        peak_equity=peak,
        drawdown=1.0 - equity / peak if peak > 0 else 0.0,
        day_pnl=equity - float(book["day_open_equity"]),
        gross_weight=gross,
        portfolio_vol=volatility,
    )
    return fresh, decision


def compile_kernels() -> None:
    """Compile, or load from disk, everything that live and paper call. Takes seconds the first time: use a thread."""
    params = Params(
        sleeve=int(Sleeve.TREND), bars_per_year=8760.0, trend_horizon_bars=np.array([2.0, 4.0]), vol_horizon_bars=4.0,
        vol_target=0.2, ema_fast=2, ema_slow=3, allow_short=True, gate=True, max_symbol_weight=0.5,
        max_gross_weight=2.0, max_leverage=3.0, max_daily_loss=0.05, max_drawdown=0.15, max_age_s=15.0,
        rebalance_band=0.02,
    )  # fmt: skip
    zero, one = np.zeros(1), np.ones(1)
    state = warm_up(new_state(1, params), np.array([[1.0], [1.1]]), params)
    market = MarketSlice(1, one, one, one, one, one, zero)
    account = AccountView(1000.0, zero, zero, zero, one, int(TradingState.RUNNING))
    step(state, market, account, InstrumentTable(zero, zero, zero, one, zero), np.array([np.nan]), params)
    hour_notional(np.full(1, np.nan), np.ones((1, 1)), np.ones((1, 1)), params.bars_per_year)
