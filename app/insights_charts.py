"""Figures of the AI Insights page. Pure: answers in, plotly figures out. The doubt is drawn, not only written."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.charts import ACCENT, DOWN, GRID, MUTED, SECOND, UP, dress
from app.formats import percent
from app.insights import INTERVALS, sigma_at, simple_return
from app.performance import utc_times
from engine.domain import NS_PER_MS, NS_PER_S

SHADES = {0.95: "rgba(76, 141, 255, 0.12)", 0.8: "rgba(76, 141, 255, 0.20)", 0.5: "rgba(76, 141, 255, 0.32)"}
REGIME_COLOURS = (UP, SECOND, DOWN, ACCENT, MUTED)
CURVE_COLOURS = (ACCENT, SECOND, UP, DOWN, MUTED, "#c084fc", "#22d3ee", "#f472b6", "#a3a635", "#8b7355")
"""One for each learner of a set: ten are tried at most."""

COVER_COLOURS = (ACCENT, UP, SECOND, MUTED)
COVER_SHADES = tuple(f"rgba({int(c[1:3], 16)}, {int(c[3:5], 16)}, {int(c[5:7], 16)}, 0.16)" for c in COVER_COLOURS)
REGIME_BARS = 400


def fan_figure(bars: pd.DataFrame, said: dict[str, Any], overview: dict[str, Any]) -> go.Figure:
    """Draw the newest candles and the intervals of the forecast after them, 50, 80 and 95 %."""
    figure = go.Figure()
    _candles(figure, bars)
    close, begin = said["close_px"], said["ts_close"]
    steps = [0, *overview["horizons"]]
    times = utc_times(np.array([begin + int(step * overview["bar_s"] * NS_PER_S) for step in steps]))
    for level, shade in SHADES.items():
        low, high = ([close, *(_px(said, overview, at, side) for at in range(len(steps) - 1))]
                     for side in INTERVALS[level])  # fmt: skip
        figure.add_scatter(x=times, y=low, mode="lines", line={"width": 0}, showlegend=False, hoverinfo="skip")
        figure.add_scatter(x=times, y=high, mode="lines", line={"width": 0}, fill="tonexty", fillcolor=shade,
                           name=f"{percent(level, 0)} of outcomes", hovertemplate="%{y:,.6~g}")  # fmt: skip
    middle = [close, *(_px(said, overview, at, len(said["levels"]) // 2) for at in range(len(steps) - 1))]
    figure.add_scatter(x=times, y=middle, mode="lines", name="middle", line={"color": ACCENT, "width": 2},
                       hovertemplate="%{y:,.6~g}")  # fmt: skip
    figure.add_scatter(x=[times[0], times[-1]], y=[close, close], mode="lines", name="no change", hoverinfo="skip",
                       line={"color": MUTED, "width": 1, "dash": "dot"})  # fmt: skip
    figure.update_yaxes(title_text="Price, USDT", tickformat=",~g")
    figure.update_xaxes(rangeslider_visible=False)
    return dress(figure, height=430)


def _candles(figure: go.Figure, bars: pd.DataFrame) -> None:
    figure.add_candlestick(
        x=utc_times(bars["ts_open"]), open=bars["open_px"], high=bars["high_px"], low=bars["low_px"],
        close=bars["close_px"], name="price", increasing={"line": {"color": UP, "width": 1}, "fillcolor": UP},
        decreasing={"line": {"color": DOWN, "width": 1}, "fillcolor": DOWN}, showlegend=False,
    )  # fmt: skip


def _px(said: dict[str, Any], overview: dict[str, Any], at: int, level: int) -> float | None:
    change = simple_return(said["quantile"][at][level], sigma_at(said, overview["horizons"][at]))
    return None if change is None else said["close_px"] * (1.0 + change)


def coverage_figure(coverage: dict[str, Any]) -> go.Figure:
    """Draw how often outcomes lay inside each interval with the doubt of it, against what was stated."""
    figure = go.Figure()
    times = utc_times(np.array([int(row[0]) * NS_PER_MS for row in coverage["points"]]))
    for k, (level, colour, shade) in enumerate(zip(coverage["levels"], COVER_COLOURS, COVER_SHADES, strict=False)):
        held, low, high = (
            [None if row[k + 1] is None else row[k + 1][part] for row in coverage["points"]] for part in range(3)
        )
        figure.add_scatter(x=times, y=low, mode="lines", line={"width": 0}, showlegend=False, hoverinfo="skip")
        figure.add_scatter(x=times, y=high, mode="lines", line={"width": 0}, fill="tonexty", fillcolor=shade,
                           showlegend=False, hoverinfo="skip")  # fmt: skip
        figure.add_scatter(x=times, y=held, mode="lines+markers", name=f"stated {percent(level, 0)}",
                           line={"color": colour, "width": 1.6}, marker={"size": 4},
                           customdata=list(zip(low, high, strict=True)),
                           hovertemplate="%{y:.1%} held (%{customdata[0]:.1%} to %{customdata[1]:.1%})")  # fmt: skip
        figure.add_hline(y=level, line={"color": colour, "width": 1, "dash": "dot"})
    figure.update_yaxes(title_text="Outcomes inside, %", tickformat=".0%")
    return dress(figure, height=300)


def reliability_figure(bins: list[dict[str, Any]]) -> go.Figure:
    """Draw the share of rises that came against the probability that was stated, each with its 95 % interval."""
    stated, came = [row["stated"] for row in bins], [row["came"] for row in bins]
    low, high = min([*stated, *came, 0.4]), max([*stated, *came, 0.6])
    figure = go.Figure()
    figure.add_scatter(x=[low, high], y=[low, high], mode="lines", name="as stated", hoverinfo="skip",
                       line={"color": MUTED, "width": 1, "dash": "dot"})  # fmt: skip
    figure.add_scatter(
        x=stated, y=came, mode="markers", name="what came",
        customdata=[[row["count"], row["days"]] for row in bins], marker={"color": ACCENT, "size": 9},
        error_y={"array": [row["high"] - row["came"] for row in bins], "color": MUTED, "width": 2, "symmetric": False,
                 "arrayminus": [row["came"] - row["low"] for row in bins]},
        hovertemplate="stated %{x:.1%}, came %{y:.1%} of %{customdata[0]:,} on %{customdata[1]} days<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title_text="Stated probability of a rise, %", tickformat=".0%")
    figure.update_yaxes(title_text="Rises that came, %", tickformat=".0%")
    return dress(figure, height=320, unified=False).update_xaxes(gridcolor=GRID)


def drivers_figure(rows: list[dict[str, Any]], most: int = 12) -> go.Figure:
    """Draw what moved the probability of a rise, the strongest on top, each with its uncertainty."""
    shown = sorted(rows, key=lambda row: abs(row["points"]))[-most:]
    figure = go.Figure(go.Bar(
        x=[100 * row["points"] for row in shown], y=[row["topic"] for row in shown], orientation="h",
        marker_color=[UP if row["points"] > 0 else DOWN for row in shown],
        error_x={"array": [200 * (row["error"] or 0.0) for row in shown], "color": MUTED, "width": 3},
        hovertemplate="%{y}: %{x:+.2f} points<extra></extra>",
    ))  # fmt: skip
    figure.add_vline(x=0, line={"color": MUTED, "width": 1})
    figure.update_xaxes(title_text="Added to the probability of a rise, percentage points", tickformat="+.1f")
    return dress(figure, height=110 + 24 * len(shown), unified=False).update_xaxes(gridcolor=GRID)


def topics_figure(rows: list[list[Any]], most: int = 12) -> go.Figure:
    """Draw what moved the middle forecast in basis points, the strongest on top, each with its uncertainty."""
    shown = sorted(rows, key=lambda row: abs(row[1]))[-most:]
    figure = go.Figure(go.Bar(
        x=[row[1] for row in shown], y=[row[0] for row in shown], orientation="h",
        marker_color=[UP if row[1] > 0 else DOWN for row in shown],
        error_x={"array": [2.0 * (row[2] or 0.0) for row in shown], "color": MUTED, "width": 3},
        customdata=[100.0 * row[3] for row in shown],
        hovertemplate="%{y}: %{x:+.2f} bp, %{customdata:+.2f} points of probability<extra></extra>",
    ))  # fmt: skip
    figure.add_vline(x=0, line={"color": MUTED, "width": 1})
    figure.update_xaxes(title_text="Added to the middle forecast, basis points", tickformat="+~g")
    return dress(figure, height=110 + 24 * len(shown), unified=False).update_xaxes(gridcolor=GRID)


def attention_figure(weights: list[float], bar_s: float) -> go.Figure:
    """Draw how much a network looked at each of the bars before now."""
    used = np.array(weights, dtype=float)
    first = int(np.flatnonzero(used > 0)[0]) if (used > 0).any() else 0
    used = used[first:]
    back = -np.arange(len(used))[::-1] * bar_s / 3_600
    figure = go.Figure(go.Bar(x=back, y=used, marker_color=ACCENT, hovertemplate="%{x:g} h: %{y:.1%}<extra></extra>"))
    figure.add_hline(y=1 / len(used), line={"color": MUTED, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="Hours before the newest bar")
    figure.update_yaxes(title_text="Share of attention, %", tickformat=".1%")
    return dress(figure, height=240, unified=False)


def cases_figure(answer: dict[str, Any], sigma: float, bar_s: float) -> go.Figure:
    """Draw what the price did after each similar bar, in today's volatility, and their middle."""
    paths = np.array([row["path"] for row in answer["cases"]], dtype=float)
    moves = np.expm1(paths * sigma)
    hours = np.arange(paths.shape[1]) * bar_s / 3_600
    figure = go.Figure()
    for row, move in zip(answer["cases"], moves, strict=True):
        when = pd.Timestamp(row["ts_close"], unit="ns", tz="UTC")
        figure.add_scatter(x=hours, y=move, mode="lines", showlegend=False, line={"color": MUTED, "width": 0.8},
                           opacity=0.6, hoverinfo="name", name=f"{row['symbol']} {when:%Y-%m-%d %H:%M}")  # fmt: skip
    figure.add_scatter(x=hours, y=np.median(moves, axis=0), mode="lines", name="middle of them",
                       line={"color": SECOND, "width": 2}, hovertemplate="%{y:+.2%}")  # fmt: skip
    figure.add_hline(y=0, line={"color": MUTED, "width": 1})
    figure.update_xaxes(title_text="Hours after", gridcolor=GRID)
    figure.update_yaxes(title_text="Change of price, %", tickformat="+.1%")
    return dress(figure, height=300, unified=False)


