"""The log ahead of the database: durable before anything else, in the database once, and back after a crash."""

import os
import signal
import subprocess
import sys
import threading

import duckdb
import numpy as np
import pytest

from storage import ahead as ahead_module
from storage.ahead import AheadLog, AheadRows, read_ahead
from storage.database import Database, StorageError


@pytest.fixture
def log(tmp_path):
    received, failures = [], []
    log = AheadLog(tmp_path / "x.ahead", 0, received.append, failures.append)
    log.received, log.failures, log.path = received, failures, tmp_path / "x.ahead"
    yield log
    log.close()


def row(index):
    return {"ts": index, "name": "intent", "value": float(index), "labels": ""}


def names(store):
    return [r["ts"] for r in store.rows("SELECT ts FROM metrics ORDER BY ts")]


def test_rows_are_on_disk_when_the_future_is_done_and_are_numbered_in_order(log):
    futures = [log.append("metrics", [row(i)]) for i in range(50)]
    for future in futures:
        future.result(5)
    assert read_ahead(log.path, 0) == [AheadRows(i + 1, "metrics", [row(i)]) for i in range(50)]
    assert log.received == read_ahead(log.path, 0)
    assert [part.seq for part in read_ahead(log.path, 48)] == [49, 50]


def test_torn_line_costs_that_line_alone(log):
    log.append("metrics", [row(1)]).result(5)
    with log.path.open("ab") as file:
        file.write(b'\n1234abcd [2, "metr')  # the machine died in the middle of a write
    log.append("metrics", [row(3)]).result(5)
    assert [part.rows[0]["ts"] for part in read_ahead(log.path, 0)] == [1, 3]


def test_changed_byte_is_noticed(log):
    log.append("metrics", [row(7)]).result(5)
    log.path.write_bytes(log.path.read_bytes().replace(b"7.0", b"8.0"))
    assert read_ahead(log.path, 0) == []


