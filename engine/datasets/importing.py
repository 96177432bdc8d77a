"""From files to a data set: preview, columns, refusal of rows that cannot be right, and what was done about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from engine.datasets.checks import value_faults
from engine.datasets.columns import ROLES, guess, settled, symbol_of
from engine.datasets.doctor import examine, off_grid
from engine.datasets.findings import Finding, counted
from engine.datasets.funding_doctor import examine_funding, rounded
from engine.datasets.reading import Layout, files_in, read, stem
from engine.datasets.store import Draft, Manifest, Series, file_sha256, write
from engine.datasets.times import EXPECTED, interval_name, moment_text, parse_times, usual_step
from engine.domain import F8, I8, INTERVAL_S, NS_PER_MS, NS_PER_S
from engine.errors import BadRows, DataError

PREVIEW_ROWS = 12
SHOWN_BAD_ROWS = 50
EARLIEST_NS = 1_230_768_000 * NS_PER_S  # 2009: no market here is older, so an older time has another unit

Progress = Callable[[float], None]
Flags = npt.NDArray[np.bool_]


class ImportRequest(BaseModel):
    """What to import, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(description="File, or folder of files")
    name: str = Field(description="Of the data set")
    kind: str = Field("candles", pattern="^(candles|funding)$")
    columns: dict[str, str] = Field(default_factory=dict, description="Role to column, such as timestamp to time")
    symbol: str | None = Field(None, description="Of a single file; by default its name tells")
    leave_out_bad: bool = Field(False, description="Leave bad rows out and say so, instead of refusing the file")


class BadRow(NamedTuple):
    """A row that cannot be taken."""

    file: str
    row: int  # as an editor counts lines; of a Parquet file from 1
    found: str
    expected: str

    @property
    def sentence(self) -> str:
        """Say it in one line."""
        return f"{self.file} row {self.row}: {self.found}; expected {self.expected}"


class Parsed(NamedTuple):
    """One file's rows as numbers."""

    file: Path
    symbol: str
    ts: I8
    values: F8  # (T, 5) or (T, 1)
    bad: tuple[BadRow, ...]  # the first of each kind, one entry for each row
    n_bad: int
    is_good: Flags