def regime_figure(bars: pd.DataFrame, regimes: dict[str, Any]) -> go.Figure:
    """Draw the price with the likeliest regime behind it, and every regime's probability below it."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.6, 0.4], vertical_spacing=0.06)
    rows = regimes["points"][-REGIME_BARS:]
    times = utc_times(np.array([int(row[0]) * NS_PER_MS for row in rows]))
    figure.add_scatter(x=utc_times(bars["ts_open"]), y=bars["close_px"], mode="lines", name="price", showlegend=False,
                       line={"color": "#e6e9ef", "width": 1.4}, hovertemplate="%{y:,.6~g}", row=1, col=1)  # fmt: skip
    for begin, end, which in _stretches(rows):
        figure.add_vrect(x0=times[begin], x1=times[end], fillcolor=REGIME_COLOURS[which % len(REGIME_COLOURS)],
                         opacity=0.16, line_width=0, row=1, col=1)  # fmt: skip
    for k, name in enumerate(regimes["names"]):
        figure.add_scatter(x=times, y=[row[k + 1] for row in rows], mode="lines", name=name, stackgroup="all",
                           line={"width": 0.5, "color": REGIME_COLOURS[k % len(REGIME_COLOURS)]},
                           hovertemplate="%{y:.0%}", row=2, col=1)  # fmt: skip
    for ts_ms, _ in regimes["changes"]:
        if rows and ts_ms >= rows[0][0]:
            figure.add_vline(x=pd.Timestamp(int(ts_ms), unit="ms", tz="UTC"),
                             line={"color": SECOND, "width": 1, "dash": "dash"})  # fmt: skip
    figure.update_yaxes(title_text="Price, USDT", tickformat=",~g", row=1, col=1)
    figure.update_yaxes(title_text="Probability, %", tickformat=".0%", range=[0, 1], row=2, col=1)
    return dress(figure, height=420)


def _stretches(rows: list[list[float]]) -> list[tuple[int, int, int]]:
    """Return (first, last, regime) of every stretch in which the same regime is the likeliest."""
    if not rows:
        return []
    likeliest = [int(np.argmax(row[1:])) for row in rows]
    turns = [0, *(k for k in range(1, len(rows)) if likeliest[k] != likeliest[k - 1]), len(rows) - 1]
    return [(begin, end, likeliest[begin]) for begin, end in pairwise(turns) if end > begin]


def votes_figure(agents: list[dict[str, Any]]) -> go.Figure:
    """Draw each agent's wish with the range in which nine of ten of its actions lie."""
    figure = go.Figure(go.Scatter(
        x=[row["vote"] for row in agents], y=[row["name"].upper() for row in agents], mode="markers",
        marker={"color": ACCENT, "size": 11}, hovertemplate="%{y}: %{x:+.2f}<extra></extra>",
        error_x={"array": [row["high"] - row["vote"] for row in agents], "width": 6, "color": MUTED,
                 "arrayminus": [row["vote"] - row["low"] for row in agents], "symmetric": False},
    ))  # fmt: skip
    figure.add_vline(x=0, line={"color": MUTED, "width": 1})
    figure.update_xaxes(title_text="Wish: −1 wholly short, +1 wholly long", range=[-1.05, 1.05], gridcolor=GRID)
    return dress(figure, height=110 + 34 * len(agents), unified=False)


