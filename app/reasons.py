"""How the Journal and AI Insights write why the models forecast what they did at a decision: rows, sentences. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from app.formats import UNKNOWN, is_known, moment, number, percent
from app.tables import Column

FEATURE_COLUMNS = (
    Column("bp", "Moved it, bp", "figure", "Basis points of the middle forecast: hundredths of a per cent", 85),
    Column("name", "Input", "text", "Its name in the documentation of the inputs", 115),
    Column("unusual", "Off average, sd", "figure", "Standard deviations from its average in the training", 100),
    Column("topic", "Kind", "text", "", 200),
)
MEMBER_COLUMNS = (
    Column("name", "Model", "text", "", 105),
    Column("weight", "Weight", "figure", "What it counts in this forecast", 70),
    Column("bp", "Middle, bp", "figure", "Half of its outcomes lie above; basis points of log return", 90),
    Column("moved", "Moved, bp", "figure", "Against what it says of an average bar", 90),
    Column("prob", "Rise, %", "figure", "Its probability of a rise", 75),
)
WISH_COLUMNS = (
    Column("who", "Whose", "text", "", 110),
    Column("wish", "Wish, −1 to 1", "figure", "Wholly short to wholly long; not an order", 110),
    Column("share", "Earned, %", "figure", "Share of a decision that its trading results gave it", 90),
    Column("added", "Adds", "figure", "To the wish of all; these add up to it", 80),
)
VOTE_COLUMNS = (
    Column("name", "Agent", "text", "", 80),
    Column("vote", "Wish, −1 to 1", "figure", "Wholly short to wholly long; not an order", 110),
    Column("between", "9 of 10 of its actions", "figure", "A wide range is an agent without a view", 150),
    Column("weight", "Weight, %", "figure", "Of a decision, by its own trading results", 85),
)
CASE_COLUMNS = (
    Column("at", "Bar closed, UTC", "text", "", 140),
    Column("symbol", "Symbol", "text", "", 90),
    Column("distance", "Distance, sd", "figure", "Root mean square difference of the inputs, standard deviations", 95),
    Column("after", "Then moved, bp", "figure", "Over the horizon, in the volatility of the decision", 110),
)


def absent(answer: dict[str, Any]) -> str:
    """Say why there is no record of the reasons."""
    return f"Not computed, because {_lowered(str(answer['why_not'] or 'nothing was kept')).rstrip('.')}."


def _lowered(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def feature_rows(record: dict[str, Any]) -> pd.DataFrame:
    """Return the inputs that moved the middle forecast most."""
    rows = [
        {"topic": topic, "name": name, "unusual": plus(sd, 1), "bp": plus(bp, 2)}
        for name, topic, sd, bp, _ in record["features"]
    ]
    return pd.DataFrame(rows, columns=[column.name for column in FEATURE_COLUMNS])


def member_rows(record: dict[str, Any]) -> pd.DataFrame:
    """Return what every member said and by how much this bar moved it; members without weight too."""
    rows = [{
        "name": name, "weight": percent(weight, 0), "bp": plus(bp, 1), "prob": percent(prob, 1),
        "moved": plus(moved, 1) if weight and name != "base-rate" else "no part",
    } for name, weight, bp, prob, moved, _ in record["members"]]  # fmt: skip
    for row in rows:
        if row["name"] == "base-rate":
            row["moved"] = "never moves"
    return pd.DataFrame(rows, columns=[column.name for column in MEMBER_COLUMNS])


def member_sentence(record: dict[str, Any]) -> str:
    """Say how far members are from each other, in both units."""
    bp, prob = record["spread"]
    if not is_known(bp) or not is_known(prob):
        return "Fewer than two members had a forecast: whether they agree is unknown."
    lean = abs(record["said"][0])
    verdict = "more than" if bp > lean else "less than"
    return (
        f"Members differ by {number(bp, 1)} bp and {number(100 * prob, 1)} points of probability (standard deviation): "
        f"{verdict} the {number(lean, 1)} bp that they forecast together."
    )


def topic_sentence(record: dict[str, Any]) -> str:
    """Say what the bars of the figure add up to, and what they are not."""
    if not record["topics"]:
        return (
            f"The forecast is the base rate's ({plus(record['said'][0], 1)} bp): no member counts over "
            f"{record['horizon']} h, so no input moved it."
        )
    return (
        f"From {plus(record['typical'][0], 1)} bp for an average bar to {plus(record['said'][0], 1)} bp for this one, "
        f"over {record['horizon']} h; 80 % interval {plus(record['low'], 0)} to {plus(record['high'], 0)} bp. Whiskers "
        "are two standard errors. Shown is what the models made of their inputs, not what moves the market."
    )


def wish_rows(record: dict[str, Any]) -> pd.DataFrame:
    """Return whose wishes were mixed, and what each added."""
    rows = [
        {"who": who, "wish": plus(wish, 2), "share": percent(share, 0), "added": plus(added, 3)}
        for who, wish, share, added in record["wish"]["parts"]
    ]
    return pd.DataFrame(rows, columns=[column.name for column in WISH_COLUMNS])


def wish_sentence(record: dict[str, Any]) -> str:
    """Say what the wishes came to."""
    total = record["wish"]["total"]
    if not is_known(total):
        return "Together they had no wish for this symbol: the rule alone decided."
    return f"Together they wished {plus(total, 2)}; what that counted in the decision follows from what they earned."


def vote_rows(record: dict[str, Any]) -> pd.DataFrame:
    """Return what each trading agent wished."""
    rows = [{
        "name": row["name"].upper(), "vote": plus(row["vote"], 2), "weight": percent(row["weight"], 0),
        "between": f"{number(row['low'])} to {number(row['high'])}",
    } for row in record["votes"]]  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in VOTE_COLUMNS])


def case_rows(record: dict[str, Any]) -> pd.DataFrame:
    """Return the past bars most like this one, the nearest first."""
    rows = [
        {"at": moment(ts), "symbol": symbol, "distance": number(distance), "after": plus(after, 0)}
        for ts, symbol, distance, after in (record["cases"] or {"rows": []})["rows"]
    ]
    return pd.DataFrame(rows, columns=[column.name for column in CASE_COLUMNS])


def case_sentence(record: dict[str, Any]) -> str:
    """Say what came after similar bars, and how alike they really were."""
    cases = record["cases"]
    if not cases or not cases["rows"]:
        return "No past bar with a known outcome was there to compare with."
    near = cases["rows"][0][2]
    alike = "alike" if near < 0.5 * cases["ordinary"] else "not very alike"
    return (
        f"After the {cases['count']} most similar of the {number(cases['bars'], 0)} hours before, the price rose "
        f"{cases['rises']} times. The nearest is {number(near)} away, an ordinary bar {number(cases['ordinary'])}: "
        f"{alike}."
    )


def plus(value: float | None, decimals: int) -> str:
    """Write a number with its sign, also where it is above zero."""
    if not is_known(value):
        return UNKNOWN
    return f"+{number(value, decimals)}" if value > 0 else number(value, decimals)
