"""A report's parts on a page: badges, words and tables as the engine wrote them, in the page's look."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import streamlit as st

from app.charts import DOWN, GRID, MUTED, SECOND, UP

NOT_COMPUTED = "Not computed for this run."  # the engine's whole word on a part that a result lacks
BADGE_COLOURS = {"gain": "green", "loss": "red", "warn": "orange", "mute": "gray"}
BADGE_ICONS = {"gain": ":material/check:", "loss": ":material/error:", "warn": ":material/help:"}
INKS = {"gain": UP, "loss": DOWN, "warn": SECOND, "mute": MUTED}
LOOK = f"""
.report-box {{ overflow-x: auto }}
table.report {{ border-collapse: collapse; width: 100%; font-size: 0.82rem; font-variant-numeric: tabular-nums }}
table.narrow {{ width: auto; min-width: 22rem }}
.report th {{ color: {MUTED}; font-weight: 500; text-align: right; padding: 4px 8px; border-bottom: 1px solid {GRID} }}
.report td {{ text-align: right; padding: 4px 8px; border-bottom: 1px solid {GRID}; white-space: nowrap }}
.report .w {{ text-align: left; white-space: normal }}
.report td + .w, .report th + .w {{ padding-left: 20px }}
"""
SHADES = {"1": 0.16, "2": 0.36, "3": 0.6}  # of a heat level, opacity


def badges(document: dict[str, Any]) -> None:
    """Show what must be seen first, one badge each, with its meaning as help."""
    with st.container(horizontal=True):
        for badge in document["badges"]:
            tone = badge["tone"]
            st.badge(badge["text"], color=BADGE_COLOURS.get(tone, "gray"), icon=BADGE_ICONS.get(tone),
                     help=badge["meaning"] or None)  # fmt: skip


def sections(document: dict[str, Any], names: Iterable[str], *, key: str) -> None:
    """Show some sections under their headings; those that were not computed are named together at the end."""
    by_name = {section["name"]: section for section in document["sections"]}
    absent = []
    for name in names:
        found = by_name.get(name)
        if found is None or (not found["computed"] and found["words"] == [NOT_COMPUTED]):
            absent.append(found["title"] if found else name)
        else:
            section(found, key=f"{key}.{name}")
    if absent:
        st.caption(f"Not computed for this run: {', '.join(absent)}. Run the backtest again to have them.")


def section(found: dict[str, Any], *, key: str, heading: bool = True) -> None:
    """Show one section: heading, sentences, tables."""
    if heading:
        st.markdown(f"##### {found['title']}")
    words = found["words"]
    if found["name"] in ("summary", "critique") and found["computed"]:
        st.markdown("\n".join(f"- {sentence}" for sentence in words))
    elif words:
        st.caption("  \n".join(words))
    for table in found["tables"]:
        if table["title"]:
            st.caption(f"**{table['title']}**")
        show_table(table)
        if table["note"]:
            st.caption(table["note"])


def show_table(table: dict[str, Any]) -> None:
    """Show a table of written cells whole: figures to the right, words to the left and wrapped."""
    st.html(f"<style>{LOOK}</style>{table_html(table)}")


def table_html(table: dict[str, Any]) -> str:
    """Return a table as HTML, every text escaped, with the colours of the cells' tones."""

    def place(index: int) -> str:
        return ' class="w"' if index in table["wide"] else ""

    head = "".join(f"<th{place(index)}>{escape(label)}</th>" for index, label in enumerate(table["columns"]))
    lines = []
    for row in table["rows"]:
        cells = [(item, "") if isinstance(item, str) else tuple(item) for item in row]
        lines.append("".join(
            f'<td{place(index)} style="{css(tone)}">{escape(text)}</td>' for index, (text, tone) in enumerate(cells)
        ))  # fmt: skip
    top = f"<thead><tr>{head}</tr></thead>" if any(table["columns"]) else ""
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    kind = "report narrow" if len(table["columns"]) < 3 else "report"
    return f'<div class="report-box"><table class="{kind}">{top}<tbody>{body}</tbody></table></div>'


def css(tone: str) -> str:
    """Return the style of a tone: a colour of the text, or a shade behind it for heat levels g1 to l3."""
    if tone in INKS:
        return f"color: {INKS[tone]}"
    if len(tone) == 2 and tone[1] in SHADES:
        red, green, blue = (46, 189, 133) if tone[0] == "g" else (246, 70, 93)
        return f"background-color: rgba({red}, {green}, {blue}, {SHADES[tone[1]]})"
    return ""
