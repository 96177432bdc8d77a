"""A finished parameter sweep on the Backtest page: the choice and how much of it is luck, heat map, every member."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from app import sweeps, widgets


def sweep(run_name: str, run_id: str, answer: dict[str, Any]) -> None:
    """Show a sweep's result."""
    st.subheader(f"Sweep: {run_name}")
    widgets.figures(sweeps.headline(answer), width=145)
    told = sweeps.sentences(answer)
    if told:
        st.markdown("\n".join(f"- {sentence}" for sentence in told))
    drawing = sweeps.heat_figure(answer)
    if drawing is not None:
        widgets.figure(drawing, key=f"sweep.heat.{run_id}")
        st.caption("The ring is the choice. A plateau around it speaks for it; a lone bright cell looks like luck.")
    rows = sweeps.member_rows(answer)
    if rows.empty:
        widgets.empty("No parameter set could be run.")
    else:
        widgets.table(rows, sweeps.member_columns(answer), key=f"sweep.rows.{run_id}", max_rows=16)
    with st.container(horizontal=True):
        widgets.csv_download(rows, f"{run_id}_members", key="sweep.csv", label="Members CSV")
        st.download_button("Result JSON", lambda: json.dumps(answer), file_name=f"{run_id}.json", on_click="ignore",
                           mime="application/json", key="sweep.json", icon=":material/download:")  # fmt: skip
