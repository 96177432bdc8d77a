"""Thirty days of market time with faults at random: could the engine act all the while, and did it grow? Prints JSON.

    python benchmarks/soak.py [--days 30] [--speed 3600] [--seed 1] [--faults-per-day 1] [--json OUT]

One practice exchange whose market runs fast, one engine on it that decides on each hourly bar, in one process from the
first day to the last. Faults come at random moments (Poisson, seeded), half of them aimed at the close of an hour,
where they hurt most. **While a fault is in force and until the engine is well again, the market runs at real speed**,
because sockets, timeouts and pauses are real seconds: an outage of eight seconds must count as eight seconds of market
time, and not as eight hours. Then the days go on.

*Available* is the market time in which the engine could decide and act: it answers, its phase is trading, new risk is
allowed, both streams are up and fresh. It is sampled; the time between two samples counts only when both were good.
Every bar that came due must have its decision. At the end the books must equal the exchange's, number by number. The
memory of the engine's process is sampled, and the slope of a line through it reported. The exit code is 1 when the
books differ, availability is below 99.9 %, a decision is missing or the memory still grows by more than 5 % over the
second half of the run.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from chaos_faults import bring_about, well
from chaos_kinds import FAULTS, Stage
from chaos_rig import ENGINE_GONE, Person, Victim, Wired, healed
from measuring import EngineDoor, options, report, spread

SYMBOLS = ("BTCUSDT", "ETHUSDT")
SETTINGS = {
    "symbols": list(SYMBOLS), "decision_interval": "1h", "maker_wait_s": 0.3, "max_symbol_weight": 1.0,
    "max_gross_weight": 2.0, "max_leverage": 5.0,
}  # fmt: skip
# Everything that leaves the process alive; SIGKILL and a held database are the chaos benchmark's.
KINDS = tuple(name for name in FAULTS if name != "database_locked")
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
REAL_SPEED = 1.0
SAMPLE_S = 0.1
MEMORY_EVERY_S = 1.0
WARM_UP = 0.15  # share of the run left out of the memory's slope: caches fill
AIM_BEFORE_MS = 1_500
WANTED_AVAILABILITY = 0.999
WANTED_GROWTH = 0.05


@dataclass(slots=True)
class Seen:
    """What the sampler has seen. Times in market ms; ``down_ms`` by what the engine said was wrong."""

    covered_ms: int = 0
    good_ms: int = 0
    samples: int = 0
    down_ms: Counter[str] = field(default_factory=Counter)
    by_fault_ms: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, float]] = field(default_factory=list)  # market ms, bytes


class Sampler(threading.Thread):
    """Looks at the engine and at the market's clock all the time.

    Parameters
    ----------
    victim : Victim
    exchange : Wired
    """

    def __init__(self, victim: Victim, exchange: Wired) -> None:
        super().__init__(name="sampler", daemon=True)
        self._victim, self._exchange, self._ended = victim, exchange, threading.Event()
        self._process = psutil.Process(victim.process.pid)  # type: ignore[union-attr]
        self.seen, self.fault, self.market_ms = Seen(), "none", 0
        self._door: EngineDoor | None = None

    def run(self) -> None:
        """Sample until ended."""
        seen, last, memory_due_s = self.seen, None, 0.0
        while not self._ended.wait(SAMPLE_S):
            try:
                market_ms = int(self._exchange.ask("clock")["market_ms"])
            except OSError:
                continue
            wrong, fault = self._wrong(), self.fault
            seen.samples += 1
            if last is not None:
                passed_ms, trouble = market_ms - last[0], wrong or last[1]
                seen.covered_ms += passed_ms
                if trouble is None:
                    seen.good_ms += passed_ms
                else:
                    seen.down_ms[trouble] += passed_ms
                    seen.by_fault_ms[fault] += passed_ms
            last, self.market_ms = (market_ms, wrong), market_ms
            if time.monotonic() >= memory_due_s:
                memory_due_s = time.monotonic() + MEMORY_EVERY_S
                seen.memory.append((float(market_ms), float(self._process.memory_info().rss)))

    def _wrong(self) -> str | None:
        """Return why the engine could not decide and act at this moment, or None."""
        try:
            self._door = self._door or self._victim.door()
            status = self._door.ask("status")
        except ENGINE_GONE:
            self._door = None
            return "it does not answer"
        if status["phase"] != "trading":
            return f"phase {status['phase']}"
        for feed in status["feeds"]:
            if feed["state"] != "ok":
                return f"{feed['name']} stream {feed['state']}"
        return "no new risk allowed" if status["trading_state"] else None

    def end(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self.join(15)


def run_to(stage: Stage, sampler: Sampler, target_ms: float, speed: float) -> None:
    """Let the market run until a moment, at full speed first and more slowly close to it."""
    now_speed = 0.0
    while (left_ms := target_ms - int(stage.exchange.ask("clock")["market_ms"])) > 0:
        wanted = speed if left_ms > speed * 600 else min(speed, max(REAL_SPEED, left_ms / 600))
        if wanted != now_speed:
            stage.exchange.tell("clock", {"speed": wanted})
            now_speed = wanted
        time.sleep(0.05)


def one_fault(stage: Stage, sampler: Sampler, name: str) -> dict[str, Any]:
    """Bring one fault about at real speed, with a person trading, and wait until the engine is well again."""
    stage.exchange.tell("clock", {"speed": REAL_SPEED})
    sampler.fault = name
    stage.person.begin(1)
    acted = bring_about(stage, FAULTS[name])
    began = time.monotonic()
    stage.person.end()
    trouble = well(stage.victim)
    sampler.fault = "none"
    return {"kind": name, "acted": acted, "heal_s": round(time.monotonic() - began, 2), "trouble": trouble}


def plan(days: float, per_day: float, dice: random.Random, start_ms: int) -> list[tuple[float, str]]:
    """Return when which fault comes, by market time; half of them just before an hour closes."""
    moments, at_ms = [], float(start_ms)
    end_ms = start_ms + days * DAY_MS
    while per_day > 0 and (at_ms := at_ms + dice.expovariate(per_day) * DAY_MS) < end_ms:
        aimed = dice.random() < 0.5
        moment = (at_ms // HOUR_MS + 1) * HOUR_MS - AIM_BEFORE_MS if aimed else at_ms
        moments.append((moment, dice.choice(KINDS)))
    return sorted(moments)


def memory_line(memory: list[tuple[float, float]], wall_s: float) -> dict[str, Any]:
    """Return the engine's memory (MB) and lines through it: after the warm-up, and through the second half alone.

    The record's caches fill at first. Memory is flat when the second half's line rises by no more than 5 % of its
    middle: what leaks goes on leaking.
    """
    sizes = [size / 1e6 for _, size in memory]
    warm, half = (_line(memory[int(len(memory) * share) :]) for share in (WARM_UP, 0.5))
    days = (memory[-1][0] - memory[0][0]) / DAY_MS
    return {
        "first_mb": round(sizes[0], 1), "last_mb": round(sizes[-1], 1), "highest_mb": round(max(sizes), 1),
        "after_warm_up": warm, "second_half": half,
        "slope_mb_per_wall_hour": round(half["slope_mb_per_market_day"] * days / wall_s * 3600, 2),
        "flat": half["growth"] <= WANTED_GROWTH,
    }  # fmt: skip


def _line(memory: list[tuple[float, float]]) -> dict[str, float]:
    """Return slope (MB a market day) and growth over the stretch (share of its median) of the line of least squares."""
    days, megabytes = np.array(memory).T / np.array([[DAY_MS], [1e6]])
    if len(memory) < 3 or not days[-1] > days[0]:
        return {"slope_mb_per_market_day": 0.0, "growth": 0.0}
    slope = float(np.polyfit(days - days[0], megabytes, 1)[0])
    growth = slope * float(days[-1] - days[0]) / float(np.median(megabytes))
    return {"slope_mb_per_market_day": round(slope, 4), "growth": round(growth, 4)}


def decisions(home: Path, start_ms: int, end_ms: int) -> dict[str, Any]:
    """Return how many bars came due, how many were decided on, and when the missing ones closed."""
    from storage.database import Database

    store = Database(home / "paper.duckdb")
    rows = store.rows(
        "SELECT ts_close // 1000000 AS ts_close, elapsed_ms, "
        "json_extract(detail, '$.inputs.trading_state')::INTEGER AS state FROM decisions"
    )
    store.close()
    made = {int(row["ts_close"]) for row in rows}
    due = range((start_ms // HOUR_MS + 1) * HOUR_MS, end_ms, HOUR_MS)
    missed = [close_ms for close_ms in due if close_ms not in made]
    held = sum(row["state"] != 0 for row in rows if row["ts_close"] in set(due))
    return {
        "due": len(due), "made": len(due) - len(missed), "missed": len(missed), "missed_closes_ms": missed[:20],
        "while_no_new_risk_was_allowed": held, "elapsed_ms": spread([row["elapsed_ms"] for row in rows]),
    }  # fmt: skip


def soak(days: float, speed: float, seed: int, per_day: float, home: Path) -> dict[str, Any]:
    """Run one soak in an empty folder and return what was found."""
    dice = random.Random(seed)
    exchange = Wired(seed, home, "--speed", str(speed), symbols=SYMBOLS)
    victim = Victim(home, exchange, "--speed", str(speed))
    stage = Stage(exchange, victim, Person(victim, dice, SYMBOLS), dice)
    faults: list[dict[str, Any]] = []
    try:
        exchange.tell("clock", {"speed": REAL_SPEED})
        victim.prepare(3.0, **SETTINGS)
        sampler = Sampler(victim, exchange)
        sampler.start()
        began, start_ms = time.monotonic(), int(exchange.ask("clock")["market_ms"])
        end_ms = start_ms + int(days * DAY_MS)
        try:
            for at_ms, name in plan(days, per_day, dice, start_ms):
                run_to(stage, sampler, at_ms, speed)
                faults.append(one_fault(stage, sampler, name))
                _say(sampler, faults[-1], start_ms, time.monotonic() - began)
            run_to(stage, sampler, end_ms, speed)
            exchange.tell("clock", {"speed": REAL_SPEED})
        finally:
            wall_s = time.monotonic() - began
            sampler.end()
        trouble = well(victim)
        found, _ = healed(victim, exchange)
    finally:
        stage.person.end()
        victim.stop()
        exchange.stop()
    wrong = [*found.mismatches, *found.duplicates, *found.lost, *([trouble] if trouble else [])]
    seen = sampler.seen
    return {
        "benchmark": "soak", "days": round(seen.covered_ms / DAY_MS, 3), "seed": seed, "speed": speed,
        "wall_s": round(wall_s, 1), "sustained_speed": round(seen.covered_ms / 1e3 / wall_s, 1),
        "availability": round(seen.good_ms / seen.covered_ms, 6), "availability_wanted": WANTED_AVAILABILITY,
        "samples": seen.samples,
        "down_s": {name: round(ms / 1e3, 1) for name, ms in seen.down_ms.most_common()},
        "down_s_by_fault": {name: round(ms / 1e3, 1) for name, ms in seen.by_fault_ms.most_common()},
        "decisions": decisions(home, start_ms, end_ms),
        "faults": {
            "n": len(faults), "acted": sum(bool(f["acted"]) for f in faults),
            "by_kind": dict(Counter(f["kind"] for f in faults)), "heal_s": spread([f["heal_s"] for f in faults]),
            "not_healed": [f["trouble"] for f in faults if f["trouble"]],
        },
        "memory": memory_line(seen.memory, wall_s), "orders": found.orders, "fills": found.fills,
        "books_equal": not wrong, "sentences": wrong[:20],
    }  # fmt: skip


def _say(sampler: Sampler, fault: dict[str, Any], start_ms: int, wall_s: float) -> None:
    seen = sampler.seen
    print(
        f"day {(sampler.market_ms - start_ms) / DAY_MS:.2f} after {wall_s / 60:.1f} min: {fault['kind']} acted "
        f"{fault['acted']}, well after {fault['heal_s']} s; available {seen.good_ms / max(seen.covered_ms, 1):.5f}, "
        f"{seen.memory[-1][1] / 1e6:.0f} MB",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def passed(result: dict[str, Any]) -> bool:
    """Return whether the run kept what it promises."""
    return bool(
        result["books_equal"]
        and result["availability"] >= WANTED_AVAILABILITY
        and result["decisions"]["missed"] == 0
        and not result["faults"]["not_healed"]
        and result["memory"]["flat"]
    )


def main() -> None:
    """Run what the command line asks for."""
    chosen = options(
        __doc__,
        ("--days", {"type": float, "default": 30.0, "help": "of market time"}),
        ("--speed", {"type": float, "default": 3600.0, "help": "market time per wall time, at most 3600"}),
        ("--seed", {"type": int, "default": 1}),
        ("--faults-per-day", {"type": float, "default": 1.0, "help": "on average, of market time"}),
    )
    with tempfile.TemporaryDirectory(prefix="astrolabe-soak-", ignore_cleanup_errors=True) as folder:
        result = soak(chosen.days, chosen.speed, chosen.seed, chosen.faults_per_day, Path(folder))
    report(result, chosen.json)
    sys.exit(0 if passed(result) else 1)


if __name__ == "__main__":
    main()
