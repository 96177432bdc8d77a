"""Who shares the risk out between the sleeves instead of the online learner: an optimiser, anew every month.

A plan is made at the beginning of a UTC day from days that have ended, and is in force from the day after: a backtest
makes it at once, and the engine has a day for it in a process of its own. Plans are made at the first day of every
month, and once when enough days are known. ``evidence`` keeps a record of every optimiser out of sample: what its
shares of each month would have earned in that month, beside equal weight, the cost of shifting paid. It uses the
optimiser whose Sharpe ratio is furthest above that of equal weight in standard errors, if that is more than ``BAR``;
else equal weight. Nothing here looks at a day that has not ended.

Standard error of the difference of two Sharpe ratios a, b of n days whose returns correlate by c:

    sqrt((2 (1 - c) + (a^2 + b^2 - 2 a b c^2) / 2) / n)

Source: Memmel, "Performance hypothesis testing with the Sharpe ratio" (2003), correcting Jobson and Korkie (1981).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.domain import F8, I8
from engine.strategies.optimisers import OPTIMISERS
from engine.strategies.portfolio import EQUAL, EVIDENCE, OPTIMISED

TRAIN_DAYS = 365
MIN_DAYS = 60  # days known before the first plan, and that a sleeve was awake before it has a place in one
MIN_SCORED = 180  # days out of sample before a record counts
BAR = 2.0
"""Standard errors by which an optimiser's Sharpe ratio must be above that of equal weight. It is tried for four at
once, so that by luck alone one of them would be above it in at most 9 % of cases."""

COST = 0.0006  # of what is shifted between sleeves
_KEPT_PLANS = 4_000

Awake: TypeAlias = npt.NDArray[np.bool_]


class Days(NamedTuple):
    """Days that have ended, oldest first: D of them, K sleeves that share the risk."""

    day: I8  # (D,) UTC days since the epoch
    net: F8  # (D, K) net return of each sleeve's own book
    awake: Awake  # (D, K) it had a wish when the day began

    def before(self, day: int) -> Days:
        """Return the days before one."""
        end = int(np.searchsorted(self.day, day))
        return Days(self.day[:end], self.net[:end], self.awake[:end])

    def since(self, day: int) -> Days:
        """Return one day and the days after it."""
        begin = int(np.searchsorted(self.day, day))
        return Days(self.day[begin:], self.net[begin:], self.awake[begin:])


class Score(NamedTuple):
    """Sums over the days out of sample of a rule's returns x and of equal weight's c: all that its record needs."""

    n: float = 0.0
    x: float = 0.0
    c: float = 0.0
    xx: float = 0.0
    cc: float = 0.0
    xc: float = 0.0

    def plus(self, own: F8, control: F8) -> Score:
        """Return the score with more days."""
        return Score(*(
            before + float(added)
            for before, added in zip(self, (
                len(own), own.sum(), control.sum(), own @ own, control @ control, own @ control,
            ), strict=True)
        ))  # fmt: skip


class Lead(NamedTuple):
    """How far a rule is ahead of equal weight, per day; NaN while nothing can be said."""

    days: int
    own: float  # Sharpe ratio of a day
    control: float
    error: float  # standard error of the difference

    @property
    def errors(self) -> float:
        """The difference in standard errors; 0 where both earned the same every day."""
        apart = self.own - self.control
        return apart / self.error if self.error > 0.0 else (math.nan if math.isnan(apart) else 0.0)


class Plan(NamedTuple):
    """What was worked out at the beginning of day ``made``, and is in force from day ``begins``."""

    made: int
    begins: int
    n_days: int  # chosen on
    rule: str  # whose shares are used
    share: dict[str, F8]  # of every rule that has a record, and of equal weight: (K,), NaN of a sleeve too young
    score: dict[str, Score]  # out of sample, up to ``made``


def lead_of(score: Score) -> Lead:
    """Return how far a rule is ahead of equal weight by its record."""
    n = score.n
    if n < 2:
        return Lead(int(n), math.nan, math.nan, math.nan)
    mean, control = score.x / n, score.c / n
    var, var_c = score.xx / n - mean * mean, score.cc / n - control * control
    if not (var > 0.0 and var_c > 0.0):
        return Lead(int(n), math.nan, math.nan, math.nan)
    a, b = mean / math.sqrt(var), control / math.sqrt(var_c)
    c = min(max((score.xc / n - mean * control) / math.sqrt(var * var_c), -1.0), 1.0)
    spread = 2.0 * (1.0 - c) + 0.5 * (a * a + b * b - 2.0 * a * b * c * c)
    return Lead(int(n), a, b, math.sqrt(max(spread, 0.0) / n))


def chosen_by(score: dict[str, Score]) -> str:
    """Return the optimiser that is furthest ahead of equal weight, or equal weight when none is far enough."""
    ahead = {rule: lead_of(each).errors for rule, each in score.items() if each.n >= MIN_SCORED}
    far = {rule: errors for rule, errors in ahead.items() if errors > BAR}
    return max(far, key=lambda rule: far[rule]) if far else EQUAL


def shares_in(plan: F8, awake: Awake) -> F8:
    """Return the shares (K,) of a day from those of a plan: they sum to one over the sleeves that are awake.

    A sleeve without a place in the plan has the share of equal weight; the others divide what is left by the plan.

    Parameters
    ----------
    plan : (K,) float64
        NaN: no place.
    awake : (K,) bool

    Examples
    --------
    >>> shares_in(np.array([0.75, 0.25, np.nan]), np.array([True, True, True])).round(3).tolist()
    [0.5, 0.167, 0.333]
    """
    n = int(awake.sum())
    if n == 0:
        return np.zeros(len(plan))
    placed = awake & np.isfinite(plan)
    share = np.where(awake, 1.0 / n, 0.0)
    whole, k = float(plan[placed].sum()), int(placed.sum())
    if whole > 0.0:
        share[placed] = plan[placed] * (k / n / whole)
    return share


def planned(rule: str, days: Days, before: F8 | None, cost: float = COST) -> F8:
    """Return a rule's shares (K,) from the newest days, NaN of a sleeve that was awake on fewer than ``MIN_DAYS``.

    Parameters
    ----------
    rule : str
        Of ``OPTIMISED`` or equal weight.
    days : Days
        All before the day at whose beginning the plan is made.
    before : (K,) float64 or None
        The rule's plan before this one: what mean-variance weighs a change against.
    cost : float
        Of what is shifted.
    """
    net, awake = days.net[-TRAIN_DAYS:], days.awake[-TRAIN_DAYS:]
    known = awake.sum(axis=0) >= MIN_DAYS
    share = np.full(net.shape[1], math.nan)
    n = int(known.sum())
    if n == 0:
        return share
    held = np.full(n, 1.0 / n) if before is None else shares_in(before, known)[known]
    share[known] = _optimised(rule, np.where(awake, net, 0.0)[:, known], held, cost)
    return share


_plans: dict[bytes, F8] = {}


def _optimised(rule: str, returns: F8, held: F8, cost: float) -> F8:
    """Return an optimiser's weights (N,); the same question is worked out once: a backtest's checks ask it again."""
    returns = np.ascontiguousarray(returns)
    asked = hashlib.sha256(f"{rule} {cost!r} {returns.shape}".encode() + returns.tobytes() + held.tobytes()).digest()
    if asked not in _plans:
        if len(_plans) >= _KEPT_PLANS:
            _plans.clear()
        optimiser = next(each for name, each in OPTIMISERS.items() if name.lower().replace(" ", "-") == rule)
        if len(held) > 1:
            _plans[asked] = optimiser(returns, held, cost)
        else:
            _plans[asked] = np.ones(1)
    return _plans[asked]


def rules_for(wanted: str) -> tuple[str, ...]:
    """Return the optimisers that a way of sharing needs a record of."""
    return tuple(OPTIMISED) if wanted == EVIDENCE else (wanted,) if wanted in OPTIMISED else ()


def plan_for(wanted: str, before: Plan | None, days: Days, made: int, cost: float = COST) -> Plan:
    """Return the plan that is made at the beginning of a UTC day, and the record up to it.

    Parameters
    ----------
    wanted : str
        Way of sharing.
    before : Plan or None
        The one before this, whose shares are scored by the days since it began.
    days : Days
        What is known; days from ``made`` on are not looked at.
    made : int
        UTC day since the epoch.
    cost : float
        Of what is shifted between sleeves.
    """
    known, rules = days.before(made), rules_for(wanted)
    earlier = {} if before is None else before.share
    share = {rule: planned(rule, known, earlier.get(rule), cost) for rule in (*rules, EQUAL)}
    score = {rule: Score() for rule in rules}
    if before is not None:
        since = known.since(before.begins)
        control = _earned(before.share[EQUAL], share[EQUAL], since, cost)
        for rule in rules:
            kept = before.score.get(rule, Score())
            own = before.share.get(rule)
            score[rule] = kept if own is None else kept.plus(_earned(own, share[rule], since, cost), control)
    used = chosen_by(score) if wanted == EVIDENCE else wanted if wanted in rules else EQUAL
    return Plan(made, made + 1, min(len(known.day), TRAIN_DAYS), used, share, score)


def _earned(plan: F8, following: F8, days: Days, cost: float) -> F8:
    """Return what a plan's shares earned on each of some days (D,), the cost of shifting and of its end paid."""
    if not len(days.day):
        return np.empty(0)
    shares = np.array([shares_in(plan, awake) for awake in days.awake])
    after = np.vstack([shares[1:], shares_in(following, days.awake[-1])])
    shifted = np.abs(after - shares).sum(axis=1)
    earned: F8 = (shares * np.where(days.awake, days.net, 0.0)).sum(axis=1) - cost * shifted
    return earned


