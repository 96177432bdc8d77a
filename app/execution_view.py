"""The parts of the Execution page: parents at work, a form for a new one, what ended ones cost, the cost model."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import execution, execution_charts, widgets
from app.client import CommandRefused, EngineClient, EngineUnavailable, new_key
from app.health_view import answer, notice, tell

REFRESH_S = 2
COST_REFRESH_S = 15
NOTICE, FORM_NOTICE, FIT_NOTICE = "execution.notice", "execution.form_notice", "execution.fit_notice"
REVIEW = "execution.review"
BARS = 240


@st.fragment(run_every=REFRESH_S)
def running(client: EngineClient) -> None:
    """Parents at work, each with its progress and buttons, asked anew every two seconds."""
    found = answer("Parent orders", client.parents)
    if found is None:
        return
    widgets.figures(execution.headline(found, answer("Costs", client.execution_costs, quiet=True)))
    st.subheader("At work")
    notice(NOTICE)
    if not found["running"]:
        widgets.empty("No parent order is at work. Start one below, or on the desk; large targets start them too.")
    for parent in found["running"]:
        _card(client, parent, found["now_ns"])
    st.caption(f"Asked every {REFRESH_S} s.")


def _card(client: EngineClient, parent: dict[str, Any], now_ns: int) -> None:
    number = parent["parent_id"]
    with st.container(border=True):
        is_paused = parent["status"] == "PAUSED"
        with st.container(horizontal=True, vertical_alignment="center"):  # the buttons go below where there is no room
            st.markdown(f"**{execution.title_of(parent)}**", width="stretch")
            _button(client, "pause", parent, parent["status"] == "WORKING", ":material/pause:")
            _button(client, "resume", parent, is_paused, ":material/play_arrow:")
            _button(client, "cancel", parent, parent["status"] in ("WORKING", "PAUSED"), ":material/close:")
            with st.popover("Change", icon=":material/edit:"):
                _change_form(client, parent)
        st.progress(execution.share_of(parent), execution.state_of(parent, now_ns))
        if execution.hold_sentence(parent):
            st.warning(execution.hold_sentence(parent), icon=":material/pause_circle:")
        widgets.figure(execution_charts.progress_figure(parent, now_ns), key=f"execution.progress.{number}")


def _button(client: EngineClient, action: str, parent: dict[str, Any], may: bool, icon: str) -> None:
    number = parent["parent_id"]
    st.button(
        action.capitalize(), icon=icon, key=f"execution.{action}.{number}", disabled=not may,
        on_click=_act, args=(client, action, number),
    )  # fmt: skip


def _act(client: EngineClient, action: str, number: int, **changes: Any) -> None:
    # the key is made by the click, in its callback: a rerun does not come through here
    tell(NOTICE, lambda: client.act_on_parent(action, number, new_key(), **changes), f"Order {number}: {action} sent.")


def _change_form(client: EngineClient, parent: dict[str, Any]) -> None:
    number = parent["parent_id"]
    with st.form(f"execution.change.{number}", border=False):
        st.number_input("Quantity, base", min_value=0.0, value=None, format="%.6f", key=f"execution.qty.{number}",
                        placeholder=f"{parent['qty']:g}")  # fmt: skip
        st.number_input("Limit price, USDT", min_value=0.0, value=None, key=f"execution.limit.{number}")
        st.number_input("Minutes from now", min_value=0.0, value=None, key=f"execution.minutes.{number}")
        st.form_submit_button("Apply", on_click=_replace, args=(client, number))


def _replace(client: EngineClient, number: int) -> None:
    held = {"qty": f"execution.qty.{number}", "limit_px": f"execution.limit.{number}",
            "minutes": f"execution.minutes.{number}"}  # fmt: skip
    changes = {name: st.session_state[key] for name, key in held.items() if st.session_state.get(key)}
    _act(client, "replace", number, **changes)


@st.fragment
def new_order(client: EngineClient, symbols: list[str]) -> None:
    """A form that prices every way of working an order; a second step sends the one that was reviewed."""
    notice(FORM_NOTICE)
    review = st.session_state.get(REVIEW)
    if review:
        _confirm(client, review)
        return
    first, second, third = st.columns(3)
    first.selectbox("Symbol", symbols, key="execution.symbol")
    second.segmented_control("Side", ["buy", "sell"], default="buy", key="execution.side", required=True)
    way = third.selectbox("Way", execution.WAYS, format_func=execution.ALGORITHMS.get, key="execution.way")
    third.caption(execution.WAY_HELP[way])
    first.number_input("Notional, USDT", 1.0, None, 1000.0, key="execution.notional")
    second.number_input("Minutes", 0.5, 1440.0, 15.0, key="execution.span")
    first.number_input("Limit price, USDT", 0.0, None, None, key="execution.px", placeholder="any price")
    for place, name in zip((second, third, third), execution.FIELDS[way], strict=False):
        _field(place, name)
    first.checkbox("Reduce only", key="execution.reduce_only")
    third.button("Review", icon=":material/price_check:", type="primary", on_click=_review, args=(client,),
                 key="execution.review_button")  # fmt: skip


def _field(place: Any, name: str) -> None:
    """One field of the chosen way."""
    if name == "urgency":
        place.slider("Urgency", 0.0, 10.0, 1.0, 0.5, key="execution.urgency",
                     help="0 spreads evenly, 3 does most of it first")  # fmt: skip
    elif name == "participation":
        place.number_input("Share of the volume, %", 0.1, 50.0, 10.0, key="execution.participation",
                           help="Our part of everything that trades")  # fmt: skip
    elif name == "cap":
        place.number_input("Our share of the market at most, %", 0.0, 100.0, None, key="execution.cap",
                           placeholder="no cap", help="Of everything that trades; what it leaves undone at the end is "
                           "given up, unless the order only reduces")  # fmt: skip
    elif name == "display":
        place.number_input("Shown at once, base units", 0.0, None, None, key="execution.display",
                           placeholder="a twentieth", help="How much of it one order shows")  # fmt: skip
    elif name == "hidden":
        place.checkbox("Hidden", key="execution.hidden", help="Its orders rest without being shown")
    else:
        place.checkbox("Cross the spread", key="execution.cross",
                       help="Every part takes what is offered instead of waiting first")  # fmt: skip


def _review(client: EngineClient) -> None:
    held = st.session_state
    own = {f"execution.{name}": name for name in execution.FIELDS[held["execution.way"]]}
    chosen = {name: held.get(key) for key, name in own.items()}
    begin_review(client, {
        "symbol": held["execution.symbol"], "side": held["execution.side"], "algorithm": held["execution.way"],
        "size": {"value": held["execution.notional"], "unit": "quote"}, "minutes": held["execution.span"],
        "limit_px": held["execution.px"] or None, "reduce_only": held["execution.reduce_only"],
        "urgency": chosen.get("urgency"), "display_qty": chosen.get("display") or None, "hidden": chosen.get("hidden"),
        "participation": chosen["participation"] / 100.0 if chosen.get("participation") else None,
        "max_participation": chosen["cap"] / 100.0 if chosen.get("cap") else None,
        "passive": None if "cross" not in chosen else not chosen["cross"],
    })  # fmt: skip


def begin_review(client: EngineClient, ticket: dict[str, Any]) -> None:
    """Have a ticket judged and priced, and fix the key that sending it will spend."""
    ticket = {name: value for name, value in ticket.items() if value is not None}
    try:
        preview = client.preview_parent(ticket)
    except (CommandRefused, EngineUnavailable) as error:
        st.session_state[FORM_NOTICE] = (str(error), False, 0.0)
        return
    st.session_state[FORM_NOTICE] = ("", True, 0.0)
    st.session_state[REVIEW] = {"ticket": ticket, "preview": preview, "key": new_key()}


def _confirm(client: EngineClient, review: dict[str, Any]) -> None:
    ticket, preview = review["ticket"], review["preview"]
    st.markdown(
        f"**{ticket['side'].upper()} {preview['qty']:g} {ticket['symbol']}** by "
        f"{execution.manner_words(ticket)}: notional "
        f"{preview['notional']:,.2f} USDT, {'reduces' if preview['reduces'] else 'may open risk'}, worst loss at the "
        f"stop {preview['worst_loss']:,.2f} USDT, {execution.fee_words(preview)}."
    )
    st.caption("Expected cost of each way")
    rows = execution.choice_rows(preview["choices"], ticket["algorithm"])
    widgets.table(rows, execution.CHOICE_COLUMNS, key="execution.choices")
    for sentence in preview["problems"]:
        st.error(sentence)
    send, back = st.columns([1, 4])
    send.button("Send", type="primary", key="execution.send", disabled=not preview["ok"], on_click=_send,
                args=(client, review))  # fmt: skip
    back.button("Back", key="execution.back", on_click=lambda: st.session_state.pop(REVIEW, None))


def _send(client: EngineClient, review: dict[str, Any]) -> None:
    try:
        started = client.start_parent(review["ticket"], review["key"])
    except EngineUnavailable as error:
        told = f"{error.reason} The order may or may not have reached it: Send asks again and cannot send twice."
        st.session_state[FORM_NOTICE] = (told, False, 0.0)
        return  # the review stays open with the same key
    except CommandRefused as error:
        st.session_state[FORM_NOTICE] = (f"Refused: {error}", False, 0.0)
    else:
        st.session_state[NOTICE] = (f"Order {started['parent_id']} is at work.", True, 0.0)
    st.session_state.pop(REVIEW, None)


@st.fragment(run_every=COST_REFRESH_S)
def ended(client: EngineClient) -> None:
    """Ended parents with the parts of their shortfall."""
    found = answer("Shortfall", client.parents)
    if found is None:
        return
    rows = execution.ended_rows(found)
    if rows.empty:
        widgets.empty("No parent order has ended yet, so there is no shortfall to show.")
        return
    widgets.table(rows, execution.ENDED_COLUMNS, key="execution.ended")
    widgets.csv_download(rows, "shortfall", key="execution.ended_csv")


@st.fragment(run_every=COST_REFRESH_S)
def fills(client: EngineClient, symbols: list[str]) -> None:
    """Our fills on the newest candles of a symbol."""
    symbol = st.selectbox("Symbol of the chart", symbols, key="execution.chart_symbol")
    try:
        bars, made = client.bars(symbol, "1m", limit=BARS), client.fills(symbol=symbol, limit=500)
    except EngineUnavailable as error:
        widgets.unknown("Fills", error)
        return
    if bars.empty:
        widgets.empty(f"No candle of {symbol} yet.")
        return
    widgets.figure(execution_charts.fills_figure(bars, made), key="execution.fills")


@st.fragment(run_every=COST_REFRESH_S)
def costs(client: EngineClient) -> None:
    """The cost model against what was assumed, number by number and order by order."""
    found = answer("Costs", client.execution_costs)
    if found is None:
        return
    notice(FIT_NOTICE)
    numbers, picture = st.columns([5, 6], gap="medium")
    with numbers:
        widgets.table(execution.model_rows(found), execution.MODEL_COLUMNS, key="execution.model")
        st.caption(execution.model_sentence(found))
        st.button("Fit to our fills now", icon=":material/tune:", key="execution.fit", on_click=_fit, args=(client,))
    with picture:
        if not found["children"]:
            widgets.empty("No order of ours has filled yet, so nothing can be held against what was assumed.")
        else:
            widgets.figure(execution_charts.cost_figure(found), key="execution.costs")
            st.caption(execution.cost_sentence(found))


def _fit(client: EngineClient) -> None:
    tell(FIT_NOTICE, lambda: client.fit_costs(new_key()), "The cost model was fitted anew.")
