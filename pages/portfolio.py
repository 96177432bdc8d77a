"""Portfolio: what the account did, what it holds, and how good that was."""

import streamlit as st

from app import charts, performance, portfolio_view, tables, widgets
from app.client import engine_client

REFRESH_S = 5

client = engine_client()
status = widgets.page_head("Portfolio", client)

left, right = st.columns([3, 1], vertical_alignment="bottom")
with left:
    since_ns = performance.period_start(widgets.choose_period(key="portfolio.period"), status["now_ns"])
benchmark = right.selectbox("Compare with holding", ["nothing", *status["symbols"]], key="portfolio.benchmark")

with widgets.known("Equity"):
    equity = client.equity(since_ns=since_ns)
    measured = client.performance(since_ns=since_ns)
portfolio_view.account(client, status, equity, measured, benchmark)

st.subheader("Positions")


@st.fragment(run_every=REFRESH_S)
def live_positions() -> None:
    """Show the open positions, asked anew every few seconds."""
    with widgets.known("Positions"):
        positions = client.positions()
    if positions.empty:
        widgets.empty("No open position.")
    else:
        widgets.table(tables.position_rows(positions), tables.POSITION_COLUMNS, key="portfolio.positions")
    st.caption(f"Asked every {REFRESH_S} s. The figures above are as of the time under the title.")


live_positions()

portfolio_view.sleeves(client)

st.subheader("Returns")
daily, monthly = tables.return_rows(measured)
if daily.empty:
    widgets.empty("No full day in this period yet, so there is no return to show.")
else:
    widgets.figure(charts.return_calendar(daily, monthly), key="portfolio.calendar")
if measured.get("note"):
    st.caption(measured["note"])

st.subheader("Fills")
with widgets.known("Fills"):
    fills = client.fills(since_ns=since_ns)
if fills.empty:
    widgets.empty("No fill in this period.")
else:
    fills = tables.fill_rows(performance.with_slippage(fills))
    widgets.table(fills, tables.FILL_COLUMNS, key="portfolio.fills", max_rows=10)

with st.container(horizontal=True):
    widgets.csv_download(equity, "equity", key="portfolio.equity_csv", label="Equity CSV")
    widgets.csv_download(daily, "daily_returns", key="portfolio.daily_csv", label="Daily returns CSV")
    widgets.csv_download(fills, "fills", key="portfolio.fills_csv", label="Fills CSV")
