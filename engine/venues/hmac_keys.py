"""Signing with a legacy API key: HMAC-SHA256 over the parameters, on the paths of the first API version."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

RECV_WINDOW_MS = 5_000
# the legacy API did not number all of its paths alike
_VERSION = {"balance": "v2", "positionRisk": "v2", "account": "v4"}
_KEY_ONLY = frozenset({"listenKey"})


def legacy_path(path: str) -> str:
    """Return the legacy API's path for one of the current API: ``v3/order`` is ``v1/order``."""
    _, _, name = path.partition("/")
    return f"{_VERSION.get(name, 'v1')}/{name}"


def hmac_request(
    root: str, path: str, method: str, params: dict[str, Any], key: str, secret: str, now_ms: int
) -> dict[str, Any]:
    """Return a signed request in the form that ccxt sends: ``url``, ``method``, ``body``, ``headers``.

    Parameters
    ----------
    root : str
        Such as ``https://fapi.asterdex.com/fapi``.
    path : str
        Path of the current API, version included.
    now_ms : int
        Wall clock, milliseconds; the venue refuses stamps older than ``RECV_WINDOW_MS``.
    """
    url, headers = f"{root}/{legacy_path(path)}", {"X-MBX-APIKEY": key}
    if path.partition("/")[2] in _KEY_ONLY:  # the key alone opens the user stream
        return {"url": url, "method": method, "body": None, "headers": headers}
    plain = {name: _plain(value) for name, value in params.items() if value is not None}
    message = urlencode(plain | {"recvWindow": RECV_WINDOW_MS, "timestamp": now_ms})
    signature = hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()
    signed = f"{message}&signature={signature}"
    if method == "GET":
        return {"url": f"{url}?{signed}", "method": method, "body": None, "headers": headers}
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    return {"url": url, "method": method, "body": signed, "headers": headers}


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else value
