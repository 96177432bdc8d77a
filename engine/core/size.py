"""Portfolio size: raw weights, their shares of the account and the volatility target."""

from __future__ import annotations

import math

import numpy as np

from engine.core.allocate import inverse_volatility_shares
from engine.core.compiling import kernel_part
from engine.core.drafts import Draft
from engine.core.sleeves import raw_weight_of
from engine.core.state import State
from engine.domain import F8, Params, Sleeve

_TREND = int(Sleeve.TREND)
_EMA_CROSS = int(Sleeve.EMA_CROSS)


@kernel_part
def portfolio_volatility(n_symbols: int, covariance: F8, weight: F8, bars_per_year: float) -> float:
    """Return sqrt(w' C w * bars_per_year): annualised volatility, fraction. NaN weights count as 0."""
    total = 0.0
    for i in range(n_symbols):
        if weight[i] != weight[i] or weight[i] == 0.0:
            continue
        for j in range(n_symbols):
            if weight[j] == weight[j]:
                total += weight[i] * weight[j] * covariance[i, j]
    return math.sqrt(max(total, 0.0) * bars_per_year)


@kernel_part
def write_sized_weights(
    n_symbols: int, state: State, draft: Draft, external_weight: F8, t: int, needed: int, params: Params,
    keep_record: bool,
) -> float:  # fmt: skip
    """Write ``raw_weight`` and ``sized_weight`` into ``draft`` and return the annualised volatility of the latter.

    trend: w = shares * (vol_target * conviction) / vol(shares); full conviction in every symbol aims at the whole
    volatility target, half conviction at half of it. ema-cross: 1/N each. external: as given. A symbol on which the
    sleeve has no opinion keeps its present weight, because unknown is not zero.

    Parameters
    ----------
    n_symbols : int
    state : State
        After bar ``t``.
    draft : Draft
        ``present_weight`` is read.
    external_weight : (T, N) float64
    t : int
    needed : int
        Bars before the sleeve has an opinion.
    params : Params
    keep_record : bool

    Returns
    -------
    float
        Fraction a year; NaN for ema-cross, whose state holds no covariance, and without ``keep_record``.
    """
    share = 1.0 / n_symbols if params.sleeve == _EMA_CROSS else 1.0
    for i in range(n_symbols):
        raw = raw_weight_of(state, external_weight, t, i, needed, params)
        draft.raw_weight[i] = raw
        draft.sized_weight[i] = raw * share if raw == raw else draft.present_weight[i]
    if params.sleeve == _EMA_CROSS:
        return np.nan
    if params.sleeve == _TREND:
        conviction = inverse_volatility_shares(n_symbols, state, draft.raw_weight, draft.shares)
        volatility = portfolio_volatility(n_symbols, state.covariance, draft.shares, params.bars_per_year)
        scale = params.vol_target * conviction / volatility if volatility > 0.0 else 0.0
        for i in range(n_symbols):
            if draft.raw_weight[i] == draft.raw_weight[i]:
                draft.sized_weight[i] = draft.shares[i] * scale
    if not keep_record:
        return np.nan
    return portfolio_volatility(n_symbols, state.covariance, draft.sized_weight, params.bars_per_year)
