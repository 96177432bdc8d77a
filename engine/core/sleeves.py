"""The sleeves' kernels: from closes to raw weights. Each advances its own part of a private state by one bar."""

from __future__ import annotations

import math

import numpy as np

from engine.core.compiling import kernel, kernel_part
from engine.core.state import State
from engine.core.tail_days import advance_period
from engine.domain import F8, Params, Sleeve

_TREND = int(Sleeve.TREND)
_EMA_CROSS = int(Sleeve.EMA_CROSS)
_EXTERNAL = int(Sleeve.EXTERNAL)


@kernel
def ema_alpha(span_bars: float) -> float:
    """Return the weight of the newest value in an EMA of that span: 2 / (n + 1)."""
    return 2.0 / (span_bars + 1.0)


@kernel
def ema_after(before: float, value: float, alpha: float) -> float:
    """Return the EMA after one more value: before + alpha * (value - before)."""
    return before + alpha * (value - before)


@kernel_part
def bars_needed(params: Params) -> int:
    """Return after how many bars the sleeve's weights are valid.

    Trend: half of the longest horizon, or the volatility horizon if that is longer. An EMA of span n has then forgotten
    63 % of its start, and a trail that starts at 0 is too small rather than too large until the rest is forgotten.
    """
    if params.sleeve == _EMA_CROSS:
        return params.ema_slow
    if params.sleeve == _TREND:
        longest = params.vol_horizon_bars
        for h in range(params.trend_horizon_bars.shape[0]):
            longest = max(longest, 0.5 * params.trend_horizon_bars[h])
        return math.ceil(longest)
    return 1


@kernel_part
def advance_ema_cross(n_symbols: int, state: State, close_px: F8, t: int, params: Params) -> None:
    """Advance both EMAs by bar ``t`` and note a crossing, in place.

    EMA_t = EMA_{t-1} + 2/(n+1) * (close_t - EMA_{t-1}), seeded with the first close. A signal is the bar on which the
    fast EMA goes from not above to above the slow one, or from not below to below; never before bar slow-1 (0-based).

    Parameters
    ----------
    n_symbols : int
        N; passed everywhere, so that a scan of one symbol compiles without loops.
    state : State
        Private: changed in place.
    close_px : (T, N) float64, quote per base
        Row ``t`` is used. NaN carries a symbol's EMAs.
    t : int
    params : Params

    Notes
    -----
    Known at: the close of bar ``t``. Warm-up: ``ema_slow`` bars.
    """
    alpha_fast = ema_alpha(params.ema_fast)
    alpha_slow = ema_alpha(params.ema_slow)
    for i in range(n_symbols):
        px = close_px[t, i]
        state.crossed[i] = 0
        if not px > 0.0:
            continue
        seen = state.n_bars[i]
        state.n_bars[i] = seen + 1
        state.last_px[i] = px
        if seen == 0:
            state.trail[i, 0] = px
            state.trail[i, 1] = px
            continue
        fast_before = state.trail[i, 0]
        slow_before = state.trail[i, 1]
        fast = ema_after(fast_before, px, alpha_fast)
        slow = ema_after(slow_before, px, alpha_slow)
        state.trail[i, 0] = fast
        state.trail[i, 1] = slow
        if seen >= params.ema_slow - 1:
            if fast > slow and fast_before <= slow_before:
                state.signal[i] = 1.0
                state.crossed[i] = 1
            elif fast < slow and fast_before >= slow_before:
                state.signal[i] = -1.0 if params.allow_short else 0.0
                state.crossed[i] = 1


@kernel_part
def _advance_covariance(n_symbols: int, state: State, alpha: float) -> None:
    """Do what the end of ``advance_returns`` does where every symbol has a return and has seen enough of them.

    Both halves are worked out, to the same bits: whole rows, several numbers in one instruction, take less time than
    half of them one by one.
    """
    log_return = state.log_return
    for i in range(n_symbols):
        row, r_i = state.covariance[i], log_return[i]
        for j in range(n_symbols):
            row[j] += alpha * (r_i * log_return[j] - row[j])


