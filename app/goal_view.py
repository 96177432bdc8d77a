"""The parts of the Goal page: the form, the verdict in words, chances, what would be required, and how it was found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from app import goal, report_view, widgets
from app.client import CommandRefused, EngineClient

MOST_USDT = 1e12


def form(sources: dict[str, str]) -> dict[str, Any]:
    """Show what is asked and return it in the engine's units; a change asks anew."""
    today = datetime.now(UTC).date()
    wanted = st.query_params.get("run_id", goal.ACCOUNT)
    names = list(sources)
    values: dict[str, Any] = {
        "source": st.selectbox("Track record", names, index=names.index(wanted) if wanted in names else 0,
                               format_func=sources.get, key="goal.source",
                               help="The account's own record, or a finished backtest")
    }  # fmt: skip
    with st.form("goal.form", border=True, enter_to_submit=True):
        values["equity"] = st.number_input(
            "From, USDT", 1.0, MOST_USDT, None, 1_000.0, format="%.0f", key="goal.equity", placeholder="now",
            help="Empty: the account's equity now, or the backtest's opening cash",
        )  # fmt: skip
        values["target"] = st.number_input("To, USDT", 1.0, MOST_USDT, 1_000_000.0, 10_000.0, format="%.0f",
                                           key="goal.target")  # fmt: skip
        first, second = st.columns(2)
        values["by"] = first.date_input("By, UTC", goal.first_date(today), min_value=today + timedelta(days=1),
                                        key="goal.by")  # fmt: skip
        values["leverage"] = second.number_input("Leverage, ×", 0.1, 20.0, 1.0, 0.5, format="%g", key="goal.leverage",
                                                 help="Every return of the record times this")  # fmt: skip
        values["max_drawdown"] = first.number_input("Drawdown limit, %", 1.0, 99.0, 15.0, 1.0, format="%g",
                                                    key="goal.drawdown", help="Of the running peak")  # fmt: skip
        values["ruin_loss"] = second.number_input("Ruin is a loss of, %", 1.0, 99.0, 50.0, 5.0, format="%g",
                                                  key="goal.ruin", help="Of today's equity")  # fmt: skip
        if values["source"] != goal.ACCOUNT:
            values["whole"] = st.toggle("Use the in-sample part too", key="goal.whole",
                                        help="The strategy was chosen on it: it flatters")  # fmt: skip
        st.form_submit_button("Work it out", type="primary", icon=":material/flag:", width="stretch")
    return goal.question(values)


def ask(client: EngineClient, question: dict[str, Any]) -> dict[str, Any]:
    """Return the engine's answer; a refusal is shown and ends the page there."""
    with widgets.known("Goal"):
        try:
            with st.spinner("Simulating 100,000 futures"):
                return client.goal(question)
        except CommandRefused as error:
            st.error(str(error), icon=":material/block:")
            st.stop()


def verdict(answer: dict[str, Any]) -> None:
    """Show the headline numbers and what they mean."""
    state = answer["evidence"]["state"]
    widgets.figures(goal.headline(answer), width=175)
    if state == "none":
        widgets.empty(answer["evidence"]["sentence"])
    elif state == "short":
        st.warning(answer["evidence"]["sentence"], icon=":material/hourglass_top:")
    st.markdown("\n".join(f"- {sentence}" for sentence in answer["words"][:-1]))
    st.caption(goal.record_line(answer))
    if answer["fan"] is not None:
        widgets.figure(goal.fan_figure(answer), key="goal.fan")


def chances(answer: dict[str, Any]) -> None:
    """Show every chance with its range, and the closed forms beside them."""
    if not answer["probabilities"]:
        return
    st.subheader("Chances")
    report_view.show_table(goal.chance_table(answer))


def required(answer: dict[str, Any]) -> None:
    """Show the Sharpe ratio and the volatility that the goal would ask for."""
    st.subheader("What the goal would ask for")
    report_view.show_table(goal.required_table(answer))


def method(answer: dict[str, Any]) -> None:
    """Say how the answer was found and what it leaves out."""
    lines = [answer["required"]["formula"], *answer["method"], *answer["record"]["caveats"]]
    if lines:
        with st.expander("How this was worked out, and what it leaves out", expanded=False):
            st.markdown("\n".join(f"- {line}" for line in lines))
