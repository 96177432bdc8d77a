"""Results on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(answer: dict[str, Any], path: Path) -> None:
    """Write a result as JSON; the file appears complete or not at all, and what was there before stays until then.

    Parameters
    ----------
    answer : dict
        Plain JSON types: of a backtest, a sweep or a walk-forward, as their ``to_json`` return them.
    path : Path
        Folders that are missing are made.

    Raises
    ------
    OSError
        It cannot be written there.
    ValueError
        It holds NaN or infinity, which JSON has no word for.
    """
    text = json.dumps(answer, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
