"""Charts of backtests for streamlit-lightweight-charts, which do not stream. Pure: numbers in, a description out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from app.charts import ACCENT, BACKGROUND, DOWN, GRID, MUTED, SECOND, UP
from app.formats import signed, tick_decimals
from app.performance import drawdown, known_points, rebased, thin_index

MOST_MARKERS = 150  # more arrows than that hide the curve
SPLIT = "out of sample →"
WORDED_TRADES = 12  # more than that and the words overlap


def backtest_spec(
    points: Any,
    trades: pd.DataFrame | None = None,
    split_ms: int | None = None,
    exposure: Any = None,
    marks: Sequence[tuple[int, str]] = (),
) -> list[dict[str, Any]]:
    """Describe equity above drawdown, and exposure below them, for streamlit-lightweight-charts.

    Parameters
    ----------
    points : (T, 2)
        ``[[ts_ms, equity], …]``, oldest first.
    trades : DataFrame, optional
        ``ts_exit`` ns and ``pnl``: each becomes an arrow on the curve, up for a gain and down for a loss.
    split_ms : int, optional
        First moment of the out-of-sample part, marked on the curve.
    exposure : (E, 3), optional
        ``[[ts_ms, gross, net], …]`` as multiples of equity; left out when the run did not keep it.
    marks : sequence of (ms, words), optional
        Moments that are marked on the curve.
    """
    table = known_points(points)
    falls = drawdown(table[:, 1])
    kept = thin_index(table[:, 1])
    # Both panels get the same times: the component keeps them in step by position, not by date.
    seconds, kept = _unique_seconds(table[kept, 0], kept)
    told = [*marks, *([] if split_ms is None else [(split_ms, SPLIT)])]
    top = {
        "type": "Area", "data": _series(seconds, table[kept, 1]), "markers": _markers(trades, told, seconds),
        "options": {"lineColor": ACCENT, "topColor": "rgba(76, 141, 255, 0.28)",
                    "bottomColor": "rgba(76, 141, 255, 0.02)", "lineWidth": 2,
                    "priceFormat": _format(2 if table[:, 1].max(initial=0.0) < 1_000 else 0)},
    }  # fmt: skip
    bottom = {
        "type": "Area", "data": _series(seconds, falls[kept] * 100),
        "options": {"lineColor": DOWN, "topColor": "rgba(246, 70, 93, 0.02)", "invertFilledArea": True,
                    "bottomColor": "rgba(246, 70, 93, 0.28)", "lineWidth": 1, "priceFormat": {"type": "percent"}},
    }  # fmt: skip
    held = _exposure_at(exposure, seconds)
    panels = [
        {"chart": _chart(300, time_axis=False, watermark="Equity, USDT"), "series": [top]},
        {"chart": _chart(130, time_axis=held is None, watermark="Drawdown, %"), "series": [bottom]},
    ]
    if held is not None:
        lines = [
            {"type": "Line", "data": _series(seconds, values),
             "options": {"color": colour, "lineWidth": 1, "title": name, "priceFormat": _format(2),
                         "lastValueVisible": False, "priceLineVisible": False}}
            for name, colour, values in (("gross", ACCENT, held[:, 0]), ("net", SECOND, held[:, 1]))
        ]  # fmt: skip
        panels.append({"chart": _chart(120, time_axis=True, watermark="Exposure, × equity"), "series": lines})
    return panels


def _exposure_at(exposure: Any, seconds: np.ndarray) -> np.ndarray | None:
    """Return gross and net exposure at the chart's moments: the last known before each."""
    rows = [row for row in exposure or [] if row[1] is not None and row[2] is not None]
    if len(rows) < 2 or not len(seconds):
        return None
    table = np.array(rows, dtype=np.float64)
    at = np.searchsorted(table[:, 0], seconds * 1000.0 + 999.0, side="right") - 1
    return table[np.maximum(at, 0), 1:]


