"""How the AI Insights page writes what models earned of a decision, and why. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from app.formats import percent
from app.insights import ROLE_WORD, TRADERS, estimate, reason
from app.tables import Column

SHARE_COLUMNS = (
    Column("name", "Who", "text", "Forecasters trade together, as one ensemble; so do agents", 110),
    Column("share", "Share of a decision", "figure", "At most; a setting may hold it lower", 130),
    Column("excess", "Excess, % a year", "figure", "Earned beyond holding and the trend rule, after costs", 150),
    Column("sharpe", "Sharpe, net, per year", "figure", "Of its position rule, after costs", 150),
    Column("trend_sharpe", "Trend rule's", "figure", "Sharpe ratio of the plain rule on the same days", 150),
    Column("days", "Days", "count", "Traded on bars that were not learned from", 60),
)


def share_rows(overview: dict[str, Any]) -> pd.DataFrame:
    """Return what trades with what it earned and the share of a decision that this gives it."""
    rows = []
    for row in overview["models"]:
        if row["name"] in TRADERS:
            found = row.get("traded") or {"share": 0.0}
            rows.append({
                "name": row["name"] if row["role"] != "challenger" else f"{row['name']}, challenger",
                "share": percent(found["share"], 0), "days": found.get("days"),
                "excess": estimate(found.get("excess"), 100, 1, sign=True),
                "sharpe": estimate(found.get("sharpe"), 1, 2, sign=True),
                "trend_sharpe": estimate(found.get("trend_sharpe"), 1, 2, sign=True),
            })  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in SHARE_COLUMNS])


def share_lines(overview: dict[str, Any]) -> list[str]:
    """Return a line for all that models count now, then one for each that trades and is not in it yet."""
    lines = [f"Of a decision, models have {percent(overview['share'], 0)}. {overview['why']}"]
    return lines + [
        f"**{row['name']}**, {ROLE_WORD.get(row['role'], row['role'])}: {reason(row)}."
        for row in overview["models"]
        if row["name"] in TRADERS and reason(row) not in overview["why"]
    ]
