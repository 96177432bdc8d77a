"""What browsers see live: one short message per event, and the full set of orders and positions when it changes."""

from __future__ import annotations

import math
import time
from typing import Any

from engine.domain import Bar, BookSnapshot, BookTop, MarketTrade
from engine.runtime.account import Account
from engine.runtime.broadcast import Broadcaster
from engine.runtime.executor import Executor
from engine.runtime.market import MarketState


def finite(value: float) -> float | None:
    """Return None where a number is unknown: JSON and tables have no NaN."""
    return float(value) if math.isfinite(value) else None


class Screen:
    """Formats events into live messages. ``s`` is the symbol, ``ts`` and ``rx`` are exchange and receive time in ns."""

    def __init__(self, broadcaster: Broadcaster, market: MarketState, account: Account, executor: Executor) -> None:
        self._broadcaster = broadcaster
        self._market, self._account, self._executor = market, account, executor
        self._orders_changed = False

    def publish(self, kind: str, **fields: Any) -> None:
        """Send one message, if anybody listens."""
        if self._broadcaster.has_readers:
            self._broadcaster.publish({"t": kind, **fields})

    def top(self, top: BookTop) -> None:
        """Send the best bid and ask with the mark price."""
        mark = finite(self._market.mark_px(top.symbol))
        self.publish("top", s=top.symbol, b=top.bid_px, a=top.ask_px, m=mark, ts=top.ts_exchange, rx=top.ts_received)

    def trade(self, trade: MarketTrade) -> None:
        """Send a market trade."""
        self.publish(
            "trade", s=trade.symbol, p=trade.px, q=trade.qty, d=trade.side, ts=trade.ts_exchange, rx=trade.ts_received
        )

    def book(self, book: BookSnapshot) -> None:
        """Send partial depth."""
        self.publish("book", s=book.symbol, b=book.bids, a=book.asks, ts=book.ts_exchange, rx=book.ts_received)

    def bar(self, bar: Bar) -> None:
        """Send the newest one-minute candle."""
        if bar.interval == "1m":
            px = [bar.open_px, bar.high_px, bar.low_px, bar.close_px, bar.volume]
            ts_open_ms = bar.ts_open // 1_000_000
            self.publish("bar", s=bar.symbol, i="1m", o=ts_open_ms, p=px, x=bar.is_closed, rx=bar.ts_received)

    def on_change(self, kind: str, row: Any) -> None:
        """Hear of an order or a fill."""
        if kind == "orders":
            self._orders_changed = True
        elif kind == "fill":
            self.publish("fill", **row)

    def orders(self, *, force: bool = False) -> None:
        """Send the full set of open orders if it changed."""
        if self._orders_changed or force:
            self._orders_changed = False
            self.publish("orders", rows=self.order_rows())

    def positions(self) -> None:
        """Send all positions with their present value."""
        self.publish("positions", rows=self.position_rows())

    def order_rows(self) -> list[dict[str, Any]]:
        """Return open orders as rows."""
        doubts = self._executor.doubts
        return [order.row() | doubts.row(order) for order in self._executor.open_orders()]

    def position_rows(self) -> list[dict[str, Any]]:
        """Return open positions as rows; quantity and notional are negative for a short."""
        rows = []
        for symbol, position in sorted(self._account.open_positions().items()):
            mark = self._market.mark_px(symbol)
            stops = [o.spec.stop_px for o in self._executor.open_orders(symbol) if o.spec.close_position]
            rows.append({
                "symbol": symbol, "qty": position.qty, "entry_px": position.entry_px, "mark_px": finite(mark),
                "liq_px": finite(position.liq_px), "leverage": finite(position.leverage),
                "notional": finite(position.qty * mark), "stop_px": stops[-1] if stops else None,
                "pnl_unrealized": finite(position.qty * (mark - position.entry_px)),
                "manual_qty": position.manual_qty, "ts": time.time_ns(),
            })  # fmt: skip
        return rows
