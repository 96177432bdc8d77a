"""An old file becomes a new one with every row in its place, or stays as it was."""

from __future__ import annotations

import json

import duckdb
import pytest

from engine.runtime.restore import close_ended_practice
from storage import migrations
from storage.database import Database, StorageError
from storage.schema import SCHEMA_VERSION, metadata

# As version 1 made them; only the columns that a key or a test needs have values.
VERSION_1 = """
CREATE TABLE schema_version (version INTEGER);
INSERT INTO schema_version VALUES (1);
CREATE TABLE settings ("key" VARCHAR NOT NULL, value VARCHAR, ts BIGINT, PRIMARY KEY ("key"));
CREATE TABLE orders (client_id VARCHAR NOT NULL, decision_id BIGINT, symbol VARCHAR, side INTEGER, order_type VARCHAR,
  tif VARCHAR, qty DOUBLE, limit_px DOUBLE, stop_px DOUBLE, reduce_only BOOLEAN, close_position BOOLEAN,
  purpose VARCHAR, status VARCHAR, venue_order_id VARCHAR, filled_qty DOUBLE, avg_px DOUBLE, decision_px DOUBLE,
  ts_intent BIGINT, ts_sent BIGINT, ts_acked BIGINT, ts_final BIGINT, reason VARCHAR, PRIMARY KEY (client_id));
CREATE TABLE fills (symbol VARCHAR NOT NULL, trade_id VARCHAR NOT NULL, client_id VARCHAR, venue_order_id VARCHAR,
  decision_id BIGINT, qty DOUBLE, px DOUBLE, fee DOUBLE, pnl_realized DOUBLE, is_maker BOOLEAN, decision_px DOUBLE,
  arrival_px DOUBLE, ts_filled BIGINT, ts_received BIGINT, PRIMARY KEY (symbol, trade_id));
"""


@pytest.fixture
def old_file(tmp_path):
    """Return a file of version 1 on which account ``aaa`` began at 100 and ``bbb`` at 200."""
    path = tmp_path / "paper.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(VERSION_1)
        for key, value in {
            "began:aaa": 100, "began:bbb": 200, "ledger:aaa": {"ts": 101}, "ledger:bbb": {"ts": 201},
            "ledger-account": "bbb", "order_tag": "wxyz",
        }.items():  # fmt: skip
            connection.execute("INSERT INTO settings VALUES (?, ?, 1)", [key, json.dumps(value)])
        for client_id, ts in (("before", 50), ("first", 150), ("second", 250), ("undated", None)):
            connection.execute(
                "INSERT INTO orders (client_id, ts_intent, qty, status) VALUES (?, ?, 1.5, 'NEW')", [client_id, ts]
            )
        for trade_id, ts in (("7", 160), ("8", 260)):
            connection.execute(
                "INSERT INTO fills (symbol, trade_id, qty, px, ts_received) VALUES ('BTCUSDT', ?, -0.5, 100.0, ?)",
                [trade_id, ts],
            )
    return path


def test_old_rows_belong_to_the_account_that_traded_then(old_file):
    store = Database(old_file)
    try:
        orders = store.rows("SELECT account, client_id, qty, status FROM orders ORDER BY client_id")
        assert [(row["client_id"], row["account"]) for row in orders] == [
            ("before", ""), ("first", "aaa"), ("second", "bbb"), ("undated", ""),
        ]  # fmt: skip
        assert {(row["qty"], row["status"]) for row in orders} == {(1.5, "NEW")}
        fills = store.rows("SELECT account, trade_id, qty, px FROM fills ORDER BY trade_id")
        assert [tuple(row.values()) for row in fills] == [("aaa", "7", -0.5, 100.0), ("bbb", "8", -0.5, 100.0)]
        assert store.rows("SELECT version FROM schema_version") == [{"version": SCHEMA_VERSION}]
    finally:
        store.close()


def test_books_whose_rows_may_have_been_replaced_begin_anew(old_file):
    store = Database(old_file)
    try:
        assert store.recall("ledger:aaa") is None
        assert store.recall("ledger:bbb") == {"ts": 201}
        assert store.recall("order_tag") == "wxyz"
    finally:
        store.close()


def test_a_migrated_file_has_the_tables_of_a_new_one(old_file, tmp_path):
    def columns(path):
        store = Database(path)
        query = (
            "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
            "WHERE table_name IN ('orders', 'fills') ORDER BY table_name, ordinal_position"
        )
        keys = "SELECT table_name, constraint_column_names FROM duckdb_constraints() WHERE constraint_type = ?"
        found = (
            store.rows(query),
            sorted((row["table_name"], row["constraint_column_names"]) for row in store.rows(keys, ["PRIMARY KEY"])),
        )
        store.close()
        return found

    assert columns(old_file) == columns(tmp_path / "new.duckdb")


def test_second_account_replaces_nothing(old_file):
    store = Database(old_file)
    row = {"account": "ccc", "symbol": "BTCUSDT", "trade_id": "8", "qty": 2.0}
    store.append_durable("fills", [row]).result(10)
    found = store.rows("SELECT account, qty FROM fills WHERE trade_id = '8' ORDER BY account")
    store.close()
    assert found == [{"account": "bbb", "qty": -0.5}, {"account": "ccc", "qty": 2.0}]


def test_a_step_that_fails_leaves_the_file_as_it_was(old_file, monkeypatch):
    def broken(connection):
        connection.execute("DROP TABLE fills")
        raise duckdb.IOException("No space left on device")

    monkeypatch.setattr(migrations, "STEPS", {version: broken for version in range(2, SCHEMA_VERSION + 1)})
    with pytest.raises(StorageError, match=rf"version 1 and could not be brought to {SCHEMA_VERSION} .*Nothing in it"):
        Database(old_file)
    with duckdb.connect(str(old_file), read_only=True) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchall() == [(1,)]
        assert connection.execute("SELECT count(*) FROM fills").fetchall() == [(2,)]


def test_every_version_has_its_step():
    assert sorted(migrations.STEPS) == list(range(2, SCHEMA_VERSION + 1))
    assert [column.name for column in metadata.tables["fills"].primary_key] == ["account", "symbol", "trade_id"]


def test_open_orders_of_an_ended_practice_exchange_are_closed_and_no_others(tmp_path):
    store = Database(tmp_path / "paper.duckdb")
    close_ended_practice(store, "first", 1)
    store.append_durable("orders", [
        {"account": "first", "client_id": "rests", "status": "NEW"},
        {"account": "first", "client_id": "done", "status": "FILLED"},
        {"account": "elsewhere", "client_id": "rests", "status": "NEW"},
    ]).result(10)  # fmt: skip
    close_ended_practice(store, "second", 9)
    rows = store.rows("SELECT account, client_id, status, ts_final FROM orders ORDER BY account, client_id")
    store.close()
    assert [tuple(row.values()) for row in rows] == [
        ("elsewhere", "rests", "NEW", None), ("first", "done", "FILLED", None), ("first", "rests", "EXPIRED", 9),
    ]  # fmt: skip
