"""Recorded prices from Parquet or CSV files, checked row by row before anything is played from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from engine.errors import DataError
from engine.venues.sandbox.contracts import CONTRACTS, Contract
from engine.venues.sandbox.market.bars import DAY_MS, INTERVAL_MS
from engine.venues.sandbox.market.process import F8, I8

_BAR_COLUMNS = ("open", "high", "low", "close", "volume")
_TICK_COLUMNS = ("price", "qty")
# Plausible UTC milliseconds: 1990 to 2100. Seconds and nanoseconds fall far outside.
_EARLIEST_MS, _LATEST_MS = 631_152_000_000, 4_102_444_800_000
_BUY_WORDS, _SELL_WORDS = ("buy", "b", "1", "+1", "1.0"), ("sell", "s", "-1", "-1.0")


class BarRecording(NamedTuple):
    """Candles on the contract's grid: (N,) opening times, prices in ticks, volume in lots, and their length."""

    open_ms: I8
    open_tick: I8
    high_tick: I8
    low_tick: I8
    close_tick: I8
    lots: I8
    interval_ms: int


class TickRecording(NamedTuple):
    """Trades on the contract's grid: (N,) times, prices in ticks, lots, and whether the aggressor sold."""

    time_ms: I8
    tick: I8
    lots: I8
    sold: np.ndarray


Recording = BarRecording | TickRecording


def load_recordings(path: str, symbols: Sequence[str] | None) -> dict[str, Recording]:
    """Read and check recorded prices.

    Parameters
    ----------
    path : str
        A folder of SYMBOL.parquet / SYMBOL.csv, or one file. One file belongs to the only symbol asked for, or to the
        symbol in its name, or is split by its column `symbol`. Candles have the columns timestamp, open, high, low,
        close, volume; trades have timestamp, price, qty and perhaps side (buy or sell, of the aggressor).
        A timestamp is a date-time (naive means UTC) or an integer in milliseconds.
    symbols : sequence of str or None
        None takes all contracts found.

    Raises
    ------
    DataError
        With a sentence that names the file and, where it applies, the column and the row (counted from 1).
    """
    root = Path(path)
    wanted = None if symbols is None else tuple(dict.fromkeys(s.upper() for s in symbols))
    if root.is_dir():
        tables = {s: (file, _read(file)) for s, file in _folder(root, wanted).items()}
    elif root.is_file():
        tables = {s: (root, table) for s, table in _one_file(root, wanted).items()}
    else:
        raise DataError(f"{root}: no such file or folder of recorded prices")
    return {symbol: _check(file, table, CONTRACTS[symbol]) for symbol, (file, table) in tables.items()}


def _folder(root: Path, wanted: tuple[str, ...] | None) -> dict[str, Path]:
    files = {
        f.stem.upper(): f for f in sorted(root.iterdir()) if f.suffix.lower() in (".parquet", ".csv", ".pq")
    }  # fmt: skip
    known = {s: f for s, f in files.items() if s in CONTRACTS}
    if wanted is None:
        if not known:
            raise DataError(f"{root}: no file named after a contract, such as BTCUSDT.parquet")
        return {s: known[s] for s in CONTRACTS if s in known}
    missing = [s for s in wanted if s not in known]
    if missing:
        raise DataError(f"{root}: no file {missing[0]}.parquet or {missing[0]}.csv for a contract that is listed")
    return {s: known[s] for s in wanted}


def _one_file(file: Path, wanted: tuple[str, ...] | None) -> dict[str, pa.Table]:
    table = _read(file)
    if "symbol" in table.column_names:
        found = [s for s in pc.unique(table["symbol"]).to_pylist() if str(s).upper() in CONTRACTS]
        chosen = [s for s in found if wanted is None or s.upper() in wanted]
        missing = [s for s in wanted or () if s not in [c.upper() for c in chosen]]
        if missing or not chosen:
            raise DataError(f'{file}: column "symbol" has no row of {missing[0] if missing else "a listed contract"}')
        return {s.upper(): table.filter(pc.equal(table["symbol"], s)) for s in chosen}
    if wanted is not None and len(wanted) == 1 and wanted[0] in CONTRACTS:
        return {wanted[0]: table}
    named = [s for s in CONTRACTS if s in file.stem.upper() and (wanted is None or s in wanted)]
    if len(named) != 1:
        raise DataError(f'{file}: name one contract, in the file name, in a column "symbol", or by asking for one')
    return {named[0]: table}


def _read(file: Path) -> pa.Table:
    try:
        if file.suffix.lower() == ".csv":
            return pyarrow.csv.read_csv(file)
        return pq.read_table(file)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as {file.suffix.lower().lstrip('.') or 'Parquet'}: {error}") from error


