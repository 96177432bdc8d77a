"""The parts of the Risk page that show: limits, exposures, correlation, objections. All in one answer, asked anew."""

from __future__ import annotations

import streamlit as st

from app import risk, widgets
from app.client import EngineClient

REFRESH_S = 3


@st.fragment(run_every=REFRESH_S)
def now(client: EngineClient) -> None:
    """Show the account against its limits, asked anew every few seconds."""
    with widgets.known("Risk"):
        answer = client.risk()
    widgets.figures(risk.headline(answer))
    st.subheader("Limits")
    widgets.table(risk.gauge_rows(answer), risk.GAUGE_COLUMNS, key="risk.gauges")
    st.caption(risk.age_caption(answer, REFRESH_S))
    with st.expander("What each limit guards"):
        st.markdown("  \n".join(risk.guard_lines(answer)))
    st.subheader("Exposure")
    if not answer["exposures"]:
        widgets.empty("No open position.")
    else:
        widgets.table(risk.exposure_rows(answer), risk.EXPOSURE_COLUMNS, key="risk.exposures")
        if answer["clusters"]:
            widgets.table(risk.cluster_rows(answer), risk.CLUSTER_COLUMNS, key="risk.clusters", max_rows=6)
        st.caption(risk.cluster_sentence(answer))
    st.subheader("Refused and clipped today")
    rows = risk.objection_rows(answer)
    if rows.empty:
        widgets.empty("No rule has clipped or refused anything today.")
    else:
        widgets.table(rows, risk.OBJECTION_COLUMNS, key="risk.objections", max_rows=10)
    st.caption(risk.objection_sentence(answer))
    if answer["refused"]:
        widgets.table(risk.refused_rows(answer), risk.REFUSED_COLUMNS, key="risk.refused", max_rows=6)


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
