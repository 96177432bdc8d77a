"""Results on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pa_parquet

if TYPE_CHECKING:
    from engine.research.backtest import BacktestResult


def write_json(result: BacktestResult, path: Path) -> None:
    """Write the whole result as JSON; the file appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(result.to_json(), allow_nan=False), encoding="utf-8")
    temporary.replace(path)


def write_equity_parquet(result: BacktestResult, path: Path) -> None:
    """Write ts_close (ns), equity and the weight of each symbol, one row a bar."""
    columns = {"ts_close": result.bars.ts_close, "equity": result.simulation.track.equity}
    for i, symbol in enumerate(result.bars.symbols):
        columns[f"weight_{symbol}"] = result.simulation.track.weight[:, i].copy()
    path.parent.mkdir(parents=True, exist_ok=True)
    pa_parquet.write_table(pa.table(columns), path)
