"""Records and processes that cannot be had, for the tests of long jobs."""

from __future__ import annotations

import multiprocessing as mp
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from storage.database import StorageError


def full(table: str, rows: Any) -> Future[None]:
    """Answer a durable write as a full disk does."""
    done: Future[None] = Future()
    done.set_exception(StorageError("No space left on device"))
    return done


class NoProcess:
    """A process that the machine has no room for."""

    pid = None

    def __init__(self, **given: Any) -> None:
        self.given = given

    def start(self) -> None:
        raise OSError(12, "Cannot allocate memory")


NO_PROCESSES = SimpleNamespace(Pipe=mp.Pipe, Event=mp.Event, Process=NoProcess)
