"""The record: what is acknowledged is on disk, and the newest row of a key wins."""

from __future__ import annotations

import subprocess
import sys

import duckdb
import pytest

from storage.database import Database, StorageError, verify_audit
from storage.schema import metadata


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "t.duckdb")
    yield database
    database.close()


def _order(client_id: str, status: str) -> dict:
    return {"account": "me", "client_id": client_id, "symbol": "BTCUSDT", "side": 1, "qty": 0.5, "status": status}


def test_every_table_of_the_schema_exists(database):
    names = {row["table_name"] for row in database.rows("SELECT table_name FROM duckdb_tables()")}
    assert set(metadata.tables) <= names


def test_durable_row_is_there_when_its_future_is_done(database):
    database.append_durable("orders", [_order("a-1", "INTENT")]).result(5)
    assert database.rows("SELECT status, qty FROM orders") == [{"status": "INTENT", "qty": 0.5}]


def test_newest_row_of_a_key_wins_within_a_batch_and_between_batches(database):
    database.append("orders", [_order("a-1", "INTENT")])
    database.append_durable("orders", [_order("a-1", "SENT"), _order("a-1", "NEW")]).result(5)
    database.append_durable("orders", [_order("a-1", "FILLED")]).result(5)
    assert database.rows("SELECT client_id, status FROM orders") == [{"client_id": "a-1", "status": "FILLED"}]


def test_columns_are_written_like_rows_and_the_newest_of_a_key_wins_among_many(database):
    n = 3000
    bars = {"symbol": ["BTCUSDT"] * n, "interval": ["1m"] * n, "ts_open": list(range(n))}
    prices = {name: [1.0 + ts for ts in range(n)] for name in ("open_px", "high_px", "low_px", "close_px", "volume")}
    database.append("bars", bars | prices)
    twice = {name: [*column, column[7]] for name, column in (bars | prices).items()}
    database.append("bars", twice | {"close_px": [*twice["close_px"][:-1], 0.5]})
    database.flush()
    rows = database.rows("SELECT ts_open, close_px FROM bars ORDER BY ts_open")
    assert [row["close_px"] for row in rows] == [0.5 if ts == 7 else 1.0 + ts for ts in range(n)]


def test_missing_values_are_null_and_not_zero(database):
    database.append_durable("orders", [_order("a-1", "INTENT")]).result(5)
    assert database.rows("SELECT limit_px FROM orders")[0]["limit_px"] is None


def test_rows_survive_a_restart(tmp_path):
    first = Database(tmp_path / "t.duckdb")
    first.append("ticks", [{"symbol": "BTCUSDT", "ts_exchange": 1, "ts_received": 2, "px": 3.0, "qty": 4.0, "side": 1}])
    first.close()
    second = Database(tmp_path / "t.duckdb")
    assert second.rows("SELECT px FROM ticks") == [{"px": 3.0}]
    second.close()


def test_failed_write_reaches_the_caller_and_the_next_write_works(database):
    database.execute("DROP TABLE funding")
    failed = database.append_durable("funding", [{"symbol": "BTCUSDT", "ts_funding": 1, "rate": 0.1, "mark_px": 1.0}])
    with pytest.raises(StorageError, match="funding"):
        failed.result(5)
    database.append_durable("orders", [_order("a-2", "NEW")]).result(5)
    assert len(database.rows("SELECT * FROM orders")) == 1


def test_closed_database_refuses_rows(tmp_path):
    database = Database(tmp_path / "t.duckdb")
    database.close()
    with pytest.raises(StorageError, match="closed"):
        database.append("ticks", [])


def test_file_of_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "t.duckdb"
    connection = duckdb.connect(str(path))
    connection.execute("CREATE TABLE schema_version (version INTEGER); INSERT INTO schema_version VALUES (99)")
    connection.close()
    with pytest.raises(StorageError, match="version 99"):
        Database(path)


def test_audit_chain_holds_over_a_restart_and_shows_tampering(tmp_path):
    path = tmp_path / "t.duckdb"
    for _ in range(2):
        database = Database(path)
        database.audit("person", "settings.set", {"max_daily_loss": 0.04}).result(5)
        database.close()
    database = Database(path)
    rows = database.rows("SELECT * FROM audit ORDER BY seq")
    database.close()
    assert [row["seq"] for row in rows] == [1, 2]
    assert verify_audit(rows) is None
    rows[0]["detail"] = "{}"
    assert verify_audit(rows) == 1


def test_remembered_fact_is_recalled(database):
    database.remember("kill", {"level": 2}).result(5)
    assert database.recall("kill") == {"level": 2}
    assert database.recall("absent", "nothing") == "nothing"


def test_rows_that_a_full_disk_refused_are_written_when_there_is_room(tmp_path, monkeypatch):
    troubles = []
    store = Database(tmp_path / "paper.duckdb", troubles.append)
    full = []
    insert = store._insert

    def refusing(cursor, name, rows):
        if full:
            raise duckdb.IOException("Could not write file: No space left on device")
        insert(cursor, name, rows)

    monkeypatch.setattr(store, "_insert", refusing)
    full.append(True)
    store.append("metrics", [{"ts": 1, "name": "kept", "value": 1.0, "labels": ""}])
    promised = store.append_durable("metrics", [{"ts": 2, "name": "refused", "value": 2.0, "labels": ""}])
    with pytest.raises(StorageError, match="No space left"):
        promised.result(5)
    with pytest.raises(StorageError, match="No space left"):
        store.flush(5)
    assert len(troubles) >= 1
    full.clear()
    store.append_durable("metrics", [{"ts": 3, "name": "after", "value": 3.0, "labels": ""}]).result(5)
    store.flush(5)
    assert [row["name"] for row in store.rows("SELECT name FROM metrics ORDER BY ts")] == ["kept", "after"]
    assert store._queued_rows == 0
    store.close()


def test_database_held_by_another_process_is_refused_with_its_number(tmp_path):
    path = tmp_path / "paper.duckdb"
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        with pytest.raises(StorageError, match=rf"paper.duckdb is held by process {holder.pid}: end it"):
            Database(path)
        holder.stdin.close()
