"""A wire between engine and exchange that can be cut, muffled, slowed or garbled. Runs in a thread; loopback only.

The exchange's own fault rules act on whole answers and messages. What happens below them (a connection that is open and
dead, a body that never ends, an answer that is cut in the middle, a server that is gone, a clock that is wrong) is done
here, on bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from typing import Any

CHUNK = 65_536
HELD_S = 12.0  # longer than the engine waits for an answer
MODES = ("", "refuse", "half_open", "slow_body", "truncated_json", "clock")


class Proxy:
    """Forwards one local port to another.

    Parameters
    ----------
    target_port : int
        The exchange's port.
    clock_shift_ms : int
        What mode ``clock`` adds to the server's time.
    """

    def __init__(self, target_port: int, clock_shift_ms: int = -11_000) -> None:
        self._target, self._shift_ms = target_port, clock_shift_ms
        self.mode = ""
        self.acted = 0  # since the mode was set
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        self._ready.wait(5)

    def set(self, mode: str) -> None:
        """Begin a mode; an empty one forwards faithfully. ``refuse`` also cuts what is open."""
        if mode not in MODES:
            raise ValueError(f"{mode!r} is not one of {MODES}")
        self.mode, self.acted = mode, 0
        if mode == "refuse":
            self._loop.call_soon_threadsafe(self._cut_all)

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._cut_all()
        server.close()

    def _cut_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "refuse":
            self.acted += 1
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, up_writer}
        self._writers |= ends
        asked: dict[str, Any] = {"line": b"", "is_stream": False}
        both = [
            asyncio.ensure_future(self._forward(reader, up_writer, asked)),
            asyncio.ensure_future(self._answer(up_reader, writer, asked)),
        ]
        with contextlib.suppress(OSError):
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        for end in ends:
            end.transport.abort()
        self._writers -= ends

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[str, Any]) -> None:
        while chunk := await reader.read(CHUNK):
            if chunk.startswith((b"GET ", b"POST ", b"PUT ", b"DELETE ")):
                asked["line"] = chunk.split(b"\r\n", 1)[0]
                asked["is_stream"] = b"upgrade: websocket" in chunk.lower()
            if not (asked["is_stream"] and self.mode == "half_open"):
                writer.write(chunk)
                await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[str, Any]) -> None:
        while chunk := await reader.read(CHUNK):
            if asked["is_stream"]:
                if self.mode == "half_open":
                    self.acted += 1
                    continue  # swallowed: open, and nothing arrives, not even the answer to a ping
            elif asked["line"].startswith(b"POST") and b"/order" in asked["line"]:
                if self.mode == "slow_body":
                    self.acted += 1
                    middle = len(chunk) - len(chunk.partition(b"\r\n\r\n")[2]) // 2
                    writer.write(chunk[:middle])
                    await asyncio.sleep(HELD_S)
                    chunk = chunk[middle:]
                elif self.mode == "truncated_json":
                    self.acted += 1
                    chunk = _truncated(chunk)
            elif self.mode == "clock" and b"/time" in asked["line"]:
                self.acted += 1
                chunk = re.sub(rb'("serverTime":\s*)(\d{13})', self._shifted, chunk)
            writer.write(chunk)
            await writer.drain()

    def _shifted(self, found: re.Match[bytes]) -> bytes:
        return found.group(1) + str(int(found.group(2)) + self._shift_ms).encode()


def _truncated(chunk: bytes) -> bytes:
    """Return an answer of the same length whose JSON ends in the middle."""
    head, gap, body = chunk.partition(b"\r\n\r\n")
    half = len(body) // 2
    return head + gap + body[:half] + b" " * (len(body) - half)
