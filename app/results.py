"""The right-hand side of the Backtest page: a run's progress, its result, and several runs side by side."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st

from app import backtests, report_view, run_charts, sweep_view, walkforward_view, widgets
from app.client import CommandRefused, EngineClient, EngineUnavailable, new_key

POLL_S = 0.5
HONESTY = ("luck", "drawdown", "stress", "comparison", "walk_forward", "canaries", "certificate")
WINDOWS: dict[str, int | None] = {"Last 20 trades": 20, "Last 100 trades": 100, "Whole run": None}


def note_end(client: EngineClient) -> None:
    """Note how the run that this browser follows ended, if it did; one that is done is opened."""
    held = st.session_state
    run_id = held.get("backtest.run_id")
    if run_id is None:
        return
    with widgets.known(f"Run {run_id}"):
        state = client.run_status(run_id)
    if state["status"] not in backtests.FINISHED:
        return
    held.pop("backtest.run_id")
    held.pop("backtest.key", None)  # the next click is a new run
    if state["status"] == "done":
        st.query_params["run_id"] = run_id
    else:
        held["backtest.refusal"] = f"Run {run_id} {state['status']}. {state['message'] or ''}"


def active_runs(client: EngineClient, runs: pd.DataFrame) -> list[str]:
    """Return the runs that are being worked on, newest first, whoever started them.

    A page that was loaded anew has forgotten what it started: it follows the newest of them again.
    """
    active = [run_id for run_id in backtests.unfinished(runs)
              if client.run_status(run_id)["status"] not in backtests.FINISHED]  # fmt: skip
    if active:
        st.session_state.setdefault("backtest.run_id", active[0])
    return active


@st.fragment(run_every=POLL_S)
def progress(client: EngineClient, run_id: str) -> None:
    """Show a run's progress with a button to cancel it; draws the page anew when the run is over."""
    with widgets.known(f"Run {run_id}"):
        state = client.run_status(run_id)
    if state["status"] in backtests.FINISHED:
        st.rerun()
    bar_at, button_at = st.columns([5, 1], vertical_alignment="bottom")
    share = float(state["progress"] or 0.0)
    words = " · ".join(part for part in (run_id, state["status"], f"{share:.0%}", state["message"]) if part)
    bar_at.progress(share, text=words)
    button_at.button("Cancel", key=f"backtest.cancel.{run_id}", on_click=_cancel, args=(client, run_id),
                     width="stretch")  # fmt: skip


def finished(client: EngineClient, rows: pd.DataFrame, opened: list[str]) -> list[dict[str, Any]]:
    """Return the opened runs that have a result, in the order opened; say why of the others, and offer to go on."""
    by_id = {row["run_id"]: row for row in rows.to_dict("records")}
    found = [by_id[run_id] for run_id in opened if run_id in by_id]
    for row in found:
        if row["status"] == "failed":
            st.error(f"Run {row['run_id']} failed. {row['error'] or ''}", icon=":material/block:")
        if row["status"] in ("failed", "cancelled") and row["kind"] in backtests.RESUMABLE:
            with st.container(horizontal=True):
                st.button(f"Resume {row['run_id']}", icon=":material/resume:", key=f"backtest.resume.{row['run_id']}",
                          on_click=_resume, args=(client, row["run_id"]),
                          help="What was finished of it is kept; the rest is computed")  # fmt: skip
                st.button("Discard", icon=":material/delete:", key=f"backtest.discard.{row['run_id']}",
                          on_click=_discard, args=(client, row["run_id"]),
                          help="Throws away what was finished of it; it cannot be resumed then")  # fmt: skip
    return [row for row in found if row["status"] == "done"]


def newest_finished(rows: pd.DataFrame) -> list[str]:
    """Return the id of the newest run that has a result, as a list of none or one."""
    return list(rows.loc[rows["status"] == "done", "run_id"].head(1))