def preview(path: Path, kind: str = "candles", columns: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a file's first rows, its columns and which is taken for which; nothing is stored.

    Parameters
    ----------
    path : Path
        Of a folder the first file is shown.
    kind : str
        ``candles`` or ``funding``.
    columns : mapping, optional
        What a person has chosen; guesses fill the rest.

    Returns
    -------
    dict
        ``files`` with name and symbol, ``columns``, ``mapping`` (role to column), ``rows`` as text, ``parsed`` (the
        same rows as they would be stored) and ``trouble``: why the file could not be imported like this, or "".
    """
    files = files_in(path)
    table, _ = read(files[0], kind, PREVIEW_ROWS)
    names = list(table.column_names)
    rows = [{name: _text(value) for name, value in row.items()} for row in table.to_pylist()]
    answer: dict[str, Any] = {
        "files": [{"file": file.name, "symbol": symbol_of(stem(file)), "bytes": file.stat().st_size} for file in files],
        "columns": names, "mapping": guess(names, kind), "rows": rows, "parsed": [], "trouble": "",
    }  # fmt: skip
    try:
        mapping = settled(names, kind, columns or {})
    except DataError as error:
        return answer | {"trouble": str(error)}
    parsed = _parse(files[0], "", kind, mapping, PREVIEW_ROWS)
    roles = ROLES[kind][1:]
    answer["parsed"] = [
        {"timestamp": moment_text(int(ts)) if good else "", **dict(zip(roles, map(_number, row), strict=True))}
        for ts, row, good in zip(parsed.ts, parsed.values, parsed.is_good, strict=True)
    ]
    return answer | {"mapping": mapping, "trouble": "; ".join(bad.sentence for bad in parsed.bad[:3])}


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def import_files(home: Path, request: ImportRequest, progress: Progress = lambda share: None) -> Manifest:
    """Read, check and store files as a new version of a data set.

    Parameters
    ----------
    home : Path
        The data folder.
    request : ImportRequest
    progress : callable
        Called with the finished share, 0 to 1.

    Returns
    -------
    dict
        The manifest that was written, with the doctor's findings.

    Raises
    ------
    BadRows
        Rows that cannot be right, when they are not to be left out. Nothing was stored.
    DataError
        Files or columns that cannot be used.
    """
    files = files_in(request.path)
    if request.symbol and len({symbol_of(stem(file)) for file in files}) > 1:
        raise DataError(f"{request.path} holds several symbols; leave the symbol out, the files' names tell it")
    parsed = []
    for i, file in enumerate(files):
        symbol = (request.symbol or symbol_of(stem(file))).upper()
        names = read(file, request.kind, PREVIEW_ROWS)[0].column_names
        parsed.append(_parse(file, symbol, request.kind, settled(names, request.kind, request.columns)))
        progress(0.6 * (i + 1) / len(files))
    series, interval_s, changes = _assembled(parsed, request)
    findings: list[Finding] = []
    for i, one in enumerate(series):
        findings += examined(one, request.kind, interval_s)
        progress(0.6 + 0.35 * (i + 1) / len(series))
    source = {
        "kind": "import", "path": str(request.path),
        "files": [{"file": file.name, "sha256": file_sha256(file)} for file in files],
    }  # fmt: skip
    rows = [finding.as_row() for finding in findings]
    manifest = write(home, Draft(request.name, request.kind, interval_s, series, source, rows, changes))
    progress(1.0)
    return manifest


def _assembled(parsed: list[Parsed], request: ImportRequest) -> tuple[list[Series], int, list[str]]:
    """Return the series, their interval in seconds (0: funding), and sentences on what was done to the rows."""
    n_bad = sum(part.n_bad for part in parsed)
    if n_bad and not request.leave_out_bad:
        raise BadRows(n_bad, [bad._asdict() for part in parsed for bad in part.bad][:SHOWN_BAD_ROWS])
    changes = [_left_out(part) for part in parsed if part.n_bad]
    series = []
    for symbol in dict.fromkeys(part.symbol for part in parsed):
        joined, said = _joined(symbol, [part for part in parsed if part.symbol == symbol], request)
        series.append(joined)
        changes += said
    if request.kind == "funding":
        return series, 0, changes
    interval_s = _common_interval([(one.symbol, usual_step(one.ts) // NS_PER_S) for one in series])
    series, said = _on_grid(series, interval_s, request)
    return series, interval_s, changes + said


def examine_files(path: Path, kind: str = "candles", columns: Mapping[str, str] | None = None) -> list[Finding]:
    """Return the doctor's findings on files as they are: unsorted, repeated and broken rows included.

    Raises
    ------
    DataError
        Files or columns that cannot be read at all.
    """
    findings: list[Finding] = []
    for file in files_in(path):
        names = read(file, kind, PREVIEW_ROWS)[0].column_names
        part = _parse(file, symbol_of(stem(file)), kind, settled(names, kind, columns or {}))
        has_time = part.ts >= EARLIEST_NS  # a row without a time cannot be placed
        series = Series(part.symbol, part.ts[has_time], part.values[has_time])
        if len(series.ts) < 2:
            raise DataError(f"{file.name} holds {counted(len(series.ts), 'row')} with a time; at least 2 are needed")
        step_s = usual_step(np.sort(series.ts)) // NS_PER_S
        findings += examined(series, kind, step_s)
    return findings


def examined(series: Series, kind: str, interval_s: int) -> list[Finding]:
    """Return the doctor's findings on one series of a data set."""
    if kind == "funding":
        return examine_funding(series.symbol, series.ts, series.values[:, 0])
    return examine(series.symbol, series.ts, series.values, interval_s)


def _left_out(part: Parsed) -> str:
    kinds = "; ".join(bad.sentence for bad in part.bad[:3])
    return f"{counted(part.n_bad, 'row')} of {part.file.name} left out, such as: {kinds}"


# rows ---------------------------------------------------------------------------------------------------------------


def _parse(file: Path, symbol: str, kind: str, mapping: Mapping[str, str], limit: int | None = None) -> Parsed:
    table, layout = read(file, kind, limit)
    times = table.column(mapping["timestamp"])
    ts, no_time = parse_times(times)
    early = ~no_time & (ts < EARLIEST_NS)
    bad = [_bad(file, layout, row, f"timestamp {_shown(times, row)}", EXPECTED) for row in _first(no_time)]
    bad += [
        _bad(file, layout, row, f"timestamp {_shown(times, row)}, which is {moment_text(int(ts[row]))}",
             "a time after 2009: is the unit another one?") for row in _first(early)
    ]  # fmt: skip
    wrong = no_time | early
    values = np.empty((len(ROLES[kind]) - 1, table.num_rows)).T
    for i, role in enumerate(ROLES[kind][1:]):
        column = table.column(mapping[role])
        values[:, i], no_number = _numbers(column)
        bad += [_bad(file, layout, row, f"{role} {_shown(column, row)}", "a number") for row in _first(no_number)]
        wrong |= no_number
    if kind == "candles":
        for fault in value_faults(np.where(wrong[:, None], 1.0, values)) if wrong.any() else value_faults(values):
            where = _first(fault.rows)
            bad += [_bad(file, layout, row, f"the bar of {moment_text(int(ts[row]))} {fault.found}", fault.expected)
                    for row in where]  # fmt: skip
            wrong = wrong | fault.rows
    first = {one.row: one for one in reversed(bad)}  # a row is named once, by the first thing that is wrong with it
    return Parsed(file, symbol, ts, values, tuple(first[row] for row in sorted(first)), int(wrong.sum()), ~wrong)


def _first(rows: Flags) -> list[int]:
    return [int(row) for row in np.flatnonzero(rows)[:SHOWN_BAD_ROWS]]


def _bad(file: Path, layout: Layout, row: int, found: str, expected: str) -> BadRow:
    return BadRow(file.name, row + layout.first_line, found, expected)


def _shown(column: pa.ChunkedArray, row: int) -> str:
    value = column[row].as_py()
    return "is empty" if value is None else repr(value)[:60]


def _numbers(column: pa.ChunkedArray) -> tuple[F8, Flags]:
    """Return a column as float64 and which rows hold no number; a column of texts is read one by one."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        import pandas as pd

        found = pd.to_numeric(pd.Series(column.to_numpy(zero_copy_only=False)), errors="coerce").to_numpy(np.float64)
    else:
        try:
            found = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            found = np.full(len(column), np.nan)
    return found, np.asarray(np.isnan(found))


# series -------------------------------------------------------------------------------------------------------------


def _joined(symbol: str, parts: list[Parsed], request: ImportRequest) -> tuple[Series, list[str]]:
    """Return one symbol's rows in order of time, and sentences on what was done to get there."""
    ts = np.concatenate([part.ts[part.is_good] for part in parts])
    values = np.concatenate([part.values[part.is_good] for part in parts])
    if len(ts) < 2:
        raise DataError(f"{symbol}: {counted(len(ts), 'row')} left; at least 2 are needed")
    said = []
    if request.kind == "funding":
        ts = rounded(ts)
    if (np.diff(ts) < 0).any():
        order = np.argsort(ts, kind="stable")
        newest_first = bool((np.diff(ts) <= 0).all())
        moved = "newest first" if newest_first else f"backwards in {int((np.diff(ts) < 0).sum()):,} places"
        said.append(f"{symbol}: rows were {moved} and have been sorted by time")
        ts, values = ts[order], values[order]
    repeated = np.append(False, np.diff(ts) == 0)
    if repeated.any():
        at = np.flatnonzero(repeated)
        differ = (values[at] != values[at - 1]).any(axis=1)
        if differ.any() and not request.leave_out_bad:
            rows = [
                BadRow(parts[0].file.name, 0, f"{symbol} {moment_text(int(ts[i]))} twice, with different values",
                       "each time once")._asdict() for i in at[differ][:SHOWN_BAD_ROWS]
            ]  # fmt: skip
            raise BadRows(int(differ.sum()), rows)
        kind = f", {int(differ.sum()):,} of them with other values than the first" if differ.any() else ""
        said.append(f"{symbol}: {counted(len(at), 'row')} that repeat a time left out{kind}")
        ts, values = ts[~repeated], values[~repeated]
    return Series(symbol, ts, values), said


def _common_interval(found: list[tuple[str, int]]) -> int:
    seconds = {interval for _, interval in found}
    if len(seconds) > 1:
        listed = ", ".join(f"{symbol} {interval_name(interval)}" for symbol, interval in found)
        raise DataError(f"symbols have different intervals: {listed}. Import each interval as a data set of its own")
    interval_s = seconds.pop()
    if interval_s not in INTERVAL_S.values():
        raise DataError(f"most bars are {interval_s} s apart; known intervals are {', '.join(INTERVAL_S)}")
    return interval_s


def _on_grid(series: list[Series], interval_s: int, request: ImportRequest) -> tuple[list[Series], list[str]]:
    """Return series without bars off the grid of the others, which are refused or left out as bad rows are."""
    kept, said = [], []
    for one in series:
        stray = off_grid(one.ts, interval_s * NS_PER_S) | (one.ts % NS_PER_MS != 0)
        if stray.any():
            rows = [
                BadRow(str(request.path.name), 0, f"a bar of {one.symbol} at {moment_text(int(ts))}",
                       f"bars on the {interval_name(interval_s)} grid of the others")._asdict()
                for ts in one.ts[stray][:SHOWN_BAD_ROWS]
            ]  # fmt: skip
            if not request.leave_out_bad:
                raise BadRows(int(stray.sum()), rows)
            said.append(f"{one.symbol}: {counted(int(stray.sum()), 'bar')} off the grid left out")
            one = Series(one.symbol, one.ts[~stray], one.values[~stray])
        kept.append(one)
    return kept, said
