"""The only caller of the engine: typed reads and commands over Arrow Flight.

A read returns a table (maybe empty) or raises ``EngineUnavailable``; a command returns the engine's answer or raises
``CommandRefused`` with a sentence for people. Nothing else leaves this module, and no traceback ever does.
Times are int64 nanoseconds UTC, prices and money in the quote currency, quantities in base units.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.flight as fl
import streamlit as st

from app.data_client import DataCalls
from app.evidence_client import EvidenceCalls
from app.execution_client import ExecutionCalls
from app.model_client import ModelCalls
from app.portfolio_client import PortfolioCalls
from app.research_client import ResearchCalls
from app.risk_client import RiskCalls
from app.vault_client import VaultCalls
from engine.errors import CommandRefused, WorkstationError

__all__ = ["CommandRefused", "EngineClient", "EngineUnavailable", "data_home", "engine_client", "new_key"]

READ_TIMEOUT_S = 5.0
STATUS_TIMEOUT_S = 2.0
COMMAND_TIMEOUT_S = 10.0
SLOW_COMMAND_TIMEOUT_S = 60.0

# A channel of our own with short back-off: gRPC shares broken connections between channels and then waits up to two
# minutes before it tries again, so a restarted engine would look dead for that long.
_CHANNEL_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
]


class EngineUnavailable(WorkstationError):
    """The engine is down, starting or unreachable, so the answer is unknown (which is not the same as empty).

    Parameters
    ----------
    reason : str
        A sentence for people.
    since : float
        Unix time, seconds, at which the engine was last known to answer (or first asked).
    """

    def __init__(self, reason: str, since: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.since = since

    @property
    def unknown_since(self) -> str:
        """The text every screen shows instead of a number: ``unknown since HH:MM:SS``, local time."""
        return f"unknown since {time.strftime('%H:%M:%S', time.localtime(self.since))}"


def data_home() -> Path:
    """Return the data folder: ``ASTROLABE_HOME`` or ``~/.astrolabe``."""
    return Path(os.environ.get("ASTROLABE_HOME") or Path.home() / ".astrolabe").expanduser()


def new_key() -> str:
    """Return a fresh idempotency key. Make one per action of a person, never one per rerun."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class _Connection:
    stamp: tuple[int, int]  # inode and mtime of engine.json: both change when an engine restarts
    flight: fl.FlightClient
    token: bytes


