"""Standing down: working orders off the book, every position under its stop, and only then may the connection go."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from engine.domain import NS_PER_S, Purpose
from engine.errors import CommandRefused, VenueError
from engine.execution.orders import Order
from engine.execution.planner import CANCEL_RETRY_S, IN_DOUBT
from storage.database import StorageError

if TYPE_CHECKING:
    from engine.runtime.loop import Loop

log = structlog.get_logger("standdown")

WITHIN_S = 8.0  # a screen waits 15 s for its engine to end
LOOK_EVERY_S = 0.1


async def stand_down(loop: Loop, within_s: float = WITHIN_S) -> list[str]:
    """Cancel working orders and protect what is held; return in sentences what could not be done in time.

    An order may fill while its cancel is on its way, so the books are compared with the venue's after the last cancel,
    and each position found there gets its stop before this returns.
    """
    loop.worker.suspended = True
    loop.worker.clear()
    deadline = time.monotonic() + within_s
    is_compared = loop.reconciler.last is None  # before the first comparison nothing is known that could be compared
    while time.monotonic() < deadline:
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - time.monotonic()):
                if await _is_quiet(loop):
                    if is_compared:
                        return []
                    is_compared = (await loop.reconciler.run()).ok
                elif loop.reconciler.last is not None:
                    is_compared = False
        except (TimeoutError, VenueError, CommandRefused, StorageError) as trouble:
            log.warning("standing down", reason=str(trouble) or "the venue takes too long")
        await asyncio.sleep(LOOK_EVERY_S)
    return _left_over(loop, is_compared)


async def _is_quiet(loop: Loop) -> bool:
    """Cancel and protect what is still to do; return whether nothing was."""
    executor = loop.executor
    entries, bare = _entries(loop), _unprotected(loop)
    now = executor.now()
    due = [order for order in entries if now - order.cancel_sent_ns > CANCEL_RETRY_S * NS_PER_S]
    if due:
        await executor.cancel_all(due)
    if not entries:
        await asyncio.gather(*(loop.worker.keep_stop(symbol) for symbol in {*bare, *_orphans(loop)}))
    return not entries and not bare


def _entries(loop: Loop) -> list[Order]:
    return [order for order in loop.executor.open_orders() if order.spec.purpose != Purpose.PROTECT]


def _unprotected(loop: Loop) -> list[str]:
    if not loop.config.use_protective_stops:
        return []
    return [
        symbol
        for symbol, position in loop.account.open_positions().items()
        if not any(
            stop.spec.side * position.qty < 0 and stop.status not in IN_DOUBT
            for stop in loop.executor.open_orders(symbol, Purpose.PROTECT)
        )
    ]


def _orphans(loop: Loop) -> set[str]:
    held = loop.account.open_positions()
    return {stop.spec.symbol for stop in loop.executor.open_orders(purpose=Purpose.PROTECT)} - set(held)


def _left_over(loop: Loop, is_compared: bool) -> list[str]:
    sentences = [
        f"{order.spec.symbol}: order {order.client_id} may still rest at the venue ({order.status}). Cancel it there."
        for order in _entries(loop)
    ]
    sentences += [
        f"{symbol}: the position has no stop at the venue. Close it or place a stop there."
        for symbol in _unprotected(loop)
    ]
    if not sentences and not is_compared:
        sentences.append(
            "The books could not be compared with the venue's after the last cancel: look there whether each position "
            "has its stop."
        )
    return sentences
