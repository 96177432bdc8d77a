"""What the Portfolio page says of who shares the risk out. Pure: the engine's answer in, rows and sentences out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd

from app.formats import is_known, number, percent, plural
from app.tables import Column

ADAPTIVE, EQUAL, EVIDENCE = "adaptive", "equal-weight", "evidence"
LABELS = {
    ADAPTIVE: "Adaptive, by what each earned", EQUAL: "Equal weight", "risk-parity": "Risk parity",
    "minimum-cvar": "Minimum CVaR", "hierarchical-risk-parity": "Hierarchical risk parity",
    "mean-variance": "Mean-variance, turnover costed", EVIDENCE: "By evidence, walk-forward",
}  # fmt: skip
MEANINGS = {
    ADAPTIVE: "learns every day which sleeves earned most, in calm and in stormy markets",
    EQUAL: "gives every sleeve that is awake the same share",
    "risk-parity": "lets every sleeve contribute the same risk",
    "minimum-cvar": "makes the mean loss of the worst 5 % of days smallest",
    "hierarchical-risk-parity": "divides the risk down a tree of correlations",
    "mean-variance": "weighs return against variance, and every change against its cost",
    EVIDENCE: "uses the optimiser whose record out of sample is far enough above equal weight, else equal weight",
}  # fmt: skip
RECORD_COLUMNS = (
    Column("rule", "Optimiser", "text", "", 210),
    Column("days", "Days out of sample", "count", "On which its shares were known before the day began", 130),
    Column("sharpe", "Sharpe", "number", "A year, of the sleeves' own books, the cost of shifting paid", 80),
    Column("control", "Equal weight", "number", "Sharpe ratio of equal weight on the same days", 105),
    Column("errors", "Ahead, std. errors", "number", "Difference of the two over its standard error", 130),
    Column("verdict", "Verdict", "text", "", 210),
)


def label_of(sharing: str) -> str:
    """Return what a person reads for a way of sharing."""
    return LABELS.get(sharing, sharing)


def day_of(day: int) -> str:
    """Return a UTC day since the epoch as text."""
    return f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}"


def in_force_sentence(answer: dict[str, Any]) -> str:
    """Return who shares the risk out now, since when, and by which plan."""
    now = answer["now"]
    if now is None:
        return "The portfolio strategy is not at work, so nothing shares its risk out."
    rule = label_of(now["rule"])
    if now["wanted"] == ADAPTIVE:
        return f"In force: **{rule}**. It learns every UTC day and needs no plan."
    if now["wanted"] == EQUAL:
        return f"In force: **{rule}**, as chosen. It needs no plan."
    if now["made"] is None:
        return (
            f"In force: **{rule}**, until there is a first plan: it needs {now['needed']} days of the sleeves' own "
            f"returns, and {now['days']} are known."
        )
    since = f", since {day_of(now['since'])}" if now["since"] else ""
    shares = ", ".join(f"{name} {percent(share, 0)}" for name, share in now["share"].items())
    by = "by evidence" if now["wanted"] == EVIDENCE else "as chosen"
    return (
        f"In force: **{rule}**, {by}{since} — plan of {day_of(now['made'])} from {plural(now['n_days'], 'day')}: "
        f"{shares}. Sleeves that are awake divide it; the next plan is made at the first day of the month."
        f"{_charged(now)}"
    )


def _charged(now: dict[str, Any]) -> str:
    cost = now.get("cost")
    return "" if cost is None else f" Shifting was charged with {number(cost * 1e4, 1)} bp."


def trouble_sentence(answer: dict[str, Any]) -> str:
    """Return why a plan that was due is missing; empty when none is."""
    now = answer["now"]
    if now is None or not now["owed"]:
        return ""
    due = day_of(now["owed"][-1])
    if now["is_making"]:
        return f"The plan of {due} is being made in a process beside the engine. Until then the last shares go on."
    if now["trouble"]:
        return (
            f"The plan of {due} could not be made: {now['trouble']}. The last shares go on; it is tried again on the "
            "next UTC day."
        )
    return f"The plan of {due} is due: it is made after the next decision. Until then the last shares go on."


def is_trouble(answer: dict[str, Any]) -> bool:
    """Return whether a plan failed, which a person should see as a warning."""
    now = answer["now"]
    return now is not None and bool(now["owed"]) and not now["is_making"] and bool(now["trouble"])


def on_its_way_sentence(answer: dict[str, Any]) -> str:
    """Return that a change waits for history; empty when what is chosen is in force."""
    now, wanted = answer["now"], answer["wanted"]
    if wanted is None or (now is not None and now["wanted"] == wanted):
        return ""
    return f"**{label_of(wanted)}** was chosen and comes into force when the engine has seen its history."


def record_rows(record: list[dict[str, Any]], bar: float, needed: int, used: str | None) -> pd.DataFrame:
    """Return the optimisers' records out of sample with a verdict each.

    Parameters
    ----------
    record : rows of ``rule, days, sharpe, control, errors``
    bar : float
        Standard errors that are asked for.
    needed : int
        Days that are asked for.
    used : str or None
        The rule in force.
    """
    rows = []
    for row in record:
        if row["days"] < needed:
            verdict = f"too short: {needed} days are asked for"
        elif not is_known(row["errors"]) or row["errors"] <= bar:
            verdict = f"not shown to be better: {number(bar, 1)} are asked for"
        else:
            verdict = "better"
        rows.append(row | {"rule": label_of(row["rule"]), "verdict": verdict + (", in force" * (row["rule"] == used))})
    return pd.DataFrame(rows)


def report_sentence(found: dict[str, Any]) -> str:
    """Return what *by evidence* would have used over the candles on the record."""
    if found["rule"] is None:
        return f"By evidence: {plural(found['days'], 'day')} on the record are too few for a plan of any optimiser."
    used = ", then ".join(f"{label_of(each['rule'])} from {day_of(each['day'])}" for each in found["changes"])
    return f"Over the recorded candles *by evidence* would have used {used}."
