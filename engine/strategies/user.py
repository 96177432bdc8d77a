"""Strategies written by a user: a Python file with a class ``Strategy``, called with the past and nothing else."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from engine.domain import F8, I8
from engine.errors import ConfigError, DataError

MAX_WEIGHT = 100.0
"""A weight beyond this is a mistake of units, not a wish."""


class Past(NamedTuple):
    """What is known at the close of the newest bar. Arrays are read-only; the newest bar is the last row.

    Later bars are not in the memory behind these arrays, so no index or base array leads to them.
    """

    symbols: tuple[str, ...]
    ts_close: I8  # (t,) ns
    open: F8  # (t, N) quote per base, NaN where a symbol has no bar
    high: F8
    low: F8
    close: F8
    volume: F8  # (t, N) base
    weight: F8  # (N,) present position value over equity
    equity: float  # ccy


class UserStrategy(Protocol):
    """What the class in the file must offer."""

    def on_bar(self, past: Past) -> Mapping[str, float] | float | Sequence[float] | None:
        """Return target weights: a dict by symbol, one number for every symbol, a sequence, or None for no change."""


def load_strategy(path: Path, params: dict[str, Any]) -> UserStrategy:
    """Load a fresh instance of ``Strategy`` from a Python file.

    Parameters
    ----------
    path : Path
    params : dict
        Passed to the constructor as keyword arguments.

    Raises
    ------
    ConfigError
        With the file and what to change.
    """
    if not path.is_file():
        raise ConfigError(f"there is no strategy file {path}")
    spec = importlib.util.spec_from_file_location(f"user_strategy_{abs(hash(path))}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file: name it something.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        raise ConfigError(f"{path} could not be imported: {type(error).__name__}: {error}") from error
    strategy_class = getattr(module, "Strategy", None)
    if not isinstance(strategy_class, type):
        raise ConfigError(f"{path} has no class named Strategy: add one with a method on_bar(self, past)")
    try:
        strategy = strategy_class(**params)
    except TypeError as error:
        raise ConfigError(
            f"Strategy in {path} cannot be created with parameters {sorted(params)}: {error}. "
            "Parameters that are not settings go to __init__ by name."
        ) from error
    if not callable(getattr(strategy, "on_bar", None)):
        raise ConfigError(f"Strategy in {path} has no method on_bar(self, past): add it, returning target weights")
    return strategy


class PastBuffer:
    """Memory that holds only what has already happened.

    Parameters
    ----------
    symbols : tuple of str
    n_bars : int
        Room for this many bars; unused rows are NaN.
    """

    def __init__(self, symbols: tuple[str, ...], n_bars: int) -> None:
        shape = (n_bars, len(symbols))
        self._symbols = symbols
        self._ts_close = np.zeros(n_bars, dtype=np.int64)
        self._columns = [np.full(shape, np.nan) for _ in range(5)]
        self._n = 0

    def append(self, ts_close: int, rows: Sequence[F8]) -> None:
        """Add one closed bar: open, high, low, close and volume, each (N,)."""
        self._ts_close[self._n] = ts_close
        for column, row in zip(self._columns, rows, strict=True):
            column[self._n] = row
        self._n += 1

    def past(self, weight: F8, equity: float) -> Past:
        """Return read-only views of the bars so far and a copy of the present weights."""
        views = [column[: self._n] for column in (self._ts_close, *self._columns)]
        held = weight.copy()
        for view in (*views, held):
            view.flags.writeable = False
        return Past(self._symbols, *views, held, equity)  # type: ignore[call-arg, arg-type]


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
        Unknown symbols, wrong length, not numbers, or beyond ``MAX_WEIGHT``.
    """
    weights = np.full(len(symbols), np.nan)
    if answer is None:
        return weights
    if isinstance(answer, Mapping):
        unknown = [name for name in answer if name not in symbols]
        if unknown:
            raise DataError(f"{where} returned a weight for {unknown[0]!r}; the run has {', '.join(symbols)}")
        items = [(symbols.index(name), value) for name, value in answer.items()]
    elif isinstance(answer, (int, float, np.integer, np.floating)):
        items = [(i, answer) for i in range(len(symbols))]
    elif isinstance(answer, (Sequence, np.ndarray)) and not isinstance(answer, str):
        if len(answer) != len(symbols):
            raise DataError(f"{where} returned {len(answer)} weights for {len(symbols)} symbols")
        items = list(enumerate(answer))
    else:
        raise DataError(f"{where} returned {type(answer).__name__}; return a dict of weights, a number or None")
    for i, value in items:
        try:
            weights[i] = float(value)
        except (TypeError, ValueError):
            raise DataError(f"{where} returned {value!r} for {symbols[i]}; a weight is a number") from None
        if abs(weights[i]) > MAX_WEIGHT:
            raise DataError(f"{where} returned weight {value} for {symbols[i]}; 1.0 means one times the account")
    return weights
