"""One incident as one file: what happened around it, redacted, for somebody who was not there."""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
import zipfile
from pathlib import Path
from typing import Any

from engine.domain import NS_PER_S
from engine.errors import CommandRefused
from engine.runtime.redact import Redactor, known_secrets
from storage.database import Database

AROUND_S = 600
LOG_TAIL_BYTES = 400_000
MAX_ROWS = 20_000
PACKAGES = ("astrolabe", "ccxt", "duckdb", "numba", "numpy", "pyarrow", "streamlit")
LOGS = ("engine.log", "sandbox.log")

# Table, the condition that makes a row belong to the time around the incident, and its order.
_WINDOW = (
    ("incidents", "ts BETWEEN $begin AND $end", "incident_id"),
    (
        "orders",
        "ts_intent BETWEEN $begin AND $end OR ts_final BETWEEN $begin AND $end OR (ts_intent < $begin AND "
        "status NOT IN ('FILLED', 'CANCELED', 'EXPIRED', 'REJECTED'))",
        "ts_intent",
    ),
    ("order_events", "ts BETWEEN $begin AND $end", "seq"),
    ("fills", "ts_received BETWEEN $begin AND $end", "ts_received"),
    ("decisions", "ts_decided BETWEEN $begin AND $end", "decision_id"),
    ("commands", "ts BETWEEN $begin AND $end", "ts"),
    ("equity", "ts BETWEEN $begin AND $end", "ts"),
)
README = """Incident {incident_id} of {when_ns} ns UTC: {message}

incident.json   the incident itself
incidents, orders, order_events, fills, decisions, commands, equity (.json)
                the record from {minutes} minutes before to {minutes} minutes after
settings.json   the settings in force when this file was made
status.json     the engine's status when this file was made; null when no engine ran
versions.json   program, libraries and system
*.log           the end of the logs

Keys, tokens, signatures and pass phrases are replaced by [redacted], account addresses by [address 1], [address 2] ….
Prices, quantities and balances are as they were: look through the file before you send it to somebody.
"""


def make_bundle(store: Database, incident_id: int, path: Path, status: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write the bundle of one incident and return ``path`` and ``bytes``.

    Parameters
    ----------
    store : Database
        Its folder also holds the logs.
    path : Path
        A zip file; replaced when it is there.
    status : dict, optional
        The running engine's status.

    Raises
    ------
    CommandRefused
        There is no such incident.
    """
    rows = store.rows("SELECT * FROM incidents WHERE incident_id = ?", [incident_id])
    if not rows:
        raise CommandRefused(f"There is no incident {incident_id}. The Health page lists those that there are.")
    incident = rows[0]
    folder = store.path.parent
    redactor = Redactor(known_secrets(folder))
    parts: dict[str, Any] = {"incident": incident, **_around(store, int(incident["ts"]))}
    parts |= {"settings": store.recall("config", {}), "status": status, "versions": versions()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        told = README.format(
            incident_id=incident_id, when_ns=incident["ts"], message=incident["message"], minutes=AROUND_S // 60
        )
        archive.writestr("README.txt", redactor.text(told))
        for name, content in parts.items():
            archive.writestr(f"{name}.json", json.dumps(redactor.value(content), indent=1, default=str))
        for name in LOGS:
            if (folder / name).exists():
                archive.writestr(name, redactor.text(_tail(folder / name)))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(buffer.getvalue())
    part.replace(path)
    return {"path": str(path), "bytes": len(buffer.getvalue())}


def _around(store: Database, ts: int) -> dict[str, list[dict[str, Any]]]:
    window = {"begin": ts - AROUND_S * NS_PER_S, "end": ts + AROUND_S * NS_PER_S}
    found = {}
    for table, condition, order in _WINDOW:
        # every name here is a constant of this module; only the two times come from outside
        query = f"SELECT * FROM {table} WHERE {_positional(condition)} ORDER BY {order} LIMIT {MAX_ROWS}"
        found[table] = store.rows(query, _values(condition, window))
    return found


def _positional(condition: str) -> str:
    return condition.replace("$begin", "?").replace("$end", "?")


def _values(condition: str, window: dict[str, int]) -> list[int]:
    words = condition.replace("(", " ").replace(")", " ").split()
    return [window[word[1:]] for word in words if word in ("$begin", "$end")]


def versions() -> dict[str, str]:
    """Return the versions of the program, its libraries, Python and the system."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - LOG_TAIL_BYTES, 0))
        return file.read().decode(errors="replace")