def _check(file: Path, table: pa.Table, contract: Contract) -> Recording:
    if table.num_rows == 0:
        raise DataError(f"{file}: has no rows")
    if "price" in table.column_names and "open" not in table.column_names:
        return _check_ticks(file, table, contract)
    return _check_bars(file, table, contract)


def _check_bars(file: Path, table: pa.Table, contract: Contract) -> BarRecording:
    open_ms = _times(file, table, strict=True)
    columns = {name: _numbers(file, table, name, name == "volume") for name in _BAR_COLUMNS}
    high, low = columns["high"], columns["low"]
    for name in ("open", "low", "close"):
        _refuse(file, "high", columns[name] > high, f"is below the {name}")
    for name in ("open", "close"):
        _refuse(file, "low", columns[name] < low, f"is above the {name}")
    interval_ms = int(np.diff(open_ms).min()) if len(open_ms) > 1 else 60_000
    if interval_ms not in INTERVAL_MS.values() or interval_ms > DAY_MS:
        raise DataError(f'{file}: column "timestamp": rows are {interval_ms} ms apart; no candle interval up to 1d is')
    _refuse(file, "timestamp", open_ms % interval_ms != 0, f"does not open a candle of {interval_ms} ms")
    ticks = {name: _ticks(file, name, columns[name], contract) for name in ("open", "high", "low", "close")}
    lots = np.round(columns["volume"] / contract.lot_size).astype(np.int64)
    return BarRecording(open_ms, ticks["open"], ticks["high"], ticks["low"], ticks["close"], lots, interval_ms)


def _check_ticks(file: Path, table: pa.Table, contract: Contract) -> TickRecording:
    time_ms = _times(file, table, strict=False)
    columns = {name: _numbers(file, table, name, name == "qty") for name in _TICK_COLUMNS}
    tick = _ticks(file, "price", columns["price"], contract)
    lots = np.maximum(1, np.round(columns["qty"] / contract.lot_size)).astype(np.int64)
    return TickRecording(time_ms, tick, lots, _sold(file, table, tick))


def _sold(file: Path, table: pa.Table, tick: I8) -> np.ndarray:
    if "side" in table.column_names:
        words = [str(w).strip().lower() for w in table["side"].to_pylist()]
        unknown = np.array([w not in _BUY_WORDS and w not in _SELL_WORDS for w in words])
        _refuse(file, "side", unknown, "is neither buy nor sell")
        return np.array([w in _SELL_WORDS for w in words])
    # Tick rule: an unchanged price keeps the direction of the last change.
    moves = np.concatenate(([0], np.sign(np.diff(tick))))
    index = np.maximum.accumulate(np.where(moves != 0, np.arange(len(moves)), 0))
    return moves[index] < 0


def _times(file: Path, table: pa.Table, *, strict: bool) -> I8:
    if "timestamp" not in table.column_names:
        raise DataError(f'{file}: column "timestamp" is missing; found {", ".join(table.column_names)}')
    column = table["timestamp"]
    _refuse(file, "timestamp", _nulls(column), "is empty")
    if pa.types.is_timestamp(column.type):
        times = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64()).to_numpy()
    elif pa.types.is_integer(column.type):
        times = column.cast(pa.int64()).to_numpy()
    else:
        raise DataError(f'{file}: column "timestamp" is {column.type}; a date-time or integer milliseconds is needed')
    times = np.asarray(times, dtype=np.int64)
    _refuse(file, "timestamp", (times < _EARLIEST_MS) | (times > _LATEST_MS), "is no moment in milliseconds")
    steps = np.diff(times, prepend=times[0] - 1)
    _refuse(file, "timestamp", steps <= 0 if strict else steps < 0, "is not later than the row before")
    return times


def _numbers(file: Path, table: pa.Table, name: str, zero_allowed: bool) -> F8:
    if name not in table.column_names:
        raise DataError(f'{file}: column "{name}" is missing; found {", ".join(table.column_names)}')
    column = table[name]
    _refuse(file, name, _nulls(column), "is empty")
    try:
        numbers = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    except pa.ArrowException as error:
        raise DataError(f'{file}: column "{name}" is {column.type}, not a number') from error
    _refuse(file, name, ~np.isfinite(numbers), "is not a finite number")
    if zero_allowed:
        _refuse(file, name, numbers < 0, "is negative")
    else:
        _refuse(file, name, numbers <= 0, "is not positive")
    return numbers


def _ticks(file: Path, name: str, prices: F8, contract: Contract) -> I8:
    ticks = np.round(prices / contract.tick_size).astype(np.int64)
    _refuse(file, name, ticks < 1, f"is below the tick {contract.tick_size:g} of {contract.symbol}")
    return ticks


def _nulls(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.is_null().to_numpy())


def _refuse(file: Path, column: str, bad: np.ndarray, what: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        raise DataError(f'{file}: column "{column}", row {rows[0] + 1}: the value {what}{more}')
