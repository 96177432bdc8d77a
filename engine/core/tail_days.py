"""What the gate remembers of past periods (days): standardised returns of every symbol, and their tails. Compiled.

A period is ``horizon_bars`` of RISK_LIMITS, counted from the first bar seen: history has no clock of its own.
"""

from __future__ import annotations

import math

import numpy as np

from engine.core.compiling import kernel, kernel_apart, kernel_part
from engine.core.state import FIRST, KEPT_PERIODS, PAST_SIGMA, RETURN, SIGMA, UNIT_TAIL, State, Z
from engine.core.tail import LEAST_DOF, MOST_DOF, PRIOR_DOF, TailMethod
from engine.domain import F8, Params

_HISTORICAL = int(TailMethod.HISTORICAL)
_STUDENT_T = int(TailMethod.STUDENT_T)

LEAST_PERIODS = 60
"""Below this many kept periods the tail is a Student-t of ``PRIOR_DOF`` degrees of freedom."""

YOUNG_VOLATILITY = 1.0
"""Annual volatility that a symbol has at least, until its own estimate has seen its whole horizon of bars."""


@kernel
def shortfall_of(past: F8, row: int, n: int, level: float) -> float:
    """Return the expected shortfall of the losses ``past[row, Z : Z + n]``; see ``tail.expected_shortfall``.

    The largest loss is looked for again and again, without sorting: the tail is short and nothing is allocated.
    NaN is left out of the tail; NaN when there is nothing else.
    """
    mass = (1.0 - level) * n
    left, last, total = mass, np.inf, 0.0
    while left > 1e-9:
        worst, times = -np.inf, 0.0
        for k in range(n):
            loss = past[row, Z + k]
            if loss < last and loss >= worst:
                times = times + 1.0 if loss == worst else 1.0
                worst = loss
        if times == 0.0:
            return np.nan
        part = min(times, left)
        total += part * worst
        left -= part
        last = worst
    return total / mass


@kernel
def unit_shortfall(table: F8, dof: float) -> float:
    """Return expected shortfall per unit of volatility of a Student-t, read from ``tail.shortfall_table``."""
    last = table.shape[0] - 1
    at = min(max(LEAST_DOF / dof, 0.0), 1.0) * last
    below = min(int(at), last - 1)
    return table[below] + (at - below) * (table[below + 1] - table[below])


@kernel_part
def is_young(state: State, i: int, params: Params) -> bool:
    """Return whether symbol ``i`` has not yet seen the bars that its volatility estimate wants, or moves not at all."""
    return state.n_bars[i] < params.vol_horizon_bars or not state.covariance[i, i] > 0.0


@kernel_part
def sigma_of(state: State, i: int, params: Params) -> float:
    """Return the volatility of symbol ``i`` over the next period, fraction: a young symbol's is never below a floor."""
    sigma = math.sqrt(max(state.covariance[i, i], 0.0) * params.risk[0]["horizon_bars"])
    if is_young(state, i, params):
        return max(sigma, YOUNG_VOLATILITY * math.sqrt(params.risk[0]["horizon_bars"] / params.bars_per_year))
    return sigma


@kernel_part
def dof_of(state: State) -> float:
    """Return the degrees of freedom in force."""
    fitted = state.book[0]["dof"]
    return fitted if fitted > 0.0 else PRIOR_DOF


@kernel_part
def uses_student_t(state: State, params: Params) -> bool:
    """Return whether the tail is a Student-t: by choice, or because too few periods are kept for anything else."""
    return params.risk[0]["tail_method"] == _STUDENT_T or state.book[0]["n_periods"] < LEAST_PERIODS


