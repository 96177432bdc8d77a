"""Finds the engine, or starts one; never two. Stops it only if this process started it.

Ten tabs, or ten servers on one data folder, start one engine: a file lock lets one launcher through, and the others
find what it started. The engine runs in its own session, so a Ctrl-C in the terminal reaches only the screen, which
then asks the engine to end in an orderly way.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.client import EngineClient, EngineUnavailable, data_home

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.1


class Launcher:
    """Attaches to a running engine or starts ``command``.

    Parameters
    ----------
    home : Path, optional
        Data folder; ``data_home()`` when left out.
    command : list of str, optional
        What to run; ``python -m engine paper`` with the market source of ``ASTROLABE_MARKET`` when left out.

    Attributes
    ----------
    note : str
        What is going on or went wrong, for people; empty once the engine answers.
    """

    def __init__(self, home: Path | None = None, command: list[str] | None = None) -> None:
        self.home = home or data_home()
        self.command = command or _paper_command(self.home)
        self.note = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._stopping = threading.Event()

    @property
    def owns_engine(self) -> bool:
        """Whether the running engine is one that this process started."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_starting(self) -> bool:
        """Whether an engine is being looked for or started right now."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self) -> None:
        """Find or start the engine in the background; returns at once, and does nothing while that is under way."""
        if not self.is_starting:
            self._thread = threading.Thread(target=self.ensure, name="launcher", daemon=True)
            self._thread.start()

    def ensure(self) -> bool:
        """Find or start the engine and wait until it answers. Returns whether it does; ``note`` says what happened."""
        with self._starting:
            if self._answers():
                self.note = ""
                return True
            self.home.mkdir(parents=True, exist_ok=True)
            with _locked(self.home / "launcher.lock"):
                if self._answers():
                    self.note = ""
                    return True
                if not self.owns_engine and not self._stopping.is_set():
                    self._start()
                return self._wait_until_ready()

    def stop(self) -> bool:
        """Ask our own engine to end (SIGTERM) and wait. Returns False when it is not ours or did not end in time."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S)  # it may be in the middle of starting one
        if not self.owns_engine or self._process is None:
            return False
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # Never SIGKILL: it may be cancelling orders. It keeps its protective stops and its own log.
            self.note = f"The engine (process {self._process.pid}) is still closing its orders."
            return False
        self.note = "The engine has ended."
        return True

    def _answers(self) -> bool:
        try:
            EngineClient(self.home).status()
        except EngineUnavailable:
            return False
        return True

    def _start(self) -> None:
        self.note = "Starting the engine."
        environment = {**os.environ, "ASTROLABE_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}
        with (self.home / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _wait_until_ready(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and not self._stopping.is_set():
            if self._answers():
                self.note = ""
                return True
            if self._process is not None and self._process.poll() is not None:
                self.note = f"The engine ended while it started: {self._last_words()} (see {self.home / 'engine.log'})"
                return False
            time.sleep(POLL_S)
        self.note = f"The engine did not answer within {START_TIMEOUT_S:.0f} s (see {self.home / 'engine.log'})"
        return False

    def _last_words(self) -> str:
        lines = (self.home / "engine.log").read_bytes()[-4000:].decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _paper_command(home: Path) -> list[str]:
    command = [sys.executable, "-m", "engine", "paper", "--data-dir", str(home)]
    market = os.environ.get("ASTROLABE_MARKET")
    return [*command, "--market", market] if market else command


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive file lock; the operating system lets go of it if we die."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


_shared: Launcher | None = None
_shared_lock = threading.Lock()


def shared_launcher() -> Launcher:
    """Return the launcher of this server process."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Launcher()
        return _shared
