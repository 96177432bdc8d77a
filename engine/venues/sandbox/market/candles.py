"""Candles of every interval from history and live trades.

Minutes and hours are stored; the other intervals are aggregated from them when asked for: 3m to 30m from minutes,
2h to 1M from hours plus the minutes of the hour in progress. Hours are themselves the aggregate of their minutes, so
all intervals agree with each other wherever minutes exist.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from engine.venues.sandbox.market.bars import (
    BAR_DTYPE,
    HOUR_MS,
    INTERVALS,
    MINUTE_MS,
    Bars,
    aggregate,
    bucket_end,
    bucket_start,
    empty_bars,
)

SOURCES = ("last", "mark", "index")
_FROM_MINUTES = frozenset({"1m", "3m", "5m", "15m", "30m"})
_MAX_LIVE_MINUTES = 40_000


class _History(Protocol):
    symbols: tuple[str, ...]

    def history(self, symbol: str, interval: str) -> Bars: ...


class _Column:
    """Closed bars of one base interval: shared history, then bars closed since the start."""

    def __init__(self, history: Bars) -> None:
        self._history = history
        self._live = empty_bars(256)
        self._n_live = 0

    def append(self, bar: Bars) -> None:
        if self._n_live == len(self._live):
            self._live = np.concatenate((self._live, empty_bars(len(self._live))))
        self._live[self._n_live] = bar
        self._n_live += 1
        if self._n_live > _MAX_LIVE_MINUTES:
            # A fast market would grow without end: forget the oldest half, history first.
            keep = _MAX_LIVE_MINUTES // 2
            self._history = empty_bars()
            self._live = self._live[self._n_live - keep : self._n_live].copy()
            self._n_live = keep

    def since(self, start_ms: int) -> Bars:
        """Return closed bars with open_ms >= start_ms, oldest first."""
        live = self._live[: self._n_live]
        if len(live) and live["open_ms"][0] <= start_ms:
            return live[np.searchsorted(live["open_ms"], start_ms) :]
        old = self._history[np.searchsorted(self._history["open_ms"], start_ms) :]
        return np.concatenate((old, live))

    def first_ms(self) -> int | None:
        for bars in (self._history, self._live[: self._n_live]):
            if len(bars):
                return int(bars["open_ms"][0])
        return None

    def newest_close(self) -> float:
        if self._n_live:
            return float(self._live["close"][self._n_live - 1])
        return float(self._history["close"][-1]) if len(self._history) else float("nan")


class _Series:
    """One symbol's candles of one price source."""

    def __init__(self, minutes: Bars, hours: Bars, start_ms: int) -> None:
        self.minutes = _Column(minutes)
        self.hours = _Column(hours)
        self.open_ms = start_ms // MINUTE_MS * MINUTE_MS
        close = self.minutes.newest_close()
        self.last_px = self.hours.newest_close() if np.isnan(close) else close
        self._reset()

    def _reset(self) -> None:
        self.open_px = self.high_px = self.low_px = self.last_px
        self.volume = self.quote_volume = self.taker_buy = 0.0
        self.n_trades = 0
        self.touched = False

    def add(self, px: float, qty: float, buyer_is_maker: bool, traded: bool) -> None:
        if not self.touched:
            self.open_px = self.high_px = self.low_px = px
            self.touched = True
        elif px > self.high_px:
            self.high_px = px
        elif px < self.low_px:
            self.low_px = px
        self.last_px = px
        if traded:
            self.volume += qty
            self.quote_volume += qty * px
            self.n_trades += 1
            if not buyer_is_maker:
                self.taker_buy += qty

    def open_bar(self) -> Bars:
        bar = empty_bars(1)
        bar[0] = (
            self.open_ms,
            self.open_px,
            self.high_px,
            self.low_px,
            self.last_px,
            self.volume,
            self.quote_volume,
            self.n_trades,
            self.taker_buy,
        )
        return bar

    @property
    def known(self) -> bool:
        return not np.isnan(self.last_px)

    def first_ms(self, interval: str) -> int | None:
        """Return the opening time of the oldest base bar of an interval, None without one."""
        oldest = None if interval in _FROM_MINUTES else self.hours.first_ms()
        return self.minutes.first_ms() if oldest is None else oldest

    def close_minute(self) -> None:
        """Close the open minute and, when it was an hour's last, the hour."""
        end_ms = self.open_ms + MINUTE_MS
        if self.known:
            self.minutes.append(self.open_bar()[0])
        self.open_ms = end_ms
        self._reset()
        if end_ms % HOUR_MS == 0:
            hour = aggregate(self.minutes.since(end_ms - HOUR_MS), "1h")
            if len(hour):
                self.hours.append(hour[-1])

    def rows(self, interval: str, start_ms: int, end_ms: int | None = None) -> Bars:
        """Return bars from the bucket of `start_ms` on, the open one included."""
        start_ms = bucket_start(start_ms, interval)
        if interval in _FROM_MINUTES:
            parts = [self.minutes.since(start_ms)]
        else:
            hour_ms = self.open_ms // HOUR_MS * HOUR_MS
            parts = [self.hours.since(start_ms), self.minutes.since(max(start_ms, hour_ms))]
        if self.known and start_ms <= self.open_ms:
            parts.append(self.open_bar())
        bars = np.concatenate(parts)
        if end_ms is not None:
            bars = bars[: np.searchsorted(bars["open_ms"], bucket_end(bucket_start(end_ms, interval), interval))]
        return bars.copy() if interval == "1m" else aggregate(bars, interval)


