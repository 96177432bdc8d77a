"""The command line's way to a running engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from engine.errors import CommandRefused, Unreachable


def ask(home: Path, action: str, body: dict[str, Any] | None = None, timeout_s: float = 60.0) -> Any:
    """Send one action to the engine of a data folder and return its answer.

    Raises
    ------
    Unreachable
        No engine runs there, or it does not answer.
    CommandRefused
        The engine refused, with its sentence.
    """
    try:
        found = json.loads((home / "engine.json").read_text())
    except (OSError, json.JSONDecodeError):
        raise Unreachable(f"No engine runs on {home}. Start one: python -m engine paper") from None
    options = fl.FlightCallOptions(timeout=timeout_s, headers=[(b"authorization", f"Bearer {found['token']}".encode())])
    try:
        with fl.connect(found["flight_url"]) as client:
            request = fl.Action(action, json.dumps(body or {}).encode())
            result = next(iter(client.do_action(request, options)))
            return json.loads(result.body.to_pybytes())
    except (fl.FlightUnavailableError, fl.FlightTimedOutError):
        raise Unreachable(
            f"The engine on {home} (process {found['pid']}) does not answer. It may be starting or under load: try "
            "again, and read engine.log there if it stays silent."
        ) from None
    except pa.ArrowException as error:
        raise CommandRefused(_sentence(str(error))) from None


def _sentence(text: str) -> str:
    start, end = text.find("{"), text.find("}")
    try:
        return str(json.loads(text[start : end + 1])["message"])
    except (ValueError, KeyError):
        return "The engine failed on this request; its log holds the reason."
