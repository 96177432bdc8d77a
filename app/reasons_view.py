"""Why the models forecast what they did, drawn from the record that was kept with a decision."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import insights_charts, reasons, widgets
from app.client import CommandRefused, EngineClient


def show(client: EngineClient, overview: dict[str, Any] | None, symbol: str, decision_id: str | None = None) -> None:
    """Sentences first, then what moved the forecast, how members and agents differed, and what came after similar bars.

    ``overview`` is only needed for the length of a bar; an hour without.
    """
    try:
        with widgets.known("Reasons"):
            answer = client.reasons(symbol, decision_id)
    except CommandRefused as refusal:
        widgets.empty(str(refusal))
        return
    record = answer["record"]
    if record is None:
        widgets.empty(reasons.absent(answer))
        return
    key = f"reasons.{decision_id or 'newest'}"
    st.markdown("\n".join(f"- {sentence}" for sentence in record["summary"]))
    moved_at, inputs_at = st.columns(2, gap="medium")
    with moved_at:
        st.subheader("What moved the forecast")
        if record["topics"]:
            widgets.figure(insights_charts.topics_figure(record["topics"]), key=f"{key}.topics")
        st.caption(reasons.topic_sentence(record))
    with inputs_at:
        st.subheader("The inputs that moved it most")
        if record["features"]:
            widgets.table(reasons.feature_rows(record), reasons.FEATURE_COLUMNS, key=f"{key}.features")
        else:
            widgets.empty("No input moved it.")
    members_at, wishes_at = st.columns(2, gap="medium")
    with members_at:
        st.subheader("How the members differed")
        widgets.table(reasons.member_rows(record), reasons.MEMBER_COLUMNS, key=f"{key}.members")
        st.caption(reasons.member_sentence(record))
    with wishes_at:
        st.subheader("Whose wishes were mixed")
        widgets.table(reasons.wish_rows(record), reasons.WISH_COLUMNS, key=f"{key}.wishes")
        st.caption(reasons.wish_sentence(record))
        if record["votes"]:
            widgets.table(reasons.vote_rows(record), reasons.VOTE_COLUMNS, key=f"{key}.votes")
    cases_at, looked_at = st.columns(2, gap="medium")
    with cases_at:
        st.subheader("What came after similar bars")
        rows = reasons.case_rows(record)
        if not rows.empty:
            widgets.table(rows, reasons.CASE_COLUMNS, key=f"{key}.cases")
        st.caption(reasons.case_sentence(record))
    if record["attention"]:
        with looked_at:
            st.subheader(f"Where the {record['attention']['model']} looked")
            bar_s = float(overview["bar_s"]) if overview else 3_600.0
            drawing = insights_charts.attention_figure(record["attention"]["weights"], bar_s)
            widgets.figure(drawing, key=f"{key}.attention")
            st.caption("Dotted: an even look at all bars. Where a network looks is no proof of why it answers.")
