"""What the sharing between sleeves has learned, as plain values: it outlives a restart, the price memories need not.

Trails, variances and the sleeves' own books come back from the history of closes, because they forget. Losses do not:
they are the whole past of an account, and a history of some thousand bars would begin another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.strategies.sleeves.state import LEARNED, N_REGIMES, N_SLEEVES, Book

_SHAPES = {
    "loss": (N_REGIMES, LEARNED), "gap": (N_REGIMES,), "share": (LEARNED,), "day_net": (N_SLEEVES,),
    "awake_day": (N_SLEEVES,), "regime": (1,), "day": (1,),
}  # fmt: skip


def learned_of(book: Book) -> dict[str, Any]:
    """Return losses, gaps, shares and the day under way, for JSON."""
    return {
        "loss": book.loss[:, :LEARNED].tolist(), "gap": book.gap.tolist(), "share": book.share[:LEARNED].tolist(),
        "day_net": book.day_net.tolist(), "awake_day": book.awake_day.tolist(), "regime": book.regime.tolist(),
        "day": book.day.tolist(),
    }  # fmt: skip


def is_learned(kept: Mapping[str, Any]) -> bool:
    """Return whether values are of the shape that ``learned_of`` gives, and finite."""
    try:
        return all(
            np.shape(kept[name]) == shape and bool(np.isfinite(np.asarray(kept[name], dtype=np.float64)).all())
            for name, shape in _SHAPES.items()
        )
    except (KeyError, TypeError, ValueError):
        return False


def take_up(book: Book, kept: Mapping[str, Any]) -> None:
    """Put back what ``learned_of`` gave, in place."""
    book.loss[:, :LEARNED] = kept["loss"]
    book.share[:LEARNED] = kept["share"]
    for name in ("gap", "day_net", "awake_day", "regime", "day"):
        getattr(book, name)[:] = kept[name]
