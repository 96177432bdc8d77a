"""Fills the kernels' disk cache, as a process of its own: `python -m engine.runtime.precompile MODULE FUNCTION`.

An engine that is killed leaves this process behind, and the next engine starts another. They take turns, so that only
one of them works: whoever waited finds the cache full.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

LOW_PRIORITY = 5
LOWEST_PRIORITY = 19


@contextlib.contextmanager
def turn(name: str) -> Iterator[None]:
    """Wait until no other process of this user compiles the same, for as long as the block lasts."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"astrolabe-compile-{os.getuid()}-{digest}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # lets go of the lock, as the end of the process would


def step_back(priority: int) -> None:
    """Give way to every other process, also where Linux shares the processor out by session first."""
    with contextlib.suppress(OSError):  # it leads a session already
        os.setsid()
    os.nice(priority)
    with contextlib.suppress(OSError):  # not Linux, or without this kind of sharing
        Path("/proc/self/autogroup").write_text(str(priority))


def main(module: str, function: str) -> None:
    """Have a function of the package compile its part, unless the engine that asked is gone before its turn comes."""
    asked_by = os.getppid()
    if module == "core.simulate":  # nobody waits for it
        step_back(LOWEST_PRIORITY)
    else:
        os.nice(LOW_PRIORITY)
    with turn(f"{Path(__file__).resolve()}:{module}:{function}"):
        if os.getppid() == asked_by:
            getattr(importlib.import_module(f"engine.{module}"), function)()


if __name__ == "__main__":
    main(*sys.argv[1:])