def evidence_figure(challenge: dict[str, Any]) -> go.Figure:
    """Draw the evidence for and against a challenger after each block, and the line at which it decides."""
    figure = go.Figure()
    times = utc_times(np.array([int(row[0]) * NS_PER_MS for row in challenge["path"]]))
    for column, name, colour in ((1, "for the challenger", UP), (2, "against it", DOWN)):
        figure.add_scatter(x=times, y=[max(row[column], 1e-3) for row in challenge["path"]], mode="lines+markers",
                           name=name, line={"color": colour, "width": 1.8}, marker={"size": 5},
                           hovertemplate="%{y:.2f}")  # fmt: skip
    figure.add_hline(y=challenge["needed"], line={"color": MUTED, "width": 1, "dash": "dot"})
    # a note's place on a logarithmic axis is an exponent, the line's is not
    figure.add_annotation(x=0, xref="paper", y=math.log10(challenge["needed"]), text="decides", showarrow=False,
                          xanchor="left", yanchor="bottom")  # fmt: skip
    figure.update_yaxes(title_text="Evidence, × the stake", type="log", tickformat="~g", dtick=1)
    return dress(figure, height=260)


FEWEST_ROUNDS = 3


def in_rounds(curves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the curves of learners that are taught in rounds, and not solved at once."""
    return [curve for curve in curves if len(curve["points"]) >= FEWEST_ROUNDS]


def curves_figure(curves: list[dict[str, Any]]) -> go.Figure:
    """Draw training and validation losses as they come in; only the validation loss decides."""
    figure = go.Figure()
    for curve, colour in zip(curves, CURVE_COLOURS * 4, strict=False):
        steps = [row[0] for row in curve["points"]]
        name = (
            curve["name"] if len({each["seed"] for each in curves}) == 1 else f"{curve['name']}, seed {curve['seed']}"
        )
        for column, words, dash in ((1, "learned from", "dot"), (2, "held back", "solid")):
            figure.add_scatter(x=steps, y=[row[column] for row in curve["points"]], mode="lines+markers",
                               name=f"{name}, {words}", line={"color": colour, "width": 1.6, "dash": dash},
                               marker={"size": 4}, hovertemplate="%{y:.4f}")  # fmt: skip
    figure.update_xaxes(title_text="Round of training")
    figure.update_yaxes(title_text="Loss, lower is better", tickformat=".3f")
    return dress(figure, height=300)
