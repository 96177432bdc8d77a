"""What the benchmarks share: processes, the way to the engine, the browser, percentiles and the report."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.flight as fl

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

T = TypeVar("T")
STOP_TIMEOUT_S = 30.0


class Missing(Exception):
    """Something this benchmark needs is not on this machine; nothing was measured."""


def options(doc: str | None, *arguments: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """Return the parsed command line: the given arguments and ``--json OUT``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, how in arguments:
        parser.add_argument(name, **how)
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the JSON here")
    return parser.parse_args()


def report(result: dict[str, Any], path: Path | None) -> None:
    """Print the result with the machine it was measured on; write it to ``path`` too."""
    text = json.dumps(result | {"machine": machine()}, indent=2)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    print(text, flush=True)


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float | int | None]:
    """Return count, median, p95, p99 and maximum; None where there is no value."""
    if not len(values):
        return {"n": 0, "p50": None, "p95": None, "p99": None, "max": None}
    found = np.percentile(np.asarray(values, dtype=float), [50, 95, 99, 100])
    names = ("p50", "p95", "p99", "max")
    return {"n": len(values)} | {name: round(float(value), digits) for name, value in zip(names, found, strict=True)}


def machine() -> dict[str, Any]:
    """Return what the figures depend on, with the load at this moment."""
    return {
        "cpu": _cpu_name(), "cores": os.cpu_count(), "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(terse=True), "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


# processes -------------------------------------------------------------------------------------------------------


@contextmanager
def fresh_home() -> Iterator[Path]:
    """Yield a new data folder, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="astrolabe-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def running(command: list[str], home: Path, log_name: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program from the project's folder while the block lasts, then end it and what it left behind.

    On the way out the program gets SIGTERM and time to close. Its children are noted before, so that one that outlives
    it is ended by its own process id.
    """
    own = {"ASTROLABE_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with (home / log_name).open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **own, **environment}, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _, left = psutil.wait_procs(family, timeout=STOP_TIMEOUT_S)
    for child in left:
        child.kill()


def engine_command(home: Path, *arguments: str) -> list[str]:
    """Return the command that starts paper trading on a data folder."""
    return [sys.executable, "-m", "engine", "paper", "--data-dir", str(home), *arguments]


def wait_for(what: str, look: Callable[[], T | None], timeout_s: float, every_s: float = 0.02) -> T:
    """Return the first answer of ``look`` that is neither None nor False."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        answer = look()
        if answer is not None and answer is not False:
            return answer
        time.sleep(every_s)
    raise TimeoutError(f"{what} did not happen within {timeout_s:.0f} s")


def free_port() -> int:
    """Return a TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def http_ok(url: str) -> bool:
    """Return whether a GET is answered with status 200."""
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def cpu_s(pid: int) -> float:
    """Return the processor seconds that a process has used, children not included; 0 when it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


# the engine ------------------------------------------------------------------------------------------------------


class EngineDoor:
    """One Flight connection to the engine of a data folder."""

    def __init__(self, home: Path) -> None:
        card = json.loads((home / "engine.json").read_text())
        self.url, self.token, self.pid = card["flight_url"], card["token"], int(card["pid"])
        self._flight = fl.connect(self.url)
        self._headers = [(b"authorization", f"Bearer {self.token}".encode())]

    def act(self, name: str, **body: Any) -> dict[str, Any]:
        """Carry out one action; every command gets a key of its own."""
        request = fl.Action(name, json.dumps(body | {"idempotency_key": uuid.uuid4().hex}).encode())
        answer = next(iter(self._flight.do_action(request, fl.FlightCallOptions(timeout=60.0, headers=self._headers))))
        return dict(json.loads(answer.body.to_pybytes()))

    def ask(self, name: str, **body: Any) -> dict[str, Any]:
        """Ask one question, which carries no key."""
        options = fl.FlightCallOptions(timeout=10.0, headers=self._headers)
        answer = next(iter(self._flight.do_action(fl.Action(name, json.dumps(body).encode()), options)))
        return dict(json.loads(answer.body.to_pybytes()))

    def read(self, **query: Any) -> pa.Table:
        """Read one table."""
        options = fl.FlightCallOptions(timeout=30.0, headers=self._headers)
        return self._flight.do_get(fl.Ticket(json.dumps(query).encode()), options).read_all()

    def sandbox_pid(self) -> int | None:
        """Return the process id of the engine's practice exchange."""
        for child in psutil.Process(self.pid).children():
            if "sandbox" in child.cmdline():
                return int(child.pid)
        return None


def door_when_ready(home: Path, process: subprocess.Popen[bytes], timeout_s: float = 120.0) -> EngineDoor:
    """Wait for the engine of a data folder to answer and return the way in; ``process`` is what was started for it."""

    def look() -> EngineDoor | None:
        if process.poll() is not None:
            raise RuntimeError(f"ended while it started: {last_words(home)}")
        try:
            door = EngineDoor(home)
            door.ask("status")
        except (OSError, ValueError, KeyError, pa.ArrowException):
            return None
        return door

    return wait_for("an answer of the engine", look, timeout_s)


def last_words(home: Path) -> str:
    """Return the last line of the newest log of a data folder."""
    logs = sorted(home.glob("*.log"), key=lambda path: path.stat().st_mtime)
    lines = logs[-1].read_text(errors="replace").strip().splitlines() if logs else []
    return lines[-1] if lines else "it said nothing"


def wait_trading(door: EngineDoor, timeout_s: float = 120.0) -> dict[str, Any]:
    """Wait until the engine trades and return its status then."""

    def look() -> dict[str, Any] | None:
        status = door.ask("status")
        return status if status["phase"] == "trading" else None

    return wait_for("phase trading", look, timeout_s, every_s=0.05)


# the browser -----------------------------------------------------------------------------------------------------


@contextmanager
def browser_page(width: int = 1600, height: int = 1000) -> Iterator[Any]:
    """Yield a page of headless Chromium."""
    from browser_path import WHY_NOT, find_browser

    path = find_browser()
    if path is None:
        raise Missing(WHY_NOT)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Missing("playwright is not installed: pip install -r requirements-dev.txt") from None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        try:
            yield browser.new_page(viewport={"width": width, "height": height})
        finally:
            browser.close()


def desk_command(port: int) -> list[str]:
    """Return the command that starts the workstation's screen."""
    return [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.port", str(port)]


@contextmanager
def workstation(
    home: Path, log_name: str = "ui.log", timeout_s: float = 120.0, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the workstation on a data folder; yield its address, without a slash, and process once it answers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(desk_command(port), home, log_name, **environment) as screen:
        wait_for("the first page", lambda: http_ok(f"{url}/") or None, timeout_s)
        yield url, screen
