"""Kill the engine while its orders work, again and again, and compare its books with the exchange's. Prints JSON.

    python benchmarks/chaos.py --kills 100 --seed 1 [--json OUT] [--keep FILE]
    python benchmarks/chaos.py --faults all --seed 1 [--runs 3] [--json OUT] [--keep FILE]

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

import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from books import Comparison
from chaos_rig import (
    ENGINE_GONE,
    SETTINGS,
    Diary,
    Exchange,
    Person,
    Victim,
    Watcher,
    healed,
    incidents_since,
    naked,
    sentences,
)
from measuring import options, report, spread

STEPS = ("intent", "sent", "acked", "partial", "cancel", "any")
SETTLE_S = 15.0  # once: for the first engine's download of hourly candles
GROSS_LIMIT = min(SETTINGS["max_gross_weight"], SETTINGS["max_leverage"])


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


def second_orders(person: Person, victim: Victim) -> list[str]:
    """Return a sentence when more manual orders exist than tickets were sent."""
    rows = victim.door().read(table="orders", limit=200_000).to_pylist()
    made = sum(row["purpose"] == "manual" for row in rows)
    commands = victim.door().read(table="commands", limit=200_000).to_pylist()
    allowed = len(person.sent) + sum(row["command"] == "position.close" for row in commands)
    return [f"{made} manual orders for {allowed} commands"] if made > allowed else []


class Scene:
    """An exchange, an engine on it and a person: what is killed, or begun anew after a kill that went wrong.

    Parameters
    ----------
    seed : int
    home : Path
        An empty folder.
    settle_s : float
        Pause after the very first start.
    """

    def __init__(self, seed: int, home: Path, settle_s: float) -> None:
        self.exchange = Exchange(seed, home)
        self.victim = Victim(home, self.exchange)
        self.person = Person(self.victim, random.Random(f"{seed} person"))
        self.victim.prepare(settle_s)

    def one_kill(self, index: int, step: str, dice: random.Random) -> dict[str, Any]:
        """Kill once at a step, start again and return what was found."""
        victim, exchange = self.victim, self.exchange
        known = max((row["incident_id"] for row in incidents_since(victim, 0)), default=0)
        watcher = Watcher(exchange, None, GROSS_LIMIT)
        watcher.start()
        try:
            strike(self.person, victim, exchange, dice, step)
            time.sleep(dice.uniform(0.0, 1.0))
            recovery_s = victim.start()
            again = self.person.ask_again(victim.door())
            found, heal_s = healed(victim, exchange)
        finally:
            self.person.end()
            watcher.end()
        found.duplicates += second_orders(self.person, victim)
        told = [f"{row['severity']}: {row['message']}" for row in incidents_since(victim, known)]
        return _row(index, step, found) | {
            "recovery_s": round(recovery_s, 3), "heal_s": round(heal_s, 3), "again": again, "told": told[:10],
            "without_stop": naked(exchange), "tickets": len(self.person.sent), "breaches": watcher.breaches,
            "exposure": round(watcher.highest, 4), "polls": watcher.polls,
        }  # fmt: skip

    def close(self) -> None:
        """End engine and exchange."""
        self.person.end()
        self.victim.stop()
        self.exchange.stop()


def _row(index: int, step: str, found: Comparison) -> dict[str, Any]:
    return {
        "kill": index, "step": step, "mismatches": found.mismatches, "duplicates": found.duplicates,
        "lost": found.lost, "orders": found.orders, "fills": found.fills, "recovery_s": None, "heal_s": None,
        "again": 0, "told": [], "without_stop": [], "tickets": 0, "breaches": [], "exposure": 0.0, "polls": 0,
    }  # fmt: skip


def kills(
    n: int, seed: int, home: Path, *, steps: tuple[str, ...] = STEPS, settle_s: float = SETTLE_S,
    progress: bool = True, keep: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Kill ``n`` times, or until Ctrl-C, and return what was found.

    Parameters
    ----------
    steps : tuple of str
        What to aim at, in turn.
    settle_s : float
        Pause after the very first start.
    keep : Path or None
        File in which finished kills are kept; what it holds is not done again.

    Returns
    -------
    dict
        ``kills``, ``mismatches``, ``duplicates``, ``lost``, ``breaches`` (counts over all comparisons, and the
        sentences), recovery times in seconds from process start to trading with reconciled books, and how often each
        step was aimed at.
    """
    diary, scene = Diary(keep, {"kills": n, "seed": seed}), None
    try:
        for index in range(len(diary.rows), n):
            step = steps[index % len(steps)]
            dice = random.Random(f"{seed} {index}")
            try:
                if scene is None:
                    scene = Scene(seed, Path(tempfile.mkdtemp(dir=home)), settle_s)
                row = scene.one_kill(index, step, dice)
            except (*ENGINE_GONE, RuntimeError, TimeoutError) as trouble:
                row = _row(index, step, Comparison(mismatches=[f"the engine did not come back: {trouble!r}"]))
            if sentences(row) and scene is not None:
                scene.close()  # a difference counts once: the next kill begins with new books
                scene = None
            diary.add(row)
            if progress:
                _say(row, n)
    except KeyboardInterrupt:
        print("stopped by hand; what was done until now counts", file=sys.stderr)
    finally:
        if scene is not None:
            scene.close()
    return _result(diary.rows, seed)


