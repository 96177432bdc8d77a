"""The models beside the engine: in a process of their own, asked with a deadline, and left out when they are late.

Models live on a clock of their own, the bars they were trained on. When such a bar has closed, the process is shown it
at once; a decision takes the answer to the newest of these bars if it has come, waits a moment if it is on its way,
and otherwise goes on as the plain rule, which the record says.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import structlog

from engine.domain import F8, INTERVAL_S, NS_PER_S, Bar
from engine.errors import CommandRefused, DataError
from engine.runtime.child_process import Talk, sentence_of, settle
from engine.runtime.model_scores import rows_of
from storage.errors import StorageError

log = structlog.get_logger("models")

DECIDE_LIMIT_S = 0.06
LOAD_LIMIT_S = 120.0
WARM_UP_LIMIT_S = 300.0
ANSWER_LIMIT_S = 20.0
LATE_BAR_S = 1.5
EXPLAIN_LIMIT_S = 18.0
EXPLAINED_BARS = 3_000
MAX_FAILURES = 3  # in a row
INTERVAL = "1h"
NOT_TRAINED = "No model has been trained yet."
LOADING = "The models are being loaded."
WAITING = "The models wait for the hourly candles, which the engine loads once trading has begun."
BARS_FIRST, OTHERS, LAST = 0, 1, 2  # places in the queue: pages wait until bars have been shown, reasons for both
NONE_IN_FORCE = "No set of models is in force: promote one, or train again."

Row = tuple[int, list[list[float | None]]]
Funding = Callable[[tuple[str, ...], int], list[float | None]]
History = Callable[[tuple[str, ...], str, int], list[Row]]


class Said(NamedTuple):
    """What the models want of one decision. ``record`` is all that is needed to make the decision again."""

    weight: F8  # (N,) conviction in [-1, 1]; NaN: nothing is said of that symbol
    share: float  # what the evidence gives them, in [0, 1]
    record: dict[str, Any]


class ModelHost:
    """Keeps the process of the models, shows it each bar and holds its newest answer. Lives on the event loop.

    Parameters
    ----------
    home : Path
        The data folder.
    module : str
        What runs in the process: ``models.serve``.
    symbols : tuple of str
    history : callable of symbols, interval and a number of bars
        Returns stored closed bars, oldest first, as (ts_close, [open, high, low, close, volume, funding] of (N,)).
        Called in a thread.
    now : callable
        The present moment, ns.
    incident : callable of severity, source and sentence
    on_answer : callable of the role (champion, challenger) and the answer
    limit_s : float
        How long a decision may wait, seconds.
    funding : callable of symbols and a moment
        Returns the newest settled funding rates, None where one is unknown. Called in a thread.
    """

    def __init__(
        self, home: Path, module: str, symbols: tuple[str, ...], history: History, now: Callable[[], int],
        incident: Callable[[str, str, str], None] = lambda *_: None,
        on_answer: Callable[[str, dict[str, Any]], None] = lambda *_: None, limit_s: float = DECIDE_LIMIT_S,
        funding: Funding = lambda symbols, ts_close: [None] * len(symbols),
    ) -> None:  # fmt: skip
        self._home, self.symbols, self._history = home, symbols, history
        self._now, self._incident, self._on_answer, self._limit_s = now, incident, on_answer, limit_s
        self._funding = funding
        self._span_ns = INTERVAL_S[INTERVAL] * NS_PER_S
        self._due: dict[int, dict[str, Bar]] = {}
        self._asked_ts = 0  # close of the newest bar that was handed over
        self._arrived: asyncio.Event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: queue.PriorityQueue[tuple[int, int, dict[str, Any] | None]] = queue.PriorityQueue()
        self._count = itertools.count()
        self._thread: threading.Thread | None = None
        self._child = Talk(module, "the models")
        self._failures = 0
        self._is_record_broken = False  # told once, until bars are shown again
        self._closed = False
        self._is_resting = False  # every set is retired
        self.loaded: dict[str, Any] | None = None  # what the process said of the sets it runs
        self.newest: dict[str, Any] | None = None  # what a decision needs of its newest answer, which comes first
        self.latest: dict[str, Any] | None = None  # its newest answer
        self._roles_taken = 0
        self.is_ready = False  # trading has begun and the history is here
        self.on_notice: Callable[[], Any] = lambda: None  # every few seconds
        self.news: Callable[[tuple[str, ...]], dict[str, Any] | None] = lambda symbols: None
        self.on_hour: Callable[[], Any] = lambda: None  # whether to train again
        self.trouble: str | None = WAITING if self.is_trained else NOT_TRAINED  # None: an answer is there or coming

    @property
    def is_trained(self) -> bool:
        """Whether a training was ever finished in this data folder."""
        return self._roles() != 0

    def _roles(self) -> int:
        """When the sets' roles were changed last, ns; 0 before the first training."""
        try:
            return (self._home / "models" / "roles.json").stat().st_mtime_ns
        except OSError:
            return 0

    def _is_in_force(self) -> bool:
        """Whether a set is; a file that cannot be read is left to the process, which says what is wrong with it."""
        try:
            return json.loads((self._home / "models" / "roles.json").read_text())["champion"] is not None
        except (OSError, ValueError, KeyError, TypeError):
            return True

    # life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Load the sets and show them the history, in the background. Nothing happens before the first training."""
        roles = self._roles()
        if self._closed or roles == 0:
            return
        self._roles_taken = roles
        self._loop = asyncio.get_running_loop()
        self._failures = 0
        is_in_force = self._is_in_force()
        self.trouble = LOADING if is_in_force else NONE_IN_FORCE
        self._put({"kind": "load" if is_in_force else "rest"})
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._converse, name="models", daemon=True)
            self._thread.start()

    def notice(self) -> None:
        """Load anew after a training, a promotion or a rollback, wherever it was done; asked every few seconds."""
        self.on_notice()
        if (self._roles_taken and self._roles() != self._roles_taken) or (not self._roles_taken and self.is_ready):
            self.start()

    def choose(self, symbols: tuple[str, ...]) -> None:
        """Forecast other symbols from now on."""
        if symbols != self.symbols:
            self.symbols, self.newest, self.latest, self._due = symbols, None, None, {}
            self.start()

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._put(None)
        self._child.end()

    # bars and decisions ------------------------------------------------------------------------------------------

    def on_bar(self, bar: Bar) -> None:
        """Take a closed bar of any symbol and interval; the process is asked when the newest one is complete."""
        if bar.interval != INTERVAL or bar.symbol not in self.symbols or self._thread is None:
            return
        ts_close = bar.ts_open + self._span_ns
        if ts_close <= self._asked_ts:
            return
        arrived = self._due.setdefault(ts_close, {})
        arrived[bar.symbol] = bar
        if len(arrived) == len(self.symbols):
            self._ask(ts_close)
        elif len(arrived) == 1 and self._loop is not None:
            self._loop.call_later(LATE_BAR_S, self._ask, ts_close)

    def _ask(self, ts_close: int) -> None:
        arrived = self._due.pop(ts_close, None)
        if arrived is None or ts_close <= self._asked_ts or self._closed:
            return
        self._due = {ts: bars for ts, bars in self._due.items() if ts > ts_close}
        self._asked_ts, self._arrived = ts_close, asyncio.Event()
        rows = rows_of(self.symbols, arrived)
        self._put({
            "kind": "bar", "ts_close": ts_close, "rows": rows, "ts_now": self._now(), "arrived": self._arrived,
            "symbols": self.symbols,
        })  # fmt: skip

    async def said(self, ts_close: int) -> Said | str:
        """Return what the models want at a decision's bar close, or a sentence on why they want nothing."""
        if not self.is_trained:
            return NOT_TRAINED
        wanted = ts_close // self._span_ns * self._span_ns
        if self._has(wanted):
            return self._as_said()
        if wanted <= self._asked_ts or ts_close == wanted:  # it is on its way
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), self._limit_s)
        if self._has(wanted):
            return self._as_said()
        if self.trouble is not None:
            return self.trouble
        if self.newest is None:
            return "The models have not answered yet."
        if ts_close == wanted:
            return f"The models' answer to this bar was not there after {1e3 * self._limit_s:.0f} ms."
        return f"The models' newest forecast is {(wanted - self.newest['ts_close']) / 1e9 / 3600:.0f} h old."

    def _has(self, ts_close: int) -> bool:
        newest = self.newest
        return newest is not None and newest["ts_close"] == ts_close and newest["symbols"] == list(self.symbols)

    def _as_said(self) -> Said:
        assert self.newest is not None
        weight = np.array([math.nan if value is None else value for value in self.newest["weight"]])
        record = {name: value for name, value in self.newest.items() if name not in ("weight", "symbols")}
        return Said(weight, float(self.newest["share"] or 0.0), record)

    async def explain(self, symbol: str, model: str, horizon: int, known: dict[str, Any]) -> dict[str, Any]:
        """Return why one model says what it says of a symbol's newest bar; see ``models.answers.explanation``.

        ``known`` is what the engine knows of such forecasts: the ``share`` that models count, and how the past ones
        fared, ``covered`` and ``direction``.

        Raises
        ------
        CommandRefused
            There is nothing to explain, with the reason, or the models need the time for the bar about to close.
        """
        if self.latest is None or self._thread is None:
            raise CommandRefused(self.trouble or "The models have not answered yet.")
        left_s = (self._span_ns - self._now() % self._span_ns) / NS_PER_S
        if left_s < EXPLAIN_LIMIT_S:
            raise CommandRefused(
                f"The models wait for the bar that closes in {math.ceil(left_s)} s, which comes first. Ask after it."
            )
        asked = {"kind": "explain", "symbol": symbol, "model": model, "horizon": horizon, "known": known}
        answer = await self._outcome(asked, OTHERS)
        if "error" in answer:
            raise CommandRefused(f"{str(answer['error']).rstrip('.')}.")
        return answer

    async def reasons(self, symbol: str, ts_close: int, known: dict[str, Any], before_s: float) -> dict[str, Any]:
        """Return a symbol's record of ``models.reasons``, or ``error``; not begun after ``before_s``, monotonic."""
        asked = {"kind": "reasons", "symbol": symbol, "ts_close": ts_close, "known": known, "before_s": before_s}
        return await self._outcome(asked, LAST)

    async def _outcome(self, message: dict[str, Any], place: int) -> dict[str, Any]:
        outcome: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._put(message | {"outcome": outcome}, place)
        try:
            return await asyncio.wait_for(outcome, EXPLAIN_LIMIT_S)
        except TimeoutError:
            return {"error": f"The models had no time to explain within {EXPLAIN_LIMIT_S:g} s"}

    # the conversation, in a thread of its own --------------------------------------------------------------------

    def _put(self, message: dict[str, Any] | None, place: int = BARS_FIRST) -> None:
        self._work.put((place, next(self._count), message))

    def _converse(self) -> None:
        while True:
            message = self._work.get()[2]
            if message is None or self._closed:
                return
            arrived, outcome = message.pop("arrived", None), message.pop("outcome", None)
            if outcome is not None:
                if not outcome.done():  # who asked has gone meanwhile
                    self._tell(settle, outcome, self._explained(message))
                continue
            try:
                self._carry_out(message, arrived)
            except (StorageError, TimeoutError) as error:
                self._not_read(error, message["kind"])
            except Exception as error:  # whatever it is, the next bar must find this thread alive
                self._failed(sentence_of(error), message["kind"])
            if arrived is not None:
                self._tell(arrived.set)

    def _show_bar(
        self, message: dict[str, Any], symbols: tuple[str, ...], arrived: asyncio.Event | None = None
    ) -> None:
        """Show a bar and take the three answers: what a decision needs, all that was said, and the challenger's."""
        assert self.loaded is not None
        wanted = self._child.exchange(message, ANSWER_LIMIT_S) | {"symbols": list(symbols)}
        wanted["horizons"] = self.loaded.get("horizons")
        self.newest, self.trouble, self._failures, self._is_record_broken = wanted, None, 0, False
        if arrived is not None:
            self._tell(arrived.set)
        self.loaded["ts_newest"] = message["ts_close"]
        self._answered("champion", self._child.receive(ANSWER_LIMIT_S), symbols)
        self._answered("challenger", self._child.receive(ANSWER_LIMIT_S), symbols)

    def _carry_out(self, message: dict[str, Any], arrived: asyncio.Event | None) -> None:
        if message["kind"] in ("load", "rest"):
            self._child.end()
            self._is_resting = message["kind"] == "rest"
            if self._is_resting:
                self.loaded = self.newest = self.latest = None
            else:
                self._load(self.symbols)
            return
        symbols = message.pop("symbols")
        if symbols != self.symbols or self._failures >= MAX_FAILURES or self._is_resting:
            return  # other symbols were chosen meanwhile, it is switched off, or no set is in force
        if not self._child.is_open:
            self._load(symbols)
        assert self.loaded is not None
        seen = self.loaded["ts_newest"]
        if message["ts_close"] <= seen:
            return  # the history held it
        if seen and message["ts_close"] != seen + self._span_ns:
            self._show_history(symbols, message["ts_close"])  # bars that a lost connection swallowed
        message["rows"].append(self._funding(symbols, message["ts_close"]))
        message["news"] = self.news(symbols)
        self._show_bar(message, symbols, arrived)

    def _explained(self, message: dict[str, Any]) -> dict[str, Any]:
        """Ask on the way of the bars: whoever explains is shown none meanwhile, which takes a second or two."""
        try:
            if not self._child.is_open:
                raise DataError(self.trouble or "The models are not running")
            if time.monotonic() > message.pop("before_s", math.inf):
                raise DataError("the models were busy until the next bar")
            if message["kind"] == "explain":
                message["bars"] = self._history(self.symbols, INTERVAL, EXPLAINED_BARS)
            return self._child.exchange(message, EXPLAIN_LIMIT_S, may_be_late=True)
        except Exception as error:
            log.warning("not explained", reason=str(error), exc_info=not isinstance(error, DataError))
            return {"error": sentence_of(error)}

    def _load(self, symbols: tuple[str, ...]) -> None:
        self._child.start(self._home)
        message = {"kind": "load", "home": str(self._home), "symbols": symbols, "ts_now": self._now()}
        self.loaded = self._child.exchange(message, LOAD_LIMIT_S) | {"ts_newest": 0}
        self._show_history(symbols)
        self.trouble = None

    def _show_history(self, symbols: tuple[str, ...], before_ts: int | None = None) -> None:
        """Show what is stored; the newest of it is asked about like a bar that has just closed."""
        assert self.loaded is not None
        bars = self._history(symbols, INTERVAL, int(self.loaded["history"]))
        bars = [row for row in bars if before_ts is None or row[0] < before_ts]
        if not bars:
            return
        newest, past = bars[-1], [row for row in bars[:-1] if row[0] > self.loaded["ts_newest"]]
        if past:  # in one piece: members are shown its newest part, and may not miss a bar within
            self._child.exchange({"kind": "warm_up", "bars": past}, WARM_UP_LIMIT_S)
            self.loaded["ts_newest"] = past[-1][0]
        if newest[0] > self.loaded["ts_newest"]:
            message = {"kind": "bar", "ts_close": newest[0], "rows": newest[1], "ts_now": self._now(), "budget_ms": 1e4}
            self._show_bar(message, symbols)

    def _answered(self, role: str, answer: dict[str, Any], symbols: Sequence[str]) -> None:
        if not answer:
            return
        answer["symbols"] = list(symbols)
        if role == "champion":
            self.latest = answer
        self._tell(self._on_answer, role, answer)

    def _failed(self, sentence: str, kind: str) -> None:
        if self._closed:
            return
        self._child.end()  # the next bar starts a new one, which is shown the history
        self._failures += 1
        self.trouble = f"The models say nothing: {sentence.rstrip('.')}."
        log.warning("models failed", kind=kind, reason=sentence, failures=self._failures)
        if self._failures == MAX_FAILURES:
            self.trouble = f"The models are switched off after {self._failures} failures in a row: {sentence}."
            self._tell(self._incident, "error", "models", f"{self.trouble} Train again, or roll back.")
        elif self._failures == 1:
            self._tell(self._incident, "warning", "models", f"{self.trouble} Decisions go on as the plain rule.")

    def _not_read(self, error: Exception, kind: str) -> None:
        """Go on without an answer: the record failed, and not the models, so they are asked again at the next bar."""
        if self._closed:
            return
        self._child.end()
        self.trouble = f"The models say nothing, because the record cannot be read: {sentence_of(error).rstrip('.')}."
        log.warning("record not read for the models", kind=kind, reason=str(error))
        if not self._is_record_broken:
            self._tell(self._incident, "warning", "models", f"{self.trouble} Decisions go on as the plain rule.")
        self._is_record_broken = True

    def _tell(self, what: Callable[..., Any], *args: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the engine has stopped meanwhile
                self._loop.call_soon_threadsafe(what, *args)
