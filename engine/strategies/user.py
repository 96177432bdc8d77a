"""Strategies written by a user: a Python file with a class ``Strategy``, called with the past and nothing else."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from engine.domain import F8, I8
from engine.errors import ConfigError, DataError
from engine.strategies.answers import newest_row, weights_from

DEFAULT_HISTORY = 5_000
"""Bars that a strategy sees at most when it does not say ``history``."""

MAX_HISTORY = 20_000
METHODS = ("on_bar", "signals")
CONTRACT = "add on_bar(self, past), which returns weights, or signals(self, past), which returns one row a bar"


class Past(NamedTuple):
    """What is known at the close of the newest bar. Arrays are read-only; the newest bar is the last row.

    Later bars are not in the memory behind these arrays, so no index or base array leads to them. At most ``history``
    bars are there: the same number in a backtest, on paper and live.
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
    """What the class in the file must offer: one of two methods, ``on_bar`` or ``signals``."""

    def on_bar(self, past: Past) -> Mapping[str, float] | float | Sequence[float] | None:
        """Return target weights: a dict by symbol, one number for every symbol, a sequence, or None for no change."""


class Loaded(NamedTuple):
    """A strategy that was loaded, with what it says of itself."""

    strategy: Any
    method: str  # on_bar or signals
    history: int  # bars


def load_strategy(path: Path, params: dict[str, Any]) -> Loaded:
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
    module_name = f"user_strategy_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file: name it something.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses in the file look it up there
    try:
        # not through the loader's cache of bytecode: an edit within the same second would go unnoticed
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except Exception as error:  # the user's code may raise anything
        raise ConfigError(f"{path} could not be imported: {_told(error, path)}") from error
    strategy_class = getattr(module, "Strategy", None)
    if not isinstance(strategy_class, type):
        raise ConfigError(
            f"{path} has no class named Strategy: add one with a method on_bar(self, past){_near(module)}"
        )
    try:
        strategy = strategy_class(**params)
    except TypeError as error:
        raise ConfigError(_unfit_params(path, strategy_class, params, error)) from error
    except Exception as error:
        raise ConfigError(f"Strategy in {path} could not be created: {_told(error, path)}") from error
    return Loaded(strategy, _method(path, strategy), _history(path, strategy))


def _near(module: Any) -> str:
    found = [
        name for name, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__
    ]
    return f". It has a class {found[0]}: rename that one" if found else ""


def _unfit_params(path: Path, strategy_class: type, params: dict[str, Any], error: TypeError) -> str:
    takes = [name for name in inspect.signature(strategy_class).parameters if name != "self"]
    unknown = [name for name in params if name not in takes]
    hint = ""
    if unknown:
        near = difflib.get_close_matches(unknown[0], takes, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else f" It takes {', '.join(takes) or 'no parameters'}."
    return (
        f"Strategy in {path} cannot be created with parameters {sorted(params)}: {error}. "
        f"Parameters that are not settings go to __init__ by name.{hint}"
    )


def _method(path: Path, strategy: Any) -> str:
    found = [name for name in METHODS if callable(getattr(strategy, name, None))]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            f"Strategy in {path} has both on_bar and signals: keep one of them, or it is unclear which counts"
        )
    others = [name for name in dir(strategy) if not name.startswith("_") and callable(getattr(strategy, name))]
    near = next((name for name in others if difflib.get_close_matches(name.lower(), METHODS, cutoff=0.6)), None)
    hint = f"; it has {near}: is that the one to rename?" if near else ""
    raise ConfigError(f"Strategy in {path} has no method on_bar(self, past): {CONTRACT}{hint}")


def _history(path: Path, strategy: Any) -> int:
    history = getattr(strategy, "history", DEFAULT_HISTORY)
    if isinstance(history, bool) or not isinstance(history, (int, np.integer)) or not 1 <= history <= MAX_HISTORY:
        raise ConfigError(
            f"history of Strategy in {path} is {history!r}: set it to how many bars a decision looks back at, a whole "
            f"number from 1 to {MAX_HISTORY}"
        )
    return int(history)


