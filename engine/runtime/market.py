"""What the engine knows of the market now: tops, marks, open bars, and how old each is."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.domain import INTERVAL_S, NS_PER_S, Bar, BookSnapshot, BookTop, MarketSlice, MarketTrade, MarkPrice
from engine.execution.flow import SymbolFlow

OPEN_BAR_INTERVALS = ("1m", "1h")


class Hole(NamedTuple):
    """Candles that never came: they open within [start_ns, end_ns)."""

    symbol: str
    interval: str
    start_ns: int
    end_ns: int
    n_bars: int


class MarketState:
    """Newest market data by symbol. Fed by the loop, read by everything else in the event loop."""

    def __init__(self) -> None:
        self.tops: dict[str, BookTop] = {}
        self.marks: dict[str, MarkPrice] = {}
        self.books: dict[str, BookSnapshot] = {}
        self.open_bars: dict[tuple[str, str], Bar] = {}
        self.last_closed: dict[tuple[str, str], Bar] = {}
        self.ts_exchange = 0
        self.holes: list[Hole] = []
        self.flows: dict[str, SymbolFlow] = {}

    def on_top(self, top: BookTop) -> None:
        """Take a new best bid and ask."""
        self.tops[top.symbol] = top
        self.ts_exchange = max(self.ts_exchange, top.ts_exchange)
        self.flow(top.symbol).on_top(top)

    def on_trade(self, trade: MarketTrade) -> None:
        """Take somebody's execution."""
        self.flow(trade.symbol).on_trade(trade)

    def flow(self, symbol: str) -> SymbolFlow:
        """Return how much of a symbol trades and how far it moves."""
        flow = self.flows.get(symbol)
        if flow is None:
            flow = self.flows[symbol] = SymbolFlow()
        return flow

    def on_mark(self, mark: MarkPrice) -> None:
        """Take a new mark price."""
        self.marks[mark.symbol] = mark
        self.ts_exchange = max(self.ts_exchange, mark.ts_exchange)

    def on_book(self, book: BookSnapshot) -> None:
        """Take a new partial book."""
        self.books[book.symbol] = book

    def on_bar(self, bar: Bar) -> bool:
        """Take a bar; return True when it is newly closed."""
        key = (bar.symbol, bar.interval)
        if not bar.is_closed:
            self.open_bars[key] = bar
            return False
        known = self.last_closed.get(key)
        if known is not None and known.ts_open >= bar.ts_open:
            return False
        self.last_closed[key] = bar
        if known is not None:
            self._note_hole(known, bar)
        return True

    def _note_hole(self, known: Bar, bar: Bar) -> None:
        span_ns = INTERVAL_S[bar.interval] * NS_PER_S
        n_missing = (bar.ts_open - known.ts_open) // span_ns - 1
        if n_missing > 0:
            self.holes.append(Hole(bar.symbol, bar.interval, known.ts_open + span_ns, bar.ts_open, n_missing))

    def forget(self) -> None:
        """Drop everything: another market begins."""
        self.__init__()  # type: ignore[misc]

    def age_s(self, symbol: str, now: int) -> float:
        """Return the seconds since the symbol's newest best bid and ask arrived; inf when there is none."""
        top = self.tops.get(symbol)
        return math.inf if top is None else (now - top.ts_received) / NS_PER_S

    def mark_px(self, symbol: str) -> float:
        """Return the newest mark price, or the mid when there is none, or NaN."""
        mark = self.marks.get(symbol)
        if mark is not None:
            return mark.mark_px
        top = self.tops.get(symbol)
        return math.nan if top is None else (top.bid_px + top.ask_px) / 2

    def mid_px(self, symbol: str) -> float:
        """Return the middle of best bid and ask, or the mark price when there is none."""
        top = self.tops.get(symbol)
        return self.mark_px(symbol) if top is None else (top.bid_px + top.ask_px) / 2

    def slice_at(self, symbols: tuple[str, ...], interval: str, ts_open: int, now: int) -> MarketSlice:
        """Return one closed bar of every symbol as arrays (N,), NaN where a symbol has none."""
        open_px, high_px, low_px, close_px, volume = columns = tuple(np.full(len(symbols), np.nan) for _ in range(5))
        for index, symbol in enumerate(symbols):
            bar = self.last_closed.get((symbol, interval))
            if bar is not None and bar.ts_open == ts_open:
                values = (bar.open_px, bar.high_px, bar.low_px, bar.close_px, bar.volume)
                for column, value in zip(columns, values, strict=True):
                    column[index] = value
        ages = np.array([min(self.age_s(symbol, now), 1e9) for symbol in symbols])
        ts_close = ts_open + INTERVAL_S[interval] * NS_PER_S
        return MarketSlice(ts_close, open_px, high_px, low_px, close_px, volume, ages)
