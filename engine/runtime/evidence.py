"""Reads over both records of a data folder: paper.duckdb and live.duckdb, whichever of them the running engine owns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from engine.domain import Mode
from storage.database import Database


def other_record(store: Database) -> Path | None:
    """Return the file of the other mode's record beside this one, when there is one.

    One engine owns a data folder, so nobody else has that file open and it can be read.
    """
    names = {str(Mode.PAPER): str(Mode.LIVE), str(Mode.LIVE): str(Mode.PAPER)}
    other = names.get(store.path.stem)
    path = None if other is None else store.path.with_name(f"{other}.duckdb")
    return path if path is not None and path.exists() else None


def both(store: Database, query: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Return the rows of one SELECT on this record and on the other mode's, this one's first."""
    rows = store.rows(query, params)
    path = other_record(store)
    return rows if path is None else rows + _read(path, query, params)


def of_mode(store: Database, mode: Mode, query: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Return the rows of one SELECT on the record of one mode; none when that mode has never run here."""
    if store.path.stem == str(mode):
        return store.rows(query, params)
    path = store.path.with_name(f"{mode}.duckdb")
    return _read(path, query, params) if path.exists() else []


def _read(path: Path, query: str, params: Sequence[Any]) -> list[dict[str, Any]]:
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            return list(connection.execute(query, list(params)).to_arrow_table().to_pylist())
    except duckdb.Error:
        return []  # no record, or one of another version: it proves nothing, so it counts for nothing


def as_json(text: str) -> dict[str, Any] | list[Any] | None:
    """Return the object or array that a text holds as JSON; None for any other text."""
    if not text.startswith(("{", "[")):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict | list) else None
