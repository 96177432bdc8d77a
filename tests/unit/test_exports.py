"""Tables to files, and old ticks to Parquet."""

from datetime import UTC, datetime

import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest

from engine.domain import NS_PER_DAY
from storage.database import Database, StorageError
from storage.exports import export_old_ticks, export_table

DAY = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp()) * 10**9


@pytest.fixture
def store(tmp_path):
    database = Database(tmp_path / "t.duckdb")
    yield database
    database.close()


def tick(ts, px=1.0):
    return {"symbol": "BTCUSDT", "ts_exchange": ts, "ts_received": ts + 1, "px": px, "qty": 2.0, "side": -1}


def test_parquet_holds_every_row_with_its_types(store, tmp_path):
    store.append("ticks", [tick(DAY + n, 100.0 + n) for n in range(3)])
    path = tmp_path / "out" / "ticks.parquet"
    assert export_table(store, "ticks", path, "parquet") == 3  # queued rows too
    table = pa_parquet.read_table(path)
    assert table.column("px").to_pylist() == [100.0, 101.0, 102.0]
    assert table.schema.field("ts_exchange").type == "int64"
    assert not list(path.parent.glob("*.part"))


def test_csv_keeps_unknown_apart_from_zero(store, tmp_path):
    store.append("orders", [{"account": "me", "client_id": "a", "qty": 0.0, "limit_px": None, "status": "NEW"}])
    path = tmp_path / "orders.csv"
    assert export_table(store, "orders", path, "csv") == 1
    row = pa_csv.read_csv(path).to_pylist()[0]
    assert (row["client_id"], row["qty"], row["limit_px"]) == ("a", 0.0, None)


def test_export_replaces_an_older_file(store, tmp_path):
    path = tmp_path / "ticks.csv"
    path.write_text("old")
    assert export_table(store, "ticks", path, "csv") == 0
    assert "old" not in path.read_text()


@pytest.mark.parametrize(
    ("table", "file_format", "sentence"),
    [
        ("secrets", "csv", "no table 'secrets'"),
        ("ticks; DROP TABLE ticks", "csv", "no table"),
        ("ticks", "xlsx", "neither parquet nor csv"),
    ],
)
def test_unknown_table_or_format_is_refused(store, tmp_path, table, file_format, sentence):
    with pytest.raises(StorageError, match=sentence):
        export_table(store, table, tmp_path / "x", file_format)
    assert not (tmp_path / "x").exists()


def test_unwritable_place_is_an_error_with_a_sentence(store, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        export_table(store, "ticks", blocker / "ticks.csv", "csv")


def test_whole_old_days_move_to_their_files_and_newer_ticks_stay(store, tmp_path):
    stamps = [DAY, DAY + NS_PER_DAY - 1, DAY + NS_PER_DAY, DAY + 2 * NS_PER_DAY + 5]
    store.append("ticks", [tick(ts) for ts in stamps])
    store.flush()
    written = export_old_ticks(store, tmp_path / "ticks", DAY + 2 * NS_PER_DAY)
    assert [path.name for path in written] == ["2026-01-05.parquet", "2026-01-06.parquet"]
    assert pa_parquet.read_table(written[0]).column("ts_exchange").to_pylist() == stamps[:2]
    assert pa_parquet.read_table(written[1]).num_rows == 1
    assert store.rows("SELECT ts_exchange FROM ticks") == [{"ts_exchange": stamps[3]}]


def test_day_that_is_only_partly_old_stays(store, tmp_path):
    store.append("ticks", [tick(DAY + 1)])
    store.flush()
    assert export_old_ticks(store, tmp_path / "ticks", DAY + NS_PER_DAY - 1) == []
    assert store.rows("SELECT count(*) AS n FROM ticks") == [{"n": 1}]


def test_rows_stay_when_their_file_cannot_be_written(store, tmp_path):
    store.append("ticks", [tick(DAY)])
    store.flush()
    blocker = tmp_path / "ticks"
    blocker.write_text("")
    with pytest.raises(StorageError):
        export_old_ticks(store, blocker, DAY + NS_PER_DAY)
    assert store.rows("SELECT count(*) AS n FROM ticks") == [{"n": 1}]
