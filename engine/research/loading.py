"""Bars from files: read, checked, put on one clock. Nothing is repaired in silence."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from engine.datasets.checks import value_faults
from engine.datasets.findings import Severity
from engine.datasets.funding_doctor import MISSING, examine_funding, rounded, usual_distance
from engine.datasets.times import EXPECTED, moment_text, parse_times, usual_step
from engine.domain import F8, I8, INTERVAL_S, NS_PER_S
from engine.errors import DataError
from engine.underlyings import SPOT_SUFFIX

COLUMNS = ("open", "high", "low", "close", "volume")
GRID_COLUMNS = ("open_px", "high_px", "low_px", "close_px", "volume")
_SUFFIXES = (".parquet", ".csv")
USUAL_SETTLEMENT_NS = 8 * 3600 * NS_PER_S
"""Distance of settlements where a file holds only one."""


class BarTable(NamedTuple):
    """T bars of N symbols on one clock; NaN where a symbol has no bar."""

    symbols: tuple[str, ...]
    interval_s: int
    ts_open: I8  # (T,) ns, strictly increasing; only moments at which some symbol has a bar
    open_px: F8  # (T, N)
    high_px: F8
    low_px: F8
    close_px: F8
    volume: F8
    fingerprint: str  # hash of everything that was loaded, before any cut by date

    @property
    def ts_close(self) -> I8:
        """Moment at which each bar is known, ns."""
        return self.ts_open + self.interval_s * NS_PER_S


class _Series(NamedTuple):
    symbol: str
    ts_open: I8
    values: F8  # (T, 5)


def nanoseconds(values: pa.ChunkedArray, name: str) -> I8:
    """Return timestamps as int64 ns UTC from datetimes (naive is UTC), ISO text or integers in s, ms, us or ns.

    Raises
    ------
    DataError
        Missing values or something that is not a time, with its row.
    """
    if values.null_count:
        raise DataError(f"{name}: {values.null_count} timestamps are missing")
    moments, bad = parse_times(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{name}: row {row + 1} has the timestamp {values[row].as_py()!r}; expected {EXPECTED}")
    return moments


def _read_table(path: Path) -> pa.Table:
    try:
        table = _read_parquet(path) if path.suffix == ".parquet" else pa_csv.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    table = table.rename_columns([name.strip().lower() for name in table.column_names])
    missing = [name for name in ("timestamp", *COLUMNS) if name not in table.column_names]
    if missing:
        raise DataError(
            f"{path.name} lacks column {missing[0]!r}; it has {', '.join(table.column_names)}; "
            f"expected timestamp, {', '.join(COLUMNS)}"
        )
    if table.num_rows < 2:
        raise DataError(f"{path.name} holds {table.num_rows} bars; at least 2 are needed")
    return table


def _read_parquet(path: Path) -> pa.Table:
    # only what is needed: a file may hold many more columns, and a minute of each of five years
    file = pa_parquet.ParquetFile(path, memory_map=True)
    wanted = [name for name in file.schema_arrow.names if name.strip().lower() in ("timestamp", *COLUMNS)]
    return file.read(wanted) if len(wanted) == len(COLUMNS) + 1 else file.read()


def _read_series(path: Path, symbol: str) -> _Series:
    table = _read_table(path)
    ts_open = nanoseconds(table.column("timestamp"), path.name)
    values = np.empty((len(COLUMNS), table.num_rows)).T  # each column in one piece
    for i, name in enumerate(COLUMNS):
        try:
            values[:, i] = table.column(name).cast(pa.float64()).to_numpy()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DataError(f"{path.name}: column {name} holds something that is not a number") from None
    check_series(path.name, ts_open, values)
    return _Series(symbol, ts_open, values)


def check_series(name: str, ts_open: I8, values: F8) -> None:
    """Refuse bars that cannot be right.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    ts_open : (T,) int64 ns
    values : (T, 5) float64
        open, high, low, close, volume.

    Raises
    ------
    DataError
        With the first offending row: NaN, order, duplicates, prices <= 0, high or low that contradict open and close.
    """
    steps = np.diff(ts_open)
    if not (steps > 0).all():
        _refuse(name, ts_open, np.append(False, steps == 0), "repeats the timestamp before it")
        _refuse(name, ts_open, np.append(False, steps < 0), "is older than the row before it: sort by timestamp")
    for fault in value_faults(values):
        _refuse(name, ts_open, fault.rows, f"{fault.found}; expected {fault.expected}")


def _refuse(name: str, ts_open: I8, wrong: npt.NDArray[np.bool_], sentence: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        more = f" ({int(wrong.sum())} rows like it)" if wrong.sum() > 1 else ""
        raise DataError(f"{name}: row {row + 1} at {moment_text(int(ts_open[row]))} {sentence}{more}")


def _files(path: Path, wanted: tuple[str, ...]) -> list[tuple[str, Path]]:
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise DataError(f"{path.name} is neither .parquet nor .csv")
        return [(path.stem.upper(), path)]
    if not path.is_dir():
        raise DataError(f"there is no file or folder {path}")
    found = {file.stem.upper(): file for file in sorted(path.iterdir()) if file.suffix in _SUFFIXES}
    if not found:
        raise DataError(f"{path} holds no SYMBOL.parquet or SYMBOL.csv")
    for symbol in wanted:
        if symbol not in found:
            raise DataError(f"{path} has no file for {symbol}; it has {', '.join(found)}")
    return [(symbol, found[symbol]) for symbol in (wanted or tuple(found))]


def infer_interval_s(ts_open: I8, name: str) -> int:
    """Return the most frequent distance between bars, in seconds, if it is one that the engine knows."""
    step_s = usual_step(ts_open) // NS_PER_S
    if step_s not in INTERVAL_S.values():
        raise DataError(f"{name}: bars are {step_s} s apart; known intervals are {', '.join(INTERVAL_S)}")
    return step_s


def _union(clocks: list[I8]) -> I8:
    """Return every moment once, ascending. The clocks ascend already, which a stable sort uses."""
    if all(np.array_equal(clock, clocks[0]) for clock in clocks[1:]):
        return clocks[0]
    moments = np.sort(np.concatenate(clocks), kind="stable")
    return moments[np.append(True, moments[1:] != moments[:-1])]


def align(series: list[tuple[str, I8, F8]]) -> BarTable:
    """Put checked series on one clock.

    Parameters
    ----------
    series : list of (symbol, ts_open (T,), values (T, 5))
        Each passed ``check_series``.

    Returns
    -------
    BarTable
        NaN where a symbol has no bar. Moments at which none has one are absent.

    Raises
    ------
    DataError
        Different intervals, or bars off the common grid.
    """
    intervals = {symbol: infer_interval_s(ts_open, symbol) for symbol, ts_open, _ in series}
    if len(set(intervals.values())) > 1:
        listed = ", ".join(f"{symbol} {seconds} s" for symbol, seconds in intervals.items())
        raise DataError(f"symbols have different bar intervals: {listed}")
    interval_s = next(iter(intervals.values()))
    clock = _union([ts_open for _, ts_open, _ in series])
    if (np.diff(clock) < interval_s * NS_PER_S).any():
        early = int(clock[1:][np.diff(clock) < interval_s * NS_PER_S][0])
        raise DataError(f"the bar at {moment_text(early)} is not on the {interval_s} s grid of the others")
    digest = hashlib.sha256(str(interval_s).encode())
    if len(series) == 1:
        grid = np.ascontiguousarray(series[0][2].T)[:, :, None]  # usually the very memory that was read
    else:
        grid = np.full((5, len(clock), len(series)), np.nan)
    for i, (symbol, ts_open, values) in enumerate(series):
        if len(series) > 1:
            whole = len(ts_open) == len(clock)
            grid[:, slice(None) if whole else np.searchsorted(clock, ts_open), i] = values.T
        digest.update(symbol.encode())
        digest.update(np.ascontiguousarray(ts_open).data)
        digest.update(np.ascontiguousarray(values).data)
    symbols = tuple(symbol for symbol, _, _ in series)
    open_px, high_px, low_px, close_px, volume = (np.ascontiguousarray(column) for column in grid)
    return BarTable(
        symbols, interval_s, clock, open_px, high_px, low_px, close_px, volume, digest.hexdigest()
    )  # fmt: skip


def load_bars(path: Path, symbols: tuple[str, ...] = ()) -> BarTable:
    """Load a file, or a folder of ``SYMBOL.parquet`` or ``SYMBOL.csv``.

    Parameters
    ----------
    path : Path
        Columns timestamp (bar open), open, high, low, close, volume.
    symbols : tuple of str
        Empty: everything in the folder. A single file names its symbol itself, unless one is given here.

    Raises
    ------
    DataError
        With one sentence that names file, row and what is wrong.
    """
    if path.is_file() and len(symbols) > 1:
        raise DataError(f"{path.name} is one file, but {len(symbols)} symbols are asked for; give their folder")
    files = _files(path, symbols)
    if path.is_file() and symbols:
        files = [(symbols[0], path)]
    read = [_read_series(file, symbol) for symbol, file in files]
    return align([(series.symbol, series.ts_open, series.values) for series in read])


def cut(bars: BarTable, start_ns: int | None, end_ns: int | None) -> BarTable:
    """Return the bars that open at or after ``start_ns`` and before ``end_ns``; the fingerprint stays."""
    keep = np.ones(len(bars.ts_open), dtype=bool)
    if start_ns is not None:
        keep &= bars.ts_open >= start_ns
    if end_ns is not None:
        keep &= bars.ts_open < end_ns
    if keep.sum() < 2:
        first, last = moment_text(int(bars.ts_open[0])), moment_text(int(bars.ts_open[-1]))
        raise DataError(f"fewer than 2 bars are left between start and end; the data spans {first} to {last}")
    return bars._replace(**{name: getattr(bars, name)[keep] for name in ("ts_open", *GRID_COLUMNS)})


def select(bars: BarTable, symbols: tuple[str, ...]) -> BarTable:
    """Return only these symbols, in this order; all of them when ``symbols`` is empty."""
    missing = [symbol for symbol in symbols if symbol not in bars.symbols]
    if missing:
        raise DataError(f"there are no bars of {missing[0]}; there are {', '.join(bars.symbols)}")
    if not symbols:
        return bars
    chosen = [bars.symbols.index(symbol) for symbol in symbols]
    picked = {name: np.ascontiguousarray(getattr(bars, name)[:, chosen]) for name in GRID_COLUMNS}
    digest = hashlib.sha256(f"{bars.fingerprint}{symbols}".encode()).hexdigest()
    return bars._replace(symbols=symbols, fingerprint=digest, **picked)  # type: ignore[arg-type]


def funding_file(folder: Path, symbol: str) -> Path | None:
    """Return the file of a symbol's funding rates, or None where there is none."""
    return next((file for suffix in _SUFFIXES if (file := folder / f"{symbol}{suffix}").is_file()), None)


