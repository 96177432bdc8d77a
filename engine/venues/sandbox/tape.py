"""The public tape: recent trades and their aggregates, one fixed-length line per symbol."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from engine.venues.sandbox.model import TradeEvent

TRADES_KEPT = 2_000


@dataclass(slots=True, eq=False)
class AggTrade:
    """Fills of one taker order at one price. It may still grow while that order is filling."""

    symbol: str
    agg_id: int
    first_id: int
    last_id: int
    price_tick: int
    lots: int
    buyer_is_maker: bool
    time_ms: int


class Tape:
    """Recent trades of every symbol."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.trades: dict[str, deque[TradeEvent]] = {s: deque(maxlen=TRADES_KEPT) for s in symbols}
        self.aggregates: dict[str, deque[AggTrade]] = {s: deque(maxlen=TRADES_KEPT) for s in symbols}

    def add(self, event: TradeEvent) -> tuple[AggTrade, bool]:
        """Record a trade; return its aggregate and whether that existed before."""
        self.trades[event.symbol].append(event)
        line = self.aggregates[event.symbol]
        if line and line[-1].agg_id == event.agg_id:
            line[-1].lots += event.lots
            line[-1].last_id = event.trade_id
            return line[-1], True
        agg = AggTrade(
            event.symbol, event.agg_id, event.trade_id, event.trade_id, event.price_tick, event.lots,
            event.buyer_is_maker, event.time_ms,
        )  # fmt: skip
        line.append(agg)
        return agg, False
