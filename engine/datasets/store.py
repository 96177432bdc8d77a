"""The data sets of a data folder: one folder a version, Parquet a symbol, and a manifest that says where it is from.

    datasets/NAME/v1/manifest.json   BTCUSDT.parquet   ETHUSDT.parquet
    datasets/NAME/v2/…               a repair of v1, with every changed bar in repairs.json

A version is written beside its place and renamed into it, so that it is whole or absent, and is never written again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from engine.datasets.checks import BARS
from engine.datasets.times import interval_name
from engine.domain import F8, I8, NS_PER_MS
from engine.errors import DataError

FOLDER = "datasets"
MANIFEST, REPAIRS, PART = "manifest.json", "repairs.json", ".part"
ABANDONED_S = 3600.0  # a version is written in seconds
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
KINDS = {"candles": BARS, "funding": ("rate",)}
"""What a data set may hold, with the columns beside ``timestamp``."""

Manifest = dict[str, Any]


class Series(NamedTuple):
    """One symbol's rows, oldest first: candles or funding rates."""

    symbol: str
    ts: I8  # (T,) ns, strictly increasing; bars: their open
    values: F8  # (T, 5) for candles, (T, 1) for funding


class Draft(NamedTuple):
    """What is to be written as one version."""

    name: str
    kind: str  # of KINDS
    interval_s: int  # 0: funding, which has intervals of its own
    series: Sequence[Series]
    source: Mapping[str, Any]  # where it is from, for people
    findings: Sequence[Mapping[str, Any]]
    changes: Sequence[str] = ()  # sentences: what was left out, sorted or repaired
    repairs: Sequence[Mapping[str, Any]] = ()  # each changed bar


def check_name(name: str) -> str:
    """Return a data set's name, or refuse one that could not be a folder."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise DataError(
            f"{name!r} cannot name a data set; expected letters, digits, dots, dashes and underscores, 64 at most, "
            "beginning with a letter or digit"
        )
    return name


def write(home: Path, draft: Draft) -> Manifest:
    """Write a data set as the next version of its name and return its manifest.

    Parameters
    ----------
    home : Path
        The data folder.
    draft : Draft
        Its series passed every row check; what is questionable about them is in ``findings``.

    Raises
    ------
    DataError
        A name that cannot be one, or nothing to write.
    """
    if not draft.series:
        raise DataError(f"data set {draft.name!r} would hold no symbol")
    folder = home / FOLDER / check_name(draft.name)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{os.getpid()}-{uuid.uuid4().hex}{PART}"
    part.mkdir()
    try:
        symbols = {series.symbol: _write_series(part, series, draft) for series in draft.series}
        manifest = _described(draft, symbols)
        if draft.repairs:
            text = json.dumps(list(draft.repairs))
            (part / REPAIRS).write_text(text)
            manifest["repairs_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        return _publish(folder, part, manifest)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def discard_parts(home: Path, writer: int | None = None) -> None:
    """Remove versions that were begun and will never be whole: a process that is killed cannot clean up.

    Parameters
    ----------
    home : Path
        The data folder.
    writer : int, optional
        Number of a process that has ended: what it had begun. Default: of whomever, untouched for an hour.
    """
    for part in (home / FOLDER).glob(f"*/.*{PART}"):
        try:
            touched = max(path.stat().st_mtime for path in (part, *part.iterdir()))
        except OSError:
            continue  # finished, or removed by its writer, at this moment
        if part.name.startswith(f".{writer}-") if writer else time.time() - touched > ABANDONED_S:
            shutil.rmtree(part, ignore_errors=True)


def _described(draft: Draft, symbols: dict[str, Any]) -> Manifest:
    together = json.dumps({symbol: entry["sha256"] for symbol, entry in symbols.items()}, sort_keys=True)
    return {
        "name": draft.name,
        "kind": draft.kind,
        "interval_s": draft.interval_s,
        "interval": interval_name(draft.interval_s) if draft.interval_s else "settlements",
        "created_ns": time.time_ns(),
        "source": dict(draft.source),
        "symbols": symbols,
        "rows": sum(entry["rows"] for entry in symbols.values()),
        "first_ts_ms": min(entry["first_ts_ms"] for entry in symbols.values()),
        "last_ts_ms": max(entry["last_ts_ms"] for entry in symbols.values()),
        "sha256": hashlib.sha256(together.encode()).hexdigest(),
        "findings": [dict(finding) for finding in draft.findings],
        "changes": list(draft.changes),
        "repaired_rows": len(draft.repairs),
    }


def _write_series(folder: Path, series: Series, draft: Draft) -> dict[str, Any]:
    path = folder / f"{check_name(series.symbol)}.parquet"
    times = pa.array(series.ts // NS_PER_MS, pa.timestamp("ms", tz="UTC"))
    columns = {"timestamp": times} | {name: series.values[:, i] for i, name in enumerate(KINDS[draft.kind])}
    pa_parquet.write_table(pa.table(columns), path, compression="zstd")
    entry: dict[str, Any] = {
        "file": path.name,
        "rows": len(series.ts),
        "first_ts_ms": int(series.ts[0]) // NS_PER_MS,
        "last_ts_ms": int(series.ts[-1]) // NS_PER_MS,
        "sha256": file_sha256(path),
        "repaired_rows": sum(row["symbol"] == series.symbol for row in draft.repairs),
    }
    if draft.interval_s:
        entry["expected_rows"] = (entry["last_ts_ms"] - entry["first_ts_ms"]) // (draft.interval_s * 1000) + 1
    return entry


def _publish(folder: Path, part: Path, manifest: Manifest) -> Manifest:
    """Move a finished version into the next free place. Two writers get two versions."""
    for _ in range(100):
        manifest["version"] = max(_versions(folder, deleted=True), default=0) + 1
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1))
        for path in part.iterdir():
            path.chmod(0o444)
        try:
            part.rename(folder / f"v{manifest['version']}")
        except OSError:
            (part / MANIFEST).chmod(0o644)
            continue
        _sync(folder)
        return manifest
    raise DataError(f"no free version of data set {manifest['name']!r} was found in {folder}")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _versions(folder: Path, *, deleted: bool = False) -> list[int]:
    # a deleted version leaves its number behind: NAME@2 must never come to mean something else
    pattern = r"v(\d+)(?:\.deleted)?" if deleted else r"v(\d+)"
    found = (re.fullmatch(pattern, path.name) for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(match.group(1)) for match in found if match)


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256, as ``sha256sum`` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# reading ------------------------------------------------------------------------------------------------------------


def reference(manifest: Manifest) -> str:
    """Return what names this version for ever: ``NAME@2``."""
    return f"{manifest['name']}@{manifest['version']}"


def folder_of(home: Path, wanted: str) -> Path:
    """Return the folder of a data set: ``NAME`` is its newest version, ``NAME@2`` the second.

    Raises
    ------
    DataError
        No such data set or version, with those that there are.
    """
    name, at, version = wanted.partition("@")
    folder = home / FOLDER / check_name(name)
    versions = _versions(folder)
    if not versions:
        known = sorted({manifest["name"] for manifest in manifests(home)})
        raise DataError(
            f"there is no data set {name!r}; " + (f"there are {', '.join(known)}" if known else "none is stored yet: "
            "import one on the Data page or with `python -m engine import`")
        )  # fmt: skip
    if not at:
        return folder / f"v{versions[-1]}"
    if not version.isdigit() or int(version) not in versions:
        raise DataError(f"data set {name!r} has no version {version!r}; it has {', '.join(map(str, versions))}")
    return folder / f"v{int(version)}"


def manifest_of(home: Path, wanted: str) -> Manifest:
    """Return the manifest of ``NAME`` or ``NAME@VERSION``."""
    return _manifest(folder_of(home, wanted))


def _manifest(folder: Path) -> Manifest:
    try:
        return dict(json.loads((folder / MANIFEST).read_text()))
    except (OSError, ValueError) as error:
        raise DataError(f"the manifest of {folder} cannot be read: {error}") from None


def manifests(home: Path) -> list[Manifest]:
    """Return every version of every data set of this data folder, newest first."""
    root = home / FOLDER
    folders = [folder / f"v{n}" for folder in (root.iterdir() if root.is_dir() else ()) for n in _versions(folder)]
    return sorted((_manifest(folder) for folder in folders), key=lambda m: -int(m["created_ns"]))


def located(home: Path, wanted: str) -> Path:
    """Return what ``--data`` means: a path when there is one of that name, else a data set's folder."""
    path = Path(wanted).expanduser()
    if path.exists() or not re.fullmatch(rf"{NAME_PATTERN}(@\d+)?", wanted):
        return path
    if not _versions(home / FOLDER / wanted.partition("@")[0]):
        return path  # a file name that does not exist: the loader says so
    return folder_of(home, wanted)


