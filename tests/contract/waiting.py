"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LOOK_EVERY_S = 0.01


async def eventually(condition: Callable[[], T], within_s: float = 5.0, what: str = "") -> T:
    """Return the condition's first true value; fail when there was none in time."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what or 'condition'} (last value {value!r})")
        await asyncio.sleep(LOOK_EVERY_S)