@kernel_part
def advance_returns(n_symbols: int, state: State, close_px: F8, t: int, params: Params) -> None:
    """Advance prices, trend trails and the EWMA covariance by bar ``t``, in place.

    The trail of horizon h is log price minus its EMA, which needs only returns: d_t = (1 - a_h) * (d_{t-1} + r_t).
    Covariance starts as the plain mean of products and becomes an EWMA once ``vol_horizon_bars`` are seen. Returns have
    mean zero by assumption. A symbol with NaN keeps all of its state.
    """
    n_horizons = params.trend_horizon_bars.shape[0] if params.sleeve == _TREND else 0
    alpha_full, even = ema_alpha(params.vol_horizon_bars), True
    for i in range(n_symbols):
        px = close_px[t, i]
        state.log_return[i] = np.nan
        if not px > 0.0:
            even = False
            continue
        if state.n_bars[i] > 0:
            log_return = math.log(px / state.last_px[i])
            state.log_return[i] = log_return
            for h in range(n_horizons):
                keep = 1.0 - ema_alpha(params.trend_horizon_bars[h])
                state.trail[i, h] = keep * (state.trail[i, h] + log_return)
        state.n_bars[i] += 1
        state.last_px[i] = px
        even = even and state.log_return[i] == state.log_return[i] and 1.0 / (state.n_bars[i] - 1) <= alpha_full
    if even:
        _advance_covariance(n_symbols, state, alpha_full)
        return
    for i in range(n_symbols):
        r_i = state.log_return[i]
        if r_i != r_i:
            continue
        for j in range(i + 1):
            r_j = state.log_return[j]
            if r_j != r_j:
                continue
            n_returns = min(state.n_bars[i], state.n_bars[j]) - 1
            alpha = max(alpha_full, 1.0 / n_returns)
            state.covariance[i, j] += alpha * (r_i * r_j - state.covariance[i, j])
            state.covariance[j, i] = state.covariance[i, j]


@kernel_part
def trend_signal(state: State, i: int, params: Params) -> float:
    """Return the trend forecast of symbol ``i``, in (-1, 1); 0 when its variance is 0.

    Under a random walk with standard deviation s per bar, a trail has the standard deviation
    s * sqrt(k^2 / (1 - k^2)) with k = 1 - a_h. Each trail is divided by that, the horizons are averaged with equal
    weight, and tanh bounds the result, so no horizon is fitted and no move counts for more than all of it.

    Notes
    -----
    Known at: the close of the newest bar. Source: Moskowitz, Ooi & Pedersen (2012) for time-series momentum; Baz et
    al. (2015) for volatility-normalised EMA differences.
    """
    variance = state.covariance[i, i]
    if not variance > 0.0:
        return 0.0
    total = 0.0
    n_horizons = params.trend_horizon_bars.shape[0]
    for h in range(n_horizons):
        keep = 1.0 - ema_alpha(params.trend_horizon_bars[h])
        gain = keep * keep / (1.0 - keep * keep)
        if gain > 0.0:
            total += state.trail[i, h] / math.sqrt(variance * gain)
    forecast = math.tanh(total / n_horizons)
    if forecast < 0.0 and not params.allow_short:
        return 0.0
    return forecast


@kernel_part
def _advance_closes(n_symbols: int, state: State, close_px: F8, t: int) -> None:
    for i in range(n_symbols):
        if close_px[t, i] > 0.0:
            state.n_bars[i] += 1
            state.last_px[i] = close_px[t, i]


@kernel_part
def limits_book(params: Params) -> bool:
    """Return whether any rule on the whole book is on that may look at how symbols move, alone or together."""
    limits = params.risk[0]
    unlimited = limits["horizon_bars"] == 0 and limits["gap"] == 0.0 and limits["max_net_weight"] == np.inf
    return not (unlimited and limits["max_cluster_weight"] == np.inf and limits["max_stress_loss"] == np.inf)


@kernel_part
def advance_sleeve(
    n_symbols: int, state: State, close_px: F8, t: int, params: Params, keep_record: bool
) -> None:  # fmt: skip
    """Advance the configured sleeve, and what the gate remembers of its symbols, by bar ``t``, in place.

    Given weights need no covariance where the gate does not, except for the volatility in a decision's record.
    """
    if params.sleeve == _EMA_CROSS:
        advance_ema_cross(n_symbols, state, close_px, t, params)
    elif params.sleeve == _EXTERNAL and not keep_record and not (params.gate and limits_book(params)):
        _advance_closes(n_symbols, state, close_px, t)
    else:
        advance_returns(n_symbols, state, close_px, t, params)
        if params.risk[0]["horizon_bars"] > 0:
            advance_period(state, params)


@kernel_part
def raw_weight_of(state: State, external_weight: F8, t: int, i: int, needed: int, params: Params) -> float:
    """Return the wish for symbol ``i`` after bar ``t``; NaN means that the sleeve has no opinion yet.

    Trend and ema-cross wish in [-1, 1] of full conviction; EXTERNAL copies row ``t`` of ``external_weight`` (T, N).
    Trend with a ``model_share`` wishes (1 - share) * trend + share * external, where the latter is known, else trend.
    """
    if params.sleeve == _EXTERNAL:
        wish = external_weight[t, i]
        return 0.0 if wish < 0.0 and not params.allow_short else wish
    if state.n_bars[i] < needed:
        return np.nan
    if params.sleeve == _EMA_CROSS:
        return state.signal[i]
    own = trend_signal(state, i, params)
    if not params.model_share > 0.0:
        return own
    given = external_weight[t, i]
    if given != given:
        return own
    if given < 0.0 and not params.allow_short:
        given = 0.0
    return own + params.model_share * (given - own)
