"""How the Goal page reads the engine's answer. Pure: JSON in, tables, figures and sentences out."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.backtests import WITH_EQUITY
from app.charts import ACCENT, DOWN, MUTED, UP, dress
from app.formats import UNKNOWN, is_known, number, percent
from app.performance import utc_times
from app.tables import Figure
from engine.domain import NS_PER_MS

SEED_DATE = date(2026, 12, 31)
ACCOUNT = "account"
SMALLEST_SHOWN = 0.001  # less is never written as 0 %


def first_date(today: date) -> date:
    """Return the date the form begins with: the first goal's while it is ahead, else a year from today."""
    return SEED_DATE if today < SEED_DATE else today + timedelta(days=365)


def source_names(runs: pd.DataFrame, rows: pd.DataFrame) -> dict[str, str]:
    """Return what a record can be taken from: the account, then every finished run that has an equity curve."""
    names = {ACCOUNT: "This account"}
    if len(runs):
        for run in rows[(rows["status"] == "done") & rows["kind"].isin(WITH_EQUITY)].to_dict("records"):
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
        return ("not enough evidence", None) if row is None else (_short(row["words"]), _range(row))

    own = answer["required"]["record_sharpe"]
    return [
        Figure(f"Target within {limit} drawdown", chance("target_clean")[0],
               "Paths that reach the target by the date with no such drawdown before", chance("target_clean")[1]),
        Figure(f"Drawdown of {limit}", chance("breach")[0], "By the date, at a day's close", chance("breach")[1]),
        Figure(f"Loss of {loss}", chance("ruin")[0], "Of today's equity, by the date", chance("ruin")[1]),
        Figure("Net Sharpe needed, per year", number(even["sharpe"], 1), "For an even chance of no breach",
               f"this record: {number(own)}"),
    ]  # fmt: skip


def chance_table(answer: dict[str, Any]) -> dict[str, Any]:
    """Return every chance with its range over what the record may be, and the closed forms below them."""
    rows = [[row["label"], row["words"], _range(row)] for row in answer["probabilities"]]
    rows += [[row["label"], row["words"], "closed form, as a check"] for row in answer["closed_form"]]
    return {"columns": ["What", "Chance", "5 % to 95 % over what the record may be"], "rows": rows, "wide": [0]}


def required_table(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the net Sharpe ratio that would be required, for several chances of no breach."""
    rows = [
        [f"{percent(row['chance'], 0)} that the target comes before the drawdown", number(row["sharpe"], 1),
         percent(row["volatility"], 0), UNKNOWN if row["leverage"] is None else f"× {number(row['leverage'], 2)}"]
        for row in answer["required"]["rows"]
    ]  # fmt: skip
    columns = ["Chance", "Net Sharpe, per year", "Volatility allowed, a year", "Of this record's volatility"]
    return {"columns": columns, "rows": rows, "wide": [0]}


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
    """Draw the quantiles of equity until the date: above beside the goal, on a log scale, and below by themselves."""
    fan, goal = answer["fan"], answer["goal"]
    times = utc_times(pd.Series(fan["ts_ms"]) * NS_PER_MS)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.4, 0.6], vertical_spacing=0.05)
    for row in (1, 2):
        _fan(figure, times, fan["equity"], row)
    ends = [times[0], times[-1]]
    limit = goal["equity"] * (1 - goal["max_drawdown"])
    for level, name, colour, row in (
        (goal["target"], f"goal {number(goal['target'], 0)} USDT", UP, 1),
        (limit, f"{percent(goal['max_drawdown'], 0)} below today", DOWN, 2),
    ):
        figure.add_scatter(x=ends, y=[level, level], mode="lines", name=name, hoverinfo="skip", row=row, col=1,
                           line={"color": colour, "width": 1.5, "dash": "dash"})  # fmt: skip
    figure.update_yaxes(title_text="USDT, log scale", type="log", tickformat=",.0f", dtick=1, row=1, col=1)
    figure.update_yaxes(title_text="Equity, USDT", tickformat=",.0f", row=2, col=1)
    return dress(figure, height=430)


def _fan(figure: go.Figure, times: Any, quantiles: list[list[float]], row: int) -> None:
    low, lower, middle, upper, high = quantiles
    first = row == 1  # one legend entry for both panels
    for bottom, top, name, shade in (
        (low, high, "9 of 10 paths", "rgba(76, 141, 255, 0.16)"),
        (lower, upper, "every second path", "rgba(76, 141, 255, 0.30)"),
    ):
        figure.add_scatter(x=times, y=bottom, mode="lines", line={"width": 0}, showlegend=False, hoverinfo="skip",
                           row=row, col=1)  # fmt: skip
        figure.add_scatter(x=times, y=top, mode="lines", line={"width": 0}, fill="tonexty", fillcolor=shade, name=name,
                           hoverinfo="skip", showlegend=first, row=row, col=1)  # fmt: skip
    for values, name in ((high, "95 %"), (middle, "median"), (low, "5 %")):
        colour, width = (ACCENT, 2) if name == "median" else (MUTED, 1)
        figure.add_scatter(x=times, y=values, mode="lines", name=name, showlegend=first and name == "median",
                           line={"color": colour, "width": width}, hovertemplate="%{y:,.0f} USDT", row=row,
                           col=1)  # fmt: skip


def _range(row: dict[str, Any]) -> str:
    if row["high"] < SMALLEST_SHOWN:
        return f"below {percent(SMALLEST_SHOWN, 1)}"
    low = f"below {percent(SMALLEST_SHOWN, 1)}" if row["low"] < SMALLEST_SHOWN else percent(row["low"], 1)
    return f"{low} to {percent(row['high'], 1)}"


def _short(words: str) -> str:
    return words.replace("fewer than ", "< ").replace("more than ", "> ")
