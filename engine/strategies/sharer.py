"""The sharing of the risk as a run goes on: days that have ended, plans that are owed, and the one in force."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.domain import F8
from engine.strategies.portfolio import ADAPTIVE, BY_PLAN, EQUAL
from engine.strategies.sharing import (
    MIN_DAYS,
    TRAIN_DAYS,
    Awake,
    Days,
    Plan,
    caught_up,
    lead_of,
    plan_as_json,
    plan_from_json,
    rules_for,
    shares_in,
)

KEPT_DAYS = TRAIN_DAYS + 62  # over a restart: a window, and two months that may not have been scored yet


class Sharer:
    """Shares out, by plans that ``engine.strategies.sharing`` makes.

    Parameters
    ----------
    wanted : str
        Way of sharing, of ``SHARINGS``; with ``adaptive`` it keeps the days only, for a later change.
    n_sleeves : int
        K, that share the risk.
    at_once : bool
        Make a plan where it is owed. Off where something else makes it: that one calls ``owed_work`` and ``accept``.
    """

    def __init__(self, wanted: str, n_sleeves: int, *, at_once: bool = True) -> None:
        self.wanted, self._at_once = wanted, at_once
        self._n = n_sleeves
        self._day: list[int] = []
        self._net: list[F8] = []
        self._awake: list[Awake] = []
        self.owed: list[int] = []  # UTC days at whose beginning a plan was due, and is not made
        self.plan: Plan | None = None  # in force
        self.coming: Plan | None = None  # made, and not in force yet
        self.since = 0  # UTC day since which the rule in force is used

    @property
    def days(self) -> Days:
        """The days that have ended."""
        shape = (len(self._day), self._n)
        return Days(
            np.array(self._day, dtype=np.int64), np.array(self._net, dtype=np.float64).reshape(shape),
            np.array(self._awake, dtype=bool).reshape(shape),
        )  # fmt: skip

    def end_day(self, day: int, net: F8, awake: Awake) -> None:
        """Take what the sleeves' own books earned on a UTC day that has ended; it is read again, so it is copied."""
        if not self._day or day > self._day[-1]:
            self._day.append(int(day))
            self._net.append(np.array(net, dtype=np.float64))
            self._awake.append(np.array(awake, dtype=bool))

    def share(self, day: int, awake: Awake) -> F8 | None:
        """Return the shares (K,) of a UTC day that begins; None where the online learner shares.

        Known at: the last close of the day before.
        """
        if self.wanted == ADAPTIVE:
            return None
        if self._is_due(day) and (not self.owed or day > self.owed[-1]):
            self.owed.append(day)
        if self._at_once and self.owed:
            self.accept(caught_up(self.wanted, self.coming or self.plan, self.days, self.owed))
        return self.now(day, awake)

    def now(self, day: int, awake: Awake) -> F8:
        """Return the shares of a UTC day by the plans that there are: equal weight before the first."""
        if self.coming is not None and self.coming.begins <= day:
            if self.plan is None or self.plan.rule != self.coming.rule:
                self.since = day
            self.plan, self.coming = self.coming, None
        used = np.full(self._n, math.nan) if self.plan is None else self.plan.share[self.plan.rule]
        return shares_in(used, awake)

    def _is_due(self, day: int) -> bool:
        if self.wanted not in BY_PLAN or len(self._day) < MIN_DAYS:
            return False
        is_first = self.plan is None and self.coming is None and not self.owed
        return is_first or _month(day) != _month(self._day[-1])

    def accept(self, plan: Plan) -> None:
        """Take a plan that was owed; it is in force from its day on, or, when it is late, from the next look on."""
        self.coming = plan
        self.owed = [day for day in self.owed if day > plan.made]

    def owed_work(self) -> tuple[str, Plan | None, Days, list[int]] | None:
        """Return what ``caught_up`` needs to make the plans that are owed; None when none is."""
        if not self.owed:
            return None
        return self.wanted, self.coming or self.plan, self.days, list(self.owed)

    # over a restart ----------------------------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        """Return what ``take_up`` takes back after a restart, for JSON; the days as bytes, exactly."""
        days = self.days
        newest = slice(-KEPT_DAYS, None)
        table = np.column_stack([days.day, days.net, days.awake])[newest].astype("<f8")
        return {
            "wanted": self.wanted, "days": base64.b64encode(table.tobytes()).decode(), "owed": list(self.owed),
            "plan": plan_as_json(self.plan), "coming": plan_as_json(self.coming), "since": self.since,
        }  # fmt: skip

    def take_up(self, kept: Mapping[str, Any] | None) -> None:
        """Take back what ``kept`` gave; what is damaged is left alone, and plans of another way are not used.

        Days from before those kept, of a longer history, stay.
        """
        try:
            table = np.frombuffer(base64.b64decode(kept["days"], validate=True), dtype="<f8")  # type: ignore[index]
            table = table.reshape(-1, 1 + 2 * self._n)
            same = kept["wanted"] == self.wanted  # type: ignore[index]
            plan, coming = (plan_from_json(kept[name]) if same else None for name in ("plan", "coming"))  # type: ignore[index]
            owed, since = ([int(day) for day in kept["owed"]], int(kept["since"])) if same else ([], 0)  # type: ignore[index]
        except (KeyError, TypeError, ValueError):
            return
        if not np.isfinite(table).all() or (np.diff(table[:, 0]) <= 0).any():
            return
        if len(table):
            older = int(np.searchsorted(self._day, table[0, 0]))
            del self._day[older:], self._net[older:], self._awake[older:]
            for row in table:
                self.end_day(int(row[0]), row[1 : 1 + self._n], row[1 + self._n :] > 0.5)
        if same:
            self.plan, self.coming, self.owed, self.since = plan, coming, owed, since
        elif self.wanted in BY_PLAN:  # its plans would have been made on these days
            begun = range(MIN_DAYS, len(self._day))
            self.owed = [
                self._day[at] for at in begun if at == MIN_DAYS or _month(self._day[at]) != _month(self._day[at - 1])
            ]

    # telling -----------------------------------------------------------------------------------------------------

    def told(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Return which rule shares out now, since when and on what evidence, as plain JSON types.

        ``wanted, rule, since`` (UTC day, None while adaptive or before a plan), ``made, begins, n_days`` of the plan;
        ``days`` known and ``needed``; ``share`` of the plan by sleeve; ``record``: rows of ``rule, days, sharpe,
        control`` (a year), ``errors`` (ahead of equal weight, in standard errors); ``owed``: days of plans not made.
        """
        plan = self.plan
        rule = ADAPTIVE if self.wanted == ADAPTIVE else EQUAL if plan is None else plan.rule
        found: dict[str, Any] = {
            "wanted": self.wanted, "rule": rule, "since": self.since or None, "made": None, "begins": None,
            "n_days": None, "days": len(self._day), "needed": MIN_DAYS, "share": {}, "record": [],
            "owed": list(self.owed), "coming": None if self.coming is None else self.coming.begins,
        }  # fmt: skip
        if plan is None:
            return found
        share = dict(zip(names, plan.share[plan.rule].tolist(), strict=True))
        return found | {
            "made": plan.made, "begins": plan.begins, "n_days": plan.n_days,
            "share": {name: each for name, each in share.items() if not math.isnan(each)},
            "record": [record_of(rule, plan) for rule in rules_for(self.wanted) if rule in plan.score],
        }  # fmt: skip


def record_of(rule: str, plan: Plan) -> dict[str, Any]:
    """Return a rule's record out of sample as plain JSON types, Sharpe ratios a year."""
    lead, year = lead_of(plan.score[rule]), math.sqrt(365.0)

    def plain(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "rule": rule, "days": lead.days, "sharpe": plain(lead.own * year), "control": plain(lead.control * year),
        "errors": plain(lead.errors),
    }  # fmt: skip


def _month(day: int) -> int:
    return int(np.datetime64(day, "D").astype("datetime64[M]").astype(np.int64))
