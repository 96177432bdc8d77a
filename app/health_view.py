"""The parts of the Health page. Each asks for its own answer, so one that is missing leaves the others standing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import streamlit as st

from app import health, widgets
from app.client import CommandRefused, EngineClient, EngineUnavailable, new_key
from app.tables import Column

T = TypeVar("T")
REFRESH_S = 3
SLOW_REFRESH_S = 15
NOTICE_S = 8.0
COMPARE_NOTICE = "health.compare_notice"
DRILL_NOTICE = "health.drill_notice"
OVERRIDE_NOTICE = "health.override_notice"


def answer(what: str, ask: Callable[[], T], *, quiet: bool = False) -> T | None:
    """Return what the engine answers; when it does not, say that ``what`` is unknown and return None."""
    try:
        return ask()
    except EngineUnavailable as error:
        if not quiet:
            widgets.unknown(what, error)
        return None


@st.fragment(run_every=REFRESH_S)
def connection(client: EngineClient) -> None:
    """Headline numbers, streams, request weight and breakers, asked anew every few seconds."""
    status = answer("Health", client.status)
    if status is None:
        return
    found = answer("Connection", client.health)
    ledger = answer("Ledger", client.ledger, quiet=True)
    drills = answer("Drills", client.drills, quiet=True) or []
    widgets.figures(health.headline(status, found, ledger, drills))
    if found is None:
        return
    for sentence in health.warnings(found, status["now_ns"]):
        st.error(sentence, icon=":material/gpp_maybe:")
    streams_at, venue_at = st.columns([5, 4], gap="medium")
    with streams_at:
        st.subheader("Streams")
        _table(health.stream_rows(found), health.STREAM_COLUMNS, "health.streams", "No stream has been opened yet.")
    with venue_at:
        st.subheader("Requests to the venue")
        meter = health.weight_meter(found["weight"])
        st.progress(meter.fraction, meter.text)
        _table(health.breaker_rows(found), health.BREAKER_COLUMNS, "health.breakers", "No endpoint has been used yet.")
    st.caption(f"Asked every {REFRESH_S} s. The UI has the lowest priority in the request budget.")


@st.fragment(run_every=REFRESH_S)
def books(client: EngineClient) -> None:
    """Our books beside the venue's, and a button that compares them now."""
    status = answer("Books", client.status)
    if status is None:
        return
    title, button = st.columns([4, 1], vertical_alignment="bottom")
    title.subheader("Books against the venue")
    button.button("Compare now", icon=":material/balance:", on_click=_compare, args=(client,), width="stretch",
                  key="health.compare")  # fmt: skip
    ledger = answer("Ledger", client.ledger)
    if ledger is not None:
        rows = health.ledger_rows(ledger)
        _table(rows, health.LEDGER_COLUMNS, "health.ledger", health.no_line_text(ledger))
    st.caption(health.ledger_sentence(status, ledger))
    notice(COMPARE_NOTICE)


@st.fragment(run_every=REFRESH_S)
def drills(client: EngineClient) -> None:
    """One card a kill level with its newest drill and its button, and the history below."""
    status, rows = answer("Drills", client.status), None
    if status is not None:
        rows = answer("Drills", client.drills)
    if status is None or rows is None:
        return
    busy = any(row["ok"] is None for row in rows)
    for place, (level, (name, meaning)) in zip(st.columns(4), health.LEVELS.items(), strict=True):
        with place.container(border=True):
            st.markdown(f"**{level} {name}**  \n{health.last_drill_text(rows, level, status['now_ns'])}")
            with st.popover("Rehearse", disabled=busy, width="stretch", icon=":material/sports_score:"):
                st.markdown(
                    f"{meaning} Runs in about half a minute on a throw-away exchange, the second time on a flaky one; "
                    "this account is not touched."
                )
                st.button(f"Start drill {level}", type="primary", key=f"health.drill.{level}", on_click=_start_drill,
                          args=(client, level))  # fmt: skip
    notice(DRILL_NOTICE)
    if not rows:
        widgets.empty("No drill yet. Rehearse one above; each level is also rehearsed by schedule.")
        return
    widgets.table(health.drill_rows(rows), health.DRILL_COLUMNS, key="health.drills", max_rows=6)


