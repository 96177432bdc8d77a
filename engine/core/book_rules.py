"""Rules on the whole book, between the symbol cap and the gross cap: each measures, compares, shrinks in proportion.

Every one has a measure that grows in proportion with the book, so that shrinking it by limit / measured meets the
limit. Weights are only ever lowered. What cannot be measured lets nothing grow. They hold for trend and given weights;
ema-cross, the public yardstick, keeps no covariance and is left to the older rules.
"""

from __future__ import annotations

import math

import numpy as np

from engine.core.compiling import kernel, kernel_apart, kernel_part
from engine.core.drafts import Draft, weight_verdict, write_verdict
from engine.core.kelly import learn_edge, worth_volatility
from engine.core.netting import gap_weight, largest_gap_weight, write_open_pairs
from engine.core.risk import DRIFT_TOLERANCE, Standing, gross_cap, without_growth
from engine.core.size import portfolio_volatility
from engine.core.state import CLUSTER, KEPT_PERIODS, PAST_SIGMA, State, Z
from engine.core.stress import stress_loss
from engine.core.tail import TailMethod
from engine.core.tail_days import (
    dof_of,
    is_young,
    period_closed,
    shortfall_of,
    sigma_of,
    unit_shortfall,
    unit_tail_of,
    uses_student_t,
)
from engine.core.targets import band_of
from engine.domain import F8, Params, Rule

_KELLY, _CVAR, _CUSHION = int(Rule.KELLY), int(Rule.CVAR), int(Rule.CUSHION)
_CLUSTER_CAP, _NET_CAP, _STRESS = int(Rule.CLUSTER_CAP), int(Rule.NET_CAP), int(Rule.STRESS)
_HISTORICAL = int(TailMethod.HISTORICAL)
_MARGIN = 1e-9  # relative, far above rounding: a bound that is this near its limit is worked out in full


def affordable_gross(equity: float, peak: float, max_drawdown: float, gap: float) -> float:
    """Return the gross weight at which a gap against every position ends at the drawdown floor, not below.

    Of a pair of spot and perpetual less than the gross counts, see ``netting``.

    cushion / (gap * (1 + tolerance)), cushion = 1 - (1 - max_drawdown) * peak / equity

    The tolerance is how far prices may carry a position beyond its ceiling before the gate forces a reduction, so the
    guarantee holds for every book that the gate leaves alone.

    Parameters
    ----------
    equity, peak : float, ccy
    max_drawdown : float, fraction of peak
    gap : float
        Adverse move of every symbol plus what the stop's slippage costs, fraction of price; 0 switches it off.

    Returns
    -------
    float, at least 0; infinite when switched off

    Notes
    -----
    Source: Black & Perold (1992), constant proportion portfolio insurance, whose multiple may not exceed one over the
    largest gap; Grossman & Zhou (1993) for a floor that follows the peak.

    Examples
    --------
    >>> round(affordable_gross(100.0, 100.0, 0.15, 0.3), 4)
    0.4902
    """
    if not gap > 0.0:
        return np.inf
    if not equity > 0.0:
        return 0.0
    cushion = 1.0 - (1.0 - max_drawdown) * peak / equity
    return max(cushion, 0.0) / (gap * (1.0 + DRIFT_TOLERANCE))


_affordable_gross = kernel(affordable_gross)  # a ticket asks the plain one, without waiting for a compiler


@kernel_part
def book_volatility(n_symbols: int, state: State, weight: F8, periods: float, params: Params) -> float:
    """Return the volatility of a book over ``periods`` bars, fraction.

    With a young symbol in it, whose correlations are not known, the sum of all volatilities: correlation 1.
    """
    linear, young = 0.0, False
    for i in range(n_symbols):
        if weight[i] != 0.0:
            linear += abs(weight[i]) * sigma_of(state, i, params)
            young = young or is_young(state, i, params)
    if young:
        return linear * math.sqrt(periods / params.risk[0]["horizon_bars"])
    return portfolio_volatility(n_symbols, state.covariance, weight, periods)


