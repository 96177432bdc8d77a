"""A user's strategy beside the engine: in a process of its own, with a time limit, so that it can stop only itself.

The engine keeps the newest bars as well. A strategy that hangs or dies is ended, started again and shown those bars;
one that fails again and again is switched off, and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from engine.domain import F8
from engine.errors import ConfigError, DataError
from engine.runtime.child_process import end_child, start_child

log = structlog.get_logger("strategy")

LOAD_LIMIT_S = 30.0
WARM_UP_LIMIT_S = 30.0
DECIDE_LIMIT_S = 2.0
MAX_FAILURES = 3  # in a row
BARS_A_MESSAGE = 500

Row = tuple[int, list[list[float]]]


class UserSleeve:
    """Asks a user's strategy for weights. Safe to call from any thread, one question at a time.

    Parameters
    ----------
    path : Path
        The kept copy of the file.
    params : dict
        For the strategy's constructor.
    symbols : tuple of str
    incident : callable of severity, source and sentence
    limit_s : float
        How long one decision may take, seconds.
    """

    def __init__(
        self, path: Path, params: dict[str, Any], symbols: tuple[str, ...],
        incident: Callable[[str, str, str], None] = lambda *_: None, limit_s: float = DECIDE_LIMIT_S,
    ) -> None:  # fmt: skip
        self._path, self._params, self._symbols = path, params, symbols
        self._incident, self._limit_s = incident, limit_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._unsent: list[Row] = []
        self._seen: deque[Row] = deque(maxlen=1)
        self._failures = 0
        self._untold: list[tuple[str, str]] = []
        self._closed = False
        self.history = 0
        self.trouble: str | None = None  # why the newest decision has no weights
        self.is_off = False
        self.elapsed_ms = float("nan")  # of the newest decision, the way there and back included

    def open(self) -> None:
        """Start the process and load the strategy.

        Raises
        ------
        ConfigError
            The file cannot be used; the sentence is the strategy's own.
        """
        with self._lock:
            try:
                self._start()
            except DataError as error:
                self._end()
                raise ConfigError(str(error)) from None

    def see(self, ts_close: int, rows: Sequence[F8]) -> None:
        """Note a closed bar from before the next decision; it is handed over with that or with ``catch_up``."""
        row = (ts_close, [values.tolist() for values in rows])
        self._seen.append(row)
        self._unsent.append(row)

    def catch_up(self) -> None:
        """Hand over the bars seen so far. What goes wrong is told by the next decision."""
        with self._lock, contextlib.suppress(DataError):
            self._hand_over()

    async def decide(self, ts_close: int, rows: Sequence[F8], weight: F8, equity: float) -> F8:
        """Return the wished weights (N,) at a bar's close; NaN, with ``trouble``, when there are none.

        Other tasks go on while the strategy thinks.
        """
        weights = await asyncio.to_thread(self.ask, ts_close, rows, weight, equity)
        while self._untold:
            severity, sentence = self._untold.pop(0)
            self._incident(severity, "strategy", sentence)
        return weights

    def ask(self, ts_close: int, rows: Sequence[F8], weight: F8, equity: float) -> F8:
        """Do the same and wait."""
        none = np.full(len(self._symbols), np.nan)
        if self.is_off or self._closed:
            self.trouble = self.trouble or "The strategy is switched off."
            return none
        lists = [values.tolist() for values in rows]
        message = {"kind": "bar", "ts_close": ts_close, "rows": lists, "weight": weight.tolist(), "equity": equity}
        began = time.perf_counter()
        with self._lock:
            try:
                self._hand_over()
                reply = self._exchange(message, self._limit_s)
            except DataError as error:
                self._failed(str(error))
                return none
            finally:
                self._seen.append((ts_close, lists))
                if self._connection is None:  # it ended: the next one has to be shown everything
                    self._unsent = list(self._seen)
                self.elapsed_ms = (time.perf_counter() - began) * 1e3
        self._failures, self.trouble = 0, None
        return np.array(reply["weights"], dtype=float)

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._end()

    # the process -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._process, self._connection = start_child("engine.strategies.child", self._path.parent)
        self._unsent = list(self._seen)
        message = {"kind": "load", "path": str(self._path), "params": self._params, "symbols": self._symbols}
        self.history = int(self._exchange(message, LOAD_LIMIT_S)["history"])
        if self._seen.maxlen != self.history:
            self._seen = deque(self._seen, maxlen=self.history)

    def _hand_over(self) -> None:
        if self._connection is None:
            self._start()
        deadline = time.monotonic() + WARM_UP_LIMIT_S
        waiting, self._unsent = self._unsent, []
        for begin in range(0, len(waiting), BARS_A_MESSAGE):
            part = {"kind": "warm_up", "bars": waiting[begin : begin + BARS_A_MESSAGE]}
            self._exchange(part, max(deadline - time.monotonic(), 0.1))

    def _exchange(self, message: dict[str, Any], limit_s: float) -> dict[str, Any]:
        connection = self._connection
        if connection is None:
            raise DataError(f"the process of {self._path.name} is not running")
        try:
            connection.send_bytes(json.dumps(message).encode())
            if not connection.poll(limit_s):
                self._end()
                raise DataError(
                    f"{self._path.name} gave no answer within {limit_s:g} s and was ended: look for a loop without "
                    "end, or make it faster"
                )
            reply = dict(json.loads(connection.recv_bytes()))
        except (EOFError, OSError):
            self._end()
            raise DataError(f"the process of {self._path.name} ended: the engine's log has its last words") from None
        except ValueError:
            self._end()
            raise DataError(f"the process of {self._path.name} gave an answer that cannot be read") from None
        if "error" in reply:
            raise DataError(str(reply["error"]))
        return reply

    def _failed(self, sentence: str) -> None:
        if self._closed:  # it was ended while it thought: another strategy has taken its place
            return
        self._failures += 1
        self.trouble = f"The strategy gave no weights: {sentence.rstrip('.')}."
        if self._failures >= MAX_FAILURES:
            self.is_off = True
            self.trouble = f"The strategy is switched off after {self._failures} failures in a row: {sentence}."
            self._end()
            self._untold.append((
                "error",
                f"{self._path.name} failed {self._failures} times in a row and is switched off: {sentence}. Positions "
                "stay under their stops. Mend the file and choose it again on the Settings page.",
            ))  # fmt: skip
        elif self._failures == 1:
            self._untold.append(("warning", f"{self._path.name}: {sentence}. Its positions stay as they are."))

    def _end(self) -> None:
        connection, process = self._connection, self._process
        self._connection = self._process = None
        end_child(process, connection)