class EngineClient(
    VaultCalls, ResearchCalls, DataCalls, EvidenceCalls, ModelCalls, RiskCalls, ExecutionCalls, PortfolioCalls
):  # fmt: skip
    """Reads and commands of one engine, found through ``<home>/engine.json``. Safe to share between threads.

    Parameters
    ----------
    home : Path, optional
        Data folder; ``data_home()`` when left out.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or data_home()
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._last_answer = time.time()

    # ---- reads: a table, maybe empty, or EngineUnavailable -------------------------------------------------------

    def bars(self, symbol: str, interval: str, *, limit: int = 1500, end_ns: int | None = None) -> pd.DataFrame:
        """Return candles, oldest first, the open one last: ts_open, open_px, high_px, low_px, close_px, volume."""
        return self._read(table="bars", symbol=symbol, interval=interval, limit=limit, end_ns=end_ns)

    def orders(self, *, open_only: bool = False, symbol: str | None = None, limit: int = 500) -> pd.DataFrame:
        """Return our orders, columns of ``storage.schema.orders``."""
        return self._read(table="orders", open_only=open_only, symbol=symbol, limit=limit)

    def fills(self, *, symbol: str | None = None, since_ns: int = 0, limit: int = 1000) -> pd.DataFrame:
        """Return our executions, newest first, columns of ``storage.schema.fills``."""
        return self._read(table="fills", symbol=symbol, since_ns=since_ns, limit=limit)

    def positions(self) -> pd.DataFrame:
        """Return open positions, one row a symbol; ``qty`` is signed, ``pnl_unrealized`` in the quote currency."""
        return self._read(table="positions")

    def decisions(self, *, limit: int = 200, symbol: str | None = None, since_ns: int = 0) -> pd.DataFrame:
        """Return decision records without their detail, newest first."""
        return self._read(table="decisions", limit=limit, symbol=symbol, since_ns=since_ns)

    def equity(self, *, since_ns: int = 0, limit: int = 5000) -> pd.DataFrame:
        """Return the account through time, oldest first, columns of ``storage.schema.equity``."""
        return self._read(table="equity", since_ns=since_ns, limit=limit)

    def runs(self, *, limit: int = 100) -> pd.DataFrame:
        """Return backtests and other long jobs, newest first. ``config`` and ``metrics`` are JSON text."""
        return self._read(table="runs", limit=limit)

    def incidents(self, *, limit: int = 200) -> pd.DataFrame:
        """Return what went wrong, newest first."""
        return self._read(table="incidents", limit=limit)

    def audit(self, *, limit: int = 200) -> pd.DataFrame:
        """Return who changed what, newest first."""
        return self._read(table="audit", limit=limit)

    def commands(self, *, limit: int = 200) -> pd.DataFrame:
        """Return commands from people and programs, newest first."""
        return self._read(table="commands", limit=limit)

    # ---- questions that change nothing ---------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return the engine's state: mode, equity, feeds, kill level … ``None`` in it means unknown."""
        return self._ask("status", timeout_s=STATUS_TIMEOUT_S)

    def instruments(self) -> dict[str, dict[str, Any]]:
        """Return the venue's filters by symbol, fields of ``engine.domain.Instrument``."""
        return self._ask("instruments")

    def decision(self, decision_id: int) -> dict[str, Any]:
        """Return one decision with its detail, orders and fills."""
        return self._ask("decision", decision_id=int(decision_id))

    def settings(self) -> dict[str, Any]:
        """Return ``{"values": …, "fields": …}`` of ``SystemConfig``."""
        return self._ask("settings.get")

    def performance(self, *, since_ns: int = 0) -> dict[str, Any]:
        """Return the account's ratios, daily and monthly returns and drawdown since a moment; ``None`` is unknown."""
        return self._ask("performance", since_ns=int(since_ns))

    def arming(self) -> dict[str, Any]:
        """Return the checklist that must be green before live trading: ``{"items": […], "ready": bool}``."""
        return self._ask("arming", timeout_s=COMMAND_TIMEOUT_S)

    def doctor(self) -> dict[str, Any]:
        """Return the engine's self-checks: ``{"checks": [{"name", "ok", "detail"}]}``."""
        return self._ask("doctor", timeout_s=SLOW_COMMAND_TIMEOUT_S)

    def health(self) -> dict[str, Any]:
        """Return streams, request weight, breakers and clock: what stands between the engine and the venue."""
        return self._ask("health")

    def ledger(self) -> dict[str, Any]:
        """Return our books beside the venue's, line by line, and what stays unexplained, quote currency."""
        return self._ask("ledger", timeout_s=COMMAND_TIMEOUT_S)

    def drills(self) -> list[dict[str, Any]]:
        """Return the kill-switch drills, newest first; one that goes on has ``ok`` None."""
        return self._ask("drills")

    def ladder(self) -> dict[str, Any]:
        """Return the capital ladder: ``{"rung", "share", "rungs": […], "overrides": […]}``."""
        return self._ask("ladder")

    # ---- commands: each carries the key of one action of a person ------------------------------------------------

    def preview_ticket(self, ticket: dict[str, Any]) -> dict[str, Any]:
        """Return cost, margin, liquidation price and the gate's answer for an order that is not sent."""
        return self._command("ticket.preview", COMMAND_TIMEOUT_S, **ticket)

    def submit_ticket(self, ticket: dict[str, Any], key: str, *, actor: str = "desk") -> dict[str, Any]:
        """Send an order. The same key twice returns the first result and sends nothing."""
        return self._command("ticket.submit", COMMAND_TIMEOUT_S, **ticket, idempotency_key=key, actor=actor)

    def cancel_order(self, client_id: str, key: str) -> dict[str, Any]:
        """Cancel one of our open orders."""
        return self._command("order.cancel", COMMAND_TIMEOUT_S, client_id=client_id, idempotency_key=key)

    def cancel_all_orders(self, key: str, *, symbol: str | None = None) -> dict[str, Any]:
        """Cancel every open order, of one symbol or of all."""
        return self._command("orders.cancel_all", COMMAND_TIMEOUT_S, symbol=symbol, idempotency_key=key)

    def close_position(self, symbol: str, key: str) -> dict[str, Any]:
        """Close one position with reduce-only orders."""
        return self._command("position.close", COMMAND_TIMEOUT_S, symbol=symbol, idempotency_key=key)

    def kill(self, level: int, reason: str, key: str, *, actor: str = "desk") -> dict[str, Any]:
        """Throw the kill switch: 1 pause entries, 2 cancel all, 3 flatten, 4 halt."""
        return self._command(
            "kill", COMMAND_TIMEOUT_S, level=int(level), reason=reason, actor=actor, idempotency_key=key
        )

    def resume(self, key: str, *, confirm: str = "", actor: str = "desk") -> dict[str, Any]:
        """Release the kill switch. After a halt ``confirm`` must be ``RESUME``."""
        return self._command("resume", COMMAND_TIMEOUT_S, confirm=confirm, actor=actor, idempotency_key=key)

    def look_up_order(self, client_id: str) -> dict[str, Any]:
        """Ask the venue now what became of an order whose outcome is unknown."""
        return self._command("order.lookup", COMMAND_TIMEOUT_S, client_id=client_id)

    def start_drill(self, level: int, key: str, *, actor: str = "desk") -> dict[str, Any]:
        """Rehearse a kill level on a throw-away exchange and return ``{"drill_id"}``; nothing real is touched."""
        return self._command("drill.start", COMMAND_TIMEOUT_S, level=int(level), actor=actor, idempotency_key=key)

    def override_ladder(self, rung: str, reason: str, key: str, *, actor: str = "desk") -> dict[str, Any]:
        """Allow live capital up to a rung without its evidence, or withdraw that with ``paper``."""
        return self._command(
            "ladder.override", COMMAND_TIMEOUT_S, rung=rung, reason=reason, actor=actor, idempotency_key=key
        )

    def incident_bundle(self, incident_id: int) -> bytes:
        """Return one incident with all around it as a redacted zip file."""
        answer = self._command("incident.bundle", SLOW_COMMAND_TIMEOUT_S, incident_id=int(incident_id))
        return Path(answer["path"]).read_bytes()

    def apply_settings(self, values: dict[str, Any], key: str) -> dict[str, Any]:
        """Apply some settings; refused as a whole, with a sentence per field, when one is wrong."""
        return self._command("settings.set", COMMAND_TIMEOUT_S, values=values, idempotency_key=key)

    def reconcile(self) -> dict[str, Any]:
        """Compare the books with the venue now: ``{"ok", "mismatches"}``."""
        return self._command("reconcile", SLOW_COMMAND_TIMEOUT_S)

    def export(self, table: str, path: str, *, file_format: str = "parquet") -> dict[str, Any]:
        """Write a table to a file on the engine's machine."""
        return self._command("export", SLOW_COMMAND_TIMEOUT_S, table=table, path=path, format=file_format)

    # ---- the stream ----------------------------------------------------------------------------------------------

    def live(self) -> Iterator[str]:
        """Yield the engine's live messages, each one JSON text, until it goes away (``EngineUnavailable``).

        Blocks between messages; close the generator from its own thread to end the call.
        """
        connection = self._connect()
        reader = None
        try:
            reader = connection.flight.do_get(_ticket({"table": "live"}), _options(connection.token, None))
            for chunk in reader:
                self._last_answer = time.time()
                yield from chunk.data.column(0).to_pylist()
        except (pa.ArrowException, OSError) as error:
            self._drop(connection)
            raise self._unavailable(error) from None
        finally:
            if reader is not None:
                reader.cancel()
        self._drop(connection)
        raise EngineUnavailable("The engine closed its live stream.", self._last_answer)

    # ---- plumbing ------------------------------------------------------------------------------------------------

    def _read(self, **request: Any) -> pd.DataFrame:
        def call(connection: _Connection) -> pd.DataFrame:
            options = _options(connection.token, READ_TIMEOUT_S)
            return connection.flight.do_get(_ticket(request), options).read_all().to_pandas()

        return self._call(call, refusals=False)

    def _ask(self, name: str, *, timeout_s: float = READ_TIMEOUT_S, **body: Any) -> Any:
        return self._call(lambda connection: _act(connection, name, body, timeout_s), refusals=False)

    def _command(self, name: str, timeout_s: float, /, **body: Any) -> dict[str, Any]:
        return self._call(lambda connection: _act(connection, name, body, timeout_s), refusals=True)

    def _call(self, call: Any, *, refusals: bool) -> Any:
        """Call once, and once more when the engine has restarted since: commands carry keys, so that is safe."""
        for attempt in (1, 2):
            connection = self._connect()
            try:
                answer = call(connection)
            except (fl.FlightUnavailableError, fl.FlightUnauthenticatedError, fl.FlightCancelledError) as error:
                self._drop(connection)
                if attempt == 1 and self._stamp() != connection.stamp:
                    continue
                raise self._unavailable(error) from None
            except fl.FlightTimedOutError:
                raise EngineUnavailable("The engine did not answer in time.", self._last_answer) from None
            except (pa.ArrowException, OSError) as error:
                self._last_answer = time.time() if refusals else self._last_answer
                if refusals:
                    raise CommandRefused(_sentence(error)) from None
                raise EngineUnavailable(_sentence(error), self._last_answer) from None
            self._last_answer = time.time()
            return answer
        raise EngineUnavailable("The engine is restarting.", self._last_answer)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = (self.home / "engine.json").stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns

    def _connect(self) -> _Connection:
        stamp = self._stamp()
        if stamp is None:
            raise EngineUnavailable("No engine is ready yet.",
                                    self._last_answer)  # fmt: skip
        with self._lock:
            if self._connection is not None and self._connection.stamp == stamp:
                return self._connection
            try:
                card = json.loads((self.home / "engine.json").read_text())
                flight = fl.FlightClient(card["flight_url"], generic_options=_CHANNEL_OPTIONS)
            except (OSError, ValueError, KeyError, pa.ArrowException):
                raise EngineUnavailable("The engine is starting.", self._last_answer) from None
            self._connection = _Connection(stamp, flight, card["token"].encode())
            return self._connection

    def _drop(self, connection: _Connection) -> None:
        # Not closed here: another thread may be inside a call on it. It closes when the last user lets go.
        with self._lock:
            if self._connection is connection:
                self._connection = None

    def _unavailable(self, error: Exception) -> EngineUnavailable:
        if isinstance(error, fl.FlightUnauthenticatedError):
            reason = "The engine did not accept our token; it may be restarting."
        elif isinstance(error, fl.FlightUnavailableError):
            reason = "The engine does not answer."
        else:
            reason = _sentence(error)
        return EngineUnavailable(reason, self._last_answer)


