"""How much of what a run held had a known funding rate: what is unknown is charged nothing, and must be said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.domain import F8, NS_PER_MS
from engine.research.loading import BarTable
from engine.research.wording import day, percent

ALL, BEFORE, AFTER, GAPS = "all", "before", "after", "gaps"
WORTH_SAYING = 0.001
"""Unknown share of what was held from which the result says so."""

MOST = 0.95
"""Share of a symbol's unknown part from which the rest of it, such as its last hour, is not worth a word."""

LISTED = 4

Known = npt.NDArray[np.bool_]
"""Where (T, N) the rate of the next settlement is known."""


def funding_cover(bars: BarTable, weight: F8, known: Known) -> dict[str, Any]:
    """Return for which part of what was held funding is unknown.

    Parameters
    ----------
    bars : BarTable
    weight : (T, N) float64
        Position value over equity at each close.
    known : (T, N) bool

    Returns
    -------
    dict
        ``unknown_share`` of the gross weight over time, and ``symbols``, the largest first: ``symbol``,
        ``unknown_share`` of its own weight, ``where`` (all, before, after, gaps) and ``ts_ms``: the first moment from
        which (before), or the last up to which (after), its rates are known.
    """
    held = np.abs(np.nan_to_num(weight))
    total, missing = held.sum(axis=0), np.where(known, 0.0, held).sum(axis=0)
    rows = [
        {"symbol": bars.symbols[i], "unknown_share": float(missing[i] / total[i])}
        | _where(bars, held[:, i], known[:, i])
        for i in np.argsort(-missing, kind="stable") if missing[i] > 0.0
    ]  # fmt: skip
    share = float(missing.sum() / total.sum()) if total.sum() > 0.0 else 0.0
    return {"unknown_share": share, "symbols": rows}


def _where(bars: BarTable, held: F8, known: Known) -> dict[str, Any]:
    """Return whether most of what is unknown of one symbol lies before, after or between its known rates."""
    if not known.any():
        return {"where": ALL, "ts_ms": None}
    first, last = (int(row) for row in np.flatnonzero(known)[[0, -1]])
    lost = np.where(known, 0.0, held)
    for name, part, at in ((BEFORE, lost[:first], first), (AFTER, lost[last + 1 :], last)):
        if part.sum() >= MOST * lost.sum():
            return {"where": name, "ts_ms": int(bars.ts_close[at]) // NS_PER_MS}
    return {"where": GAPS, "ts_ms": None}


def cover_sentence(cover: dict[str, Any] | None) -> str | None:
    """Say which funding is missing; None where nothing worth saying is, or none was charged at all."""
    if cover is None or cover["unknown_share"] < WORTH_SAYING:
        return None
    told = {
        ALL: "none for {symbol}", BEFORE: "none before {day} for {symbol}", AFTER: "none after {day} for {symbol}",
        GAPS: "gaps in that of {symbol}",
    }  # fmt: skip
    rows: Sequence[dict[str, Any]] = cover["symbols"]
    parts = [told[row["where"]].format(symbol=row["symbol"], day=day(row["ts_ms"])) for row in rows[:LISTED]]
    if len(rows) > LISTED:
        parts.append(f"and parts of {len(rows) - LISTED} more")
    return (
        f"For {percent(cover['unknown_share'])} of what was held there is no funding history, so none was charged: "
        + ", ".join(parts) + "."
    )  # fmt: skip
