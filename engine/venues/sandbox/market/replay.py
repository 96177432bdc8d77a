"""Replay: recorded candles or trades played through the book.

Every point of a recorded path is a real trade between background accounts, and the market makers re-quote around it,
so people's resting orders fill when the path trades through them. Without people's orders the candles of the
recording's interval come out exactly (open, high, low, close in ticks); volume is approximate, see `bar_path`. People's
own orders can print outside a bar's recorded range: a market order pays the makers' spread, and a limit order that the
price gaps through fills at its limit, as on the venue.

A fast replay leaves out points between a bar's anchors (recorded trades: between each minute's first, highest, lowest
and last), never the anchors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import ConfigError, DataError
from engine.venues.sandbox.contracts import CONTRACTS, Contract
from engine.venues.sandbox.market.assets import ASSETS
from engine.venues.sandbox.market.bars import (
    HOUR_HISTORY_MS,
    HOUR_MS,
    MINUTE_HISTORY_MS,
    MINUTE_MS,
    Bars,
    aggregate,
    empty_bars,
    fill_gaps,
)
from engine.venues.sandbox.market.paths import (
    MAX_POINTS,
    Points,
    bar_path,
    coarsen,
    mark_extremes,
    minute_bars,
    no_points,
)
from engine.venues.sandbox.market.recordings import BarRecording, Recording, TickRecording, load_recordings
from engine.venues.sandbox.market.traders import (
    GAP,
    Ladder,
    grid_for,
    open_background_accounts,
    print_trade,
)

if TYPE_CHECKING:
    from engine.venues.sandbox.exchange import Exchange

_BUDGET = 12
# Paths of the past only become one-minute bars; a few points a minute do.
_PAST_POINTS = 300


class ReplayMarket:
    """A market out of files; implements `Market`.

    Parameters
    ----------
    path : str
        See `recordings.load_recordings`.
    symbols : sequence of str or None
    seed : int
        Seeds the paths within bars; the same seed and file give the same trades.
    start_ms : int
        Where the live part begins, floored to the recording's interval. Outside the recorded span of all symbols, the
        first fifteen days (at most half of the span) become history and the rest is played.
    """

    def __init__(self, path: str, symbols: Sequence[str] | None, seed: int, start_ms: int) -> None:
        recordings = load_recordings(path, symbols)
        self.symbols = tuple(recordings)
        self.state = "live"
        self.finished = False
        self._tapes = {s: _tape(CONTRACTS[s], r, seed) for s, r in recordings.items()}
        self.market_start_ms = self._choose_start(start_ms)
        self._end_ms = max(t.end_ms for t in self._tapes.values())
        self._past = {s: tape.history(self.market_start_ms) for s, tape in self._tapes.items()}
        self._now_ms = self.market_start_ms
        for tape in self._tapes.values():
            tape.seek(self.market_start_ms)
        rng = np.random.default_rng([seed, 3])
        self._ladders = {
            s: Ladder(CONTRACTS[s], grid_for(CONTRACTS[s], self._tapes[s].opening_px()), ASSETS[s].depth_usdt, rng)
            for s in self.symbols
        }

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to release."""

    def history(self, symbol: str, interval: str) -> Bars:
        """Return closed bars before the start; minutes inside longer recorded bars come from generated paths."""
        if interval not in ("1m", "1h"):
            raise ConfigError(f'history comes in "1m" and "1h", not "{interval}"')
        return self._past[symbol][0 if interval == "1m" else 1]

    def history_funding(self, symbol: str) -> list[tuple[int, float, float]]:
        """Return nothing: recordings carry no funding."""
        del symbol
        return []

    def start(self, exchange: Exchange, now_ms: int) -> None:
        """Open background accounts and quote every book around the first price to come."""
        open_background_accounts(exchange, self.symbols, now_ms)
        for symbol, tape in self._tapes.items():
            tick = tape.contract.nearest_tick(tape.opening_px())
            exchange.set_prices(symbol, index=tape.contract.price(tick), now_ms=now_ms)
            self._requote(exchange, symbol, tick, now_ms, deep=True)

    def advance(self, exchange: Exchange, now_ms: int) -> None:
        """Print every point with market time in [previous `now_ms`, `now_ms`), in order of time over all symbols."""
        if now_ms <= self._now_ms:
            return
        batches = [coarsen(tape.take(now_ms), _BUDGET) for tape in self._tapes.values()]
        order = sorted(
            (time_ms, j, i) for j, points in enumerate(batches) for i, time_ms in enumerate(points.time_ms.tolist())
        )
        for time_ms, j, i in order:
            points = batches[j]
            last = i == len(points.tick) - 1
            self._play(exchange, self.symbols[j], points, i, time_ms, deep=last)
        self._now_ms = now_ms
        if now_ms >= self._end_ms:
            self.finished, self.state = True, "finished"

    def _play(self, exchange: Exchange, symbol: str, points: Points, i: int, now_ms: int, *, deep: bool) -> None:
        contract = self._tapes[symbol].contract
        tick = int(points.tick[i])
        px = contract.price(tick)
        self._requote(exchange, symbol, tick, now_ms, deep=deep)
        if abs(px / (exchange.mark(symbol) or px) - 1.0) > GAP:
            exchange.set_prices(symbol, index=px, now_ms=now_ms)
        print_trade(exchange, contract, tick, int(points.lots[i]), bool(points.sold[i]), now_ms)
        exchange.set_prices(symbol, index=px, now_ms=now_ms)

    def _requote(self, exchange: Exchange, symbol: str, tick: int, now_ms: int, *, deep: bool) -> None:
        half = max(1, math.ceil(tick * ASSETS[symbol].half_spread_bps * 1e-4))
        self._ladders[symbol].requote(exchange, (tick - half, tick + half), 1.0, now_ms, refill=1.0, deep=deep)

    def _choose_start(self, start_ms: int) -> int:
        first = max(t.first_ms for t in self._tapes.values())
        end = min(t.end_ms for t in self._tapes.values())
        if first >= end:
            raise DataError(f"the recordings of {', '.join(self.symbols)} have no time in common")
        step = max(t.step_ms for t in self._tapes.values())
        chosen = start_ms if first <= start_ms < end else first + min(MINUTE_HISTORY_MS, (end - first) // 2)
        return max(first, chosen // step * step)


class _BarTape:
    """Paths of one symbol's recorded bars, generated bar by bar; each bar has its own seed."""

    def __init__(self, contract: Contract, recording: BarRecording, seed: int) -> None:
        self.contract = contract
        self.step_ms = recording.interval_ms
        self.first_ms = int(recording.open_ms[0])
        self.end_ms = int(recording.open_ms[-1]) + recording.interval_ms
        self._recording = recording
        self._seed = [seed, 4, list(CONTRACTS).index(contract.symbol)]
        self._next = 0
        self._pending = no_points()

    def seek(self, start_ms: int) -> None:
        self._next = int(np.searchsorted(self._recording.open_ms, start_ms))

    def opening_px(self) -> float:
        i = min(self._next, len(self._recording.open_ms) - 1)
        return self.contract.price(int(self._recording.open_tick[i]))

    def take(self, until_ms: int) -> Points:
        parts = [self._pending]
        while self._next < len(self._recording.open_ms) and self._recording.open_ms[self._next] < until_ms:
            parts.append(self._path(self._next))
            self._next += 1
        points = _join(parts)
        cut = int(np.searchsorted(points.time_ms, until_ms))
        self._pending = Points(*(column[cut:] for column in points))
        return Points(*(column[:cut] for column in points))

    def history(self, start_ms: int) -> tuple[Bars, Bars]:
        bars = self._bars(int(np.searchsorted(self._recording.open_ms, start_ms)))
        bars = fill_gaps(bars, self.step_ms, start_ms)
        minutes = self._minutes(bars, start_ms)
        # Recorded bars longer than an hour cannot be hours: those of the last fifteen days come from the paths.
        hours = aggregate(bars if self.step_ms <= HOUR_MS else minutes, "1h")
        hours = hours[(hours["open_ms"] >= start_ms - HOUR_HISTORY_MS) & (hours["open_ms"] <= start_ms - HOUR_MS)]
        return minutes, hours

    def _minutes(self, bars: Bars, start_ms: int) -> Bars:
        since_ms = (start_ms - MINUTE_HISTORY_MS) // HOUR_MS * HOUR_MS
        if self.step_ms == MINUTE_MS:
            return bars[bars["open_ms"] >= since_ms]
        first, last = np.searchsorted(self._recording.open_ms, (since_ms, start_ms)).tolist()
        points = _join([no_points(), *(self._path(i, _PAST_POINTS) for i in range(first, last))])
        return fill_gaps(minute_bars(points, self.contract), MINUTE_MS, start_ms)

    def _path(self, i: int, max_points: int = MAX_POINTS) -> Points:
        r = self._recording
        ohlc = (int(r.open_tick[i]), int(r.high_tick[i]), int(r.low_tick[i]), int(r.close_tick[i]))
        rng = np.random.default_rng([*self._seed, int(r.open_ms[i]) // MINUTE_MS])
        return bar_path(int(r.open_ms[i]), r.interval_ms, ohlc, int(r.lots[i]), rng, max_points)

    def _bars(self, until: int) -> Bars:
        r, contract = self._recording, self.contract
        bars = empty_bars(until)
        bars["open_ms"] = r.open_ms[:until]
        for field in ("open", "high", "low", "close"):
            ticks = getattr(r, f"{field}_tick")[:until]
            bars[field] = np.round(ticks * contract.tick_size, contract.price_precision)
        bars["volume"] = np.round(r.lots[:until] * contract.lot_size, contract.qty_precision)
        bars["quote_volume"] = bars["volume"] * (bars["open"] + bars["high"] + bars["low"] + bars["close"]) / 4
        # The recording does not say who took; half is the neutral assumption.
        bars["taker_buy"] = bars["volume"] / 2
        bars["n_trades"] = np.where(r.lots[:until] > 0, 4, 0)
        return bars


class _TickTape:
    """One symbol's recorded trades."""

    def __init__(self, contract: Contract, recording: TickRecording) -> None:
        self.contract = contract
        self.step_ms = MINUTE_MS
        self.first_ms = int(recording.time_ms[0]) // MINUTE_MS * MINUTE_MS
        self.end_ms = int(recording.time_ms[-1]) + 1
        anchor = np.zeros(len(recording.tick), dtype=bool)
        self._points = Points(recording.time_ms, recording.tick, recording.lots, recording.sold, anchor)
        self._next = 0

    def seek(self, start_ms: int) -> None:
        self._next = int(np.searchsorted(self._points.time_ms, start_ms))

    def opening_px(self) -> float:
        i = min(self._next, len(self._points.tick) - 1)
        return self.contract.price(int(self._points.tick[i]))

    def take(self, until_ms: int) -> Points:
        end = int(np.searchsorted(self._points.time_ms, until_ms))
        chunk = Points(*(column[self._next : end] for column in self._points))
        self._next = end
        return mark_extremes(chunk)

    def history(self, start_ms: int) -> tuple[Bars, Bars]:
        end = int(np.searchsorted(self._points.time_ms, start_ms))
        bars = minute_bars(Points(*(column[:end] for column in self._points)), self.contract)
        bars = fill_gaps(bars, MINUTE_MS, start_ms)
        hours = aggregate(bars, "1h")
        minutes = bars[bars["open_ms"] >= (start_ms - MINUTE_HISTORY_MS) // HOUR_MS * HOUR_MS]
        return minutes, hours[hours["open_ms"] <= start_ms - HOUR_MS]


def _tape(contract: Contract, recording: Recording, seed: int) -> _BarTape | _TickTape:
    if isinstance(recording, BarRecording):
        return _BarTape(contract, recording, seed)
    return _TickTape(contract, recording)


def _join(parts: list[Points]) -> Points:
    return Points(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
