"""The portfolio strategy's kernel: every bar through the same code, whether many bars are there or the newest one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.compiling import FINGERPRINT, entry_kernel, kernel_part
from engine.core.sleeves import advance_returns
from engine.domain import F8, I8, NS_PER_DAY, Params
from engine.strategies.sharer import Sharer
from engine.strategies.sleeves.basis import write_basis
from engine.strategies.sleeves.carry import write_carry
from engine.strategies.sleeves.mixing import begin_day
from engine.strategies.sleeves.momentum import write_momentum
from engine.strategies.sleeves.reversal import write_reversal
from engine.strategies.sleeves.shares import volatility_of, write_book
from engine.strategies.sleeves.state import (
    BASIS,
    CARRY,
    FAST_VARIANCE,
    LEARNED,
    MARKET_VARIANCE,
    MODELS,
    MOMENTUM,
    N_MARKET,
    N_SLEEVES,
    REVERSAL,
    SHORT_TRAIL,
    SLOW_VARIANCE,
    TAIL,
    TREND,
    Book,
    Rules,
)
from engine.strategies.sleeves.tail import write_tail
from engine.strategies.sleeves.trend import write_trend


@kernel_part
def _see_market(book: Book, rules: Rules) -> float:
    """Write volatilities, betas and the market's variances; return the market's log return, NaN without one."""
    n_symbols = book.sigma.shape[0]
    count, total, known, variance = 0, 0.0, 0, 0.0
    for i in range(n_symbols):
        book.sigma[i] = 0.0
        if book.pair_of[i] == -1:
            book.sigma[i] = math.sqrt(book.core.covariance[i, i])
            r = book.core.log_return[i]
            if r == r:
                count += 1
                total += r
    for i in range(n_symbols):
        book.beta[i] = 0.0
        if book.sigma[i] > 0.0:
            known += 1
            for j in range(n_symbols):
                if book.sigma[j] > 0.0:
                    book.beta[i] += book.core.covariance[i, j]
            variance += book.beta[i]
    for i in range(n_symbols):
        book.beta[i] = book.beta[i] * known / variance if variance > 0.0 else 0.0
    if count == 0:
        return math.nan
    mean = total / count
    market = book.market
    market[MARKET_VARIANCE] = variance / (known * known) if known > 0 else 0.0
    market[N_MARKET] += 1.0
    least = 1.0 / market[N_MARKET]
    market[FAST_VARIANCE] += max(rules.fast_alpha, least) * (mean * mean - market[FAST_VARIANCE])
    market[SLOW_VARIANCE] += max(rules.slow_alpha, least) * (mean * mean - market[SLOW_VARIANCE])
    market[SHORT_TRAIL] = rules.tail_keep * (market[SHORT_TRAIL] + mean)
    return mean


@kernel_part
def _see_symbols(book: Book, close_px: F8, funding: F8, t: int, rules: Rules, params: Params) -> None:
    """Advance everything that is known of single symbols by bar ``t``, in place."""
    n_symbols = book.sigma.shape[0]
    for i in range(n_symbols):
        before = book.core.last_px[i]
        book.move[i] = close_px[t, i] / before - 1.0 if before > 0.0 and close_px[t, i] > 0.0 else 0.0
    advance_returns(n_symbols, book.core, close_px, t, params)
    market = _see_market(book, rules)
    for i in range(n_symbols):
        due = funding[t, i]
        if due == due and (due != 0.0 or book.n_funding[i] > 0):
            book.n_funding[i] += 1
            book.funding[i] += max(rules.funding_alpha, 1.0 / book.n_funding[i]) * (due - book.funding[i])
        r = book.core.log_return[i]
        if r == r and book.pair_of[i] == -1:
            book.slow_trail[i] = rules.momentum_keep * (book.slow_trail[i] + r)
            own = r - book.beta[i] * market
            book.residual_trail[i] = rules.reversal_keep * (book.residual_trail[i] + own)


@kernel_part
def _count_returns(book: Book, funding: F8, t: int) -> None:
    """Write what each sleeve's own book earned in the bar before anything is changed at its close."""
    for s in range(N_SLEEVES):
        earned = 0.0
        for i in range(book.sigma.shape[0]):
            if book.held[s, i] != 0.0:
                due = funding[t, i] if funding[t, i] == funding[t, i] else 0.0
                earned += book.held[s, i] * (book.move[i] - due)
        book.net[s] = earned
        book.day_net[s] += earned