def test_rows_that_did_not_fit_on_the_disk_are_refused_and_do_not_come_back(log, monkeypatch):
    log.append("metrics", [row(1)]).result(5)
    write = os.write

    def half(descriptor, lines):
        return write(descriptor, lines[: len(lines) // 2])

    monkeypatch.setattr(ahead_module.os, "write", half)
    with pytest.raises(StorageError, match="Rows for metrics were not written"):
        log.append("metrics", [row(2)]).result(5)
    monkeypatch.undo()
    log.append("metrics", [row(3)]).result(5)
    assert [part.rows[0]["ts"] for part in read_ahead(log.path, 0)] == [1, 3]
    assert len(log.failures) == 1


def test_value_that_json_does_not_know_is_refused_by_name_and_numpy_scalars_are_taken(log):
    with pytest.raises(StorageError, match="object cannot be written"):
        log.append("metrics", [{"ts": object()}]).result(5)
    log.append("metrics", [{"ts": np.int64(5), "value": np.float64(0.1)}]).result(5)
    assert read_ahead(log.path, 0)[0].rows == [{"ts": 5, "value": 0.1}]


def test_database_has_the_rows_after_its_next_batch_once(tmp_path):
    store = Database(tmp_path / "t.duckdb")
    store.append_ahead("metrics", [row(1)]).result(5)
    store.flush()
    assert names(store) == [1]
    store.close()
    again = Database(tmp_path / "t.duckdb")
    assert names(again) == [1]
    again.close()


def test_killed_process_loses_no_row_that_was_promised(tmp_path):
    code = """
import sys, pathlib
import storage.database as d
d.FLUSH_S = 1e9  # no batch reaches the database any more
store = d.Database(pathlib.Path(sys.argv[1]))
for i in range(20):
    store.append_ahead("metrics", [{"ts": i, "name": "intent", "value": 0.0, "labels": ""}]).result(5)
print("promised", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "t.duckdb")], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"promised\n"
        process.send_signal(signal.SIGKILL)
    with duckdb.connect(str(tmp_path / "t.duckdb")) as bare:
        assert bare.execute("SELECT count(*) FROM metrics").fetchall() == [(0,)]
    store = Database(tmp_path / "t.duckdb")
    assert names(store) == list(range(20))
    store.append_ahead("metrics", [row(20)]).result(5)  # numbers go on where they were
    store.close()
    store = Database(tmp_path / "t.duckdb")
    assert names(store) == list(range(21))
    store.close()


def test_older_state_of_a_key_never_replaces_a_newer_one_at_the_next_start(tmp_path):
    store = Database(tmp_path / "t.duckdb")
    store.append_ahead("orders", [{"account": "x", "client_id": "a-1", "status": "INTENT"}]).result(5)
    store.append("orders", [{"account": "x", "client_id": "a-1", "status": "FILLED"}])
    store.close()
    store = Database(tmp_path / "t.duckdb")
    assert store.rows("SELECT status FROM orders") == [{"status": "FILLED"}]
    store.close()


def test_a_row_that_the_database_can_never_take_does_not_cost_the_promised_ones(tmp_path):
    store = Database(tmp_path / "t.duckdb")
    store.execute("DROP TABLE funding")
    store.append("funding", [{"symbol": "BTCUSDT", "ts_funding": 1, "rate": 0.1, "mark_px": 1.0}])
    store.append_ahead("metrics", [row(1)]).result(5)
    with pytest.raises(StorageError, match="funding"):
        store.flush()
    store.flush()
    assert names(store) == [1]
    store.close()


def test_long_file_is_emptied_when_the_database_has_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead_module, "SHRINK_ABOVE_BYTES", 500)
    store = Database(tmp_path / "t.duckdb")
    for i in range(30):
        store.append_ahead("metrics", [row(i)]).result(5)
    store.flush()
    assert (tmp_path / "t.ahead").stat().st_size == 0
    store.append_ahead("metrics", [row(30)]).result(5)
    store.close()
    store = Database(tmp_path / "t.duckdb")
    assert names(store) == list(range(31))
    store.close()


def test_rows_of_another_version_that_do_not_fit_are_told_of_and_kept(tmp_path):
    store = Database(tmp_path / "t.duckdb")
    store.close()
    log = AheadLog(tmp_path / "t.ahead", 0, lambda rows: None, lambda sentence: None)
    log.append("orders", [{"status": "INTENT"}]).result(5)  # without its key
    log.close()
    with pytest.raises(StorageError, match=r"t.ahead holds 1 rows.*previous version"):
        Database(tmp_path / "t.duckdb")
    assert len(read_ahead(tmp_path / "t.ahead", 0)) == 1


def test_many_threads_share_one_sync(log, monkeypatch):
    syncs, gate = [], threading.Event()
    fdatasync = os.fdatasync

    def counted(descriptor):
        gate.wait(5)
        syncs.append(descriptor)
        fdatasync(descriptor)

    monkeypatch.setattr(ahead_module.os, "fdatasync", counted)
    futures = [log.append("metrics", [row(i)]) for i in range(40)]
    gate.set()
    for future in futures:
        future.result(5)
    assert 1 <= len(syncs) <= 3


def test_row_of_the_wrong_type_is_refused_before_anything_is_promised(tmp_path):
    store = Database(tmp_path / "t.duckdb")
    with pytest.raises(StorageError, match="Rows for metrics do not fit its columns"):
        store.append_ahead("metrics", [{"ts": "yesterday"}])
    store.append_ahead("metrics", [row(1)]).result(5)
    store.close()


def test_closed_database_refuses_promises(tmp_path):
    store = Database(tmp_path / "t.duckdb")
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.append_ahead("metrics", [row(1)])


def test_a_waiter_that_was_cancelled_does_not_end_the_writer(log):
    with log._file_lock:  # the writer holds the rows and cannot write them yet
        given_up = log.append("metrics", [row(1)])
        while not log._busy:
            threading.Event().wait(0.001)
        assert given_up.cancel()
    log.append("metrics", [row(2)]).result(5)
    assert [part.rows[0]["ts"] for part in read_ahead(log.path, 0)] == [1, 2]


def test_a_cancelled_wait_for_the_database_leaves_its_writer_alive(tmp_path):
    store = Database(tmp_path / "x.duckdb")
    try:
        cancelled = [store.append_durable("metrics", [row(index)]).cancel() for index in range(20)]
        assert any(cancelled)
        store.append_durable("metrics", [row(99)]).result(5)
        assert names(store) == [*range(20), 99]
    finally:
        store.close()
