"""Every way in which the connection, the venue or this machine fails, while orders flow: what `chaos.py --faults` runs.

One practice exchange, one engine that reaches it through ``proxy.Proxy``, a strategy that trades each bar and a person
who sends tickets without pause. Each fault is set, holds for a few seconds and ends. Then the clock runs until the
engine is well (streams up, new risk allowed) and its books equal the exchange's, number by number. Meanwhile the
exchange's books are polled: the positions' notional over equity must never exceed the limit in force.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from books import Comparison
from chaos import Exchange, Person, Victim, healed, prepare, unprotected
from measuring import EngineDoor, fresh_home, spread
from proxy import Proxy

GROSS_LIMIT = 2.0  # of equity; small enough that strategy and tickets together reach it
SYMBOL_LIMIT = 0.4
HOLD_S = 4.0
CALM_S = 1.5
WELL_WITHIN_S = 60.0
ORDER = {"method": "POST", "path": "order"}
USER = {"stream": "user"}
MARKET = {"stream": "*@*"}


class Fault(NamedTuple):
    """How to bring one fault about.

    Parameters
    ----------
    rules : tuple of dict
        For the exchange.
    mode : str
        For the proxy.
    act : callable (Stage) or None
        Done while the fault holds, for what needs more than rules.
    hold_s : float
        How long it holds.
    """

    rules: tuple[dict[str, Any], ...] = ()
    mode: str = ""
    act: Callable[[Stage], None] | None = None
    hold_s: float = HOLD_S


@dataclass(slots=True)
class Stage:
    """Who plays."""

    exchange: Exchange
    victim: Victim
    person: Person
    proxy: Proxy
    dice: random.Random
    told: list[str] = field(default_factory=list)

    def rules(self, rules: tuple[dict[str, Any], ...]) -> None:
        """Put the exchange's fault rules in force; none clears them."""
        _post(self.exchange, "faults", {"rules": list(rules), "replace": True})

    def heal(self) -> int:
        """End every fault; return how often they have acted."""
        url = f"{self.exchange.hello['base_url']}/sandbox/faults"
        with urllib.request.urlopen(url, timeout=5) as answer:
            acted = self.proxy.acted + sum(rule["acted"] for rule in json.loads(answer.read())["rules"])
        self.proxy.set("")
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=5).close()
        return acted


class Wired(Exchange):
    """An exchange that the engine reaches through a proxy."""

    def __init__(self, seed: int, home: Path) -> None:
        super().__init__(seed, home)
        self.proxy = Proxy(int(self.hello["base_url"].rsplit(":", 1)[1]))

    @property
    def environment(self) -> dict[str, str]:
        """What an engine needs in its environment to trade here."""
        host = f"127.0.0.1:{self.proxy.port}"
        return super().environment | {"ASTER_BASE_URL": f"http://{host}", "ASTER_WS_URL": f"ws://{host}"}


def _post(exchange: Exchange, path: str, body: dict[str, Any]) -> None:
    url = f"{exchange.hello['base_url']}/sandbox/{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=5).close()


# what rules cannot do ------------------------------------------------------------------------------------------------


def partial_then_drop(stage: Stage) -> None:
    """Let a large order fill in part while the account's connection is cut."""
    stage.person.act(stage.victim.door(), stage.dice, "partial")


def reject_stops(stage: Stage) -> None:
    """Open a position whose protective stop the exchange refuses: nobody else sends orders meanwhile."""
    stage.person.end()
    door = stage.victim.door()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        _act(door, "position.close", symbol=symbol)
    time.sleep(0.5)
    stage.rules(({"action": "reject:-2021", "match": ORDER, "skip": 1, "count": 4},))
    _act(door, "ticket.submit", symbol="BTCUSDT", side="buy", kind="market", size={"unit": "quote", "value": 2_000})


def fund_in_the_dark(stage: Stage) -> None:
    """Settle funding while the engine is cut off."""
    time.sleep(1.0)
    _post(stage.exchange, "funding", {"rate": stage.dice.choice((-1, 1)) * 0.0007})


