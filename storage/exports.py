"""Tables to files, and old ticks to Parquet by day."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from storage.database import Database, StorageError
from storage.schema import metadata

NS_PER_DAY = 86_400_000_000_000


def export_table(store: Database, table: str, path: Path, file_format: str) -> int:
    """Write one table to a file and return its number of rows.

    Parameters
    ----------
    table : str
        A table of the schema.
    path : Path
        Replaced when it exists; written beside and renamed, so that a reader never sees half of it.
    file_format : str
        ``parquet`` or ``csv``.

    Raises
    ------
    StorageError
        Unknown table or format, or the file cannot be written.
    """
    if table not in metadata.tables:
        raise StorageError(f"there is no table {table!r}; tables are {', '.join(sorted(metadata.tables))}")
    if file_format not in ("parquet", "csv"):
        raise StorageError(f"format {file_format!r} is neither parquet nor csv")
    store.flush()
    rows = store.read(f"SELECT * FROM {table}")
    _write(rows, path, file_format)
    return rows.num_rows


def export_old_ticks(store: Database, folder: Path, keep_from_ns: int) -> list[Path]:
    """Move whole days of ticks older than ``keep_from_ns`` to ``folder/YYYY-MM-DD.parquet`` and return the files.

    The file is complete on disk before the rows leave the database.
    """
    days = store.rows("SELECT DISTINCT ts_exchange // ? AS day FROM ticks ORDER BY day", [NS_PER_DAY])
    written = []
    for day in (int(row["day"]) for row in days):
        start, end = day * NS_PER_DAY, (day + 1) * NS_PER_DAY
        if end > keep_from_ns:
            continue
        rows = store.read("SELECT * FROM ticks WHERE ts_exchange >= ? AND ts_exchange < ?", [start, end])
        path = folder / f"{pa.scalar(start, pa.timestamp('ns')).as_py():%Y-%m-%d}.parquet"
        _write(rows, path, "parquet")
        store.execute("DELETE FROM ticks WHERE ts_exchange >= ? AND ts_exchange < ?", [start, end])
        written.append(path)
    return written


def _write(rows: pa.Table, path: Path, file_format: str) -> None:
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if file_format == "parquet":
            pa_parquet.write_table(rows, part)
        else:
            pa_csv.write_csv(rows, part)
        part.replace(path)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path} could not be written: {error}") from error
