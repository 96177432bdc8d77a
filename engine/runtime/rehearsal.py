"""One drill, in a process of its own: a throw-away exchange and engine, a loaded book, the kill switch pressed twice.

    python -m engine.runtime.rehearsal --level 3

The first press meets an exchange that answers. Before the second the book is loaded again, and the exchange turns
flaky: cancels and closing orders get 503 (carried out or not), its answer about the book hangs. The level must be seen
through all the same, and nothing may be sold twice.

Nothing of the trading engine is touched: the folder is temporary, the keys are the throw-away exchange's, and every
ASTER_* variable of the environment is left out. The last line printed is the outcome as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.domain import KillLevel
from engine.errors import CommandRefused, ConfigError, Unreachable, WorkstationError
from engine.runtime.kernels import no_need_to_compile
from engine.runtime.remote import ask
from engine.runtime.sandbox_process import SandboxChoice, start_sandbox
from storage.database import Database

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
HELD = SYMBOLS[:2]
NOTIONAL = 200.0  # USDT, of each opened position and of each resting order
VOLATILITY = 0.02  # a year: decisions may hold so little that all of it stays below what a gap allows
RESTING_EACH = 2
AWAY = 0.01  # resting orders wait this far below the price
START_S, ARM_S, EFFECT_S = 180.0, 60.0, 60.0
POLL_S = 0.02
WATCH_S = 1.5  # how long nothing may come back after the press
_CANCELS = {"method": "DELETE", "path": "*rder*"}
_ORDERS = {"method": "POST", "path": "order"}
FLAKY: tuple[dict[str, Any], ...] = (
    {"action": "http_503_before", "match": _CANCELS, "count": 2},
    {"action": "http_503_after", "match": _ORDERS, "count": 1},  # carried out, and nobody was told
    {"action": "http_503_before", "match": _ORDERS, "count": 1},
    {"action": "timeout_before", "match": {"method": "GET", "path": "positionRisk"}, "count": 1, "delay_ms": 2_000},
)
PR_SET_PDEATHSIG = 1


class DrillFailed(Exception):
    """The kill switch did not do what its level promises."""


class Rig:
    """The throw-away engine, and the exchange's own books to judge it by."""

    def __init__(self, home: Path, hello: dict[str, Any]) -> None:
        self.home = home
        self._faults_url = f"{hello['base_url']}/sandbox/faults"
        self._books_url = f"{hello['base_url']}/sandbox/books?account={hello['address']}"

    def question(self, action: str, **body: Any) -> dict[str, Any]:
        """Ask the engine something."""
        return ask(self.home, action, body)

    def command(self, action: str, **body: Any) -> dict[str, Any]:
        """Tell the engine to do something, once."""
        return ask(self.home, action, body | {"idempotency_key": uuid.uuid4().hex, "actor": "drill"})

    def books(self) -> dict[str, Any]:
        """Return what the exchange holds: ``positions``, ``open_orders``, ``orders``."""
        with urllib.request.urlopen(self._books_url, timeout=5.0) as answer:
            return dict(json.load(answer))

    def turn_flaky(self) -> None:
        """Have the exchange fail from now on, as ``FLAKY`` says."""
        content = json.dumps({"rules": FLAKY, "replace": True}).encode()
        request = urllib.request.Request(self._faults_url, content, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=5.0).close()

    def failures(self) -> int:
        """Return how many requests the exchange has failed since it turned flaky."""
        with urllib.request.urlopen(self._faults_url, timeout=5.0) as answer:
            return sum(int(rule["acted"]) for rule in json.load(answer)["rules"])

    def entries(self) -> list[dict[str, Any]]:
        """Return resting orders that are not the stop of a position."""
        return [order for order in self.books()["open_orders"] if not _true(order["closePosition"])]


