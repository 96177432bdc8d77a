"""Every way in which the connection, the venue or this machine fails, while orders flow: what `chaos.py --faults` runs.

One practice exchange, one engine that reaches it through ``proxy.Proxy``, a strategy that trades each bar and a person
who sends tickets without pause. Each fault is set, holds for a few seconds and ends. Then the clock runs until the
engine is well (streams up, new risk allowed) and its books equal the exchange's, number by number. Meanwhile the
exchange's books are polled: the positions' notional over equity must not be above the limit in force because of
anything that was bought or sold. A run that left a difference is followed by a new exchange and a new engine, so that
no difference counts twice.
"""

from __future__ import annotations

import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from books import Comparison
from chaos_kinds import FAULTS, Fault, Stage, chosen_kinds
from chaos_rig import (
    ENGINE_GONE,
    Diary,
    Person,
    Victim,
    Watcher,
    Wired,
    healed,
    incidents_since,
    naked,
    sentences,
)
from measuring import spread

GROSS_LIMIT = 0.3  # of equity; small enough that strategy and tickets together reach it
SYMBOL_LIMIT = 0.2
LIMITS = {"max_gross_weight": GROSS_LIMIT, "max_symbol_weight": SYMBOL_LIMIT, "max_leverage": 1.0}
CALM_S = 1.0
ACT_WITHIN_S = 20.0
WELL_WITHIN_S = 120.0


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


def bring_about(stage: Stage, fault: Fault) -> int:
    """Set one fault, hold it until it has acted, and end it; return how often it acted."""
    exchange = stage.exchange
    if fault.rules:
        exchange.rules(fault.rules)
    exchange.proxy.set(fault.mode)
    if fault.act is not None:
        fault.act(stage)
    time.sleep(fault.hold_s)
    deadline = time.monotonic() + ACT_WITHIN_S
    while (fault.rules or fault.mode) and not exchange.acted() and time.monotonic() < deadline:
        time.sleep(0.2)  # on a slow machine the order that it waits for may not have come yet
    return exchange.heal()


def one_run(stage: Stage, name: str, index: int) -> dict[str, Any]:
    """Bring one fault about while orders flow; return what became of the books, and what the user was told."""
    fault = FAULTS[name]
    known = max((row["incident_id"] for row in incidents_since(stage.victim, 0)), default=0)
    stage.told, stage.wrong = [], []
    watcher = Watcher(stage.exchange, stage.victim, GROSS_LIMIT)
    watcher.start()
    try:
        stage.person.begin()
        time.sleep(CALM_S)
        acted = bring_about(stage, fault)
        began = time.monotonic()
        stage.person.end()
        trouble = well(stage.victim)
        well_s = time.monotonic() - began
        stage.person.ask_again(stage.victim.door())
        found, books_s = healed(stage.victim, stage.exchange)
    finally:
        stage.person.end()
        watcher.end()
    found.mismatches += stage.wrong
    if trouble is not None:
        found.mismatches.append(trouble)
    if (fault.rules or fault.mode) and not acted:
        found.mismatches.append(f"the fault never acted within {fault.hold_s + ACT_WITHIN_S:.0f} s: nothing was tested")
    found.mismatches += [f"{symbol} has no protective stop" for symbol in naked(stage.exchange)]
    told = [f"{row['severity']}: {row['message']}" for row in incidents_since(stage.victim, known)]
    return _row(name, index, found) | {
        "well_s": round(well_s, 2), "heal_s": round(well_s + books_s, 2), "exposure": round(watcher.highest, 4),
        "by_price": watcher.by_price, "polls": watcher.polls, "breaches": watcher.breaches, "acted": acted,
        "told": [*stage.told, *dict.fromkeys(told), *(f"desk: {line}" for line in watcher.shown)][:20],
    }  # fmt: skip


def _row(name: str, index: int, found: Comparison) -> dict[str, Any]:
    return {
        "kind": name, "run": index, "mismatches": found.mismatches, "duplicates": found.duplicates,
        "lost": found.lost, "orders": found.orders, "fills": found.fills, "well_s": None, "heal_s": None,
        "exposure": 0.0, "by_price": 0, "polls": 0, "breaches": [], "acted": 0, "told": [],
    }  # fmt: skip


