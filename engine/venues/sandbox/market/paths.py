"""Paths inside recorded bars: which trades to print, when, so that the bar comes out again exactly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.venues.sandbox.contracts import Contract
from engine.venues.sandbox.market.bars import MINUTE_MS, Bars, empty_bars
from engine.venues.sandbox.market.process import I8

_SPACING_MS = 250
MAX_POINTS = 3600
_RANGE_DEVIATIONS = 1.6


class Points(NamedTuple):
    """Trades to print: (N,) times, ticks, lots, whether the aggressor sells, and whether it must not be left out."""

    time_ms: I8
    tick: I8
    lots: I8
    sold: np.ndarray
    anchor: np.ndarray


def no_points() -> Points:
    """Return an empty path."""
    return Points(*(np.zeros(0, dtype=t) for t in (np.int64, np.int64, np.int64, bool, bool)))


def bar_path(
    open_ms: int,
    interval_ms: int,
    ohlc: tuple[int, int, int, int],
    lots: int,
    rng: np.random.Generator,
    max_points: int = MAX_POINTS,
) -> Points:
    """Return a path through one bar that opens, peaks, bottoms and closes exactly as recorded.

    The open prints at the bar's first millisecond, the close at its last. A bar that closes higher visits its low
    first, one that closes lower its high first. Between these four anchors runs a Brownian bridge that stays within
    [low, high]. Volume is spread over the points at random and rounded to lots; a bar needs at least four trades, so
    one of less than four lots comes out with more volume than recorded.

    Parameters
    ----------
    open_ms, interval_ms : int
    ohlc : (open, high, low, close) in ticks
    lots : int
        The bar's volume; 0 in a flat bar means that nothing traded, and the path is empty.
    rng : numpy Generator
    max_points : int
    """
    first, high, low, last = ohlc
    if lots <= 0 and high == low:
        return no_points()
    n = int(np.clip(lots // 3, 4, min(max_points, max(8, interval_ms // _SPACING_MS))))
    offsets = np.unique(np.concatenate(([0, interval_ms - 1], rng.integers(1, interval_ms - 1, n - 2))))
    while len(offsets) < 4:
        offsets = np.unique(np.concatenate((offsets, rng.integers(1, interval_ms - 1, 4))))
    n = len(offsets)
    # Two distinct interior points carry the extremes, one in each half of the bar where there is room.
    a = int(rng.integers(1, max(2, n // 2)))
    b = int(rng.integers(max(a + 1, n // 2), n - 1))
    corners = [0, a, b, n - 1]
    values = [first, low, high, last] if last >= first else [first, high, low, last]
    noise = np.concatenate(([0.0], np.cumsum(rng.standard_normal(n - 1) * np.sqrt(np.diff(offsets)))))
    noise *= (high - low) / _RANGE_DEVIATIONS / np.sqrt(interval_ms)
    straight = np.interp(offsets, offsets[corners], values)
    bridge = noise - np.interp(offsets, offsets[corners], noise[corners])
    tick = np.clip(np.round(straight + bridge), low, high).astype(np.int64)
    tick[corners] = values
    weight = rng.standard_exponential(n) + 0.2
    part = np.maximum(1, np.round(lots * weight / weight.sum())).astype(np.int64)
    moves = np.diff(tick, prepend=tick[0])
    sold = np.where(moves == 0, rng.random(n) < 0.5, moves < 0)
    anchor = np.zeros(n, dtype=bool)
    anchor[corners] = True
    return Points(open_ms + offsets, tick, part, sold, anchor)


def coarsen(points: Points, budget: int) -> Points:
    """Drop all but about `budget` points besides the anchors; the lots of dropped points go to the next one kept."""
    n = len(points.tick)
    free = np.flatnonzero(~points.anchor)
    if len(free) <= budget:
        return points
    kept = points.anchor.copy()
    kept[free[np.linspace(0, len(free) - 1, budget).astype(np.int64)]] = True
    kept[-1] = True
    index = np.flatnonzero(kept)
    total = np.concatenate(([0], np.cumsum(points.lots)))
    starts = np.concatenate(([0], index[:-1] + 1))
    lots = total[index + 1] - total[starts]
    if n != index[-1] + 1:
        lots[-1] += total[n] - total[index[-1] + 1]
    return Points(points.time_ms[index], points.tick[index], lots, points.sold[index], points.anchor[index])


def mark_extremes(points: Points) -> Points:
    """Return recorded trades with the first, highest, lowest and last of every minute marked as anchors."""
    anchor = np.zeros(len(points.tick), dtype=bool)
    if len(anchor):
        minutes = points.time_ms // MINUTE_MS
        starts = np.concatenate(([0], np.flatnonzero(np.diff(minutes)) + 1))
        ends = np.concatenate((starts[1:], [len(anchor)]))
        anchor[starts] = anchor[ends - 1] = True
        for i, j in zip(starts.tolist(), ends.tolist(), strict=True):
            anchor[i + int(points.tick[i:j].argmax())] = True
            anchor[i + int(points.tick[i:j].argmin())] = True
    return points._replace(anchor=anchor)


def minute_bars(points: Points, contract: Contract) -> Bars:
    """Aggregate printed trades into one-minute bars; minutes without a trade give no row."""
    if len(points.tick) == 0:
        return empty_bars()
    open_ms = points.time_ms // MINUTE_MS * MINUTE_MS
    starts = np.concatenate(([0], np.flatnonzero(np.diff(open_ms)) + 1))
    ends = np.concatenate((starts[1:], [len(open_ms)])) - 1
    px = np.round(points.tick * contract.tick_size, contract.price_precision)
    qty = np.round(points.lots * contract.lot_size, contract.qty_precision)
    bars = empty_bars(len(starts))
    bars["open_ms"] = open_ms[starts]
    bars["open"], bars["close"] = px[starts], px[ends]
    bars["high"], bars["low"] = np.maximum.reduceat(px, starts), np.minimum.reduceat(px, starts)
    bars["volume"] = np.add.reduceat(qty, starts)
    bars["quote_volume"] = np.add.reduceat(qty * px, starts)
    bars["n_trades"] = ends - starts + 1
    bars["taker_buy"] = np.add.reduceat(np.where(points.sold, 0.0, qty), starts)
    return bars