def load(home: Path, wanted: str, symbols: Sequence[str] = ()) -> tuple[Manifest, list[Series]]:
    """Return a data set's manifest and series, after comparing each file with its hash.

    Raises
    ------
    DataError
        No such data set or symbol, or a file that is not what was written.
    """
    folder = folder_of(home, wanted)
    manifest = _manifest(folder)
    chosen = list(symbols) or list(manifest["symbols"])
    missing = [symbol for symbol in chosen if symbol not in manifest["symbols"]]
    if missing:
        raise DataError(f"{reference(manifest)} has no {missing[0]}; it has {', '.join(manifest['symbols'])}")
    return manifest, [_read(folder, manifest, symbol) for symbol in chosen]


def verify(folder: Path, manifest: Manifest, symbols: Sequence[str] = ()) -> None:
    """Compare the files of a data set with the hashes in its manifest. Raises DataError at the first that differs."""
    for symbol in symbols or manifest["symbols"]:
        path = folder / manifest["symbols"][symbol]["file"]
        expected = manifest["symbols"][symbol]["sha256"]
        found = file_sha256(path) if path.is_file() else "no file"
        if found != expected:
            raise DataError(
                f"{path} was changed after it was written: found {found[:12]}, expected {expected[:12]} (SHA-256). A "
                "data set never changes: put the file back, or import it again"
            )


def _read(folder: Path, manifest: Manifest, symbol: str) -> Series:
    verify(folder, manifest, (symbol,))
    table = pa_parquet.read_table(folder / manifest["symbols"][symbol]["file"])
    ts = table.column("timestamp").cast(pa.int64()).to_numpy() * NS_PER_MS
    names = KINDS[manifest["kind"]]
    values = np.empty((len(names), len(ts))).T
    for i, name in enumerate(names):
        values[:, i] = table.column(name).to_numpy()
    return Series(symbol, ts, values)


def remove(home: Path, wanted: str) -> None:
    """Delete one version, named in full (``NAME@2``). Raises DataError when there is none."""
    if "@" not in wanted:
        raise DataError(f"say which version of {wanted!r} to delete, such as {wanted}@1")
    folder = folder_of(home, wanted)
    gone = folder.parent / f".{uuid.uuid4().hex}.gone"
    (folder.parent / f"{folder.name}.deleted").touch()
    folder.rename(gone)
    shutil.rmtree(gone)