@kernel_part
def _write_given(raw: F8, given: F8, t: int) -> int:
    """Write the convictions of models and agents, which are given; NaN where there are none."""
    awake = 0
    for i in range(raw.shape[0]):
        known = given[t, i] == given[t, i]
        raw[i] = given[t, i] if known else 0.0
        awake = 1 if known else awake
    return awake


@kernel_part
def _write_wishes(book: Book, given: F8, t: int, calm: bool, rules: Rules, params: Params) -> None:
    """Write every sleeve's own book and whether it has one."""
    wish, sigma, awake, market = book.wish, book.sigma, book.awake, book.market
    seen = market[N_MARKET] >= params.vol_horizon_bars
    awake[TREND] = write_trend(wish[TREND], sigma, book.core, rules.trend_needed, params)
    awake[MOMENTUM] = write_momentum(
        wish[MOMENTUM], sigma, book.slow_trail, rules.momentum_gain, book.core.n_bars, rules.momentum_needed
    )
    awake[CARRY] = write_carry(
        wish[CARRY], sigma, book.funding, book.n_funding, rules.funding_needed, book.core.n_bars,
        params.vol_horizon_bars,
    )  # fmt: skip
    awake[REVERSAL] = write_reversal(
        wish[REVERSAL], sigma, book.beta, market[MARKET_VARIANCE], book.residual_trail, rules.reversal_gain,
        book.core.n_bars, params.vol_horizon_bars, calm,
    )  # fmt: skip
    awake[MODELS] = _write_given(wish[MODELS], given, t)
    deviation = math.sqrt(market[SLOW_VARIANCE]) * rules.tail_gain
    awake[TAIL] = write_tail(wish[TAIL], market[SHORT_TRAIL], deviation, seen and params.allow_short)
    target = params.vol_target / math.sqrt(params.bars_per_year)
    for s in range(BASIS):
        neutral = s in (MOMENTUM, CARRY, REVERSAL)
        write_book(wish[s], sigma, book.beta, book.core.covariance, neutral, s not in (MOMENTUM, CARRY), target)
    awake[BASIS] = write_basis(
        wish[BASIS], book.held[BASIS], book.scratch, book.funding, book.core.last_px, book.pair_of, book.n_funding,
        rules, params.bars_per_year, params.allow_short,
    )  # fmt: skip


@kernel_part
def _hold(book: Book, rules: Rules) -> None:
    """Take every sleeve's own book to its wish, and charge what that costs.

    A sleeve that may change at every bar does so where the change is worth it. A patient one goes a small part of the
    way at every bar, as if many books were changed one after the other: no hour of the day is the lucky one.
    """
    for s in range(N_SLEEVES):
        asleep = book.awake[s] == 0 or rules.enabled[s] == 0
        for i in range(book.sigma.shape[0]):
            wish = 0.0 if asleep else book.wish[s, i]
            change = abs(wish - book.held[s, i])
            if change == 0.0:
                continue
            if asleep or rules.pace[s] == 1.0:
                if change < rules.band and wish != 0.0:
                    continue
                book.held[s, i] = wish
            else:
                change *= rules.pace[s]
                book.held[s, i] += rules.pace[s] * (wish - book.held[s, i])
            book.net[s] -= change * rules.cost_rate
            book.day_net[s] -= change * rules.cost_rate


