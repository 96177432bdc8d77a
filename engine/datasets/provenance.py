"""Where the bars of a backtest are from: file, hash, rows, span, and what is known to be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.datasets.doctor import examine
from engine.datasets.findings import Severity
from engine.datasets.store import MANIFEST, Series, file_sha256, reference
from engine.domain import NS_PER_MS
from engine.errors import DataError

MAX_PROBLEMS = 12


def provenance(path: Path, series: Sequence[Series], interval_s: int) -> dict[str, dict[str, Any]]:
    """Return for each symbol where its bars are from.

    Parameters
    ----------
    path : Path
        The file or folder that was loaded; of a stored data set the folder of its version.
    series : sequence of Series
        What was loaded, before any cut by date.
    interval_s : int
        Seconds between bars.

    Returns
    -------
    dict
        By symbol ``path``, ``sha256`` of the file, ``rows``, ``first_ts_ms``, ``last_ts_ms`` (opens) and ``problems``:
        the doctor's sentences on errors and warnings, the worst first, at most 12 and then how many more. Of a stored
        data set also ``dataset`` (``NAME@2``), ``repaired_rows`` and ``changes``.

    Raises
    ------
    DataError
        A stored data set's file that is not what was written.
    """
    return {one.symbol: _block(path, one, interval_s) for one in series}


def _block(path: Path, series: Series, interval_s: int) -> dict[str, Any]:
    file = path if path.is_file() else _file_of(path, series.symbol)
    block: dict[str, Any] = {
        "path": str(file), "sha256": file_sha256(file), "rows": len(series.ts),
        "first_ts_ms": int(series.ts[0]) // NS_PER_MS, "last_ts_ms": int(series.ts[-1]) // NS_PER_MS,
    }  # fmt: skip
    manifest = _manifest_beside(file)
    if manifest is None:
        found = [
            finding.sentence for finding in examine(series.symbol, series.ts, series.values, interval_s)
            if finding.severity != Severity.NOTE
        ]  # fmt: skip
        return block | {"problems": _shortened(found)}
    entry = manifest["symbols"].get(series.symbol, {})
    if entry.get("sha256") != block["sha256"]:
        raise DataError(
            f"{file} is not the file of data set {reference(manifest)}: found {block['sha256'][:12]}, expected "
            f"{str(entry.get('sha256'))[:12]} (SHA-256). A data set never changes: import it again"
        )
    rows = [f for f in manifest["findings"] if f["symbol"] == series.symbol and f["severity"] != str(Severity.NOTE)]
    own = [sentence for sentence in manifest["changes"] if series.symbol in sentence]
    return block | {
        "dataset": reference(manifest), "source": manifest["source"], "changes": own,
        "repaired_rows": entry["repaired_rows"], "problems": _shortened([row["sentence"] for row in rows]),
    }  # fmt: skip


def _file_of(folder: Path, symbol: str) -> Path:
    for file in sorted(folder.iterdir()):
        if file.stem.upper() == symbol and file.suffix in (".parquet", ".csv"):
            return file
    raise DataError(f"{folder} has no file of {symbol} any more")


def _manifest_beside(file: Path) -> dict[str, Any] | None:
    path = file.parent / MANIFEST
    if not path.is_file():
        return None
    manifest = json.loads(path.read_text())
    is_ours = isinstance(manifest, dict) and {"symbols", "findings", "version"} <= set(manifest)
    return manifest if is_ours else None


def _shortened(sentences: list[str]) -> list[str]:
    if len(sentences) <= MAX_PROBLEMS:
        return sentences
    return [*sentences[:MAX_PROBLEMS], f"And {len(sentences) - MAX_PROBLEMS:,} more findings."]
