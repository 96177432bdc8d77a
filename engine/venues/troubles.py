"""ccxt's errors as the engine's own: what was certainly not done, what was refused, and what is in doubt."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import TypeVar

import ccxt

from engine.errors import Rejected, StateUnknown, Unreachable

T = TypeVar("T")


async def reading(call: Awaitable[T]) -> T:
    """Return the answer to a question. Raises Unreachable or Rejected."""
    try:
        return await call
    except ccxt.OperationFailed as error:
        raise Unreachable(plain(error)) from error
    except ccxt.BaseError as error:
        raise Rejected(code_of(error), plain(error)) from error


async def writing(call: Awaitable[T]) -> T:
    """Return the answer to a request that changes something. Raises Unreachable, Rejected or StateUnknown."""
    try:
        return await call
    except (ccxt.RateLimitExceeded, ccxt.DDoSProtection) as error:
        raise Unreachable(plain(error)) from error  # refused before the matching engine saw it
    except ccxt.InvalidNonce as error:
        raise Rejected(code_of(error), plain(error)) from error
    except ccxt.OperationFailed as error:
        raise StateUnknown(plain(error)) from error
    except ccxt.BaseError as error:
        raise Rejected(code_of(error), plain(error)) from error


def code_of(error: Exception) -> int:
    """Return the venue's code in an error, 0 when there is none."""
    found = re.search(r'"code"\s*:\s*"?(-?\d+)', str(error))
    return int(found.group(1)) if found else 0


def plain(error: Exception) -> str:
    """Return the venue's sentence in an error, without anything secret."""
    found = re.search(r'"msg"\s*:\s*"([^"]*)"', str(error))
    text = found.group(1) if found else str(error)
    # a URL in the text would carry the signature or the listen key
    return re.sub(r"\S*(?:signature=|/ws/)\S*", "[request]", text)[:300]
