"""Streamlit pieces that every page uses: guards for the three states, tables, figures, downloads, choices.

A value is *known*, *empty* or *unknown*, and each looks different: ``known`` turns an engine that does not answer into
an "unknown" notice and ends the script there, so that nothing after it can mistake silence for zero.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit_lightweight_charts import renderLightweightCharts

from app import formats
from app.charts import CHART_CONFIG, DOWN, SECOND, UP
from app.client import EngineClient, EngineUnavailable
from app.formats import UNKNOWN, moment, number, percent, price, quantity, signed, signed_percent, weight
from app.performance import PERIODS_NS
from app.tables import VERDICT_WORD, Column, Figure
from engine.domain import Verdict

FORM_WIDTH = 270
ROW_HEIGHT = 30
RETRY_S = 2
TEXT_KINDS = frozenset({"text", "time", "figure", "verdict"})
COLOURED_KINDS = frozenset({"signed_money", "signed_percent", "cost_bp", "cost_money"})
"""Profit and loss, and what costs: a side has a word and a sign, and no colour."""

_WRITE: dict[str, Callable[[Any], str]] = {
    "money": lambda v: number(v, 2),
    "signed_money": lambda v: signed(v, 2),
    "percent": percent,
    "signed_percent": signed_percent,
    "price": price,
    "fee": lambda v: number(v, 4),
    "qty": quantity,
    "size": lambda v: quantity(v).lstrip("+"),
    "amount": lambda v: ("+" if formats.is_known(v) and v > 0 else "") + number(v, 2),
    "weight": weight,
    "number": lambda v: number(v, 3),
    "count": lambda v: number(v, 0),
    "ms": lambda v: number(v, 1),
    "bar": lambda v: percent(v, 0),
    # A cost is bad when positive, so it gets the arrow of its sign but the colour of its meaning.
    "cost_bp": lambda v: signed(v, 1),
    "cost_money": lambda v: signed(v, 2),
}


def page_head(title: str, client: EngineClient) -> dict[str, Any]:
    """Show a page's title with mode, market and the moment its numbers were read; return the engine's status.

    When the engine does not answer, the page says so, ends here, and comes to life by itself once it does.
    """
    st.title(title)
    try:
        status = client.status()
    except EngineUnavailable as error:
        unknown(title, error)
        _ask_again(client)
        st.stop()
    st.caption(
        f"{str(status['mode']).upper()} · {status['market_source']} market · as of {moment(status['now_ns'])} UTC"
    )
    return status


@st.fragment(run_every=RETRY_S)
def _ask_again(client: EngineClient) -> None:
    try:
        client.status()
    except EngineUnavailable:
        st.caption(f"Asked again every {RETRY_S} s.")
    else:
        st.rerun()


@contextmanager
def known(what: str) -> Iterator[None]:
    """Run reads of the engine; if it does not answer, say that ``what`` is unknown and end the script here."""
    try:
        yield
    except EngineUnavailable as error:
        unknown(what, error)
        st.stop()


def unknown(what: str, error: EngineUnavailable) -> None:
    """Show that something is unknown, since when, and why."""
    st.warning(f"**{what}: {error.unknown_since}.** {error.reason}", icon=":material/help:")


def empty(sentence: str) -> None:
    """Show that the engine answered and there is nothing: the sentence says so and what would fill it."""
    st.info(sentence, icon=":material/inbox:")


def figures(items: Sequence[Figure], *, width: int = 165) -> None:
    """Show headline numbers side by side, each ``width`` pixels wide; those that have no room go to the next row."""
    with st.container(horizontal=True, gap="small"):
        for item in items:
            # The sign is written in the value, so Streamlit's own arrow would say it twice.
            st.metric(
                item.label, item.value, item.change, help=item.meaning or None, delta_color="off", delta_arrow="off",
                width=width,
            )  # fmt: skip


def form_and_answer() -> tuple[DeltaGenerator, DeltaGenerator]:
    """Return two containers side by side: one as wide as a form needs, and one for what it asks about."""
    row = st.container(horizontal=True, gap="small")
    return row.container(width=FORM_WIDTH), row.container(width="stretch")


def table(rows: pd.DataFrame, columns: Sequence[Column], *, key: str, max_rows: int = 14) -> None:
    """Show a dense table. Fields that a column names and the table lacks are left out; taller tables scroll."""
    _dataframe(rows, columns, key=key, max_rows=max_rows)


def pick_rows(
    rows: pd.DataFrame,
    columns: Sequence[Column],
    *,
    key: str,
    name: str,
    chosen: Sequence[str],
    pattern: str = r"[\w.-]{1,64}",
    several: bool = False,
    max_rows: int = 10,
) -> list[str]:
    """Show a table to choose from and return the chosen ids, which the URL keeps under ``name``.

    Parameters
    ----------
    rows : DataFrame
        Has the text column ``name``, whose values are the ids.
    chosen : sequence of str
        What is open when nothing was ever picked.
    pattern : str
        What an id in the URL must look like; others are ignored, because anybody can write a link.

    Notes
    -----
    A selection is a row's position, and rows move when new ones arrive. So a pick is turned into ids at once, and the
    table is drawn anew with the same ids selected whenever its rows change.
    """
    ids = list(rows[name])
    asked = [item for item in st.query_params.get(name, "").split(",") if re.fullmatch(pattern, item)]
    opened = asked or list(chosen)
    held = st.session_state
    if held.get(f"{key}.opened") != opened:  # by a link or a finished run, not by a click on this table
        held[f"{key}.opened"] = held[f"{key}.stamp"] = opened
    widget_key = f"{key}.{hash((*ids, *held[f'{key}.stamp'])) & 0xFFFFFFFF:08x}"

    def picked() -> None:
        chosen_ids = [ids[i] for i in held[widget_key]["selection"]["rows"] if i < len(ids)]
        if chosen_ids:  # none: a table that was drawn anew, or the last tick removed; what is open stays open
            st.query_params[name] = ",".join(chosen_ids)
            held[f"{key}.opened"] = chosen_ids

    _dataframe(
        rows, columns, key=widget_key, max_rows=max_rows, on_select=picked,
        selection_mode="multi-row" if several else "single-row",
        selection_default={"selection": {"rows": [ids.index(item) for item in opened if item in ids]}},
    )  # fmt: skip
    return opened


def plain_table(rows: pd.DataFrame) -> None:
    """Show a small table of words whole, without scrolling."""
    st.table(rows, border="horizontal", hide_index=True)


def _dataframe(rows: pd.DataFrame, columns: Sequence[Column], *, key: str, max_rows: int, **options: Any) -> None:
    shown = [column for column in columns if column.name in rows.columns]
    st.dataframe(
        styled(rows, shown), column_config={column.name: _config(column) for column in shown}, hide_index=True,
        key=key, height=ROW_HEIGHT * (min(max(len(rows), 1), max_rows) + 1) + 4, row_height=ROW_HEIGHT,
        placeholder=UNKNOWN, **options,
    )  # fmt: skip


def styled(rows: pd.DataFrame, columns: Sequence[Column]) -> Any:
    """Return rows with written numbers: they still sort as numbers, and gains and losses have colours besides signs."""
    frame = rows[[column.name for column in columns]].reset_index(drop=True).copy()
    for column in columns:
        if column.kind == "time":
            frame[column.name] = pd.to_datetime(frame[column.name].where(frame[column.name] > 0), unit="ns", utc=True)
        elif column.kind not in TEXT_KINDS:
            frame[column.name] = pd.to_numeric(frame[column.name], errors="coerce").astype(float)
    style = frame.style
    for column in columns:
        if column.kind in TEXT_KINDS:
            style = style.map(_word_colour, subset=[column.name]) if column.kind in ("figure", "verdict") else style
            continue
        style = style.format(_WRITE[column.kind], subset=[column.name])
        if column.kind in COLOURED_KINDS:
            style = style.map(_cost_colour if column.kind.startswith("cost") else _colour, subset=[column.name])
    return style


def figure(drawing: go.Figure, *, key: str) -> None:
    """Show a plotly figure in the page's look."""
    st.plotly_chart(drawing, key=key, config=CHART_CONFIG)


