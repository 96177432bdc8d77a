"""From the command to a moving chart, on a fresh data folder. Prints JSON.

    python benchmarks/startup.py [--warm-kernels]

Moments after ``streamlit run app/main.py``: the first HTTP 200, the first painted frame with live data
(``window.__astrolabe.updates`` grows), candles on the chart, the first change of the newest candle on it, and phase
``trading`` of the engine. The compiled kernels' disk cache is put in
the fresh folder too, so that this is a first run after installation; ``--warm-kernels`` keeps the installed cache.
Bound: Streamlit serving an empty script, measured in the same run.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import psutil
from measuring import (
    browser_page,
    door_when_ready,
    free_port,
    fresh_home,
    http_ok,
    options,
    report,
    running,
    wait_for,
    wait_trading,
    workstation,
)

TARGET_S = 15.0
# The chart's legend, wherever in the shadow trees it is: it shows the newest candle's prices, and changes with them.
LEGEND = """(() => {
  const find = (root) => {
    const found = root.querySelector(".chart .legend");
    if (found) return found;
    for (const element of root.querySelectorAll("*")) {
      const inside = element.shadowRoot && find(element.shadowRoot);
      if (inside) return inside;
    }
    return null;
  };
  return find(document)?.textContent ?? "";
})()"""


def first_http_s(command: list[str], port: int, home: Path, **environment: str) -> float:
    """Return the seconds from a command to its first HTTP 200."""
    began = time.monotonic()
    with running(command, home, "empty.log", **environment):
        wait_for("HTTP 200", lambda: http_ok(f"http://127.0.0.1:{port}/"), 60.0)
        return time.monotonic() - began


def empty_streamlit_s(home: Path) -> float:
    """Return the same for a Streamlit script with nothing in it."""
    script, port = home / "empty_script.py", free_port()
    script.write_text("import streamlit as st\nst.write('empty')\n")
    return first_http_s(
        [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)], port, home
    )  # fmt: skip


def imported_torch(pid: int) -> bool | None:
    """Return whether a process has torch's libraries mapped; None where the system does not tell."""
    try:
        maps = psutil.Process(pid).memory_maps()
    except (psutil.Error, AttributeError, NotImplementedError):
        return None
    return any("/torch/" in entry.path for entry in maps)


def measure(home: Path, warm_kernels: bool) -> dict[str, Any]:
    """Start the workstation on ``home`` and return when what was there."""
    environment = {} if warm_kernels else {"NUMBA_CACHE_DIR": str(home / "kernels")}
    with browser_page() as page:
        began = time.monotonic()
        with workstation(home, **environment) as (url, screen):
            http_s = time.monotonic() - began
            page.goto(f"{url}/")
            page.wait_for_function("() => (window.__astrolabe?.updates ?? 0) > 0", timeout=90_000, polling=20)
            first_frame_s = time.monotonic() - began
            page.wait_for_function(f"() => ({LEGEND}) !== ''", timeout=90_000, polling=20)
            candles_s = time.monotonic() - began
            page.wait_for_function(
                f"(shown) => ({LEGEND}) !== shown", arg=page.evaluate(LEGEND), timeout=30_000, polling=20
            )
            moving_s = time.monotonic() - began
            door = door_when_ready(home, screen)
            wait_trading(door)
            trading_s = time.monotonic() - began
            status = door.ask("status")
            torch = imported_torch(door.pid)
            engine_s = (time.time_ns() - status["started_ns"]) / 1e9 - (time.monotonic() - began - trading_s)
    return {
        "benchmark": "startup",
        "kernels": "installed cache" if warm_kernels else "compiled in this run",
        "http_200_s": round(http_s, 2),
        "first_live_frame_s": round(first_frame_s, 2),
        "candles_s": round(candles_s, 2),
        "moving_chart_s": round(moving_s, 2),
        "engine_trading_s": round(trading_s, 2),
        "engine_session_to_trading_s": round(engine_s, 2),
        "engine_imported_torch": torch,
        "target": {"moving_chart_s": TARGET_S, "engine_imported_torch": False},
        "reached": moving_s < TARGET_S and torch is not True,
    }


def main() -> None:
    chosen = options(
        __doc__, ("--warm-kernels", {"action": "store_true", "help": "use the installed cache of compiled kernels"})
    )
    with fresh_home() as home:
        bound = empty_streamlit_s(home)
        result = measure(home, chosen.warm_kernels)
    report(result | {"bound_empty_streamlit_http_200_s": round(bound, 2)}, chosen.json)


if __name__ == "__main__":
    main()
