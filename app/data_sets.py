"""How the Data page writes data sets, findings and coverage: rows, sentences and one figure. Pure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from app.charts import ACCENT, DOWN, MUTED, SECOND, dress
from app.formats import number, percent
from app.tables import Column
from engine.domain import NS_PER_MS

PRACTICE, VENUE = "The practice exchange of this engine: simulated prices", "Aster itself"
SEVERITY_WORD = {"error": "▼ error", "warning": "! warning", "note": "○ note"}
SEVERITY_COLOUR = {"error": DOWN, "warning": SECOND, "note": MUTED}
ROLES = {
    "candles": ("timestamp", "open", "high", "low", "close", "volume"),
    "funding": ("timestamp", "rate"),
}
KINDS = {"candles": "Candles", "funding": "Funding rates"}
UPLOAD_TYPES = ["parquet", "csv", "gz", "zip"]
LEAST_SHARE = 0.004  # of the picture's width: a hole of an hour in seven years must still be seen
MOST_SYMBOLS = 24
SHOWN_CHANGES = 40

DATASET_COLUMNS = (
    Column("dataset", "Data set", "text", "Name and version; a version never changes", 125),
    Column("holds", "Holds", "text", "", 65),
    Column("n_symbols", "Symbols", "count", "", 65),
    Column("first_ts", "From, UTC", "time", "Open of the first bar", 132),
    Column("last_ts", "To, UTC", "time", "Open of the last bar", 132),
    Column("rows", "Rows", "count", "", 75),
    Column("complete", "Complete", "figure", "Bars that are there, of all between first and last of each symbol", 72),
    Column("n_errors", "Errors", "count", "A result on such data would be wrong", 52),
    Column("n_warnings", "Warnings", "count", "Near these a result may be wrong", 68),
    Column("repaired_rows", "Repaired", "count", "Bars from another source, each on record", 65),
    Column("source", "From a", "text", "", 70),
    Column("sha", "SHA-256", "text", "Of all its files; the whole hash is below", 100),
)
FINDING_COLUMNS = (
    Column("severity", "Severity", "verdict", "", 85),
    Column("symbol", "Symbol", "text", "", 95),
    Column("check", "Check", "text", "", 110),
    Column("first_ts", "From, UTC", "time", "", 135),
    Column("last_ts", "To, UTC", "time", "", 135),
    Column("count", "Bars", "count", "Bars or rows concerned", 65),
    Column("sentence", "What was found", "text", "", "large"),
)
SYMBOL_COLUMNS = (
    Column("symbol", "Symbol", "text", "", 110),
    Column("first_ts", "From, UTC", "time", "", 140),
    Column("last_ts", "To, UTC", "time", "", 140),
    Column("rows", "Rows", "count", "", 90),
    Column("missing", "Missing", "count", "Bars that the grid has and the file has not", 80),
    Column("repaired_rows", "Repaired", "count", "", 80),
    Column("sha256", "SHA-256 of its Parquet file", "text", "", "large"),
)


def dataset_rows(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the data sets, one row each, newest first."""
    return pd.DataFrame([
        row | {
            "holds": row["interval"] if row["kind"] == "candles" else "funding", "n_symbols": len(row["symbols"]),
            "first_ts": row["first_ts_ms"] * NS_PER_MS, "last_ts": row["last_ts_ms"] * NS_PER_MS,
            "sha": row["sha256"][:12],
            "complete": percent(row["coverage"], 2) if row["kind"] == "candles" else "",
        }
        for row in rows
    ])  # fmt: skip


def finding_rows(manifest: dict[str, Any], symbols: list[str], severities: list[str]) -> pd.DataFrame:
    """Return the findings of the chosen symbols and severities (empty: all), the worst first."""
    order = list(SEVERITY_WORD)
    chosen = [
        row for row in manifest["findings"]
        if (not symbols or row["symbol"] in symbols) and (not severities or row["severity"] in severities)
    ]  # fmt: skip
    chosen.sort(key=lambda row: (order.index(row["severity"]), row["symbol"], row["first_ts_ms"]))
    return pd.DataFrame([
        row | {"severity": SEVERITY_WORD[row["severity"]], "first_ts": row["first_ts_ms"] * NS_PER_MS,
               "last_ts": row["last_ts_ms"] * NS_PER_MS}
        for row in chosen
    ])  # fmt: skip


