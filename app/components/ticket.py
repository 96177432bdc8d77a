"""Order ticket: draft, review, send. Sending spends a key that was fixed at review, so no rerun can trade twice.

State in the session, under one key: ``draft`` (the newest preview), ``review`` (the frozen ticket with its key) and
``outcome`` (what the engine answered). The three transitions are plain functions of that state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from typing import Any

import streamlit as st

from app.client import CommandRefused, EngineClient, EngineUnavailable, new_key
from app.components import declare
from app.components.market import MarketView
from engine.domain import NS_PER_MS

_ticket = declare("ticket")
KEY = "desk_ticket"
STATE = "desk_ticket_state"

MANNER = (  # what is None keeps the engine's default
    "urgency", "participation", "max_participation", "display_qty", "hidden", "passive",
)  # fmt: skip

State = MutableMapping[str, Any]


def preview_draft(state: State, client: EngineClient, wish: dict[str, Any]) -> None:
    """Price the ticket as it is typed; ``n`` tells the script which version of it this answers."""
    state["draft"] = {"n": wish["n"], "preview": None, "error": None, "at_ms": time.time_ns() // NS_PER_MS}
    ticket = wish["ticket"]
    try:
        preview = client.preview_parent(parent_of(ticket)) if ticket.get("algorithm") else client.preview_ticket(ticket)
        state["draft"]["preview"] = preview
    except (CommandRefused, EngineUnavailable) as error:
        state["draft"]["error"] = str(error)


def parent_of(ticket: dict[str, Any]) -> dict[str, Any]:
    """Return a ticket that an algorithm is to work as the engine takes it; a limit stays the worst price."""
    names = ("symbol", "side", "size", "reduce_only", "algorithm", "minutes", "limit_px", *MANNER)
    return {name: ticket[name] for name in names if ticket.get(name) is not None}


def begin_review(state: State, client: EngineClient, wish: dict[str, Any]) -> None:
    """Freeze the ticket with a fresh preview and fix the key that sending it will spend."""
    preview_draft(state, client, wish)
    state["outcome"] = None
    if state["draft"]["preview"] is not None:
        draft = state["draft"]
        state["review"] = {
            "key": new_key(), "ticket": wish["ticket"], "preview": draft["preview"], "at_ms": draft["at_ms"],
        }  # fmt: skip


def send_reviewed(state: State, client: EngineClient, key: str) -> None:
    """Send the reviewed ticket if ``key`` is the one fixed for it; afterwards the key is spent.

    When no answer comes the review stays open with the same key: asking again is safe, because the engine carries out
    a key once.
    """
    review = state.get("review")
    if not review or review["key"] != key:
        return
    ticket = review["ticket"]
    try:
        if ticket.get("algorithm"):
            started = client.start_parent(parent_of(ticket), key)
            answer = {"client_id": f"by algorithm, number {started['parent_id']}", "status": started["status"]}
        else:
            answer = client.submit_ticket(ticket, key)
    except EngineUnavailable as error:
        unsure = f"{error.reason} The order may or may not have reached it."
        state["review"] = {**review, "unsure": unsure}
        return
    except CommandRefused as error:
        state["outcome"] = {"ok": False, "text": f"Refused: {error}"}
    else:
        text = f"Order {answer.get('client_id', '')}: {answer.get('status', '')}"
        state["outcome"] = {"ok": answer.get("status") not in ("REJECTED", "EXPIRED"), "text": text}
    state["review"] = None


def order_ticket(view: MarketView, client: EngineClient) -> None:
    """Show the ticket for the chosen symbol."""
    state = st.session_state.setdefault(STATE, {})
    review = state.get("review")
    if review and review["ticket"]["symbol"] != view.symbol:
        state["review"] = None  # a ticket is never sent for a symbol that is no longer on the screen
    props = {**view.as_props(), **{name: state.get(name) for name in ("draft", "review", "outcome")}}

    def on(name: str, act: Callable[[State, EngineClient, Any], None]) -> Callable[[], None]:
        return lambda: act(state, client, getattr(st.session_state[KEY], name))

    _ticket(
        key=KEY,
        data=props,
        on_draft_change=on("draft", preview_draft),
        on_review_change=on("review", begin_review),
        on_send_change=on("send", lambda s, c, wish: send_reviewed(s, c, wish["key"])),
        on_back_change=on("back", lambda s, _c, _wish: s.update(review=None)),
    )
