"""Where a backtest's bars and funding rates are from, for its result's block ``provenance``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.datasets.provenance import provenance
from engine.datasets.store import Series, file_sha256
from engine.domain import NS_PER_MS
from engine.research.loading import BarTable, funding_file


def origin_of(data: Path | None, funding: Path | None, bars: BarTable) -> dict[str, dict[str, Any]]:
    """Return for each symbol where its bars are from and what is known to be wrong with them.

    Parameters
    ----------
    data : Path or None
        What was loaded; None when the bars were given in memory: then the hash is that of the bars.
    funding : Path or None
        Folder of funding rates.
    bars : BarTable
        Everything that was loaded, before any cut by date.

    Returns
    -------
    dict
        By symbol ``path``, ``sha256``, ``rows``, ``first_ts_ms``, ``last_ts_ms`` and ``problems``, see
        ``engine.datasets.provenance``; with funding also ``funding``: ``path`` and ``sha256`` of its file.
    """
    series = [_series(bars, i) for i in range(len(bars.symbols))]
    if data is None:
        blocks = {one.symbol: _in_memory(one, bars.fingerprint) for one in series}
    else:
        blocks = provenance(data, series, bars.interval_s)
    for symbol, block in blocks.items():
        file = None if funding is None else funding_file(funding, symbol)
        if file is not None:
            block["funding"] = {"path": str(file), "sha256": file_sha256(file)}
    return blocks


def _series(bars: BarTable, i: int) -> Series:
    columns = (bars.open_px, bars.high_px, bars.low_px, bars.close_px, bars.volume)
    values = np.column_stack([column[:, i] for column in columns])
    present = np.isfinite(bars.close_px[:, i])
    return Series(bars.symbols[i], bars.ts_open[present], values[present])


def _in_memory(series: Series, fingerprint: str) -> dict[str, Any]:
    return {
        "path": "in memory", "sha256": fingerprint, "rows": len(series.ts),
        "first_ts_ms": int(series.ts[0]) // NS_PER_MS, "last_ts_ms": int(series.ts[-1]) // NS_PER_MS, "problems": [],
    }  # fmt: skip