def _ticket(request: dict[str, Any]) -> fl.Ticket:
    return fl.Ticket(json.dumps(request).encode())


def _options(token: bytes, timeout_s: float | None) -> fl.FlightCallOptions:
    return fl.FlightCallOptions(timeout=timeout_s, headers=[(b"authorization", b"Bearer " + token)])


def _act(connection: _Connection, name: str, body: dict[str, Any], timeout_s: float) -> Any:
    action = fl.Action(name, json.dumps(body).encode())
    results = list(connection.flight.do_action(action, _options(connection.token, timeout_s)))
    return json.loads(results[0].body.to_pybytes())


def _sentence(error: Exception) -> str:
    """Return the engine's own sentence from ``{"error", "message"}``, or a plain one: never a traceback."""
    text = str(error)
    start = text.find("{")
    if start >= 0:
        try:
            card, _ = json.JSONDecoder().raw_decode(text[start:])
            return str(card["message"])
        except (ValueError, KeyError, TypeError):
            pass
    return "The engine could not answer this request; its log says why."


@st.cache_resource(show_spinner=False)
def _client_of(home: str) -> EngineClient:
    return EngineClient(Path(home))


def engine_client() -> EngineClient:
    """Return the client all pages of this server share (one per data folder)."""
    return _client_of(str(data_home()))
