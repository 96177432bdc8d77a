"""How research writes numbers: fixed decimals, the unit at the number, a dash for what is not known."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, TypeGuard

UNKNOWN = "–"


def known(value: Any) -> TypeGuard[float]:
    """Return whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, decimals: int = 2) -> str:
    """Write a number with grouped thousands.

    Examples
    --------
    >>> number(12345.678), number(-0.001), number(None)
    ('12,345.68', '0.00', '–')
    """
    if not known(value):
        return UNKNOWN
    text = f"{value:,.{decimals}f}"
    return text[1:] if text.startswith("-") and not any(digit in text for digit in "123456789") else text


def percent(fraction: Any, decimals: int = 1) -> str:
    """Write a fraction as per cent; very large ones without decimals."""
    if not known(fraction):
        return UNKNOWN
    return f"{number(100 * fraction, 0 if abs(fraction) >= 10 else decimals)} %"


def probability(value: Any) -> str:
    """Write a probability; one that rounds to 0 or 100 % is written as a bound: nothing here is certain."""
    if known(value) and value >= 0.995:
        return "above 99 %"
    return "below 1 %" if known(value) and value < 0.005 else percent(value, 0)


def signed_percent(fraction: Any, decimals: int = 1) -> str:
    """Write a change with its sign."""
    text = percent(fraction, decimals)
    return f"+{text}" if known(fraction) and fraction > 0 else text


def between(low: Any, high: Any, kind: str) -> str:
    """Write an interval; a dash when an end is missing."""
    return f"{written(low, kind)} to {written(high, kind)}" if known(low) and known(high) else UNKNOWN


def written(value: Any, kind: str) -> str:
    """Write a value by kind: percent, signed_percent, ratio, money, count."""
    if kind == "count":
        return number(value, 0)
    return {"percent": percent, "signed_percent": signed_percent}.get(kind, number)(value)


def day(ts_ms: Any) -> str:
    """Write the UTC day of a moment in milliseconds."""
    return datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%d") if known(ts_ms) else UNKNOWN


def minute(ts_ms: Any) -> str:
    """Write a moment in milliseconds to the minute, UTC."""
    return datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M") if known(ts_ms) else UNKNOWN


def plural(n: int, word: str) -> str:
    """Write a count with its noun."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"