@kernel_part
def unit_tail_of(state: State, i: int, params: Params) -> float:
    """Return expected shortfall of weight 1 in symbol ``i`` alone, on its worse side.

    Expected shortfall is subadditive (Acerbi & Tasche, 2002), so the weighted sum of these bounds the book's.
    """
    if uses_student_t(state, params) or is_young(state, i, params):
        return sigma_of(state, i, params) * unit_shortfall(params.tail_table, dof_of(state))
    historical = params.risk[0]["tail_method"] == _HISTORICAL
    return state.past[i, UNIT_TAIL] * (1.0 if historical else sigma_of(state, i, params))


@kernel_part
def _fit(n_symbols: int, state: State, params: Params) -> None:
    """Work out degrees of freedom and every symbol's own tail from the kept periods."""
    book, past = state.book[0], state.past
    n = min(book["n_periods"], KEPT_PERIODS)
    if n < LEAST_PERIODS:
        return
    square, fourth = 0.0, 0.0
    for i in range(n_symbols):
        for k in range(n):
            z = past[i, Z + k]
            square += z * z
            fourth += z * z * z * z
    square /= n * n_symbols
    fourth /= n * n_symbols
    excess = fourth / (square * square) - 3.0 if square > 0.0 else 0.0
    book["dof"] = min(4.0 + 6.0 / excess, MOST_DOF) if excess > 0.0 else MOST_DOF
    historical = params.risk[0]["tail_method"] == _HISTORICAL
    for i in range(n_symbols):
        worse = 0.0
        for side in range(2):
            for k in range(n):
                scale = past[i, PAST_SIGMA + k] if historical else 1.0
                past[n_symbols, Z + k] = (2.0 * side - 1.0) * past[i, Z + k] * scale
            worse = max(worse, shortfall_of(past, n_symbols, n, params.risk[0]["tail_level"]))
        past[i, UNIT_TAIL] = worse


@kernel_part
def _keep_period(n_symbols: int, state: State) -> None:
    """Write the period that has ended into the ring. What a symbol did is unknown before it has a forecast."""
    past = state.past
    known, sum_z, sum_sigma = 0, 0.0, 0.0
    for i in range(n_symbols):
        if past[i, SIGMA] > 0.0 and state.n_bars[i] > past[i, FIRST]:
            known += 1
            sum_z += math.expm1(past[i, RETURN]) / past[i, SIGMA]
            sum_sigma += past[i, SIGMA]
    if known == 0:
        return
    k = state.book[0]["n_periods"] % KEPT_PERIODS
    for i in range(n_symbols):
        if past[i, SIGMA] > 0.0 and state.n_bars[i] > past[i, FIRST]:
            past[i, Z + k] = math.expm1(past[i, RETURN]) / past[i, SIGMA]
            past[i, PAST_SIGMA + k] = past[i, SIGMA]
        else:  # unknown is not calm: as the other symbols on average
            past[i, Z + k] = sum_z / known
            past[i, PAST_SIGMA + k] = sum_sigma / known
    state.book[0]["n_periods"] += 1


@kernel_apart
def advance_period(state: State, params: Params) -> None:
    """Add the newest bar's returns to the present period, and close it when it is over, in place.

    Notes
    -----
    Known at: the close of the newest bar. A symbol without bars in a whole period counts as the mean of the others.
    """
    past, n_symbols = state.past, state.last_px.shape[0]
    for i in range(n_symbols):
        log_return = state.log_return[i]
        if log_return == log_return:
            past[i, RETURN] += log_return
    book = state.book[0]
    book["period_bars"] += 1
    if book["period_bars"] < params.risk[0]["horizon_bars"]:
        return
    book["period_bars"] = 0
    _keep_period(n_symbols, state)
    _fit(n_symbols, state, params)
    for i in range(n_symbols):
        past[i, RETURN] = 0.0
        past[i, FIRST] = state.n_bars[i]
        past[i, SIGMA] = 0.0 if is_young(state, i, params) else sigma_of(state, i, params)


@kernel_part
def period_closed(state: State, params: Params) -> bool:
    """Return whether the newest bar ended a period."""
    return params.risk[0]["horizon_bars"] > 0 and state.book[0]["period_bars"] == 0
