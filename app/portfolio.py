"""What the Portfolio page says of the sleeves. Pure: the engine's answer in, rows, sentences and figures out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts import ACCENT, DOWN, MUTED, SECOND, UP, dress
from app.formats import moment, number, percent
from app.performance import utc_times
from app.tables import Column

RUNNING = "running"
SENTENCES = {
    "trend": "follows each coin's own moves over days and weeks",
    "momentum": "holds what rose more than the rest against what rose less",
    "carry": "is short where longs pay most, long where they pay least",
    "reversal": "leans against a coin's own move of a day while the market is calm",
    "models": "follows what the trained models and agents say",
    "tail": "goes short when the market breaks down, and rests otherwise",
    "basis": "holds spot against the perpetual; only in backtests that have both",
}
COLOURS = {
    "trend": ACCENT, "momentum": SECOND, "carry": UP, "reversal": DOWN, "models": "#b07cff", "tail": MUTED,
    "basis": "#3fc1d0",
}  # fmt: skip
NOW_COLUMNS = (
    Column("name", "Sleeve", "text", "", 110),
    Column("state", "State", "text", "Asleep: it has no wish, and costs no risk", 80),
    Column("share", "Multiplier, ×", "number", "What its own book is multiplied by in the portfolio", 95),
    Column("gross", "Gross, ×", "number", "Gross weight of its part, × equity; parts may cancel", 85),
    Column("earned", "Earned", "percent", "Its part's return, net of funding and of 6 bp of what it trades", 85),
    Column("what", "What it does", "text", "", 380),
)
EVIDENCE_COLUMNS = (
    Column("name", "Sleeve", "text", "", 110),
    Column("sharpe", "Sharpe", "number", "Net, a year, of its own book", 75),
    Column("sharpe_after", "Last 30 %", "number", "Sharpe ratio of the last 30 % of the days alone", 85),
    Column("return_a_year", "Return a year", "percent", "Net, of its own book", 95),
    Column("contribution_a_year", "Contributed", "percent", "A year, by the multipliers it had", 95),
    Column("mean_share", "Mean multiplier", "number", "", 105),
    Column("last_share", "Last", "number", "Its multiplier at the end", 70),
)
OPTIMISER_COLUMNS = (
    Column("name", "Rule", "text", "", 210),
    Column("sharpe", "Sharpe", "number", "Net, a year, on days after those it was chosen on", 75),
    Column("cagr", "Growth a year", "percent", "", 100),
    Column("max_drawdown", "Drawdown", "percent", "", 85),
    Column("turnover", "Turnover a year, ×", "number", "", 120),
    Column("costs_a_year", "Costs a year", "percent", "Of trading between sleeves, at the cost stated above", 95),
)


def now_rows(answer: dict[str, Any]) -> pd.DataFrame:
    """Return the sleeves as they stand, one row each."""
    rows = [
        row | {"state": "awake" if row["awake"] else "asleep", "what": SENTENCES.get(row["name"], "")}
        for row in answer["sleeves"]
    ]
    return pd.DataFrame(rows)


def evidence_rows(report: dict[str, Any]) -> pd.DataFrame:
    """Return what each sleeve would have earned over the report's days."""
    return pd.DataFrame(report["evidence"]["sleeves"])


def optimiser_rows(report: dict[str, Any]) -> pd.DataFrame:
    """Return the optimisers' comparison, the control first; empty where there is none."""
    found = report["optimisers"]
    return pd.DataFrame(found["rows"] if found else [])


def now_caption(answer: dict[str, Any]) -> str:
    """Return over what the earned column sums."""
    return (
        f"Earned: over the newest {answer['decisions']} decisions, in the strategy's own account: the account's own "
        "result also has the gate, the band and what fills really cost."
    )


def progress_line(run_id: str, run: dict[str, Any], every_s: float) -> str:
    """Return how far a comparison is."""
    return f"{run_id} · {percent(run['progress'] or 0.0, 0)} done · asked every {every_s:g} s"


def ended_sentence(run: dict[str, Any] | None, report: dict[str, Any] | None) -> str:
    """Return what became of the newest comparison when it has no result; empty when it has one."""
    if run is None or run["status"] not in ("failed", "cancelled"):
        return ""
    below = " Below is the one before it." if report else ""
    when = f"begun {moment(run['ts_started'])} UTC"
    if run["status"] == "cancelled":
        return f"The newest comparison, {when}, was cancelled.{below}"
    return f"The newest comparison, {when}, failed: {run['error'] or 'no reason was given'}.{below}"