def spec_chart(spec: list[dict[str, Any]], *, key: str) -> None:
    """Show a lightweight-charts description. For charts that do not stream: each change draws it anew."""
    background = st.get_option("theme.backgroundColor")
    for panel in spec if background else []:
        panel["chart"]["layout"]["background"]["color"] = background
    renderLightweightCharts(spec, key)


def csv_download(rows: pd.DataFrame, name: str, *, key: str, label: str = "CSV") -> None:
    """Offer the rows as a CSV file: raw numbers and nanoseconds, as the engine gave them."""
    st.download_button(
        label, rows.to_csv(index=False), file_name=f"{name}.csv", mime="text/csv", key=key, on_click="ignore",
        icon=":material/download:", help=f"{len(rows)} rows with all columns; times in ns UTC",
    )  # fmt: skip


def choose_period(*, key: str, default: str = "All") -> str:
    """Let a person choose a period that ends now; the URL keeps the choice."""
    names = list(PERIODS_NS)
    wanted = st.query_params.get("period", default)
    chosen = st.segmented_control(
        "Period", names, default=wanted if wanted in names else default, key=key, label_visibility="collapsed",
        required=True,
    )  # fmt: skip
    if chosen and chosen != default:
        st.query_params["period"] = chosen
    else:
        st.query_params.pop("period", None)
    return chosen or default


def _config(column: Column) -> Any:
    meaning, width = column.meaning or None, column.width
    if column.kind == "time":
        return st.column_config.DatetimeColumn(
            column.label, help=meaning, width=width, format="YYYY-MM-DD HH:mm:ss", timezone="UTC"
        )
    if column.kind == "bar":  # a share from 0 to 1, drawn and written
        return st.column_config.ProgressColumn(
            column.label, help=meaning, width=width, format="percent", min_value=0.0, max_value=1.0
        )
    if column.kind == "text":
        return st.column_config.TextColumn(column.label, help=meaning, width=width)
    if column.kind in ("figure", "verdict"):  # written in advance, because each row has its own unit
        side = "right" if column.kind == "figure" else "left"
        return st.column_config.TextColumn(column.label, help=meaning, width=width, alignment=side)
    return st.column_config.NumberColumn(column.label, help=meaning, width=width)


def _colour(value: float) -> str:
    return {1: f"color: {UP}", -1: f"color: {DOWN}", 0: ""}[formats.sign_of(value)]


def _word_colour(word: str) -> str:
    gain, loss = word.startswith("▲"), word.startswith(("▼", VERDICT_WORD[Verdict.REFUSE]))
    clip = word.startswith("▾")
    return f"color: {UP if gain else DOWN if loss else SECOND}" if gain or loss or clip else ""


def _cost_colour(value: float) -> str:
    return _colour(-value) if formats.is_known(value) else ""
