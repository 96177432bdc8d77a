"""The sleeves over a stretch of candles: what each would have earned, and optimisers that share them out instead."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.domain import F8, Params
from engine.research.figures import day_ends
from engine.research.loading import BarTable
from engine.research.optimiser_evidence import COST, TEST_DAYS, TRAIN_DAYS, Pace, better, compare, stretch, unpaced
from engine.research.sleeve_evidence import by_day, evidence, learning
from engine.strategies.portfolio import ADAPTIVE as LEARNER
from engine.strategies.portfolio import EVIDENCE
from engine.strategies.portfolio_runner import PortfolioRunner
from engine.strategies.sharer import Sharer, record_of
from engine.strategies.sharing import BAR, MIN_SCORED, Days, rules_for
from engine.strategies.sleeves.state import LEARNED, NAMES

ADAPTIVE, EQUAL = "adaptive, learned sleeves only", "equal weight, learned sleeves only"
MIN_TRAIN_DAYS = 60
REPLAYED = 0.1  # share of the work that is done when the sleeves have been replayed


def sleeve_report(
    bars: BarTable,
    funding: F8 | None,
    params: Params,
    own: dict[str, Any],
    pace: Pace = unpaced,
    cost: float = COST,
) -> dict[str, Any]:
    """Return the sleeves' evidence and the optimisers' comparison over bars, as plain JSON types.

    Parameters
    ----------
    bars : BarTable
    funding : (T, N) float64 or None
        Due at each close.
    params : Params
        For bars of that interval.
    own : dict
        The portfolio strategy's own parameters. The online learner is replayed too, whoever shares out.
    pace : callable
        Is told the share that is done, 0 to 1; what it raises ends the work.
    cost : float
        Of each unit traded, by a sleeve in its own book and between sleeves.

    Returns
    -------
    dict
        ``evidence``, see ``sleeve_evidence``; ``sharing``, see ``record_over``; ``optimisers``, see
        ``optimiser_evidence``, or None with ``why``; ``symbols``, ``first_ts_ms``, ``last_ts_ms``, ``days``,
        ``funding``, ``cost``.
    """
    runner = PortfolioRunner(params, own, bars.symbols, cost)
    told = runner.advance(bars.ts_close, bars.close_px, funding)
    found = evidence(told, bars.ts_close, runner)
    learner = PortfolioRunner(params, own | {"sharing": LEARNER}, bars.symbols, cost)
    learned = learner.advance(bars.ts_close, bars.close_px, funding)
    moments, days = by_day(bars.ts_close, learned.net)
    shares = learned.share[day_ends(bars.ts_close)]
    pace(REPLAYED)
    optimisers, why = optimised(moments // 1_000_000, days, shares, learner, stretch(pace, REPLAYED, 1.0), cost)
    return {
        "evidence": found | {"learning": learning(days, shares, learner)}, "optimisers": optimisers, "why": why,
        "sharing": record_over(runner.sharer.days), "shared_by": runner.own.sharing,
        "symbols": list(bars.symbols), "first_ts_ms": int(bars.ts_open[0]) // 1_000_000,
        "last_ts_ms": int(bars.ts_close[-1]) // 1_000_000, "days": len(moments), "funding": funding is not None,
        "cost": cost,
    }  # fmt: skip


def record_over(days: Days) -> dict[str, Any]:
    """Return what the sharing *by evidence* would have used over days that have ended, as plain JSON types.

    Returns
    -------
    dict
        ``rule`` in force at the end, None before a plan, and ``since`` (UTC day); ``changes``: ``[{"day", "rule"}]``;
        ``record``: rows of ``sharer.record_of``, up to day ``made``; ``days`` known; ``bar``, standard errors, and
        ``needed``, days out of sample, that a rule must have to be used.
    """
    sharer, changes = Sharer(EVIDENCE, days.net.shape[1]), []
    for at, day in enumerate(days.day.tolist()):
        sharer.share(day, days.awake[at])
        if sharer.plan is not None and sharer.since == day:
            changes.append({"day": day, "rule": sharer.plan.rule})
        sharer.end_day(day, days.net[at], days.awake[at])
    plan = sharer.plan
    return {
        "rule": None if plan is None else plan.rule, "since": sharer.since or None, "changes": changes,
        "record": [] if plan is None else [record_of(rule, plan) for rule in rules_for(EVIDENCE)],
        "made": None if plan is None else plan.made, "days": len(days.day), "bar": BAR, "needed": MIN_SCORED,
    }  # fmt: skip


def optimised(
    ts_ms: np.ndarray, days: F8, shares: F8, runner: PortfolioRunner, pace: Pace = unpaced,
    cost: float = COST,
) -> tuple[dict[str, Any] | None, str | None]:  # fmt: skip
    """Return the comparison of optimisers over the sleeves' daily net returns, or None and why there is none.

    Beside the optimisers, which hold every sleeve, stand the strategy's own sharing and equal weight over the sleeves
    that it shares out between: both of the same sleeves, both without the cost of shifting between them. ``learned``
    says which those are (``names``), and whether the sharing is shown to be better than equal weight
    (``adaptive_beats_equal``; None with fewer than two of them).

    Parameters
    ----------
    ts_ms : (D,) int64
    days : (D, S) float64
        Net return of each sleeve's own book.
    shares : (D, S) float64
        Multipliers in force at the end of each day; what the strategy itself chose stands beside the optimisers.
    runner : PortfolioRunner
    pace : callable
        Is told the share that is done.
    cost : float
        Of each unit traded between sleeves.
    """
    taking = [s for s, name in enumerate(NAMES) if runner.takes_part(name) and np.count_nonzero(days[:, s]) > 1]
    if len(taking) < 2:
        return None, f"{len(taking)} sleeves have earned or lost anything: there is nothing to share out"
    begun = max(int(np.argmax(days[:, s] != 0.0)) for s in taking if s < LEARNED) if min(taking) < LEARNED else 0
    rest = days[begun:, taking]
    train = min(TRAIN_DAYS, len(rest) // 2)
    if train < MIN_TRAIN_DAYS:
        return None, f"{len(rest)} days since the last sleeve woke; {2 * MIN_TRAIN_DAYS} are needed"
    before = np.vstack([shares[begun - 1 : begun] if begun else shares[:1], shares[begun:-1]])
    learned = [s for s in taking if s < LEARNED]
    weights = before[:, learned] / np.maximum(before[:, learned].sum(axis=1, keepdims=True), 1e-12)
    adaptive = (weights * days[begun:, learned]).sum(axis=1)
    awake = before[:, learned] > 0.0
    equal = (awake * days[begun:, learned]).sum(axis=1) / np.maximum(awake.sum(axis=1), 1)
    found = compare(
        rest, ts_ms[begun:], tuple(NAMES[s] for s in taking), train=train, test=min(TEST_DAYS, train // 2),
        given={ADAPTIVE: adaptive, EQUAL: equal}, pace=pace, cost=cost,
    )  # fmt: skip
    shown = better(adaptive[train:], equal[train:]) if len(learned) > 1 else None
    return found | {"learned": {"names": [NAMES[s] for s in learned], "adaptive_beats_equal": shown}}, None
