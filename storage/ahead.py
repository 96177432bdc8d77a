"""The log that runs ahead of the database: rows that must survive a crash before anything else may happen.

A commit of the database costs milliseconds, and tens of them when it is busy with a batch. A decision and an order's
intent cannot wait for that, so their rows go to a file of their own first: one line each, one ``fdatasync`` for all
that wait. The database gets them with its next batch and notes, in the same transaction, up to where it has them. At
start whatever it lacks is taken from the file.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from storage.errors import StorageError, settle

SHRINK_ABOVE_BYTES = 1_000_000


class AheadRows(NamedTuple):
    """Rows of one table, numbered in the order in which they became durable."""

    seq: int
    table: str
    rows: list[dict[str, Any]]


class AheadLog:
    """Appends rows to the log from a thread of its own.

    Parameters
    ----------
    path : Path
        The file; made at the first row.
    newest_seq : int
        The number of the newest row that the database or the file has.
    on_durable : callable taking AheadRows
        Called from the log's thread, in order, when rows are on disk and before whoever waits for them hears of it.
    on_failure : callable taking one sentence
        Called from the log's thread when rows could not be written.
    """

    def __init__(
        self,
        path: Path,
        newest_seq: int,
        on_durable: Callable[[AheadRows], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._path = path
        self._seq = newest_seq
        self._on_durable, self._on_failure = on_durable, on_failure
        self._descriptor: int | None = None
        self._size = path.stat().st_size if path.exists() else 0
        self._waiting: list[tuple[str, list[dict[str, Any]], Future[None]]] = []
        self._busy = False
        self._closed = False
        self._file_lock = threading.Lock()
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="ahead-log", daemon=True)
        self._thread.start()

    def append(self, table: str, rows: Sequence[dict[str, Any]]) -> Future[None]:
        """Queue rows; the future is done when they are on disk, or holds the StorageError that says why not."""
        done: Future[None] = Future()
        with self._wake:
            self._waiting.append((table, list(rows), done))
            self._wake.notify_all()
        return done

    def drain(self) -> None:
        """Return when nothing waits for the disk."""
        with self._wake:
            self._wake.wait_for(lambda: not self._waiting and not self._busy)

    def shrink(self, committed_seq: int) -> None:
        """Empty the file when it is long and the database has all of it."""
        with self._file_lock:
            if self._size > SHRINK_ABOVE_BYTES and committed_seq == self._seq and self._descriptor is not None:
                os.ftruncate(self._descriptor, 0)
                os.fdatasync(self._descriptor)
                self._size = 0

    def close(self) -> None:
        """Write what waits and close the file."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._thread.join(timeout=30.0)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._closed)
                taken, self._waiting = self._waiting, []
                self._busy = bool(taken)
            if not taken:
                return
            try:
                self._write(taken)
            finally:
                with self._wake:
                    self._busy = False
                    self._wake.notify_all()

    def _write(self, taken: list[tuple[str, list[dict[str, Any]], Future[None]]]) -> None:
        numbered = [AheadRows(self._seq + i, table, rows) for i, (table, rows, _) in enumerate(taken, start=1)]
        try:
            with self._file_lock:
                self._to_disk(b"".join(map(_line, numbered)))
                self._seq = numbered[-1].seq
        except (OSError, TypeError, ValueError) as error:
            sentence = f"Rows for {', '.join(sorted({rows.table for rows in numbered}))} were not written: {error}"
            for _, _, done in taken:
                settle(done, StorageError(sentence))
            self._on_failure(sentence)
            return
        for rows, (_, _, done) in zip(numbered, taken, strict=True):
            self._on_durable(rows)
            settle(done, None)

    def _to_disk(self, lines: bytes) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            written = os.write(self._descriptor, lines)
            if written != len(lines):
                raise OSError(f"only {written} of {len(lines)} bytes of {self._path.name} were written")
            os.fdatasync(self._descriptor)
        except OSError:
            # rows that nobody will act on must not come back at the next start
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(lines)


def read_ahead(path: Path, after_seq: int) -> list[AheadRows]:
    """Return the rows of a log that come after a number, oldest first. A torn line at a crash is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().split(b"\n"):
        checksum, _, body = line.partition(b" ")
        if not body or checksum != _checksum(body):
            continue
        seq, table, rows = json.loads(body)
        if seq > after_seq:
            found.append(AheadRows(seq, table, rows))
    return found


def _line(rows: AheadRows) -> bytes:
    body = json.dumps([rows.seq, rows.table, rows.rows], default=_plain).encode()
    return b"\n" + _checksum(body) + b" " + body  # begins with the end of a line: a torn one cannot swallow it


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):  # a NumPy scalar
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written to the log")


def _checksum(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)
