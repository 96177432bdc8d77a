"""Figures of the screens that do not stream. Pure: a table in, a plotly figure out.

Backgrounds are left transparent and text to the theme of ``.streamlit/config.toml``; only colours that mean something
are set here. Every axis carries its unit, every time is UTC.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.formats import GROUP
from app.performance import thin_index, utc_times

UP = "#2ebd85"
DOWN = "#f6465d"
ACCENT = "#4c8dff"
SECOND = "#e8a33d"
MUTED = "#8b95a7"
BACKGROUND = "#0c1017"  # of an embedded chart, whose own page would be white; the theme's, where it is set
GRID = "rgba(139, 149, 167, 0.14)"
DIVERGING = ((0.0, DOWN), (0.5, "rgba(139, 149, 167, 0.10)"), (1.0, UP))
LEAST_SPAN = 0.002  # of equity, on an axis
LEAST_DRAWDOWN = 0.002

CHART_CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}


def equity_figure(equity: pd.DataFrame, comparison: pd.DataFrame | None = None, name: str = "") -> go.Figure:
    """Draw equity over drawdown on one time axis.

    Parameters
    ----------
    equity : DataFrame
        ``ts`` ns, ``equity`` USDT and ``drawdown`` (fraction of the peak, either sign), oldest first.
    comparison : DataFrame, optional
        ``ts, equity`` of something to hold it against, drawn dotted in the upper panel under ``name``.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.72, 0.28], vertical_spacing=0.04)
    kept = equity.iloc[thin_index(equity["equity"].to_numpy(dtype=float))]
    times, mode = utc_times(kept["ts"]), _mode(kept)
    figure.add_scatter(
        x=times, y=kept["equity"], name="Equity", mode=mode, line={"color": ACCENT, "width": 1.8}, row=1, col=1,
        hovertemplate="%{y:,.2f} USDT",
    )  # fmt: skip
    if comparison is not None and len(comparison):
        figure.add_scatter(
            x=utc_times(comparison["ts"]), y=comparison["equity"], name=name, mode="lines", row=1, col=1,
            line={"color": SECOND, "width": 1.4, "dash": "dot"}, hovertemplate="%{y:,.2f} USDT",
        )  # fmt: skip
    figure.add_scatter(
        x=times, y=-kept["drawdown"].abs(), name="Drawdown", mode=mode, fill="tozeroy", row=2, col=1, showlegend=False,
        line={"color": DOWN, "width": 1.2}, fillcolor="rgba(246, 70, 93, 0.18)", hovertemplate="%{y:.2%}",
    )  # fmt: skip
    shown = [kept["equity"], *([comparison["equity"]] if comparison is not None and len(comparison) else [])]
    low, high = _at_least(min(part.min() for part in shown), max(part.max() for part in shown))
    depth = max(float(kept["drawdown"].abs().max()) * 1.1, LEAST_DRAWDOWN)
    figure.update_yaxes(
        title_text="Equity, USDT", range=[low, high], tickformat=",.2f" if high - low < 50 else ",.0f", row=1, col=1
    )
    figure.update_yaxes(
        title_text="Drawdown, %", range=[-depth, 0], tickformat=".2%" if depth < 0.01 else ".1%", row=2, col=1
    )
    compared = comparison is not None and len(comparison) > 0
    figure = dress(figure, height=430)
    return figure.update_layout(showlegend=compared, margin_t=28 if compared else 8)