def trade_spec(candles: list[list[float]], trades: pd.DataFrame, decimals: int) -> list[dict[str, Any]]:
    """Describe one symbol's candles with its trades: an arrow where each began, a square with the PnL where it ended.

    Parameters
    ----------
    candles : list
        ``[[ts_ms, open, high, low, close], …]``, oldest first.
    trades : DataFrame
        ``ts_entry, ts_exit`` ns, ``side`` and ``pnl`` USDT, of this symbol and stretch.
    decimals : int
        Of the price axis.
    """
    seconds = np.array([int(row[0]) // 1000 for row in candles], dtype=np.int64)
    bars = [
        {"time": int(second), "open": row[1], "high": row[2], "low": row[3], "close": row[4]}
        for second, row in zip(seconds, candles, strict=True)
    ]
    options = {"upColor": UP, "downColor": DOWN, "wickUpColor": UP, "wickDownColor": DOWN, "borderVisible": False,
               "priceFormat": _format(decimals)}  # fmt: skip
    series = {"type": "Candlestick", "data": bars, "options": options, "markers": _trade_marks(trades, seconds)}
    return [{"chart": _chart(420, time_axis=True, watermark=""), "series": [series]}]


def _trade_marks(trades: pd.DataFrame, seconds: np.ndarray) -> list[dict[str, Any]]:
    marks: list[dict[str, Any]] = []
    if not len(seconds):
        return marks
    worded = len(trades) <= WORDED_TRADES
    for trade in trades.to_dict("records"):
        long = str(trade["side"]).lower() in ("long", "buy", "1")
        entry, end = (_bar_of(seconds, int(trade[name]) // 10**9) for name in ("ts_entry", "ts_exit"))
        marks.append(
            {
                "time": entry,
                "position": "belowBar" if long else "aboveBar",
                "color": ACCENT if long else SECOND,
                "shape": "arrowUp" if long else "arrowDown",
                "text": ("long" if long else "short") * worded,
            }
        )
        gain = trade["pnl"] > 0
        marks.append(
            {
                "time": end,
                "position": "aboveBar" if long else "belowBar",
                "color": UP if gain else DOWN,
                "shape": "square",
                "text": signed(trade["pnl"], 2)[2:] if worded else "",
            }
        )
    return sorted(marks, key=lambda mark: mark["time"])


def _bar_of(seconds: np.ndarray, second: int) -> int:
    """Return the opening of the candle that a moment falls into."""
    return int(seconds[max(int(np.searchsorted(seconds, second, side="right")) - 1, 0)])


def compare_spec(runs: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe several equity curves, each starting at 100, for streamlit-lightweight-charts."""
    series = []
    for (name, points), colour in zip(runs.items(), (ACCENT, SECOND, UP, DOWN), strict=False):
        table = rebased(points)
        kept = thin_index(table[:, 1])
        seconds, kept = _unique_seconds(table[kept, 0], kept)
        options = {"color": colour, "lineWidth": 2, "title": name, "priceFormat": _format(2)}
        series.append({"type": "Line", "data": _series(seconds, table[kept, 1]), "options": options})
    return [{"chart": _chart(300, time_axis=True, watermark="Equity, start = 100"), "series": series}]


def _unique_seconds(times_ms: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # The library refuses two points in one second; of these the last is the settled one.
    seconds = (times_ms // 1000).astype(np.int64)
    last = np.append(seconds[1:] != seconds[:-1], True) if len(seconds) else np.zeros(0, dtype=bool)
    return seconds[last], kept[last]


def _series(seconds: np.ndarray, values: np.ndarray) -> list[dict[str, float]]:
    return [{"time": int(t), "value": round(float(v), 6)} for t, v in zip(seconds, values, strict=True)]


def _markers(trades: pd.DataFrame | None, told: Sequence[tuple[int, str]], seconds: np.ndarray) -> list[dict[str, Any]]:
    marks = [
        {"time": _nearest(seconds, at_ms // 1000), "position": "aboveBar", "color": MUTED, "shape": "square",
         "text": words}
        for at_ms, words in told if len(seconds)
    ]  # fmt: skip
    if trades is not None and len(trades) and {"ts_exit", "pnl"} <= set(trades.columns) and len(seconds):
        closed = trades.dropna(subset=["ts_exit", "pnl"])
        closed = closed if len(closed) <= MOST_MARKERS else closed.iloc[:0]
        for ts, pnl in zip(closed["ts_exit"], closed["pnl"], strict=True):
            gain = pnl > 0
            marks.append({
                "time": _nearest(seconds, int(ts) // 10**9), "position": "belowBar" if gain else "aboveBar",
                "color": UP if gain else DOWN, "shape": "arrowUp" if gain else "arrowDown",
                "text": signed(pnl, 0)[2:] if len(closed) <= 12 else "",
            })  # fmt: skip
    return sorted(marks, key=lambda mark: mark["time"])  # the library wants them in order


def _nearest(seconds: np.ndarray, second: int) -> int:
    return int(seconds[min(int(np.searchsorted(seconds, second)), len(seconds) - 1)])


def _format(decimals: int) -> dict[str, Any]:
    step = 10.0**-decimals
    return {"type": "price", "precision": tick_decimals(step), "minMove": step}


def _chart(height: int, *, time_axis: bool, watermark: str) -> dict[str, Any]:
    return {
        "height": height,
        "layout": {"background": {"type": "solid", "color": BACKGROUND}, "textColor": MUTED, "fontSize": 11},
        "grid": {"vertLines": {"color": GRID}, "horzLines": {"color": GRID}},
        "rightPriceScale": {"borderVisible": False, "scaleMargins": {"top": 0.12, "bottom": 0.08}},
        "timeScale": {"visible": time_axis, "borderVisible": False, "timeVisible": True, "secondsVisible": False,
                      "minBarSpacing": 0.01},
        "crosshair": {"mode": 0},
        "watermark": {"visible": True, "text": watermark, "fontSize": 12, "color": MUTED, "horzAlign": "left",
                      "vertAlign": "top"},
    }  # fmt: skip
