"""The risk gate's older rules, with verdict, measured number and limit for every symbol; ``book_rules`` has the rest.

They are applied in ``RULE_ORDER``. Those on weights only ever lower one, so passing one cannot undo another.
"Present" is position plus what is in flight. Reducing is allowed by every rule; only HALTED stops everything.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.core.compiling import kernel, kernel_part
from engine.core.drafts import Draft, weight_verdict, write_verdict
from engine.core.state import State
from engine.domain import F8, N_RULES, Params, Rule, Sleeve, TradingState, Verdict

_STATE, _STALE, _WARM_UP = int(Rule.TRADING_STATE), int(Rule.STALE_DATA), int(Rule.WARM_UP)
_DAILY_LOSS, _DRAWDOWN = int(Rule.DAILY_LOSS), int(Rule.DRAWDOWN)
_SYMBOL_CAP, _GROSS_CAP, _LEVERAGE = int(Rule.SYMBOL_CAP), int(Rule.GROSS_CAP), int(Rule.LEVERAGE)
_LIQUIDATION = int(Rule.LIQUIDATION)
_PASS, _REFUSE = int(Verdict.PASS), int(Verdict.REFUSE)
_EMA_CROSS = int(Sleeve.EMA_CROSS)
_HALTED, _REDUCE_ONLY = int(TradingState.HALTED), int(TradingState.REDUCE_ONLY)

FULL_SIZE_DRAWDOWN = 1.0 / 3.0
"""Share of the drawdown limit that ema-cross may use before exposure shrinks; see ``RISK_LIMITS.full_share``."""

NO_NEW_RISK_LOSS = 0.5
"""Share of the daily loss limit from which ema-cross may not grow; other sleeves have a ladder in ``RISK_LIMITS``."""

DRIFT_TOLERANCE = 0.02
"""How far, relative to a ceiling, prices may carry a position beyond it before a reduction is forced."""


class Standing(NamedTuple):
    """The account's numbers that the gate compares with its limits."""

    equity: float  # ccy
    drawdown: float  # fraction of peak
    peak: float  # ccy
    day_loss: float  # fraction of the day's opening equity, negative when up
    day_worst: float  # the largest of the day so far; for ema-cross the present one
    day_locked: bool
    drawdown_locked: bool
    trading_state: int


@kernel
def drawdown_scale(drawdown: float, max_drawdown: float, full_share: float = FULL_SIZE_DRAWDOWN) -> float:
    """Return the share of full exposure that the cushion still allows.

    1 while drawdown <= full_share * max, then (max - drawdown) / (max - full_share * max), 0 from max on.

    Parameters
    ----------
    drawdown, max_drawdown : float, fractions of peak equity
    full_share : float in [0, 1)

    Returns
    -------
    float in [0, 1]

    Examples
    --------
    >>> [round(drawdown_scale(fall, 0.15), 12) for fall in (0.05, 0.10, 0.15)]
    [1.0, 0.5, 0.0]
    """
    full_until = max_drawdown * full_share
    if drawdown <= full_until:
        return 1.0
    if drawdown >= max_drawdown:
        return 0.0
    per_cushion = 1.0 / (max_drawdown - full_until)
    return (max_drawdown - drawdown) * per_cushion


@kernel
def without_growth(weight: float, present: float) -> float:
    """Return ``weight`` limited so that exposure neither grows nor changes sign from ``present``."""
    if weight * present <= 0.0:
        return 0.0
    return present if abs(weight) > abs(present) else weight


@kernel
def day_scale(worst_loss: float, max_daily_loss: float, throttle_share: float, flatten_share: float) -> float:
    """Return the share of full exposure that today's worst loss still allows.

    1 until ``throttle_share`` of the limit is lost, 0 from ``flatten_share`` on, straight in between.

    Parameters
    ----------
    worst_loss, max_daily_loss : float, fractions of the day's opening equity
    throttle_share, flatten_share : float
        Shares of ``max_daily_loss``; the same for both leaves only the step to 0.

    Returns
    -------
    float in [0, 1]

    Examples
    --------
    >>> [round(day_scale(loss, 0.05, 0.4, 0.8), 12) for loss in (0.02, 0.03, 0.04)]
    [1.0, 0.5, 0.0]
    """
    begin, end = throttle_share * max_daily_loss, flatten_share * max_daily_loss
    if worst_loss >= end:
        return 0.0
    if worst_loss <= begin:
        return 1.0
    return (end - worst_loss) / (end - begin)


