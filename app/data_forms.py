"""The forms of the Data page: import with preview, download, repair. Commands leave from callbacks, once a click."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from app import data_sets, widgets
from app.client import CommandRefused, EngineClient, EngineUnavailable, new_key

UPLOADS = "uploads"
NOTICE, KEY = "data.notice", "data.key"
TOLERANCE_PERCENT = 0.2


# import -------------------------------------------------------------------------------------------------------------


def import_form(client: EngineClient, *, busy: bool) -> None:
    """Choose a file or path, see its first rows and columns, correct them, import."""
    kind_at, from_at = st.columns(2)
    kind = kind_at.segmented_control(
        "Holds", list(data_sets.KINDS), format_func=data_sets.KINDS.get, default="candles", required=True,
        key="data.import_kind",
    )  # fmt: skip
    way = from_at.segmented_control("From", ["Upload", "Path"], default="Upload", required=True, key="data.import_way")
    path = _uploaded(client) if way == "Upload" else st.text_input(
        "Path of a file or folder on this machine", key="data.import_path", placeholder="~/candles"
    )  # fmt: skip
    if not path:
        st.caption("Parquet, CSV, .csv.gz or a zip of one CSV, with or without a header. Nothing is stored before you "
                   "have seen the first rows.")  # fmt: skip
        return
    chosen = {role: st.session_state.get(f"data.column.{role}") for role in data_sets.ROLES[kind]}
    columns = {role: column for role, column in chosen.items() if column}
    answer = _preview(client, path, kind, columns)
    if answer is None:
        return
    st.caption(data_sets.files_sentence(answer))
    for place, role in zip(st.columns(len(data_sets.ROLES[kind])), data_sets.ROLES[kind], strict=True):
        found = answer["mapping"].get(role)
        options = answer["columns"]
        place.selectbox(role, options, index=options.index(found) if found in options else None,
                        key=f"data.column.{role}", placeholder="Which column?")  # fmt: skip
    if answer["trouble"]:
        st.warning(answer["trouble"], icon=":material/rule:")
    st.dataframe(data_sets.preview_rows(answer), hide_index=True, height="content", key="data.preview")
    _import_button(client, path, kind, answer, busy=busy)


def _import_button(client: EngineClient, path: str, kind: str, answer: dict[str, Any], *, busy: bool) -> None:
    name_at, symbol_at, bad_at, button_at = st.columns([3, 2, 4, 2], vertical_alignment="bottom")
    name = name_at.text_input("Name", data_sets.suggested_name(path), key=f"data.name.{path}")
    several = len(answer["files"]) > 1
    first = answer["files"][0]["symbol"]
    symbol = symbol_at.text_input("Symbol", "from the names" if several else first, disabled=several,
                                  key=f"data.symbol.{path}")  # fmt: skip
    leave_out = bad_at.checkbox("Leave bad rows out, and say how many", key="data.leave_out",
                                help="Otherwise one bad row refuses the file")  # fmt: skip
    config = {"path": path, "name": name, "kind": kind, "leave_out_bad": leave_out,
              "columns": answer["mapping"], "symbol": None if several else symbol}  # fmt: skip
    button_at.button("Import", type="primary", disabled=busy, key="data.import", width="stretch",
                     on_click=_start, args=(client, "import", config))  # fmt: skip


def _uploaded(client: EngineClient) -> str:
    """Lay an uploaded file into the data folder, where the engine reads it, and return its path."""
    given = st.file_uploader("File", type=data_sets.UPLOAD_TYPES, key="data.upload")
    if given is None:
        return ""
    folder = client.home / UPLOADS
    path = folder / Path(given.name).name
    held = st.session_state
    if not path.exists() or held.get("data.upload_id") != given.file_id:  # a corrected file may have the same size
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(given.getbuffer())
        held["data.upload_id"] = given.file_id
    return str(path)


def _preview(client: EngineClient, path: str, kind: str, columns: dict[str, str]) -> dict[str, Any] | None:
    try:
        return client.preview_file(path, kind, columns)
    except CommandRefused as error:
        st.error(str(error), icon=":material/block:")
    except EngineUnavailable as error:
        widgets.unknown("Preview", error)
    return None


# download -----------------------------------------------------------------------------------------------------------


def download_form(client: EngineClient, choices: dict[str, Any], *, busy: bool) -> None:
    """Ask for candles or funding rates of a venue."""
    venues = {venue["name"]: venue["title"] for venue in choices["venues"]}
    notes = {venue["name"]: venue["note"] for venue in choices["venues"]}
    first, second, third = st.columns([2, 2, 3])
    venue = first.selectbox("Venue", list(venues), format_func=venues.get, key="data.venue")
    kind = second.segmented_control("What", list(data_sets.KINDS), format_func=data_sets.KINDS.get, default="candles",
                                    required=True, key="data.download_kind")  # fmt: skip
    symbols = third.text_input("Symbols", "BTCUSDT, ETHUSDT", key="data.download_symbols",
                               help="Linear perpetuals, commas between")  # fmt: skip
    interval_at, start_at, end_at, name_at, button_at = st.columns([2, 2, 2, 3, 2], vertical_alignment="bottom")
    interval = interval_at.selectbox("Interval", choices["intervals"], index=choices["intervals"].index("1h"),
                                     key="data.interval", disabled=kind == "funding")  # fmt: skip
    start = start_at.date_input("Start, UTC", dt.date(2024, 1, 1), key="data.start")
    end = end_at.date_input("End, UTC", None, key="data.end", help="Empty: until now")
    name = name_at.text_input("Name", f"{venue}-{interval if kind == 'candles' else 'funding'}",
                              key=f"data.download_name.{venue}.{interval}.{kind}")  # fmt: skip
    config = {
        "venue": venue, "kind": kind, "symbols": data_sets.split_symbols(symbols), "interval": interval, "name": name,
        "start": None if start is None else start.isoformat(), "end": None if end is None else end.isoformat(),
        "base_url": _server(venue, choices["practice_url"]),
    }  # fmt: skip
    button_at.button("Download", type="primary", disabled=busy, key="data.download", width="stretch",
                     on_click=_start, args=(client, "download", config))  # fmt: skip
    note = f" {venues[venue]} {notes[venue]}." if notes[venue] else ""
    st.caption(f"Public history, no key needed. The same download again goes on where the last one stopped.{note}")


def _server(venue: str, practice_url: str | None) -> str | None:
    """Ask whose Aster is meant where the engine runs a practice exchange; return the address of another than Aster."""
    if venue != "aster" or practice_url is None:
        return None
    chosen = st.radio("Server", [data_sets.VENUE, data_sets.PRACTICE], horizontal=True, key="data.server")
    return practice_url if chosen == data_sets.PRACTICE else None


def unfinished_downloads(client: EngineClient, items: list[dict[str, Any]], *, busy: bool) -> None:
    """List the downloads that were broken off, each with a button to go on and one to throw it away."""
    for item in items:
        said_at, go_at, drop_at = st.columns([6, 1, 1], vertical_alignment="center")
        said_at.markdown(data_sets.unfinished_sentence(item))
        go_at.button("Resume", key=f"data.resume.{item['key']}", disabled=busy, width="stretch",
                     on_click=_start, args=(client, "download", item["request"]))  # fmt: skip
        drop_at.button("Discard", key=f"data.discard.{item['key']}", disabled=busy, width="stretch",
                       on_click=_discard, args=(client, item["key"]))  # fmt: skip


# repair -------------------------------------------------------------------------------------------------------------


def repair_form(client: EngineClient, manifest: dict[str, Any], name: str, others: list[str]) -> None:
    """Choose another source and what to repair."""
    if manifest["kind"] != "candles":
        widgets.empty("Funding rates are not repaired: a missing rate is never made up.")
        return
    if not others:
        widgets.empty("A repair takes bars from a second data set of the same interval. Import or download one first.")
        return
    with widgets.known("Repair"):
        choices = client.data_choices()
    source_at, checks_at, tolerance_at, button_at = st.columns([3, 5, 2, 2], vertical_alignment="bottom")
    source = source_at.selectbox("Take bars from", others, key="data.repair_source")
    checks = checks_at.multiselect("Repair", choices["repairable"], default=choices["usual_repairs"],
                                   key="data.repair_checks")  # fmt: skip
    percent = tolerance_at.number_input("Tolerance, %", 0.01, 5.0, TOLERANCE_PERCENT, 0.05, key="data.tolerance",
                                        help="Largest difference of the closes around the place")  # fmt: skip
    config = {"dataset": name, "source": source, "checks": checks, "tolerance": percent / 100}
    button_at.button("Repair", type="primary", disabled=not checks, key="data.repair", width="stretch",
                     on_click=_start, args=(client, "repair", config))  # fmt: skip
    st.caption("Bars are taken only where both sources agree at the edges, as they are, and each is listed. The result "
               "is a new version; this one stays. An outage that is filled was still an outage: no order could have "
               "been filled in it.")  # fmt: skip


# commands -----------------------------------------------------------------------------------------------------------


def _start(client: EngineClient, kind: str, config: dict[str, Any]) -> None:
    held = st.session_state
    # one key until this work is over: a click that a busy server carries out twice is one piece of work
    key = held.setdefault(KEY, new_key())
    answer = _told(lambda: client.start_data_work(kind, config, key))
    if answer is None:
        held.pop(KEY)
    else:
        held["data.run_id"] = answer["run_id"]
        held.pop(NOTICE, None)


def cancel(client: EngineClient, run_id: str) -> None:
    """Stop one piece of work."""
    _told(lambda: client.cancel_data_work(run_id))


def delete(client: EngineClient, name: str) -> None:
    """Delete one data set."""
    if _told(lambda: client.delete_dataset(name, new_key())) is not None:
        st.query_params.pop("dataset", None)
        st.session_state[NOTICE] = (True, f"{name} is deleted.", [])


def _discard(client: EngineClient, key: str) -> None:
    _told(lambda: client.discard_download(key, new_key()))


def _told(command: Callable[[], Any]) -> Any:
    """Return a command's answer; what speaks against it stays on the page until the next click."""
    try:
        return command()
    except CommandRefused as error:
        st.session_state[NOTICE] = (False, str(error), [])
    except EngineUnavailable as error:
        st.session_state[NOTICE] = (False, f"{error.reason} It is not known whether this was carried out.", [])
    return None


