"""How the AI Insights page writes a challenge: rows of tables, and sentences on how it stands. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from app.formats import is_known, moment, number, percent
from app.tables import Column

CHALLENGE_COLUMNS = (
    Column("champion", "In force", "text", "Named by when it was trained, UTC", 150),
    Column("challenger", "Challenger", "text", "Forecasts the same bars, and decides nothing", 150),
    Column("since", "Since, UTC", "text", "", 140),
    Column("outcomes", "Judged", "count", "Outcomes that both have forecast, in finished blocks of two days", 75),
    Column("evidence", "Evidence for it", "figure", "What a stake of 1 on it being better has grown to at best", 150),
    Column("against", "Evidence against", "figure", "The same for: not better by what a change is worth", 150),
)
CHANGE_COLUMNS = (
    Column("at", "When, UTC", "text", "", 140),
    Column("what", "What happened", "text", "", 150),
    Column("version", "Models", "text", "Named by when they were trained, UTC", 150),
    Column("reason", "Why", "text", "", "large"),
    Column("actor", "By", "text", "", 130),
)
CHANGE_WORD = {
    "enter": "in force: the first", "challenge": "challenges", "promote": "in force", "dismiss": "sent away",
    "rollback": "in force again", "retire": "retired", "restore": "allowed again",
}  # fmt: skip


def challenge_rows(overview: dict[str, Any]) -> pd.DataFrame:
    """Return challengers beside the models they would replace."""
    rows = [row | {
        "since": moment(row["since_ns"]), "evidence": _evidence(row, "evidence"), "against": _evidence(row, "against"),
    } for row in overview["challenges"]]  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in CHALLENGE_COLUMNS])


def _evidence(row: dict[str, Any], name: str) -> str:
    if not (is_known(row.get(name)) and is_known(row.get("needed"))):
        return "none yet"
    return f"{number(row[name], 1)} of {number(row['needed'], 0)}"


def challenge_lines(row: dict[str, Any]) -> list[str]:
    """Say how a challenge stands, how long a verdict may take, what money says, and what the test can promise."""
    said = row["verdict"].rstrip(".")
    return [
        f"{said[:1].upper()}{said[1:]}. The first of both to reach the line decides.",
        ahead_sentence(row.get("ahead")),
        money_sentence(row.get("money")),
        "One that forecasts better is put into force by itself, if the settings allow it and it would not have lost "
        "money against the set in force. The line holds for all looks at this challenger together; every new one has a "
        "5 % chance of its own of passing by luck.",
    ]


def ahead_sentence(ahead: dict[str, Any] | None) -> str:
    """Say when such a challenge can be expected to be decided, and what its end leaves undecided."""
    if ahead is None:
        return "How long a verdict takes is not asked any more, or there is nothing to say it by."
    ends = f"This challenge ends with the set in force, in {number(ahead['days_left'], 0)} days"
    if ahead["share"] is None:
        return f"How long a verdict takes can be said after five blocks of two days. {ends}."
    takes = f"about {number(ahead['days'], 0)} more days" if is_known(ahead["days"]) else "more than half a year"
    return (
        f"With differences like these a verdict takes {takes}. {ends}: by then {percent(ahead['share'], 0)} of such "
        f"challenges have one, {percent(ahead['for_it'], 0)} for the challenger. Undecided, the newer set then takes "
        "over."
    )


def money_sentence(money: dict[str, Any] | None) -> str:
    """Say what positions on both sets' forecasts would have earned, with the doubt of the difference."""
    if money is None:
        return "What positions on its forecasts would have earned is not known yet."
    apart = money["challenger"] - money["champion"]
    return (
        f"Positions on its forecasts would have earned {_bp(money['challenger'])} of the equity over "
        f"{number(money['days'], 0)} days, those of the set in force {_bp(money['champion'])}, after costs of 6 bp a "
        f"trade: {_bp(apart)} apart, give or take {number(2e4 * money['error'], 0)}."
    )


def _bp(fraction: float) -> str:
    return ("+" if fraction > 0 else "") + number(1e4 * fraction, 1, "bp")


def change_rows(overview: dict[str, Any]) -> pd.DataFrame:
    """Return every change of which models are in force, the newest first."""
    rows = [row | {
        "at": moment(row["ts"]), "what": CHANGE_WORD.get(row["action"], row["action"]),
    } for row in overview.get("changes", [])]  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in CHANGE_COLUMNS])
