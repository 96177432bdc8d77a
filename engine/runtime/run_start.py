"""The first step of every long job: on the record, then its process; a job that cannot begin leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Protocol

from engine.errors import CommandRefused
from storage.database import Database, StorageError


class Process(Protocol):
    """What is started: a process that is not running yet."""

    def start(self) -> None:
        """Start it."""


def record_later(store: Database, row: dict[str, Any]) -> None:
    """Queue how a job ended for when the disk has room again; a record that takes no more is left to the next start."""
    with contextlib.suppress(StorageError):
        store.append("runs", [row])


async def recorded_and_started(store: Database, row: dict[str, Any], process: Process) -> None:
    """Put a job on the record and start its process.

    Parameters
    ----------
    store : Database
    row : dict
        Of table ``runs``, with status running.
    process : Process

    Raises
    ------
    CommandRefused
        The record or the machine is full. Nothing runs then, and the record does not say that something does.
    """
    try:
        await asyncio.wrap_future(store.append_durable("runs", [row]))
    except StorageError as error:
        raise CommandRefused(
            f"Nothing was started: {row['run_id']} could not be recorded ({error}). Free disk space and start it again."
        ) from error
    try:
        process.start()
    except Exception as error:  # no memory, no descriptors, or an input that cannot be sent to a process
        why = f"its process could not be started ({type(error).__name__}: {error})"
        ended = row | {"status": "failed", "error": why, "ts_finished": time.time_ns()}
        try:
            await asyncio.wrap_future(store.append_durable("runs", [ended]))
        except StorageError:
            record_later(store, ended)
        raise CommandRefused(f"{row['run_id']} did not begin: {why}. Free memory and start it again.") from error
