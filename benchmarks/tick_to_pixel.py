"""From a tick received by the engine to pixels on the desk, and what that costs the servers. Prints JSON.

    python benchmarks/tick_to_pixel.py [--seconds 20] [--home DIR]

The workstation is started as a person starts it, on a fresh data folder; headless Chromium opens the desk. The page
itself records for each painted frame when the engine had received what the frame shows (``window.__astrolabe``); both
clocks are this machine's wall clock. Bound: a frame cannot be on screen before the relay has sent it, so the time from
relay to pixel is measured in the same run; the relay sends at most 30 times a second.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
from measuring import (
    browser_page,
    cpu_s,
    door_when_ready,
    fresh_home,
    options,
    report,
    spread,
    wait_trading,
    workstation,
)

SETTLE_S = 5.0
TARGET = {"updates_per_s": 10.0, "p95_ms": 100.0, "server_cpu_pct": 5.0}
RESET = """() => { const b = window.__astrolabe; b.latencies.length = 0; b.serverToPixel.length = 0;
                   return {updates: b.updates, messages: b.messages, at: performance.now()}; }"""
READ = """() => { const b = window.__astrolabe; return {updates: b.updates, messages: b.messages,
                  latencies: [...b.latencies], serverToPixel: [...b.serverToPixel], at: performance.now()}; }"""


def measure(home: Path, seconds: float) -> dict[str, Any]:
    """Start everything on ``home``, watch the desk, return the figures."""
    with workstation(home) as (url, screen):
        door = door_when_ready(home, screen)
        wait_trading(door)
        with browser_page() as page:
            page.goto(f"{url}/")
            page.wait_for_function("() => (window.__astrolabe?.updates ?? 0) > 20", timeout=60_000)
            time.sleep(SETTLE_S)
            pids = {"screen": screen.pid, "engine": door.pid, "practice_exchange": door.sandbox_pid() or 0}
            used = {name: cpu_s(pid) for name, pid in pids.items()}
            began, before = time.monotonic(), page.evaluate(RESET)
            time.sleep(seconds)
            after, elapsed = page.evaluate(READ), time.monotonic() - began
            cpu = {name: 100 * (cpu_s(pid) - used[name]) / elapsed for name, pid in pids.items()}
            memory = {name: psutil.Process(pid).memory_info().rss / 1e6 for name, pid in pids.items() if pid}
    page_s = (after["at"] - before["at"]) / 1e3
    latency = spread(after["latencies"], 1)
    rate = (after["updates"] - before["updates"]) / page_s
    return {
        "benchmark": "tick_to_pixel",
        "seconds": round(page_s, 1),
        "updates_per_s": round(rate, 1),
        "messages_per_s": round((after["messages"] - before["messages"]) / page_s, 1),
        "tick_to_pixel_ms": latency,
        "bound_relay_to_pixel_ms": spread(after["serverToPixel"], 1),
        "cpu_pct_of_one_core": {name: round(value, 1) for name, value in cpu.items()},
        "memory_mb": {name: round(value) for name, value in memory.items()},
        "target": TARGET,
        "reached": bool(
            latency["p95"] is not None
            and rate >= TARGET["updates_per_s"]
            and latency["p95"] < TARGET["p95_ms"]
            and cpu["screen"] < TARGET["server_cpu_pct"]
        ),
    }


def main() -> None:
    chosen = options(
        __doc__,
        ("--seconds", {"type": float, "default": 20.0, "help": "how long to watch"}),
        ("--home", {"type": Path, "help": "data folder to keep (default: a fresh one, removed afterwards)"}),
    )
    if chosen.home is not None:
        chosen.home.mkdir(parents=True, exist_ok=True)
        report(measure(chosen.home, chosen.seconds), chosen.json)
        return
    with fresh_home() as home:
        report(measure(home, chosen.seconds), chosen.json)


if __name__ == "__main__":
    main()
