"""What goes on the record besides orders: bars, ticks, tops, equity. Samples where a row per event would be waste."""

from __future__ import annotations

from typing import Any

import structlog

from engine.domain import NS_PER_S, Bar, BookTop, MarketTrade, MarkPrice
from storage.database import Database, Rows, StorageError

log = structlog.get_logger("journal")

TOP_EVERY_NS = NS_PER_S
BAR_COLUMNS = Bar._fields[:8]  # symbol to volume: the columns of the table, in its order


class Journal:
    """Appends market data to the store; a full disk is reported once and never stops the engine.

    Parameters
    ----------
    store : Database
    """

    def __init__(self, store: Database) -> None:
        self._store = store
        self._next_top: dict[str, int] = {}
        self._ticks: list[dict[str, Any]] = []

    def append(self, table: str, rows: Rows) -> None:
        """Queue rows; trouble is logged."""
        try:
            self._store.append(table, rows)
        except StorageError as error:
            log.error("rows not written", table=table, reason=str(error))

    def bars(self, bars: list[Bar]) -> None:
        """Keep closed candles. A start brings a hundred thousand of them, so they are handed over as columns."""
        closed = [bar[: len(BAR_COLUMNS)] for bar in bars if bar.is_closed]
        if closed:
            self.append("bars", dict(zip(BAR_COLUMNS, zip(*closed, strict=True), strict=True)))

    def tick(self, trade: MarketTrade) -> None:
        """Keep one market trade; written with the next ``flush``."""
        self._ticks.append({
            "symbol": trade.symbol, "ts_exchange": trade.ts_exchange, "ts_received": trade.ts_received,
            "px": trade.px, "qty": trade.qty, "side": trade.side,
        })  # fmt: skip

    def flush(self) -> None:
        """Queue the ticks gathered so far."""
        if self._ticks:
            rows, self._ticks = self._ticks, []
            self.append("ticks", rows)

    def top(self, top: BookTop) -> None:
        """Keep the best bid and ask, at most once a second per symbol."""
        if top.ts_received >= self._next_top.get(top.symbol, 0):
            self._next_top[top.symbol] = top.ts_received + TOP_EVERY_NS
            self.append("book_tops", [{
                "symbol": top.symbol, "ts_exchange": top.ts_exchange, "ts_received": top.ts_received,
                "bid_px": top.bid_px, "bid_qty": top.bid_qty, "ask_px": top.ask_px, "ask_qty": top.ask_qty,
            }])  # fmt: skip

    def settled_funding(self, before: MarkPrice | None, now: MarkPrice) -> None:
        """Keep a funding rate when its settlement has passed: the last one announced for that moment."""
        if before is not None and 0 < before.ts_next_funding < now.ts_next_funding:
            self.append("funding", [{
                "symbol": before.symbol, "ts_funding": before.ts_next_funding, "rate": before.funding_rate,
                "mark_px": before.mark_px,
            }])  # fmt: skip

    def positions(self, rows: list[dict[str, Any]]) -> None:
        """Keep the positions that the venue has just confirmed."""
        columns = ("symbol", "qty", "entry_px", "mark_px", "liq_px", "leverage", "ts")
        if rows:
            self.append("positions", [{name: row[name] for name in columns} for row in rows])
