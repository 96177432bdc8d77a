"""Relays the engine's live stream to browsers, with back-pressure.

One thread per server reads the engine's stream, and only while somebody watches. Each browser has an outbox in which
newer prices replace older ones, so a slow browser sees fewer updates, never a growing delay, and costs bounded memory.

Wire: the server sends JSON arrays at most 30 times a second. The first element is ``{"t": "tx", "tx": ns}``, the wall
clock when it was sent; the rest are the engine's messages, plus ``{"t": "engine", "up", "since_ms", "reason"}`` when
the engine goes away or comes back. The browser sends ``{"sub": {"symbol": "BTCUSDT", "tops": true}}``: ``tops`` asks
for the best prices of all symbols, four times a second, besides everything about the one symbol.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import deque
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.client import EngineClient, EngineUnavailable

MAX_BATCHES_PER_S = 30
OTHER_TOPS_EVERY_S = 0.25
MAX_TRADES = 200
MAX_EVENTS = 500
MAX_BARS = 64
RETRY_S = 1.0
PER_SYMBOL = frozenset({"top", "bar", "trade", "book"})
WHOLE_STATE = frozenset({"hello", "status", "orders", "positions", "engine"})


class Outbox:
    """What one browser has not been sent yet. Filled by the reader thread, drained by the socket's task."""

    def __init__(self, wake: Any) -> None:
        self.wake = wake
        self._lock = threading.Lock()
        self._latest: dict[tuple[str, ...], str] = {}
        self._bars: dict[tuple[str, int], str] = {}
        self._other_tops: dict[str, str] = {}
        self._trades: deque[str] = deque(maxlen=MAX_TRADES)
        self._events: deque[str] = deque(maxlen=MAX_EVENTS)
        self._others_sent = 0.0
        self.symbol = ""
        self.wants_tops = False

    def subscribe(self, symbol: str, wants_tops: bool) -> None:
        """Follow another symbol: what waited for the old one is dropped."""
        with self._lock:
            if symbol != self.symbol:
                self._bars.clear()
                self._trades.clear()
                self._latest = {key: text for key, text in self._latest.items() if key[0] not in PER_SYMBOL}
            self.symbol, self.wants_tops = symbol, wants_tops

    def put(self, message: dict[str, Any], text: str) -> None:
        """Add a message, or replace the older one it makes worthless."""
        kind, symbol = message.get("t", ""), message.get("s", "")
        with self._lock:
            if kind == "engine" and not message["up"]:
                self._clear()  # what waited is no longer true
            if kind in PER_SYMBOL and symbol != self.symbol:
                if kind == "top" and self.wants_tops:
                    self._other_tops[symbol] = text
                return
            if kind == "bar":
                # Keyed by its opening too: a closed bar must not be replaced by the first tick of the next one.
                self._bars[symbol, message["o"]] = text
                while len(self._bars) > MAX_BARS:
                    del self._bars[next(iter(self._bars))]
            elif kind == "trade":
                self._trades.append(text)
            elif kind in PER_SYMBOL or kind in WHOLE_STATE:
                self._latest[kind, symbol] = text
            else:
                self._events.append(text)
        self.wake()

    def drain(self) -> list[str]:
        """Return what is due, oldest kind of news first, and forget it."""
        with self._lock:
            due = [*self._latest.values(), *self._events, *self._bars.values(), *self._trades]
            other_tops, now = self._other_tops, time.monotonic()
            self._other_tops = {}
            self._clear()
            if now - self._others_sent >= OTHER_TOPS_EVERY_S:
                due += other_tops.values()
                self._others_sent = now
            else:
                self._other_tops = other_tops
        return due

    def _clear(self) -> None:
        self._latest.clear()
        self._events.clear()
        self._bars.clear()
        self._trades.clear()
        self._other_tops = {}

    def __len__(self) -> int:
        return len(self._latest) + len(self._bars) + len(self._other_tops) + len(self._trades) + len(self._events)


