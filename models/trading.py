"""What a wish earns after costs: sized and gated by the core, exactly as the trend sleeve is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine.core.allocate import inverse_volatility_shares
from engine.core.compiling import FINGERPRINT, entry_kernel
from engine.core.costs import Costs
from engine.core.frictions import Assumptions
from engine.core.metrics import max_drawdown, sharpe_ratio
from engine.core.simulate import Scan, SimBars
from engine.core.size import portfolio_volatility
from engine.core.sleeves import advance_returns, bars_needed, trend_signal
from engine.core.state import new_state
from engine.core.step import normal_params
from engine.domain import F8, NS_PER_DAY, InstrumentTable, Params, Sleeve

DAYS_PER_YEAR = 365.0


class Terms(NamedTuple):
    """On what terms wishes are traded: the bars, what fills cost, and the limits of the gate."""

    bars: SimBars
    instruments: InstrumentTable
    costs: Costs
    params: Params  # of the trend sleeve, whose sizing every wish gets
    assumptions: Assumptions | None
    cash: float


class Traded(NamedTuple):
    """What came of it between two bars, after fees, spread, impact and funding."""

    daily: F8  # (D,) simple return of each whole day
    sharpe: float  # of these, annualised with 365 days
    growth: float  # over the whole stretch, fraction
    drawdown: float  # largest fall from a peak, at bar closes
    turnover: float  # traded notional over mean equity, a year
    exposure: float  # mean gross weight
    costs: float  # fees and slippage over mean equity, a year


def _build(fingerprint: str) -> Callable[..., Any]:
    @entry_kernel
    def compiled_weights(close_px, wish, share, state, shares, raw, params, out):  # type: ignore[no-untyped-def]
        _ = fingerprint  # part of the cache key
        n_symbols = close_px.shape[1]
        needed = bars_needed(params)
        for t in range(close_px.shape[0]):
            advance_returns(n_symbols, state, close_px, t, params)
            for i in range(n_symbols):
                trend = trend_signal(state, i, params) if state.n_bars[i] >= needed else np.nan
                given = wish[t, i]
                part = share[t]
                if part >= 1.0:
                    raw[i] = given
                elif part <= 0.0 or given != given:
                    raw[i] = trend
                else:
                    raw[i] = given if trend != trend else part * given + (1.0 - part) * trend
            conviction = inverse_volatility_shares(n_symbols, state, raw, shares)
            volatility = portfolio_volatility(n_symbols, state.covariance, shares, params.bars_per_year)
            scale = params.vol_target * conviction / volatility if volatility > 0.0 else 0.0
            for i in range(n_symbols):
                out[t, i] = shares[i] * scale if raw[i] == raw[i] else np.nan

    weights: Callable[..., Any] = compiled_weights
    return weights


_compiled_weights = _build(FINGERPRINT)


def sized_weights(close_px: F8, wish: F8, params: Params, share: float | F8 = 1.0) -> F8:
    """Return weights (T, N) of equity for wishes (T, N) in [-1, 1], sized as the core sizes the trend sleeve.

    Parameters
    ----------
    close_px : (T, N) float64, quote per base
    wish : (T, N) float64
        NaN: no opinion, and the weight is NaN too, which keeps a position as it is.
    params : Params
        Of the trend sleeve.
    share : float or (T,), in [0, 1]
        Part of the raw weight that is the wish, at each bar; the rest is the trend signal. 0 is the trend rule itself.
        Where only one of the two is known, it counts alone.

    Notes
    -----
    Row t is known at the close of bar t. share_i = raw_i / sigma_i; w = share * vol_target * conviction / vol(share).
    """
    params = normal_params(params._replace(sleeve=int(Sleeve.TREND)))
    n_symbols = close_px.shape[1]
    out = np.empty(close_px.shape)
    wish = np.ascontiguousarray(wish, dtype=np.float64)
    state = new_state(n_symbols, params)
    parts = np.ascontiguousarray(np.broadcast_to(share, len(close_px)), dtype=np.float64)
    _compiled_weights(
        np.ascontiguousarray(close_px), wish, parts, state, np.zeros(n_symbols), np.zeros(n_symbols), params, out
    )  # fmt: skip
    return out


def traded(wish: F8, terms: Terms, first: int, share: float | F8 = 1.0) -> Traded:
    """Trade a wish through the decision core: filled at the next open, with costs, through the gate.

    Parameters
    ----------
    wish : (T, N) float64, in [-1, 1], NaN where there is none
    terms : Terms
    first : int
        Bar from which results count; those before it warm the volatility up.
    share : float or (T,)
        See ``sized_weights``.

    Returns
    -------
    Traded
        Sharpe is NaN when nothing was ever held.
    """
    weights = sized_weights(terms.bars.close_px, wish, terms.params, share)
    weights[: max(first - 1, 0)] = 0.0
    params = terms.params._replace(sleeve=int(Sleeve.EXTERNAL))
    scan = Scan(terms.bars, terms.instruments, terms.costs, params, terms.cash, assumptions=terms.assumptions)
    scan.external_weight[:] = weights
    scan.advance(len(weights))
    result = scan.result()
    equity, ts_close = result.track.equity[first:], terms.bars.ts_close[first:]
    daily = daily_returns(equity, ts_close)
    years = max((ts_close[-1] - ts_close[0]) / NS_PER_DAY / DAYS_PER_YEAR, 1e-9)
    counted = result.fills.bar >= first
    notional = np.abs(result.fills.qty[counted] * result.fills.px[counted]).sum()
    paid = result.fills.fee[counted].sum() + result.fills.slippage[counted].sum()
    mean_equity = float(equity.mean())
    return Traded(
        daily=daily,
        sharpe=sharpe_ratio(daily, DAYS_PER_YEAR),
        growth=float(equity[-1] / equity[0] - 1.0),
        drawdown=max_drawdown(equity) if (equity > 0.0).all() else 1.0,
        turnover=float(notional / mean_equity / years),
        exposure=float(np.abs(result.track.weight[first:]).sum(axis=1).mean()),
        costs=float(paid / mean_equity / years),
    )


def daily_returns(equity: F8, ts_close: np.ndarray) -> F8:
    """Return simple returns between the last closes of consecutive UTC days, (D - 1,)."""
    day = (ts_close - 1) // NS_PER_DAY  # a bar that closes at midnight belongs to the day before
    last = np.append(day[1:] != day[:-1], True)
    ends = equity[last]
    return ends[1:] / ends[:-1] - 1.0
