"""What storage raises, and how a writer tells whoever waits."""

from __future__ import annotations

from concurrent.futures import Future


class StorageError(Exception):
    """The record could not be read or written."""


def settle(done: Future[None], failure: StorageError | None) -> None:
    """Tell whoever waits for a write how it went; nobody may be left: a task that waited can have been cancelled.

    Setting the result of a cancelled future raises, which would end the writer's thread and with it the record.
    """
    if not done.set_running_or_notify_cancel():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)
