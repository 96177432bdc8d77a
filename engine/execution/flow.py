"""How much trades and how far the price moves, per symbol, from the stream: what algorithms look at. No clock."""

from __future__ import annotations

import math

from engine.domain import NS_PER_S, BookTop, MarketTrade

RATE_MEMORY_S = 60.0
SIGMA_MEMORY_S = 300.0
SAMPLE_S = 1.0  # mids closer together than this are mostly bouncing quotes


class SymbolFlow:
    """One symbol's traded volume, trading rate and volatility, by exponential forgetting."""

    __slots__ = ("_first_ns", "_mid", "_mid_ns", "_rate_ns", "_recent", "_span_s", "_squares", "volume")

    def __init__(self) -> None:
        self.volume = 0.0  # base units since the stream began
        self._recent = 0.0
        self._rate_ns = self._first_ns = 0
        self._mid = math.nan
        self._mid_ns = 0
        self._squares = self._span_s = 0.0

    def on_trade(self, trade: MarketTrade) -> None:
        """Take somebody's execution."""
        self.volume += trade.qty
        self._first_ns = self._first_ns or trade.ts_received
        self._recent = self._recent * self._kept(trade.ts_received) + trade.qty
        self._rate_ns = max(self._rate_ns, trade.ts_received)

    def on_top(self, top: BookTop) -> None:
        """Take a new best bid and ask."""
        mid, gap_s = (top.bid_px + top.ask_px) / 2.0, (top.ts_received - self._mid_ns) / NS_PER_S
        if math.isnan(self._mid):
            self._mid, self._mid_ns = mid, top.ts_received
        elif gap_s >= SAMPLE_S:
            kept = math.exp(-gap_s / SIGMA_MEMORY_S)
            self._squares = self._squares * kept + math.log(mid / self._mid) ** 2
            self._span_s = self._span_s * kept + gap_s
            self._mid, self._mid_ns = mid, top.ts_received

    def rate(self, now: int) -> float:
        """Return base units traded per second, newest minute; NaN before the first trade."""
        if self._first_ns == 0:
            return math.nan
        seen = -math.expm1(-max((now - self._first_ns) / NS_PER_S, SAMPLE_S) / RATE_MEMORY_S)
        return self._recent * self._kept(now) / RATE_MEMORY_S / seen

    @property
    def sigma(self) -> float:
        """Volatility of the log mid per square root of a second, newest minutes; NaN before the second sample."""
        return math.sqrt(self._squares / self._span_s) if self._span_s > 0 else math.nan

    def _kept(self, now: int) -> float:
        return math.exp(-max(now - self._rate_ns, 0) / NS_PER_S / RATE_MEMORY_S)