def wait_for(what: str, condition: Callable[[], bool], within_s: float, every_s: float = POLL_S) -> None:
    """Return once a condition holds; raise DrillFailed when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise DrillFailed(f"expected {what} within {within_s:.0f} s; it did not come")
        time.sleep(every_s)


def load_book(rig: Rig) -> None:
    """Open positions and rest orders, as a busy desk would have them."""
    wait_for("prices", lambda: _price(rig, SYMBOLS[-1]) is not None, ARM_S, 0.1)
    size = {"unit": "quote", "value": NOTIONAL}
    for symbol in HELD:
        rig.command("ticket.submit", symbol=symbol, side="buy", kind="market", size=size)
    rest_orders(rig)
    wait_for("a position in each held symbol, each with its stop", lambda: _is_loaded(rig), ARM_S, 0.1)


def rest_orders(rig: Rig) -> None:
    """Rest orders in every symbol, away from the price."""
    size = {"unit": "quote", "value": NOTIONAL}
    for symbol in SYMBOLS:
        last = _price(rig, symbol) or 0.0
        for step in range(RESTING_EACH):
            limit_px = round(last * (1.0 - AWAY - 0.002 * step), 6)
            rig.command("ticket.submit", symbol=symbol, side="buy", kind="post_only", size=size, limit_px=limit_px)


def _price(rig: Rig, symbol: str) -> float | None:
    try:
        ticket = {"symbol": symbol, "side": "buy", "kind": "market", "size": {"unit": "quote", "value": NOTIONAL}}
        return float(rig.question("ticket.preview", **ticket)["px"])
    except CommandRefused:
        return None


def _is_loaded(rig: Rig) -> bool:
    books = rig.books()
    held = {row["symbol"] for row in books["positions"]}
    resting = [order for order in books["open_orders"] if not _true(order["closePosition"])]
    return set(HELD) <= held and len(resting) >= RESTING_EACH * len(SYMBOLS) and not _unprotected(books)


def _unprotected(books: dict[str, Any]) -> list[str]:
    stops = {order["symbol"] for order in books["open_orders"] if _true(order["closePosition"])}
    return sorted({row["symbol"] for row in books["positions"]} - stops)


def press(rig: Rig, level: KillLevel) -> dict[str, Any]:
    """Press the level and judge the outcome at the exchange's own books.

    Returns
    -------
    dict
        ``cancels_ms``: press to the answer that every cancel was acknowledged; ``time_to_flat_s``: press to a book
        without position and order, None for the levels that keep positions; ``message``.
    """
    before = rig.books()
    began = time.monotonic()
    answer = rig.command("kill", level=int(level), reason="drill")
    cancels_ms = (time.monotonic() - began) * 1e3
    if int(answer["kill_level"]) != level:
        raise DrillFailed(f"expected kill level {int(level)}, the engine answered {answer['kill_level']}")
    flat_s = None
    if level >= KillLevel.FLATTEN:
        wait_for("no position and no order at the exchange", lambda: _is_flat(rig), EFFECT_S)
        flat_s = time.monotonic() - began
        message = f"{len(before['positions'])} positions and {len(before['open_orders'])} orders closed"
    elif level == KillLevel.CANCEL:
        wait_for("no resting entry order", lambda: not rig.entries(), EFFECT_S)
        message = f"{len(before['open_orders'])} orders before, only protective stops after"
    else:
        message = "entries refused, positions and orders kept"
    _nothing_comes_back(rig, level)
    return {"cancels_ms": round(cancels_ms, 1), "time_to_flat_s": _rounded(flat_s), "message": message}


def _nothing_comes_back(rig: Rig, level: KillLevel) -> None:
    """Watch for a moment: the strategy still runs and must not undo the switch; a person's entry must be refused."""
    time.sleep(0.3)  # what was under way at the press has arrived
    known = {order["clientOrderId"] for order in rig.books()["orders"]}
    held = next((row for row in rig.books()["positions"] if row["symbol"] == SYMBOLS[0]), None)
    side = "sell" if held is not None and float(held["positionAmt"]) < 0 else "buy"  # one that would add risk
    try:
        size = {"unit": "quote", "value": NOTIONAL}
        rig.command("ticket.submit", symbol=SYMBOLS[0], side=side, kind="market", size=size)
    except CommandRefused:
        pass
    else:
        raise DrillFailed("expected a refusal of a new entry; the engine sent it")
    time.sleep(WATCH_S)
    books = rig.books()
    new = [order for order in books["orders"] if order["clientOrderId"] not in known]
    entries = [order for order in new if not _true(order["reduceOnly"]) and not _true(order["closePosition"])]
    if entries:
        raise DrillFailed(f"expected no entry after the press; {len(entries)} reached the exchange")
    if level >= KillLevel.FLATTEN and (books["positions"] or books["open_orders"]):
        raise DrillFailed(
            f"expected the book to stay flat; {len(books['positions'])} positions and {len(books['open_orders'])} "
            "orders came back"
        )
    if level < KillLevel.FLATTEN and (naked := _unprotected(books)):
        raise DrillFailed(f"expected a stop for every position; there is none for {', '.join(naked)}")
    if level == KillLevel.HALT:
        try:
            rig.command("resume")
        except CommandRefused:
            return
        raise DrillFailed("expected a halt to need the typed word; it was released without")


def _is_flat(rig: Rig) -> bool:
    books = rig.books()
    return not books["positions"] and not books["open_orders"]