@kernel_part
def book_shortfall(n_symbols: int, state: State, weight: F8, params: Params) -> float:
    """Return the expected shortfall of a book over one period by the method in force, fraction of equity.

    Notes
    -----
    Student-t until ``LEAST_PERIODS`` are kept, and while a held symbol is young. See ``tail`` for formulas and sources.
    """
    limits = params.risk[0]
    young = False
    for i in range(n_symbols):
        young = young or (weight[i] != 0.0 and is_young(state, i, params))
    if young or uses_student_t(state, params):
        volatility = book_volatility(n_symbols, state, weight, float(limits["horizon_bars"]), params)
        return volatility * unit_shortfall(params.tail_table, dof_of(state))
    past, n = state.past, min(state.book[0]["n_periods"], KEPT_PERIODS)
    for k in range(n):
        past[n_symbols, Z + k] = 0.0
    for i in range(n_symbols):
        if weight[i] != 0.0:
            sigma = sigma_of(state, i, params)
            for k in range(n):
                scale = past[i, PAST_SIGMA + k] if limits["tail_method"] == _HISTORICAL else sigma
                past[n_symbols, Z + k] -= weight[i] * max(past[i, Z + k] * scale, -1.0)
    return shortfall_of(past, n_symbols, n, limits["tail_level"])


@kernel_apart
def note_period(state: State, draft: Draft, equity: float, params: Params) -> None:
    """Let the record of the strategy's edge see the period, when the newest bar has ended one."""
    n_symbols = state.last_px.shape[0]
    if period_closed(state, params) and params.risk[0]["kelly_fraction"] > 0.0:
        held = book_volatility(n_symbols, state, draft.present_weight, float(params.risk[0]["horizon_bars"]), params)
        learn_edge(state, equity, held, params.risk[0])


@kernel_part
def _limit_weight(draft: Draft, i: int, rule: int, measured: float, limit: float, keep_record: bool) -> None:
    """Shrink an approved weight by limit / measured where that is below 1; hold its growth when that is not known."""
    before, present = draft.approved_weight[i], draft.present_weight[i]
    after = before
    if measured > limit:
        after = before * (limit / measured)
    elif not measured <= limit:
        after = without_growth(before, present)
    draft.approved_weight[i] = after
    write_verdict(draft, i, rule, weight_verdict(before, after, present), measured, limit, keep_record)


@kernel_part
def _write_clusters(n_symbols: int, state: State, draft: Draft, params: Params) -> None:
    """Give symbols that are linked by correlations at or above the threshold the same number (single linkage)."""
    threshold = params.risk[0]["cluster_correlation"]
    for i in range(n_symbols):
        state.past[i, CLUSTER] = i
    for i in range(n_symbols):
        for j in range(i):
            shared = state.covariance[i, j]
            both = state.covariance[i, i] * state.covariance[j, j]
            if shared > 0.0 and shared * shared >= threshold * threshold * both:
                old, new = (
                    max(state.past[i, CLUSTER], state.past[j, CLUSTER]),
                    min(state.past[i, CLUSTER], state.past[j, CLUSTER]),
                )
                for k in range(n_symbols):
                    if state.past[k, CLUSTER] == old:
                        state.past[k, CLUSTER] = new


@kernel_part
def _cap_clusters(n_symbols: int, state: State, draft: Draft, params: Params, keep_record: bool) -> None:
    """Shrink each cluster whose net weight is beyond its cap. The young may belong to any of them, and net nothing."""
    _write_clusters(n_symbols, state, draft, params)
    unknown = 0.0
    for i in range(n_symbols):
        draft.shares[i] = draft.approved_weight[i]  # all are measured before any is changed
        if is_young(state, i, params):
            unknown += abs(draft.approved_weight[i])
    for i in range(n_symbols):
        net = 0.0
        for j in range(n_symbols):
            if state.past[j, CLUSTER] == state.past[i, CLUSTER] and not is_young(state, j, params):
                net += draft.shares[j]
        limit = params.risk[0]["max_cluster_weight"]
        _limit_weight(draft, i, _CLUSTER_CAP, abs(net) + unknown, limit, keep_record)


@kernel_part
def _tail_bound(n_symbols: int, state: State, draft: Draft, params: Params) -> float:
    bound = 0.0
    for i in range(n_symbols):
        if draft.approved_weight[i] != 0.0:
            bound += abs(draft.approved_weight[i]) * unit_tail_of(state, i, params)
    return bound


