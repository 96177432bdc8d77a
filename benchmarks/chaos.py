"""Kill the engine while its orders work, again and again, and compare its books with the exchange's. Prints JSON.

    python benchmarks/chaos.py --kills 100 --seed 1 [--json OUT]
    python benchmarks/chaos.py --faults all --seed 1 [--json OUT]

A practice exchange runs in a process of its own; an engine trades on it from another one: a strategy that trades at
each bar, and a person's tickets without pause (resting, crossing and market orders, cancels, closes). The engine gets
SIGKILL at a random moment aimed at one step of an order's life: written but not sent, sent but not answered, acked,
partly filled, being cancelled. The exchange is told to answer slowly where that widens the step. After each kill the
engine is away for a moment while orders go on filling, then starts again on the same record. When it trades and its
books are reconciled, orders, fills, positions, cash, realised profit and fees are compared with the exchange's own
books, number by number, and the ledger must leave nothing unexplained. The interrupted tickets are sent again with
their keys, as a client would that got no answer: none may become a second order.
"""

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
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
from books import Comparison, books_over_flight, compare, venue_books
from measuring import ROOT, EngineDoor, engine_command, fresh_home, last_words, options, report, spread

from engine.settings import SystemConfig

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
SETTINGS = {
    "symbols": list(SYMBOLS), "strategy": "ema-cross", "ema_fast": 2, "ema_slow": 5, "rebalance_band": 0.0,
    "maker_wait_s": 4.0, "volatility_horizon_hours": 1.0, "max_total_drawdown": 0.9, "max_daily_loss": 0.5,
    "max_symbol_weight": 2.0, "max_gross_weight": 8.0, "max_leverage": 10.0,
}  # fmt: skip
STEPS = ("intent", "sent", "acked", "partial", "cancel", "any")
RECOVER_S = 60.0
HEAL_S = 25.0
SETTLE_S = 15.0  # once: for the first engine's download of hourly candles
FLOW_EVERY_S = (0.02, 0.25)
NOTIONAL = 400.0  # quote currency, of most tickets
LARGE_NOTIONAL = 150_000.0  # more than rests at the best price, so that a limit order fills in part


class Exchange:
    """A practice exchange in a process of its own."""

    def __init__(self, seed: int, home: Path) -> None:
        command = [
            sys.executable, "-m", "engine", "sandbox", "--seed", str(seed), "--balance", "1000000",
            "--symbols", ",".join(SYMBOLS),
        ]  # fmt: skip
        with (home / "exchange.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
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
        return venue_books(self.hello["base_url"], self.hello["address"])

    def slow(self, method: str, delay_ms: float) -> None:
        """Answer one order request late, after it has been carried out; 0 forgets all such rules."""
        rules = [{"action": "delay", "match": {"method": method, "path": "*rder*"}, "delay_ms": delay_ms, "count": 20}]
        body = json.dumps({"rules": rules if delay_ms else [], "replace": True}).encode()
        request = urllib.request.Request(f"{self.hello['base_url']}/sandbox/faults", body, method="POST")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=5) as answer:
            answer.read()

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(20)


class Victim:
    """An engine that is killed and started again on one data folder."""

    def __init__(self, home: Path, exchange: Exchange) -> None:
        self.home, self.exchange = home, exchange
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; return the seconds until it trades with reconciled books."""
        began = time.monotonic()
        (self.home / "engine.json").unlink(missing_ok=True)
        environment = os.environ | self.exchange.environment | {"PYTHONPATH": str(ROOT)}
        with (self.home / "engine.log").open("ab") as log:
            command = engine_command(self.home)
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
        except (OSError, ValueError, KeyError, pa.ArrowException):
            return None

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """End it politely."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


class Person:
    """Somebody who sends tickets without pause.

    Parameters
    ----------
    victim : Victim
    dice : random.Random
    """

    def __init__(self, victim: Victim, dice: random.Random) -> None:
        self.victim, self.dice = victim, dice
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
        symbol = dice.choice(SYMBOLS)
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


def strike(person: Person, victim: Victim, exchange: Exchange, dice: random.Random, step: str) -> None:
    """Bring an order to a step of its life and kill the engine there, or nearly there."""
    person.begin()
    time.sleep(dice.uniform(0.3, 1.2))
    if step in ("sent", "cancel"):
        exchange.slow("POST" if step == "sent" else "DELETE", dice.uniform(150, 500))
    what = {"partial": "partial", "cancel": "cancel", "any": None}.get(step, dice.choice(("rest", "cross", "market")))
    door = victim.door()
    aimed = threading.Thread(target=person.act, args=(door, dice, what))
    aimed.start()
    reach = {"intent": 0.03, "sent": 0.35, "acked": 0.15, "partial": 0.4, "cancel": 0.35, "any": 1.0}[step]
    time.sleep(dice.uniform(0.0, reach))
    victim.kill()
    person.end()
    aimed.join(15)
    exchange.slow("POST", 0)


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


