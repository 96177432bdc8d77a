"""The WebSocket side: hand-shakes, control messages, and the end of connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from engine.venues.sandbox.sockets import PING_EVERY_S, Socket
from engine.venues.sandbox.userstream import USER_STREAM
from engine.venues.sandbox.venue import PracticeVenue
from engine.venues.sandbox.wire import to_json

STREAMS_PER_SOCKET = 200
MESSAGES_PER_S = 10


class Gateway:
    """Owns every open WebSocket."""

    def __init__(self, venue: PracticeVenue) -> None:
        self._venue = venue
        self.sockets: set[Socket] = set()

    async def combined(self, request: web.Request) -> web.WebSocketResponse:
        """Serve ``/fstream/stream?streams=a/b``: payloads wrapped with their stream's name."""
        names = [name for name in request.query.get("streams", "").split("/") if name]
        return await self._serve(request, names, wrapped=True)

    async def raw(self, request: web.Request) -> web.WebSocketResponse:
        """Serve ``/fstream/ws/<stream or listen key>``: bare payloads."""
        names = [name for name in request.match_info.get("name", "").split("/") if name]
        return await self._serve(request, names, wrapped=False)

    async def _serve(self, request: web.Request, names: list[str], wrapped: bool) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(heartbeat=PING_EVERY_S, compress=False, max_msg_size=1 << 20)
        await ws.prepare(request)
        socket = Socket(ws, request.transport, wrapped, self._venue.faults, time.monotonic())
        self.sockets.add(socket)
        writer = asyncio.create_task(socket.write_forever())
        try:
            if all([self._listen(socket, name) for name in names]):
                await self._read(socket)
            else:
                socket.close_soon(int(WSCloseCode.POLICY_VIOLATION))
                await writer
        finally:
            self._forget(socket)
            socket.close_soon(int(WSCloseCode.GOING_AWAY))
            with contextlib.suppress(asyncio.CancelledError):
                await writer
        return ws

    async def _read(self, socket: Socket) -> None:
        second, n_messages = 0, 0
        async for message in socket.ws:
            if message.type is not WSMsgType.TEXT:
                continue
            if int(time.monotonic()) != second:
                second, n_messages = int(time.monotonic()), 0
            n_messages += 1
            if n_messages > MESSAGES_PER_S:
                socket.close_soon(int(WSCloseCode.POLICY_VIOLATION))
                return
            socket.reply(self._control(socket, message.data))

    def _control(self, socket: Socket, text: str) -> str:
        try:
            order = json.loads(text)
            method, params, ident = order["method"], order.get("params") or [], order.get("id")
        except (ValueError, KeyError, TypeError, AttributeError):
            return to_json({"error": {"code": 3, "msg": "Invalid JSON: expected method, params and id."}})
        if method == "SUBSCRIBE":
            return self._subscribe(socket, params, ident)
        if method == "UNSUBSCRIBE":
            for name in params:
                self._venue.streams.unsubscribe(socket, str(name))
            return to_json({"result": None, "id": ident})
        if method == "LIST_SUBSCRIPTIONS":
            return to_json({"result": [name for name in socket.streams if name != USER_STREAM], "id": ident})
        if method == "GET_PROPERTY":
            return to_json({"result": socket.wrapped, "id": ident})
        if method == "SET_PROPERTY" and len(params) == 2 and params[0] == "combined":
            socket.wrapped = bool(params[1])
            return to_json({"result": None, "id": ident})
        return to_json({"error": {"code": 1, "msg": f"Invalid method {method!r}."}, "id": ident})

    def _subscribe(self, socket: Socket, params: list[Any], ident: Any) -> str:
        names = [str(name) for name in params]
        if len(set(socket.streams) | set(names)) > STREAMS_PER_SOCKET:
            return to_json({"error": {"code": 2, "msg": "Too many streams on this connection."}, "id": ident})
        # as at the venue, an unknown stream is acknowledged and then stays silent
        for name in names:
            self._listen(socket, name)
        return to_json({"result": None, "id": ident})

    def _listen(self, socket: Socket, name: str) -> bool:
        return self._venue.streams.subscribe(socket, name) if "@" in name else self._venue.users.attach(socket, name)

    def _forget(self, socket: Socket) -> None:
        self._venue.streams.forget(socket)
        self._venue.users.forget(socket)
        self.sockets.discard(socket)

    def sweep(self, now_s: float) -> None:
        """End what is too old and apply fault rules to connections. ``now_s`` is the monotonic clock."""
        venue = self._venue
        venue.users.expire(now_s, venue.market_ms)
        for socket in list(self.sockets):
            if now_s - socket.opened_s >= venue.options.socket_life_s:
                socket.close_soon(int(WSCloseCode.GOING_AWAY))
            rule = venue.faults.for_socket(socket.streams or ("",), now_s) if venue.faults.rules else None
            if rule is None:
                continue
            if rule.action == "drop_ws":
                socket.drop()
            elif rule.action == "close_ws":
                socket.close_soon(int(WSCloseCode.GOING_AWAY))
            elif rule.action == "mute_ws":
                socket.muted = True
            elif rule.action == "expire_listen_key":
                venue.users.expire_for(socket, venue.market_ms)

    async def close(self) -> None:
        """Say good-bye to every connection."""
        sockets = list(self.sockets)
        for socket in sockets:
            socket.close_soon(int(WSCloseCode.GOING_AWAY))
        await asyncio.gather(*(socket.ws.close() for socket in sockets), return_exceptions=True)
