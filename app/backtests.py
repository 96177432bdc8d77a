"""What the Backtest page asks for and how it reads the answer. Pure: the form's description, the config, the tables."""

from __future__ import annotations

from datetime import date
from typing import Any, NamedTuple

import pandas as pd

from app.formats import UNKNOWN, is_known, number, percent, signed_money, signed_percent
from app.performance import parsed
from app.tables import Column, Figure
from engine.domain import NS_PER_MS

STRATEGIES = {"trend": "Trend, several horizons", "ema-cross": "EMA cross, the yardstick", "file": "Python file"}
SOURCES = {"history": "Engine history", "path": "Path on disk"}
HISTORY_INTERVALS = ("1h", "1m")  # what the engine keeps; a file's own interval is read from it
FINISHED = frozenset({"done", "failed", "cancelled"})


class Parameter(NamedTuple):
    """One number or choice of a strategy, as the form shows it."""

    name: str
    label: str  # with its unit
    default: Any  # as the engine takes it
    scale: float = 1.0  # shown = stored x scale
    minimum: float | None = None  # as shown
    maximum: float | None = None  # as shown
    step: float | None = None  # as shown
    choices: tuple[str, ...] = ()
    meaning: str = ""


COSTS = (
    Parameter("fee", "Taker fee, bp", 0.0004, 1e4, 0.0, 100.0, 0.5, meaning="Of traded notional"),
    Parameter("slippage", "Slippage, bp", 0.0001, 1e4, 0.0, 100.0, 0.5, meaning="Fills are worse than the open"),
)
PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "trend": (
        Parameter("trend_horizons_hours", "Horizons, h", (4.0, 12.0, 36.0, 108.0), meaning="Hours, commas between"),
        Parameter("volatility_horizon_hours", "Vol memory, h", 24.0, 1, 0.1, 10_000.0, 1.0,
                  meaning="Memory of the volatility estimate, hours"),
        Parameter("volatility_target", "Vol target, %/y", 0.20, 100, 0.1, 200.0, 1.0,
                  meaning="Annualised volatility the book aims at"),
        Parameter("max_symbol_weight", "Symbol cap, ×", 0.5, 1, 0.01, 5.0, 0.1, meaning="One symbol's share of equity"),
        Parameter("max_gross_weight", "Gross cap, ×", 2.0, 1, 0.01, 10.0, 0.1, meaning="Sum of |weights|, × equity"),
        Parameter("rebalance_band", "Band, ×", 0.02, 1, 0.0, 0.5, 0.01,
                  meaning="Smallest change of weight that is traded, × equity"),
        Parameter("allow_short", "Shorts", True, meaning="Whether weights may be negative"),
    ),
    "ema-cross": (
        Parameter("fast", "Fast span, bars", 20, 1, 1, 10_000, 1, meaning="EMA alpha is 2 / (span + 1)"),
        Parameter("slow", "Slow span, bars", 100, 1, 2, 100_000, 1, meaning="No signal before this many bars"),
        Parameter("side", "Side", "long", choices=("long", "both"), meaning="Both: sells short on the opposite cross"),
        Parameter("gate", "Risk gate", "on", choices=("on", "off"), meaning="Off only to compare with other libraries"),
    ),
    "file": (),
}  # fmt: skip

RUN_COLUMNS = (
    Column("ts_started", "Started, UTC", "time"),
    Column("status", "Status"),
    Column("strategy", "Strategy"),
    Column("symbols", "Symbols"),
    Column("interval", "Bars"),
    Column("total_return", "Return, %", "signed_percent", "Whole run, after costs"),
    Column("sharpe", "Sharpe", "number", "Per year"),
    Column("max_drawdown", "Drawdown, %", "percent"),
    Column("deflated_sharpe", "Deflated Sharpe", "number", "Probability that the Sharpe ratio is above luck"),
    Column("n_trades", "Trades", "count"),
    Column("run_id", "Run"),
    Column("error", "Error"),
)
TRADE_COLUMNS = (
    Column("symbol", "Symbol"),
    Column("side", "Side"),
    Column("ts_entry", "Entry, UTC", "time"),
    Column("ts_exit", "Exit, UTC", "time"),
    Column("qty", "Quantity, base", "size"),
    Column("entry_px", "Entry, USDT", "price"),
    Column("exit_px", "Exit, USDT", "price"),
    Column("pnl", "PnL, USDT", "signed_money", "After fees"),
    Column("return", "Return, %", "signed_percent"),
    Column("fees", "Fees, USDT", "money"),
)
COST_COLUMNS = (
    Column("name", "Cost", "text", "", 160),
    Column("amount", "Amount, USDT", "cost_money", "Positive was paid, negative was received", 160),
)
METRIC_COLUMNS = (
    Column("name", "Measure", "text", "", 190),
    Column("whole", "Whole run", "figure"),
    Column("inside", "In sample", "figure"),
    Column("outside", "Out of sample", "figure"),
    Column("meaning", "Meaning", "text", "", 330),
)
_MS_BELOW = 10**15  # year 33658 in milliseconds, January 1970 in nanoseconds
_METRICS: tuple[tuple[str, str, str, str], ...] = (
    ("total_return", "Total return, %", "signed_percent", "After fees, slippage and funding"),
    ("cagr", "Growth, % a year", "signed_percent", "Compounded"),
    ("sharpe", "Sharpe ratio, per year", "number", "Mean return over its standard deviation"),
    ("sortino", "Sortino ratio, per year", "number", "Mean return over the deviation of losses"),
    ("calmar", "Calmar ratio, per year", "number", "Growth over the largest drawdown"),
    ("max_drawdown", "Largest drawdown, %", "percent", "Deepest fall from a peak"),
    ("cvar_95", "CVaR 95 %, per day", "percent", "Mean loss of the worst twentieth of days"),
    ("win_rate", "Win rate, % of trades", "percent", "Closed trades with a gain"),
    ("profit_factor", "Profit factor", "number", "Gains over losses of closed trades"),
    ("n_trades", "Trades", "count", "Closed round trips"),
    ("turnover", "Turnover, × equity a year", "number", "Traded notional over mean equity"),
    ("exposure", "Time in the market, %", "percent", "Share of bars with a position"),
    ("alpha_btc", "Alpha to Bitcoin, % a year", "signed_percent", "Return that Bitcoin's moves do not explain"),
    ("beta_btc", "Beta to Bitcoin", "number", "Share of Bitcoin's moves carried"),
)