def _result(rows: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    counts = {name: sum(len(row[name]) for row in rows) for name in ("mismatches", "duplicates", "lost", "breaches")}
    last = rows[-1] if rows else {"orders": 0, "fills": 0, "tickets": 0}
    told = Counter(sentence.split(": ", 1)[0] for row in rows for sentence in row["told"])
    return {
        "benchmark": "kills", "kills": len(rows), "seed": seed, **counts,
        "recovery_s": spread([row["recovery_s"] for row in rows if row["recovery_s"] is not None]),
        "books_equal_after_s": spread([row["heal_s"] for row in rows if row["heal_s"] is not None]),
        "aimed_at": dict(Counter(row["step"] for row in rows)), "orders": last["orders"], "fills": last["fills"],
        "tickets": last["tickets"], "tickets_sent_again": sum(row["again"] for row in rows),
        "exposure": {
            "highest": max((row["exposure"] for row in rows), default=0.0), "limit": GROSS_LIMIT,
            "polls": sum(row["polls"] for row in rows),
        },
        "without_stop": [f"kill {row['kill']}: {symbol}" for row in rows for symbol in row["without_stop"]],
        "told": {
            "incidents": dict(told), "sentences": list(dict.fromkeys(s for row in rows for s in row["told"]))[:10],
        },
        "sentences": [f"kill {row['kill']} ({row['step']}): {s}" for row in rows for s in sentences(row)][:50],
    }  # fmt: skip


def _say(row: dict[str, Any], n: int) -> None:
    wrong = sentences(row)
    outcome = f"{len(wrong)} DIFFERENCES" if wrong else "equal"
    print(
        f"kill {row['kill'] + 1}/{n} at {row['step']}: up after {row['recovery_s']} s, books {outcome} "
        f"{row['heal_s']} s later; {row['orders']} orders, {row['fills']} fills",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    for sentence in wrong[:8]:
        print(f"    {sentence}", file=sys.stderr, flush=True)


def main() -> None:
    """Run what the command line asks for."""
    chosen = options(
        __doc__,
        ("--kills", {"type": int, "default": 0, "help": "how often to kill"}),
        ("--faults", {"default": None, "help": "all, or kinds of faults separated by commas"}),
        ("--runs", {"type": int, "default": 3, "help": "of each kind of fault"}),
        ("--seed", {"type": int, "default": 1}),
        ("--keep", {"type": Path, "metavar": "FILE", "help": "keep finished runs here and go on from them"}),
    )
    if chosen.faults:
        from chaos_faults import run_faults

        result = run_faults(chosen.faults, chosen.seed, chosen.runs, chosen.keep)
    else:
        with tempfile.TemporaryDirectory(prefix="astrolabe-chaos-", ignore_cleanup_errors=True) as folder:
            result = kills(chosen.kills or 10, chosen.seed, Path(folder), keep=chosen.keep)
    report(result, chosen.json)
    failing = ("mismatches", "duplicates", "lost", "breaches", "without_stop")
    sys.exit(1 if any(result.get(name) for name in failing) else 0)


if __name__ == "__main__":
    main()