class CandleStore:
    """Candles of all symbols, intervals and price sources.

    Feed it every trade event, then call `advance` with the market time reached: trades first, so that a trade of the
    closing minute is not late. A late trade is counted in the minute that is open when it arrives.

    Parameters
    ----------
    market : has `symbols` and `history(symbol, "1m" | "1h")`
        History of mark and index candles is taken from the last-price history, without volume.
    start_ms : int
        Market start, where history ends; floored to the minute.
    """

    def __init__(self, market: _History, start_ms: int) -> None:
        self.symbols = tuple(market.symbols)
        self._closed: list[tuple[str, str, Bars]] = []
        self._series: dict[str, dict[str, _Series]] = {source: {} for source in SOURCES}
        for symbol in self.symbols:
            minutes, hours = market.history(symbol, "1m"), market.history(symbol, "1h")
            quiet_minutes, quiet_hours = _without_volume(minutes), _without_volume(hours)
            self._series["last"][symbol] = _Series(minutes, hours, start_ms)
            self._series["mark"][symbol] = _Series(quiet_minutes, quiet_hours, start_ms)
            self._series["index"][symbol] = _Series(quiet_minutes, quiet_hours, start_ms)

    def on_trade(self, symbol: str, px: float, qty: float, buyer_is_maker: bool, time_ms: int) -> None:
        """Count one trade: `px` in quote currency, `qty` in base units."""
        series = self._series["last"][symbol]
        if time_ms >= series.open_ms + MINUTE_MS:
            self._roll(symbol, time_ms)
        series.add(px, qty, buyer_is_maker, True)

    def on_mark(self, symbol: str, mark_px: float, index_px: float, time_ms: int) -> None:
        """Take one reading of the mark and index price."""
        if time_ms >= self._series["last"][symbol].open_ms + MINUTE_MS:
            self._roll(symbol, time_ms)
        self._series["mark"][symbol].add(mark_px, 0.0, False, False)
        self._series["index"][symbol].add(index_px, 0.0, False, False)

    def advance(self, now_ms: int) -> list[tuple[str, str, Bars]]:
        """Close every bar that ended at or before `now_ms`.

        Returns
        -------
        list of (symbol, interval, bar)
            Last-price bars closed since the previous call, oldest first; `bar` is one BAR_DTYPE record.
        """
        for symbol in self.symbols:
            if now_ms >= self._series["last"][symbol].open_ms + MINUTE_MS:
                self._roll(symbol, now_ms)
        closed, self._closed = self._closed, []
        return closed

    def klines(
        self,
        symbol: str,
        interval: str,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 500,
        source: str = "last",
    ) -> Bars:
        """Return candles, oldest first, the open one included.

        Parameters
        ----------
        symbol, interval : the contract and one of `INTERVALS`
        start_ms, end_ms : int or None
            Only bars whose open_ms lies in [start_ms, end_ms].
        limit : int
            With `start_ms` the first `limit` bars from there, without it the newest ones.
        source : "last", "mark" or "index"

        Returns
        -------
        (N,) BAR_DTYPE, N <= limit. A minute without a trade is flat at the previous close with zero volume.
        """
        series = self._series[source][symbol]
        length = bucket_end(0, interval) if interval != "1M" else 28 * 24 * HOUR_MS
        newest_ms = series.open_ms if end_ms is None else min(end_ms, series.open_ms)
        if start_ms is None:
            # One bucket more than asked for: the oldest may be cut by the bound.
            months = 31 if interval == "1M" else 28
            from_ms = newest_ms - (limit + 1) * length * months // 28
            bars = series.rows(interval, from_ms, newest_ms)
            bars = bars[bars["open_ms"] <= newest_ms]
            return bars[-limit:] if limit > 0 else bars[:0]
        from_ms = bucket_start(start_ms, interval)
        until_ms = min(newest_ms, self._reach(from_ms, length, limit, series, interval))
        bars = series.rows(interval, from_ms, until_ms)
        bars = bars[(bars["open_ms"] >= start_ms) & (bars["open_ms"] <= newest_ms)]
        return bars[:limit]

    def current(self, symbol: str, interval: str, source: str = "last") -> Bars | None:
        """Return the open bar of `interval` as one BAR_DTYPE record, None while no price is known."""
        series = self._series[source][symbol]
        bars = series.rows(interval, series.open_ms)
        return bars[-1] if len(bars) else None

    def last_px(self, symbol: str, source: str = "last") -> float:
        """Return the newest price of a source in quote currency; NaN while unknown."""
        return self._series[source][symbol].last_px

    @staticmethod
    def _reach(from_ms: int, length: int, limit: int, series: _Series, interval: str) -> int:
        # Bars are gap-free from the first stored one on, so `limit` buckets after that suffice.
        first_ms = series.first_ms(interval)
        oldest_ms = from_ms if first_ms is None else max(from_ms, first_ms)
        return oldest_ms + (limit + 2) * length * 31 // 28

    def _roll(self, symbol: str, time_ms: int) -> None:
        last = self._series["last"][symbol]
        while last.open_ms + MINUTE_MS <= time_ms:
            end_ms = last.open_ms + MINUTE_MS
            for source in SOURCES:
                self._series[source][symbol].close_minute()
            if not last.known:
                continue
            for interval in INTERVALS:
                if bucket_start(end_ms, interval) == end_ms:
                    bars = last.rows(interval, end_ms - 1, end_ms - 1)
                    if len(bars):
                        self._closed.append((symbol, interval, bars[-1]))


def _without_volume(bars: Bars) -> Bars:
    quiet = bars.astype(BAR_DTYPE, copy=True)
    for field in ("volume", "quote_volume", "n_trades", "taker_buy"):
        quiet[field] = 0
    return quiet
