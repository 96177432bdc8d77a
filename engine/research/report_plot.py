"""Charts as shapes: one geometry for the web page's SVG and for the paper's drawing."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from engine.research.report_parts import Chart
from engine.research.wording import number

GREY, GRID, TEXT = "#8b95a7", "#d9dee7", "#5b6575"
LEFT, RIGHT, TOP, BOTTOM = 66.0, 10.0, 8.0, 20.0
N_TICKS = 5
MOST_TIMES = 8
DAY_MS = 86_400_000.0


class Shape(NamedTuple):
    """A polyline, a filled area or a text; x to the right, y downwards, in points."""

    kind: str  # line, area, text
    points: list[tuple[float, float]]
    colour: str
    width: float = 1.0
    text: str = ""
    anchor: str = "start"  # start, middle, end


def shapes(chart: Chart, width: float, height: float) -> list[Shape]:
    """Return a chart as shapes inside a box.

    Parameters
    ----------
    chart : Chart
        Every line has at least one point.
    width, height : float
        Of the box, points.
    """
    values = [value for line in chart.lines for _, value in line.points]
    times = [ts for line in chart.lines for ts, _ in line.points]
    low, high = min(values), max(values)
    if any(line.filled for line in chart.lines):
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12 * max(abs(high), 1.0):
        low, high = low - 1.0, high + 1.0
    ticks = log_ticks(low, high) if chart.log else nice_ticks(low, high)
    if not chart.log:
        low, high = min(low, ticks[0]), max(high, ticks[-1])
    start, end = min(times), max(times)
    scale: Callable[[float], float] = math.log if chart.log else float
    bottom, top = scale(low), scale(high)

    def x(ts: float) -> float:
        return LEFT + (width - LEFT - RIGHT) * ((ts - start) / (end - start) if end > start else 0.5)

    def y(value: float) -> float:
        share = (scale(value) - bottom) / (top - bottom) if top > bottom else 0.5
        return height - BOTTOM - (height - TOP - BOTTOM) * share

    found = []
    decimals = tick_decimals(ticks)
    for tick in ticks:
        found.append(Shape("line", [(LEFT, y(tick)), (width - RIGHT, y(tick))], GRID, 0.6))
        found.append(Shape("text", [(LEFT - 6, y(tick) + 3)], TEXT, 0, number(tick, decimals), "end"))
    for ts, label in time_ticks(start, end):
        found.append(Shape("text", [(x(ts), height - 5)], TEXT, 0, label, "middle"))
    for line in chart.lines:
        points = [(x(ts), y(value)) for ts, value in line.points]
        if line.filled:
            found.append(Shape("area", [(points[0][0], y(0.0)), *points, (points[-1][0], y(0.0))], line.colour))
        found.append(Shape("line", points, line.colour, 1.3))
    if chart.split_ms is not None and start < chart.split_ms < end:
        at = x(float(chart.split_ms))
        found.append(Shape("line", [(at, TOP), (at, height - BOTTOM)], GREY, 1.0))
        found.append(Shape("text", [(at + 4, height - BOTTOM - 5)], TEXT, 0, "out of sample"))
    return found


def nice_ticks(low: float, high: float) -> list[float]:
    """Return round values that span a range.

    Examples
    --------
    >>> nice_ticks(0.0, 10.0)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    raw = (high - low) / N_TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten inside a range; its ends when there is none."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [m * 10.0**k for k in exponents for m in (1, 2, 5) if low <= m * 10.0**k <= high]
    if len(found) > 8:
        found = [value for value in found if math.isclose(10 ** round(math.log10(value)), value)]
    return found or [low, high]


def tick_decimals(ticks: list[float]) -> int:
    """Return how many decimals the ticks need."""
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    return max(0, min(6, -math.floor(math.log10(step) + 1e-9))) if step < 1 else 0


def time_ticks(start: float, end: float) -> list[tuple[float, str]]:
    """Return moments in milliseconds with their label, at the start of years, months, days or hours."""
    span = (end - start) / DAY_MS
    if span > 75:
        every = next(step for step in (1, 2, 3, 6, 12, 24, 60, 120, 1200) if span / 30.4 / step <= MOST_TIMES)
        first = datetime.fromtimestamp(start / 1000, UTC)
        months = range((first.year * 12 + first.month - 1) // every * every, 12 * 9999, every)
        pattern = "%Y" if every >= 12 else "%Y-%m"
        found = []
        for month in months:
            moment = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
            if moment.timestamp() * 1000 > end:
                break
            found.append((moment.timestamp() * 1000, moment.strftime(pattern)))
    else:
        step = next(day * DAY_MS for day in (1 / 24, 0.25, 0.5, 1, 2, 5, 10, 20) if span / day <= MOST_TIMES)
        pattern = "%m-%d" if step >= DAY_MS else "%m-%d %H:%M"
        count = range(math.ceil(start / step), math.floor(end / step) + 1)
        found = [(k * step, datetime.fromtimestamp(k * step / 1000, UTC).strftime(pattern)) for k in count]
    return [(ts, label) for ts, label in found if start <= ts <= end]