@kernel_part
def _shortfall_or_bound(n_symbols: int, state: State, draft: Draft, params: Params, keep_record: bool) -> float:
    """Return the book's expected shortfall; without a record the bound where it is enough.

    Most bars need no more than the bound, and a decision is the same whether or not the exact figure is worked out.
    """
    if not params.risk[0]["horizon_bars"] > 0:
        return 0.0
    limit = params.risk[0]["max_cvar"]
    bound = _tail_bound(n_symbols, state, draft, params)
    is_enough = bound <= limit * (1.0 - _MARGIN)
    if is_enough and not keep_record:
        return bound
    shortfall = book_shortfall(n_symbols, state, draft.approved_weight, params)
    return min(shortfall, limit) if is_enough else shortfall  # rounding may not decide otherwise than the bound


@kernel_part
def _measured(
    rule: int, n_symbols: int, state: State, draft: Draft, standing: Standing, params: Params, keep_record: bool
) -> tuple[float, float]:
    """Return what a rule measures of the approved weights, and its limit."""
    limits = params.risk[0]
    net = 0.0
    for i in range(n_symbols):
        net += draft.approved_weight[i]
    if rule == _NET_CAP:
        return abs(net), limits["max_net_weight"]
    if rule == _KELLY:
        if not (limits["kelly_fraction"] > 0.0 and limits["horizon_bars"] > 0):
            return 0.0, np.inf
        book, per_year = state.book[0], params.bars_per_year / limits["horizon_bars"]
        worth = worth_volatility(book["edge_n"], book["edge_sum"], book["edge_square"], per_year, limits)
        return book_volatility(n_symbols, state, draft.approved_weight, params.bars_per_year, params), worth
    if rule == _CVAR:
        return _shortfall_or_bound(n_symbols, state, draft, params, keep_record), limits["max_cvar"]
    if rule == _STRESS:
        if not limits["max_stress_loss"] < np.inf:
            return 0.0, np.inf
        return stress_loss(n_symbols, state, draft.approved_weight, params), limits["max_stress_loss"]
    affordable = _affordable_gross(standing.equity, standing.peak, params.max_drawdown, limits["gap"])
    return gap_weight(n_symbols, state, draft.approved_weight, affordable, params), affordable


@kernel_apart
def apply_book_rules(
    state: State, draft: Draft, standing: Standing, params: Params, keep_record: bool
) -> tuple[float, bool]:
    """Apply clusters, net, Kelly, CVaR, stress and cushion to ``approved_weight`` and return its gross sum.

    Parameters
    ----------
    state : State
        After the newest bar. Its scratch is used.
    draft : Draft
        ``present_weight`` is read, ``approved_weight`` changed; ``shares`` is 1 afterwards for the legs of pairs whose
        weights the band may not leave, as far as it is read: where the second answer is true.
    standing : Standing
    params : Params
    keep_record : bool
        Write verdicts with measured numbers and limits. The decision is the same.

    Returns
    -------
    float, bool
        Sum of absolute approved weights; whether the rebalance band may keep no position above its weight, because
        the book that it could leave would be more than a gap may hit.
    """
    n_symbols = state.last_px.shape[0]
    gross, limit = 0.0, np.inf
    for i in range(n_symbols):
        gross += abs(draft.approved_weight[i])
    if keep_record or not gross <= params.risk[0]["max_cluster_weight"]:
        _cap_clusters(n_symbols, state, draft, params, keep_record)
    for step in range(5):
        rule = _NET_CAP
        if step == 1:
            rule = _KELLY
        elif step == 2:
            rule = _CVAR
        elif step == 3:
            rule = _STRESS
        elif step == 4:
            rule = _CUSHION
        measured, limit = _measured(rule, n_symbols, state, draft, standing, params, keep_record)
        if keep_record or not measured <= limit:
            for i in range(n_symbols):
                _limit_weight(draft, i, rule, measured, limit, keep_record)
    gross = 0.0
    for i in range(n_symbols):
        gross += abs(draft.approved_weight[i])
    caps = gross_cap(params)
    left = caps / gross if gross > caps else 1.0
    largest = largest_gap_weight(n_symbols, state, draft.approved_weight, draft.present_weight, left, limit, params)
    over = largest > limit * (1.0 + DRIFT_TOLERANCE)  # the last limit is the cushion's
    if over:
        band = band_of(n_symbols, params)
        write_open_pairs(
            n_symbols, state, draft.approved_weight, draft.present_weight, left, band, draft.shares, params
        )  # fmt: skip
    return gross, over