def fill_disk(stage: Stage) -> None:
    """Forbid the engine's process to make any file longer, as a full disk would, for as long as the fault holds."""
    pid = stage.victim.process.pid  # type: ignore[union-attr]
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        time.sleep(HOLD_S)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def lock_database(stage: Stage) -> None:
    """Restart the engine while another process holds its database: it must refuse with a sentence, then start."""
    victim = stage.victim
    stage.person.end()
    victim.stop()
    code = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(60)"
    path = str(victim.home / "paper.duckdb")
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            victim.start()
            stage.told.append("the engine started on a database that another process holds")
        except (RuntimeError, TimeoutError):
            lines = (victim.home / "engine.log").read_text(errors="replace").strip().splitlines()
            stage.told.append(f"at start: {' '.join(lines[-2:])}")  # the sentence is wrapped
        finally:
            holder.kill()
    victim.start()


def _act(door: EngineDoor, name: str, **body: Any) -> None:
    try:
        door.act(name, **body)
    except (pa.ArrowException, StopIteration):
        return  # refused: there was nothing to close, or no new risk is allowed


def _after(code: str, count: int = 4) -> Fault:
    return Fault(({"action": code, "match": ORDER, "count": count},))


FAULTS: dict[str, Fault] = {
    "timeout_before_acceptance": Fault(
        ({"action": "timeout_before", "match": ORDER, "count": 2, "delay_ms": 12_000},), hold_s=12.0
    ),
    "timeout_after_acceptance": Fault(
        ({"action": "timeout_after", "match": ORDER, "count": 2, "delay_ms": 12_000},), hold_s=12.0
    ),
    "503_executed": _after("http_503_after"),
    "503_not_executed": _after("http_503_before"),
    "1006_executed": _after("unknown_after:-1006"),
    "1007_executed": _after("unknown_after:-1007"),
    "connection_cut_before": _after("disconnect_before"),
    "connection_cut_after": _after("disconnect_after"),
    "429": Fault(({"action": "429", "match": {}, "count": 3},)),
    "418": Fault(({"action": "418", "match": {}, "count": 1, "delay_ms": 5_000},), hold_s=6.0),
    "html_error_body": Fault(({"action": "html_500", "match": {"path": "*"}, "probability": 0.5},)),
    "firewall_page": Fault(({"action": "403", "match": {}, "probability": 0.5},)),
    "slow_body": Fault(mode="slow_body", hold_s=13.0),
    "truncated_json": Fault(mode="truncated_json"),
    "ws_drop": Fault(({"action": "drop_ws", "match": USER}, {"action": "drop_ws", "match": MARKET})),
    "ws_half_open": Fault(mode="half_open", hold_s=8.0),
    "duplicate_events": Fault(({"action": "duplicate_ws", "match": {"stream": "*"}, "probability": 0.7},)),
    "reordered_events": Fault(({"action": "swap_ws", "match": {"stream": "*"}, "probability": 0.5},)),
    "lost_events": Fault(({"action": "lose_ws", "match": {"stream": "*"}, "probability": 0.5},)),
    "listen_key_expiry": Fault(({"action": "expire_listen_key", "match": USER},)),
    "24h_close": Fault(({"action": "close_ws", "match": USER}, {"action": "close_ws", "match": MARKET})),
    "partial_fill_then_drop": Fault(({"action": "drop_ws", "match": USER, "after_s": 0.3},), act=partial_then_drop),
    "clock_11s": Fault(mode="clock", hold_s=35.0),
    "venue_restart": Fault(mode="refuse", hold_s=6.0),
    "stop_rejected": Fault(act=reject_stops),
    "funding_while_disconnected": Fault(mode="refuse", act=fund_in_the_dark),
    "disk_full": Fault(act=fill_disk, hold_s=0.5),
    "database_locked": Fault(act=lock_database, hold_s=0.0),
}


# one run -------------------------------------------------------------------------------------------------------------