def _settlements(file: Path) -> tuple[I8, F8]:
    """Return the settlements of a file in the order of time: moments (S,) on the minute, ns, and rates (S,).

    Refuses what the data doctor calls an error: a settlement that is there twice would be charged twice, a missing rate
    not at all, a rate in per cent a hundredfold.
    """
    table = pa_parquet.read_table(file) if file.suffix == ".parquet" else pa_csv.read_csv(file)
    if not {"timestamp", "rate"} <= set(table.column_names):
        raise DataError(f"{file.name} needs columns timestamp and rate; it has {', '.join(table.column_names)}")
    moments = nanoseconds(table.column("timestamp"), file.name)
    try:
        rates = np.asarray(table.column("rate").cast(pa.float64()).to_numpy(), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{file.name}: column rate holds something that is not a number") from None
    wrong = [found for found in examine_funding(file.stem, moments, rates) if found.severity == Severity.ERROR]
    if wrong:
        raise DataError(f"{file.name} cannot be charged as funding. {' '.join(found.sentence for found in wrong)}")
    order = np.argsort(moments, kind="stable")
    return rounded(moments[order]), rates[order]


def _funding_of(path: Path, bars: BarTable) -> dict[int, tuple[I8, F8]]:
    """Return the settlements of every symbol, by its column, that has a file."""
    files = {i: funding_file(path, symbol) for i, symbol in enumerate(bars.symbols)}
    if all(file is None for file in files.values()):
        raise DataError(
            f"{path} has no funding rates of {', '.join(bars.symbols)}: name a folder of SYMBOL.parquet or SYMBOL.csv "
            "with columns timestamp and rate, or leave funding out"
        )
    return {i: _settlements(file) for i, file in files.items() if file is not None}


def load_funding(path: Path, bars: BarTable) -> F8:
    """Return funding rates (T, N) due at each bar's close, 0 where none is due or none is known.

    Parameters
    ----------
    path : Path
        Folder of ``SYMBOL.parquet`` or ``.csv`` with columns timestamp and rate (fraction per settlement). A symbol
        without a file is charged none; ``known_funding`` tells that apart from a rate of 0.
    bars : BarTable

    Raises
    ------
    DataError
        No symbol has a file, or a file holds what cannot be right: see ``engine.datasets.funding_doctor``.

    Notes
    -----
    A settlement belongs to the first bar that closes at or after it. A stamp some milliseconds late is put on its
    minute.
    """
    rates = np.zeros((len(bars.ts_open), len(bars.symbols)))
    ts_close = bars.ts_close
    for i, (moments, paid) in _funding_of(path, bars).items():
        row = np.searchsorted(ts_close, moments)
        inside = (row < len(ts_close)) & (moments > ts_close[0] - bars.interval_s * NS_PER_S)
        np.add.at(rates[:, i], row[inside], paid[inside])
    return rates


def known_funding(path: Path, bars: BarTable) -> npt.NDArray[np.bool_]:
    """Return where (T, N) it is known what a position pays at the next settlement; see ``load_funding``.

    It is not before a file's first settlement by more than the usual distance of settlements, nor from the one that
    would be due after its last, nor in a gap inside. A spot leg pays none, which is known.
    """
    known = np.tile([symbol.endswith(SPOT_SUFFIX) for symbol in bars.symbols], (len(bars.ts_open), 1))
    for i, (moments, _) in _funding_of(path, bars).items():
        usual = usual_distance(moments) if len(moments) > 1 else np.array([USUAL_SETTLEMENT_NS])
        reach = np.append(usual[0], usual)  # what lies before a settlement and is paid by it
        gap = np.append(reach[0], np.diff(moments))
        reach = np.where(gap > MISSING * reach, reach, gap)
        row = np.searchsorted(moments, bars.ts_close)
        at = np.minimum(row, len(moments) - 1)
        known[:, i] |= np.where(
            row < len(moments), bars.ts_close > moments[at] - reach[at], bars.ts_close < moments[-1] + usual[-1]
        )
    return known
