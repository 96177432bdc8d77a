"""How the Risk page writes limits, exposures and objections: rows, figures and sentences. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts import DIVERGING, dress
from app.formats import UNKNOWN, age, is_known, moment, money, number, percent, plural, weight
from app.tables import Column, Figure, rule_name, rule_number, side_word, spoken
from engine.domain import NS_PER_S, Rule, Verdict

NEAR = 0.8  # share of a limit from which it is marked

GAUGE_COLUMNS = (
    Column("state", "State", "verdict", "", 78),
    Column("name", "Limit", "text", "", 140),
    Column("used", "Used", "bar", "Share of the limit that is used; 100 % is at the limit", 105),
    Column("measured", "Measured", "figure", "", 100),
    Column("limit", "Limit", "figure", "", 105),
    Column("left", "Headroom", "figure", "What is left until the limit", 100),
    Column("left_money", "USDT", "money", "The headroom as money; a dash where it is none, as of a volatility", 75),
    Column("where", "Where", "text", "The symbol or cluster nearest to the limit, or the whole book", 130),
)
EXPOSURE_COLUMNS = (
    Column("symbol", "Symbol", "text", "", 90),
    Column("side", "Side", "text", "", 60),
    Column("cluster", "Cluster", "text", "Symbols that the gate treats as moving together", 70),
    Column("qty", "Quantity, base", "qty"),
    Column("notional", "Notional, USDT", "amount", "Signed: positive is long"),
    Column("weight", "Weight, × equity", "weight"),
    Column("approved", "Approved, × equity", "weight", "What the newest decision wants to hold"),
    Column("stop_px", "Stop, USDT", "price", "The protective stop that rests on the exchange"),
    Column("stop_loss", "Lost until the stop, USDT", "money", "From now, when the stop fills at its price"),
    Column("liquidation_distance", "To liquidation", "figure", "Move of the mark until the venue closes it by force"),
)
CLUSTER_COLUMNS = (
    Column("name", "Cluster", "text", "", 70),
    Column("symbols", "Symbols", "text", "", "large"),
    Column("net", "Net, × equity", "weight"),
    Column("gross", "Gross, × equity", "number"),
)
OBJECTION_COLUMNS = (
    Column("verdict", "Verdict", "verdict", "", 85),
    Column("rule", "Rule", "text", "", 130),
    Column("symbol", "Symbol", "text", "", 95),
    Column("count", "Times", "count", "How often today", 65),
    Column("measured", "Measured", "figure", "At the newest of them", 125),
    Column("limit", "Limit", "figure", "What it was compared with", 125),
    Column("ts", "Newest, UTC", "time", "Close of the bar that was decided on", 160),
    Column("sentence", "Why", "text", "", "large"),
)
REFUSED_COLUMNS = (
    Column("ts", "When, UTC", "time", "", 160),
    Column("symbol", "Symbol", "text", "", 95),
    Column("side", "Side", "text", "", 60),
    Column("order", "Order", "text", "A ticket, an order worked by an algorithm, or a change of one", 130),
    Column("reason", "Why it was refused", "text", "", "large"),
)
TAIL_COLUMNS = (
    Column("method", "Method", "text", "", 190),
    Column("var_95", "VaR 95 %", "figure", "Loss of the next day that is exceeded on one day in twenty"),
    Column("es_95", "CVaR 95 %", "figure", "Mean loss of the worst twentieth of days"),
    Column("var_97.5", "VaR 97.5 %", "figure", "Exceeded on one day in forty"),
    Column("es_97.5", "CVaR 97.5 %", "figure", "Mean loss of the worst fortieth of days"),
    Column("var_99", "VaR 99 %", "figure", "Exceeded on one day in a hundred"),
    Column("es_99", "CVaR 99 %", "figure", "Mean loss of the worst hundredth of days"),
    Column("money", "CVaR 97.5 %, USDT", "money", "The same as money"),
)
METHODS = {
    "HISTORICAL": "Historical", "STUDENT_T": "Student-t", "FILTERED": "Filtered historical",
}  # fmt: skip
_NAMES = {
    "LIQUIDATION_DISTANCE": "Distance to liquidation", "STALE_DATA": "Age of the price",
    "LIQUIDATION": "Gross, for liquidation", "PARTICIPATION": "Added to a symbol an hour",
    "ORDER_RATE": "Orders a minute",
}  # fmt: skip
_WORDS = {Verdict.CLIP: "▾ clip", Verdict.REFUSE: "✕ refuse"}


def gauge(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one limit's row, empty when the engine does not know the limit."""
    return next((row for row in answer["gauges"] if row["name"] == name), {})