class Watcher(threading.Thread):
    """Polls the exchange's books for the notional of all positions over equity, and the desk for what it shows."""

    def __init__(self, exchange: Exchange, victim: Victim) -> None:
        super().__init__(name="exposure", daemon=True)
        self._exchange, self._victim, self._ended = exchange, victim, threading.Event()
        self.shown: dict[str, None] = {}
        self.highest = 0.0
        self.polls = 0

    def run(self) -> None:
        """Poll until ended."""
        while not self._ended.wait(0.25):
            try:
                books = self._exchange.books()
            except OSError:
                continue
            gross = sum(abs(float(row["notional"])) for row in books["positions"])
            self.highest = max(self.highest, gross / float(books["balances"]["margin_balance"]))
            self.polls += 1
            self._look_at_desk()

    def _look_at_desk(self) -> None:
        status = self._victim.status()
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
        self.join(5)


def well(victim: Victim, within_s: float = WELL_WITHIN_S) -> str | None:
    """Wait until streams are up, books reconciled and new risk is allowed; return what is still wrong, or None."""
    deadline, wrong = time.monotonic() + within_s, "the engine does not answer"
    while time.monotonic() < deadline:
        status = victim.status()
        if status is not None:
            down = [feed["name"] for feed in status["feeds"] if feed["state"] == "down"]
            wrong = (
                f"phase {status['phase']}, trading state {status['trading_state']}, streams down: {down}, in doubt: "
                f"{status['unknown_orders']}, storage: {status['storage_trouble']}, last reconcile: "
                f"{(status['last_reconcile'] or {}).get('message')}"
            )
            if status["phase"] == "trading" and not (status["trading_state"] or down or status["unknown_orders"]):
                return None
        time.sleep(0.2)
    return f"not well within {within_s:.0f} s: {wrong}"


def incidents_since(victim: Victim, incident_id: int) -> list[dict[str, Any]]:
    """Return newer incidents, oldest first."""
    rows = victim.door().read(table="incidents", limit=2_000).to_pylist()
    return sorted((row for row in rows if row["incident_id"] > incident_id), key=lambda row: row["incident_id"])


def one_run(stage: Stage, fault: Fault) -> dict[str, Any]:
    """Bring one fault about while orders flow; return what became of the books, and what the user was told."""
    known = max((row["incident_id"] for row in incidents_since(stage.victim, 0)), default=0)
    stage.told = []
    watcher = Watcher(stage.exchange, stage.victim)
    watcher.start()
    stage.person.begin()
    time.sleep(CALM_S)
    if fault.rules:
        stage.rules(fault.rules)
    stage.proxy.set(fault.mode)
    if fault.act is not None:
        fault.act(stage)
    time.sleep(fault.hold_s)
    acted = stage.heal()
    began = time.monotonic()
    stage.person.end()
    trouble = well(stage.victim)
    well_s = time.monotonic() - began
    stage.person.ask_again(stage.victim.door())
    found, books_s = healed(stage.victim, stage.exchange)
    watcher.end()
    if trouble is not None:
        found.mismatches.append(trouble)
    found.mismatches += [f"{symbol} has no protective stop" for symbol in _naked(stage)]
    told = [f"{row['severity']}: {row['message']}" for row in incidents_since(stage.victim, known)]
    return {
        "found": found, "well_s": well_s, "heal_s": well_s + books_s, "exposure": watcher.highest,
        "polls": watcher.polls, "acted": acted,
        "told": [*stage.told, *dict.fromkeys(told), *(f"desk: {line}" for line in watcher.shown)],
    }  # fmt: skip


def _naked(stage: Stage, within_s: float = 15.0) -> list[str]:
    deadline = time.monotonic() + within_s
    while (bare := unprotected(stage.exchange.books())) and time.monotonic() < deadline:
        time.sleep(0.3)
    return bare


# all ------------------------------------------------------------------------------------------------------------------


def chosen_kinds(kinds: str) -> list[str]:
    """Return the names behind ``all`` or a list separated by commas; SystemExit for an unknown one."""
    names = list(FAULTS) if kinds == "all" else [name.strip() for name in kinds.split(",")]
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise SystemExit(f"There is no fault {', '.join(unknown)}. There are {', '.join(FAULTS)}, and all.")
    return names


