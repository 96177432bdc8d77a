"""Figures of the Execution page: progress against schedule, fills on the price, paid against assumed. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from app.charts import ACCENT, DOWN, GRID, MUTED, SECOND, UP
from app.performance import utc_times

HEIGHT = 220


def progress_figure(parent: dict[str, Any], now_ns: int) -> go.Figure:
    """Draw what should have filled by when, and what has."""
    figure = go.Figure()
    if parent["schedule"]:
        times = utc_times(pd.Series([point[0] for point in parent["schedule"]]))
        figure.add_scatter(
            x=times, y=[point[1] for point in parent["schedule"]], name="Schedule", mode="lines",
            line={"color": MUTED, "width": 1.4, "dash": "dot"}, hovertemplate="%{y:.6g}",
        )  # fmt: skip
    done = [[parent["ts_created"], 0.0], *parent["done"], [now_ns, parent["filled_qty"]]]
    figure.add_scatter(
        x=utc_times(pd.Series([point[0] for point in done])), y=[point[1] for point in done], name="Filled",
        mode="lines", line={"color": ACCENT, "width": 2, "shape": "hv"}, hovertemplate="%{y:.6g}",
    )  # fmt: skip
    figure.add_hline(y=parent["qty"], line={"color": GRID, "width": 1})
    return _dressed(figure, f"Filled, {parent['symbol'].removesuffix('USDT')}")


def fills_figure(bars: pd.DataFrame, fills: pd.DataFrame) -> go.Figure:
    """Draw candles with our fills on them.

    Parameters
    ----------
    bars : DataFrame
        ts_open, open_px, high_px, low_px, close_px; oldest first.
    fills : DataFrame
        ts_filled, px, qty (signed), is_maker.
    """
    figure = go.Figure()
    figure.add_candlestick(
        x=utc_times(bars["ts_open"]), open=bars["open_px"], high=bars["high_px"], low=bars["low_px"],
        close=bars["close_px"], name="Price", increasing_line_color=MUTED, decreasing_line_color=MUTED,
        increasing_fillcolor=MUTED, decreasing_fillcolor="rgba(0,0,0,0)", line_width=1,
    )  # fmt: skip
    shown = fills[fills["ts_filled"] >= bars["ts_open"].iloc[0]]
    for word, symbol, colour, rows in (
        ("bought", "triangle-up", UP, shown[shown["qty"] > 0]),
        ("sold", "triangle-down", DOWN, shown[shown["qty"] < 0]),
    ):
        for kind, mark, part in (
            ("maker", f"{symbol}-open", rows[rows["is_maker"]]), ("taker", symbol, rows[~rows["is_maker"]]),
        ):  # fmt: skip
            if len(part):
                figure.add_scatter(
                    x=utc_times(part["ts_filled"]), y=part["px"], name=f"{word} as {kind}", mode="markers",
                    marker={"symbol": mark, "size": 9, "color": colour}, customdata=part["qty"],
                    hovertemplate="%{customdata:+.6g} at %{y:,.6g}",
                )  # fmt: skip
    figure.update_layout(xaxis_rangeslider_visible=False)
    return _dressed(figure, "Price, USDT", 320)


def cost_figure(costs: dict[str, Any]) -> go.Figure:
    """Draw what each order paid against what was assumed of it, with the line on which both are equal."""
    figure = go.Figure()
    groups = (
        ("crossed the spread", ACCENT, [row for row in costs["children"] if not row["rested"]]),
        ("rested first", SECOND, [row for row in costs["children"] if row["rested"]]),
    )
    for name, colour, rows in groups:
        if rows:
            figure.add_scatter(
                x=[row["assumed_bps"] for row in rows], y=[row["paid_bps"] for row in rows], name=name, mode="markers",
                marker={"color": colour, "size": 6, "opacity": 0.7}, customdata=[row["symbol"] for row in rows],
                hovertemplate="%{customdata}: assumed %{x:.2f} bp, paid %{y:.2f} bp",
            )  # fmt: skip
    ends = [row["assumed_bps"] for row in costs["children"]] or [0.0, 1.0]
    figure.add_scatter(
        x=[min(ends), max(ends)], y=[min(ends), max(ends)], name="as assumed", mode="lines",
        line={"color": MUTED, "width": 1, "dash": "dot"}, hoverinfo="skip",
    )  # fmt: skip
    figure.update_xaxes(title="Assumed, bp of the price")
    return _dressed(figure, "Paid, bp of the price", 320)


def _dressed(figure: go.Figure, axis: str, height: int = HEIGHT) -> go.Figure:
    figure.update_yaxes(title=axis, gridcolor=GRID)
    figure.update_xaxes(gridcolor=GRID)
    figure.update_layout(
        height=height, margin={"l": 8, "r": 8, "t": 8, "b": 8}, paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)", legend={"orientation": "h", "y": 1.12, "x": 0}, hovermode="x unified",
    )  # fmt: skip
    return figure
