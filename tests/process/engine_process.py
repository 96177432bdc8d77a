"""Starts the real programs for tests: the practice exchange and an engine on it, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.runtime.kernels import no_need_to_compile
from storage.database import Database

START_S = 90.0
SMALL_AND_QUICK = {
    "trend_horizons_hours": (6.0, 24.0),
    "volatility_horizon_hours": 24.0,
    "volatility_target": 0.08,
    "rebalance_band": 0.005,
}
"""A start then asks for three days of minutes instead of fifteen, and whatever the market does, the strategy's book
leaves room under the gap rule for the orders that a test sends by hand."""


def prepare(home: Path) -> None:
    """Give an empty data folder the settings of tests, and say that the kernels are compiled."""
    store = Database(home / "paper.duckdb")
    no_need_to_compile(store)  # the cache was filled before the tests began
    store.remember("config", SMALL_AND_QUICK)
    store.close()


class Sandbox:
    """A practice exchange."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "engine", "sandbox", "--parent-pid", str(os.getpid()), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.hello = json.loads(self.process.stdout.readline())

    def books(self) -> dict[str, Any]:
        """Return the exchange's own books of the test account."""
        url = f"{self.hello['base_url']}/sandbox/books?account={self.hello['address']}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class EngineProcess:
    """An engine trading at a sandbox."""

    def __init__(self, home: Path, sandbox: Sandbox, *arguments: str, log: Path | None = None) -> None:
        self.home = home
        if not (home / "paper.duckdb").exists():
            prepare(home)
        environment = os.environ | {
            "ASTER_BASE_URL": sandbox.hello["base_url"],
            "ASTER_WS_URL": sandbox.hello["ws_url"],
            "ASTER_PRIVATE_KEY": sandbox.hello["private_key"],
        }
        self.log = log or home.parent / f"{home.name}.log"
        with self.log.open("ab") as log_file:
            command = [sys.executable, "-m", "engine", "paper", "--data-dir", str(home), *arguments]
            self.process = subprocess.Popen(command, env=environment, stdout=log_file, stderr=log_file)

    def ask(self, *arguments: str) -> dict[str, Any]:
        """Run one command-line command and return its JSON."""
        done = command_line(*arguments, "--data-dir", str(self.home), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def action(self, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send one action over Flight."""
        from engine.runtime.remote import ask

        return ask(self.home, name, body)

    def until(self, condition: Callable[[dict[str, Any]], bool], within_s: float = START_S) -> dict[str, Any]:
        """Return the first status that meets a condition."""
        from engine.errors import Unreachable

        deadline = time.monotonic() + within_s
        status: dict[str, Any] = {}
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the engine ended: {self.log.read_text()[-2000:]}"
            try:
                status = self.action("status")
            except Unreachable:
                status = {}
            if status and condition(status):
                return status
            time.sleep(0.1)
        raise AssertionError(f"not within {within_s} s; status {status}; log {self.log.read_text()[-2000:]}")

    def kill_dead(self) -> None:
        """SIGKILL: no clean-up of any kind."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(20)


def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
