"""Who plays in the chaos benchmarks: an exchange, an engine that is killed, a person who trades, a judge, a diary."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from books import Comparison, books_over_flight, compare, venue_books
from measuring import ROOT, EngineDoor, engine_command, last_words
from proxy import Proxy

from engine.settings import SystemConfig

T = TypeVar("T")

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
SETTINGS: dict[str, Any] = {
    "symbols": list(SYMBOLS), "strategy": "ema-cross", "ema_fast": 2, "ema_slow": 5, "rebalance_band": 0.0,
    "maker_wait_s": 4.0, "volatility_horizon_hours": 1.0, "max_total_drawdown": 0.9, "max_daily_loss": 0.5,
    "max_symbol_weight": 2.0, "max_gross_weight": 8.0, "max_leverage": 10.0,
}  # fmt: skip
RECOVER_S = 150.0  # generous: a loaded machine is slow, and slow is no difference between two books
HEAL_S = 60.0
FLOW_EVERY_S = (0.02, 0.25)
NOTIONAL = 400.0  # quote currency, of most tickets
LARGE_NOTIONAL = 150_000.0  # more than rests at the best price, so that a limit order fills in part
WATCH_EVERY_S = 0.25
ANSWER_S = 20.0
MARK_MOVES = 0.005  # share of the limit: between a fill and the look at it the marks move
ENGINE_GONE = (OSError, ValueError, KeyError, StopIteration, pa.ArrowException)


def patiently(call: Callable[[], T], attempts: int = 4) -> T:
    """Return what a call to the exchange's own endpoints returns; on a loaded machine it may take more than one."""
    for attempt in range(1, attempts + 1):
        try:
            return call()
        except OSError:
            if attempt == attempts:
                raise
            time.sleep(1.0)
    raise AssertionError("not reached")