@kernel_part
def _daily_weight(draft: Draft, i: int, weight: float, standing: Standing, params: Params) -> float:
    """Return the weight after the day's ladder: throttle, reduce only, flat; locked for the day at the limit itself.

    It follows the day's worst loss, so within a day it only goes up.
    """
    present, worst = draft.present_weight[i], standing.day_worst
    is_yardstick = params.sleeve == _EMA_CROSS
    reduce_share = NO_NEW_RISK_LOSS if is_yardstick else params.risk[0]["reduce_share"]
    if standing.day_locked:
        return 0.0
    if not is_yardstick:
        scale = day_scale(
            worst, params.max_daily_loss, params.risk[0]["throttle_share"], params.risk[0]["flatten_share"]
        )
        if scale == 0.0:
            return 0.0
        if scale < 1.0 and draft.raw_weight[i] == draft.raw_weight[i]:
            ceiling = scale * abs(draft.sized_weight[i])
            weight = min(max(weight, -ceiling), ceiling)
    return without_growth(weight, present) if worst >= reduce_share * params.max_daily_loss else weight


@kernel_part
def _loss_rules(
    draft: Draft, i: int, weight: float, scale: float, standing: Standing, params: Params, keep_record: bool
) -> float:
    present = draft.present_weight[i]
    before = weight
    weight = _daily_weight(draft, i, weight, standing, params)
    verdict = weight_verdict(before, weight, present)
    write_verdict(draft, i, _DAILY_LOSS, verdict, standing.day_worst, params.max_daily_loss, keep_record)

    before = weight
    if standing.drawdown_locked:
        weight = 0.0
    elif scale < 1.0 and draft.raw_weight[i] == draft.raw_weight[i]:
        ceiling = scale * abs(draft.sized_weight[i])
        weight = min(max(weight, -ceiling), ceiling)
    verdict = weight_verdict(before, weight, present)
    write_verdict(draft, i, _DRAWDOWN, verdict, standing.drawdown, params.max_drawdown, keep_record)
    return weight


@kernel_part
def _symbol_rules(
    state: State,
    draft: Draft,
    i: int,
    px: float,
    age_s: float,
    needed: int,
    scale: float,
    standing: Standing,
    params: Params,
    keep_record: bool,
) -> float:
    present = draft.present_weight[i]
    weight = draft.sized_weight[i]

    before = weight
    if standing.trading_state == _REDUCE_ONLY:
        weight = without_growth(weight, present)
    verdict = weight_verdict(before, weight, present)
    write_verdict(draft, i, _STATE, verdict, float(standing.trading_state), float(_REDUCE_ONLY), keep_record)

    before = weight
    if not (px > 0.0 and age_s <= params.max_age_s):
        weight = without_growth(weight, present)
    verdict = weight_verdict(before, weight, present)
    write_verdict(draft, i, _STALE, verdict, age_s, params.max_age_s, keep_record)

    verdict = _PASS if draft.raw_weight[i] == draft.raw_weight[i] else _REFUSE
    write_verdict(draft, i, _WARM_UP, verdict, float(state.n_bars[i]), float(needed), keep_record)

    weight = _loss_rules(draft, i, weight, scale, standing, params, keep_record)

    before = weight
    weight = min(max(weight, -params.max_symbol_weight), params.max_symbol_weight)
    verdict = weight_verdict(before, weight, present)
    write_verdict(draft, i, _SYMBOL_CAP, verdict, abs(before), params.max_symbol_weight, keep_record)
    return weight


