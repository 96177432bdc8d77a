"""The kill switch under load: click to cancels acknowledged, and click to flat. Prints JSON.

    python benchmarks/kill_switch.py [--repeats 3] [--readers 10]

A real engine against its practice exchange: the default symbols traded at each bar, every tick recorded, ten readers on
Flight, one follower of the live stream. Before each press, market orders open positions and post-only orders rest far
from the price; then *flatten* is pressed over Flight, as the button does. Cancels count as acknowledged when the engine
answers the press (it waits for the venue's answers); flat is when the exchange's own books show no position and no
open order. Bound: one status question on the same connection under the same load.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.flight as fl
from measuring import (
    EngineDoor,
    door_when_ready,
    engine_command,
    fresh_home,
    options,
    report,
    running,
    spread,
    wait_for,
    wait_trading,
)

from engine.settings import SystemConfig

SYMBOLS = SystemConfig().symbols
HELD = SYMBOLS[:4]
NOTIONAL = 200.0  # quote currency, of each opened position and each resting order: together what a gap may hit
RESTING_EACH = 3
FLATTEN = 3
FLAT_TIMEOUT_S = 60.0
TARGET_S = 1.0


class Load:
    """Readers of tables and of the live stream, until closed."""

    def __init__(self, home: Path, n_readers: int) -> None:
        self._stop = threading.Event()
        self.reads, self.live_messages, self.question_ms = 0, 0, []
        self._threads = [threading.Thread(target=self._read, args=(home, index)) for index in range(n_readers)]
        self._threads.append(threading.Thread(target=self._follow, args=(home,)))
        for thread in self._threads:
            thread.start()

    def _read(self, home: Path, index: int) -> None:
        door, period = EngineDoor(home), 1.0 / (1.0 + index % 4)
        while not self._stop.wait(period):
            began = time.perf_counter()
            door.ask("status")
            self.question_ms.append(1e3 * (time.perf_counter() - began))
            door.read(table="bars", symbol=SYMBOLS[index % len(SYMBOLS)], interval="1h", limit=10_000)
            self.reads += 1

    def _follow(self, home: Path) -> None:
        door = EngineDoor(home)
        headers = [(b"authorization", f"Bearer {door.token}".encode())]
        reader = fl.connect(door.url).do_get(fl.Ticket(b'{"table": "live"}'), fl.FlightCallOptions(headers=headers))
        try:
            for chunk in reader:
                self.live_messages += chunk.data.num_rows
                if self._stop.is_set():
                    reader.cancel()
                    return
        except pa.ArrowException:
            return  # cancelled, or the engine has ended

    def close(self) -> None:
        """End every thread."""
        self._stop.set()
        for thread in self._threads:
            thread.join(10.0)


class Books:
    """The practice exchange's own books of the engine's account."""

    def __init__(self, door: EngineDoor) -> None:
        sandbox = psutil.Process(door.sandbox_pid())
        ports = [c.laddr.port for c in sandbox.net_connections() if c.status == psutil.CONN_LISTEN]
        self._url = f"http://127.0.0.1:{ports[0]}"

    def read(self) -> dict[str, Any]:
        """Return orders, positions and balances as the exchange holds them."""
        with urllib.request.urlopen(f"{self._url}/sandbox/books", timeout=5.0) as answer:
            return dict(json.loads(answer.read()))


def is_flat(books: dict[str, Any]) -> bool:
    """Return whether the exchange holds neither a position nor an entry order of the account."""

    return not books["positions"] and not books["open_orders"]


def arm(door: EngineDoor) -> dict[str, int]:
    """Open positions and rest orders; return how many of each there are."""
    prices = {symbol: door.read(table="bars", symbol=symbol, interval="1m", limit=1) for symbol in SYMBOLS}
    instruments = door.ask("instruments")
    for symbol in HELD:
        size = {"unit": "quote", "value": NOTIONAL}
        submit(door, symbol=symbol, side="buy", kind="market", size=size)
    for symbol in SYMBOLS:
        last = prices[symbol].column("close_px")[-1].as_py()
        tick = instruments[symbol]["tick_size"]
        for step in range(RESTING_EACH):
            limit_px = round(last * (0.99 - 0.002 * step) / tick) * tick
            size = {"unit": "quote", "value": NOTIONAL}
            submit(door, symbol=symbol, side="buy", kind="post_only", size=size, limit_px=limit_px)
    wait_for("a position in each held symbol", lambda: holds(door, HELD), 30.0, every_s=0.1)
    return {
        "positions": door.read(table="positions").num_rows,
        "open_orders": door.read(table="orders", open_only=True).num_rows,
    }


def holds(door: EngineDoor, symbols: tuple[str, ...]) -> bool:
    """Return whether the engine shows a position in each symbol."""
    return set(symbols) <= set(door.read(table="positions").column("symbol").to_pylist())


def submit(door: EngineDoor, **ticket: Any) -> None:
    """Send one order as a person would."""
    door.act("ticket.submit", **ticket, actor="benchmark")


def press(door: EngineDoor, exchange: Books) -> dict[str, float]:
    """Press flatten; return when the press was answered, when the cancels were, and when the exchange shows it flat."""
    clicked = time.perf_counter()
    answer = door.act("kill", level=FLATTEN, reason="benchmark", actor="benchmark")
    answered_ms = 1e3 * (time.perf_counter() - clicked)
    wait_for("a flat book", lambda: is_flat(exchange.read()), FLAT_TIMEOUT_S, every_s=0.02)
    flat_ms = 1e3 * (time.perf_counter() - clicked)

    def resumed() -> bool:
        try:
            return door.act("resume", actor="benchmark")["kill_level"] == 0
        except pa.ArrowException:
            return False  # the engine still looks whether the venue is flat

    wait_for("the release of the switch", resumed, FLAT_TIMEOUT_S, every_s=0.2)
    return {"answered": answered_ms, "cancels_acknowledged": answer["cancels_sent_ms"], "flat": flat_ms}


def measure(home: Path, repeats: int, n_readers: int) -> dict[str, Any]:
    """Run one engine under load and press the switch ``repeats`` times."""
    with ExitStack() as stack:
        process = stack.enter_context(running(engine_command(home), home, "engine.log"))
        door = door_when_ready(home, process)
        wait_trading(door)
        door.act("settings.set", values={"rebalance_band": 0.0})
        exchange = Books(door)
        load = Load(home, n_readers)
        stack.callback(load.close)
        wait_for("prices of every symbol", lambda: has_prices(door), 60.0, every_s=0.2)
        armed, presses = [], []
        for _ in range(repeats):
            armed.append(arm(door))
            presses.append(press(door, exchange))
        load.close()
        load_figures = {"table_reads": load.reads, "live_messages": load.live_messages}
    acknowledged = [row["answered"] for row in presses]
    return {
        "benchmark": "kill_switch",
        "presses": repeats,
        "before_each_press": armed,
        "click_to_cancels_acknowledged_ms": spread(acknowledged, 1),
        "inside_engine_ms": spread([row["cancels_acknowledged"] for row in presses], 1),
        "click_to_flat_ms": spread([row["flat"] for row in presses], 1),
        "bound_status_question_ms": spread(load.question_ms, 1),
        "load": {"readers": n_readers, **load_figures},
        "target": {"click_to_cancels_acknowledged_ms": 1e3 * TARGET_S},
        "reached": max(acknowledged) < 1e3 * TARGET_S,
    }


def has_prices(door: EngineDoor) -> bool:
    """Return whether every symbol has a candle."""
    return all(door.read(table="bars", symbol=s, interval="1m", limit=1).num_rows for s in SYMBOLS)


def main() -> None:
    chosen = options(
        __doc__,
        ("--repeats", {"type": int, "default": 3}),
        ("--readers", {"type": int, "default": 10}),
    )
    with fresh_home() as home:
        report(measure(home, chosen.repeats, chosen.readers), chosen.json)


if __name__ == "__main__":
    main()
