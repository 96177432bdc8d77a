"""Why models should be trained again: what the lookout and the record of forecasts say, as one sentence."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.domain import NS_PER_DAY, NS_PER_S
from models.champion import Trigger, Watch, drifted, retraining_due
from models.ensemble import Skill, gains_of, skill_of
from models.forecast import HORIZONS

UNLIKE_SHARE = 0.2
"""Drift is when at least this share of the inputs is unlike any week of the training; single ones always are."""

RECENT_DAYS = 30
CHALLENGE_DAYS = 28
"""A challenger is left this long in the shadow before the calendar replaces it: its test needs a fortnight at least."""

DAY_S = 86_400.0
MOST_NAMED = 3


class Facts(NamedTuple):
    """What retraining depends on. Moments are ns; those of bars are the market's, the others the clock's."""

    ts_now: int
    ts_tried: int  # newest beginning of a training, whatever became of it; 0 is never
    ts_last: int  # newest bar that the newest set has learned from
    has_challenger: bool
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
        It begins with the trigger: drift, regime or schedule. Nothing within the pause after the training before.
    """
    if facts.ts_tried <= 0:
        return None  # a person starts the first one
    found = retraining_due(_watch(facts))
    if found is None:
        return None
    if found == Trigger.SCHEDULE:
        return f"schedule: every {facts.every_days} days"
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
    if every is not None and facts.has_challenger:
        every = max(every, CHALLENGE_DAYS)
    return Watch(
        facts.ts_now, facts.ts_tried, facts.ts_now if changed else 0, recent,
        schedule_s=float("inf") if every is None else every * DAY_S,
        pause_s=(facts.pause_days if every is None else min(facts.pause_days, every)) * DAY_S,
    )  # fmt: skip


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
        told.append("By the calendar: switched off.")
    elif facts.ts_tried > 0:
        watch = _watch(facts)
        left = (facts.ts_tried + watch.schedule_s * NS_PER_S - facts.ts_now) / NS_PER_DAY
        later = ", so long because a challenger is being judged" if watch.schedule_s > facts.every_days * DAY_S else ""
        told.append(f"By the calendar: in {max(left, 0.0):.1f} days{later}.")
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
