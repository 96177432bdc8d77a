"""How the Backtest page reads runs and their results. Pure: the engine's JSON in, tables and sentences out."""

from __future__ import annotations

from typing import Any

import pandas as pd

from app.formats import number, percent, price_decimals, signed_money, signed_percent
from app.performance import parsed
from app.tables import Column, Figure
from engine.domain import NS_PER_MS

SHOWN_KINDS = ("backtest", "sweep", "walkforward")
WITH_EQUITY = ("backtest", "walkforward")
RESUMABLE = ("sweep", "walkforward")  # what they had finished is kept
COMPARED = 4  # curves on one chart
FINISHED = frozenset({"done", "failed", "cancelled", "discarded"})


RUN_COLUMNS = (
    Column("ts_started", "Started, UTC", "time"),
    Column("kind", "Kind"),
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
UNTOLD_SETTINGS = frozenset({"params", "json_out", "home", "keep_ledger", "bars", "first_ts_ms", "last_ts_ms"})
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
    ("exposure", "Mean exposure, % of equity", "percent", "Mean gross weight"),
    ("alpha_btc", "Alpha to Bitcoin, % a year", "signed_percent", "Return that Bitcoin's moves do not explain"),
    ("beta_btc", "Beta to Bitcoin", "number", "Share of Bitcoin's moves carried"),
)


def run_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """Return backtests with what was asked and what came out, read from the JSON columns."""
    rows = []
    for run in runs[runs["kind"].isin(SHOWN_KINDS)].to_dict("records"):
        config, metrics = parsed(run["config"]), parsed(run["metrics"])
        where = config.get("dataset") or config.get("path")
        rows.append({
            "run_id": run["run_id"], "kind": run["kind"], "status": run["status"], "ts_started": run["ts_started"],
            "strategy": config.get("strategy"), "symbols": short_symbols(config.get("symbols") or []) or where,
            "interval": config.get("interval"), "error": run["error"],
            **{name: metrics.get(name) for name in
               ("total_return", "sharpe", "max_drawdown", "deflated_sharpe", "n_trades")},
        })  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in RUN_COLUMNS])


def unfinished(runs: pd.DataFrame) -> list[str]:
    """Return the ids of the runs that this page shows and whose record names no end yet, in the order given."""
    return list(runs.loc[runs["kind"].isin(SHOWN_KINDS) & ~runs["status"].isin(FINISHED), "run_id"])


def short_symbols(symbols: list[str], most: int = 3) -> str:
    """Return a few names without their quote currency, and how many more there are."""
    named = " ".join(symbol.removesuffix("USDT") for symbol in symbols[:most])
    return f"{named} +{len(symbols) - most}" if len(symbols) > most else named


def run_name(run: dict[str, Any]) -> str:
    """Return a short name of a run: strategy, symbols, id."""
    return f"{run['strategy']} · {run['symbols'] or '—'} · {run['run_id']}"


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


def trade_rows(result: dict[str, Any]) -> pd.DataFrame:
    """Return the closed trades with times in ns, and the columns also when there is none."""
    trades = pd.DataFrame(result.get("trades") or []).rename(columns={"pnl_net": "pnl", "pnl_fraction": "return"})
    for name in ("ts_entry", "ts_exit"):
        if f"{name}_ms" in trades:
            trades[name] = trades.pop(f"{name}_ms").astype("int64") * NS_PER_MS
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


def difference_rows(results: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return the settings in which runs differ, one row each; empty when they are configured alike."""
    listed = {run_id: _settings(result) for run_id, result in results.items()}
    names = dict.fromkeys(name for settings in listed.values() for name in settings)
    rows = []
    for name in names:
        values = [settings.get(name, "not given") for settings in listed.values()]
        if len(set(values)) > 1:
            rows.append([name.replace("_", " "), *values])
    return pd.DataFrame(rows, columns=["Setting that differs", *listed])


def candle_window(trades: pd.DataFrame, last: int | None) -> tuple[int | None, int | None]:
    """Return the moments in ms between which the last trades lie, with a margin; None is the whole run."""
    if last is None or len(trades) <= last:
        return None, None
    shown = trades.sort_values("ts_exit").tail(last)
    start, end = int(shown["ts_entry"].min()) // NS_PER_MS, int(shown["ts_exit"].max()) // NS_PER_MS
    margin = max((end - start) // 20, 1)
    return start - margin, end + margin


def trades_between(trades: pd.DataFrame, symbol: str, start_ms: int | None, end_ms: int | None) -> pd.DataFrame:
    """Return one symbol's trades that lie inside a stretch."""
    own = trades[trades["symbol"] == symbol]
    if start_ms is None or end_ms is None:
        return own
    return own[(own["ts_entry"] >= start_ms * NS_PER_MS) & (own["ts_exit"] <= end_ms * NS_PER_MS)]


def price_decimals_of(candles: list[list[float]]) -> int:
    """Return how many decimals the price axis of candles needs."""
    return price_decimals(candles[-1][4]) if candles else 2


def _settings(result: dict[str, Any]) -> dict[str, str]:
    config = result.get("config") or {}
    flat = {name: value for name, value in config.items() if name not in UNTOLD_SETTINGS} | (config.get("params") or {})
    return {name: ", ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in flat.items()}


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
