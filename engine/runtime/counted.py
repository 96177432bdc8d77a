"""What decisions have counted in the hour and the minute under way, so that a restart does not grant both anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.core import step as core

IN_MINUTE = ("minute", "n_acts")


def counts(state: core.State, symbols: Sequence[str]) -> dict[str, Any]:
    """Return the present minute with how many symbols were acted on in it, and what was added to each symbol.

    Returns
    -------
    dict
        ``minute`` (since the epoch), ``n_acts``, and ``added``: symbol -> [hour since the epoch, quote currency].
    """
    added = {symbol: row for symbol, row in zip(symbols, state.added.tolist(), strict=True) if row[1] > 0.0}
    return {name: int(state.book[name][0]) for name in IN_MINUTE} | {"added": added}


def with_counts(state: core.State, symbols: Sequence[str], kept: Mapping[str, Any]) -> core.State:
    """Return a copy that goes on counting from what ``counts`` gave; what it lacks stays as it is.

    Hours and minutes that are over count for nothing: the core compares them with its own.
    """
    book, added = state.book.copy(), state.added.copy()
    for name in IN_MINUTE:
        if name in kept:
            book[name] = int(kept[name])
    for index, symbol in enumerate(symbols):
        if symbol in kept.get("added", {}):
            added[index] = kept["added"][symbol]
    return state._replace(book=book, added=added)
