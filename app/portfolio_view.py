"""Parts of the Portfolio page: the account through a period, and the sleeves now, through time, and compared."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import charts, health_view, performance, portfolio, sharing, tables, widgets
from app.client import EngineClient, new_key

POLL_S = 2
NOTICE, SHARING_NOTICE = "portfolio.notice", "portfolio.sharing_notice"


def account(
    client: EngineClient, status: dict[str, Any], equity: pd.DataFrame, measured: dict[str, Any], benchmark: str
) -> None:
    """Show equity, exposure and ratios of a period; without a row of equity there is nothing to show of these.

    Parameters
    ----------
    equity : DataFrame
        The period's rows of equity.
    measured : dict
        The engine's answer about performance.
    benchmark : str
        A symbol to compare with, or "nothing".
    """
    if equity.empty:
        widgets.empty("No equity recorded in this period yet. The engine writes one row a minute while it runs.")
        return
    widgets.figures(tables.portfolio_figures(status, equity, measured["ratios"]))
    holding = None
    if benchmark != "nothing":
        with widgets.known(f"Candles of {benchmark}"):
            bars = client.bars(benchmark, performance.interval_over(equity), limit=1500)
        holding = performance.buy_and_hold(bars, equity)
    widgets.figure(charts.equity_figure(equity, holding, f"Holding {benchmark}"), key="portfolio.equity")
    if holding is not None:
        st.caption(
            tables.comparison_sentence(benchmark, performance.total_return(equity), performance.total_return(holding))
        )
    exposure_at, ratios_at = st.columns([4, 5])
    with exposure_at:
        st.subheader("Exposure")
        widgets.figure(charts.exposure_figure(performance.exposure(equity)), key="portfolio.exposure")
    with ratios_at:
        st.subheader("Ratios")
        widgets.table(tables.ratio_rows(measured), tables.RATIO_COLUMNS, key="portfolio.ratios")


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
    _shared(client, answer["sharing"], answer["report"])
    _compared(client, answer["comparison"], answer["report"])


def _shared(client: EngineClient, answer: dict[str, Any], report: dict[str, Any] | None) -> None:
    st.subheader("Who shares the risk out")
    health_view.notice(SHARING_NOTICE)
    st.markdown(sharing.in_force_sentence(answer))
    on_its_way, missing = sharing.on_its_way_sentence(answer), sharing.trouble_sentence(answer)
    if on_its_way:
        st.info(on_its_way, icon=":material/hourglass_top:")
    if missing:
        (st.warning if sharing.is_trouble(answer) else st.caption)(missing)
    now = answer["now"]
    found = None if report is None else report.get("sharing")
    if now is not None and now["record"]:
        rows = sharing.record_rows(now["record"], answer["bar"], answer["needed"], now["rule"])
        widgets.table(rows, sharing.RECORD_COLUMNS, key="portfolio.sharing")
        st.caption(f"The record of this account, up to the plan of {sharing.day_of(now['made'])}.")
    elif found is not None and found["record"]:
        rows = sharing.record_rows(found["record"], found["bar"], found["needed"], None)
        widgets.table(rows, sharing.RECORD_COLUMNS, key="portfolio.sharing")
    if found is not None:
        st.caption(sharing.report_sentence(found))
    if answer["own"] is None:
        st.caption("It can be chosen once the portfolio strategy is, on the Settings page.")
        return
    with st.form("portfolio.sharing_form", border=False):
        choice_at, button_at, _ = st.columns([3, 1, 2], vertical_alignment="bottom")
        choices = answer["choices"]
        choice_at.selectbox(
            "Share the risk out by", choices, choices.index(answer["wanted"]), sharing.label_of, key="portfolio.way",
            help="; ".join(f"{sharing.LABELS[each]}: {sharing.MEANINGS[each]}" for each in choices),
        )  # fmt: skip
        button_at.form_submit_button("Use this", icon=":material/check:", on_click=_choose_sharing,
                                     args=(client, answer["own"]), width="stretch")  # fmt: skip
    st.caption("A change is a new version of the strategy: its certificate is made anew before real money follows it.")


def _choose_sharing(client: EngineClient, own: dict[str, Any]) -> None:
    wanted = st.session_state["portfolio.way"]
    values = {"strategy_params": own | {"sharing": wanted}}
    told = f"{sharing.label_of(wanted)} was chosen."
    health_view.tell(SHARING_NOTICE, lambda: client.apply_settings(values, new_key()), told)


def _compared(client: EngineClient, run: dict[str, Any] | None, report: dict[str, Any] | None) -> None:
    title, button = st.columns([4, 1], vertical_alignment="bottom")
    title.subheader("Sleeves and optimisers compared")
    if run is not None and run["status"] == portfolio.RUNNING:
        _progress(client, run["run_id"])
    else:
        button.button("Compare now", icon=":material/balance:", on_click=_compare, args=(client,), width="stretch",
                      key="portfolio.compare",
                      help="A minute or two, in a process beside the engine; you may leave this page")  # fmt: skip
        ended = portfolio.ended_sentence(run, report)
        if ended:
            st.warning(ended, icon=":material/block:")
    health_view.notice(NOTICE)
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


@st.fragment(run_every=POLL_S)
def _progress(client: EngineClient, run_id: str) -> None:
    """How far the comparison is, with a button to cancel it; draws the page anew at its end."""
    with widgets.known("Comparison"):
        run = client.run_status(run_id)
    if run["status"] != portfolio.RUNNING:
        st.rerun()
    bar_at, button_at = st.columns([6, 1], vertical_alignment="bottom")
    bar_at.progress(float(run["progress"] or 0.0), text=portfolio.progress_line(run_id, run, POLL_S))
    button_at.button("Cancel", key="portfolio.cancel", on_click=_cancel, args=(client,), width="stretch",
                     help="The comparison below stays as it is")  # fmt: skip


# Keys are made by clicks, in their callbacks: a rerun does not come through here.
def _compare(client: EngineClient) -> None:
    health_view.tell(NOTICE, lambda: client.compare_portfolio(new_key()), "The comparison has begun.")


def _cancel(client: EngineClient) -> None:
    health_view.tell(NOTICE, lambda: client.cancel_comparison(new_key()), "The comparison is being cancelled.")
