"""The DuckDB file: one owner, one writer thread with group commit, one cursor per read.

Rows wait in two lanes. Durable ones are committed at once, by themselves, and then their future is done; everything
else is committed in batches about every ``FLUSH_S``. Never write one key through both lanes with the durable row later:
it would overtake. What must be on disk within a millisecond (a decision, an order's intent) goes to the log of
``storage.ahead`` and reaches the database with the next batch.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from duckdb_sqlalchemy import Dialect
from sqlalchemy import BigInteger, Boolean, Double, Integer, Table
from sqlalchemy.schema import CreateTable

from storage.ahead import AheadLog, AheadRows, read_ahead
from storage.errors import StorageError, settle
from storage.migrations import migrate
from storage.schema import SCHEMA_VERSION, metadata

FLUSH_S = 0.1
MANY_ROWS = 1000  # from here on Arrow finds out whether keys repeat faster than Python does
FEW_ROWS = 4  # up to here plain VALUES are faster than an Arrow table
MAX_QUEUED_ROWS = 1_000_000
UNWRITABLE = (duckdb.DataError, duckdb.ProgrammingError, duckdb.IntegrityError)  # would fail again for ever
CONNECTION_OPTIONS: dict[str, str | bool | int | float | list[str]] = {
    "threads": "2",
    "memory_limit": "2GB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}

AHEAD_KEY = "ahead_seq"  # in table settings: up to where the database has the rows of the log

__all__ = ["Database", "StorageError", "audit_hash", "verify_audit"]

_ARROW_TYPES = {BigInteger: pa.int64(), Integer: pa.int32(), Double: pa.float64(), Boolean: pa.bool_()}


Rows = Sequence[dict[str, Any]] | Mapping[str, Sequence[Any]]
"""Rows one by one, or columns by name, which is several times as fast for many; the latter must name every column."""


@dataclass(slots=True)
class _Write:
    table: str
    rows: pa.Table
    done: Future[None] | None
    seq: int = 0  # its number in the log ahead, 0 when it came another way
    tried: bool = False


def _arrow_schema(table: Table) -> pa.Schema:
    def arrow_type(column: Any) -> pa.DataType:
        return next((arrow for kind, arrow in _ARROW_TYPES.items() if type(column.type) is kind), pa.string())

    return pa.schema([(column.name, arrow_type(column)) for column in table.columns])


class Database:
    """Owner of the DuckDB file.

    Parameters
    ----------
    path : Path
        The file; created with its folder when absent.
    on_error : callable taking one sentence
        Called from the writer thread when a batch could not be written.

    Raises
    ------
    StorageError
        The file cannot be opened, or was made by a newer version.
    """

    def __init__(self, path: Path, on_error: Callable[[str], None] | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.on_error = on_error
        self._schemas = {name: _arrow_schema(table) for name, table in metadata.tables.items()}
        self._keys = {name: [c.name for c in table.primary_key] for name, table in metadata.tables.items()}
        try:
            self._connection = duckdb.connect(str(path), config=CONNECTION_OPTIONS)
        except duckdb.Error as error:
            raise StorageError(_why_not_open(path, error)) from error
        self._migrate()
        self._durable: list[_Write] = []
        self._batched: list[_Write] = []
        self._queued_rows = 0
        self._kept: list[_Write] = []  # could not be written yet; the writer's alone
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._flush_now = False
        self._audit_seq, self._audit_hash = self._audit_tail()
        self._closed = False
        self._ahead = AheadLog(
            path.with_suffix(".ahead"), self._take_up_ahead(), self._on_ahead, self._on_ahead_failure
        )
        self._writer = threading.Thread(target=self._write_loop, name="database-writer", daemon=True)
        self._writer.start()

    def _migrate(self) -> None:
        connection = self._connection
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER)")
        found = connection.execute("SELECT max(version) FROM schema_version").fetchall()[0][0]
        if found is not None and found > SCHEMA_VERSION:
            raise StorageError(
                f"{self.path.name} has schema version {found}, this program knows {SCHEMA_VERSION}: update Astrolabe"
            )
        if found is not None and found < SCHEMA_VERSION:
            try:
                migrate(connection, found, SCHEMA_VERSION)
            except duckdb.Error as error:
                raise StorageError(
                    f"{self.path.name} has schema version {found} and could not be brought to {SCHEMA_VERSION} "
                    f"({error}). Nothing in it was changed. Free disk space and start again, or go on with the version "
                    "of Astrolabe that wrote it."
                ) from error
        for table in metadata.sorted_tables:
            connection.execute(str(CreateTable(table, if_not_exists=True).compile(dialect=Dialect())))
        if found is None:
            connection.execute("INSERT INTO schema_version VALUES (?)", [SCHEMA_VERSION])

    def _take_up_ahead(self) -> int:
        """Bring in what the log has and the database lacks after a crash; return the newest number of both."""
        rows = self._connection.execute("SELECT value FROM settings WHERE key = ?", [AHEAD_KEY]).fetchall()
        committed = int(rows[0][0]) if rows else 0
        found = read_ahead(self.path.with_suffix(".ahead"), committed)
        if not found:
            return committed
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN")
            for part in found:
                self._insert(cursor, part.table, pa.Table.from_pylist(part.rows, schema=self._schemas[part.table]))
            self._mark_ahead(cursor, found[-1].seq)
            cursor.execute("COMMIT")
        except (duckdb.Error, pa.ArrowException, KeyError) as error:
            _rollback(cursor)
            self._connection.close()
            raise StorageError(
                f"{self.path.stem}.ahead holds {len(found)} rows that a crash kept from the database and that do not "
                f"fit it ({error}). Start the previous version of Astrolabe once and stop it in order: it takes them."
            ) from error
        cursor.close()
        return found[-1].seq

    # writing -----------------------------------------------------------------------------------------------------

    def append(self, table: str, rows: Rows) -> None:
        """Queue rows for the next group commit. Raises StorageError when the queue is full or the file is closed."""
        self._enqueue(table, rows, None)

    def append_durable(self, table: str, rows: Sequence[dict[str, Any]]) -> Future[None]:
        """Queue rows and return a future that is done when they are in the database."""
        done: Future[None] = Future()
        self._enqueue(table, rows, done)
        return done

    def append_ahead(self, table: str, rows: Sequence[dict[str, Any]]) -> Future[None]:
        """Queue rows and return a future that is done when they are on disk, in the log; reads see them a moment later.

        Takes a fraction of a millisecond where ``append_durable`` takes several and waits for others.
        """
        if self._closed:
            raise StorageError("The database is closed")
        try:
            plain = pa.Table.from_pylist(list(rows), schema=self._schemas[table]).to_pylist()
        except (pa.ArrowException, TypeError) as error:
            raise StorageError(f"Rows for {table} do not fit its columns: {error}") from error
        return self._ahead.append(table, plain)

    def _on_ahead(self, part: AheadRows) -> None:
        arrow = pa.Table.from_pylist(part.rows, schema=self._schemas[part.table])  # fits: it was tried before
        with self._wake:
            self._queued_rows += arrow.num_rows
            self._batched.append(_Write(part.table, arrow, None, part.seq))

    def _on_ahead_failure(self, sentence: str) -> None:
        if self.on_error is not None:
            self.on_error(sentence)

    def _enqueue(self, table: str, rows: Rows, done: Future[None] | None) -> None:
        if self._closed:
            raise StorageError("The database is closed")
        schema = self._schemas[table]
        if isinstance(rows, Mapping):
            arrow = pa.Table.from_pydict(dict(rows), schema=schema)
        else:
            arrow = pa.Table.from_pylist(list(rows), schema=schema)
        with self._wake:
            if self._queued_rows + arrow.num_rows > MAX_QUEUED_ROWS:
                raise StorageError(f"{self._queued_rows} rows wait to be written: the disk is too slow or full")
            self._queued_rows += arrow.num_rows
            (self._batched if done is None else self._durable).append(_Write(table, arrow, done))
            if done is not None:
                self._wake.notify()

    def audit(self, actor: str, action: str, detail: dict[str, Any]) -> Future[None]:
        """Append one row to the hash chain: hash = SHA-256 of the previous hash and this row."""
        text = json.dumps(detail, sort_keys=True, default=str)
        with self._lock:
            seq, previous = self._audit_seq + 1, self._audit_hash
            ts = time.time_ns()
            digest = audit_hash(previous, seq, ts, actor, action, text)
            self._audit_seq, self._audit_hash = seq, digest
        row = {"seq": seq, "ts": ts, "actor": actor, "action": action, "detail": text}
        return self.append_durable("audit", [row | {"prev_hash": previous, "hash": digest}])

    def _audit_tail(self) -> tuple[int, str]:
        rows = self._connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchall()
        return (int(rows[0][0]), str(rows[0][1])) if rows else (0, "")

    def _write_loop(self) -> None:
        cursor = self._connection.cursor()
        batch_due = time.monotonic() + FLUSH_S
        while True:
            with self._wake:
                if not (self._durable or self._flush_now or self._closed):
                    self._wake.wait(max(batch_due - time.monotonic(), 0.0))
                durable, self._durable = self._durable, []
                batched: list[_Write] = []
                if self._flush_now or self._closed or time.monotonic() >= batch_due:
                    batched, self._batched, self._flush_now = self._batched, [], False
                    batch_due = time.monotonic() + FLUSH_S
                ended = self._closed and not durable and not batched
            if ended:
                break
            self._commit(cursor, durable)
            self._commit(cursor, batched)
        cursor.close()

    def _commit(self, cursor: duckdb.DuckDBPyConnection, new: list[_Write]) -> None:
        writes = [*self._kept, *new]
        if not writes:
            return
        by_table: dict[str, list[_Write]] = {}
        for write in writes:
            by_table.setdefault(write.table, []).append(write)
        failure: StorageError | None = None
        self._kept = []
        try:
            cursor.execute("BEGIN")
            for name, parts in by_table.items():
                rows = pa.concat_tables([part.rows for part in parts])
                self._insert(cursor, name, rows)
            newest = max(write.seq for write in writes)
            if newest:
                self._mark_ahead(cursor, newest)
            cursor.execute("COMMIT")
            if newest:
                self._ahead.shrink(newest)
        except duckdb.Error as error:
            failure = StorageError(f"Rows for {', '.join(by_table)} were not written: {error}")
            _rollback(cursor)
            if not isinstance(error, UNWRITABLE):
                # a full disk gets room again, and what happened meanwhile belongs on the record; whoever waits for a
                # durable write is told at once, because it acts on the answer
                self._kept = [write for write in writes if write.done is None]
            else:  # one row that can never be written must not take decisions and intents with it
                self._kept = [replace(write, tried=True) for write in writes if write.seq and not write.tried]
        with self._lock:
            done_rows = sum(write.rows.num_rows for write in writes) - sum(w.rows.num_rows for w in self._kept)
            self._queued_rows -= done_rows
        for write in writes:
            if write.done is not None:
                settle(write.done, failure)
        if failure is not None and self.on_error is not None:
            self.on_error(str(failure))

    def _mark_ahead(self, cursor: duckdb.DuckDBPyConnection, seq: int) -> None:
        cursor.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", [AHEAD_KEY, str(seq), time.time_ns()])

    def _insert(self, cursor: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
        key = self._keys[name]
        rows = _newest_per_key(rows, key) if key else rows
        verb = "INSERT OR REPLACE" if key else "INSERT"
        if 0 < rows.num_rows <= FEW_ROWS:
            places = ", ".join(["(" + ", ".join("?" * rows.num_columns) + ")"] * rows.num_rows)
            values = [value for row in zip(*rows.to_pydict().values(), strict=True) for value in row]
            cursor.execute(f"{verb} INTO {name} VALUES {places}", values)
            return
        cursor.register("incoming", rows)
        cursor.execute(f"{verb} INTO {name} SELECT * FROM incoming")
        cursor.unregister("incoming")

    # reading -----------------------------------------------------------------------------------------------------

    def read(self, query: str, params: Sequence[Any] = ()) -> pa.Table:
        """Run one SELECT on a cursor of its own and return all of it."""
        cursor = self._connection.cursor()
        try:
            return cursor.execute(query, list(params)).to_arrow_table()
        except duckdb.Error as error:
            raise StorageError(str(error)) from error
        finally:
            cursor.close()

    def rows(self, query: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the same as a list of dicts."""
        return self.read(query, params).to_pylist()

    def flush(self, timeout_s: float = 30.0) -> None:
        """Return when everything queued so far is on disk."""
        self._ahead.drain()
        done: Future[None] = Future()
        with self._wake:
            self._batched.append(_Write("metrics", self._schemas["metrics"].empty_table(), done))
            self._flush_now = True
            self._wake.notify()
        done.result(timeout_s)

    def execute(self, statement: str, params: Sequence[Any] = ()) -> None:
        """Run one maintenance statement (retention, checkpoint) on a cursor of its own."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, list(params))
        except duckdb.Error as error:
            raise StorageError(str(error)) from error
        finally:
            cursor.close()

    def close(self) -> None:
        """Write what is queued and close the file. Safe to call twice."""
        if self._closed:
            return
        self._ahead.close()
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._writer.join(timeout=30.0)
        self._connection.close()

    # small facts -------------------------------------------------------------------------------------------------

    def remember(self, key: str, value: Any) -> Future[None]:
        """Keep one JSON value under a key over restarts."""
        return self.append_durable("settings", [{"key": key, "value": json.dumps(value), "ts": time.time_ns()}])

    def recall(self, key: str, default: Any = None) -> Any:
        """Return the JSON value kept under a key, or the default."""
        rows = self.rows("SELECT value FROM settings WHERE key = ?", [key])
        return json.loads(rows[0]["value"]) if rows else default


def _newest_per_key(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    # DuckDB refuses the same key twice in one statement, and the newest row of a key is the one that counts.
    if rows.num_rows > MANY_ROWS and rows.group_by(list(key)).aggregate([]).num_rows == rows.num_rows:
        return rows
    columns = [rows.column(name).to_pylist() for name in key]
    newest = {values: index for index, values in enumerate(zip(*columns, strict=True))}
    return rows if len(newest) == rows.num_rows else rows.take(pa.array(sorted(newest.values()), type=pa.int64()))


def _why_not_open(path: Path, error: duckdb.Error) -> str:
    text = str(error).split(" See also")[0]
    if "lock" not in text:
        return f"Cannot open {path.name}: {text}"
    holder = re.search(r"PID (\d+)", text)
    who = f"process {holder.group(1)}" if holder else "another process"
    return f"{path.name} is held by {who}: end it (a second engine, a DuckDB shell, a notebook) and start again."


def _rollback(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.execute("ROLLBACK")
    except duckdb.Error:
        return  # the failed COMMIT has already ended the transaction


def audit_hash(previous: str, seq: int, ts: int, actor: str, action: str, detail: str) -> str:
    """Return the SHA-256 that chains one audit row to the row before it."""
    return hashlib.sha256(json.dumps([previous, seq, ts, actor, action, detail]).encode()).hexdigest()


def verify_audit(rows: Sequence[dict[str, Any]]) -> int | None:
    """Return the seq of the first row that breaks the chain, or None when all of it holds. Oldest row first."""
    previous = rows[0]["prev_hash"] if rows else ""
    for row in rows:
        expected = audit_hash(previous, row["seq"], row["ts"], row["actor"], row["action"], row["detail"])
        if row["prev_hash"] != previous or row["hash"] != expected:
            return int(row["seq"])
        previous = row["hash"]
    return None
