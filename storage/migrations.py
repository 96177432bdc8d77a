"""Numbered changes of the schema: each takes a file from the version before to its own, in one transaction.

The newest schema is the one of ``schema.py``. A step says what it needs in SQL of its own and never looks there, so
that it does the same in ten versions' time. A new file gets the newest schema at once and runs no step.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb

Step = Callable[[duckdb.DuckDBPyConnection], None]


def orders_and_fills_by_account(connection: duckdb.DuckDBPyConnection) -> None:
    """Version 2: an order and a fill belong to an account.

    Trade ids are unique within an account only, so a second account in one folder replaced fills of the first. Which
    account an old row belongs to follows from when each began: the newest beginning before the row is its own.
    """
    connection.execute(
        "CREATE TEMP TABLE beginnings AS "
        "SELECT substr(key, 7) AS account, TRY_CAST(value AS BIGINT) AS since FROM settings WHERE key LIKE 'began:%' "
        "UNION SELECT substr(key, 8), TRY_CAST(json_extract_string(value, '$.ts') AS BIGINT) "
        "FROM settings WHERE key LIKE 'ledger:%'"
    )
    connection.execute("DELETE FROM beginnings WHERE since IS NULL")
    _rebuild(
        connection, "orders", "ts_intent",
        "client_id VARCHAR NOT NULL, decision_id BIGINT, symbol VARCHAR, side INTEGER, order_type VARCHAR, "
        "tif VARCHAR, qty DOUBLE, limit_px DOUBLE, stop_px DOUBLE, reduce_only BOOLEAN, close_position BOOLEAN, "
        "purpose VARCHAR, status VARCHAR, venue_order_id VARCHAR, filled_qty DOUBLE, avg_px DOUBLE, "
        "decision_px DOUBLE, ts_intent BIGINT, ts_sent BIGINT, ts_acked BIGINT, ts_final BIGINT, reason VARCHAR",
        "account, client_id",
    )  # fmt: skip
    _rebuild(
        connection, "fills", "ts_received",
        "symbol VARCHAR NOT NULL, trade_id VARCHAR NOT NULL, client_id VARCHAR, venue_order_id VARCHAR, "
        "decision_id BIGINT, qty DOUBLE, px DOUBLE, fee DOUBLE, pnl_realized DOUBLE, is_maker BOOLEAN, "
        "decision_px DOUBLE, arrival_px DOUBLE, ts_filled BIGINT, ts_received BIGINT",
        "account, symbol, trade_id",
    )  # fmt: skip
    # rows of every account but the newest may have been replaced: their books cannot be taken up and begin anew
    connection.execute(
        "DELETE FROM settings WHERE key LIKE 'ledger:%' AND substr(key, 8) NOT IN "
        "(SELECT json_extract_string(value, '$') FROM settings WHERE key = 'ledger-account')"
    )
    connection.execute("DELETE FROM settings WHERE key = 'ledger-account'")
    connection.execute("DROP TABLE beginnings")


def _rebuild(connection: duckdb.DuckDBPyConnection, table: str, ts: str, columns: str, key: str) -> None:
    """Make a table anew with the column ``account`` first: DuckDB cannot change a primary key."""
    names = ", ".join(column.split()[0] for column in columns.split(", "))
    # every name here is a constant of this module
    connection.execute(f"ALTER TABLE {table} RENAME TO {table}_before")
    connection.execute(f"CREATE TABLE {table} (account VARCHAR NOT NULL, {columns}, PRIMARY KEY ({key}))")
    connection.execute(
        f"INSERT INTO {table} SELECT coalesce(b.account, ''), {', '.join('o.' + n for n in names.split(', '))} "
        f"FROM (SELECT *, coalesce({ts}, 0) AS at FROM {table}_before) o "
        "ASOF LEFT JOIN beginnings b ON o.at >= b.since"
    )
    connection.execute(f"DROP TABLE {table}_before")


def certificates_and_drift(connection: duckdb.DuckDBPyConnection) -> None:
    """Version 3: tables for parity certificates and for the drift meter."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS certificates (version VARCHAR NOT NULL, ts BIGINT NOT NULL, strategy VARCHAR, "
        "status VARCHAR, decisions INTEGER, differences INTEGER, certificate VARCHAR, PRIMARY KEY (version, ts))"
    )
    parts = ("rounding", "data", "signal_time", "veto", "latency", "fill", "fee", "funding", "residual")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS drift (account VARCHAR NOT NULL, day VARCHAR NOT NULL, ts BIGINT, "
        "strategy VARCHAR, n_decisions INTEGER, n_fills INTEGER, equity DOUBLE, pnl_recorded DOUBLE, "
        f"pnl_replayed DOUBLE, {', '.join(part + ' DOUBLE' for part in parts)}, drift_bps DOUBLE, verdict VARCHAR, "
        "PRIMARY KEY (account, day))"
    )


