"""The sidebar: paper or live, what the engine says, and the kill switch. On every page."""

from __future__ import annotations

import time
from typing import Any

import streamlit as st

from app.client import CommandRefused, EngineUnavailable, engine_client, new_key
from app.formats import age, clock, number, percent, sign_of, signed
from app.launcher import shared_launcher
from engine.domain import NS_PER_S, KillLevel

STATUS_EVERY_S = 1.0
NOTICE_S = 8.0
KILL_WORDS = {
    KillLevel.NONE: "released",
    KillLevel.PAUSE: "entries paused",
    KillLevel.CANCEL: "orders cancelled",
    KillLevel.FLATTEN: "flattened",
    KillLevel.HALT: "halted",
}


def mode_switch() -> None:
    """Paper or live. Live opens the arming checklist; the switch itself never arms anything."""
    is_live = _is_live()
    st.session_state.setdefault("shell_mode", "Live" if is_live else "Paper")
    st.segmented_control(
        "Mode", ["Paper", "Live"], key="shell_mode", required=True, label_visibility="collapsed", width="stretch",
        help="Live trading stays off until every item of the arming checklist is green.",
    )  # fmt: skip
    wish = st.session_state["shell_mode"]
    if wish == "Live" and not is_live:
        arming_dialog()
    elif wish == "Paper" and is_live:
        st.caption("The engine still trades live. Stop it, then start it on paper.")


def _is_live() -> bool:
    try:
        return engine_client().status()["mode"] == "live"
    except EngineUnavailable:
        return False


def _back_to_paper() -> None:
    st.session_state["shell_mode"] = "Paper"


@st.dialog("Arm live trading", width="medium", on_dismiss=_back_to_paper)
def arming_dialog() -> None:
    """Show what must be green before live trading; refuse while anything is not."""
    try:
        checklist = engine_client().arming()
    except EngineUnavailable as error:
        st.warning(f"The checklist is {error.unknown_since}. {error.reason} Live trading stays off.")
        return
    for item in checklist["items"]:
        mark = ":green[✓ ready]" if item["ok"] else ":red[✕ missing]"
        st.markdown(f"{mark} **{item['name']}** {item['detail']}")
    if not checklist["ready"]:
        st.error("Refused: live trading stays off until every item is green. The engine keeps trading on paper.")
    else:
        st.info("Every item is green. Arm on the Settings page, or stop this engine and start live at a terminal:")
        st.code(checklist["command"], language="bash")
    if st.button("Stay on paper", width="stretch", on_click=_back_to_paper):
        st.rerun()


@st.fragment(run_every=STATUS_EVERY_S)
def sidebar_status() -> None:
    """Mode badge, engine, account and kill switch, read once a second."""
    try:
        status = engine_client().status()
    except EngineUnavailable as error:
        _unknown(error)
        return
    _badges(status)
    _account(status)
    _kill_switch(status)
    _engine(status)


def _unknown(error: EngineUnavailable) -> None:
    launcher = shared_launcher()
    st.badge("MODE UNKNOWN", color="orange")
    if launcher.is_starting:
        st.info(f"The engine is starting; its state is {error.unknown_since}. This takes a few seconds.")
        return
    st.warning(f"Engine {error.unknown_since}. {error.reason}")
    st.markdown("Equity, day PnL and kill switch are **unknown**. Protective stops rest on the exchange.")
    if launcher.note:
        st.caption(launcher.note)
    st.button("Start the engine", on_click=launcher.begin, width="stretch")


def _badges(status: dict[str, Any]) -> None:
    is_live = status["mode"] == "live"
    speed = status.get("speed") or 1.0
    source = status["market_source"] + (f" ×{speed:g}" if speed != 1 else "")
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.badge("LIVE · REAL MONEY" if is_live else "PAPER", color="red" if is_live else "blue")
        st.caption(f"{source} market")


def _account(status: dict[str, Any]) -> None:
    day, share = status["day_pnl"], status["day_pnl_pct"]
    change = None if day is None else f"{signed(day)} ({percent(share)}) today"
    colour = {1: "green", -1: "red", 0: "off"}[sign_of(day)]
    st.metric("Equity · USDT", number(status["equity"]), change, delta_color=colour, delta_arrow="off")
    st.caption(f"Drawdown {percent(status['drawdown'])}  \nExposure {number(status['gross_weight'], 2)} × equity")
    _day(status)


