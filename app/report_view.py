"""A report's parts on a page: badges, words and tables as the engine wrote them, in the page's look."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import streamlit as st

from app import widgets
from app.charts import DOWN, MUTED, SECOND, UP

BADGE_COLOURS = {"gain": "green", "loss": "red", "warn": "orange", "mute": "gray"}
BADGE_ICONS = {"gain": ":material/check:", "loss": ":material/error:", "warn": ":material/help:"}
INKS = {"gain": UP, "loss": DOWN, "warn": SECOND, "mute": MUTED}
SHADES = {"1": 0.16, "2": 0.36, "3": 0.6}  # of a heat level, opacity
CHARACTER_PX = 7.6
NARROWEST_PX, WIDEST_PX = 60, 620


def badges(document: dict[str, Any]) -> None:
    """Show what must be seen first, one badge each, with its meaning as help."""
    with st.container(horizontal=True):
        for badge in document["badges"]:
            tone = badge["tone"]
            st.badge(badge["text"], color=BADGE_COLOURS.get(tone, "gray"), icon=BADGE_ICONS.get(tone),
                     help=badge["meaning"] or None)  # fmt: skip


def sections(document: dict[str, Any], names: Iterable[str], *, key: str) -> None:
    """Show some sections under their headings; one that was not computed says so in a line."""
    by_name = {section["name"]: section for section in document["sections"]}
    for name in names:
        if name in by_name:
            section(by_name[name], key=f"{key}.{name}")


def section(found: dict[str, Any], *, key: str, heading: bool = True) -> None:
    """Show one section: heading, sentences, tables."""
    if heading:
        st.markdown(f"##### {found['title']}")
    words = found["words"]
    if found["name"] in ("summary", "critique") and found["computed"]:
        st.markdown("\n".join(f"- {sentence}" for sentence in words))
    elif words:
        st.caption("  \n".join(words))
    for number, table in enumerate(found["tables"]):
        if table["title"]:
            st.markdown(f"**{table['title']}**")
        show_table(table, key=f"{key}.{number}")
        if table["note"]:
            st.caption(table["note"])


def show_table(table: dict[str, Any], *, key: str, max_rows: int = 18) -> None:
    """Show a table of written cells with the colours of their tones; as wide as its words."""
    words, looks = frames(table)
    style = words.style.apply(lambda _: looks, axis=None)
    config = {
        name: st.column_config.TextColumn(
            label or " ", alignment="left" if index in table["wide"] else "right", width=_width(label, words[name])
        )
        for index, (name, label) in enumerate(zip(words.columns, table["columns"], strict=True))
    }
    height = widgets.ROW_HEIGHT * (min(max(len(words), 1), max_rows) + 1) + 4
    st.dataframe(style, column_config=config, hide_index=True, key=key, height=height, width="content",
                 row_height=widgets.ROW_HEIGHT)  # fmt: skip


def frames(table: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a table's texts, and the CSS of each cell."""
    names = [f"c{index}" for index in range(len(table["columns"]))]
    cells = [[(item, "") if isinstance(item, str) else tuple(item) for item in row] for row in table["rows"]]
    words = pd.DataFrame([[text for text, _ in row] for row in cells], columns=names)
    looks = pd.DataFrame([[css(tone) for _, tone in row] for row in cells], columns=names)
    return words, looks


def css(tone: str) -> str:
    """Return the style of a tone: a colour of the text, or a shade behind it for heat levels g1 to l3."""
    if tone in INKS:
        return f"color: {INKS[tone]}"
    if len(tone) == 2 and tone[1] in SHADES:
        red, green, blue = (46, 189, 133) if tone[0] == "g" else (246, 70, 93)
        return f"background-color: rgba({red}, {green}, {blue}, {SHADES[tone[1]]})"
    return ""


def _width(label: str, texts: pd.Series) -> int:
    longest = max([len(label), *(len(text) for text in texts)])
    return round(min(max(CHARACTER_PX * longest + 22, NARROWEST_PX), WIDEST_PX))
