"""Other backtesting libraries in an environment of their own: never installed into this project's."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Missing

HERE = Path(__file__).resolve().parent
PINS = HERE / "peers.txt"
INSTALL_TIMEOUT_S = 1200.0

LEFT_OUT = {
    "nautilus_trader, jesse, freqtrade": "event-driven engines that need an instrument, a venue or a database set up "
    "first; 16 to 27 s for the same bars when they were measured once, so they do not tighten any bound here",
}
"""Peers that are not run, with the reason."""


def environment() -> Path:
    """Return the peers' Python, installing the pinned versions where they are not yet: in a folder kept between runs.

    The folder is named after the pins, in ``ASTROLABE_BENCH_CACHE`` or the system's folder for temporary files.
    """
    digest = hashlib.sha256(PINS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    root = Path(os.environ.get("ASTROLABE_BENCH_CACHE", tempfile.gettempdir())) / f"astrolabe-peers-{digest}"
    python = root / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (root / "complete").exists():
        return python
    print(f"installing {PINS.name} into {root}, once", file=sys.stderr)
    venv.create(root, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(PINS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Missing(
            f"the peers were not installed within {INSTALL_TIMEOUT_S:.0f} s: try again, or --no-peers"
        ) from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise Missing(f"the peers could not be installed ({last}): connect, or run with --no-peers")
    (root / "complete").touch()
    return python


class Peers:
    """A process in the peers' environment that answers one request at a time."""

    def __init__(self) -> None:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [str(environment()), str(HERE / "peer_runs.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=clean,
        )  # fmt: skip
        self._folders = tempfile.TemporaryDirectory(prefix="astrolabe-bench-")

    def keep(self, name: str, **arrays: np.ndarray) -> Path:
        """Write arrays where the other process finds them and return their folder."""
        folder = Path(self._folders.name) / name
        folder.mkdir()
        for key, array in arrays.items():
            np.save(folder / f"{key}.npy", array)
        return folder

    def run(self, run: str, arrays: Path) -> dict[str, Any]:
        """Run one backtest: ``ms``, ``final``, ``orders``, ``peak_rss_mb``."""
        if self._process.stdin is None or self._process.stdout is None:
            raise Missing("the peers' process has no pipes")
        self._process.stdin.write(json.dumps({"run": run, "arrays": str(arrays)}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Missing(f"the peers' process ended while it ran {run}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Missing(f"{run} failed: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(30)
        self._folders.cleanup()
