"""How the Backtest page reads a parameter sweep. Pure: the engine's JSON in, tables, figures and sentences out."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from app.charts import DIVERGING, MUTED, dress
from app.formats import UNKNOWN, is_known, number, percent
from app.tables import Column, Figure

METRIC_COLUMNS = (
    Column("in_sample_sharpe", "Sharpe in sample", "number", "Per year; the usual figure to choose by"),
    Column("out_of_sample_sharpe", "Sharpe out of sample", "number", "Per year"),
    Column("sharpe", "Sharpe, whole", "number", "Per year"),
    Column("total_return", "Return, %", "signed_percent", "Whole run, after costs"),
    Column("max_drawdown", "Drawdown, %", "percent"),
    Column("n_trades", "Trades", "count"),
    Column("error", "Error"),
)
MARK = "◎"


def grid_of(text: str) -> dict[str, str]:
    """Read the grid of the form: one ``name = values`` a line, values as ``5, 10, 20`` or ``5:50:5``."""
    found = {}
    for line in text.splitlines():
        name, mark, values = line.partition("=")
        if mark and name.strip() and values.strip():
            found[name.strip()] = values.strip()
    return found


def axes_names(result: dict[str, Any]) -> list[str]:
    """Return the swept parameters in the order of the grid."""
    return [axis["name"] for axis in result.get("axes") or []]


def member_rows(result: dict[str, Any]) -> pd.DataFrame:
    """Return one row a parameter set, the choice marked, in the order of the grid."""
    rows = [
        {"best": MARK if place == result.get("best") else "", **row["params"],
         **{column.name: row.get(column.name) for column in METRIC_COLUMNS}}
        for place, row in enumerate(result.get("rows") or [])
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["best", *axes_names(result), *(column.name for column in METRIC_COLUMNS)])


def member_columns(result: dict[str, Any]) -> tuple[Column, ...]:
    """Return the columns of ``member_rows``."""
    swept = (Column(name, name.replace("_", " ").capitalize(), "text") for name in axes_names(result))
    return (Column("best", MARK, "text", "The choice", 40), *swept, *METRIC_COLUMNS)


def headline(result: dict[str, Any]) -> list[Figure]:
    """Return the numbers to look at first: how many were tried, what was chosen, and how much of it is luck."""
    best = result.get("best_row") or {}
    chosen = ", ".join(f"{name} {value}" for name, value in (best.get("params") or {}).items()) or UNKNOWN
    deflated, pbo = (result.get("deflated_sharpe") or {}).get("value"), (result.get("pbo") or {}).get("value")
    return [
        Figure("Parameter sets", number(result.get("n_trials"), 0), "Each is a trial",
               f"{number(result.get('trials'), 0)} trials on this data"),
        Figure("Chosen", chosen, "By the figure named below"),
        Figure("Its Sharpe out of sample", number(best.get("out_of_sample_sharpe")), "Per year",
               f"{number(best.get('in_sample_sharpe'))} in sample"),
        Figure("More than luck", percent(deflated, 0) if is_known(deflated) else UNKNOWN,
               "Deflated Sharpe ratio: probability that the chosen one is above the best that luck shows"),
        Figure("Overfitting", percent(pbo, 0) if is_known(pbo) else UNKNOWN,
               "How often the best in one half of time is below the middle in the other"),
    ]  # fmt: skip


def sentences(result: dict[str, Any]) -> list[str]:
    """Return the doubts, and what was left out of the grid."""
    left_out = result.get("left_out") or []
    told = [str(sentence) for sentence in result.get("doubts") or []]
    if left_out:
        told.append(f"{len(left_out)} combinations could not be run: {left_out[0]}")
    return told


def heat_figure(result: dict[str, Any]) -> go.Figure | None:
    """Draw the figure that chooses over the first two axes, its choice marked; None for one axis.

    A plateau of good values is worth more than one bright cell: a single best cell is what luck looks like.
    """
    heat = result.get("heat_map")
    if not heat:
        return None
    x_words, y_words = [str(value) for value in heat["x_values"]], [str(value) for value in heat["y_values"]]
    figure = go.Figure(go.Heatmap(
        z=heat["values"], x=x_words, y=y_words, colorscale=DIVERGING, zmid=0, xgap=1, ygap=1, hoverongaps=False,
        colorbar={"title": {"text": heat["metric"].replace("_", " "), "side": "right"}, "thickness": 12},
        hovertemplate=f"{heat['x']} %{{x}}, {heat['y']} %{{y}}: %{{z:.2f}}<extra></extra>",
    ))  # fmt: skip
    chosen = (result.get("best_row") or {}).get("params") or {}
    if heat["x"] in chosen and heat["y"] in chosen:
        figure.add_scatter(x=[str(chosen[heat["x"]])], y=[str(chosen[heat["y"]])], mode="markers", hoverinfo="skip",
                           marker={"symbol": "circle-open", "size": 16, "color": "#ffffff", "line": {"width": 2}},
                           showlegend=False)  # fmt: skip
    figure.update_xaxes(type="category", title_text=heat["x"].replace("_", " "), showgrid=False)
    figure.update_yaxes(type="category", title_text=heat["y"].replace("_", " "), showgrid=False, color=MUTED)
    return dress(figure, height=420, unified=False)
