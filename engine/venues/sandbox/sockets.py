"""One WebSocket connection: a bounded queue in front of a writer, so that a slow reader never delays the exchange."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable

from aiohttp import WSCloseCode, web

from engine.venues.sandbox.faults import FaultPlan

QUEUE_LIMIT = 4_000
PING_EVERY_S = 300.0


class Socket:
    """A client's connection and what it listens to.

    Parameters
    ----------
    ws : WebSocketResponse
        Prepared connection.
    transport : Transport or None
        What lies under it, for a cut without good-bye.
    wrapped : bool
        Combined stream: each message is sent as ``{"stream", "data"}``.
    faults : FaultPlan
        Decides which messages are lost, doubled or swapped.
    opened_s : float
        Monotonic clock at the hand-shake, seconds.
    """

    def __init__(
        self,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        wrapped: bool,
        faults: FaultPlan,
        opened_s: float,
    ) -> None:
        self.ws = ws
        self._transport = transport
        self.wrapped = wrapped
        self.opened_s = opened_s
        self.streams: dict[str, None] = {}
        self.muted = False
        self.closing = False
        self._faults = faults
        self._queue: deque[str] = deque()
        self._wake = asyncio.Event()
        self._held: str | None = None
        self._close_code = int(WSCloseCode.GOING_AWAY)

    def publish(self, stream: str, payload: str, wrapped_payload: str) -> None:
        """Queue one stream message; ``payload`` is the bare JSON and ``wrapped_payload`` the combined form."""
        if self.muted or self.closing:
            return
        text = wrapped_payload if self.wrapped else payload
        rule = self._faults.for_message(stream) if self._faults.rules else None
        if rule is not None and rule.action == "swap_ws" and self._held is None:
            self._held = text
            return
        if rule is None or rule.action != "lose_ws":
            self._append(text)
        if rule is not None and rule.action == "duplicate_ws":
            self._append(text)
        if self._held is not None:
            self._append(self._held)
            self._held = None

    def reply(self, text: str) -> None:
        """Queue the answer to a control message."""
        self._append(text)

    def close_soon(self, code: int) -> None:
        """Let the writer send a close frame with ``code`` after what is queued."""
        self.closing = True
        self._close_code = code
        self._wake.set()

    def drop(self) -> None:
        """Cut the connection without a close frame."""
        self.closing = True
        self._queue.clear()
        if self._transport is not None:
            self._transport.abort()
        self._wake.set()

    async def write_forever(self) -> None:
        """Send what is queued until the connection ends."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            while not self.ws.closed:
                while self._queue:
                    await self.ws.send_str(self._queue.popleft())
                if self.closing:
                    await self.ws.close(code=self._close_code)
                    return
                self._wake.clear()
                await self._wake.wait()

    def _append(self, text: str) -> None:
        if len(self._queue) >= QUEUE_LIMIT:
            # the reader has fallen behind: a client must never learn of a gap by finding one
            self._queue.clear()
            self.close_soon(int(WSCloseCode.POLICY_VIOLATION))
            return
        self._queue.append(text)
        self._wake.set()


def broadcast(sockets: Iterable[Socket], stream: str, payload: str) -> None:
    """Send one message of ``stream`` to every connection that listens to it."""
    wrapped_payload = f'{{"stream":"{stream}","data":{payload}}}'
    for socket in sockets:
        socket.publish(stream, payload, wrapped_payload)