def learning_sentence(report: dict[str, Any]) -> str:
    """Return how much the sharing lost against the best fixed sleeve, and what is guaranteed."""
    found = report["evidence"]["learning"]
    if found is None:
        return "Too few days for adaptive sharing to have learned anything."
    return (
        f"Over {found['days']} days adaptive sharing lost {found['regret']:.1f} units more than the best fixed sleeve "
        f"({found['best']}) would have; at most {found['bound']:.1f} are possible, whatever happens. A unit is a day "
        "at six daily standard deviations."
    )


def optimiser_sentence(report: dict[str, Any]) -> str:
    """Return whether any optimiser is worth its trouble."""
    found = report["optimisers"]
    if found is None:
        return f"No comparison of optimisers: {report['why']}."
    verdict = (
        f"at equal volatility {found['best']} earned more than {found['control']}, and more than chance explains "
        "(95 %, the number tried counted)"
        if found["beats_control"]
        else f"none is shown to be better than {found['control']} at equal volatility (95 %, the number tried "
        f"counted); the best was {found['best']}"
    )
    shown, names = found["learned"]["adaptive_beats_equal"], ", ".join(found["learned"]["names"])
    sharing = (
        "" if shown is None
        else f" Over those ({names}) adaptive sharing {'is' if shown else 'is not'} shown to be better than equal "
        "weight; both rows leave the others out."
    )  # fmt: skip
    return (
        f"Chosen on {found['train_days']} days, held for the next {found['test_days']}, {found['folds']} times over: "
        f"{verdict}. The sleeves without a budget of their own are shared out as chosen, see above.{sharing}"
    )


def report_caption(report: dict[str, Any]) -> str:
    """Return what the report was made from."""
    funded = "with recorded funding" if report["funding"] else "without funding, so carry sleeps"
    return (
        f"From {report['days']} days of recorded hourly candles of {', '.join(report['symbols'])}, {funded}. "
        f"{cost_sentence(report)}"
    )


def cost_sentence(report: dict[str, Any]) -> str:
    """Return what trading was taken to cost, and where that is from."""
    rate = f"Trading costs {number(report['cost'] * 1e4, 2, 'bp')} of what is traded"
    own = report["costs"].removeprefix("own ")
    if own == report["costs"]:
        return f"{rate}, as assumed: there are too few fills of our own."
    kind = " These are fills of the practice exchange: real ones may be dearer." if own.endswith("paper") else ""
    return f"{rate}, by the fit to our own fills ({own}).{kind}"


def shares_figure(ts_ns: Any, shares: dict[str, Any]) -> go.Figure:
    """Draw the sleeves' multipliers through time as steps."""
    figure = go.Figure()
    times = utc_times(np.asarray(ts_ns, dtype=np.int64))
    for name, values in shares.items():
        figure.add_scatter(
            x=times, y=values, mode="lines", name=name, hovertemplate="%{y:.2f}",
            line={"color": COLOURS.get(name, MUTED), "width": 2, "shape": "hv"},
        )  # fmt: skip
    figure.update_yaxes(title_text="Multiplier, ×", rangemode="tozero")
    return dress(figure, height=260)


def live_shares(answer: dict[str, Any]) -> tuple[list[int], dict[str, list[float | None]]]:
    """Return the times and multipliers of the newest decisions, for ``shares_figure``."""
    names = [row["name"] for row in answer["sleeves"]]
    rows = answer["through_time"]
    return [row["ts"] for row in rows], {name: [row.get(name) for row in rows] for name in names}


def monthly(report: dict[str, Any], what: str) -> tuple[list[int], dict[str, list[float]]]:
    """Return months (ns) and values of each sleeve that takes part; ``what`` is shares or contributions."""
    table = report["evidence"][what]
    names = [row["name"] for row in report["evidence"]["sleeves"]]
    return [ts * 1_000_000 for ts in table["ts_ms"]], {name: table[name] for name in names}


def contributions_figure(report: dict[str, Any]) -> go.Figure:
    """Draw what every sleeve contributed each month, bars on one another."""
    months, values = monthly(report, "contributions")
    figure = go.Figure()
    times = utc_times(np.asarray(months, dtype=np.int64))
    for name, each in values.items():
        figure.add_bar(x=times, y=each, name=name, marker_color=COLOURS.get(name, MUTED), hovertemplate="%{y:.2%}")
    figure.update_layout(barmode="relative")
    figure.update_yaxes(title_text="Contributed, % of equity", tickformat=".1%")
    return dress(figure, height=260)


def best_sentence(report: dict[str, Any]) -> str:
    """Return the sleeve that contributed most and the one that cost most."""
    rows = sorted(report["evidence"]["sleeves"], key=lambda row: row["contribution_a_year"])
    if not rows:
        return ""
    return (
        f"Most came from {rows[-1]['name']}, {percent(rows[-1]['contribution_a_year'], 2)} a year; least from "
        f"{rows[0]['name']}, {percent(rows[0]['contribution_a_year'], 2)}."
    )
