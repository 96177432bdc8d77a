"""How the Risk page writes what the account would lose at once in each shock of the limit on stress. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from app.formats import UNKNOWN, money, percent
from app.risk import NEAR
from app.tables import Column

SHOCK_COLUMNS = (
    Column("state", "State", "verdict", "Against the limit on the stress loss", 80),
    Column("title", "Shock", "text", "The two of the market move every symbol by its beta; the others are the day in "
           "which Bitcoin fell most in that crisis", 310),
    Column("used", "Used", "bar", "Share of the limit that the loss would use", 105),
    Column("loss", "Loss at once", "figure", "Share of equity, with what is held now; or a gain", 100),
    Column("pnl", "Change, USDT", "signed_money", "What equity would change by", 90),
    Column("left", "Headroom", "figure", "What is left until the limit", 100),
)  # fmt: skip


def shock_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return a row a shock, the worst first; a book that gains has nothing used."""
    rows = [
        {
            "state": _state(row), "title": row["title"],
            "used": min(max(row["loss"] / row["limit"], 0.0), 1.0),
            "loss": percent(row["loss"]) if row["loss"] >= 0.0 else f"gain {percent(-row['loss'])}",
            "pnl": -row["loss_money"], "left": percent(row["left"]),
        }
        for row in answer["shocks"] or []
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in SHOCK_COLUMNS])


def _state(row: dict[str, Any]) -> str:
    if not row["enforced"]:
        return "○ off"
    used = row["loss"] / row["limit"]
    return "▼ reached" if used >= 1.0 else "▾ near" if used >= NEAR else "▲ within"


def worst_sentence(answer: dict[str, Any]) -> str:
    """Name the shock that comes nearest to the limit, or say why none does."""
    rows = answer["shocks"]
    if rows is None:
        return f"{UNKNOWN} Unknown: the engine has not begun to decide, or a price is unknown."
    if not answer["exposures"]:
        return "Nothing is held, so no shock costs anything."
    worst = rows[0]
    if worst["loss"] <= 0.0:
        return "What is held now would lose in none of these shocks."
    off = "" if worst["enforced"] else " The limit is **not enforced** now."
    return (
        f"Worst for what is held now: **{worst['title']}**, {percent(worst['loss'])} of equity "
        f"({money(worst['loss_money'])}) of {percent(worst['limit'])} allowed.{off}"
    )


CAPTION = (
    "Moves of the day, all at once, before anybody reacts. A symbol that did not trade then moves by its beta times "
    "the market of that day, and by the whole of it, against the position, while its beta is not known. The limit "
    "itself looks at what a decision wishes for, and adds a person's worst shock to the strategy's."
)