@kernel_part
def write_symbol_limits(
    n_symbols: int,
    state: State,
    draft: Draft,
    close_px: F8,
    t: int,
    age_s: F8,
    needed: int,
    standing: Standing,
    params: Params,
    keep_record: bool,
) -> float:
    """Apply rules 0 to 5 to every symbol, write ``approved_weight`` and return its gross sum.

    Parameters
    ----------
    n_symbols : int
    state : State
        After the sleeve has seen bar ``t``.
    draft : Draft
        ``raw_weight``, ``sized_weight`` and ``present_weight`` are read.
    close_px : (T, N) float64
        NaN in row ``t`` counts as stale.
    t : int
    age_s : (N,) float64, seconds; NaN counts as stale
    needed : int
        Bars before the sleeve has an opinion.
    standing : Standing
    params : Params
    keep_record : bool
        Write verdicts with measured numbers and limits, not only counts. The decision is the same.

    Returns
    -------
    float
        Sum of absolute approved weights.
    """
    gross = 0.0
    full_share = FULL_SIZE_DRAWDOWN if params.sleeve == _EMA_CROSS else params.risk[0]["full_share"]
    scale = drawdown_scale(standing.drawdown, params.max_drawdown, full_share)
    for i in range(n_symbols):
        weight = _symbol_rules(state, draft, i, close_px[t, i], age_s[i], needed, scale, standing, params, keep_record)
        draft.approved_weight[i] = weight
        gross += abs(weight)
    return gross


@kernel_part
def book_limited(draft: Draft, i: int, gross: float, params: Params, keep_record: bool) -> float:
    """Return symbol ``i``'s approved weight after the three caps on the gross, which shrink the whole book alike.

    Parameters
    ----------
    draft : Draft
    i : int
    gross : float
        Sum of absolute weights before the rules.
    params : Params
    keep_record : bool
    """
    present = draft.present_weight[i]
    weight = draft.approved_weight[i]
    # each verdict is written inside its branch: the division is then not done on bars that do not need it
    if gross > params.max_gross_weight:
        before = weight
        weight = before * (params.max_gross_weight / gross)
        verdict = weight_verdict(before, weight, present)
        write_verdict(draft, i, _GROSS_CAP, verdict, gross, params.max_gross_weight, keep_record)
    else:
        write_verdict(draft, i, _GROSS_CAP, _PASS, gross, params.max_gross_weight, keep_record)
    left = min(gross, params.max_gross_weight)
    if left > params.max_leverage:
        before = weight
        weight = before * (params.max_leverage / left)
        verdict = weight_verdict(before, weight, present)
        write_verdict(draft, i, _LEVERAGE, verdict, left, params.max_leverage, keep_record)
    else:
        write_verdict(draft, i, _LEVERAGE, _PASS, left, params.max_leverage, keep_record)
    left, affordable = min(left, params.max_leverage), params.risk[0]["liquidation_gross"]
    if left > affordable:
        before = weight
        weight = before * (affordable / left)
        verdict = weight_verdict(before, weight, present)
        write_verdict(draft, i, _LIQUIDATION, verdict, left, affordable, keep_record)
    else:
        write_verdict(draft, i, _LIQUIDATION, _PASS, left, affordable, keep_record)
    return weight


@kernel_part
def gross_cap(params: Params) -> float:
    """Return the gross weight that all three of the caps on it allow."""
    return min(params.max_gross_weight, params.max_leverage, params.risk[0]["liquidation_gross"])


@kernel_part
def is_forced(wish: float, approved: float, present: float, over: bool) -> bool:
    """Return whether the gate itself demands a reduction: it lowered the wish or the book is too large as a whole.

    Either way only where the position is beyond what was approved.
    """
    return (over or approved != wish) and abs(present) > abs(approved) * (1.0 + DRIFT_TOLERANCE)


@kernel_part
def refuse_all(n_symbols: int, draft: Draft, trading_state: int) -> None:
    """Write the gate's answer while HALTED or without equity: rule 0 refuses every symbol, the rest is not asked."""
    for i in range(n_symbols):
        for rule in range(N_RULES):
            write_verdict(draft, i, rule, _PASS, 0.0, 0.0, True)
        write_verdict(draft, i, _STATE, _REFUSE, float(trading_state), float(_REDUCE_ONLY), True)
        draft.approved_weight[i] = draft.present_weight[i] if trading_state == _HALTED else 0.0
