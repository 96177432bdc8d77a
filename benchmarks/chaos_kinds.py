"""The kinds of faults that ``chaos.py --faults`` and ``soak.py`` bring about, by name."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
from chaos_rig import Person, Victim, Wired
from measuring import EngineDoor

HOLD_S = 3.0
CLOCK_WITHIN_S = 60.0
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

    exchange: Wired
    victim: Victim
    person: Person
    dice: random.Random
    told: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # what must not have happened


# what rules cannot do ------------------------------------------------------------------------------------------------


def partial_then_drop(stage: Stage) -> None:
    """Let a large order fill in part while the account's connection is cut."""
    stage.person.act(stage.victim.door(), stage.dice, "partial")


def reject_stops(stage: Stage) -> None:
    """Open a position whose protective stop the exchange refuses: nobody else sends orders meanwhile."""
    stage.person.end()
    door = stage.victim.door()
    ticket = {"symbol": "BTCUSDT", "side": "buy", "kind": "market", "size": {"unit": "quote", "value": 2_000}}
    for _ in range(4):
        for symbol in ("BTCUSDT", "ETHUSDT"):
            _act(door, "position.close", symbol=symbol)
        time.sleep(0.7)
        stage.exchange.rules(({"action": "reject:-2021", "match": ORDER, "skip": 1, "count": 4},))
        _act(door, "ticket.submit", **ticket)
        time.sleep(1.0)
        if stage.exchange.acted():
            return
    stage.wrong.append("the exchange refused no stop in four attempts: nothing was tested")


def fund_in_the_dark(stage: Stage) -> None:
    """Settle funding while the engine is cut off."""
    time.sleep(1.0)
    stage.exchange.tell("funding", {"rate": stage.dice.choice((-1, 1)) * 0.0007})


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
            stage.wrong.append("the engine started on a database that another process holds")
        except (RuntimeError, TimeoutError):
            lines = (victim.home / "engine.log").read_text(errors="replace").strip().splitlines()
            stage.told.append(f"at start: {' '.join(lines[-2:])}")  # the sentence is wrapped
        finally:
            holder.kill()
    victim.start()


def until_suspended(stage: Stage) -> None:
    """Wait until the engine has measured the clocks, which it does twice a minute, and stopped taking risk."""
    deadline = time.monotonic() + CLOCK_WITHIN_S
    while time.monotonic() < deadline:
        status = stage.victim.status()
        if status is not None and status["trading_state"]:
            return
        time.sleep(0.2)
    stage.wrong.append(f"risk was still taken {CLOCK_WITHIN_S:.0f} s after the clocks had begun to differ by 11 s")


def _act(door: EngineDoor, name: str, **body: Any) -> None:
    try:
        door.act(name, **body)
    except (pa.ArrowException, StopIteration):
        return  # refused: there was nothing to close, or no new risk is allowed


def _after(code: str, count: int = 4) -> Fault:
    return Fault(({"action": code, "match": ORDER, "count": count},))


FAULTS: dict[str, Fault] = {
    "timeout_before_acceptance": Fault(
        ({"action": "timeout_before", "match": ORDER, "count": 2, "delay_ms": 12_000},), hold_s=6.0
    ),
    "timeout_after_acceptance": Fault(
        ({"action": "timeout_after", "match": ORDER, "count": 2, "delay_ms": 12_000},), hold_s=6.0
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
    "slow_body": Fault(mode="slow_body", hold_s=6.0),
    "truncated_json": Fault(mode="truncated_json"),
    "ws_drop": Fault(({"action": "drop_ws", "match": USER}, {"action": "drop_ws", "match": MARKET})),
    "ws_half_open": Fault(mode="half_open", hold_s=8.0),
    "duplicate_events": Fault(({"action": "duplicate_ws", "match": {"stream": "*"}, "probability": 0.7},)),
    "reordered_events": Fault(({"action": "swap_ws", "match": {"stream": "*"}, "probability": 0.5},)),
    "lost_events": Fault(({"action": "lose_ws", "match": {"stream": "*"}, "probability": 0.5},)),
    "listen_key_expiry": Fault(({"action": "expire_listen_key", "match": USER},)),
    "24h_close": Fault(({"action": "close_ws", "match": USER}, {"action": "close_ws", "match": MARKET})),
    "partial_fill_then_drop": Fault(({"action": "drop_ws", "match": USER, "after_s": 0.3},), act=partial_then_drop),
    "clock_11s": Fault(mode="clock", act=until_suspended, hold_s=1.0),
    "venue_restart": Fault(mode="refuse", hold_s=5.0),
    "stop_rejected": Fault(act=reject_stops),
    "funding_while_disconnected": Fault(mode="refuse", act=fund_in_the_dark),
    "disk_full": Fault(act=fill_disk, hold_s=0.5),
    "database_locked": Fault(act=lock_database, hold_s=0.0),
}


def chosen_kinds(kinds: str) -> list[str]:
    """Return the names behind ``all`` or a list separated by commas; SystemExit for an unknown one."""
    names = list(FAULTS) if kinds == "all" else [name.strip() for name in kinds.split(",")]
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise SystemExit(f"There is no fault {', '.join(unknown)}. There are {', '.join(FAULTS)}, and all.")
    return names
