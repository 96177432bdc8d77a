"""The process in which a user's strategy runs for the engine: one question in, one answer out, over a pipe.

    python -m engine.strategies.child DESCRIPTOR

It is given bars and weights, never keys: the parent leaves every ASTER_* and ASTROLABE_* variable out. Whatever the
strategy prints goes to the engine's log. Messages are JSON, so the engine executes nothing that comes out of here; a
float written as JSON comes back to the bit.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import WorkstationError
from engine.strategies.user import UserRunner

PR_SET_PDEATHSIG = 1


def answer(runner: UserRunner | None, message: dict[str, Any]) -> tuple[UserRunner | None, dict[str, Any]]:
    """Carry out one message and return the runner and what to send back."""
    kind = message["kind"]
    if kind == "load":
        runner = UserRunner(Path(message["path"]), message["params"], tuple(message["symbols"]))
        return runner, {"history": runner.history, "method": runner.method}
    if runner is None:
        return None, {"error": "no strategy has been loaded"}
    if kind == "warm_up":
        for ts_close, rows in message["bars"]:
            runner.warm_up(int(ts_close), _rows(rows))
        return runner, {"n_bars": runner.n_bars}
    began = time.perf_counter()
    weight = np.array(message["weight"], dtype=float)
    weights = runner.decide(int(message["ts_close"]), _rows(message["rows"]), weight, float(message["equity"]))
    return runner, {"weights": weights.tolist(), "elapsed_ms": (time.perf_counter() - began) * 1e3}


def _rows(rows: list[list[float]]) -> list[np.ndarray]:
    return [np.array(row, dtype=float) for row in rows]


def serve(connection: Connection) -> None:
    """Answer until the other end is closed."""
    runner: UserRunner | None = None
    while True:
        try:
            message = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            runner, reply = answer(runner, message)
        except WorkstationError as error:
            reply = {"error": str(error)}
        except Exception as error:  # a fault of ours must reach the engine as a sentence, too
            reply = {"error": f"{type(error).__name__}: {error}"}
        connection.send_bytes(json.dumps(reply).encode())


def own_process() -> Connection:
    """Make this process the engine's: it dies with it, leaves Ctrl-C to it, and talks to it over what is returned."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a hung process must not outlive the engine
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the engine, which ends this process in its order
    os.dup2(2, 1)
    return Connection(int(sys.argv[1]))


def main() -> None:
    """Serve on the descriptor that the command line names."""
    serve(own_process())


if __name__ == "__main__":
    main()
