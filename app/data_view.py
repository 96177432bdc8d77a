"""The parts of the Data page that show: what is going on, the data sets, and one of them in full."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import data_forms, data_sets, widgets
from app.client import EngineClient

POLL_S = 0.5
ENDED = ("done", "failed", "cancelled")


@st.fragment(run_every=POLL_S)
def progress(client: EngineClient, run_id: str) -> None:
    """Show how far an import, repair or download is, with a button to cancel it; draws the page anew at its end."""
    with widgets.known(f"Work {run_id}"):
        state = client.data_status(run_id)
    if state["status"] in ENDED:
        data_forms.note_end(run_id, state)
        st.rerun()
    bar_at, button_at = st.columns([6, 1], vertical_alignment="bottom")
    words = f"{state['kind'].capitalize()} · {state['message'] or 'starting'} · asked every {POLL_S} s"
    bar_at.progress(float(state["progress"] or 0.0), text=words)
    button_at.button("Cancel", key=f"data.cancel.{run_id}", on_click=data_forms.cancel, args=(client, run_id),
                     width="stretch")  # fmt: skip


def going_on(client: EngineClient, active: list[str]) -> None:
    """Show everything that is being worked on, and what became of the last."""
    mine = st.session_state.get("data.run_id")
    for run_id in dict.fromkeys([*active, *([mine] if mine else [])]):
        progress(client, run_id)
    data_forms.last_outcome()


def listed(rows: list[dict[str, Any]]) -> str:
    """Show the data sets and return the chosen one."""
    table = data_sets.dataset_rows(rows)
    names = list(table["dataset"])
    opened = widgets.pick_rows(
        table, data_sets.DATASET_COLUMNS, key="data.sets", name="dataset", chosen=names[:1], pattern=r"[\w.@-]{1,80}",
        max_rows=7,
    )  # fmt: skip
    return opened[0] if opened and opened[0] in names else names[0]


def one(client: EngineClient, name: str, rows: list[dict[str, Any]]) -> None:
    """Show one data set: coverage, findings, symbols, where it is from, and the repair of it."""
    with widgets.known(name):
        manifest = client.dataset(name)
    title, button = st.columns([6, 1], vertical_alignment="bottom")
    title.subheader(f"{name} · {data_sets.severity_counts(manifest)}")
    with button.popover("Delete …", icon=":material/delete:", width="stretch"):
        st.markdown(f"Deletes {name} from the data folder. Results that used it can then not be run again.")
        st.button(f"Delete {name}", type="primary", key="data.delete", on_click=data_forms.delete, args=(client, name))
    coverage_at, findings_at, symbols_at, origin_at, repair_at = st.tabs(
        ["Coverage", "Findings", "Symbols and hashes", "Where it is from", "Repair"]
    )
    with coverage_at:
        widgets.figure(data_sets.coverage_figure(manifest), key=f"data.coverage.{name}")
        st.caption("A lane a symbol: bars that are there, and on top of them what the doctor found. Short spans are "
                   "drawn wider than they are; the tables have the exact times.")  # fmt: skip
    with findings_at:
        _findings(manifest)
    with symbols_at:
        widgets.table(data_sets.symbol_rows(manifest), data_sets.SYMBOL_COLUMNS, key=f"data.symbols.{name}")
    with origin_at:
        st.markdown("  \n".join(data_sets.origin_lines(manifest)))
    with repair_at:
        data_forms.repair_form(client, manifest, name, data_sets.other_sources(manifest, rows))


def _findings(manifest: dict[str, Any]) -> None:
    if not manifest["findings"]:
        widgets.empty("The data doctor found nothing: no gap, no broken row, no outlier.")
        return
    symbols_at, severity_at = st.columns([3, 2])
    symbols = symbols_at.multiselect("Symbols", list(manifest["symbols"]), key="data.symbols", placeholder="All")
    severities = severity_at.pills(
        "Severity", list(data_sets.SEVERITY_WORD), selection_mode="multi", key="data.severity",
    )  # fmt: skip
    rows = data_sets.finding_rows(manifest, symbols, list(severities or []))
    if rows.empty:
        widgets.empty("No finding of that kind.")
        return
    widgets.table(rows, data_sets.FINDING_COLUMNS, key="data.findings", max_rows=12)
    widgets.csv_download(
        rows.drop(columns="spans"), "findings", key="data.findings_csv", label="Findings CSV"
    )  # fmt: skip
