"""Work of seconds in a process of its own, so that it never delays a decision."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from engine.errors import CommandRefused


def elsewhere(function: Callable[..., Any], *args: Any) -> Any:
    """Return ``function(*args)``, worked out by a process that ends with it. Blocks: call it from a thread.

    Parameters
    ----------
    function : callable
        Importable by name; its arguments and its answer are pickled.

    Raises
    ------
    CommandRefused
        The process ended without an answer.
    """
    context = mp.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(function, args, sender), daemon=True)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise CommandRefused("The calculation ended without an answer; the engine's log holds the reason.") from None
    finally:
        process.join()


def _work(function: Callable[..., Any], args: tuple[Any, ...], sender: Connection) -> None:
    with contextlib.suppress(OSError):
        os.nice(5)
    sender.send(function(*args))
    sender.close()