def second_orders(person: Person, victim: Victim) -> list[str]:
    """Return a sentence when more manual orders exist than tickets were sent."""
    rows = victim.door().read(table="orders", limit=200_000).to_pylist()
    made = sum(row["purpose"] == "manual" for row in rows)
    allowed = (
        len(person.sent)
        + victim.door().read(table="commands", limit=200_000).to_pandas()["command"].eq("position.close").sum()
    )
    return [f"{made} manual orders for {allowed} commands"] if made > allowed else []


def unprotected(books: dict[str, Any]) -> list[str]:
    """Return the symbols that hold a position at the exchange without a stop there."""
    stops = {row["symbol"] for row in books["open_orders"] if row["closePosition"]}
    return [row["symbol"] for row in books["positions"] if row["symbol"] not in stops]


def prepare(victim: Victim, settle_s: float) -> None:
    """Start the engine for the first time and set what it trades."""
    from storage.database import Database

    store = Database(victim.home / "paper.duckdb")
    store.remember("config", SystemConfig(**SETTINGS).model_dump(mode="json")).result(10)  # type: ignore[arg-type]
    store.close()
    victim.start()
    time.sleep(settle_s)


def kills(
    n: int, seed: int, home: Path, *, steps: tuple[str, ...] = STEPS, settle_s: float = SETTLE_S, progress: bool = True
) -> dict[str, Any]:
    """Kill ``n`` times, or until Ctrl-C, and return what was found.

    Parameters
    ----------
    steps : tuple of str
        What to aim at, in turn.
    settle_s : float
        Pause after the very first start.

    Returns
    -------
    dict
        ``kills``, ``mismatches``, ``duplicates``, ``lost`` (counts over all comparisons, and the sentences), recovery
        times in seconds from process start to trading with reconciled books, and how often each step was aimed at.
    """
    dice = random.Random(seed)
    exchange = Exchange(seed, home)
    victim = Victim(home, exchange)
    person = Person(victim, dice)
    found, recovery_s, heal_s, aims = Comparison(), [], [], Counter()
    naked, again = [], 0
    try:
        prepare(victim, settle_s)
        for index in range(n):
            step = steps[index % len(steps)]
            aims[step] += 1
            strike(person, victim, exchange, dice, step)
            time.sleep(dice.uniform(0.0, 1.0))
            recovery_s.append(victim.start())
            again += person.ask_again(victim.door())
            now, took_s = healed(victim, exchange)
            heal_s.append(took_s)
            now.duplicates += second_orders(person, victim)
            bare = unprotected(exchange.books())
            naked += [f"kill {index}: {symbol}" for symbol in bare]
            _add(found, now, f"kill {index} ({step}): ")
            if progress:
                _say(index, step, recovery_s[-1], took_s, now)
    except KeyboardInterrupt:
        print("stopped by hand; what was done until now counts", file=sys.stderr)
    finally:
        victim.stop()
        exchange.stop()
    return {
        "kills": len(recovery_s), "seed": seed, "mismatches": len(found.mismatches),
        "duplicates": len(found.duplicates), "lost": len(found.lost), "recovery_s": spread(recovery_s),
        "books_equal_after_s": spread(heal_s), "aimed_at": dict(aims), "orders": found.orders, "fills": found.fills,
        "tickets": len(person.sent), "tickets_sent_again": again, "without_stop": naked,
        "sentences": [*found.mismatches, *found.duplicates, *found.lost][:50],
    }  # fmt: skip


def _add(total: Comparison, now: Comparison, prefix: str) -> None:
    total.mismatches += [prefix + sentence for sentence in now.mismatches]
    total.duplicates += [prefix + sentence for sentence in now.duplicates]
    total.lost += [prefix + sentence for sentence in now.lost]
    total.orders, total.fills = now.orders, now.fills


def _say(index: int, step: str, recovery_s: float, heal_s: float, now: Comparison) -> None:
    outcome = "equal" if now.equal else f"{len(now.mismatches)} / {len(now.duplicates)} / {len(now.lost)}"
    line = f"kill {index + 1} at {step}: up after {recovery_s:.1f} s, books {outcome} {heal_s:.1f} s later"
    print(f"{line}; {now.orders} orders, {now.fills} fills", file=sys.stderr, flush=True)
    for sentence in [*now.mismatches, *now.duplicates, *now.lost][:8]:
        print(f"    {sentence}", file=sys.stderr, flush=True)


def main() -> None:
    """Run what the command line asks for."""
    chosen = options(
        __doc__,
        ("--kills", {"type": int, "default": 0, "help": "how often to kill"}),
        ("--faults", {"default": None, "help": "all, or kinds of faults separated by commas"}),
        ("--seed", {"type": int, "default": 1}),
    )
    if chosen.faults:
        from chaos_faults import run_faults

        report(run_faults(chosen.faults, chosen.seed), chosen.json)
        return
    with fresh_home() as home:
        result = kills(chosen.kills or 10, chosen.seed, home)
    report(result, chosen.json)
    sys.exit(1 if result["mismatches"] or result["duplicates"] or result["lost"] else 0)


if __name__ == "__main__":
    main()
