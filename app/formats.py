"""How numbers, money and times are written on every screen. Pure: a value in, text out.

Thousands are set apart by a narrow no-break space and decimals are fixed, so columns of figures line up. A sign is
always a character, never only a colour. ``None`` and NaN are written as a dash: unknown is not zero.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo
from typing import Any, TypeGuard

from engine.domain import NS_PER_S

UNKNOWN = "—"
GROUP = "\u202f"  # narrow no-break space
MINUS = "\u2212"


def is_known(value: Any) -> TypeGuard[float]:
    """Return whether ``value`` is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def plural(n: int, noun: str) -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> plural(1, "position"), plural(0, "position")
    ('1 position', '0 positions')
    """
    return f"{number(n, 0)} {noun}{'' if n == 1 else 's'}"


def number(value: float | None, decimals: int = 2, unit: str = "") -> str:
    """Write a plain number with grouped thousands.

    Examples
    --------
    >>> number(12345.678).replace(GROUP, " ")
    '12 345.68'
    >>> number(None), number(float("nan"))
    ('—', '—')
    """
    if not is_known(value):
        return UNKNOWN
    text = f"{value:,.{decimals}f}"
    if text.startswith("-"):
        # "-0.00" is a zero that was rounded: it has no sign.
        text = text[1:] if float(text.replace(",", "")) == 0 else MINUS + text[1:]
    return _with_unit(text.replace(",", GROUP), unit)


def signed(value: float | None, decimals: int = 2, unit: str = "") -> str:
    """Write a change: arrow, sign and number; ``±`` when it rounds to zero.

    Examples
    --------
    >>> signed(3.2), signed(-3.2), signed(0.001)
    ('▲ +3.20', '▼ −3.20', '± 0.00')
    """
    if not is_known(value):
        return UNKNOWN
    body = number(abs(value), decimals, unit)
    if round(abs(value), decimals) == 0:
        return f"± {body}"
    return f"▲ +{body}" if value > 0 else f"▼ {MINUS}{body}"


def money(value: float | None, unit: str = "USDT", decimals: int = 2) -> str:
    """Write an amount of the quote currency with its unit."""
    return number(value, decimals, unit)


def signed_money(value: float | None, unit: str = "USDT", decimals: int = 2) -> str:
    """Write a gain or loss in the quote currency."""
    return signed(value, decimals, unit)


def percent(fraction: float | None, decimals: int = 2) -> str:
    """Write a fraction as per cent: 0.05 is ``5.00 %``."""
    return number(None if not is_known(fraction) else fraction * 100, decimals, "%")


def signed_percent(fraction: float | None, decimals: int = 2) -> str:
    """Write a change given as a fraction: 0.05 is ``▲ +5.00 %``."""
    return signed(None if not is_known(fraction) else fraction * 100, decimals, "%")


def basis_points(fraction: float | None, decimals: int = 1) -> str:
    """Write a small fraction in basis points: 0.0004 is ``4.0 bp``."""
    return number(None if not is_known(fraction) else fraction * 1e4, decimals, "bp")


def price_decimals(px: float) -> int:
    """Return how many decimals a price of this size needs when the venue's tick is not at hand."""
    size = abs(px)
    return 2 if size >= 100 else 4 if size >= 1 else 6


def price(px: float | None, tick: float | None = None) -> str:
    """Write a price with the venue's decimals, or with as many as its size calls for."""
    if not is_known(px):
        return UNKNOWN
    decimals = tick_decimals(tick) if is_known(tick) and tick > 0 else price_decimals(px)
    return number(px, decimals)


def tick_decimals(tick: float) -> int:
    """Return the decimals of a tick or lot size: 0.1 has 1, 0.0005 has 4, 10 has 0."""
    text = f"{tick:.12f}".rstrip("0")
    return len(text.partition(".")[2])


def quantity(qty: float | None, lot: float | None = None) -> str:
    """Write a signed quantity in base units; long is ``+``, short is ``−``, flat is bare."""
    if not is_known(qty):
        return UNKNOWN
    decimals = tick_decimals(lot) if is_known(lot) and lot > 0 else (4 if abs(qty) < 100 else 2)
    return ("+" if qty > 0 else "") + number(qty, decimals)


def weight(value: float | None) -> str:
    """Write a weight (notional over equity) with its sign and three decimals."""
    if not is_known(value):
        return UNKNOWN
    return ("+" if value > 0 else "") + number(value, 3)


def moment(ns: int | float | None, zone: tzinfo = UTC) -> str:
    """Write a time as ``2026-11-23 12:04:31`` in ``zone``."""
    if not is_known(ns) or ns <= 0:
        return UNKNOWN
    return datetime.fromtimestamp(int(ns) / NS_PER_S, zone).strftime("%Y-%m-%d %H:%M:%S")


def clock(ns: int | float | None, zone: tzinfo = UTC) -> str:
    """Write a time of day as ``12:04:31`` in ``zone``."""
    return UNKNOWN if not is_known(ns) or ns <= 0 else moment(ns, zone)[11:]


def age(seconds: float | None) -> str:
    """Write how old something is.

    Examples
    --------
    >>> age(0.42), age(75), age(7300), age(200000)
    ('0.4 s', '1 min 15 s', '2 h 1 min', '2 d 7 h')
    """
    if not is_known(seconds):
        return UNKNOWN
    seconds = max(seconds, 0.0)
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for big, small, names in ((86_400, 3_600, ("d", "h")), (3_600, 60, ("h", "min")), (60, 1, ("min", "s"))):
        if whole >= big:
            return f"{whole // big} {names[0]} {whole % big // small} {names[1]}"
    return f"{whole} s"


def sign_of(value: float | None) -> int:
    """Return 1, -1 or 0 (also for unknown), for colouring beside the written sign."""
    return 0 if not is_known(value) or value == 0 else (1 if value > 0 else -1)


def _with_unit(text: str, unit: str) -> str:
    return f"{text}{GROUP}{unit}" if unit else text
