"""What a user's strategy may answer, turned into weights; whatever cannot be used is refused with what to change."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.domain import F8
from engine.errors import DataError

MAX_WEIGHT = 100.0
"""A weight beyond this is a mistake of units, not a wish."""


def newest_row(answer: object, n_bars: int, symbols: tuple[str, ...], where: str) -> F8 | None:
    """Return the last row of what ``signals`` returned: the only one that is about the bar that has just closed.

    Raises
    ------
    DataError
        Not (t, N), (t,) for one symbol, or a dict of (t,) by symbol.
    """
    if answer is None:
        return None
    if isinstance(answer, Mapping):
        _known_symbols(answer, symbols, where)
        columns = {name: np.asarray(column, dtype=object) for name, column in answer.items()}
        short = next((name for name, column in columns.items() if column.shape != (n_bars,)), None)
        if short is not None:
            raise DataError(
                f"{where} returned shape {columns[short].shape} for {short}; one weight a bar is ({n_bars},)"
            )
        return np.array([columns[name][-1] if name in columns else np.nan for name in symbols], dtype=object)
    table = np.asarray(answer)
    if table.shape == (n_bars,) and len(symbols) == 1:
        return table[-1:]
    if table.shape != (n_bars, len(symbols)):
        hint = ""
        if table.shape == (len(symbols), n_bars):
            hint = ": return its transpose, .T"
        elif table.shape == (len(symbols),):
            hint = ": name the method on_bar if it gives the newest weights only"
        elif table.ndim == 2 and table.shape[1] == len(symbols):
            hint = ": keep a row for every bar, NaN while there is no opinion"
        raise DataError(f"{where} returned shape {table.shape}; one row a bar and one column a symbol is "
                        f"({n_bars}, {len(symbols)}){hint}")  # fmt: skip
    row: F8 = table[-1]
    return row


def _known_symbols(names: Mapping[Any, Any], symbols: tuple[str, ...], where: str) -> None:
    unknown = next((name for name in names if name not in symbols), None)
    if unknown is not None:
        near = difflib.get_close_matches(str(unknown).upper().replace("/", "").replace("-", ""), symbols, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{where} returned a weight for {unknown!r}; the run has {', '.join(symbols)}{hint}")


def weights_from(answer: object, symbols: tuple[str, ...], where: str) -> F8:
    """Return a strategy's answer as weights (N,); NaN where it leaves the position alone.

    Parameters
    ----------
    answer : object
        What ``on_bar`` returned.
    symbols : tuple of str
    where : str
        Names the call in error messages.

    Raises
    ------
    DataError
        Unknown symbols, wrong length, not numbers, infinite, or beyond ``MAX_WEIGHT``.
    """
    weights = np.full(len(symbols), np.nan)
    if answer is None:
        return weights
    if isinstance(answer, Mapping):
        _known_symbols(answer, symbols, where)
        items = [(symbols.index(name), value) for name, value in answer.items()]
    elif isinstance(answer, (int, float, np.integer, np.floating)):
        items = [(i, answer) for i in range(len(symbols))]
    elif isinstance(answer, (Sequence, np.ndarray)) and not isinstance(answer, str):
        if len(answer) != len(symbols):
            raise DataError(f"{where} returned {len(answer)} weights for {len(symbols)} symbols ({', '.join(symbols)})")
        items = list(enumerate(answer))
    else:
        raise DataError(f"{where} returned {type(answer).__name__}; return a dict of weights, a number or None")
    for i, value in items:
        try:
            weights[i] = float(value)
        except (TypeError, ValueError):
            raise DataError(f"{where} returned {value!r} for {symbols[i]}; a weight is a number") from None
        if math.isinf(weights[i]):
            raise DataError(f"{where} returned an infinite weight for {symbols[i]}: look for a division by zero")
        if abs(weights[i]) > MAX_WEIGHT:
            raise DataError(
                f"{where} returned weight {value} for {symbols[i]}; 1.0 means one times the account, so half of it is "
                "0.5, not 50, and a quantity must be divided by equity"
            )
    return weights
