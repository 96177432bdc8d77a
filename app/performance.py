"""Small pure calculations behind the Portfolio, Backtest and Journal pages. Tables in, tables out.

The measures of quality (Sharpe, Calmar, …) are the engine's and are asked from it, so that the screen cannot define
them a second time. What is left here is arithmetic on rows that are already on the screen.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from engine.domain import F8, NS_PER_DAY

NS_PER_HOUR = NS_PER_DAY // 24

PERIODS_NS: dict[str, int | None] = {
    "24 h": NS_PER_DAY, "7 d": 7 * NS_PER_DAY, "30 d": 30 * NS_PER_DAY, "90 d": 90 * NS_PER_DAY, "All": None,
}  # fmt: skip
"""Length of each period a person can choose, nanoseconds; None is everything."""


def period_start(period: str, now_ns: int | None) -> int:
    """Return the first nanosecond of a named period that ends now; 0 for everything or an unknown now."""
    length = PERIODS_NS.get(period)
    return 0 if length is None or now_ns is None else max(now_ns - length, 0)


def utc_times(ns: pd.Series | np.ndarray) -> pd.DatetimeIndex:
    """Return nanoseconds since the epoch as UTC times, cut to whole milliseconds as charts show no finer ones."""
    return pd.to_datetime(np.asarray(ns, dtype="int64"), unit="ns", utc=True).floor("ms")


def drawdown(equity: F8) -> F8:
    """Return the fall from the running peak as a fraction <= 0.

    Parameters
    ----------
    equity : (T,) float64, quote currency, > 0
        Oldest first.

    Examples
    --------
    >>> drawdown(np.array([100.0, 120.0, 90.0])).tolist()
    [0.0, 0.0, -0.25]
    """
    values = np.asarray(equity, dtype=np.float64)
    if values.size == 0:
        return values
    return values / np.maximum.accumulate(values) - 1.0


def exposure(equity: pd.DataFrame) -> pd.DataFrame:
    """Return ``ts, gross, net``: exposure over equity, one row a row of the ``equity`` table. Unknown stays NaN."""
    value = equity["equity"].where(equity["equity"] > 0)
    return pd.DataFrame({
        "ts": equity["ts"],
        "gross": equity["gross_notional"] / value,
        "net": equity["net_notional"] / value,
    })  # fmt: skip


def buy_and_hold(bars: pd.DataFrame, equity: pd.DataFrame) -> pd.DataFrame:
    """Return ``ts, equity``: what the account would be had it held one instrument since the period's first row.

    No fees, no funding, fully invested once. Empty when the bars do not reach back to the first row of ``equity``:
    a comparison over another span would flatter one side.
    """
    nothing = pd.DataFrame({"ts": [], "equity": []})
    if bars.empty or len(equity) < 2:
        return nothing
    start, end = int(equity["ts"].iloc[0]), int(equity["ts"].iloc[-1])
    if int(bars["ts_open"].iloc[0]) > start:
        return nothing
    begin = max(int(np.searchsorted(bars["ts_open"].to_numpy(), start, side="right")) - 1, 0)
    inside = bars.iloc[begin:]
    inside = inside[inside["ts_open"] <= end]
    base = float(inside["open_px"].iloc[0])
    ts = np.maximum(inside["ts_open"].to_numpy(), start)
    return pd.DataFrame({"ts": ts, "equity": equity["equity"].iloc[0] * inside["open_px"].to_numpy() / base})


def bar_interval_for(start_ns: int, end_ns: int) -> str:
    """Return the finest bar interval that covers a span in at most about 1400 bars."""
    hours = max(end_ns - start_ns, 1) / NS_PER_HOUR
    for interval, reach in (("1m", 23), ("5m", 115), ("15m", 345), ("1h", 1_390), ("4h", 5_560)):
        if hours <= reach:
            return interval
    return "1d"


def interval_over(equity: pd.DataFrame) -> str:
    """Return the bar interval that suits the span of an equity table."""
    return bar_interval_for(int(equity["ts"].iloc[0]), int(equity["ts"].iloc[-1]))


def total_return(equity: pd.DataFrame) -> float | None:
    """Return the change from the first to the last row as a fraction; None with fewer than two rows."""
    if len(equity) < 2:
        return None
    first = float(equity["equity"].iloc[0])
    return float(equity["equity"].iloc[-1]) / first - 1.0 if first > 0 else None


def with_slippage(fills: pd.DataFrame) -> pd.DataFrame:
    """Add ``slippage_bp`` and ``slippage_cost`` to fills: how much worse than the decision price, positive is a cost.

    The cost is signed quantity times (fill price − decision price), quote currency. NaN where no decision price is
    known (an order of a person, or of another program).
    """
    table = fills.copy()
    move = table["px"].astype(float) - table["decision_px"].astype(float)
    table["slippage_cost"] = table["qty"] * move
    table["slippage_bp"] = np.sign(table["qty"]) * move / table["decision_px"] * 1e4
    return table


def thin_index(values: F8, limit: int = 2_000) -> np.ndarray:
    """Return the positions of at most about ``limit`` of the values: three a stretch, its lowest and highest included.

    Extremes survive, so the deepest drawdown on a chart is the deepest there was. Every stretch keeps as many, because
    a chart that places points by their number, not by their time, would otherwise shorten the quiet ones.

    Examples
    --------
    >>> thin_index(np.array([1.0, 5.0, 2.0])).tolist()
    [0, 1, 2]
    """
    size = len(values)
    if size <= limit:
        return np.arange(size)
    edges = np.linspace(0, size, limit // 3 + 1).astype(int)
    kept: list[int] = []
    for begin, end in pairwise(edges):
        stretch = values[begin:end]
        third = len(stretch) // 3
        candidates = (int(stretch.argmin()), int(stretch.argmax()), 0, third, 2 * third)
        kept.extend(sorted(begin + place for place in list(dict.fromkeys(candidates))[:3]))
    return np.array(sorted({*kept, size - 1}))


def known_points(points: Any) -> np.ndarray:
    """Return (T, 2) float64 time and value, without the rows whose value is unknown."""
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    return table[np.isfinite(table).all(axis=1)]


def rebased(points: Any, base: float = 100.0) -> np.ndarray:
    """Return (T, 2) points scaled so that the first value is ``base``: two runs on one scale."""
    table = known_points(points)
    if len(table):
        table[:, 1] *= base / table[0, 1]
    return table


def parsed(text: Any) -> dict[str, Any]:
    """Return a JSON column's object; an empty one where the column is null or not an object."""
    if not isinstance(text, str) or not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