def _told(error: Exception, path: Path) -> str:
    """Return an error of the user's code as one line, with the line of the file that raised it."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f" (line {line})" if line is not None else ""
    return f"{type(error).__name__}: {error}{where}"


class PastBuffer:
    """Memory that holds only what has already happened, and of that the newest bars.

    Parameters
    ----------
    symbols : tuple of str
    history : int
        Bars that a strategy sees at most.
    """

    def __init__(self, symbols: tuple[str, ...], history: int) -> None:
        self._symbols, self._history = symbols, history
        self._n = 0
        self._ts_close = np.zeros(0, dtype=np.int64)
        self._columns = [np.full((0, len(symbols)), np.nan) for _ in range(5)]

    def append(self, ts_close: int, rows: Sequence[F8]) -> None:
        """Add one closed bar: open, high, low, close and volume, each (N,)."""
        if self._n == len(self._ts_close):
            self._move()
        self._ts_close[self._n] = ts_close
        for column, row in zip(self._columns, rows, strict=True):
            column[self._n] = row
        self._n += 1

    def _move(self) -> None:
        # fresh memory, never the old one again: arrays that a strategy has kept stay as they were
        kept = min(self._n, self._history - 1)
        room = min(max(2 * self._n, 256), 2 * self._history)
        ts_close = np.zeros(max(room, kept + 1), dtype=np.int64)
        ts_close[:kept] = self._ts_close[self._n - kept : self._n]
        columns = []
        for old in self._columns:
            column = np.full((len(ts_close), len(self._symbols)), np.nan)
            column[:kept] = old[self._n - kept : self._n]
            columns.append(column)
        self._ts_close, self._columns, self._n = ts_close, columns, kept

    def past(self, weight: F8, equity: float) -> Past:
        """Return read-only views of the newest bars and a copy of the present weights."""
        first = max(self._n - self._history, 0)
        views = [column[first : self._n] for column in (self._ts_close, *self._columns)]
        held = weight.copy()
        for view in (*views, held):
            view.flags.writeable = False
        return Past(self._symbols, *views, held, equity)  # type: ignore[call-arg, arg-type]


class UserRunner:
    """One strategy from a file with its memory of the past. Backtest, paper and live call exactly this.

    Parameters
    ----------
    path : Path
    params : dict
        For the strategy's constructor.
    symbols : tuple of str

    Raises
    ------
    ConfigError
        The file cannot be used; the sentence says what to change.
    """

    def __init__(self, path: Path, params: dict[str, Any], symbols: tuple[str, ...]) -> None:
        self._path = path
        self.symbols = symbols
        self._loaded = load_strategy(path, params)
        self._buffer = PastBuffer(symbols, self._loaded.history)
        self._flat = np.zeros(len(symbols))
        self.n_bars = 0

    @property
    def history(self) -> int:
        """Bars that a decision looks back at, at most; also how many are wanted before the first one."""
        return self._loaded.history

    @property
    def method(self) -> str:
        """``on_bar`` or ``signals``."""
        return self._loaded.method

    def warm_up(self, ts_close: int, rows: Sequence[F8]) -> None:
        """Let the strategy see a bar from before the first decision; its answer is not used.

        ``on_bar`` is called, flat and with equity 0, because it may keep a memory of its own. ``signals`` keeps none.
        A failure here is no decision's; one that lasts is told by the first decision.
        """
        self._append(ts_close, rows)
        if self.method == "on_bar":
            with contextlib.suppress(DataError):
                self._call(self._flat, 0.0)

    def decide(self, ts_close: int, rows: Sequence[F8], weight: F8, equity: float) -> F8:
        """Return the target weights (N,) at the close of a bar; NaN leaves a position alone.

        Parameters
        ----------
        ts_close : int, ns
        rows : five arrays (N,)
            Open, high, low, close, volume of the bar that has just closed.
        weight : (N,) float64
            Present weights, orders under way included.
        equity : float, ccy

        Raises
        ------
        DataError
            The strategy failed or gave what cannot be used, with the line and what to change.
        """
        self._append(ts_close, rows)
        return self._call(weight, equity)

    def _append(self, ts_close: int, rows: Sequence[F8]) -> None:
        self._buffer.append(ts_close, rows)
        self.n_bars += 1

    def _call(self, weight: F8, equity: float) -> F8:
        past = self._buffer.past(weight, float(equity))
        where = f"{self.method} in {self._path.name} at bar {self.n_bars - 1}"
        call: Callable[[Past], Any] = getattr(self._loaded.strategy, self.method)
        try:
            answer = call(past)
        except Exception as error:  # the user's code may raise anything
            raise DataError(f"{where} failed: {_told(error, self._path)}") from error
        if self.method == "signals":
            answer = newest_row(answer, len(past.ts_close), self.symbols, where)
        return weights_from(answer, self.symbols, where)
