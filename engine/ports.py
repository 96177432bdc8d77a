"""The seams, on one screen. Every implementation passes the same contract test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import pyarrow as pa

from engine.domain import (
    ApprovedOrder,
    BalanceReport,
    Bar,
    BookSnapshot,
    BookTop,
    Fill,
    Instrument,
    MarketTrade,
    MarkPrice,
    OrderUpdate,
    PositionReport,
    StreamState,
)


class MovedBalance(BalanceReport):
    """Cash after money came in or went out: the difference from before is neither profit nor loss."""

    __slots__ = ()


FeedEvent = Bar | MarketTrade | BookSnapshot | BookTop | MarkPrice | StreamState
VenueEvent = OrderUpdate | Fill | PositionReport | BalanceReport | StreamState


class Clock(Protocol):
    """What time it is."""

    def now(self) -> int:
        """Return nanoseconds since the epoch, UTC."""


class Feed(Protocol):
    """Market data, in the order in which it was received."""

    async def history(self, symbol: str, interval: str, n_bars: int) -> list[Bar]:
        """Return the last ``n_bars`` closed bars, oldest first."""

    def stream(self, symbols: Sequence[str]) -> AsyncIterator[FeedEvent]:
        """Yield events until closed. Reconnects by itself and reports gaps."""


class Venue(Protocol):
    """Where orders go."""

    async def instruments(self) -> dict[str, Instrument]:
        """Return what can be traded, by symbol."""

    async def submit(self, order: ApprovedOrder) -> OrderUpdate:
        """Send one approved order.

        Raises
        ------
        Rejected
            The venue refused; it holds no such order.
        Unreachable
            Nothing was sent.
        StateUnknown
            It may hold the order.
        """

    async def cancel(self, symbol: str, client_id: str) -> None:
        """Cancel one order. An order that is already gone is not an error."""

    def events(self) -> AsyncIterator[VenueEvent]:
        """Yield the account's own events until closed."""

    async def snapshot(self) -> tuple[list[OrderUpdate], list[PositionReport], BalanceReport]:
        """Return open orders, positions and balance as the venue holds them now."""


class Store(Protocol):
    """The record. Append-only where it can be."""

    def append(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        """Queue rows for the next group commit."""

    def append_durable(self, table: str, rows: Sequence[dict[str, Any]]) -> Future[None]:
        """Queue rows and return a future that is done when they can be read, or holds the reason why not."""

    def append_ahead(self, table: str, rows: Sequence[dict[str, Any]]) -> Future[None]:
        """Queue rows and return a future that is done as soon as no crash can lose them; reads see them soon after."""

    def read(self, query: str, params: Sequence[Any] = ()) -> pa.Table:
        """Run one SELECT on a cursor of its own."""