def result(client: EngineClient, run: dict[str, Any]) -> None:
    """Show one finished run: what to believe of it first, then the curve, the doubts, every trade and every setting."""
    run_id = run["run_id"]
    of_kind = {"sweep": sweep_view.sweep, "walkforward": walkforward_view.walk_forward}.get(run["kind"])
    if of_kind is not None:
        of_kind(backtests.run_name(run), run_id, _load(client, run_id))
        return
    answer, report = _load(client, run_id), _report(client, run_id)
    st.subheader(backtests.run_name(run))
    report_view.badges(report)
    widgets.figures(backtests.headline_figures(answer), width=145)
    _summary(report)
    trades = backtests.trade_rows(answer)
    names = ["Result", "Honesty", "What would make me doubt this", f"Trades ({len(trades)})", "Costs and gate",
             "Configuration"]  # fmt: skip
    result_at, honesty_at, doubt_at, trades_at, costs_at, config_at = st.tabs(names)
    with result_at:
        _curves(answer, trades, run_id)
        report_view.sections(report, ("months", "measures"), key="backtest")
    with honesty_at:
        report_view.sections(report, HONESTY, key="backtest")
    with doubt_at:
        report_view.sections(report, ("critique", "sensitivity"), key="backtest")
    with trades_at:
        _trades(client, run_id, trades)
    with costs_at:
        report_view.sections(report, ("costs", "gate"), key="backtest")
    with config_at:
        report_view.sections(report, ("configuration",), key="backtest")
    _exports(client, run_id, answer, trades)


def comparison(client: EngineClient, runs: list[dict[str, Any]]) -> None:
    """Show several finished runs: curves from one starting point, measures side by side, settings that differ."""
    if len(runs) > backtests.COMPARED:
        st.caption(f"The first {backtests.COMPARED} of {len(runs)} chosen runs are compared.")
    runs = [run for run in runs if run["kind"] == "backtest"][: backtests.COMPARED]
    if not runs:
        widgets.empty("Sweeps and walk-forwards are looked at one at a time.")
        return
    answers = {run["run_id"]: _load(client, run["run_id"]) for run in runs}
    st.subheader(" against ".join(backtests.run_name(run) for run in runs))
    curves = {run_id: answer["equity"] for run_id, answer in answers.items()}
    widgets.spec_chart(run_charts.compare_spec(curves), key=f"backtest.compare.{'.'.join(answers)}")
    differing = backtests.difference_rows(answers)
    if differing.empty:
        st.caption("These runs have the same settings.")
    else:
        widgets.plain_table(differing)
    table = backtests.comparison_rows(answers)
    widgets.plain_table(table)
    st.caption("The best of several runs looks better than it is: how many were tried is counted in each one's panel.")
    widgets.csv_download(table, "comparison", key="backtest.compare_csv", label="Comparison CSV")


def _summary(report: dict[str, Any]) -> None:
    summary = next((section for section in report["sections"] if section["name"] == "summary"), None)
    words = summary["words"] if summary else []
    for sentence in words:
        if sentence.startswith("Do not believe"):
            st.error(sentence, icon=":material/error:")
    st.markdown("\n".join(f"- {sentence}" for sentence in words if not sentence.startswith("Do not believe")))


def _curves(answer: dict[str, Any], trades: pd.DataFrame, run_id: str) -> None:
    if len(answer.get("equity") or []) < 2:
        widgets.empty("This result holds no equity curve.")
        return
    split_ms = (answer.get("out_of_sample") or {}).get("first_ts_ms")
    spec = run_charts.backtest_spec(answer["equity"], trades, split_ms, answer.get("exposure"))
    widgets.spec_chart(spec, key=f"backtest.chart.{run_id}")


def _trades(client: EngineClient, run_id: str, trades: pd.DataFrame) -> None:
    if trades.empty:
        widgets.empty("This run closed no trade.")
        return
    symbol_at, window_at = st.columns([1, 3], vertical_alignment="bottom")
    symbol = symbol_at.selectbox("Symbol", sorted(trades["symbol"].unique()), key=f"backtest.trades.symbol.{run_id}")
    window = window_at.segmented_control(
        "Shown", list(WINDOWS), default=next(iter(WINDOWS)), required=True, key=f"backtest.trades.window.{run_id}"
    )
    own = trades[trades["symbol"] == symbol]
    start_ms, end_ms = backtests.candle_window(own, WINDOWS[window or "Whole run"])
    shown = backtests.trades_between(trades, symbol, start_ms, end_ms)
    candles = _candles(client, run_id, symbol, start_ms, end_ms)
    if candles:
        spec = run_charts.trade_spec(candles, shown, backtests.price_decimals_of(candles))
        widgets.spec_chart(spec, key=f"backtest.candles.{run_id}.{symbol}.{window}")
        st.caption("Arrows: where a trade began, blue long, amber short. Squares: where it ended, with its PnL, USDT.")
    widgets.table(shown, backtests.TRADE_COLUMNS[1:], key="backtest.trades", max_rows=12)