def severity_counts(manifest: dict[str, Any]) -> str:
    """Say in one line how many findings of each severity there are."""
    counts = {name: sum(row["severity"] == name for row in manifest["findings"]) for name in SEVERITY_WORD}
    parts = [f"{count:,} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count]
    return ", ".join(parts) if parts else "The doctor found nothing."


def symbol_rows(manifest: dict[str, Any]) -> pd.DataFrame:
    """Return one row a symbol: span, rows, missing bars, hash."""
    return pd.DataFrame([
        {
            "symbol": symbol, "first_ts": entry["first_ts_ms"] * NS_PER_MS, "last_ts": entry["last_ts_ms"] * NS_PER_MS,
            "rows": entry["rows"], "missing": entry.get("expected_rows", entry["rows"]) - entry["rows"],
            "repaired_rows": entry["repaired_rows"], "sha256": entry["sha256"],
        }
        for symbol, entry in manifest["symbols"].items()
    ])  # fmt: skip


def origin_lines(manifest: dict[str, Any]) -> list[str]:
    """Return sentences on where a data set is from and what was done to its rows."""
    source = manifest["source"]
    lines = [f"SHA-256 of the whole: `{manifest['sha256']}`"]
    if source["kind"] == "download":
        server = f" from `{source['server']}`" if source.get("server") else ""
        markets = ", ".join(f"{ours} ({theirs})" for ours, theirs in source["markets"].items())
        lines.append(f"Downloaded from {source['venue']}{server}: {markets}.")
    elif source["kind"] == "repair":
        lines.append(f"`{source['of']}`, repaired from `{source['from']}` where both agree within "
                     f"{percent(source['tolerance'], 2)} at the edges.")  # fmt: skip
    else:
        lines.append(f"Imported from `{source['path']}`, {len(source['files'])} file"
                     f"{'' if len(source['files']) == 1 else 's'}.")  # fmt: skip
    changes = manifest["changes"]
    lines += [f"Changed: {sentence}" for sentence in changes[:SHOWN_CHANGES]]
    if len(changes) > SHOWN_CHANGES:
        lines.append(f"And {len(changes) - SHOWN_CHANGES:,} more; the manifest lists all.")
    if not changes:
        lines.append("No row was left out, moved or changed.")
    return lines


def coverage_figure(manifest: dict[str, Any]) -> go.Figure:
    """Draw one lane a symbol: where it has bars, and where the doctor found something, by severity.

    Spans too short to be seen are drawn wider, to a fixed share of the picture; hover tells the true span.
    """
    symbols = list(manifest["symbols"])[:MOST_SYMBOLS]
    first, last = manifest["first_ts_ms"], manifest["last_ts_ms"]
    least_ms = max((last - first) * LEAST_SHARE, 1.0)
    figure = go.Figure()
    entries = [manifest["symbols"][symbol] for symbol in symbols]
    figure.add_bar(
        y=symbols, base=[_when(entry["first_ts_ms"]) for entry in entries], orientation="h", width=0.34,
        name="has bars",
        x=[float(entry["last_ts_ms"] - entry["first_ts_ms"]) for entry in entries], marker_color=ACCENT, opacity=0.55,
        customdata=[f"{entry['rows']:,} rows" for entry in entries], hovertemplate="%{y}: %{customdata}<extra></extra>",
    )  # fmt: skip
    for severity in ("note", "warning", "error"):  # the worst on top
        pieces = [
            (row["symbol"], a, b, row) for row in manifest["findings"] if row["severity"] == severity
            and row["symbol"] in symbols for a, b, _ in row["spans"]
        ]  # fmt: skip
        if not pieces:
            continue
        figure.add_bar(
            y=[piece[0] for piece in pieces], orientation="h", width=0.62, name=severity,
            base=[_when(max(first, (a + b - max(b - a, least_ms)) / 2)) for _, a, b, _ in pieces],
            x=[float(max(b - a, least_ms)) for _, a, b, _ in pieces], marker_color=SEVERITY_COLOUR[severity],
            marker_line_width=0, customdata=[_hover(row, a, b) for _, a, b, row in pieces],
            hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
    margin = (last - first) * 0.01
    figure.update_xaxes(type="date", range=[_when(first - margin), _when(last + margin)], title_text="UTC")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    figure.update_layout(barmode="overlay", bargap=0.2)
    return dress(figure, height=96 + 30 * len(symbols), unified=False)


def _when(ts_ms: float) -> pd.Timestamp:
    return pd.Timestamp(int(ts_ms), unit="ms")


def _hover(row: dict[str, Any], first_ms: int, last_ms: int) -> str:
    span = f"{_when(first_ms):%Y-%m-%d %H:%M}"
    until = f" to {_when(last_ms):%Y-%m-%d %H:%M}" if last_ms > first_ms else ""
    return f"{row['symbol']} {row['check']}<br>{span}{until} UTC"


def other_sources(manifest: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """Return the data sets that could repair this one: other names, candles of the same interval."""
    return [
        row["dataset"] for row in rows
        if row["kind"] == "candles" and row["interval"] == manifest["interval"] and row["name"] != manifest["name"]
    ]  # fmt: skip


def preview_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return the first rows as they would be stored, or as they are in the file where they cannot be."""
    return pd.DataFrame(answer["parsed"] or answer["rows"])


def files_sentence(answer: dict[str, Any]) -> str:
    """Say which files would be read and for which symbols."""
    files = answer["files"]
    symbols = list(dict.fromkeys(file["symbol"] for file in files))
    size = sum(file["bytes"] for file in files) / 1e6
    count = f"{len(files)} files" if len(files) > 1 else files[0]["file"]
    named = ", ".join(symbols[:8]) + (f" and {len(symbols) - 8} more" if len(symbols) > 8 else "")
    return f"{count}, {number(size, 1)} MB: {named}"


def suggested_name(path: str) -> str:
    """Return a name for a data set from a path: letters, digits, dots, dashes and underscores."""
    stem = re.sub(r"(\.(parquet|csv|gz|zip|txt))+$", "", Path(path).name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:48] or "data"


def split_symbols(text: str) -> list[str]:
    """Return symbols typed with commas or blanks between them."""
    return [part.upper() for part in re.split(r"[\s,;]+", text) if part]


def result_sentence(kind: str, result: dict[str, Any]) -> str:
    """Say what became of a finished import, repair or download."""
    if result.get("dataset") is None:
        return "Nothing could be repaired; the data set stays as it is."
    found = f"{result['findings']} finding{'' if result['findings'] == 1 else 's'}"
    repaired = f"{result['repaired']:,} bars repaired, " if kind == "repair" else ""
    return f"{result['dataset']} is stored: {repaired}{result['rows']:,} rows, {found}."


def unfinished_sentence(item: dict[str, Any]) -> str:
    """Say what an unfinished download was for and how far it came."""
    asked = item["request"]
    what = asked["interval"] if asked["kind"] == "candles" else "funding"
    return (
        f"**{asked['name']}**: {asked['venue']} {what} of {', '.join(asked['symbols'])} from {asked['start'][:10]}; "
        f"{item['rows']:,} rows on disk"
    )