def run_faults(kinds: str, seed: int, runs: int = 3) -> dict[str, Any]:
    """Run each kind ``runs`` times on one engine and return what was found.

    Parameters
    ----------
    kinds : str
        ``all`` or names of ``FAULTS`` separated by commas.
    seed : int
    runs : int
        Per kind.

    Returns
    -------
    dict
        Counts of mismatches, duplicates and losses over all comparisons, the highest exposure and its limit, times to
        heal in seconds, and for each kind what differed and what the user was told.
    """
    names, dice = chosen_kinds(kinds), random.Random(seed)
    total, by_kind, heal_s, exposure, polls = Comparison(), {}, [], 0.0, 0
    with fresh_home() as home:
        exchange = Wired(seed, home)
        victim = Victim(home, exchange)
        stage = Stage(exchange, victim, Person(victim, dice), exchange.proxy, dice)
        try:
            prepare(victim, settle_s=1.0)
            limits = {"max_gross_weight": GROSS_LIMIT, "max_symbol_weight": SYMBOL_LIMIT, "max_leverage": GROSS_LIMIT}
            victim.door().act("settings.set", values=limits)
            for name in names:
                outcomes = [one_run(stage, FAULTS[name]) for _ in range(runs)]
                by_kind[name] = _summary(outcomes)
                for outcome in outcomes:
                    _add(total, outcome["found"], f"{name}: ")
                heal_s += [outcome["heal_s"] for outcome in outcomes]
                exposure = max(exposure, by_kind[name]["highest_exposure"])
                polls += sum(outcome["polls"] for outcome in outcomes)
                _say(name, by_kind[name])
        finally:
            stage.heal()
            victim.stop()
            exchange.stop()
            exchange.proxy.close()
    return {
        "benchmark": "faults", "seed": seed, "kinds": len(names), "runs_each": runs,
        "mismatches": len(total.mismatches), "duplicates": len(total.duplicates), "lost": len(total.lost),
        "exposure": {"highest": round(exposure, 4), "limit": GROSS_LIMIT, "polls": polls},
        "heal_s": spread(heal_s), "orders": total.orders, "fills": total.fills, "by_kind": by_kind,
        "sentences": [*total.mismatches, *total.duplicates, *total.lost][:50],
    }  # fmt: skip


def _add(total: Comparison, now: Comparison, prefix: str) -> None:
    total.mismatches += [prefix + sentence for sentence in now.mismatches]
    total.duplicates += [prefix + sentence for sentence in now.duplicates]
    total.lost += [prefix + sentence for sentence in now.lost]
    total.orders, total.fills = now.orders, now.fills


def _summary(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    found: list[Comparison] = [outcome["found"] for outcome in outcomes]
    differing = [s for one in found for s in (*one.mismatches, *one.duplicates, *one.lost)]
    told = list(dict.fromkeys(sentence for outcome in outcomes for sentence in outcome["told"]))
    return {
        "runs": len(outcomes), "books_equal": all(one.equal for one in found),
        "acted": [outcome["acted"] for outcome in outcomes],
        "heal_s": [round(outcome["heal_s"], 1) for outcome in outcomes],
        "highest_exposure": round(max(outcome["exposure"] for outcome in outcomes), 4),
        "differing": differing[:20], "told": told[:20],
    }  # fmt: skip


def _say(name: str, summary: dict[str, Any]) -> None:
    outcome = "equal" if summary["books_equal"] else f"{len(summary['differing'])} DIFFERENCES"
    told = summary["told"][0] if summary["told"] else "nothing"
    print(
        f"{name}: books {outcome}, acted {summary['acted']}, healed in {summary['heal_s']} s; told: {told[:140]}",
        file=sys.stderr,
        flush=True,
    )
    for sentence in summary["differing"][:6]:
        print(f"    {sentence}", file=sys.stderr, flush=True)
