"""Desk: the market and the account, live. Everything that moves comes over the socket; this script only lays out."""

from __future__ import annotations

import streamlit as st

from app.client import EngineClient, EngineUnavailable, engine_client
from app.components.blotter import blotter
from app.components.market import TIMEFRAMES, MarketView, header_bar, order_book, price_chart, trade_tape
from app.components.ticket import order_ticket
from app.formats import clock

SUMMARY_EVERY_S = 3.0


def chosen(state_key: str, field: str, allowed: tuple[str, ...], default: str) -> str:
    """Return the session's choice, else the address's, else the default; only allowed values count."""
    for wish in (st.session_state.get(state_key), st.query_params.get(field)):
        if wish in allowed:
            return wish
    return default


def look(client: EngineClient) -> MarketView:
    """Ask what there is to look at. With the engine away the last symbols stay, so the page keeps its shape."""
    try:
        status = client.status()
        st.session_state["desk_symbols"] = tuple(status["symbols"])
        st.session_state["desk_instruments"] = client.instruments()
    except EngineUnavailable:
        pass  # the summary line below says so, and every panel shows since when
    symbols = st.session_state.get("desk_symbols", ("BTCUSDT",))
    symbol = chosen("desk_symbol", "symbol", symbols, symbols[0])
    interval = chosen("desk_interval", "interval", TIMEFRAMES, "1m")
    return MarketView(symbol, interval, symbols, st.session_state.get("desk_instruments", {}))


@st.fragment(run_every=SUMMARY_EVERY_S)
def summary(client: EngineClient) -> None:
    """One line: what is open, as of when; or since when that is unknown."""
    try:
        positions, status = client.positions(), client.status()
    except EngineUnavailable as error:
        st.caption(f":orange[**Positions and orders {error.unknown_since}.**] {error.reason}")
        return
    open_positions = int((positions["qty"] != 0).sum())
    held = f"{open_positions} open position{'s' * (open_positions != 1)}" if open_positions else "No open position"
    n_orders = status["open_orders"]
    resting = f"{n_orders} open order{'s' * (n_orders != 1)}" if n_orders else "No open order"
    st.caption(f"{held} · {resting} · as of {clock(status['now_ns'])}, read every {SUMMARY_EVERY_S:.0f} s")


@st.fragment
def ticket_area(view: MarketView, client: EngineClient) -> None:
    """The ticket alone, so that typing in it reruns nothing else."""
    order_ticket(view, client)


@st.fragment
def blotter_area(view: MarketView, client: EngineClient) -> None:
    """The blotter alone, so that an action in it reruns nothing else."""
    blotter(view, client)


client = engine_client()
view = look(client)
with st.container(gap="xxsmall"):
    header_bar(view)
    left, middle, right = st.columns([57, 20, 23], gap="xxsmall")
    with left:
        price_chart(view)
    with middle:
        order_book(view)
    with right:
        ticket_area(view, client)
    left, right = st.columns([77, 23], gap="xxsmall")
    with left:
        blotter_area(view, client)
    with right:
        trade_tape(view)
    summary(client)
