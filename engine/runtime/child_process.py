"""Processes that answer questions for the engine over a pipe: started without the engine's keys, on one thread each."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import orjson

import engine
from engine.errors import DataError
from storage.errors import StorageError

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


class Talk:
    """A process that answers questions in JSON, in their order; one that does not answer as it should is ended.

    Parameters
    ----------
    module : str
        What runs in it.
    who : str
        What it is, in the plural, for sentences.
    """

    def __init__(self, module: str, who: str) -> None:
        self._module, self._who = module, who
        self.process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._owed = 0  # answers that may still come and that nobody waits for any more

    @property
    def is_open(self) -> bool:
        """Whether there is a process that may be asked."""
        return self._connection is not None

    def start(self, folder: Path) -> None:
        """Start the process in a folder."""
        self.process, self._connection = start_child(self._module, folder)
        self._owed = 0

    def exchange(self, message: dict[str, Any], limit_s: float, *, may_be_late: bool = False) -> dict[str, Any]:
        """Send a message and return the answer to it; see ``receive``."""
        if self._connection is None:
            raise DataError(f"the process of {self._who} is not running")
        try:
            self._connection.send_bytes(orjson.dumps(message))
        except OSError:
            self.end()
            raise DataError(f"the process of {self._who} ended: the engine's log has its last words") from None
        return self.receive(limit_s, may_be_late=may_be_late)

    def receive(self, limit_s: float, *, may_be_late: bool = False) -> dict[str, Any]:
        """Return the next answer, empty for null.

        Parameters
        ----------
        limit_s : float
        may_be_late : bool
            The process lives on when no answer comes in time; a later answer to this question is dropped.

        Raises
        ------
        DataError
            None came within the limit, it cannot be read, or it is an error: then with the process's own sentence.
        """
        try:
            raw = self._next(limit_s)
            if raw is None and may_be_late:
                self._owed += 1
                raise DataError(f"{self._who} gave no answer within {limit_s:g} s")
            if raw is None:
                self.end()
                raise DataError(f"{self._who} gave no answer within {limit_s:g} s and their process was ended")
            reply = orjson.loads(raw)
        except (EOFError, OSError):
            self.end()
            raise DataError(f"the process of {self._who} ended: the engine's log has its last words") from None
        except ValueError:
            self.end()
            raise DataError(f"the process of {self._who} gave an answer that cannot be read") from None
        if reply is not None and "error" in reply:
            raise DataError(str(reply["error"]))
        return dict(reply or {})

    def _next(self, limit_s: float) -> bytes | None:
        """Return the next answer that somebody waits for, None if none came in time."""
        connection, until = self._connection, time.monotonic() + limit_s
        while connection is not None and connection.poll(max(until - time.monotonic(), 0.0)):
            raw = connection.recv_bytes()
            if self._owed == 0:
                return raw
            self._owed -= 1
        return None

    def end(self) -> None:
        """End the process, if there is one."""
        process, connection = self.process, self._connection
        self.process = self._connection = None
        end_child(process, connection)


def sentence_of(error: Exception) -> str:
    """Return what went wrong in words; a fault of ours with its kind."""
    return str(error) if isinstance(error, DataError | StorageError) else f"{type(error).__name__}: {error}"


def settle(outcome: asyncio.Future[dict[str, Any]], answer: dict[str, Any]) -> None:
    """Give an answer to whoever waits, if somebody still does."""
    if not outcome.done():
        outcome.set_result(answer)
