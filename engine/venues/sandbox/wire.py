"""Numbers and JSON as they appear on the wire: compact, and exact where the core is exact."""

from __future__ import annotations

import json
from typing import Any

QUANTA_PER_UNIT = 100_000_000
"""Money inside the exchange is an integer count of 1e-8 USDT."""

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def to_json(value: Any) -> str:
    """Return compact JSON. NaN is a bug here and raises."""
    return _encode(value)


def money(quanta: int) -> str:
    """Return an exact decimal string of money given in 1e-8 USDT."""
    sign = "-" if quanta < 0 else ""
    whole, part = divmod(abs(quanta), QUANTA_PER_UNIT)
    return f"{sign}{whole}.{part:08d}"


def trimmed(value: float, places: int = 8) -> str:
    """Return a float with at most ``places`` decimals, no exponent and no trailing zeros."""
    text = f"{value:.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
