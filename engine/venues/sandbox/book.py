"""The limit order book of one symbol: integer prices, price-time priority, hidden orders."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator

from engine.venues.sandbox.model import DepthChanges, Order


class Level:
    """Orders at one price, oldest first, and the lots of those that are displayed."""

    __slots__ = ("orders", "shown_lots")

    def __init__(self) -> None:
        self.orders: OrderedDict[int, Order] = OrderedDict()
        self.shown_lots = 0


class Book:
    """Resting orders of one symbol.

    Hidden orders (time in force HIDDEN) queue and match like all others at their price; only depth and the displayed
    best leave them out. The venue documents no other priority for them.

    ``update_id`` grows by one with every change of a level.
    """

    __slots__ = ("_changed", "_drained_id", "levels", "ticks", "update_id")

    def __init__(self) -> None:
        # Indexed by side: +1 bids, -1 asks. A sorted list of a few hundred ints beats any tree at insertion.
        self.levels: dict[int, dict[int, Level]] = {1: {}, -1: {}}
        self.ticks: dict[int, list[int]] = {1: [], -1: []}
        self.update_id = 0
        self._drained_id = 0
        self._changed: set[tuple[int, int]] | None = None

    def add(self, order: Order) -> None:
        """Queue an order behind all others at its price; it must not cross the other side."""
        side, tick = order.side, order.price_tick
        level = self.levels[side].get(tick)
        if level is None:
            level = self.levels[side][tick] = Level()
            insort(self.ticks[side], tick)
        level.orders[order.order_id] = order
        if order.tif != "HIDDEN":
            level.shown_lots += order.orig_lots - order.executed_lots
        self._touch(side, tick)

    def remove(self, order: Order) -> None:
        """Take a resting order out."""
        side, tick = order.side, order.price_tick
        level = self.levels[side][tick]
        del level.orders[order.order_id]
        if order.tif != "HIDDEN":
            level.shown_lots -= order.orig_lots - order.executed_lots
        if not level.orders:
            self._drop(side, tick)
        self._touch(side, tick)

    def reduce(self, order: Order, lots: int) -> None:
        """Account for ``lots`` about to leave a resting order that keeps its place (a fill, or a smaller quantity)."""
        level = self.levels[order.side][order.price_tick]
        if order.tif != "HIDDEN":
            level.shown_lots -= lots
        if lots == order.orig_lots - order.executed_lots:
            del level.orders[order.order_id]
            if not level.orders:
                self._drop(order.side, order.price_tick)
        self._touch(order.side, order.price_tick)

    def front(self, side: int) -> Order | None:
        """Return the order with the highest priority on a side, hidden ones included."""
        ticks = self.ticks[side]
        if not ticks:
            return None
        level = self.levels[side][ticks[-1] if side > 0 else ticks[0]]
        return next(iter(level.orders.values()))

    def walk(self, side: int) -> Iterator[Order]:
        """Yield the orders of a side in the sequence in which they would fill."""
        ticks = self.ticks[side]
        for tick in reversed(ticks) if side > 0 else ticks:
            yield from self.levels[side][tick].orders.values()

    def best_tick(self, side: int) -> int | None:
        """Return the best price of a side, hidden orders included."""
        ticks = self.ticks[side]
        if not ticks:
            return None
        return ticks[-1] if side > 0 else ticks[0]

    def shown(self, side: int, limit: int) -> list[tuple[int, int]]:
        """Return up to ``limit`` displayed levels (price_tick, lots), best first."""
        rows: list[tuple[int, int]] = []
        levels, ticks = self.levels[side], self.ticks[side]
        for tick in reversed(ticks) if side > 0 else ticks:
            lots = levels[tick].shown_lots
            if lots:
                rows.append((tick, lots))
                if len(rows) == limit:
                    break
        return rows

    def changes(self) -> DepthChanges:
        """Return the displayed levels that changed since the last call; the first call returns all levels."""
        changed = self._changed
        if changed is None:
            changed = {(side, tick) for side in (1, -1) for tick in self.levels[side]}
        self._changed = set()
        rows: dict[int, list[tuple[int, int]]] = {1: [], -1: []}
        for side, tick in changed:
            level = self.levels[side].get(tick)
            rows[side].append((tick, level.shown_lots if level else 0))
        previous, self._drained_id = self._drained_id, self.update_id
        return DepthChanges(previous + 1, self.update_id, previous, sorted(rows[1], reverse=True), sorted(rows[-1]))

    def _drop(self, side: int, tick: int) -> None:
        del self.levels[side][tick]
        ticks = self.ticks[side]
        del ticks[bisect_left(ticks, tick)]

    def _touch(self, side: int, tick: int) -> None:
        self.update_id += 1
        if self._changed is not None:
            self._changed.add((side, tick))