def forecasts(connection: duckdb.DuckDBPyConnection) -> None:
    """Version 4: a table for what models say."""
    numbers = ("close_px", "sigma", "median", "low", "high", "prob_up", "weight")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS forecasts (ts_close BIGINT NOT NULL, symbol VARCHAR NOT NULL, "
        "version VARCHAR NOT NULL, model VARCHAR NOT NULL, horizon INTEGER NOT NULL, role VARCHAR, "
        f"{', '.join(name + ' DOUBLE' for name in numbers)}, PRIMARY KEY (ts_close, symbol, version, model, horizon))"
    )


def whole_forecasts_and_headlines(connection: duckdb.DuckDBPyConnection) -> None:
    """Version 5: forecasts keep every interval, so that two sets can be compared; a table for headlines."""
    for name in ("low_50", "high_50", "low_90", "high_90", "low_95", "high_95"):
        connection.execute(f"ALTER TABLE forecasts ADD COLUMN IF NOT EXISTS {name} DOUBLE")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS headlines (headline_id VARCHAR NOT NULL, ts_fetched BIGINT, ts_published BIGINT, "
        "feed VARCHAR, title VARCHAR, symbols VARCHAR, score DOUBLE, words VARCHAR, PRIMARY KEY (headline_id))"
    )


def parents_and_cost_models(connection: duckdb.DuckDBPyConnection) -> None:
    """Version 6: tables for parent orders, their events, and fitted cost models."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS parents (account VARCHAR NOT NULL, parent_id BIGINT NOT NULL, symbol VARCHAR, "
        "side INTEGER, qty DOUBLE, algorithm VARCHAR, status VARCHAR, filled_qty DOUBLE, avg_px DOUBLE, "
        "decision_id BIGINT, decision_px DOUBLE, arrival_px DOUBLE, ts_created BIGINT, ts_start BIGINT, "
        "ts_end BIGINT, ts_final BIGINT, reason VARCHAR, actor VARCHAR, purpose VARCHAR, state VARCHAR, "
        "quality VARCHAR, PRIMARY KEY (account, parent_id))"
    )
    connection.execute(
        "CREATE TABLE IF NOT EXISTS parent_events (seq BIGINT NOT NULL, account VARCHAR, parent_id BIGINT, "
        "ts BIGINT, event VARCHAR, detail VARCHAR, PRIMARY KEY (seq))"
    )
    connection.execute(
        "CREATE TABLE IF NOT EXISTS cost_models (version VARCHAR NOT NULL, ts BIGINT, account VARCHAR, "
        "n_fills INTEGER, n_parents INTEGER, model VARCHAR, PRIMARY KEY (version))"
    )


def reasons(connection: duckdb.DuckDBPyConnection) -> None:
    """Version 7: a table for what drove the models at each decision."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS reasons (ts_close BIGINT NOT NULL, symbol VARCHAR NOT NULL, "
        "version VARCHAR NOT NULL, horizon INTEGER, why_not VARCHAR, took_ms DOUBLE, detail VARCHAR, "
        "PRIMARY KEY (ts_close, symbol, version))"
    )


STEPS: dict[int, Step] = {
    2: orders_and_fills_by_account, 3: certificates_and_drift, 4: forecasts, 5: whole_forecasts_and_headlines,
    6: parents_and_cost_models, 7: reasons,
}  # fmt: skip


def migrate(connection: duckdb.DuckDBPyConnection, found: int, wanted: int) -> None:
    """Run the steps from version ``found`` to ``wanted``, each in a transaction with its number: all of it or nothing.

    Raises
    ------
    duckdb.Error
        A step failed; the file is at the version before it.
    """
    for version in range(found + 1, wanted + 1):
        connection.execute("BEGIN")
        try:
            STEPS[version](connection)
            connection.execute("DELETE FROM schema_version")
            connection.execute("INSERT INTO schema_version VALUES (?)", [version])
            connection.execute("COMMIT")
        except duckdb.Error:
            connection.execute("ROLLBACK")
            raise
