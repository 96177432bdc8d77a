"""The compiled kernel of the inputs: one bar of all symbols in, 50 bounded numbers a symbol out.

Everything is recursive: what a symbol's past means is in its state, so a live bar costs what a bar of a batch costs.
Every logarithm has a floor and every ratio a bound, so no bar can give an infinite input. All of the kernel is in this
file, because numba refreshes a cached function only when its own file changes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.core.compiling import entry_kernel, kernel_part
from engine.domain import F8, I8

RING = 169  # bars whose logs are kept: a return over 168 bars needs both ends
MARKET_RING = 24
RETURN_BARS = (1, 4, 8, 24, 72, 168)
TRAIL_BARS = (8, 24, 72, 168)
SPLIT_GAP = math.log(3.0)  # a price that opens three times away from its last close was redenominated
SIGMA_SPAN = 72.0
SIGMA_BARS = 25  # bars until sigma is given: 24 returns
TINY = 1e-14  # added to variances in ratios: a millionth of a percent a bar
LN2 = math.log(2.0)
NS_PER_HOUR = 3_600_000_000_000

# Columns of FeatureState.memory.
LAST, SHIFT, RETURN, KNOWN = 0, 1, 2, 3
VAR_12, VAR_72, VAR_168, VAR_DOWN, PARKINSON, GARMAN, ROGERS, LOG_VOL, VOL_OF_VOL = 4, 5, 6, 7, 8, 9, 10, 11, 12
TRAIL, GAIN, LOSS = 13, 17, 18  # four trails
QUOTE_24, QUOTE_168, QUOTE_SIGNED, QUOTE_RETURN, AMIHUD_24, AMIHUD_168, QUOTE_BARS = 19, 20, 21, 22, 23, 24, 25
FUND_24, FUND_168, FUND_VAR, FUND_BARS = 26, 27, 28, 29
COVARIANCE, MARKET_VAR, RESIDUAL, PAIRED = 30, 31, 32, 33
RANK_BY = 34  # four values of the newest bar, which are ranked over the symbols
N_MEMORY = 38

# First output column of each group.
RETURNS, VOLATILITY, TREND, VOLUME, FUNDING, BASIS, IMBALANCE, CROSS, MARKET, CLOCK = (
    0,
    6,
    15,
    26,
    31,
    35,
    37,
    39,
    43,
    46,
)
N_FEATURES = 50


class Rows(NamedTuple):
    """A panel without its symbols: T bars of N symbols, contiguous."""

    ts_close: I8  # (T,) ns
    open_px: F8  # (T, N); so are all below
    high_px: F8
    low_px: F8
    close_px: F8
    volume: F8
    funding: F8
    basis: F8
    imbalance: F8


class FeatureState(NamedTuple):
    """All that the kernel remembers of N symbols."""

    n_bars: I8  # (N,) known bars seen
    memory: F8  # (N, N_MEMORY) averages and the newest values; columns above
    ring: F8  # (3, N, RING) log high, low, close of the newest known bars, in one denomination
    market: F8  # (2 + MARKET_RING,) bars seen, variance, newest returns of the equal-weight market


@kernel_part
def _clip(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)


@kernel_part
def _ewma(before: float, value: float, span: float, n_values: float) -> float:
    # a plain mean until the span is seen, so that the start does not count for more than it is
    return before + max(2.0 / (span + 1.0), 1.0 / n_values) * (value - before)


@kernel_part
def _log_ratio(variance: float, other: float) -> float:
    return _clip(0.5 * math.log((variance + TINY) / (other + TINY)), 3.0)


@kernel_part
def _take_prices(state: FeatureState, rows: Rows, t: int, i: int) -> None:
    memory = state.memory
    open_px, high_px, low_px, close_px = rows.open_px[t, i], rows.high_px[t, i], rows.low_px[t, i], rows.close_px[t, i]
    memory[i, RETURN] = np.nan
    memory[i, KNOWN] = 0.0
    # each price by itself, because min and max do not see a NaN
    if not (0.0 < low_px <= open_px <= high_px < np.inf and low_px <= close_px <= high_px):
        return
    memory[i, KNOWN] = 1.0
    n_before = state.n_bars[i]
    if n_before > 0:
        gap = math.log(open_px) + memory[i, SHIFT] - memory[i, LAST]
        if abs(gap) > SPLIT_GAP:
            memory[i, SHIFT] -= gap
        memory[i, RETURN] = math.log(close_px) + memory[i, SHIFT] - memory[i, LAST]
    at = n_before % RING
    state.ring[0, i, at] = math.log(high_px) + memory[i, SHIFT]
    state.ring[1, i, at] = math.log(low_px) + memory[i, SHIFT]
    state.ring[2, i, at] = math.log(close_px) + memory[i, SHIFT]
    memory[i, LAST] = state.ring[2, i, at]
    state.n_bars[i] = n_before + 1


@kernel_part
def _advance_market(state: FeatureState, n_symbols: int) -> float:
    total = 0.0
    n_known = 0
    for i in range(n_symbols):
        log_return = state.memory[i, RETURN]
        if log_return == log_return:
            total += log_return
            n_known += 1
    if n_known == 0:
        return np.nan
    mean = total / n_known
    market = state.market
    market[2 + int(market[0]) % MARKET_RING] = mean
    market[0] += 1.0
    market[1] = _ewma(market[1], mean * mean, SIGMA_SPAN, market[0])
    return mean


@kernel_part
def _advance_volatility(state: FeatureState, rows: Rows, t: int, i: int, out: np.ndarray) -> float:
    memory = state.memory
    n_bars = state.n_bars[i]
    log_open, log_high = math.log(rows.open_px[t, i]), math.log(rows.high_px[t, i])
    log_low, log_close = math.log(rows.low_px[t, i]), math.log(rows.close_px[t, i])
    reach, body = log_high - log_low, log_close - log_open
    garman = 0.5 * reach * reach - (2.0 * LN2 - 1.0) * body * body
    rogers = (log_high - log_close) * (log_high - log_open) + (log_low - log_close) * (log_low - log_open)
    memory[i, PARKINSON] = _ewma(memory[i, PARKINSON], reach * reach / (4.0 * LN2), 24.0, n_bars)
    memory[i, GARMAN] = _ewma(memory[i, GARMAN], garman, 24.0, n_bars)
    memory[i, ROGERS] = _ewma(memory[i, ROGERS], rogers, 24.0, n_bars)
    log_return = memory[i, RETURN]
    if log_return == log_return:
        square = log_return * log_return
        memory[i, VAR_12] = _ewma(memory[i, VAR_12], square, 12.0, n_bars - 1)
        memory[i, VAR_72] = _ewma(memory[i, VAR_72], square, SIGMA_SPAN, n_bars - 1)
        memory[i, VAR_168] = _ewma(memory[i, VAR_168], square, 168.0, n_bars - 1)
        memory[i, VAR_DOWN] = _ewma(memory[i, VAR_DOWN], square if log_return < 0.0 else 0.0, SIGMA_SPAN, n_bars - 1)
        log_vol = 0.5 * math.log(memory[i, VAR_12] + TINY)
        change = log_vol - memory[i, LOG_VOL] if n_bars > 2 else 0.0
        memory[i, LOG_VOL] = log_vol
        memory[i, VOL_OF_VOL] = _ewma(memory[i, VOL_OF_VOL], change * change, SIGMA_SPAN, n_bars - 1)
    variance = memory[i, VAR_72]
    sigma = math.sqrt(variance + TINY)
    out[t, i, VOLATILITY] = _clip(math.log(sigma / 0.01), 5.0)
    out[t, i, VOLATILITY + 1] = _log_ratio(memory[i, VAR_12], variance)
    out[t, i, VOLATILITY + 2] = _log_ratio(variance, memory[i, VAR_168])
    out[t, i, VOLATILITY + 3] = _log_ratio(memory[i, PARKINSON], variance)
    out[t, i, VOLATILITY + 4] = _log_ratio(memory[i, GARMAN], variance)
    out[t, i, VOLATILITY + 5] = _log_ratio(memory[i, ROGERS], variance)
    out[t, i, VOLATILITY + 6] = _clip(10.0 * math.sqrt(memory[i, VOL_OF_VOL]), 5.0)
    out[t, i, VOLATILITY + 7] = _clip(reach / (math.sqrt(8.0 / math.pi) * sigma), 8.0)
    out[t, i, VOLATILITY + 8] = memory[i, VAR_DOWN] / (variance + TINY) - 0.5
    return sigma


@kernel_part
def _return_over(state: FeatureState, i: int, horizon: int) -> float:
    newest = state.n_bars[i] - 1
    if newest < horizon:
        return np.nan
    return state.ring[2, i, newest % RING] - state.ring[2, i, (newest - horizon) % RING]


@kernel_part
def _advance_trail(memory: F8, i: int, column: int, span: int, log_return: float, sigma: float) -> float:
    # log price minus its EMA, in standard deviations under a random walk, as in the trend sleeve
    keep = 1.0 - 2.0 / (span + 1.0)
    if log_return == log_return:
        memory[i, column] = keep * (memory[i, column] + log_return)
    return math.tanh(0.5 * memory[i, column] / (sigma * math.sqrt(keep * keep / (1.0 - keep * keep))))


@kernel_part
def _advance_trend(state: FeatureState, t: int, i: int, sigma: float, out: np.ndarray) -> None:
    memory = state.memory
    log_return = memory[i, RETURN]
    for k in range(len(RETURN_BARS)):
        horizon = RETURN_BARS[k]
        out[t, i, RETURNS + k] = _clip(_return_over(state, i, horizon) / (math.sqrt(horizon) * sigma), 8.0)
    for k in range(len(TRAIL_BARS)):
        out[t, i, TREND + k] = _advance_trail(memory, i, TRAIL + k, TRAIL_BARS[k], log_return, sigma)
    if log_return == log_return:
        n_returns = state.n_bars[i] - 1
        memory[i, GAIN] = _ewma(memory[i, GAIN], max(log_return, 0.0), 27.0, n_returns)
        memory[i, LOSS] = _ewma(memory[i, LOSS], max(-log_return, 0.0), 27.0, n_returns)
    moved = memory[i, GAIN] + memory[i, LOSS]
    out[t, i, TREND + 9] = (memory[i, GAIN] - memory[i, LOSS]) / moved if moved > 0.0 else 0.0


@kernel_part
def _put_channels(state: FeatureState, t: int, i: int, sigma: float, out: np.ndarray) -> None:
    ring = state.ring
    newest = state.n_bars[i] - 1
    at = newest % RING
    close = ring[2, i, at]
    high = ring[0, i, at]
    low = ring[1, i, at]
    width = high - low
    out[t, i, TREND + 10] = (2.0 * close - high - low) / width if width > 0.0 else 0.0
    path = 0.0
    n_window = min(newest + 1, 168)
    for back in range(n_window):
        j = at - back if back <= at else at - back + RING
        high = max(high, ring[0, i, j])
        low = min(low, ring[1, i, j])
        if back < 24 and back < newest:
            path += abs(ring[2, i, j] - ring[2, i, j - 1 if j > 0 else RING - 1])
        if back == min(23, n_window - 1):
            width = high - low
            out[t, i, TREND + 4] = 2.0 * (close - low) / width - 1.0 if width > 0.0 else 0.0
    width = high - low
    out[t, i, TREND + 5] = 2.0 * (close - low) / width - 1.0 if width > 0.0 else 0.0
    out[t, i, TREND + 6] = _clip((close - high) / (math.sqrt(168.0) * sigma), 8.0)
    out[t, i, TREND + 7] = _clip((close - low) / (math.sqrt(168.0) * sigma), 8.0)
    out[t, i, TREND + 8] = _return_over(state, i, 24) / path if path > 0.0 else 0.0


@kernel_part
def _advance_volume(state: FeatureState, rows: Rows, t: int, i: int, sigma: float, out: np.ndarray) -> float:
    memory = state.memory
    quote = rows.volume[t, i] * rows.close_px[t, i]  # money, which a redenomination does not change
    if not 0.0 <= quote < np.inf:
        for column in range(VOLUME, FUNDING):
            out[t, i, column] = np.nan
        return np.nan
    log_return = memory[i, RETURN] if memory[i, RETURN] == memory[i, RETURN] else 0.0
    memory[i, QUOTE_BARS] += 1.0
    n_values = memory[i, QUOTE_BARS]
    sign = 1.0 if log_return > 0.0 else (-1.0 if log_return < 0.0 else 0.0)
    memory[i, QUOTE_24] = _ewma(memory[i, QUOTE_24], quote, 24.0, n_values)
    memory[i, QUOTE_168] = _ewma(memory[i, QUOTE_168], quote, 168.0, n_values)
    memory[i, QUOTE_SIGNED] = _ewma(memory[i, QUOTE_SIGNED], sign * quote, 24.0, n_values)
    memory[i, QUOTE_RETURN] = _ewma(memory[i, QUOTE_RETURN], log_return * quote, 24.0, n_values)
    usual = memory[i, QUOTE_24]
    if quote > 0.0:
        illiquidity = abs(log_return) / max(quote, 1e-3 * usual)
        memory[i, AMIHUD_24] = _ewma(memory[i, AMIHUD_24], illiquidity, 24.0, n_values)
        memory[i, AMIHUD_168] = _ewma(memory[i, AMIHUD_168], illiquidity, 168.0, n_values)
    for column in range(VOLUME, FUNDING):
        out[t, i, column] = 0.0
    if memory[i, AMIHUD_24] > 0.0 and memory[i, AMIHUD_168] > 0.0:
        out[t, i, VOLUME + 4] = _clip(math.log(memory[i, AMIHUD_24] / memory[i, AMIHUD_168]), 3.0)
    if not usual > 0.0:
        return 0.0
    trend = _clip(math.log(usual / memory[i, QUOTE_168]), 3.0)
    out[t, i, VOLUME] = _clip(math.log(max(quote / usual, 1e-3)), 5.0)
    out[t, i, VOLUME + 1] = trend
    out[t, i, VOLUME + 2] = _clip(math.sqrt(24.0) * memory[i, QUOTE_RETURN] / (usual * sigma), 8.0)
    out[t, i, VOLUME + 3] = memory[i, QUOTE_SIGNED] / usual
    return trend


@kernel_part
def _advance_perpetual(state: FeatureState, rows: Rows, t: int, i: int, out: np.ndarray) -> None:
    memory = state.memory
    for column in range(FUNDING, CROSS):
        out[t, i, column] = 0.0
    rate = rows.funding[t, i]
    if abs(rate) < np.inf:
        memory[i, FUND_BARS] += 1.0
        n_values = memory[i, FUND_BARS]
        memory[i, FUND_24] = _ewma(memory[i, FUND_24], rate, 24.0, n_values)
        off = rate - memory[i, FUND_168]
        memory[i, FUND_168] = _ewma(memory[i, FUND_168], rate, 168.0, n_values)
        if n_values > 1.0:
            memory[i, FUND_VAR] = _ewma(memory[i, FUND_VAR], off * off, 168.0, n_values - 1.0)
        out[t, i, FUNDING] = _clip(math.asinh(rate / 1e-4), 6.0)
        out[t, i, FUNDING + 1] = _clip(math.asinh((rate - memory[i, FUND_24]) / 1e-4), 6.0)
        if n_values >= 24.0:
            spread = math.sqrt(memory[i, FUND_VAR] + 1e-10)
            out[t, i, FUNDING + 2] = _clip((rate - memory[i, FUND_168]) / spread, 5.0)
        out[t, i, FUNDING + 3] = 1.0
    basis = rows.basis[t, i]
    if abs(basis) < np.inf:
        out[t, i, BASIS] = _clip(math.asinh(basis / 1e-3), 5.0)
        out[t, i, BASIS + 1] = 1.0
    imbalance = rows.imbalance[t, i]
    if abs(imbalance) < np.inf:
        out[t, i, IMBALANCE] = _clip(imbalance, 1.0)
        out[t, i, IMBALANCE + 1] = 1.0


@kernel_part
def _advance_beta(state: FeatureState, t: int, i: int, market: float, sigma: float, out: np.ndarray) -> None:
    memory = state.memory
    log_return = memory[i, RETURN]
    if log_return == log_return and market == market:
        memory[i, PAIRED] += 1.0
        memory[i, COVARIANCE] = _ewma(memory[i, COVARIANCE], log_return * market, 168.0, memory[i, PAIRED])
        memory[i, MARKET_VAR] = _ewma(memory[i, MARKET_VAR], market * market, 168.0, memory[i, PAIRED])
    beta = 1.0
    if memory[i, MARKET_VAR] > 0.0:
        beta = min(max(memory[i, COVARIANCE] / memory[i, MARKET_VAR], -1.0), 4.0)
    total = 0.0
    for j in range(MARKET_RING):
        total += state.market[2 + j]
    out[t, i, MARKET] = _clip(total / math.sqrt(24.0 * (state.market[1] + TINY)), 8.0)
    out[t, i, MARKET + 1] = beta
    out[t, i, MARKET + 2] = _advance_trail(memory, i, RESIDUAL, 24, log_return - beta * market, sigma)


@kernel_part
def _put_ranks(state: FeatureState, t: int, n_symbols: int, out: np.ndarray) -> None:
    # from -1 (lowest) to 1 (highest) among the symbols that have the value at this bar; equals share their places
    for k in range(4):
        for i in range(n_symbols):
            value = state.memory[i, RANK_BY + k]
            out[t, i, CROSS + k] = np.nan
            if not (state.memory[i, KNOWN] > 0.0 and value == value):
                continue
            n_others, places = 0, 0.0
            for j in range(n_symbols):
                other = state.memory[j, RANK_BY + k]
                if j != i and state.memory[j, KNOWN] > 0.0 and other == other:
                    n_others += 1
                    places += 1.0 if value > other else (-1.0 if value < other else 0.0)
            out[t, i, CROSS + k] = places / n_others if n_others > 0 else 0.0


@kernel_part
def _put_clock(ts_close: int, t: int, i: int, out: np.ndarray) -> None:
    hours = (ts_close // 1_000_000_000) / 3_600.0
    day = 2.0 * math.pi * (hours % 24.0) / 24.0
    week = 2.0 * math.pi * ((hours + 72.0) % 168.0) / 168.0  # 1970-01-01 was a Thursday; the week starts on Monday
    out[t, i, CLOCK] = math.sin(day)
    out[t, i, CLOCK + 1] = math.cos(day)
    out[t, i, CLOCK + 2] = math.sin(week)
    out[t, i, CLOCK + 3] = math.cos(week)


@entry_kernel
def advance_rows(state: FeatureState, rows: Rows, warm_up: I8, out: np.ndarray, sigma: F8) -> None:
    """Take T bars of N symbols, oldest first, in place.

    Parameters
    ----------
    state : FeatureState
        Private to the caller: changed.
    rows : Rows
    warm_up : (N_FEATURES,) int64
        Known bars of a symbol until a column is given; before them it is NaN.
    out : (T, N, N_FEATURES) float32
        Filled. NaN for a symbol whose bar is not known.
    sigma : (T, N) float64
        Filled with the standard deviation of one bar's log return, EWMA of span 72; NaN while warming up.
    """
    n_symbols = state.n_bars.shape[0]
    for t in range(out.shape[0]):
        for i in range(n_symbols):
            _take_prices(state, rows, t, i)
        market = _advance_market(state, n_symbols)
        for i in range(n_symbols):
            if state.memory[i, KNOWN] > 0.0:
                now = _advance_volatility(state, rows, t, i, out)
                _advance_trend(state, t, i, now, out)
                _put_channels(state, t, i, now, out)
                trend = _advance_volume(state, rows, t, i, now, out)
                _advance_perpetual(state, rows, t, i, out)
                _advance_beta(state, t, i, market, now, out)
                _put_clock(rows.ts_close[t], t, i, out)
                state.memory[i, RANK_BY] = _return_over(state, i, 24)
                state.memory[i, RANK_BY + 1] = _return_over(state, i, 168)
                ready = state.n_bars[i] >= SIGMA_BARS
                state.memory[i, RANK_BY + 2] = now if ready else np.nan
                state.memory[i, RANK_BY + 3] = trend if ready else np.nan
                sigma[t, i] = now if ready else np.nan
            else:
                sigma[t, i] = np.nan
        _put_ranks(state, t, n_symbols, out)
        for i in range(n_symbols):
            for column in range(N_FEATURES):
                if state.n_bars[i] < warm_up[column] or not state.memory[i, KNOWN] > 0.0:
                    out[t, i, column] = np.nan
