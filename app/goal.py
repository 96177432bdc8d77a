"""How the Goal page reads the engine's answer. Pure: JSON in, tables, figures and sentences out."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from app.charts import ACCENT, DOWN, MUTED, UP, dress
from app.formats import UNKNOWN, is_known, number, percent
from app.performance import utc_times
from app.tables import Column, Figure
from engine.domain import NS_PER_MS

SEED_DATE = date(2026, 12, 31)
ACCOUNT = "account"

CHANCE_COLUMNS = (
    Column("label", "What", "text", "", 330),
    Column("words", "Chance", "figure", "Share of the simulated paths", 160),
    Column("range", "5 % to 95 %", "figure", "The same chance over what the record may truly be", 150),
)
FORMULA_COLUMNS = (
    Column("label", "Closed form, as a check", "text", "", 420),
    Column("words", "Chance", "figure", "", 150),
)
REQUIRED_COLUMNS = (
    Column("chance", "Chance of no breach", "figure", "Target first, drawdown limit never", 150),
    Column("sharpe", "Net Sharpe, per year", "figure", "After all costs", 150),
    Column("volatility", "Volatility allowed", "figure", "A year; more breaks the drawdown limit too often", 150),
    Column("leverage", "Times this record's", "figure", "Volatility allowed over the record's own", 150),
)


def first_date(today: date) -> date:
    """Return the date the form begins with: the first goal's while it is ahead, else a year from today."""
    return SEED_DATE if today < SEED_DATE else today + timedelta(days=365)


def source_names(runs: pd.DataFrame, rows: pd.DataFrame) -> dict[str, str]:
    """Return what a record can be taken from: the account, then every finished backtest."""
    names = {ACCOUNT: "This account"}
    if len(runs):
        for run in rows[rows["status"] == "done"].to_dict("records"):
            names[run["run_id"]] = f"{run['strategy']} · {run['symbols'] or UNKNOWN} · {run['run_id']}"
    return names


def question(form: dict[str, Any]) -> dict[str, Any]:
    """Return what the engine is asked, in its units, from the values of the form."""
    from_account = form["source"] == ACCOUNT
    return {
        "run_id": None if from_account else form["source"], "sample": "whole" if form.get("whole") else "out",
        "target": float(form["target"]), "by": form["by"].isoformat(),
        "equity": None if not form["equity"] else float(form["equity"]),
        "max_drawdown": round(form["max_drawdown"] / 100, 6), "ruin_loss": round(form["ruin_loss"] / 100, 6),
        "leverage": float(form["leverage"]),
    }  # fmt: skip


def headline(answer: dict[str, Any]) -> list[Figure]:
    """Return the numbers to look at first; without evidence the chances are said to be unknown."""
    by_name = {row["name"]: row for row in answer["probabilities"]}
    goal, even = answer["goal"], answer["required"]["rows"][0]
    limit, loss = percent(goal["max_drawdown"], 0), percent(goal["ruin_loss"], 0)

    def chance(name: str) -> tuple[str, str | None]:
        row = by_name.get(name)
        return ("not enough evidence", None) if row is None else (row["words"], _range(row))

    own = answer["required"]["record_sharpe"]
    return [
        Figure(f"Target within {limit} drawdown", chance("target_clean")[0],
               "Paths that reach the target by the date with no such drawdown before", chance("target_clean")[1]),
        Figure(f"Drawdown of {limit}", chance("breach")[0], "By the date, at a day's close", chance("breach")[1]),
        Figure(f"Loss of {loss}", chance("ruin")[0], "Of today's equity, by the date", chance("ruin")[1]),
        Figure("Net Sharpe needed, per year", number(even["sharpe"], 1), "For an even chance of no breach",
               f"this record: {number(own)}"),
    ]  # fmt: skip


def chance_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return one row a question with its chance and the range over what the record may be."""
    rows = [(row["label"], row["words"], _range(row)) for row in answer["probabilities"]]
    return pd.DataFrame(rows, columns=[column.name for column in CHANCE_COLUMNS])


def formula_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return the closed forms beside which the simulation must make sense."""
    rows = [(row["label"], row["words"]) for row in answer["closed_form"]]
    return pd.DataFrame(rows, columns=[column.name for column in FORMULA_COLUMNS])


def required_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return the net Sharpe ratio that would be required, for several chances of no breach."""
    rows = [
        (percent(row["chance"], 0), number(row["sharpe"], 1), percent(row["volatility"], 0),
         UNKNOWN if row["leverage"] is None else f"× {number(row['leverage'], 2)}")
        for row in answer["required"]["rows"]
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in REQUIRED_COLUMNS])


def record_line(answer: dict[str, Any]) -> str:
    """Return one line on the record: whose, how long, how good with its interval."""
    record = answer["record"]
    step = "daily" if record["step_days"] == 1 else f"{record['step_days']}-day"
    parts = [f"Record: {record['label']}", f"{number(record['returns'], 0)} {step} returns"]
    if is_known(record["sharpe"]):
        low, high = record["sharpe_interval"]
        parts += [
            f"mean {percent(record['mean'], 1)} a year",
            f"volatility {percent(record['volatility'], 1)}",
            f"Sharpe {number(record['sharpe'])} ({number(low)} to {number(high)}, 90 %)",
        ]
    return " · ".join(parts)


def fan_figure(answer: dict[str, Any]) -> go.Figure:
    """Draw the quantiles of equity until the date, with the goal and the drawdown limit as lines."""
    fan, goal = answer["fan"], answer["goal"]
    times = utc_times(pd.Series(fan["ts_ms"]) * NS_PER_MS)
    low, lower, middle, upper, high = fan["equity"]
    figure = go.Figure()
    for bottom, top, name, shade in (
        (low, high, "9 of 10 paths", "rgba(76, 141, 255, 0.14)"),
        (lower, upper, "every second path", "rgba(76, 141, 255, 0.28)"),
    ):
        figure.add_scatter(x=times, y=bottom, mode="lines", line={"width": 0}, showlegend=False, hoverinfo="skip")
        figure.add_scatter(x=times, y=top, mode="lines", line={"width": 0}, fill="tonexty", fillcolor=shade, name=name,
                           hoverinfo="skip")  # fmt: skip
    for values, name, colour, dash in (
        (high, "95 %", MUTED, "dot"), (middle, "median", ACCENT, "solid"), (low, "5 %", MUTED, "dot"),
    ):  # fmt: skip
        figure.add_scatter(x=times, y=values, mode="lines", name=name, showlegend=name == "median",
                           line={"color": colour, "width": 2 if name == "median" else 1, "dash": dash},
                           hovertemplate="%{y:,.0f} USDT")  # fmt: skip
    for level, name, colour in (
        (goal["target"], f"goal {number(goal['target'], 0)}", UP),
        (goal["equity"] * (1 - goal["max_drawdown"]), f"{percent(goal['max_drawdown'], 0)} below today", DOWN),
    ):
        figure.add_hline(y=level, line={"color": colour, "width": 1.4, "dash": "dash"}, annotation_text=name,
                         annotation_position="top left", annotation_font_color=colour)  # fmt: skip
    figure.update_yaxes(title_text="Equity, USDT (log scale)", type="log", tickformat=",.0f", dtick=1)
    return dress(figure, height=380)


def _range(row: dict[str, Any]) -> str:
    return f"{percent(row['low'], 1)} to {percent(row['high'], 1)}"
