"""Arrow Flight on loopback: tables, actions and the live stream, behind a bearer token. No traceback leaves here."""

from __future__ import annotations

import asyncio
import json
import queue
import secrets
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.flight as fl
import structlog

from engine.errors import CommandRefused, WorkstationError
from engine.runtime.broadcast import Broadcaster
from engine.runtime.commands import Commands
from engine.runtime.queries import Queries
from storage.database import StorageError

WRONG_TOKEN = "The token is missing or wrong: the right one is in engine.json of the data folder."

log = structlog.get_logger("server")
T = TypeVar("T")

LIVE_SCHEMA = pa.schema([("json", pa.string())])
ACTION_TIMEOUT_S = 60.0
HEARTBEAT_S = 1.0
MAX_BATCH = 500


class _Middleware(fl.ServerMiddleware):
    pass


class TokenGate(fl.ServerMiddlewareFactory):
    """Refuses every call without the right bearer token."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._expected = f"Bearer {token}".encode()

    def start_call(self, info: Any, headers: dict[str, list[Any]]) -> fl.ServerMiddleware:
        """Check one call's authorization header, in constant time."""
        given = next((values[0] for name, values in headers.items() if name.lower() == "authorization" and values), "")
        raw = given.encode() if isinstance(given, str) else bytes(given)
        if not secrets.compare_digest(raw, self._expected):
            raise fl.FlightUnauthenticatedError(_error_text("Unauthenticated", WRONG_TOKEN))
        return _Middleware()


class FlightServer(fl.FlightServerBase):
    """The engine's only door.

    Parameters
    ----------
    commands, queries, broadcaster : the engine's parts.
    event_loop : asyncio loop
        Where commands run; server threads wait for it.
    token : str
        Bearer token.
    port : int
        0 takes a free one. The address is always 127.0.0.1.
    """

    def __init__(
        self,
        commands: Commands,
        queries: Queries,
        broadcaster: Broadcaster,
        event_loop: asyncio.AbstractEventLoop,
        token: str,
        port: int = 0,
    ) -> None:
        super().__init__(f"grpc://127.0.0.1:{port}", middleware={"token": TokenGate(token)})
        self._commands, self._queries, self._broadcaster = commands, queries, broadcaster
        self._event_loop = event_loop

    def do_get(self, context: Any, ticket: fl.Ticket) -> fl.FlightDataStream:
        """Answer a table, or the endless live stream."""
        query = _guarded(lambda: _json(ticket.ticket))
        if query.get("table") == "live":
            return fl.GeneratorStream(LIVE_SCHEMA, self._live(context))
        return fl.RecordBatchStream(_guarded(lambda: self._queries.read(query)))

    def _live(self, context: Any) -> Iterator[pa.RecordBatch]:
        reader = self._broadcaster.subscribe()
        try:
            while not context.is_cancelled():
                batch = _next_batch(reader)
                yield pa.record_batch([pa.array([text for text in batch if text is not None])], schema=LIVE_SCHEMA)
                if None in batch:
                    return
        finally:
            self._broadcaster.unsubscribe(reader)

    def do_action(self, context: Any, action: fl.Action) -> list[fl.Result]:
        """Carry out one action on the event loop and answer with its JSON."""

        def run() -> dict[str, Any]:
            body = _json(action.body.to_pybytes()) if action.body is not None and action.body.size else {}
            work = self._commands.run(action.type, body)
            return asyncio.run_coroutine_threadsafe(work, self._event_loop).result(ACTION_TIMEOUT_S)

        return [fl.Result(json.dumps(_guarded(run), allow_nan=False).encode())]

    def list_actions(self, context: Any) -> list[tuple[str, str]]:
        """Name every action."""
        return [(name, "") for name in self._commands.names]


def _next_batch(reader: queue.Queue[str | None]) -> list[str | None]:
    try:
        batch = [reader.get(timeout=HEARTBEAT_S)]
    except queue.Empty:
        return []  # an empty batch is a heartbeat, and lets a cancelled call end
    while len(batch) < MAX_BATCH and batch[-1] is not None:
        try:
            batch.append(reader.get_nowait())
        except queue.Empty:
            break
    return batch


def _json(raw: bytes) -> dict[str, Any]:
    body = json.loads(raw)
    if not isinstance(body, dict):
        raise CommandRefused(f"A request is one JSON object, and this one is a {type(body).__name__}.")
    return body


def _guarded(work: Callable[[], T]) -> T:
    """Run ``work``; whatever goes wrong reaches the client as a name and a sentence."""
    try:
        return work()
    except (WorkstationError, StorageError) as error:
        raise fl.FlightServerError(_error_text(type(error).__name__, str(error))) from None
    except (KeyError, ValueError, TypeError) as error:
        text = f"The request is not understood: {type(error).__name__} {error}"
        raise fl.FlightServerError(_error_text("CommandRefused", text)) from None
    except TimeoutError:
        text = "The engine did not answer in time; the journal shows what became of the command."
        raise fl.FlightTimedOutError(_error_text("TimedOut", text)) from None
    except Exception:
        log.exception("request failed")
        text = "The engine failed on this request; its log holds the reason."
        raise fl.FlightInternalError(_error_text("InternalError", text)) from None


def _error_text(name: str, message: str) -> str:
    return json.dumps({"error": name, "message": message})