def caught_up(wanted: str, before: Plan | None, days: Days, owed: Sequence[int], cost: float = COST) -> Plan:
    """Return the newest of the plans that are owed, each made from what was known at its day.

    Raises
    ------
    ValueError
        Nothing is owed.
    """
    for made in owed:
        before = plan_for(wanted, before, days, made, cost)
    if before is None:
        raise ValueError("no plan is owed")
    return before


def plan_as_json(plan: Plan | None) -> dict[str, Any] | None:
    """Return a plan as plain JSON types."""
    if plan is None:
        return None
    shares = {
        rule: [None if math.isnan(each) else each for each in share.tolist()] for rule, share in plan.share.items()
    }
    return plan._asdict() | {"share": shares, "score": {rule: list(score) for rule, score in plan.score.items()}}


def plan_from_json(kept: dict[str, Any] | None) -> Plan | None:
    """Return the plan that ``plan_as_json`` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError
        It was not written by that.
    """
    if kept is None:
        return None
    share = {rule: np.array(each, dtype=np.float64) for rule, each in kept["share"].items()}
    if EQUAL not in share or kept["rule"] not in share:
        raise ValueError("a plan without its own shares")
    score = {rule: Score(*(float(each) for each in sums)) for rule, sums in kept["score"].items()}
    return Plan(int(kept["made"]), int(kept["begins"]), int(kept["n_days"]), str(kept["rule"]), share, score)