class Exchange:
    """A practice exchange in a process of its own."""

    def __init__(self, seed: int, home: Path, *arguments: str, symbols: Iterable[str] = SYMBOLS) -> None:
        command = [
            sys.executable, "-m", "engine", "sandbox", "--seed", str(seed), "--balance", "1000000",
            "--symbols", ",".join(symbols), "--parent-pid", str(os.getpid()), *arguments,
        ]  # fmt: skip
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with (home / "exchange.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        self.hello: dict[str, Any] = json.loads(self.process.stdout.readline())

    @property
    def environment(self) -> dict[str, str]:
        """What an engine needs in its environment to trade here."""
        return {
            "ASTER_BASE_URL": self.hello["base_url"], "ASTER_WS_URL": self.hello["ws_url"],
            "ASTER_PRIVATE_KEY": self.hello["private_key"],
        }  # fmt: skip

    def books(self) -> dict[str, Any]:
        """Return the exchange's own books."""
        return patiently(lambda: venue_books(self.hello["base_url"], self.hello["address"], ANSWER_S))

    def ask(self, path: str) -> dict[str, Any]:
        """Return one of the exchange's own answers."""

        def once() -> dict[str, Any]:
            with urllib.request.urlopen(f"{self.hello['base_url']}/sandbox/{path}", timeout=ANSWER_S) as answer:
                return dict(json.loads(answer.read()))

        return patiently(once)

    def tell(self, path: str, body: dict[str, Any] | None, method: str = "POST") -> None:
        """Have the exchange do something that no client may ask for."""
        content = None if body is None else json.dumps(body).encode()
        url = f"{self.hello['base_url']}/sandbox/{path}"
        request = urllib.request.Request(url, content, {"Content-Type": "application/json"}, method=method)
        patiently(lambda: urllib.request.urlopen(request, timeout=ANSWER_S).close())

    def rules(self, rules: Iterable[dict[str, Any]]) -> None:
        """Put fault rules in force instead of those that are."""
        self.tell("faults", {"rules": list(rules), "replace": True})

    def slow(self, method: str, delay_ms: float) -> None:
        """Answer one order request late, after it has been carried out; 0 forgets all such rules."""
        rule = {"action": "delay", "match": {"method": method, "path": "*rder*"}, "delay_ms": delay_ms, "count": 20}
        self.rules([rule] if delay_ms else [])

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(20)


class Wired(Exchange):
    """An exchange that the engine reaches through a proxy."""

    def __init__(self, seed: int, home: Path, *arguments: str, symbols: Iterable[str] = SYMBOLS) -> None:
        super().__init__(seed, home, *arguments, symbols=symbols)
        self.proxy = Proxy(int(self.hello["base_url"].rsplit(":", 1)[1]))

    @property
    def environment(self) -> dict[str, str]:
        """What an engine needs in its environment to trade here."""
        host = f"127.0.0.1:{self.proxy.port}"
        return super().environment | {"ASTER_BASE_URL": f"http://{host}", "ASTER_WS_URL": f"ws://{host}"}

    def acted(self) -> int:
        """Return how often the faults in force have acted."""
        return self.proxy.acted + sum(rule["acted"] for rule in self.ask("faults")["rules"])

    def heal(self) -> int:
        """End every fault; return how often they have acted."""
        acted = self.acted()
        self.proxy.set("")
        self.tell("faults", None, "DELETE")
        return acted

    def stop(self) -> None:
        """End it."""
        super().stop()
        self.proxy.close()


class Victim:
    """An engine that is killed and started again on one data folder."""

    def __init__(self, home: Path, exchange: Exchange, *arguments: str) -> None:
        self.home, self.exchange, self._arguments = home, exchange, arguments
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; return the seconds until it trades with reconciled books."""
        began = time.monotonic()
        (self.home / "engine.json").unlink(missing_ok=True)
        environment = os.environ | self.exchange.environment | {"PYTHONPATH": str(ROOT)}
        with (self.home / "engine.log").open("ab") as log:
            command = engine_command(self.home, *self._arguments)
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        while time.monotonic() - began < RECOVER_S:
            if self.process.poll() is not None:
                raise RuntimeError(f"the engine ended: {last_words(self.home)}")
            status = self.status()
            last = (status or {}).get("last_reconcile")
            if status and status["phase"] == "trading" and last and last["ok"]:
                return time.monotonic() - began
            time.sleep(0.05)
        raise TimeoutError(f"not recovered within {RECOVER_S:.0f} s: {self.status()}; {last_words(self.home)}")

    def door(self) -> EngineDoor:
        """Return a connection of its own."""
        return EngineDoor(self.home)

    def status(self) -> dict[str, Any] | None:
        """Return the status, None when nobody answers."""
        try:
            return self.door().ask("status")
        except ENGINE_GONE:
            return None

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """End it politely; one that does not end is killed."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()

    def prepare(self, settle_s: float, **settings: Any) -> None:
        """Set what the engine trades and start it for the first time."""
        from storage.database import Database

        store = Database(self.home / "paper.duckdb")
        store.remember("config", SystemConfig(**(SETTINGS | settings)).model_dump(mode="json")).result(30)
        store.close()
        self.start()
        time.sleep(settle_s)


class Person:
    """Somebody who sends tickets without pause.

    Parameters
    ----------
    victim : Victim
    dice : random.Random
    """

    def __init__(self, victim: Victim, dice: random.Random, symbols: tuple[str, ...] = SYMBOLS) -> None:
        self.victim, self.dice, self.symbols = victim, dice, symbols
        self.sent: dict[str, dict[str, Any]] = {}  # key -> ticket
        self.unanswered: list[str] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self, n: int = 2) -> None:
        """Start ``n`` hands."""
        self._stop.clear()
        self._threads = [threading.Thread(target=self._work, args=(self.dice.random(),)) for _ in range(n)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Wait until every hand rests."""
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    def _work(self, seed: float) -> None:
        dice = random.Random(seed)
        try:
            door = self.victim.door()
            while not self._stop.wait(dice.uniform(*FLOW_EVERY_S)):
                self.act(door, dice)
        except (OSError, ValueError, KeyError):
            return  # the engine is gone

    def act(self, door: EngineDoor, dice: random.Random, what: str | None = None) -> None:
        """Do one thing: ``what`` or something at random."""
        what = (
            what
            or dice.choices(
                ("rest", "cross", "market", "partial", "cancel", "cancel_all", "close"), (30, 15, 20, 5, 20, 2, 8)
            )[0]
        )
        symbol = dice.choice(self.symbols)
        try:
            if what == "cancel":
                self._cancel(door, dice)
            elif what == "cancel_all":
                door.act("orders.cancel_all", symbol=symbol)
            elif what == "close":
                door.act("position.close", symbol=symbol)
            else:
                self._ticket(door, dice, symbol, what)
        except (pa.ArrowException, StopIteration):
            return  # refused, or the engine is gone

    def _cancel(self, door: EngineDoor, dice: random.Random) -> None:
        rows = door.read(table="orders", open_only=True).to_pylist()
        mine = [row["client_id"] for row in rows if row["purpose"] == "manual"]
        if mine:
            door.act("order.cancel", client_id=dice.choice(mine))

    def _ticket(self, door: EngineDoor, dice: random.Random, symbol: str, what: str) -> None:
        side = dice.choice(("buy", "sell"))
        notional = LARGE_NOTIONAL if what == "partial" else NOTIONAL * dice.uniform(0.2, 2.0)
        ticket = {"symbol": symbol, "side": side, "kind": "market", "size": {"unit": "quote", "value": notional}}
        if what != "market":
            px = door.ask("ticket.preview", **ticket)["px"]
            away = {"rest": dice.uniform(0.0, 0.003), "cross": -0.001, "partial": 0.0}[what]
            sign = -1.0 if side == "buy" else 1.0
            ticket |= {"kind": "limit", "limit_px": px * (1 + sign * away)}
        key = uuid.uuid4().hex
        self.sent[key] = ticket
        self.unanswered.append(key)
        try:
            door.ask("ticket.submit", **ticket, idempotency_key=key)
        except pa.ArrowInvalid:
            self.unanswered.remove(key)  # refused by name: it is answered
            raise
        self.unanswered.remove(key)

    def ask_again(self, door: EngineDoor) -> int:
        """Send every ticket that got no answer once more, with its key; return how many."""
        keys, self.unanswered = self.unanswered, []
        for key in keys:
            try:
                door.ask("ticket.submit", **self.sent[key], idempotency_key=key)
            except pa.ArrowException:
                continue  # "accepted before": that is the right answer
        return len(keys)


class Watcher(threading.Thread):
    """Polls the exchange's own books for the notional of all positions over equity, and the desk for what it shows.

    Above the limit because something was bought or sold is a breach. Above it because the price moved is not: the limit
    governs what orders may add, and it is counted apart.

    Parameters
    ----------
    exchange : Exchange
    victim : Victim or None
        Whose desk is looked at; None leaves it alone.
    limit : float
        Largest notional of all positions, in units of equity.
    """

    def __init__(self, exchange: Exchange, victim: Victim | None, limit: float) -> None:
        super().__init__(name="exposure", daemon=True)
        self._exchange, self._victim, self._limit, self._ended = exchange, victim, limit, threading.Event()
        self._held: dict[str, float] = {}
        self.shown: dict[str, None] = {}
        self.highest = 0.0
        self.polls = self.by_price = 0
        self.breaches: list[str] = []

    def run(self) -> None:
        """Poll until ended."""
        while not self._ended.wait(WATCH_EVERY_S):
            try:
                self.judge(self._exchange.books())
            except OSError:
                continue
            if self._victim is not None:
                self._look_at_desk(self._victim)

    def judge(self, books: dict[str, Any]) -> None:
        """Take one look at the exchange's books."""
        notional = {row["symbol"]: abs(float(row["notional"])) for row in books["positions"]}
        held = {row["symbol"]: abs(float(row["positionAmt"])) for row in books["positions"]}
        gross, equity = sum(notional.values()), float(books["balances"]["margin_balance"])
        before = sum(self._held.get(symbol, 0.0) * notional[symbol] / held[symbol] for symbol in held if held[symbol])
        exposure = gross / equity
        self.polls += 1
        self.highest = max(self.highest, exposure)
        if exposure > self._limit * (1 + MARK_MOVES) and gross > before * (1 + 1e-9):
            grown = [symbol for symbol in held if held[symbol] > self._held.get(symbol, 0.0)]
            self.breaches.append(
                f"{exposure:.4f} of equity after {', '.join(grown)} grew; the limit is {self._limit:g}"
            )
        elif exposure > self._limit:
            self.by_price += 1
        self._held = held

    def _look_at_desk(self, victim: Victim) -> None:
        status = victim.status()
        if status is None:
            self.shown["the engine does not answer"] = None
            return
        if status["unknown_orders"]:
            self.shown["orders are in doubt and looked up"] = None
        if status["trading_state"]:
            self.shown["only reducing orders are allowed"] = None
        for feed in status["feeds"]:
            if feed["state"] != "ok":
                self.shown[f"{feed['name']} stream is {feed['state']}"] = None

    def end(self) -> None:
        """Stop polling."""
        self._ended.set()
        self.join(15)


class Diary:
    """The runs that are finished, kept in a file, so that a benchmark that was ended goes on where it was.

    Parameters
    ----------
    path : Path or None
        None keeps them in memory only.
    about : dict
        What is run; a file about something else is refused.
    """

    def __init__(self, path: Path | None, about: dict[str, Any]) -> None:
        self._path, self.rows = path, list[dict[str, Any]]()
        if path is None:
            return
        if path.exists():
            first, *lines = path.read_text().splitlines()
            if json.loads(first) != about:
                raise SystemExit(f"{path} keeps runs of {first}, not of {json.dumps(about)}: name another file.")
            self.rows = [json.loads(line) for line in lines]
            print(f"{len(self.rows)} runs of {path} are taken as they are", file=sys.stderr, flush=True)
        else:
            path.write_text(json.dumps(about) + "\n")

    def add(self, row: dict[str, Any]) -> None:
        """Keep one finished run."""
        self.rows.append(row)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def healed(victim: Victim, exchange: Exchange, within_s: float = HEAL_S) -> tuple[Comparison, float]:
    """Return the comparison once books are equal, or the last one after ``within_s``, and the seconds it took."""
    began, door = time.monotonic(), victim.door()
    while True:
        found = compare(books_over_flight(door), exchange.books())
        if found.equal:
            found.mismatches += ledger_lines(door)
        if found.equal or time.monotonic() - began > within_s:
            return found, time.monotonic() - began
        time.sleep(0.3)


def ledger_lines(door: EngineDoor) -> list[str]:
    """Have the books compared and return the ledger's lines that do not agree."""
    door.ask("reconcile")
    ledger = door.ask("ledger")
    return [f"ledger: {line}" for line in ledger["lines"] if abs(line["difference"]) > line["tolerance"]]


def unprotected(books: dict[str, Any]) -> list[str]:
    """Return the symbols that hold a position at the exchange without a stop there."""
    stops = {row["symbol"] for row in books["open_orders"] if row["closePosition"]}
    return [row["symbol"] for row in books["positions"] if row["symbol"] not in stops]


def naked(exchange: Exchange, within_s: float = 15.0) -> list[str]:
    """Return what is still without a stop after a moment's patience: a fill a moment ago has its stop on the way."""
    deadline = time.monotonic() + within_s
    while (bare := unprotected(exchange.books())) and time.monotonic() < deadline:
        time.sleep(0.3)
    return bare


def incidents_since(victim: Victim, incident_id: int) -> list[dict[str, Any]]:
    """Return newer incidents, oldest first."""
    rows = victim.door().read(table="incidents", limit=2_000).to_pylist()
    return sorted((row for row in rows if row["incident_id"] > incident_id), key=lambda row: row["incident_id"])


def sentences(row: dict[str, Any]) -> list[str]:
    """Return everything in a finished run that must not be."""
    return [*row["mismatches"], *row["duplicates"], *row["lost"], *row["breaches"]]
