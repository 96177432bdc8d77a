"""The two forms of the workstation: start a backtest, change the settings. They hold what was typed, nothing more.

Commands leave from callbacks, which run once a click: drawing a page again can never send one. Everything a person
typed stays in the form when the engine refuses it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import streamlit as st

from app.client import CommandRefused, EngineClient, EngineUnavailable, new_key
from app.run_config import HISTORY_INTERVALS, SOURCES, STRATEGIES, Parameter, build_config, missing, parameters
from app.settings_form import Field, changes, refused_fields, resets, shown, written

# Which groups of settings stand in which column of the form.
FORM_COLUMNS = (
    ("Account and goal", "Market", "Execution", "Operations", "Other"),
    ("Strategy", "Stored data"),
    ("Risk",),
)

# ---- backtest -----------------------------------------------------------------------------------------------------


def backtest_form(client: EngineClient, in_force: dict[str, Any], *, busy: bool) -> None:
    """Show the form of a backtest; its button starts one and leaves the id in ``st.session_state["backtest.run_id"]``.

    Parameters
    ----------
    in_force : dict
        The settings' values: which symbols the engine keeps history of, and where the parameters start.
    busy : bool
        A run is being worked on: the button waits for it.
    """
    form: dict[str, Any] = {
        "interval": HISTORY_INTERVALS[0],
        "path": "",
        "file": "",
        "free": "",
        "symbols": [],
        "start": None,
        "end": None,
    }
    form["strategy"] = st.selectbox("Strategy", list(STRATEGIES), format_func=STRATEGIES.get, key="backtest.strategy")
    form["source"] = st.segmented_control(
        "Data", list(SOURCES), format_func=SOURCES.get, default="history", required=True, key="backtest.source"
    )
    with st.form("backtest.form", border=True):
        _what(form, list(in_force["symbols"]))
        entered = _parameters(form, in_force)
        st.form_submit_button(
            "Run backtest", type="primary", icon=":material/play_arrow:", disabled=busy, width="stretch",
            on_click=_start, args=(client,), kwargs={"form": form, "entered": entered},
        )  # fmt: skip
    refusal = st.session_state.get("backtest.refusal")
    if refusal:
        st.error(refusal, icon=":material/block:")


def _what(form: dict[str, Any], symbols: list[str]) -> None:
    if form["source"] == "path":
        st.text_input("Path of a file, or of a folder of SYMBOL.parquet", key="backtest.path",
                      help="Columns timestamp, open, high, low, close, volume. The engine reads it.")  # fmt: skip
        st.text_input("Symbols, separated by commas", key="backtest.path_symbols", help="Empty: all in the folder")
    else:
        st.multiselect(
            "Symbols",
            symbols,
            default=symbols,
            key="backtest.symbols",
        )
    first, second = st.columns(2)
    with first:
        if form["source"] == "path":
            st.text_input("Interval", "as in the file", disabled=True, key="backtest.path_interval")
        else:
            st.selectbox("Interval", HISTORY_INTERVALS, key="backtest.interval")
    second.number_input("Opening cash, USDT", 1.0, 1e9, 10_000.0, 1_000.0, format="%.0f", key="backtest.cash")
    first.date_input("Start, UTC", value=None, key="backtest.start", help="Empty: from the first bar")
    second.date_input("End, UTC", value=None, key="backtest.end", help="Empty: to the last bar")


def _parameters(form: dict[str, Any], in_force: dict[str, Any]) -> list[Parameter]:
    specs = parameters(form["strategy"], in_force)
    if form["strategy"] == "file":
        st.text_input("Path of the strategy's Python file", key="backtest.file")
        st.text_area("Parameters, one name=value a line", key="backtest.free", height=90)
    for begin in range(0, len(specs), 2):
        for place, spec in zip(st.columns(2), specs[begin : begin + 2], strict=False):
            with place:
                _parameter(spec, key=f"backtest.{form['strategy']}.{spec.name}")
    return specs


def _parameter(spec: Parameter, *, key: str) -> None:
    meaning = spec.meaning or None
    if isinstance(spec.default, bool):
        st.selectbox(spec.label, [True, False], index=0 if spec.default else 1, key=key, help=meaning,
                     format_func=lambda on: "allowed" if on else "not allowed")  # fmt: skip
    elif spec.choices:
        st.selectbox(spec.label, spec.choices, index=spec.choices.index(spec.default), key=key, help=meaning)
    elif isinstance(spec.default, tuple):
        st.text_input(spec.label, ", ".join(f"{item:g}" for item in spec.default), key=key, help=meaning)
    elif isinstance(spec.default, int):
        st.number_input(spec.label, spec.minimum, spec.maximum, spec.default, spec.step, key=key, help=meaning)
    else:
        st.number_input(
            spec.label, spec.minimum, spec.maximum, round(spec.default * spec.scale, 10), spec.step, format="%g",
            key=key, help=meaning,
        )  # fmt: skip


def _start(client: EngineClient, *, form: dict[str, Any], entered: list[Parameter]) -> None:
    held = st.session_state
    form = {**form, **{name: held.get(f"backtest.{name}", form.get(name)) for name in
                       ("path", "file", "free", "interval", "start", "end", "cash", "symbols")}}  # fmt: skip
    if form["source"] == "path":
        form["symbols"] = [word.upper() for word in held.get("backtest.path_symbols", "").replace(",", " ").split()]
    typed = {spec.name: held[f"backtest.{form['strategy']}.{spec.name}"] for spec in entered}
    config = build_config(form, typed)
    held["backtest.refusal"] = missing(config)
    if held["backtest.refusal"]:
        return
    # One key until the run it started is over: a double click finds the same run, not a second one.
    key = held.setdefault("backtest.key", new_key())
    try:
        held["backtest.run_id"] = client.start_run(config, key)["run_id"]
    except CommandRefused as error:
        held["backtest.refusal"] = str(error)
        held.pop("backtest.key")
    except EngineUnavailable as error:
        held["backtest.refusal"] = f"Unknown whether the run started ({error.reason}) Try again: it cannot start twice."


# ---- settings -----------------------------------------------------------------------------------------------------


def settings_form(client: EngineClient, groups: dict[str, list[Field]], symbols: list[str]) -> None:
    """Show the settings by group, with units, ranges and what differs from the defaults; its button applies them."""
    fields = [field for group in groups.values() for field in group]
    # A new set of widgets when the engine's values change, so that a form never shows settings no longer in force.
    stamp = hashlib.sha256(json.dumps([field.value for field in fields]).encode()).hexdigest()[:12]
    refused = st.session_state.get("settings.refused_fields", [])
    _outcome()
    with st.form("settings.form", border=False, enter_to_submit=False):
        columns = st.columns(3)
        for i, part in enumerate(FORM_COLUMNS):
            with columns[i]:
                for group in part:
                    _group(group, groups.get(group, []), stamp, symbols, refused)
        columns[0].form_submit_button(
            "Apply", type="primary", icon=":material/check:", on_click=_apply, args=(client, fields, stamp),
            width="stretch",
        )  # fmt: skip


def reset_button(client: EngineClient, fields: list[Field]) -> None:
    """Offer to put every setting back to its default, after saying which ones would change."""
    wanted = resets(fields)
    with st.popover("Reset to defaults", icon=":material/restart_alt:", disabled=not wanted):
        for field in fields:
            if field.changed:
                st.markdown(f"{field.label}: {written(field, field.value)} → **{written(field, field.default)}**")
        label = f"Reset {len(wanted)} setting{'' if len(wanted) == 1 else 's'}"
        names = [field.name for field in fields]
        st.button(label, type="primary", key="settings.reset", on_click=_send, args=(client, wanted, names))


def _group(group: str, fields: list[Field], stamp: str, symbols: list[str], refused: list[str]) -> None:
    if not fields:
        return
    with st.container(border=True):
        st.markdown(f"**{group}**")
        for field in fields:
            _field(field, f"settings.{stamp}.{field.name}", symbols)
            if field.name in refused:
                st.caption(":red[Refused: see the message above.]")
            elif field.changed:
                st.caption(f"changed · default {written(field, field.default)}")


def _field(field: Field, key: str, symbols: list[str]) -> None:
    value, meaning = shown(field, field.value), _meaning(field)
    if field.kind == "switch":
        st.toggle(field.label, value, key=key, help=meaning)
    elif field.kind == "choice":
        st.selectbox(
            field.label, field.choices, field.choices.index(value), key=key, help=meaning,
            accept_new_options=field.is_open,
        )  # fmt: skip
    elif field.kind == "words":
        st.multiselect(field.label, sorted({*symbols, *value}), value, key=key, help=meaning, accept_new_options=True)
    elif field.kind == "count":
        low, high = (None if limit is None else int(limit) for limit in (field.minimum, field.maximum))
        st.number_input(field.label, low, high, value, 1, key=key, help=meaning)
    elif field.kind == "number":
        st.number_input(field.label, field.minimum, field.maximum, value, format="%g", key=key, help=meaning)
    else:
        st.text_input(field.label, value, key=key, help=meaning)


def _meaning(field: Field) -> str:
    parts = [field.description]
    if field.minimum is not None or field.maximum is not None:
        low = "…" if field.minimum is None else f"{field.minimum:g}"
        high = "…" if field.maximum is None else f"{field.maximum:g}"
        parts.append(f"Range {low} to {high}.")
    return " ".join((*parts, f"Default {written(field, field.default)}. Key: {field.name}"))


def _apply(client: EngineClient, fields: list[Field], stamp: str) -> None:
    entered = {field.name: st.session_state[f"settings.{stamp}.{field.name}"] for field in fields}
    _send(client, changes(fields, entered), [field.name for field in fields])


def _send(client: EngineClient, values: dict[str, Any], names: list[str]) -> None:
    held = st.session_state
    held["settings.refused_fields"] = []
    if not values:
        held["settings.outcome"] = ("info", "Nothing differs from the settings in force.")
        return
    try:
        client.apply_settings(values, new_key())
    except CommandRefused as error:
        held["settings.refused_fields"] = refused_fields(str(error), names)
        held["settings.outcome"] = ("error", f"Nothing was applied. {error}")
    except EngineUnavailable as error:
        held["settings.outcome"] = ("error", f"Unknown whether the change was applied. {error.reason}")
    else:
        held["settings.outcome"] = ("success", f"Applied from the next decision on: {', '.join(sorted(values))}.")


def _outcome() -> None:
    kind, sentence = st.session_state.pop("settings.outcome", (None, ""))
    if kind:
        {"info": st.info, "error": st.error, "success": st.success}[kind](sentence)
