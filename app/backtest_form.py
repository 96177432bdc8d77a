"""The form of a backtest. It holds what was typed, nothing more.

The command leaves from a callback, which runs once a click: drawing the page again can never send one. Everything a
person typed stays in the form when the engine refuses it.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.client import CommandRefused, EngineClient, EngineUnavailable, new_key
from app.grid_form import asked_of_grid, grid_form
from app.run_config import (
    COST_SOURCES,
    COSTS,
    HISTORY_INTERVALS,
    SOURCES,
    STRATEGIES,
    Parameter,
    build_config,
    dataset_names,
    missing,
    own_costs_sentence,
    parameters,
)

NO_FUNDING = "not charged"
OTHERS = (
    "Limits and settings that are not shown here are those in force on the Settings page when the run starts; the "
    "result lists them all under Configuration."
)
TYPED = ("path", "file", "free", "interval", "start", "end", "cash", "symbols", "dataset", "funding")


def backtest_form(
    client: EngineClient, in_force: dict[str, Any], datasets: list[dict[str, Any]], own: dict[str, Any], *, busy: bool
) -> None:
    """Show the form of a backtest; its button starts one and leaves the id in ``st.session_state["backtest.run_id"]``.

    Parameters
    ----------
    in_force : dict
        The settings' values: which symbols the engine keeps history of, and where the parameters start.
    datasets : list of dict
        The stored data sets: ``name``, ``version``, ``kind``, ``interval``.
    own : dict
        What costs from our own fills are, or ``why`` they cannot be chosen.
    busy : bool
        A run is being worked on: the button waits for it.
    """
    form: dict[str, Any] = dict.fromkeys(TYPED, "") | {
        "interval": HISTORY_INTERVALS[0], "symbols": [], "start": None, "end": None,
    }  # fmt: skip
    form["strategy"] = st.selectbox("Strategy", list(STRATEGIES), format_func=STRATEGIES.get, key="backtest.strategy")
    form["source"] = st.segmented_control(
        "Data", list(SOURCES), format_func=SOURCES.get, default="history", required=True, key="backtest.source"
    )
    form["costs"] = st.segmented_control(
        "Costs", list(COST_SOURCES), format_func=COST_SOURCES.get, default="assumed", required=True,
        key="backtest.costs", disabled=bool(own["why"]),
    )  # fmt: skip
    if own["why"] or form["costs"] == "own":
        st.caption(own_costs_sentence(own))
    with st.form("backtest.form", border=True):
        _what(form, list(in_force["symbols"]), datasets)
        entered = _parameters(form, in_force, datasets)
        st.caption(OTHERS)
        st.form_submit_button(
            "Run backtest", type="primary", icon=":material/play_arrow:", disabled=busy, width="stretch",
            on_click=_start, args=(client,), kwargs={"form": form, "entered": entered},
        )  # fmt: skip
    refusal = st.session_state.get("backtest.refusal")
    if refusal:
        st.error(refusal, icon=":material/block:")


def _what(form: dict[str, Any], symbols: list[str], datasets: list[dict[str, Any]]) -> None:
    if form["source"] == "history":
        st.multiselect("Symbols", symbols, default=symbols, key="backtest.symbols")
    elif form["source"] == "dataset":
        names = dataset_names(datasets, "candles")
        st.selectbox("Data set", list(names), format_func=names.get, key="backtest.dataset",
                     placeholder="none yet: see the Data page", disabled=not names)  # fmt: skip
    else:
        st.text_input("Path of a file, or of a folder of SYMBOL.parquet", key="backtest.path",
                      help="Columns timestamp, open, high, low, close, volume. The engine reads it.")  # fmt: skip
    if form["source"] != "history":
        st.text_input("Symbols, separated by commas", key="backtest.path_symbols", help="Empty: all there are")
    first, second = st.columns(2)
    with first:
        if form["source"] == "history":
            st.selectbox("Interval", HISTORY_INTERVALS, key="backtest.interval")
        else:
            st.text_input("Interval", "as stored", disabled=True, key="backtest.path_interval")
    second.number_input("Opening cash, USDT", 1.0, 1e9, 10_000.0, 1_000.0, format="%.0f", key="backtest.cash")
    first.date_input("Start, UTC", value=None, key="backtest.start", help="Empty: from the first bar")
    second.date_input("End, UTC", value=None, key="backtest.end", help="Empty: to the last bar")


def _parameters(form: dict[str, Any], in_force: dict[str, Any], datasets: list[dict[str, Any]]) -> list[Parameter]:
    specs = parameters(form["strategy"], in_force, form["costs"])
    if form["strategy"] == "file":
        st.text_input("Path of the strategy's Python file", key="backtest.file")
        st.text_area("Parameters, one name=value a line", key="backtest.free", height=90)
    costs = {spec.name for spec in COSTS}
    _pairs([spec for spec in specs if spec.name not in costs], form)
    with st.expander("Costs and realism"):
        _pairs([spec for spec in specs if spec.name in costs], form)
        rates = {NO_FUNDING: NO_FUNDING} | dataset_names(datasets, "funding")
        st.selectbox("Funding rates", list(rates), format_func=rates.get, key="backtest.funding",
                     help="A stored data set of real rates; not charged: the result says so")  # fmt: skip
    grid_form()
    return specs


def _pairs(specs: list[Parameter], form: dict[str, Any]) -> None:
    for begin in range(0, len(specs), 2):
        for place, spec in zip(st.columns(2), specs[begin : begin + 2], strict=False):
            with place:
                _parameter(spec, key=f"backtest.{form['strategy']}.{spec.name}")


def _parameter(spec: Parameter, *, key: str) -> None:
    meaning = spec.meaning or None
    if isinstance(spec.default, bool):
        st.selectbox(spec.label, [True, False], index=0 if spec.default else 1, key=key, help=meaning,
                     format_func=lambda on: "allowed" if on else "not allowed")  # fmt: skip
    elif spec.choices:
        st.selectbox(spec.label, spec.choices, index=spec.choices.index(spec.default), key=key, help=meaning)
    elif isinstance(spec.default, tuple):
        items = (item if isinstance(item, str) else f"{item:g}" for item in spec.default)
        st.text_input(spec.label, ", ".join(items), key=key, help=meaning)
    elif isinstance(spec.default, int):
        st.number_input(spec.label, spec.minimum, spec.maximum, spec.default, spec.step, key=key, help=meaning)
    else:
        value = None if spec.default is None else round(spec.default * spec.scale, 10)
        st.number_input(spec.label, spec.minimum, spec.maximum, value, spec.step, format="%g", key=key, help=meaning,
                        placeholder=spec.empty or None)  # fmt: skip


def _start(client: EngineClient, *, form: dict[str, Any], entered: list[Parameter]) -> None:
    held = st.session_state
    form = {**form, **{name: held.get(f"backtest.{name}", form.get(name)) for name in TYPED}}
    if form["source"] != "history":
        form["symbols"] = [word.upper() for word in held.get("backtest.path_symbols", "").replace(",", " ").split()]
    form["funding"] = "" if form["funding"] == NO_FUNDING else form["funding"]
    typed = {spec.name: held[f"backtest.{form['strategy']}.{spec.name}"] for spec in entered}
    config = build_config(form, typed)
    kind, more, lacking = asked_of_grid(held)
    held["backtest.refusal"] = missing(config) or lacking
    if held["backtest.refusal"]:
        return
    # One key until the run it started is over: a double click finds the same run, not a second one.
    key = held.setdefault("backtest.key", new_key())
    try:
        held["backtest.run_id"] = client.start_run(config | more, key, kind=kind)["run_id"]
    except CommandRefused as error:
        held["backtest.refusal"] = str(error)
        held.pop("backtest.key")
    except EngineUnavailable as error:
        held["backtest.refusal"] = f"Unknown whether the run started ({error.reason}) Try again: it cannot start twice."
