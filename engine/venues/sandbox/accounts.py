"""Accounts: wallets, positions with exact integer cost, and the records clients may ask for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TypeVar

from engine.venues.sandbox.model import Income, Order, UserTrade

KEPT_ROWS = 50_000
"""Fills, incomes and finished orders remembered per account; older ones are forgotten."""

T = TypeVar("T", UserTrade, Income, Order)


class Position:
    """Signed lots of one symbol and what they cost.

    ``cost_q`` is signed like the position: the quanta paid for a long (positive) or received for a short (negative).
    So unrealised profit at a mark is ``lots * mark_lot_q - cost_q`` and the entry price is ``cost_q / lots``. When a
    position shrinks, the share of the cost that leaves is rounded down and realised; the rest stays in ``cost_q``.
    Wallet plus unrealised profit is therefore the same before and after any rounding.
    """

    __slots__ = ("cost_q", "leverage", "lots", "update_ms")

    def __init__(self, leverage: int = 20) -> None:
        self.lots = 0
        self.cost_q = 0
        self.leverage = leverage
        self.update_ms = 0

    def fill(self, signed_lots: int, lot_q: int) -> int:
        """Apply a fill and return the profit it realises, in quanta.

        Parameters
        ----------
        signed_lots : int
            Lots bought (+) or sold (-).
        lot_q : int
            Price in quanta per lot.
        """
        held = self.lots
        if held == 0 or (held > 0) == (signed_lots > 0):
            self.lots = held + signed_lots
            self.cost_q += signed_lots * lot_q
            return 0
        if abs(signed_lots) >= abs(held):
            realized = held * lot_q - self.cost_q
            self.lots = held + signed_lots
            self.cost_q = self.lots * lot_q
            return realized
        cost_out = self.cost_q * -signed_lots // held
        self.lots = held + signed_lots
        self.cost_q -= cost_out
        return -signed_lots * lot_q - cost_out

    def unrealized_q(self, mark_lot_q: int) -> int:
        """Return the profit at a mark price, in quanta."""
        return self.lots * mark_lot_q - self.cost_q

    def reducible(self, side: int) -> int:
        """Return how many lots an order of this side could close."""
        return abs(self.lots) if self.lots * side < 0 else 0


class Account:
    """One customer. Internal accounts (background traders) keep no records and are never margin-checked."""

    __slots__ = (
        "account_id", "client_ids", "finished", "incomes", "internal", "margin_called", "open_orders", "orders",
        "positions", "reduce_orders", "trades", "update_ms", "wallet_q",
    )  # fmt: skip

    def __init__(self, account_id: str, internal: bool) -> None:
        self.account_id = account_id
        self.internal = internal
        self.wallet_q = 0
        self.update_ms = 0
        self.margin_called = False
        self.positions: dict[str, Position] = {}
        self.open_orders: dict[int, Order] = {}
        self.reduce_orders: dict[int, Order] = {}  # resting reduce-only orders, a subset of open_orders
        self.orders: dict[int, Order] = {}  # open and finished, by id; ids grow with time
        self.client_ids: dict[str, int] = {}  # latest order id of each client id
        self.finished: deque[int] = deque()
        self.trades: deque[UserTrade] = deque(maxlen=KEPT_ROWS)
        self.incomes: deque[Income] = deque(maxlen=KEPT_ROWS)

    def position(self, symbol: str, max_leverage: int = 20) -> Position:
        """Return the position of a symbol, made flat at leverage 20 (or the contract's maximum) when new."""
        position = self.positions.get(symbol)
        if position is None:
            position = self.positions[symbol] = Position(min(20, max_leverage))
        return position

    def remember(self, order: Order) -> None:
        """Register a new open order."""
        self.open_orders[order.order_id] = order
        if not self.internal:
            self.orders[order.order_id] = order
            self.client_ids[order.client_order_id] = order.order_id

    def forget_open(self, order: Order) -> None:
        """Move a finished order out of the open ones, and the oldest finished ones out of memory."""
        del self.open_orders[order.order_id]
        self.reduce_orders.pop(order.order_id, None)
        if self.internal:
            return
        self.finished.append(order.order_id)
        if len(self.finished) > KEPT_ROWS:
            old = self.orders.pop(self.finished.popleft())
            if self.client_ids.get(old.client_order_id) == old.order_id:
                del self.client_ids[old.client_order_id]

    def find(self, symbol: str, order_id: int | None, client_order_id: str | None) -> Order | None:
        """Return an order by venue id or, failing that, by client id; None when the account has no such order."""
        if order_id is None:
            order_id = self.client_ids.get(client_order_id or "")
        order = self.orders.get(order_id) if order_id is not None else None
        if order is None and order_id is not None:
            order = self.open_orders.get(order_id)
        return order if order is not None and order.symbol == symbol else None


def window(rows: Iterable[T], start_ms: int | None, end_ms: int | None, limit: int, newest: bool) -> list[T]:
    """Return rows with ``start_ms <= time_ms <= end_ms``, oldest first, at most ``limit``.

    ``newest`` says which end survives the limit: the newest rows (no start given) or the oldest (a page forward).
    """
    kept = [r for r in rows if (start_ms is None or r.time_ms >= start_ms) and (end_ms is None or r.time_ms <= end_ms)]
    return kept[-limit:] if newest else kept[:limit]