def _day(status: dict[str, Any]) -> None:
    rung = status.get("day_rung")
    if rung in (None, "open"):
        return
    lost = f"Today's worst loss: {percent(status['day_worst'])} of {percent(status['max_daily_loss'])} allowed."
    if rung == "flat":
        st.error(f"**Flat until tomorrow (UTC).** {lost} Only reducing orders pass.")
    elif rung == "reduce only":
        st.warning(f"**Reducing only until tomorrow (UTC).** {lost}")
    else:
        st.warning(f"**Smaller positions today.** {lost}")


def _engine(status: dict[str, Any]) -> None:
    heartbeat_s = max(0.0, (time.time_ns() - status["now_ns"]) / NS_PER_S)
    data_age = status["last_event_age_s"]
    late = "red" if data_age is None or data_age >= 5 else "orange" if data_age >= 2 else "green"
    check = status["last_reconcile"]
    if check is None:
        reconciled = "not yet"
    else:
        reconciled = f"{clock(check['ts'])} {'✓' if check['ok'] else ':red[✕ ' + str(check['mismatches']) + ' differ]'}"
    unsure = status.get("unknown_orders") or 0
    st.caption(
        f"Engine **{status['phase']}**, heartbeat {age(heartbeat_s)}  \n"
        f"Data age :{late}[● {age(data_age)}]  \n"
        f"Reconciled {reconciled}  \n"
        f"Open orders {status['open_orders']}" + (f", :orange[{unsure} unknown]" if unsure else "")
    )


def _kill_switch(status: dict[str, Any]) -> None:
    level = status["kill_level"]
    if level:
        reason = status["kill_reason"] or "no reason given"
        st.error(f"**Kill switch {level}: {KILL_WORDS[KillLevel(level)]}.** {reason}")
        _resume(level)
    else:
        st.markdown("**Kill switch** :gray[off]")
    left, right = st.columns(2, gap="xxsmall")
    left.button("Pause", on_click=_kill, args=(KillLevel.PAUSE,), width="stretch", key="kill_pause",
                help="No new positions; orders and exits go on.")  # fmt: skip
    right.button("Cancel all", on_click=_kill, args=(KillLevel.CANCEL,), width="stretch", key="kill_cancel",
                 help="No new positions, and every working order is cancelled. Protective stops stay.")  # fmt: skip
    with left.popover("Flatten", width="stretch"):
        st.markdown("Cancel all orders and close every position with reduce-only orders.")
        st.button("Flatten now", on_click=_kill, args=(KillLevel.FLATTEN,), type="primary", key="kill_flatten")
    with right.popover("Halt", width="stretch"):
        st.markdown("Flatten, then refuse everything until a person types RESUME.")
        st.button("Halt now", on_click=_kill, args=(KillLevel.HALT,), type="primary", key="kill_halt")
    _notice()


def _resume(level: int) -> None:
    if level < KillLevel.HALT:
        st.button("Resume trading", on_click=_release, width="stretch", key="kill_resume")
        return
    with st.popover("Resume …", width="stretch"):
        st.text_input("Type RESUME to trade again", key="shell_confirm")
        st.button("Resume trading", on_click=_release, key="kill_resume")


def _kill(level: KillLevel) -> None:
    # The key is made by the click, in its callback: a rerun does not come through here.
    try:
        answer = engine_client().kill(int(level), "Sidebar", new_key(), actor="desk")
    except (CommandRefused, EngineUnavailable) as error:
        _tell(f"The kill switch did NOT take effect: {error}", ok=False)
        return
    took = answer.get("cancels_sent_ms")
    _tell(f"Kill switch {int(level)} accepted" + (f", cancels sent in {took:.0f} ms." if took else "."), ok=True)


def _release() -> None:
    try:
        engine_client().resume(new_key(), confirm=st.session_state.get("shell_confirm", ""), actor="desk")
    except (CommandRefused, EngineUnavailable) as error:
        _tell(str(error), ok=False)
        return
    _tell("Trading resumed.", ok=True)


def _tell(text: str, *, ok: bool) -> None:
    st.session_state["shell_notice"] = (text, ok, time.monotonic())


def _notice() -> None:
    text, ok, told = st.session_state.get("shell_notice", ("", True, 0.0))
    if text and (not ok or time.monotonic() - told < NOTICE_S):
        (st.caption if ok else st.error)(text)
