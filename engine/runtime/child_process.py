"""Processes that answer questions for the engine over a pipe: started without the engine's keys, on one thread each."""

from __future__ import annotations

import os
import subprocess
import sys
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import engine

KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")
NUMBA_CACHE = "NUMBA_CACHE_DIR"


def start_child(module: str, folder: Path) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start ``python -m MODULE DESCRIPTOR`` in a folder and return the process and our end of its pipe.

    It gets neither ASTER_* nor ASTROLABE_* variables. One thread: numpy's own would fight with trading for the cores,
    and sums would not be the same everywhere.
    """
    ours, theirs = Pipe()
    environment = {name: os.environ[name] for name in (*KEPT_VARIABLES, NUMBA_CACHE) if name in os.environ}
    root = str(Path(engine.__file__).resolve().parents[1])
    environment |= {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(theirs.fileno())], env=environment, cwd=folder,
        pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    theirs.close()
    return process, ours


def end_child(process: subprocess.Popen[bytes] | None, connection: Connection | None) -> None:
    """Close the pipe and end the process, whichever of them there is."""
    if connection is not None:
        connection.close()
    if process is not None:
        process.kill()
        process.wait(5)
