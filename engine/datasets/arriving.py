"""A download on its way: what was asked, the rows that have arrived, and where to go on. Files only, no network."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.datasets.checks import value_faults
from engine.datasets.findings import counted
from engine.datasets.funding_doctor import rounded
from engine.datasets.store import KINDS, Series, check_name
from engine.domain import NS_PER_MS
from engine.errors import CommandRefused, DataError

FOLDER = "downloads"
FLUSH_S = 2.0  # rows that a crash may cost
FLUSH_ROWS = 20_000


class DownloadRequest(BaseModel):
    """What to download, and how to call it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    venue: str = Field(description="Of engine.venues.public.VENUES")
    symbols: tuple[str, ...] = Field(min_length=1)
    kind: str = Field("candles", pattern="^(candles|funding)$")
    interval: str = "1h"
    start: datetime = Field(description="First bar opens at or after this, UTC")
    end: datetime | None = Field(None, description="Bars close by this, UTC; default: now")
    name: str = Field(description="Of the data set")
    base_url: str | None = Field(None, description="Another server that speaks the venue's protocol")

    @field_validator("start", "end")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @field_validator("symbols")
    @classmethod
    def _upper(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(symbol.strip().upper() for symbol in value if symbol.strip()))
        if not found:
            raise ValueError("name at least one symbol")
        return found

    @field_validator("name")
    @classmethod
    def _a_name(cls, value: str) -> str:
        try:
            return check_name(value)
        except DataError as error:
            raise ValueError(str(error)) from None

    @property
    def key(self) -> str:
        """What makes two requests the same download: everything but the moment that an open end means."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


@contextmanager
def own_folder(home: Path, request: DownloadRequest) -> Iterator[Path]:
    """Own the folder of a download for as long as the block lasts; the lock dies with its process."""
    root = home / FOLDER
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{request.key}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandRefused("This download is going on already. Wait for it, or cancel it.") from None
        folder = root / request.key
        folder.mkdir(exist_ok=True)
        yield folder
    if not folder.exists():
        (root / f"{request.key}.lock").unlink(missing_ok=True)


def span_of(folder: Path, request: DownloadRequest) -> tuple[int, int]:
    """Return first and last moment, ms. An open end is fixed when a download begins, so that it can be resumed."""
    card = folder / "request.json"
    if card.exists():
        known = json.loads(card.read_text())
        return int(known["start_ms"]), int(known["end_ms"])
    now = time.time()
    start, end = request.start.timestamp(), min(request.end.timestamp() if request.end else now, now)
    if start >= end:
        raise DataError(f"start {request.start:%Y-%m-%d %H:%M} is not before the end; expected a span in the past")
    text = json.dumps({"request": json.loads(request.model_dump_json()), "start_ms": int(start * 1000),
                       "end_ms": int(end * 1000)})  # fmt: skip
    partial = card.with_suffix(".part")
    partial.write_text(text)
    partial.replace(card)
    return int(start * 1000), int(end * 1000)


def unfinished(home: Path) -> list[dict[str, Any]]:
    """Return the requests whose rows are on disk and not yet a data set, with how many rows there are."""
    found = []
    for card in sorted((home / FOLDER).glob("*/request.json")):
        files = [pa_parquet.read_metadata(part) for part in card.parent.glob("*/*.parquet")]
        request = json.loads(card.read_text())["request"]
        found.append({"key": card.parent.name, "request": request, "rows": sum(file.num_rows for file in files)})
    return found


def discard(home: Path, key: str) -> None:
    """Throw away what an unfinished download has brought."""
    folder = home / FOLDER / key
    if not key.isalnum() or not folder.is_dir():
        raise DataError(f"there is no unfinished download {key!r}")
    shutil.rmtree(folder)


class Parts:
    """The rows of one symbol that have arrived, in files that are whole or absent."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._columns = folder, KINDS[kind]
        self._rows: list[tuple[float, ...]] = []
        self._written_s = time.monotonic()
        folder.mkdir(exist_ok=True)

    def resume_at(self, first_ms: int) -> int:
        """Return where to go on: what the last file says, or the beginning."""
        cursor = self._folder / "cursor"
        return int(cursor.read_text()) if cursor.exists() else first_ms

    def add(self, rows: Sequence[tuple[float, ...]], cursor_ms: int, *, last: bool) -> None:
        """Take a page, and write what has gathered when it is time."""
        self._rows += rows
        if last or len(self._rows) >= FLUSH_ROWS or time.monotonic() - self._written_s > FLUSH_S:
            self.flush(cursor_ms)

    def flush(self, cursor_ms: int) -> None:
        """Write the rows, then where to go on: a crash in between costs a page twice, and nothing else."""
        if self._rows:
            times = pa.array([int(row[0]) for row in self._rows], pa.int64())
            table = pa.table({"timestamp": times} | {
                name: pa.array([float(row[i + 1]) for row in self._rows]) for i, name in enumerate(self._columns)
            })  # fmt: skip
            path = self._folder / f"{int(self._rows[0][0]):015d}.parquet"
            pa_parquet.write_table(table, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        partial = self._folder / "cursor.part"
        partial.write_text(str(cursor_ms))
        partial.replace(self._folder / "cursor")
        self._rows, self._written_s = [], time.monotonic()

    def series(self, symbol: str) -> Series | None:
        """Return everything that has arrived, each time once."""
        files = sorted(self._folder.glob("*.parquet"))
        if not files:
            return None
        table = pa.concat_tables([pa_parquet.read_table(file) for file in files])
        ts = table.column("timestamp").to_numpy() * NS_PER_MS
        values = np.column_stack([table.column(name).to_numpy() for name in self._columns])
        ts, first = np.unique(ts, return_index=True)
        return Series(symbol, ts, values[first])


def assembled(folder: Path, request: DownloadRequest) -> tuple[list[Series], list[str]]:
    """Return everything that has arrived, without bars that cannot be right, and sentences on those."""
    series, changes = [], []
    for symbol in request.symbols:
        one = Parts(folder / symbol, request.kind).series(symbol)
        if one is None or len(one.ts) < 2:
            raise DataError(
                f"{request.venue} has no {request.kind} of {symbol} in this span. Choose a later start, or leave it out"
            )
        if request.kind == "funding":
            one = Series(symbol, rounded(one.ts), one.values)
        wrong = np.zeros(len(one.ts), bool)
        for fault in value_faults(one.values) if request.kind == "candles" else ():
            wrong |= fault.rows
            changes.append(f"{symbol}: {counted(int(fault.rows.sum()), 'bar')} left out that {fault.found}")
        series.append(Series(symbol, one.ts[~wrong], one.values[~wrong]))
    return series, changes
