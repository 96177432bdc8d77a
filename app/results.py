"""The right-hand side of the Backtest page: a run's progress, its result, and two runs side by side."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st

from app import backtests, charts, widgets
from app.client import CommandRefused, EngineClient, EngineUnavailable

POLL_S = 0.5


def active_run(client: EngineClient) -> str | None:
    """Return the run that this browser started and that is still being worked on; note how a finished one ended."""
    held = st.session_state
    run_id = held.get("backtest.run_id")
    if run_id is None:
        return None
    with widgets.known(f"Run {run_id}"):
        state = client.run_status(run_id)
    if state["status"] not in backtests.FINISHED:
        return run_id
    held.pop("backtest.run_id")
    held.pop("backtest.key", None)  # the next click is a new run
    if state["status"] == "done":
        st.query_params["run_id"] = run_id
    else:
        held["backtest.refusal"] = f"Run {run_id} {state['status']}. {state['message'] or ''}"
    return None


@st.fragment(run_every=POLL_S)
def progress(client: EngineClient, run_id: str) -> None:
    """Show a run's progress with a button to cancel it; draws the page anew when the run is over."""
    with widgets.known(f"Run {run_id}"):
        state = client.run_status(run_id)
    if state["status"] in backtests.FINISHED:
        st.rerun()
    bar_at, button_at = st.columns([5, 1], vertical_alignment="bottom")
    words = f"{run_id} · {state['status']} · {state['message'] or ''} · asked every {POLL_S} s"
    bar_at.progress(float(state["progress"] or 0.0), text=words)
    button_at.button("Cancel", key="backtest.cancel", on_click=_cancel, args=(client, run_id), width="stretch")


def finished(rows: pd.DataFrame, opened: list[str]) -> list[dict[str, Any]]:
    """Return the opened runs that have a result, in the order opened; say why of the others."""
    by_id = {row["run_id"]: row for row in rows.to_dict("records")}
    found = [by_id[run_id] for run_id in opened if run_id in by_id]
    for row in found:
        if row["status"] == "failed":
            st.error(f"Run {row['run_id']} failed. {row['error'] or ''}", icon=":material/block:")
    return [row for row in found if row["status"] == "done"]


def newest_finished(rows: pd.DataFrame) -> list[str]:
    """Return the id of the newest run that has a result, as a list of none or one."""
    return list(rows.loc[rows["status"] == "done", "run_id"].head(1))


def result(client: EngineClient, run: dict[str, Any]) -> None:
    """Show one finished run: how good, how much of it is luck, what it cost, the curve and every trade."""
    answer = _load(client, run["run_id"])
    st.subheader(backtests.run_name(run))
    widgets.figures(backtests.headline_figures(answer), columns=5)
    _trust(answer)
    trades = backtests.trade_rows(answer)
    split_ms = answer["out_of_sample"].get("first_ts_ms")
    curve = charts.backtest_spec(answer["equity"], trades, split_ms)
    widgets.spec_chart(curve, key=f"backtest.chart.{run['run_id']}")
    _tabs(answer, trades)
    with st.container(horizontal=True):
        st.download_button(
            "Result JSON", json.dumps(answer), file_name=f"{run['run_id']}.json", mime="application/json",
            key="backtest.json", on_click="ignore", icon=":material/download:",
        )  # fmt: skip
        widgets.csv_download(trades, f"{run['run_id']}_trades", key="backtest.trades_csv", label="Trades CSV")
        widgets.csv_download(
            backtests.equity_rows(answer), f"{run['run_id']}_equity", key="backtest.equity_csv", label="Equity CSV"
        )


def comparison(client: EngineClient, runs: list[dict[str, Any]]) -> None:
    """Show several finished runs: their curves from one starting point and their measures side by side."""
    answers = {run["run_id"]: _load(client, run["run_id"]) for run in runs}
    st.subheader(" against ".join(backtests.run_name(run) for run in runs))
    curves = {run_id: answer["equity"] for run_id, answer in answers.items()}
    widgets.spec_chart(charts.compare_spec(curves), key=f"backtest.compare.{'.'.join(answers)}")
    table = backtests.comparison_rows(answers)
    widgets.plain_table(table)
    widgets.csv_download(table, "comparison", key="backtest.compare_csv", label="Comparison CSV")


def _tabs(answer: dict[str, Any], trades: pd.DataFrame) -> None:
    names = ["Measures", "Costs", f"Trades ({len(trades)})", "Risk gate", "Configuration"]
    metrics_at, costs_at, trades_at, gate_at, config_at = st.tabs(names)
    with metrics_at:
        widgets.table(backtests.metric_rows(answer), backtests.METRIC_COLUMNS, key="backtest.metrics", max_rows=16)
    with costs_at:
        widgets.table(backtests.cost_rows(answer), backtests.COST_COLUMNS, key="backtest.costs")
    with trades_at:
        if trades.empty:
            widgets.empty("This run closed no trade.")
        else:
            widgets.table(trades, backtests.TRADE_COLUMNS, key="backtest.trades", max_rows=12)
    with gate_at:
        widgets.table(backtests.gate_rows(answer), backtests.GATE_COLUMNS, key="backtest.gate")
    with config_at:
        st.json(answer["config"])


def _trust(answer: dict[str, Any]) -> None:
    st.caption(backtests.luck_sentence(answer))
    canaries = backtests.canary_rows(answer)
    if not canaries:
        st.caption("No canary was run: look-ahead is unchecked.")
        return
    with st.container(horizontal=True):
        for name, passed in canaries:
            st.badge(
                f"{name}: {'pass' if passed else 'FAIL'}", color="green" if passed else "red",
                icon=":material/check:" if passed else ":material/error:",
            )  # fmt: skip
    failed = [name for name, passed in canaries if not passed]
    if failed:
        st.error(f"Do not believe this result: {', '.join(failed)} failed.", icon=":material/error:")


def _load(client: EngineClient, run_id: str) -> dict[str, Any]:
    with widgets.known(f"Result of {run_id}"):
        try:
            return _result_of(client, str(client.home), run_id)
        except CommandRefused as error:
            st.error(str(error), icon=":material/block:")
            st.stop()


@st.cache_data(max_entries=8, show_spinner="Reading the result")
def _result_of(_client: EngineClient, home: str, run_id: str) -> dict[str, Any]:
    return _client.run_result(run_id)


def _cancel(client: EngineClient, run_id: str) -> None:
    try:
        client.cancel_run(run_id)
    except (CommandRefused, EngineUnavailable) as error:
        st.session_state["backtest.refusal"] = f"Run {run_id} may still be running: {error}"