def _true(value: Any) -> bool:
    return str(value).lower() == "true"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def press_again(rig: Rig, level: KillLevel) -> dict[str, Any]:
    """Release the switch, load the book again and press the level while the exchange is flaky.

    Returns
    -------
    dict
        ``flaky_s``: press to the level's promise kept at the exchange's own books; ``failures``: requests that the
        exchange failed meanwhile. Empty for a pause, which sends nothing.
    """
    if level == KillLevel.PAUSE:
        return {}
    wait_for("the release of the switch", lambda: _released(rig), ARM_S, 0.2)
    if level >= KillLevel.FLATTEN:
        load_book(rig)
    else:
        rest_orders(rig)
        wait_for("resting orders", lambda: len(rig.entries()) >= RESTING_EACH * len(SYMBOLS), ARM_S, 0.1)
    rig.turn_flaky()
    began = time.monotonic()
    rig.command("kill", level=int(level), reason="drill, flaky venue")
    kept = (lambda: _is_flat(rig)) if level >= KillLevel.FLATTEN else (lambda: not rig.entries())
    wait_for("the same from a venue that fails", kept, EFFECT_S)
    flaky_s = time.monotonic() - began
    failures = rig.failures()
    if not failures:
        raise DrillFailed("expected the flaky exchange to fail at least one request; it failed none")
    _nothing_comes_back(rig, level)
    return {"flaky_s": round(flaky_s, 3), "failures": failures}


def _released(rig: Rig) -> bool:
    try:
        return int(rig.command("resume", confirm="RESUME")["kill_level"]) == 0
    except CommandRefused:
        return False  # still being flattened


def nothing_shown(level: KillLevel) -> dict[str, Any]:
    """Return the outcome of a drill that has shown nothing yet."""
    measured = dict.fromkeys(("cancels_ms", "time_to_flat_s", "flaky_s", "failures"))
    return {"level": int(level), "ok": False, **measured, "message": ""}


async def rehearse(level: KillLevel, folder: Path) -> dict[str, Any]:
    """Run one drill in an empty folder and return its outcome; ``ok`` says whether the level kept its promise."""
    outcome = nothing_shown(level)
    choice = SandboxChoice(seed=int.from_bytes(os.urandom(2)), symbols=SYMBOLS)
    sandbox = await start_sandbox(choice, folder / "sandbox.log")
    home = folder / "home"
    store = Database(home / "paper.duckdb")
    store.remember("config", {"symbols": SYMBOLS, "volatility_target": VOLATILITY}).result(10)
    no_need_to_compile(store)
    store.close()
    rig = Rig(home, sandbox.hello)
    engine = _start_engine(home, sandbox.hello, folder / "engine.log")
    try:
        await asyncio.to_thread(wait_for, "a trading engine", lambda: _trades(rig, engine), START_S, 0.2)
        await asyncio.to_thread(load_book, rig)
        outcome |= await asyncio.to_thread(press, rig, level)
        again = await asyncio.to_thread(press_again, rig, level)
        if again:
            outcome["message"] += f"; with {again['failures']} failed requests done in {again['flaky_s']:.1f} s"
        return outcome | again | {"ok": True}
    except (DrillFailed, WorkstationError, OSError) as trouble:
        return outcome | {"message": str(trouble)}
    finally:
        engine.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(engine.wait, 10)
        engine.kill()
        await sandbox.stop()


def _start_engine(home: Path, hello: dict[str, Any], log_path: Path) -> subprocess.Popen[bytes]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ASTER_", "ASTROLABE_"))}
    environment = own | {
        "ASTER_BASE_URL": hello["base_url"], "ASTER_WS_URL": hello["ws_url"], "ASTER_PRIVATE_KEY": hello["private_key"],
    }  # fmt: skip
    command = [sys.executable, "-m", "engine", "paper", "--data-dir", str(home)]
    with log_path.open("ab") as log_file:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
        )  # fmt: skip


def _trades(rig: Rig, engine: subprocess.Popen[bytes]) -> bool:
    if engine.poll() is not None:
        raise ConfigError(
            f"expected a trading engine; the drill's engine ended by itself with exit code {engine.returncode}"
        )
    try:
        status = rig.question("status")
    except Unreachable:
        return False
    return status["phase"] == "trading" and status["last_decision"] is not None


def end_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends, so that no drill outlives the engine (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> None:
    """Run the drill that the command line asks for and print its outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--level", type=int, choices=[1, 2, 3, 4], required=True)
    level = KillLevel(parser.parse_args().level)
    if sys.platform == "linux":
        end_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started here is ended here
    os.nice(5)
    with tempfile.TemporaryDirectory(prefix="astrolabe-drill-") as folder:
        try:
            outcome = asyncio.run(rehearse(level, Path(folder)))
        except ConfigError as trouble:
            outcome = nothing_shown(level) | {"message": str(trouble)}
    sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()