def build_config(form: dict[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    """Return what ``run.start`` takes.

    Parameters
    ----------
    form : dict
        ``source, path, symbols, interval, strategy, file, start, end, cash`` as the widgets hold them.
    shown : dict
        Parameter name to its value in the unit of the form; text for a list.
    """
    specs = {spec.name: spec for spec in (*PARAMETERS[form["strategy"]], *COSTS)}
    params = {name: stored(specs[name], value) for name, value in shown.items() if name in specs}
    params.update(free_parameters(form.get("free") or "") if form["strategy"] == "file" else {})
    return {
        "source": form["source"], "path": (form["path"] or None) if form["source"] == "path" else None,
        "symbols": list(form["symbols"]), "interval": form["interval"],
        "strategy": form["file"] if form["strategy"] == "file" else form["strategy"], "params": params,
        "start": _day(form["start"]), "end": _day(form["end"]), "cash": float(form["cash"]),
    }  # fmt: skip


def missing(config: dict[str, Any]) -> str | None:
    """Return a sentence on what the form lacks, or None when it can be sent."""
    if config["source"] == "path" and not config["path"]:
        return "Give the path of a Parquet or CSV file, or of a folder of them."
    if config["source"] == "history" and not config["symbols"]:
        return "Choose at least one symbol."
    if not config["strategy"]:
        return "Give the path of the strategy's Python file."
    if config["start"] and config["end"] and config["start"] >= config["end"]:
        return "The start must be before the end."
    return None


def stored(spec: Parameter, shown: Any) -> Any:
    """Return a shown value in the engine's unit. In a list, a word that is no number stays: the engine says so."""
    if isinstance(spec.default, tuple):
        return number_list(str(shown))
    if isinstance(shown, bool) or not isinstance(shown, (int, float)) or spec.scale == 1:
        return shown
    # Rounded so that 5.0 % is 0.05 and not 0.05000000000000001.
    return round(shown / spec.scale, 12)


def number_list(text: str) -> list[float | str]:
    """Split text at commas and spaces into numbers; a word that is none stays as it was typed."""
    out: list[float | str] = []
    for word in text.replace(",", " ").split():
        try:
            out.append(float(word))
        except ValueError:
            out.append(word)
    return out


def free_parameters(text: str) -> dict[str, Any]:
    """Read ``name=value`` lines of a user's strategy; numbers become numbers."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        name, mark, value = line.partition("=")
        if mark and name.strip():
            found[name.strip()] = number_list(value)[0] if len(value.split()) == 1 else value.strip()
    return found


def run_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """Return backtests with what was asked and what came out, read from the JSON columns."""
    rows = []
    for run in runs[runs["kind"] == "backtest"].to_dict("records"):
        config, metrics = parsed(run["config"]), parsed(run["metrics"])
        rows.append({
            "run_id": run["run_id"], "status": run["status"], "ts_started": run["ts_started"],
            "strategy": config.get("strategy"), "symbols": " ".join(config.get("symbols") or []) or config.get("path"),
            "interval": config.get("interval"), "error": run["error"],
            **{name: metrics.get(name) for name in
               ("total_return", "sharpe", "max_drawdown", "deflated_sharpe", "n_trades")},
        })  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in RUN_COLUMNS])


def run_name(run: dict[str, Any]) -> str:
    """Return a short name of a run: strategy, symbols, id."""
    return f"{run['strategy']} · {run['symbols'] or '—'} · {run['run_id']}"


def metric_rows(result: dict[str, Any]) -> pd.DataFrame:
    """Return measures down and whole, in-sample and out-of-sample across; what the engine does not give is ``—``."""
    samples = _samples(result)
    rows = []
    for name, label, kind, meaning in _METRICS:
        values = [_written(sample.get(name), kind) for sample in samples]
        if any(value != UNKNOWN for value in values):
            rows.append((label, *values, meaning))
    return pd.DataFrame(rows, columns=[column.name for column in METRIC_COLUMNS])


def headline_figures(result: dict[str, Any]) -> list[Figure]:
    """Return the first numbers to look at, each with its out-of-sample value under it."""
    metrics, _, outside = _samples(result)
    names = {"total_return": "Return", "sharpe": "Sharpe, per year", "max_drawdown": "Largest drawdown",
             "n_trades": "Trades"}  # fmt: skip
    figures = [
        Figure(label, _written(metrics.get(name), kind), meaning, f"{_written(outside.get(name), kind)} out of sample")
        for name, label, kind, meaning in ((n, names[n], k, m) for n, _, k, m in _METRICS if n in names)
    ]
    final = number(metrics.get("final_equity"))
    return [*figures, Figure("Final equity, USDT", final, "After all costs", f"from {number(_cash(result))}")]


def cost_rows(metrics: dict[str, Any]) -> pd.DataFrame:
    """Return fees, slippage and funding, USDT; a credit is negative. The sum is unknown when a part is."""
    names = (("fees", "Fees"), ("slippage", "Slippage"), ("funding", "Funding"))
    rows = [(label, metrics.get(name)) for name, label in names]
    whole = sum(amount for _, amount in rows) if all(is_known(amount) for _, amount in rows) else None
    return pd.DataFrame([*rows, ("All costs", whole)], columns=["name", "amount"])


def trade_rows(result: dict[str, Any]) -> pd.DataFrame:
    """Return the trades as a table, with its columns also when there is none."""
    trades = pd.DataFrame(result.get("trades") or [])
    for name in ("ts_entry", "ts_exit"):
        if name in trades:
            times = pd.to_numeric(trades[name])
            # Written in milliseconds, as everything in a result's JSON; tables hold nanoseconds.
            trades[name] = times.where(times > _MS_BELOW, times * NS_PER_MS)
    return trades if len(trades) else pd.DataFrame(columns=[column.name for column in TRADE_COLUMNS])


def equity_rows(result: dict[str, Any]) -> pd.DataFrame:
    """Return the equity curve as ``ts_ms, equity``."""
    return pd.DataFrame(result["equity"], columns=["ts_ms", "equity"])


def comparison_rows(results: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return measures down and runs across, each cell the whole run's value with the out-of-sample one in brackets."""
    table = {"Measure (whole run, out of sample in brackets)": [label for _, label, _, _ in _METRICS]}
    for run_id, result in results.items():
        whole, _, outside = _samples(result)
        table[run_id] = [
            f"{_written(whole.get(name), kind)}  ({_written(outside.get(name), kind)})" for name, _, kind, _ in _METRICS
        ]
    return pd.DataFrame(table)


def canary_rows(result: dict[str, Any]) -> list[tuple[str, bool]]:
    """Return each canary's name in plain words and whether it passed."""
    return [(name.replace("_", " "), verdict == "pass") for name, verdict in (result.get("canaries") or {}).items()]


def luck_sentence(result: dict[str, Any]) -> str:
    """Say how much of the result may be luck: trials, deflated Sharpe ratio, probability of overfitting."""
    metrics, trials = result["metrics"], result.get("trials")
    parts = [f"{number(trials, 0)} trial{'' if trials == 1 else 's'} on this data"]
    deflated, pbo = metrics.get("deflated_sharpe"), metrics.get("pbo")
    parts.append(f"deflated Sharpe {number(deflated)}" if is_known(deflated) else "deflated Sharpe unknown")
    parts.append(f"probability of overfitting {percent(pbo, 0)}" if is_known(pbo)
                 else "probability of overfitting unknown (needs several trials)")  # fmt: skip
    return " · ".join(parts)


def _samples(result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    outside = result.get("out_of_sample") or {}
    inside = outside.get("in_sample") or result.get("in_sample") or {}
    return result["metrics"], inside.get("metrics", inside), outside.get("metrics", outside)


def _cash(result: dict[str, Any]) -> float | None:
    return (result.get("config") or {}).get("cash")


def _written(value: Any, kind: str) -> str:
    return {
        "signed_percent": signed_percent, "percent": percent, "number": number, "signed_money": signed_money,
        "count": lambda v: number(v, 0),
    }[kind](value)  # fmt: skip


def _day(value: date | None) -> str | None:
    return value.isoformat() if value else None
