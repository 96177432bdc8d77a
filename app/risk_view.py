"""The parts of the Risk page that show: limits, exposures, correlation, objections. All in one answer, asked anew."""

from __future__ import annotations

import json

import streamlit as st

from app import risk, risk_shocks, risk_stress, widgets
from app.client import CommandRefused, EngineClient, EngineUnavailable

REFRESH_S = 3
STRESS_REFRESH_S = 15
REPLAY = "risk.replay_trouble"


@st.fragment(run_every=REFRESH_S)
def now(client: EngineClient) -> None:
    """Show the account against its limits, asked anew every few seconds."""
    with widgets.known("Risk"):
        answer = client.risk()
    widgets.figures(risk.headline(answer))
    st.subheader("Limits")
    widgets.table(risk.gauge_rows(answer), risk.GAUGE_COLUMNS, key="risk.gauges", max_rows=20)
    st.caption(risk.age_caption(answer, REFRESH_S))
    with st.expander("What each limit guards"):
        st.markdown("  \n".join(risk.guard_lines(answer)))
    st.subheader("Shocks")
    st.markdown(risk_shocks.worst_sentence(answer))
    if answer["shocks"] and answer["exposures"]:
        widgets.table(risk_shocks.shock_rows(answer), risk_shocks.SHOCK_COLUMNS, key="risk.shocks")
        st.caption(risk_shocks.CAPTION)
    st.subheader("Exposure")
    if not answer["exposures"]:
        widgets.empty("No open position.")
    else:
        widgets.table(risk.exposure_rows(answer), risk.EXPOSURE_COLUMNS, key="risk.exposures")
        if answer["clusters"]:
            widgets.table(risk.cluster_rows(answer), risk.CLUSTER_COLUMNS, key="risk.clusters", max_rows=6)
        st.caption(risk.cluster_sentence(answer))
    st.subheader("Tail")
    if not answer["tail"]:
        st.info("The tail is unknown: a position's price is unknown.", icon=":material/help:")
    else:
        widgets.table(risk.tail_rows(answer), risk.TAIL_COLUMNS, key="risk.tail")
        st.caption(risk.tail_caption(answer))
    st.subheader("Refused and clipped today")
    rows = risk.objection_rows(answer)
    if rows.empty:
        widgets.empty("No rule has clipped or refused anything today.")
    else:
        widgets.table(rows, risk.OBJECTION_COLUMNS, key="risk.objections", max_rows=10)
    st.caption(risk.objection_sentence(answer))
    if answer["refused"]:
        widgets.table(risk.refused_rows(answer), risk.REFUSED_COLUMNS, key="risk.refused", max_rows=6)


@st.fragment(run_every=STRESS_REFRESH_S)
def stress(client: EngineClient) -> None:
    """Show what crises would do to the book: the newest replay with its age, and a button for a new one."""
    title, button = st.columns([4, 1], vertical_alignment="bottom")
    title.subheader("Stress")
    button.button("Replay now", icon=":material/replay:", on_click=_replay, args=(client,), width="stretch",
                  key="risk.replay", help="Takes some seconds, in a process beside the engine.")  # fmt: skip
    with widgets.known("Stress"):
        found = client.stress()
    failed = st.session_state.get(REPLAY)
    if failed:
        st.error(failed)
    if found["ts"] is None:
        widgets.empty("No replay yet. Make one with the button above; there is one every night at 00:25 UTC.")
        return
    st.markdown(risk_stress.verdict(found))
    widgets.table(risk_stress.stress_rows(found), risk_stress.STRESS_COLUMNS, key="risk.stress")
    st.caption(risk_stress.stress_caption(found))
    with st.expander("What each scenario is"):
        st.markdown("  \n".join(risk_stress.scenario_lines(found)))


def _replay(client: EngineClient) -> None:
    st.session_state[REPLAY] = ""
    try:
        client.run_stress()
    except CommandRefused as error:
        st.session_state[REPLAY] = str(error)
    except EngineUnavailable as error:
        st.session_state[REPLAY] = f"{error.reason} Whether the replay was made is unknown."


@st.fragment(run_every=60)
def correlation(client: EngineClient) -> None:
    """Show how much the symbols move together; unknown while there are too few hourly candles."""
    st.subheader("Correlation")
    with widgets.known("Correlation"):
        answer = client.risk()
    found = answer["correlation"]
    if found["matrix"] is None:
        st.info(f"Correlation is unknown while the history is short. {found['why']}", icon=":material/help:")
        return
    widgets.figure(risk.correlation_figure(answer), key="risk.correlation")
    st.caption(risk.correlation_caption(answer))


def reports(client: EngineClient) -> None:
    """Offer the account's report as files, made when they are asked for."""
    st.subheader("Reports")
    with st.container(horizontal=True):
        st.download_button(
            "Risk analysis PDF", data=client.live_risk_paper, file_name="risk_analysis.pdf", mime="application/pdf",
            key="risk.paper", on_click="ignore", icon=":material/picture_as_pdf:",
        )  # fmt: skip
        st.download_button(
            "Performance JSON", data=lambda: json.dumps(client.live_record(), indent=1), mime="application/json",
            file_name="live_performance.json", key="risk.record", on_click="ignore", icon=":material/data_object:",
        )  # fmt: skip
    st.caption("Of this account, made on the click; both are also written every night into the data folder's reports.")
