"""The Health page's evidence: the parity certificate with its button, and the drift meter."""

from __future__ import annotations

import streamlit as st

from app import evidence, health_view, widgets
from app.client import EngineClient, new_key

REFRESH_S = 5
CERTIFY_NOTICE, DRIFT_NOTICE = "health.certify_notice", "health.drift_notice"


@st.fragment(run_every=REFRESH_S)
def certificate(client: EngineClient) -> None:
    """Whether the strategy in force decides live as it does in a backtest, and a button that finds out."""
    status, found = health_view.answer("Parity certificate", client.status), None
    if status is not None:
        found = health_view.answer("Parity certificate", client.certificate)
    if status is None or found is None:
        return
    said, button = st.columns([4, 1], vertical_alignment="center")
    sentence, tone = evidence.certificate_sentence(found, status["now_ns"])
    with said:
        {"good": st.success, "bad": st.error, "none": st.info}[tone](sentence)
    busy = found.get("running_since") is not None
    button.button(
        evidence.making_words(found, status["now_ns"]) if busy else "Certify", icon=":material/verified:",
        disabled=busy, width="stretch",
        key="health.certify", on_click=_certify, args=(client,),
        help="Plays one tape through backtest, paper and live at throw-away exchanges and compares every decision.",
    )  # fmt: skip
    details = evidence.certificate_details(found)
    if details:
        st.caption(details)
    if found.get("trouble"):
        st.error(found["trouble"])
    health_view.notice(CERTIFY_NOTICE)


@st.fragment(run_every=health_view.SLOW_REFRESH_S)
def drift(client: EngineClient) -> None:
    """Each day against its replay, and what the difference is made of."""
    rows = health_view.answer("Drift", client.drift)
    if rows is None:
        return
    said, button = st.columns([4, 1], vertical_alignment="center")
    button.button("Measure yesterday", icon=":material/replay:", width="stretch", key="health.drift", on_click=_measure,
                  args=(client,))  # fmt: skip
    if rows:
        said.caption(evidence.drift_sentence(rows))
        widgets.table(evidence.drift_table(rows), evidence.DRIFT_COLUMNS, key="health.drift_days", max_rows=8)
    else:
        with said:
            widgets.empty("No day measured yet. Each night the day before is replayed through the backtester.")
    health_view.notice(DRIFT_NOTICE)


def _certify(client: EngineClient) -> None:
    # The key is made by the click, in its callback: a rerun does not come through here.
    health_view.tell(CERTIFY_NOTICE, lambda: client.start_certificate(new_key()), "The certificate is being made.")


def _measure(client: EngineClient) -> None:
    health_view.tell(DRIFT_NOTICE, client.measure_drift, "The day before has been replayed.")
