"""Files as tables, whatever wrote them: Parquet, CSV, gzip, a zip of one CSV; with or without a header."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from engine.datasets.columns import HEADERLESS, plain_name
from engine.errors import DataError

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".csv.zip", ".zip", ".txt")
HEAD_BYTES = 64_000


class Layout(NamedTuple):
    """How a text file is written."""

    delimiter: str
    skip_rows: int  # lines before the first that counts, such as a vendor's address
    names: tuple[str, ...]
    has_header: bool

    @property
    def first_line(self) -> int:
        """Number of the line that holds the first row, as an editor counts."""
        return self.skip_rows + (2 if self.has_header else 1)


def files_in(path: Path) -> list[Path]:
    """Return the file, or the readable files of a folder, by name.

    Raises
    ------
    DataError
        Nothing there that can be read.
    """
    if path.is_file():
        if not path.name.lower().endswith(SUFFIXES):
            raise DataError(f"{path.name} is none of {', '.join(SUFFIXES)}")
        return [path]
    if not path.is_dir():
        raise DataError(f"there is no file or folder {path}")
    found = sorted(file for file in path.iterdir() if file.is_file() and file.name.lower().endswith(SUFFIXES))
    if not found:
        raise DataError(f"{path} holds no file that ends in {', '.join(SUFFIXES)}")
    return found


def stem(path: Path) -> str:
    """Return a file's name without any of its endings."""
    name = path.name
    while (ending := Path(name).suffix.lower()) in (".parquet", ".csv", ".gz", ".zip", ".txt"):
        name = name[: -len(ending)]
    return name


def read(path: Path, kind: str, limit: int | None = None) -> tuple[pa.Table, Layout]:
    """Return a file's table and layout; text files keep the types that pyarrow finds in them.

    Parameters
    ----------
    path : Path
    kind : str
        ``candles`` or ``funding``: names of the columns of a file without a header.
    limit : int, optional
        Only about so many rows, for a preview; the rest is not read.

    Raises
    ------
    DataError
        The file is not what its name says, with the reader's own words.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path, limit)
        with _opened(path) as stream:
            layout = layout_of(stream.read(HEAD_BYTES), kind, path.name)
        with _opened(path) as stream:
            return _read_text(stream, layout, limit), layout
    except (OSError, EOFError, UnicodeDecodeError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise DataError(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from None


def _read_parquet(path: Path, limit: int | None) -> tuple[pa.Table, Layout]:
    file = pa_parquet.ParquetFile(path, memory_map=True)
    if limit is None:
        table = file.read()
    else:
        table = pa.Table.from_batches(itertools.islice(file.iter_batches(limit), 1), file.schema_arrow)
    return table, Layout(",", -1, tuple(table.column_names), True)


def _opened(path: Path) -> IO[bytes]:
    name = path.name.lower()
    if name.endswith(".gz"):
        return io.BufferedReader(gzip.GzipFile(path))
    if not name.endswith(".zip"):
        return path.open("rb")
    with zipfile.ZipFile(path) as archive:
        inside = [entry for entry in archive.namelist() if not entry.endswith("/")]
        if len(inside) != 1:
            raise DataError(f"{path.name} holds {len(inside)} files; expected one CSV file")
        return io.BytesIO(archive.read(inside[0]))


def layout_of(head: bytes, kind: str, name: str) -> Layout:
    """Tell delimiter, header and column names from a file's beginning."""
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    rows = [line for line in lines[:50] if line.strip()]
    if not rows:
        raise DataError(f"{name} is empty")
    delimiter = max(",;\t|", key=lambda mark: sorted(line.count(mark) for line in rows)[len(rows) // 2])
    skip = next((i for i, line in enumerate(lines) if delimiter in line), 0)  # a vendor's address comes first
    cells = next(csv.reader([lines[skip]], delimiter=delimiter))
    if not _is_number(cells[1] if len(cells) > 1 else cells[0]):
        return Layout(delimiter, skip, tuple(cell.strip() for cell in cells), True)
    names = HEADERLESS[kind]
    if len(cells) < len(names):
        raise DataError(
            f"{name} has no header and {len(cells)} columns; expected {len(names)} at least: {', '.join(names)}"
        )
    return Layout(delimiter, skip, (*names, *(f"column_{i + 1}" for i in range(len(names), len(cells)))), False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_text(stream: IO[bytes], layout: Layout, limit: int | None) -> pa.Table:
    options = {
        "read_options": pa_csv.ReadOptions(skip_rows=layout.skip_rows + layout.has_header, column_names=layout.names),
        "parse_options": pa_csv.ParseOptions(delimiter=layout.delimiter),
        # blank and "nan" are missing everywhere; a word stays a text, so that its row can be named
        "convert_options": pa_csv.ConvertOptions(null_values=["", "NaN", "nan", "null", "NULL", "None"],
                                                 strings_can_be_null=True),
    }  # fmt: skip
    if limit is None:
        return pa_csv.read_csv(stream, **options)
    head = b"".join(_lines(stream, limit + layout.first_line))
    return pa_csv.read_csv(io.BytesIO(head), **options).slice(0, limit)


def _lines(stream: IO[bytes], count: int) -> Sequence[bytes]:
    found = []
    for line in stream:
        found.append(line)
        if len(found) >= count:
            break
    return found


def same_columns(names: Sequence[str]) -> bool:
    """Return whether no two columns have the same name once case and blanks are gone."""
    return len({plain_name(name) for name in names}) == len(names)