def headline(answer: dict[str, Any]) -> list[Figure]:
    """Return the figures at the top: what is left until each of the two stops, and how large the book is."""
    halt, day, totals = gauge(answer, "DRAWDOWN"), gauge(answer, "DAILY_LOSS"), answer["totals"]
    flat = not answer["exposures"]
    return [
        Figure("To halt", percent(halt.get("left")),
               "Further fall, of peak equity, at which everything is closed and trading halts",
               money(halt.get("left_money")) + _off(halt)),
        Figure("To today's stop", percent(day.get("left")),
               "Further loss today, of the day's opening equity, at which the book is flattened until tomorrow (UTC)",
               money(day.get("left_money")) + _off(day)),
        Figure("Drawdown now", percent(halt.get("measured")), "Fall from the peak of equity",
               f"limit {percent(halt.get('limit'))}"),
        Figure("Gross", number(totals["gross"], 3, "× equity"), "Sum of the positions' notionals, signs left out",
               "no position" if flat else f"leverage limit {number(gauge(answer, 'LEVERAGE').get('limit'), 2)}"),
        Figure("Net", f"{weight(totals['net'])} × equity", "Sum of the positions' notionals with their signs",
               plural(len(answer["exposures"]), "position")),
        Figure("Free margin", money(totals["free_margin"]), "What the venue lets open new positions",
               f"maintenance {money(totals['maintenance_margin'])}"),
    ]  # fmt: skip


def _off(row: dict[str, Any]) -> str:
    return "" if row.get("enforced", True) else " · not enforced"


def gauge_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return a row a limit, always in the same order, so that no row jumps away from the eye."""
    rows = [
        {
            "state": _state(row), "name": gauge_name(row["name"]),
            "used": min(row["used"], 1.0) if is_known(row["used"]) else np.nan,
            "measured": written(row, row["measured"]), "limit": written(row, row["limit"], limit=True),
            "left": written(row, row["left"]), "left_money": row["left_money"],
            "where": row["where"],
        }
        for row in answer["gauges"]
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in GAUGE_COLUMNS])


def guard_lines(answer: dict[str, Any]) -> list[str]:
    """Return a line a limit that says what it guards."""
    return [f"**{gauge_name(row['name'])}**: {row['sentence']}" for row in answer["gauges"]]


def _state(row: dict[str, Any]) -> str:
    if not row["enforced"]:
        return "○ off"
    if not is_known(row["used"]):
        return f"{UNKNOWN} unknown"
    if row["used"] >= 1.0 and row["source"] == "decision":
        return "▾ clipped"  # what was wished for; what is held is within
    return "▼ reached" if row["used"] >= 1.0 else "▾ near" if row["used"] >= NEAR else "▲ within"


def gauge_name(name: str) -> str:
    """Return a limit's name in plain words."""
    return _NAMES.get(name) or spoken(name)


def written(row: dict[str, Any], value: float | None, *, limit: bool = False) -> str:
    """Write a limit's number with its unit; a limit that is a least value says so."""
    if not is_known(value):
        return UNKNOWN
    unit = row["unit"]
    text = (
        _percent(value) if unit == "fraction"
        else f"{percent(value)} a year" if unit == "volatility"
        else number(value, 3, "× equity") if unit == "weight"
        else number(value, 1, "s") if unit == "s"
        else number(value, 0) if unit == "count"
        else number(value, 4)
    )  # fmt: skip
    return f"at least {text}" if limit and not row["at_most"] else text


def _percent(fraction: float) -> str:
    return percent(fraction) if fraction <= 1.0 else f"over {percent(1.0, 0)}"  # such as a liquidation far above


def exposure_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return a row a position, the largest first."""
    rows = pd.DataFrame(answer["exposures"], columns=[column.name for column in EXPOSURE_COLUMNS])
    rows["side"] = [side_word(row["qty"]) for row in answer["exposures"]]
    rows["cluster"] = rows["cluster"].fillna(UNKNOWN)
    rows["liquidation_distance"] = [_percent(v) if is_known(v) else UNKNOWN for v in rows["liquidation_distance"]]
    size = pd.to_numeric(rows["weight"], errors="coerce").abs()
    return rows.loc[size.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def cluster_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return a row a cluster that holds something."""
    rows = [row | {"symbols": ", ".join(row["symbols"])} for row in answer["clusters"] or []]
    return pd.DataFrame(rows, columns=[column.name for column in CLUSTER_COLUMNS])


def cluster_sentence(answer: dict[str, Any]) -> str:
    """Say what a cluster is, or why clusters are unknown."""
    found = answer["clustering"]
    if answer["clusters"] is None:
        return f"Clusters are unknown. {found['why']}"
    young = (
        f" Seen too briefly, so counted in full in every cluster: {', '.join(found['young'])}."
        if found["young"]
        else ""
    )
    return (
        f"The gate's own clusters: a chain of correlations of at least {number(found['threshold'], 2)} links them, in "
        f"its running estimate with a memory of {number(found['memory_hours'], 0)} h.{young}"
    )


