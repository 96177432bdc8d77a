"""Fan-out of live messages to any number of readers, none of which can slow the engine down."""

from __future__ import annotations

import json
import queue
import threading
from typing import Any

MAX_WAITING = 4000


class Broadcaster:
    """Publish from the event loop, read from server threads.

    A reader that falls behind loses its oldest messages: what it will read next is newer and replaces them.
    """

    def __init__(self) -> None:
        self._readers: list[queue.Queue[str | None]] = []
        self._lock = threading.Lock()
        self.closed = False

    @property
    def has_readers(self) -> bool:
        """Whether anybody listens; formatting a message for nobody is wasted."""
        return bool(self._readers)

    def publish(self, message: dict[str, Any]) -> None:
        """Send one message to every reader."""
        if not self._readers:
            return
        text = json.dumps(message, separators=(",", ":"), allow_nan=False)
        for reader in self._readers:
            while True:
                try:
                    reader.put_nowait(text)
                    break
                except queue.Full:
                    _drop_oldest(reader)

    def subscribe(self) -> queue.Queue[str | None]:
        """Return a new reader's queue; None in it means that the engine is closing."""
        reader: queue.Queue[str | None] = queue.Queue(MAX_WAITING)
        with self._lock:
            self._readers = [*self._readers, reader]
        if self.closed:
            reader.put_nowait(None)
        return reader

    def unsubscribe(self, reader: queue.Queue[str | None]) -> None:
        """Forget a reader."""
        with self._lock:
            self._readers = [other for other in self._readers if other is not reader]

    def close(self) -> None:
        """Tell every reader that nothing more comes."""
        self.closed = True
        for reader in self._readers:
            _drop_oldest(reader)
            reader.put_nowait(None)


def _drop_oldest(reader: queue.Queue[str | None]) -> None:
    if reader.full():
        try:
            reader.get_nowait()
        except queue.Empty:
            return
