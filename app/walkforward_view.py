"""A finished walk-forward on the Backtest page: the stitched curve, what each fold chose and did, and the doubts."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from app import backtests, run_charts, walkforwards, widgets


def walk_forward(run_name: str, run_id: str, answer: dict[str, Any]) -> None:
    """Show a walk-forward's result."""
    st.subheader(f"Walk-forward: {run_name}")
    widgets.figures(walkforwards.headline(answer), width=145)
    st.markdown("\n".join(f"- {sentence}" for sentence in walkforwards.sentences(answer)))
    if len(answer["equity"]) < 2:
        widgets.empty("This result holds no equity curve.")
    else:
        spec = run_charts.backtest_spec(answer["equity"], marks=walkforwards.fold_marks(answer))
        widgets.spec_chart(spec, key=f"walkforward.chart.{run_id}")
        st.caption("Traded bars only, on parameters chosen before them. The numbers mark where a fold begins.")
    drawing = walkforwards.choice_figure(answer)
    if drawing is not None:
        st.markdown("##### What was chosen")
        widgets.figure(drawing, key=f"walkforward.chosen.{run_id}")
    rows = walkforwards.fold_rows(answer)
    widgets.table(rows, walkforwards.fold_columns(answer), key=f"walkforward.folds.{run_id}", max_rows=16)
    with st.container(horizontal=True):
        widgets.csv_download(rows, f"{run_id}_folds", key="walkforward.csv", label="Folds CSV")
        widgets.csv_download(
            backtests.equity_rows(answer), f"{run_id}_equity", key="walkforward.equity_csv", label="Equity CSV"
        )
        st.download_button("Result JSON", lambda: json.dumps(answer), file_name=f"{run_id}.json", on_click="ignore",
                           mime="application/json", key="walkforward.json", icon=":material/download:")  # fmt: skip
        st.link_button("What it means for the goal", f"/goal?run_id={run_id}", icon=":material/flag:")
