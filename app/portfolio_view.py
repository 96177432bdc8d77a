"""The part of the Portfolio page that shows the sleeves: now, through time, and compared."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import portfolio, widgets
from app.client import CommandRefused, EngineClient, EngineUnavailable

TROUBLE = "portfolio.compare_trouble"


def sleeves(client: EngineClient) -> None:
    """Show the sleeves of the portfolio strategy; unknown while the engine does not answer."""
    st.subheader("Sleeves")
    with widgets.known("Sleeves"):
        answer = client.portfolio()
    if not answer["sleeves"]:
        why = (
            "It is in force and has not decided yet." if answer["in_force"]
            else f"In force is {answer['strategy']}; the portfolio of sleeves is chosen on the Settings page."
        )  # fmt: skip
        widgets.empty(f"The portfolio strategy has made no decision. {why}")
    else:
        widgets.table(portfolio.now_rows(answer), portfolio.NOW_COLUMNS, key="portfolio.sleeves")
        widgets.figure(portfolio.shares_figure(*portfolio.live_shares(answer)), key="portfolio.shares")
        st.caption(portfolio.now_caption(answer))
    _compared(client, answer["report"])


def _compared(client: EngineClient, report: dict[str, Any] | None) -> None:
    title, button = st.columns([4, 1], vertical_alignment="bottom")
    title.subheader("Sleeves and optimisers compared")
    button.button("Compare now", icon=":material/balance:", on_click=_compare, args=(client,), width="stretch",
                  key="portfolio.compare", help="Takes up to a minute, in a process beside the engine.")  # fmt: skip
    failed = st.session_state.get(TROUBLE)
    if failed:
        st.error(failed)
    if report is None:
        widgets.empty("No comparison yet. Make one with the button above, from the recorded hourly candles.")
        return
    widgets.table(portfolio.evidence_rows(report), portfolio.EVIDENCE_COLUMNS, key="portfolio.evidence")
    st.caption(f"{portfolio.report_caption(report)} {portfolio.best_sentence(report)}")
    first, second = st.columns(2)
    with first:
        widgets.figure(portfolio.contributions_figure(report), key="portfolio.contributions")
    with second:
        shares = portfolio.shares_figure(*portfolio.monthly(report, "shares"))
        widgets.figure(shares, key="portfolio.report_shares")
    st.caption(portfolio.learning_sentence(report))
    rows = portfolio.optimiser_rows(report)
    if not rows.empty:
        widgets.table(rows, portfolio.OPTIMISER_COLUMNS, key="portfolio.optimisers")
    st.caption(portfolio.optimiser_sentence(report))


def _compare(client: EngineClient) -> None:
    st.session_state[TROUBLE] = ""
    try:
        client.compare_portfolio()
    except CommandRefused as error:
        st.session_state[TROUBLE] = str(error)
    except EngineUnavailable as error:
        st.session_state[TROUBLE] = f"{error.reason} Whether the comparison was made is unknown."