class Theatre:
    """Makes a stage when one is needed, and a new one after a run that went wrong.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._seed, self._made = seed, 0
        self._stage: Stage | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def stage(self) -> Stage:
        """Return the stage in use, or a new one."""
        if self._stage is None:
            self._folder = tempfile.TemporaryDirectory(prefix="astrolabe-chaos-", ignore_cleanup_errors=True)
            home, self._made = Path(self._folder.name), self._made + 1
            dice = random.Random(f"{self._seed} {self._made}")
            exchange = Wired(self._seed + self._made - 1, home)
            victim = Victim(home, exchange)
            self._stage = Stage(exchange, victim, Person(victim, dice), dice)
            victim.prepare(settle_s=1.0)
            victim.door().act("settings.set", values=LIMITS)
        return self._stage

    def close(self) -> None:
        """End the stage in use."""
        stage, self._stage = self._stage, None
        if stage is not None:
            stage.person.end()
            stage.victim.stop()
            stage.exchange.stop()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def try_run(theatre: Theatre, name: str, index: int) -> dict[str, Any]:
    """Run once; where the run itself breaks down, once more on a new stage, and then say so."""
    for attempt in (1, 2):
        try:
            row = one_run(theatre.stage(), name, index)
        except (*ENGINE_GONE, RuntimeError, TimeoutError) as trouble:
            theatre.close()
            print(f"{name}: run {index + 1} broke down: {trouble!r}", file=sys.stderr, flush=True)
            broken = Comparison(mismatches=[f"the run broke down {attempt} times: {trouble!r}"])
            row = _row(name, index, broken)
        else:
            break
    if sentences(row):
        theatre.close()
    return row


def run_faults(kinds: str, seed: int, runs: int = 3, keep: Path | None = None) -> dict[str, Any]:
    """Run each kind ``runs`` times and return what was found.

    Parameters
    ----------
    kinds : str
        ``all`` or names of ``FAULTS`` separated by commas.
    seed : int
    runs : int
        Per kind.
    keep : Path or None
        File in which finished runs are kept; what it holds is not run again.

    Returns
    -------
    dict
        Counts of mismatches, duplicates, losses and breaches of the exposure limit over all runs, the highest exposure
        and its limit, times to heal in seconds, and for each kind what differed and what the user was told.
    """
    names = chosen_kinds(kinds)
    diary = Diary(keep, {"faults": names, "seed": seed, "runs": runs})
    done = {(row["kind"], row["run"]) for row in diary.rows}
    began, theatre = time.monotonic(), Theatre(seed)
    todo = [(name, index) for name in names for index in range(runs) if (name, index) not in done]
    with contextlib.closing(theatre):
        for place, (name, index) in enumerate(todo, 1):
            row = try_run(theatre, name, index)
            diary.add(row)
            _say(row, place, len(todo), time.monotonic() - began)
    return _result(diary.rows, names, seed, runs)


def _result(rows: list[dict[str, Any]], names: list[str], seed: int, runs: int) -> dict[str, Any]:
    counts = {name: sum(len(row[name]) for row in rows) for name in ("mismatches", "duplicates", "lost")}
    return {
        "benchmark": "faults", "seed": seed, "kinds": len(names), "runs_each": runs, "runs": len(rows), **counts,
        "breaches": sum(len(row["breaches"]) for row in rows),
        "exposure": {
            "highest": max((row["exposure"] for row in rows), default=0.0), "limit": GROSS_LIMIT,
            "polls": sum(row["polls"] for row in rows), "above_by_price_alone": sum(row["by_price"] for row in rows),
        },
        "heal_s": spread([row["heal_s"] for row in rows if row["heal_s"] is not None]),
        "orders": sum(row["orders"] for row in _last_of_stage(rows)),
        "fills": sum(row["fills"] for row in _last_of_stage(rows)),
        "by_kind": {name: _summary([row for row in rows if row["kind"] == name]) for name in names},
        "sentences": [f"{row['kind']}: {sentence}" for row in rows for sentence in sentences(row)][:50],
    }  # fmt: skip


def _last_of_stage(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows after which a new exchange began, whose counts begin at nothing again."""
    following = [*rows[1:], {"orders": -1}]
    return [row for row, after in zip(rows, following, strict=True) if after["orders"] < row["orders"]]


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    told = list(dict.fromkeys(sentence for row in rows for sentence in row["told"]))
    return {
        "runs": len(rows), "books_equal": not any(sentences(row) for row in rows),
        "acted": [row["acted"] for row in rows], "heal_s": [row["heal_s"] for row in rows],
        "highest_exposure": max((row["exposure"] for row in rows), default=0.0),
        "differing": [sentence for row in rows for sentence in sentences(row)][:20], "told": told[:20],
    }  # fmt: skip


def _say(row: dict[str, Any], place: int, n: int, elapsed_s: float) -> None:
    wrong = sentences(row)
    outcome = f"{len(wrong)} DIFFERENCES" if wrong else "books equal"
    told = row["told"][0] if row["told"] else "nothing"
    print(
        f"{place}/{n} after {elapsed_s / 60:.1f} min, {row['kind']} run {row['run'] + 1}: {outcome}, acted "
        f"{row['acted']}, healed in {row['heal_s']} s, exposure {row['exposure']}; told: {told[:140]}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    for sentence in wrong[:6]:
        print(f"    {sentence}", file=sys.stderr, flush=True)
