"""How the Backtest page reads a walk-forward. Pure: the engine's JSON in, tables, figures and sentences out."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.charts import ACCENT, dress
from app.formats import UNKNOWN, is_known, moment, number, percent, signed_percent
from app.performance import utc_times
from app.sweeps import axes_names
from app.tables import Column, Figure
from engine.domain import NS_PER_MS

CASH = "cash"
PANEL_HEIGHT = 120
SPANS = (
    Column("train_first", "Chosen on, from", "text", "First day of the training stretch, UTC"),
    Column("train_last", "to", "text"),
    Column("first", "Traded, from", "text", "First day of the traded stretch, UTC"),
    Column("last", "to ", "text"),
)
FIGURES = (
    Column("in_sample_sharpe", "Sharpe chosen on", "number", "Per year, on the training stretch: it flatters"),
    Column("sharpe", "Sharpe traded", "number", "Per year, on the bars that followed"),
    Column("total_return", "Return, %", "signed_percent", "After costs"),
    Column("max_drawdown", "Drawdown, %", "percent", "Within the fold"),
    Column("fees", "Fees, USDT", "money"),
    Column("n_fills", "Fills", "count"),
    Column("position", "Position", "text", "Went on: the fold before chose the same set, so its position stayed"),
)


def fold_rows(result: dict[str, Any]) -> pd.DataFrame:
    """Return one row a fold: what it was chosen on, what was chosen, and what it did on the bars that followed."""
    rows = []
    for place, fold in enumerate(result.get("folds") or [], 1):
        chosen = fold["params"]
        rows.append({
            "fold": place, **{column.name: _day(fold[f"{column.name}_ts_ms"]) for column in SPANS},
            **{name: CASH if chosen is None else str(chosen[name]) for name in axes_names(result)},
            **{column.name: fold.get(column.name) for column in FIGURES},
            "position": "none" if chosen is None else "went on" if fold["carried_on"] else "began flat",
        })  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in fold_columns(result)])


def fold_columns(result: dict[str, Any]) -> tuple[Column, ...]:
    """Return the columns of ``fold_rows``."""
    chosen = (Column(name, name.replace("_", " ").capitalize(), "text", "Chosen") for name in axes_names(result))
    return (Column("fold", "Fold", "count", "", 60), *SPANS, *chosen, *FIGURES)


def headline(result: dict[str, Any]) -> list[Figure]:
    """Return the numbers to look at first, all of them of bars that no choice had seen."""
    metrics, folds = result["metrics"], result["folds"]
    deflated = (result.get("deflated_sharpe") or {}).get("value")
    kept = result.get("efficiency")
    earning = sum(1 for fold in folds if is_known(fold["total_return"]) and fold["total_return"] > 0)
    return [
        Figure("Return traded", signed_percent(metrics.get("total_return")), "After all costs, folds in a row",
               f"{earning} of {number(len(folds), 0)} folds earned"),
        Figure("Sharpe traded, per year", number(metrics.get("sharpe")), "Of the stitched curve",
               f"{percent(kept, 0)} of what was chosen on" if is_known(kept) else "nothing to compare with"),
        Figure("Largest drawdown", percent(metrics.get("max_drawdown")), "Of the stitched curve"),
        Figure("More than luck", percent(deflated, 0) if is_known(deflated) else UNKNOWN,
               "Deflated Sharpe ratio: probability that the curve is above the best that luck shows",
               f"{number(result.get('trials'), 0)} trials on this data"),
        Figure("Final equity, USDT", number(metrics.get("final_equity")), "After all costs",
               f"from {number((result.get('config') or {}).get('cash'))}"),
    ]  # fmt: skip


def sentences(result: dict[str, Any]) -> list[str]:
    """Return how it was cut, and what makes one doubt it."""
    config = result.get("config") or {}
    begin = "from the first bar on" if config.get("anchored") else f"on {number(config.get('train_days'), 0)} days"
    gap = (config.get("purge_days") or 0) + (config.get("embargo_days") or 0)
    told = (
        f"Each fold chooses the best of {number(result.get('n_trials'), 0)} sets by {_word(config.get('choose_by'))} "
        f"{begin}, leaves {gap:g} d out, and trades the {number(config.get('test_days'), 0)} days after. One "
        "account goes through all folds."
    )
    return [told, *(str(sentence) for sentence in result.get("doubts") or [])]


def fold_marks(result: dict[str, Any]) -> list[tuple[int, str]]:
    """Return where each fold begins, ms, and its number, for the curve."""
    return [(fold["first_ts_ms"], str(place)) for place, fold in enumerate(result["folds"], 1)]


def choice_figure(result: dict[str, Any]) -> go.Figure | None:
    """Draw each parameter through the folds as a staircase; a fold in cash is a gap. None without a parameter.

    A stair that jumps from end to end says that the past did not tell the sets apart.
    """
    names = axes_names(result)
    if not names or not result["folds"]:
        return None
    folds = result["folds"]
    edges = [fold["first_ts_ms"] for fold in folds] + [folds[-1]["last_ts_ms"]]
    times = utc_times(pd.Series(edges) * NS_PER_MS)
    figure = make_subplots(rows=len(names), cols=1, shared_xaxes=True, vertical_spacing=0.12 / len(names))
    for row, axis in enumerate(result["axes"], 1):
        chosen = list(result["chosen"][axis["name"]])
        plain = all(isinstance(value, int | float) and not isinstance(value, bool) for value in axis["values"])
        steps = [value if plain or value is None else str(value) for value in (*chosen, chosen[-1])]
        figure.add_scatter(x=times, y=steps, mode="lines", line={"shape": "hv", "color": ACCENT, "width": 2}, row=row,
                           col=1, name=_word(axis["name"]), showlegend=False, hovertemplate="%{y}")  # fmt: skip
        order = {} if plain else {"type": "category", "categoryarray": [str(value) for value in axis["values"]]}
        figure.update_yaxes(title_text=_word(axis["name"]), row=row, col=1, **order)
    return dress(figure, height=60 + PANEL_HEIGHT * len(names))


def _day(ts_ms: int) -> str:
    return moment(ts_ms * NS_PER_MS)[:10]


def _word(name: Any) -> str:
    return str(name).replace("_", " ")
