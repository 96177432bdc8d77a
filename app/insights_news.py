"""How the AI Insights page writes headlines and moods: rows of tables. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from app.formats import UNKNOWN, is_known, moment, number
from app.tables import Column

MOOD_COLUMNS = (
    Column("symbol", "Symbol", "text", "", 90),
    Column("mood", "Mood, −1 to 1", "figure", "Of the last two days' headlines about it or the whole market", 100),
)
HEADLINE_COLUMNS = (
    Column("at", "Read, UTC", "text", "By the market's clock", 130),
    Column("score", "Score", "figure", "What its words say of prices, −1 to 1; a dash: none is on the list", 70),
    Column("words", "Words that counted", "text", "On the list, with their sign", 190),
    Column("about", "About", "text", "", 85),
    Column("title", "Headline", "text", "", "large"),
)


def mood_rows(said: dict[str, Any]) -> pd.DataFrame:
    """Return the mood of every symbol."""
    rows = [{"symbol": row["symbol"], "mood": _signed(row["mood"])} for row in said["moods"]]
    return pd.DataFrame(rows, columns=[column.name for column in MOOD_COLUMNS])


def headline_rows(said: dict[str, Any]) -> pd.DataFrame:
    """Return the newest headlines, newest first."""
    rows = [{
        "at": moment(row["ts_fetched"]), "score": _signed(row["score"] or None), "title": row["title"],
        "about": ", ".join(symbol.removesuffix("USDT") for symbol in row["symbols"]) or "the market",
        "words": row["words"] or UNKNOWN,
    } for row in said["headlines"]]  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in HEADLINE_COLUMNS])


def _signed(value: float | None) -> str:
    if not is_known(value):
        return UNKNOWN
    return f"+{number(value)}" if value > 0 else number(value)
