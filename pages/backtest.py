"""Backtest: run the engine's own decision code over history and see what is left of it out of sample."""

import streamlit as st

from app import backtest_form, backtests, results, widgets
from app.client import engine_client

client = engine_client()
widgets.page_head("Backtest", client)
with widgets.known("Backtest"):
    results.note_end(client)  # before the list of runs, which then has its outcome
    in_force = client.settings()["values"]
    runs = client.runs()
    active = results.active_runs(client, runs)
    datasets = client.stored_datasets()
    own = client.own_costs()

form_at, result_at = widgets.form_and_answer()
with form_at:
    backtest_form.backtest_form(client, in_force, datasets, own, busy=bool(active))

with result_at:
    for run_id in active:
        results.progress(client, run_id)

    rows = backtests.run_rows(runs)
    if rows.empty:
        widgets.empty("No backtest yet. Fill in the form and run one; its honesty panel comes with it.")
        st.stop()
    # Two chosen rows are compared with each other.
    opened = widgets.pick_rows(
        rows, backtests.RUN_COLUMNS, key="backtest.runs", name="run_id", chosen=results.newest_finished(rows),
        several=True, max_rows=6,
    )  # fmt: skip
    shown = results.finished(client, rows, opened)
    if len(shown) > 1:
        results.comparison(client, shown)
    elif shown:
        results.result(client, shown[0])
    else:
        widgets.empty("Select a finished run to see it, or two to compare them.")
