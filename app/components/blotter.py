"""Positions, open orders and fills with their actions. The script makes one key per confirmed click."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import streamlit as st

from app.client import CommandRefused, EngineClient, EngineUnavailable
from app.components import declare
from app.components.market import MarketView

_blotter = declare("blotter")
KEY = "desk_blotter"
STATE = "desk_blotter_notice"
SPENT = "desk_blotter_spent"


def act(state: MutableMapping[str, Any], command: Callable[[], dict[str, Any]], done: str, key: str = "") -> None:
    """Carry out a command and keep the sentence to show; ``n`` makes each sentence a new one.

    A click whose ``key`` is spent does nothing: Streamlit may deliver one twice when a rerun overtakes another.
    """
    if key and state.get(SPENT) == key:
        return
    state[SPENT] = key
    try:
        command()
    except CommandRefused as error:
        text, ok = f"Refused: {error}", False
    except EngineUnavailable as error:
        text, ok = f"{error.reason} It is not known whether this was carried out.", False
    else:
        text, ok = done, True
    state[STATE] = {"n": state.get(STATE, {}).get("n", 0) + 1, "text": text, "ok": ok}


def ask_venue(state: MutableMapping[str, Any], client: EngineClient, client_id: str) -> None:
    """Have an order in doubt looked up now, and keep what the venue said."""
    found: dict[str, Any] = {}
    act(state, lambda: found.update(client.look_up_order(client_id)) or found, "")
    if found:
        said = found.get("answer") or f"{client_id} is {found.get('status', 'still unknown')}."
        state[STATE] = state[STATE] | {"text": str(said)}


def blotter(view: MarketView, client: EngineClient) -> None:
    """Show positions, open orders and fills; close, cancel, cancel all, and ask the venue about an order in doubt."""

    def close() -> None:
        wish = st.session_state[KEY].close
        act(
            st.session_state,
            lambda: client.close_position(wish["symbol"], wish["key"]),
            f"Closing {wish['symbol']}, reduce-only.",
            wish["key"],
        )

    def cancel() -> None:
        wish = st.session_state[KEY].cancel
        act(
            st.session_state,
            lambda: client.cancel_order(wish["client_id"], wish["key"]),
            f"Cancel sent for {wish['client_id']}.",
            wish["key"],
        )

    def lookup() -> None:
        wish = st.session_state[KEY].lookup
        ask_venue(st.session_state, client, wish["client_id"])

    def cancel_all() -> None:
        wish = st.session_state[KEY].cancel_all
        done = "Cancel sent for all open orders."
        act(st.session_state, lambda: client.cancel_all_orders(wish["key"]), done, wish["key"])

    props = {**view.as_props(), "notice": st.session_state.get(STATE)}
    _blotter(
        key=KEY, data=props, on_close_change=close, on_cancel_change=cancel, on_cancel_all_change=cancel_all,
        on_lookup_change=lookup,
    )  # fmt: skip