class Relay:
    """Reads the engine once and serves any number of browsers.

    Parameters
    ----------
    client : EngineClient
        Where the stream comes from.
    """

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._outboxes: set[Outbox] = set()
        self._snapshot: dict[tuple[str, str], tuple[dict[str, Any], str]] = {}
        self._watched = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.registry = CollectorRegistry()
        self._n_browsers = Gauge("astrolabe_ui_browsers", "Browsers on the live socket", registry=self.registry)
        self._n_read = Counter("astrolabe_ui_messages_read", "Live messages from the engine", registry=self.registry)
        self._n_sent = Counter("astrolabe_ui_batches_sent", "Batches sent to browsers", registry=self.registry)
        self._engine_up = Gauge("astrolabe_ui_engine_up", "1 while the live stream runs", registry=self.registry)

    def start(self) -> None:
        """Start the reader thread; it idles until a browser connects."""
        self._thread = threading.Thread(target=self._read_for_ever, name="live-reader", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the reader thread; open sockets end with it."""
        self._stopping.set()
        self._watched.set()
        for outbox in list(self._outboxes):
            outbox.wake()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one browser until it leaves."""
        await websocket.accept()
        loop, wake = asyncio.get_running_loop(), asyncio.Event()

        def wake_from_thread() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server is going away
                loop.call_soon_threadsafe(wake.set)

        outbox = Outbox(wake_from_thread)
        self._join(outbox)
        sender = asyncio.create_task(self._send(websocket, outbox, wake))
        try:
            while True:
                self._subscribe(outbox, await websocket.receive_text())
        except WebSocketDisconnect:
            pass
        finally:
            self._leave(outbox)
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await sender

    async def _send(self, websocket: WebSocket, outbox: Outbox, wake: asyncio.Event) -> None:
        while not self._stopping.is_set():
            await wake.wait()
            wake.clear()
            due = outbox.drain()
            if due:
                stamp = f'{{"t":"tx","tx":{time.time_ns()}}}'
                # Waits while the browser's buffers are full; meanwhile the outbox coalesces.
                await websocket.send_text("[" + ",".join([stamp, *due]) + "]")
                self._n_sent.inc()
            await asyncio.sleep(1 / MAX_BATCHES_PER_S)
        await websocket.close(1001)

    def _join(self, outbox: Outbox) -> None:
        with self._lock:
            self._outboxes.add(outbox)
            snapshot = list(self._snapshot.values())
        for message, text in snapshot:
            if message["t"] in WHOLE_STATE:
                outbox.put(message, text)
        self._n_browsers.inc()
        self._watched.set()

    def _leave(self, outbox: Outbox) -> None:
        with self._lock:
            self._outboxes.discard(outbox)
            if not self._outboxes and not self._stopping.is_set():
                self._watched.clear()
        self._n_browsers.dec()

    def _subscribe(self, outbox: Outbox, text: str) -> None:
        try:
            wish = json.loads(text)["sub"]
            symbol, wants_tops = str(wish["symbol"])[:40], bool(wish.get("tops"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # not ours: a browser extension, or a stale page
        outbox.subscribe(symbol, wants_tops)
        with self._lock:
            snapshot = [pair for (_, s), pair in self._snapshot.items() if s and (s == symbol or wants_tops)]
        for message, kept in snapshot:
            outbox.put(message, kept)

    def _read_for_ever(self) -> None:
        while not self._stopping.is_set():
            self._watched.wait()
            if self._stopping.is_set():
                return
            stream = self._client.live()
            try:
                for i, text in enumerate(stream):
                    self.publish(text)
                    if i == 0:
                        self._publish_books()
                    if not self._watched.is_set() or self._stopping.is_set():
                        break
            except EngineUnavailable as error:
                self._announce(False, error.reason, error.since)
                self._stopping.wait(RETRY_S)
            finally:
                stream.close()
                self._forget()

    def publish(self, text: str) -> None:
        """Give one message of the engine to every browser that wants it."""
        message = json.loads(text)
        if "NaN" in text or "Infinity" in text:
            text = json.dumps(_without_nan(message))  # a browser refuses the whole batch over one NaN
        self._n_read.inc()
        kind, symbol = message.get("t", ""), message.get("s", "")
        if ("engine", "") not in self._snapshot or self._snapshot["engine", ""][0]["up"] is False:
            self._announce(True, "", time.time())
        if kind in WHOLE_STATE or kind in ("top", "book", "bar"):
            with self._lock:
                self._snapshot[kind, symbol] = (message, text)
        self._give(message, text)

    def _publish_books(self) -> None:
        """Read what the stream tells only when it changes. It is open already, so no change can fall in between."""
        for kind, table in (("orders", self._client.orders(open_only=True)), ("positions", self._client.positions())):
            rows = table.to_json(orient="records", double_precision=15)
            self.publish(f'{{"t": "{kind}", "rows": {rows}}}')

    def _announce(self, up: bool, reason: str, since: float) -> None:
        self._engine_up.set(int(up))
        known = self._snapshot.get(("engine", ""))
        if known and known[0]["up"] is up and known[0]["reason"] == reason:
            return
        message = {"t": "engine", "up": up, "reason": reason, "since_ms": int(since * 1000)}
        text = json.dumps(message)
        with self._lock:
            self._snapshot["engine", ""] = (message, text)
        self._give(message, text)

    def _give(self, message: dict[str, Any], text: str) -> None:
        with self._lock:
            outboxes = list(self._outboxes)
        for outbox in outboxes:
            outbox.put(message, text)

    def _forget(self) -> None:
        """Keep nothing that could be shown as current after the stream has ended."""
        down = self._snapshot.get(("engine", ""))
        with self._lock:
            self._snapshot = {("engine", ""): down} if down and not down[0]["up"] else {}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))) else value