def correlation_figure(answer: dict[str, Any]) -> go.Figure:
    """Draw the correlation map: one cell a pair, written and coloured from −1 to +1."""
    found = answer["correlation"]
    matrix = np.array(found["matrix"])
    text = [[f"{value:+.2f}".replace("-", "−") for value in row] for row in matrix]
    figure = go.Figure(go.Heatmap(
        z=matrix, x=found["symbols"], y=found["symbols"], text=text, texttemplate="%{text}", zmin=-1, zmax=1, zmid=0,
        colorscale=DIVERGING, xgap=2, ygap=2, textfont={"color": "#e6e9ef", "size": 11},
        colorbar={"title": {"text": "Correlation", "side": "right"}, "thickness": 10, "tickformat": "+.1f"},
        hovertemplate="%{y} with %{x}: %{z:+.3f}<extra></extra>",
    ))  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(side="top", showgrid=False)
    return dress(figure, height=70 + 40 * len(matrix), unified=False)


def correlation_caption(answer: dict[str, Any]) -> str:
    """Say what the map is made of and what it lacks."""
    found = answer["correlation"]
    missing = f" Without candles, and left out: {', '.join(found['missing'])}." if found["missing"] else ""
    return f"Of hourly log returns over the last {number(found['hours'], 0)} hours.{missing}"


def tail_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return a row a method: value at risk and expected shortfall of the next day at three levels."""
    rows = []
    for method, name in METHODS.items():
        row: dict[str, Any] = {"method": name, "money": np.nan}
        for found in answer["tail"]:
            if found["method"] == method:
                level = number(found["level"] * 100, 1).rstrip("0").rstrip(".")
                row[f"var_{level}"] = percent(found["value_at_risk"])
                row[f"es_{level}"] = percent(found["expected_shortfall"])
                if found["level"] == 0.975 and is_known(found["expected_shortfall"]) and is_known(answer["equity"]):
                    row["money"] = found["expected_shortfall"] * answer["equity"]
        rows.append(row)
    return pd.DataFrame(rows, columns=[column.name for column in TAIL_COLUMNS])


def tail_caption(answer: dict[str, Any]) -> str:
    """Say what the tail is of, from how many days, and what each method does."""
    n_days = answer["tail"][0]["n_days"]
    return (
        f"Loss of the next day (24 h), as a share of equity, if the book is held as it is; from "
        f"{number(n_days, 0)} days of hourly candles. Historical: the book on each past day. Student-t: today's "
        "volatility and the tail's thickness. Filtered historical: past days scaled to today's volatility. A dash: too "
        "few days for that level."
    )


def objection_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return a row for each rule, symbol and verdict of today, with the rule's own numbers and reason."""
    rows = []
    for row in answer["objections"]["rows"]:
        rule = Rule[row["rule"]]
        rows.append({
            "verdict": _WORDS[Verdict(row["verdict"])], "rule": rule_name(rule), "symbol": row["symbol"],
            "count": row["count"], "measured": rule_number(rule, row["measured"]),
            "limit": rule_number(rule, row["limit"]), "ts": row["ts"], "sentence": row["sentence"],
        })  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in OBJECTION_COLUMNS])


def objection_sentence(answer: dict[str, Any]) -> str:
    """Say how many decisions were made today and how many changes were only too small."""
    found = answer["objections"]
    if found["day"] is None:
        return "No decision yet, so no rule has been asked."
    return (
        f"{moment(found['day'])[:10]} (UTC): {number(found['decisions'], 0)} decisions. "
        f"{number(found['economy'], 0)} changes were too small to be worth their cost or rounded to the venue's lots; "
        "they are not listed."
    )


def refused_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return a person's orders that were refused today."""
    return pd.DataFrame(answer["refused"], columns=[column.name for column in REFUSED_COLUMNS])


def age_caption(answer: dict[str, Any], every_s: float) -> str:
    """Say how old the numbers are: those of now, and those that only a decision measures."""
    decided = answer["decided_ns"]
    newest = (
        "no decision yet"
        if decided is None
        else f"the newest decision is {age((answer['as_of_ns'] - decided) / NS_PER_S)} old"
    )
    wished = any(row["source"] == "decision" for row in answer["gauges"])
    meaning = " What only a decision measures is the wish before the rule; clipped: it was cut to the limit." * wished
    return f"As of {moment(answer['as_of_ns'])} UTC, asked every {every_s:g} s; {newest}.{meaning}"
