"""The process in which trained models run for the engine: closed bars in, forecasts and wishes out, over a pipe.

    python -m models.serve DESCRIPTOR

It is given bars, never keys, and gives wishes, never orders. Messages are JSON, so the engine executes nothing that
comes out of here. One question is answered at a time, in order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from engine.domain import F8, INTERVAL_S
from engine.errors import ModelError, WorkstationError
from engine.strategies.child import own_process
from models.dataset import learnable
from models.features import WARM_UP_BARS, advance_many, feature_hash, new_feature_state
from models.forecast import HORIZONS, QUANTILE_LEVELS, Panel
from models.live_agents import together
from models.live_beside import LiveBeside, load_beside
from models.live_set import BUDGET_MS, LiveSet
from models.recent import Recent
from models.roles import read_roles
from models.sets import BASE, ModelSet, load_set
from models.summary import Facts, Record
from models.surroundings import SHOWN_BARS

INTERVAL = "1h"
SPARE_BARS = 2 * HORIZONS[-1]
"""Bars beyond the warm-up: the intervals take up what the newest outcomes say."""

RETIRED = "retired by a person"
OPTIONS = orjson.OPT_SERIALIZE_NUMPY


class Tape:
    """The sets in force and in its shadow, on one tape of bars.

    Parameters
    ----------
    symbols : tuple of str
        In the order of every row.
    champion : LiveSet
    challenger : LiveSet or None
        Runs after the answer has been sent.
    beside : LiveBeside, optional
        The champion's agents and lookout.
    """

    def __init__(
        self, symbols: tuple[str, ...], champion: LiveSet, challenger: LiveSet | None = None,
        beside: LiveBeside | None = None,
    ) -> None:  # fmt: skip
        self.symbols, self.champion, self.challenger = symbols, champion, challenger
        self.beside = beside or LiveBeside()
        self.ts_close = 0
        self._state = new_feature_state(len(symbols))
        self._recent = Recent(symbols)
        self._parts: list[tuple[str, F8, float]] = []  # whose wishes made the newest one, and their shares
        self._past: tuple[int, Any] | None = None  # what similar bars are looked for in, and at which close

    @property
    def history(self) -> int:
        """How many bars it wants to see before the first that counts."""
        longest = max(one.warm_up_bars for one in (self.champion, self.challenger) if one is not None)
        return WARM_UP_BARS + max(longest + SPARE_BARS, SHOWN_BARS)

    def warm_up(self, bars: list[Any]) -> int:
        """Take bars from before the next decision, oldest first; return how many were new."""
        fresh = [(int(ts), rows) for ts, rows in bars if ts > self.ts_close]
        if not fresh:
            return 0
        panel = panel_of(self.symbols, fresh)
        self._state, features, sigma = advance_many(self._state, panel)
        self.ts_close = fresh[-1][0]
        for one in (self.champion, self.challenger):
            if one is not None:
                one.warm_up(panel, features, sigma)
        mask, shown = self.champion.masked, self.champion.shown_panel(panel)
        self._recent.add(panel.ts_close, panel.close_px, mask(features), sigma)
        self._recent.ts_warm = self.ts_close
        self.beside.warm_up(shown, mask(features), sigma)
        return len(fresh)

    def on_bar(
        self, ts_close: int, rows: list[list[float]], ts_now: int, budget_ms: float, news: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Take the newest bar and return what the set in force says of it.

        ``news`` holds the symbols' ``mood`` (N,) and the ``share`` that headlines have earned.

        Raises
        ------
        ModelError
            The bar is not newer than the newest one seen.
        """
        if ts_close <= self.ts_close:
            raise ModelError(f"the bar that closed at {ts_close} ns was seen already")
        began = time.perf_counter()
        panel = panel_of(self.symbols, [(ts_close, rows)])
        self._state, features, sigma = advance_many(self._state, panel)
        self.ts_close = ts_close
        said = self.champion.on_bar(panel, features[0], sigma[0], ts_now, budget_ms)
        shown, masked = self.champion.shown_panel(panel), self.champion.masked(features)
        self._recent.add(panel.ts_close, panel.close_px, masked, sigma)
        self._parts = [("forecasters", said["weight"], float(said["share"]))]
        said = self.beside.join(said, shown, masked[0], sigma[0], ts_now)
        if self.beside.wish is not None:
            self._parts.append(("agents", self.beside.wish, float(said["agents_share"])))
        if news is not None:
            self._parts.append(("headlines", np.array(news["mood"], dtype=np.float64), float(news["share"])))
        said = with_news(said, news)
        return said | {"elapsed_ms": 1e3 * (time.perf_counter() - began)}

    def look(self) -> dict[str, Any]:
        """Let the lookout see the newest bar; return what it and the agents say."""
        if self.champion.newest is not None:
            panel, features, sigma = self.champion.newest
            self.beside.look(panel, self.champion.masked(features), sigma)
        return self.beside.answer()

    def afterwards(self, ts_now: int) -> dict[str, Any] | None:
        """Let those catch up that there was no time for, then the challenger; return what that one says."""
        self.champion.catch_up()
        if self.challenger is None or self.champion.newest is None:
            return None
        panel, features, sigma = self.champion.newest
        return self.challenger.on_bar(panel, features, sigma, ts_now, np.inf)

    def explain(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return why a member of the set in force says what it says of a symbol's newest bar.

        Raises
        ------
        ModelError, DataError
            There is nothing to explain, with the reason.
        """
        from models.answers import explanation

        member = self.champion.member(str(asked["model"]))
        bars = [(int(ts), rows) for ts, rows in asked["bars"]]
        data = learnable(self.champion.shown_panel(panel_of(self.symbols, bars)))
        column, horizon = self.symbols.index(asked["symbol"]), int(asked["horizon"])
        return explanation(member, data, column, horizon, self._facts(column, horizon, asked["known"]))

    def reasons(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the record of why the set in force said what it said of one symbol; see ``models.reasons``.

        Raises
        ------
        ModelError, DataError
            There is nothing to explain, or a newer bar has come meanwhile.
        """
        from models.attribution import Part
        from models.explain import searchable
        from models.reasons import HORIZON, reasons_of

        if int(asked["ts_close"]) != self.ts_close or self.champion.said is None:
            raise ModelError("the next bar came first")
        if self._past is None or self._past[0] != self.ts_close:
            self._past = self.ts_close, searchable(self._recent.data())
        column = self.symbols.index(asked["symbol"])
        return reasons_of(
            self.champion, self._recent, self._past[1], column, [Part(*one) for one in self._parts],
            self.beside.answer()["agents"], self._facts(column, HORIZON, asked["known"]),
        ) | {"known": asked["known"]}  # fmt: skip

    def _facts(self, column: int, horizon: int, known: dict[str, Any]) -> Facts:
        """What the newest answer of the set in force says, in simple returns, and what the engine knows of such."""
        said, symbol, span = self.champion.said, self.symbols[column], f"{horizon} hours" if horizon > 1 else "hour"
        if said is None or said["ensemble"] is None:
            return Facts(symbol, span, np.nan, np.nan, np.nan, np.nan)
        h = HORIZONS.index(horizon)
        scale = said["sigma"][column] * np.sqrt(horizon)
        low, mid, high = (
            float(np.expm1(said["ensemble"]["quantile"][column, h, QUANTILE_LEVELS.index(level)] * scale))
            for level in (0.1, 0.5, 0.9)
        )
        base = said["models"].get(BASE)
        return Facts(
            symbol, span, float(said["ensemble"]["prob_up"][column, h]), mid, low, high,
            base_up=float(base["prob_up"][column, h]) if base else None,
            covered=_record(known["covered"]), direction=_record(known["direction"]),
            model_share=known["share"], is_sleeve=bool(known["is_sleeve"]),
            prob_spread=float(said["prob_spread"][column, h]),
            regime=None if self.beside.lookout is None else self.beside.lookout.regime(),
        )  # fmt: skip


def _record(found: dict[str, Any] | None) -> Record:
    """Return a share as the engine found it in its record; an empty one where nothing has been judged."""
    return Record(**found) if found is not None else Record(np.nan, 0.0, 1.0, 0, 0)


def with_news(said: dict[str, Any], news: dict[str, Any] | None) -> dict[str, Any]:
    """Return an answer with the mood of the headlines in its wish, as far as that has earned a share."""
    if news is None:
        return said | {"news_share": 0.0}
    mood, own = np.array(news["mood"], dtype=np.float64), float(news["share"])
    weight, share = together(said["weight"], said["share"], mood, own)
    return said | {"weight": weight, "share": share, "news_share": own}


def panel_of(symbols: tuple[str, ...], bars: list[tuple[int, list[list[float]]]]) -> Panel:
    """Return rows of (open, high, low, close, volume, funding), each (N,), as a panel; None is unknown.

    Rows may end before the funding: then it is unknown. So are basis and book, which the engine's bars do not hold.
    """
    ts_close = np.array([ts for ts, _ in bars], dtype=np.int64)
    columns = np.array([rows for _, rows in bars], dtype=np.float64).transpose(1, 0, 2)  # (5 or 6, T, N)
    unknown = np.full(columns.shape[1:], np.nan)
    funding = columns[5] if len(columns) > 5 else unknown
    return Panel(symbols, ts_close, *columns[:5], funding, unknown, unknown)  # type: ignore[call-arg]


def open_tape(home: Path, symbols: tuple[str, ...], ts_now: int) -> Tape:
    """Load the set in force and its challenger.

    Raises
    ------
    ModelError
        Nothing was trained yet, or the set in force cannot be used.
    """
    roles = read_roles(home)
    if roles.champion is None:
        raise ModelError("no set of models is in force")
    champion = LiveSet(_usable(load_set(home, roles.champion, feature_hash(), ts_now), roles.retired), symbols)
    challenger = None
    if roles.challenger is not None:
        try:
            found = load_set(home, roles.challenger, feature_hash(), ts_now)
            challenger = LiveSet(_usable(found, roles.retired), symbols)
        except ModelError as error:  # the one in force goes on without
            champion.left_out[f"challenger {roles.challenger}"] = str(error)
    beside = load_beside(home, roles.champion, feature_hash(), ts_now, len(symbols), roles.retired)
    return Tape(symbols, champion, challenger, beside)


def _usable(models: ModelSet, retired: tuple[str, ...]) -> ModelSet:
    unknown = [name for name in models.record.inputs if name != "funding"]
    if unknown:
        raise ModelError(
            f"the set {models.version} learned with {', '.join(unknown)}, which the engine does not know of its bars: "
            "train one on candles, with or without funding"
        )
    out = {name: RETIRED for name in models.members if name in retired}
    members = {name: one for name, one in models.members.items() if name not in out}
    return models._replace(members=members, left_out=models.left_out | out)


class Service:
    """Carries out messages, one after the other."""

    def __init__(self) -> None:
        self._tape: Tape | None = None
        self._after: Callable[[], dict[str, Any] | None] | None = None

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Carry out one message.

        Raises
        ------
        ModelError
            It cannot be, with the reason.
        """
        self._after = None
        kind = message["kind"]
        if kind == "load":
            self._tape = None
            opened = open_tape(Path(message["home"]), tuple(message["symbols"]), int(message["ts_now"]))
            self._tape = opened
            return self._loaded(opened)
        tape = self._tape
        if tape is None:
            raise ModelError("no model has been loaded")
        if kind == "warm_up":
            return {"n_bars": tape.warm_up(message["bars"])}
        if kind == "explain":
            return tape.explain(message)
        if kind == "reasons":
            return tape.reasons(message)
        ts_now = int(message["ts_now"])
        budget = float(message.get("budget_ms") or BUDGET_MS)
        said = tape.on_bar(int(message["ts_close"]), message["rows"], ts_now, budget, message.get("news"))
        self._after = lambda: tape.afterwards(ts_now)
        return said

    def look(self) -> dict[str, Any]:
        """Return what is said beside the forecasts of the bar that was just answered."""
        return {} if self._tape is None else {"beside": self._tape.look()}

    def afterwards(self) -> dict[str, Any] | None:
        """Do what could wait until the answer was sent; return the challenger's forecast, if there is one."""
        after, self._after = self._after, None
        return after() if after is not None else None

    def _loaded(self, tape: Tape) -> dict[str, Any]:
        challenger = tape.challenger
        return tape.champion.description() | {
            "history": tape.history, "interval": INTERVAL, "bar_s": INTERVAL_S[INTERVAL],
            "horizons": HORIZONS, "levels": QUANTILE_LEVELS,
            "challenger": None if challenger is None else challenger.version,
        }  # fmt: skip


BRIEF = ("version", "ts_close", "weight", "share", "agents_share", "news_share", "left_out", "elapsed", "elapsed_ms")


def brief(said: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a bar's answer that a decision needs: it is small, and goes ahead of the rest."""
    if "error" in said:
        return said
    ensemble = said["ensemble"] or {}
    return {name: said[name] for name in BRIEF} | {"prob_up": ensemble.get("prob_up")}


def serve(connection: Connection) -> None:
    """Answer until the other end is closed.

    To a bar there are three answers: what the decision needs, all that was said, and what the challenger says or null;
    to a bar that cannot be taken, one with the reason.
    """
    service = Service()
    while True:
        try:
            message = orjson.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        reply = _carried_out(lambda: service.answer(message))  # noqa: B023
        if message["kind"] == "bar" and reply is not None:
            _send(connection, brief(reply))
            if "error" in reply:
                continue
            reply |= service.look()
        _send(connection, reply)
        if message["kind"] == "bar":
            _send(connection, _carried_out(service.afterwards))


def _carried_out(work: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
    try:
        return work()
    except WorkstationError as error:
        return {"error": str(error)}
    except Exception as error:  # a fault of ours must reach the engine as a sentence, too
        return {"error": f"{type(error).__name__}: {error}"}


def _send(connection: Connection, reply: dict[str, Any] | None) -> None:
    connection.send_bytes(orjson.dumps(reply, option=OPTIONS))


if __name__ == "__main__":
    serve(own_process())