def note_end(run_id: str, state: dict[str, Any]) -> None:
    """Keep what became of a piece of work, and open the data set that it made."""
    if st.session_state.get("data.run_id") == run_id:
        st.session_state.pop("data.run_id")
        st.session_state.pop(KEY, None)
    result = state["result"] or {}
    if state["status"] == "done":
        if result.get("dataset"):
            st.query_params["dataset"] = result["dataset"]
        st.session_state[NOTICE] = (True, data_sets.result_sentence(state["kind"], result), result.get("refused") or [])
    else:
        st.session_state[NOTICE] = (False, state["message"] or f"The {state['kind']} {state['status']}.",
                                    result.get("bad_rows") or [])  # fmt: skip


def last_outcome() -> None:
    """Show what became of the last click: a sentence, and the rows that were refused or not repaired."""
    ok, sentence, details = st.session_state.get(NOTICE, (True, "", []))
    if not sentence:
        return
    (st.success if ok else st.error)(sentence, icon=":material/check:" if ok else ":material/block:")
    if not details:
        return
    if isinstance(details[0], str):
        with st.expander(f"{len(details)} places were left as they are"):
            st.markdown("  \n".join(details[: data_sets.SHOWN_CHANGES]))
    else:
        st.dataframe(details, hide_index=True, height=214, key="data.bad_rows")