@st.fragment(run_every=SLOW_REFRESH_S)
def capital(client: EngineClient) -> None:
    """The capital ladder: each rung with what is shown and what is missing, and the overrides."""
    ladder = answer("Capital ladder", client.ladder)
    if ladder is None:
        return
    rungs = ladder["rungs"]
    for place, rung, below in zip(st.columns(len(rungs)), rungs, [None, *rungs[:-1]], strict=True):
        with place.container(border=True, height="stretch"):
            st.markdown(f"{health.rung_title(rung)}  \n{health.rung_state(rung, ladder['rung'])}")
            st.markdown("  \n".join(health.rung_lines(rung, below)))
    with st.popover("Override …", icon=":material/edit_attributes:"):
        _override_form(client, ladder)
    notice(OVERRIDE_NOTICE)
    if ladder["overrides"]:
        widgets.table(health.override_rows(ladder), health.OVERRIDE_COLUMNS, key="health.overrides", max_rows=4)


def _override_form(client: EngineClient, ladder: dict[str, Any]) -> None:
    st.markdown("Live trading may use a rung without its evidence. Who, when and why go into the audit record.")
    names = [rung["name"] for rung in ladder["rungs"]]
    titles = health.RUNG_TITLES | {"paper": "Withdraw the override"}
    st.selectbox("Up to", names, key="health.override_rung", format_func=lambda name: titles.get(name, name))
    st.text_input("Reason, at least 20 characters", key="health.override_reason")
    st.button("Record the override", type="primary", key="health.override", on_click=_override, args=(client,))


@st.fragment(run_every=SLOW_REFRESH_S)
def incidents(client: EngineClient) -> None:
    """What went wrong, newest first, and the chosen one as a redacted file."""
    found = answer("Incidents", lambda: client.incidents(limit=300))
    if found is None:
        return
    if found.empty:
        widgets.empty("No incident recorded. Whatever goes wrong is listed here with its time and cause.")
        return
    rows = health.incident_rows(found)
    opened = widgets.pick_rows(rows, health.INCIDENT_COLUMNS, key="health.incidents", name="incident_id",
                               chosen=[rows["incident_id"].iloc[0]], pattern=r"\d{1,12}", max_rows=8)  # fmt: skip
    chosen = opened[0] if opened[0] in set(rows["incident_id"]) else rows["incident_id"].iloc[0]
    button, said = st.columns([1, 3], vertical_alignment="center")
    button.download_button(
        "Incident bundle", data=lambda: client.incident_bundle(int(chosen)), file_name=f"incident-{chosen}.zip",
        mime="application/zip", key="health.bundle", on_click="ignore", icon=":material/folder_zip:", width="stretch",
        help="The record ten minutes either way, settings, status, versions and logs in one file; keys and addresses "
             "are taken out.",
    )  # fmt: skip
    said.caption(health.incident_label(rows, chosen))


def self_checks(client: EngineClient) -> None:
    """What the engine's doctor finds, failures first."""
    found = answer("Self-checks", client.doctor)
    if found is not None:
        _table(health.check_rows(found), health.CHECK_COLUMNS, "health.checks", "The engine has no check to run.")


def _table(rows: Any, columns: tuple[Column, ...], key: str, nothing: str) -> None:
    if rows.empty:
        widgets.empty(nothing)
    else:
        widgets.table(rows, columns, key=key)


def _compare(client: EngineClient) -> None:
    tell(COMPARE_NOTICE, lambda: client.reconcile(), "The books were compared.")


def _start_drill(client: EngineClient, level: int) -> None:
    # The key is made by the click, in its callback: a rerun does not come through here.
    tell(DRILL_NOTICE, lambda: client.start_drill(level, new_key()), f"Drill of level {level} has begun.")


def _override(client: EngineClient) -> None:
    rung, reason = st.session_state["health.override_rung"], st.session_state["health.override_reason"]
    tell("health.override_notice", lambda: client.override_ladder(rung, reason, new_key()), "The override is recorded.")


def tell(key: str, command: Callable[[], Any], done: str) -> None:
    """Carry a command out and keep what became of it for ``notice``."""
    try:
        command()
    except CommandRefused as error:
        text, ok = str(error), False
    except EngineUnavailable as error:
        text, ok = f"{error.reason} It is not known whether this was carried out.", False
    else:
        text, ok = done, True
    st.session_state[key] = (text, ok, time.monotonic())


def notice(key: str) -> None:
    """Show what became of a click: good news for a moment, a refusal until the next click."""
    text, ok, told = st.session_state.get(key, ("", True, 0.0))
    if text and (not ok or time.monotonic() - told < NOTICE_S):
        (st.caption if ok else st.error)(text)
