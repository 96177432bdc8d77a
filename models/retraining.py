"""Why models should be trained again: what the lookout and the record of forecasts say, as one sentence."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.domain import NS_PER_DAY
from models.champion import Trigger, Watch, drifted, retraining_due
from models.ensemble import Skill, gains_of, skill_of
from models.forecast import HORIZONS

UNLIKE_SHARE = 0.2
"""Drift is when at least this share of the inputs is unlike any week of the training; single ones always are."""

RECENT_DAYS = 30
NEAR_DAYS = 3
"""A set in force that expires within so many days needs somebody to follow it: a training may fail, or wait."""

HEIR_DAYS = 14
"""A challenger that outlives the set in force by less than this is no heir: it would have to be followed at once."""

DAY_S = 86_400.0
MOST_NAMED = 3


class Facts(NamedTuple):
    """What retraining depends on. Moments are ns; those of bars are the market's, the others the clock's."""

    ts_now: int
    ts_tried: int  # newest beginning of a training, whatever became of it; 0 is never
    ts_last: int  # newest bar that the newest set was trained with
    ts_expires: int  # of the set in force
    ts_heir: int  # when its challenger expires; 0: nobody challenges, or only somebody who has expired
    drift: list[dict[str, Any]]  # rows of ``models.answers.drift_rows``; empty: unknown, or the setting is off
    change: tuple[int, str] | None  # newest change that the lookout saw; None: none, or the setting is off
    skill: Skill | None  # of the ensemble in force over the newest days
    every_days: int | None  # by the calendar; None: the setting is off
    pause_days: int


def why_train(facts: Facts) -> str | None:
    """Return why models should be trained again now, None if they should not.

    Returns
    -------
    str or None
        It begins with the trigger: drift, regime, expiry or schedule. Nothing within the pause after the training
        before.

    Notes
    -----
    The calendar leaves a challenger in the shadow until its test decides: every restart of the test throws away what
    it had found. The life of the set in force is the other end. Before it expires somebody is there to follow it, for
    whom there is no test then, because with nobody in force there is nobody to be compared with.
    """
    if facts.ts_tried <= 0:
        return None  # a person starts the first one
    found = retraining_due(_watch(facts))
    if found is None:
        return None
    if found == Trigger.SCHEDULE:
        return f"schedule: every {facts.every_days} days"
    if found == Trigger.EXPIRY:
        return f"expiry: the set in force {_end_words(facts)}, and nobody is there to follow it for long"
    if found == Trigger.REGIME and facts.change is not None:
        when = np.datetime64(facts.change[0], "ns").astype("datetime64[m]")
        return f"regime: {facts.change[1]}, {str(when).replace('T', ' ')} UTC"
    return f"drift: {_drift_words(facts)}"


def _watch(facts: Facts) -> Watch:
    unknown = np.full(len(HORIZONS), np.nan)
    recent = facts.skill or Skill(unknown, unknown, np.zeros(len(HORIZONS)))
    if _is_unlike(facts.drift):  # inputs that were never seen are drift before any outcome shows it
        recent = Skill(np.full(1, -1.0), np.full(1, 1e-9), np.full(1, np.inf))
    changed = facts.change is not None and facts.change[0] > facts.ts_last
    every = facts.every_days
    is_near = facts.ts_now >= facts.ts_expires - NEAR_DAYS * NS_PER_DAY
    has_heir = facts.ts_heir >= max(facts.ts_expires, facts.ts_now) + HEIR_DAYS * NS_PER_DAY
    return Watch(
        facts.ts_now, facts.ts_tried, facts.ts_now if changed else 0, recent,
        schedule_s=float("inf") if every is None or facts.ts_heir else every * DAY_S,
        pause_s=(facts.pause_days if every is None else min(facts.pause_days, every)) * DAY_S,
        is_ending=every is not None and is_near and not has_heir,
    )  # fmt: skip


def _end_words(facts: Facts) -> str:
    left = (facts.ts_expires - facts.ts_now) / NS_PER_DAY
    return f"expires in {left:.1f} days" if left > 0.0 else "has expired"


def unlike(drift: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the inputs that are unlike any week of the training, the furthest first."""
    return sorted((row for row in drift if row["verdict"] == "unlike"), key=lambda row: -row["psi"])


def _is_unlike(drift: list[dict[str, Any]]) -> bool:
    return bool(drift) and len(unlike(drift)) >= UNLIKE_SHARE * len(drift)


def _drift_words(facts: Facts) -> str:
    rows = unlike(facts.drift)
    if not _is_unlike(facts.drift):
        return f"forecasts of the newest {RECENT_DAYS} days were surely worse than the base rate"
    named = ", ".join(dict.fromkeys(row["topic"].lower() for row in rows))
    named = ", ".join(named.split(", ")[:MOST_NAMED])
    return f"{len(rows)} of {len(facts.drift)} inputs are unlike any week of the training ({named})"


def recent_skill(rows: list[dict[str, Any]]) -> Skill | None:
    """Return the skill that daily sums of losses show, None without any.

    Parameters
    ----------
    rows : list of dict
        ``day`` and ``horizon``; over a day's outcomes the sums ``log_loss_gain``, ``pinball_gain`` and
        ``base_pinball``, each gain the base rate's loss minus the ensemble's; and their number ``n``.
    """
    if not rows:
        return None
    first = min(row["day"] for row in rows)
    shape = (max(row["day"] for row in rows) - first + 1, len(HORIZONS))
    sums = {name: np.zeros(shape) for name in ("log_loss_gain", "pinball_gain", "base_pinball", "n")}
    for row in rows:
        for name, values in sums.items():
            values[row["day"] - first, HORIZONS.index(row["horizon"])] = row[name]
    scale = sums["base_pinball"].sum() / max(sums["n"].sum(), 1.0)
    # the mean loss as the one known value: its scale divides every gain
    gain = gains_of(sums["log_loss_gain"], sums["pinball_gain"], np.full(1, scale))
    return skill_of(gain, sums["n"])


def standing(facts: Facts) -> list[str]:
    """Return how far each reason to train again is, a sentence each."""
    told = []
    if facts.every_days is None:
        told.append("By the calendar: switched off, and so is a training before the set in force expires.")
    elif facts.ts_tried > 0 and facts.ts_heir:
        told.append("By the calendar: once the challenger is decided, or shortly before the set in force expires.")
    elif facts.ts_tried > 0:
        left = (facts.ts_tried + facts.every_days * NS_PER_DAY - facts.ts_now) / NS_PER_DAY
        told.append(f"By the calendar: in {max(left, 0.0):.1f} days.")
    if facts.ts_expires > 0:
        heir = "its challenger then takes its place" if facts.ts_heir > facts.ts_expires else "nobody follows it yet"
        told.append(f"Expiry: the set in force {_end_words(facts)}; {heir}.")
    if facts.drift:
        limit = int(np.ceil(UNLIKE_SHARE * len(facts.drift)))
        told.append(
            f"Drift: {len(unlike(facts.drift))} of {len(facts.drift)} inputs are unlike any week of the training; "
            f"{limit} start one."
        )
    if facts.skill is not None:
        days = int(np.nanmax(facts.skill.n_days))
        sure = "surely worse" if drifted(facts.skill) else "not surely worse"
        told.append(f"Forecasts: {sure} than the base rate over the newest {days} days that were judged.")
    if facts.change is not None:
        newer = facts.change[0] > facts.ts_last
        when = str(np.datetime64(facts.change[0], "ns").astype("datetime64[m]")).replace("T", " ")
        told.append(f"Change: {facts.change[1]}, {when} UTC{'' if newer else ', before the newest training'}.")
    return told