@kernel_part
def _write_weight(book: Book, rules: Rules) -> None:
    """Write the whole wish: learned sleeves by their shares, diversified; tail hedge and pairs by their budgets.

    A sleeve that may change at every bar is asked, not what it would hold with a band of its own: the core's gate has
    the band, and the trend sleeve alone is then the core's trend strategy.
    """
    apart = 0.0
    for i in range(book.scratch.shape[0]):
        book.scratch[i] = 0.0
    for s in range(LEARNED):
        if not book.share[s] > 0.0 or book.awake[s] == 0:
            continue
        own = book.held[s] if rules.pace[s] < 1.0 else book.wish[s]
        apart += book.share[s] * volatility_of(book.core.covariance, own)
        for i in range(book.scratch.shape[0]):
            book.scratch[i] += book.share[s] * own[i]
    together = volatility_of(book.core.covariance, book.scratch)
    book.scale[0] = min(apart / together, rules.most_diversification) if together > 0.0 else 1.0
    awake = 0
    for s in range(N_SLEEVES):
        awake += book.awake[s] * rules.enabled[s]
    tail = rules.tail_budget if book.awake[TAIL] * rules.enabled[TAIL] == 1 else 0.0
    for i in range(book.scratch.shape[0]):
        weight = book.scale[0] * book.scratch[i] + tail * book.wish[TAIL, i] + book.held[BASIS, i]
        book.weight[i] = weight if awake > 0 and book.core.n_bars[i] > 0 else math.nan


def _fingerprint() -> str:
    digest = hashlib.sha256(FINGERPRINT.encode())
    for path in sorted(Path(__file__).resolve().parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _build(fingerprint: str) -> Callable[..., Any]:
    @entry_kernel
    def compiled_book(book, close_px, funding, given, first, last, rules, params, weight, share, net):  # type: ignore[no-untyped-def]
        _ = fingerprint  # part of the cache key
        n_symbols = close_px.shape[1]
        for t in range(first, last):
            _see_symbols(book, close_px, funding, t, rules, params)
            _count_returns(book, funding, t)
            calm = book.market[FAST_VARIANCE] <= book.market[SLOW_VARIANCE]
            _write_wishes(book, given, t, calm, rules, params)
            _hold(book, rules)
            _write_weight(book, rules)
            for i in range(n_symbols):
                weight[t, i] = book.weight[i]
            for s in range(N_SLEEVES):
                share[t, s] = book.share[s] * book.scale[0]
                net[t, s] = book.net[s]
            share[t, TAIL] = rules.tail_budget
            share[t, BASIS] = 1.0

    function: Callable[..., Any] = compiled_book
    return function


SLEEVES_FINGERPRINT = _fingerprint()
_compiled = _build(SLEEVES_FINGERPRINT)


def advance_book(
    book: Book, sharer: Sharer, close_px: F8, funding: F8, given: F8, ts_close: I8, rules: Rules, params: Params
) -> tuple[F8, F8, F8]:
    """Advance the portfolio strategy by T bars, in place, and return what it said at each close.

    Parameters
    ----------
    book : Book
        Changed.
    sharer : Sharer
        Changed: learns of each day that ends, and may share the next one out.
    close_px : (T, N) float64, quote per base
        NaN where a symbol has no bar.
    funding : (T, N) float64, fraction
        Due at each close; NaN where rates are not known.
    given : (T, N) float64 in [-1, 1]
        The models' and agents' convictions; NaN where there are none.
    ts_close : (T,) int64 ns
    rules : Rules
    params : Params

    Returns
    -------
    weight : (T, N) float64
        Target weights; NaN before anything is known.
    share : (T, S) float64
        What each sleeve's own book was multiplied by.
    net : (T, S) float64
        Net return of each sleeve's own book in each bar, its costs included.
    """
    n_bars, n_symbols = close_px.shape
    weight, share, net = np.empty((n_bars, n_symbols)), np.empty((n_bars, N_SLEEVES)), np.empty((n_bars, N_SLEEVES))
    day = (ts_close - 1) // NS_PER_DAY  # a bar that closes at midnight belongs to the day that ends
    begins = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist(), n_bars]
    for first, last in pairwise(begins):
        if day[first] != book.day[0]:
            begin_day(book, rules, sharer, int(day[first]))
        _compiled(book, close_px, funding, given, first, last, rules, params, weight, share, net)
    return weight, share, net