def _candles(
    client: EngineClient, run_id: str, symbol: str, start_ms: int | None, end_ms: int | None
) -> list[list[float]]:
    with widgets.known(f"Candles of {symbol}"):
        try:
            return client.run_candles(run_id, symbol, start_ms=start_ms, end_ms=end_ms)
        except CommandRefused as error:
            st.caption(f"No candles to draw the trades on: {error}")
            return []


def _exports(client: EngineClient, run_id: str, answer: dict[str, Any], trades: pd.DataFrame) -> None:
    with st.container(horizontal=True):
        for label, name, mime, make in (
            ("Report HTML", f"{run_id}.html", "text/html", lambda: client.run_report_page(run_id)),
            ("Risk PDF", f"{run_id}_risk.pdf", "application/pdf", lambda: client.run_risk_paper(run_id)),
            ("Result JSON", f"{run_id}.json", "application/json", lambda: json.dumps(answer)),
        ):
            st.download_button(label, make, file_name=name, mime=mime, key=f"backtest.{label}", on_click="ignore",
                               icon=":material/download:")  # fmt: skip
        widgets.csv_download(trades, f"{run_id}_trades", key="backtest.trades_csv", label="Trades CSV")
        widgets.csv_download(
            backtests.equity_rows(answer), f"{run_id}_equity", key="backtest.equity_csv", label="Equity CSV"
        )
        st.link_button("What it means for the goal", f"/goal?run_id={run_id}", icon=":material/flag:")


def _load(client: EngineClient, run_id: str) -> dict[str, Any]:
    return _asked(run_id, lambda: _result_of(client, str(client.home), run_id))


def _report(client: EngineClient, run_id: str) -> dict[str, Any]:
    return _asked(run_id, lambda: _report_of(client, str(client.home), run_id))


def _asked(run_id: str, ask: Any) -> dict[str, Any]:
    with widgets.known(f"Result of {run_id}"):
        try:
            return ask()
        except CommandRefused as error:
            st.error(str(error), icon=":material/block:")
            st.stop()


@st.cache_data(max_entries=8, show_spinner="Reading the result")
def _result_of(_client: EngineClient, home: str, run_id: str) -> dict[str, Any]:
    return _client.run_result(run_id)


@st.cache_data(max_entries=8, show_spinner="Writing the report")
def _report_of(_client: EngineClient, home: str, run_id: str) -> dict[str, Any]:
    return _client.run_report(run_id)


def _resume(client: EngineClient, run_id: str) -> None:
    held = st.session_state
    try:
        held["backtest.run_id"] = client.resume_run(run_id, held.setdefault("backtest.key", new_key()))["run_id"]
        held["backtest.refusal"] = None
    except CommandRefused as error:
        held["backtest.refusal"] = str(error)
        held.pop("backtest.key")
    except EngineUnavailable as error:
        held["backtest.refusal"] = f"Unknown whether {run_id} goes on ({error.reason}) Try again: it cannot run twice."


def _discard(client: EngineClient, run_id: str) -> None:
    try:
        client.discard_run(run_id, new_key())
        st.session_state["backtest.refusal"] = None
    except CommandRefused as error:
        st.session_state["backtest.refusal"] = str(error)
    except EngineUnavailable as error:
        st.session_state["backtest.refusal"] = f"Unknown whether {run_id} is discarded ({error.reason})"


def _cancel(client: EngineClient, run_id: str) -> None:
    try:
        client.cancel_run(run_id)
    except (CommandRefused, EngineUnavailable) as error:
        st.session_state["backtest.refusal"] = f"Run {run_id} may still be running: {error}"