def exposure_figure(exposure: pd.DataFrame) -> go.Figure:
    """Draw gross and net exposure (``ts, gross, net``) as multiples of equity."""
    figure = go.Figure()
    times = utc_times(exposure["ts"])
    for column, colour, dash in (("gross", ACCENT, "solid"), ("net", SECOND, "dot")):
        figure.add_scatter(
            x=times, y=exposure[column], name=column.capitalize(), mode=_mode(exposure),
            hovertemplate="%{y:+.3f} × equity", line={"color": colour, "width": 1.5, "dash": dash, "shape": "hv"},
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": MUTED, "width": 1})
    figure.update_yaxes(title_text="Exposure, × equity", tickformat="+.2f")
    return dress(figure, height=306)


def return_calendar(daily: pd.DataFrame, monthly: pd.DataFrame) -> go.Figure:
    """Draw a heat table of returns: one row a month, one cell a day of it, the whole month in the last column.

    Parameters
    ----------
    daily : DataFrame
        ``date`` (YYYY-MM-DD, UTC) and ``return`` as a fraction; null where unknown.
    monthly : DataFrame
        ``month`` (YYYY-MM) and ``return``.
    """
    months = sorted(set(daily["date"].str[:7]), reverse=True)
    days = [str(day) for day in range(1, 32)]
    cells = pd.DataFrame(np.nan, index=months, columns=days)
    for date, value in zip(daily["date"], daily["return"], strict=True):
        cells.loc[date[:7], str(int(date[8:10]))] = np.nan if value is None else float(value)
    whole = monthly.set_index("month")["return"].astype(float).reindex(months)
    cells.insert(len(cells.columns), "Month", whole)
    text = cells.map(lambda value: "" if np.isnan(value) else f"{value * 100:+.1f}".replace("-", "−"))
    reach = max(float(np.nanquantile(cells[days].abs(), 0.95)) if cells[days].notna().any(axis=None) else 0.0, 1e-4)
    figure = go.Figure(go.Heatmap(
        z=cells.to_numpy(), x=list(cells.columns), y=months, text=text.to_numpy(), texttemplate="%{text}",
        textfont={"color": "#e6e9ef", "size": 11}, colorscale=DIVERGING, zmid=0, zmin=-reach, zmax=reach,
        showscale=False, xgap=2, ygap=2, hoverongaps=False, hovertemplate="%{y}, %{x}: %{z:+.2%}<extra></extra>",
    ))  # fmt: skip
    figure.update_xaxes(side="top", type="category", showgrid=False, title_text="Day of the month (UTC), returns in %")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return dress(figure, height=96 + 30 * len(months), unified=False)


def weights_figure(weights: pd.DataFrame) -> go.Figure:
    """Draw raw, sized and approved weight of each symbol (``symbol, raw, sized, approved``) as grouped bars."""
    figure = go.Figure()
    for column, colour in (("raw", MUTED), ("sized", SECOND), ("approved", ACCENT)):
        figure.add_bar(
            x=weights["symbol"], y=weights[column], name=column.capitalize(), marker_color=colour,
            hovertemplate="%{y:+.3f}",
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": MUTED, "width": 1})
    figure.update_layout(barmode="group", bargap=0.35, bargroupgap=0.08)
    figure.update_yaxes(title_text="Weight, × equity", tickformat="+.2f")
    return dress(figure, height=250)


def _mode(rows: pd.DataFrame) -> str:
    return "lines" if len(rows) > 1 else "markers"


def _at_least(low: float, high: float) -> tuple[float, float]:
    """Return a range around the values that is no narrower than ``LEAST_SPAN``: noise must not look like a cliff."""
    margin = max((high - low) * 0.06, (LEAST_SPAN * abs(high) - (high - low)) / 2)
    return float(low - margin), float(high + margin)


def dress(figure: go.Figure, *, height: int, unified: bool = True) -> go.Figure:
    """Give a figure the look that all figures share."""
    figure.update_layout(
        height=height, margin={"l": 8, "r": 8, "t": 28, "b": 8}, paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)", hovermode="x unified" if unified else "closest", dragmode="zoom",
        separators=f".{GROUP}",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title": {"text": ""}},
    )  # fmt: skip
    figure.update_yaxes(gridcolor=GRID, zeroline=False, title_font_size=11, automargin=True)
    if unified:
        figure.update_xaxes(gridcolor=GRID, zeroline=False)
    return figure
