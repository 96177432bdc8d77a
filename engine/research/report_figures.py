"""The parts of a report that come straight from a result's own numbers: measures, curves, months, costs, trades."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.domain import RULE_SENTENCE, Rule
from engine.research import wording
from engine.research.report_parts import Cell, Chart, Line, Section, Table, missing
from engine.research.wording import UNKNOWN, known, number, percent, signed_percent, written

BLUE, RED, AMBER, GREY = "#3b7ddd", "#d64545", "#c98a1b", "#8b95a7"
MOST_POINTS = 900
MOST_TRADES = 400
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
HEAT = (0.01, 0.03, 0.07)  # month's returns at which the shade gets darker
RATE_NAMES = frozenset({"fee", "slippage", "maker_fee", "taker_fee", "spread"})
SETTING_NAMES = {
    "data": "Bars from", "cash": "Opening cash, USDT", "interval_s": "Bar, s", "first_ts_ms": "First bar opens",
    "last_ts_ms": "Last bar closes", "returns": "Ratios from returns", "dataset": "Fingerprint of the bars",
    "keep_ledger": "Counted as a trial", "lot_size": "Lot, base", "min_notional": "Smallest order, USDT",
    "trend_horizons_hours": "Trend horizons, h", "volatility_horizon_hours": "Volatility memory, h",
    "stop_pct": "Stop, fraction of entry", "take_pct": "Profit target, fraction of entry",
    "stop_gap": "Stop slips, share of the bar", "max_participation": "Most of a bar's volume, fraction",
    "spread_vol": "Half spread, times hourly volatility", "impact": "Impact factor", "latency_ms": "Latency, ms",
    "delay_bars": "Delay, bars", "maintenance_margin": "Maintenance margin, fraction",
    "liquidation_fee": "Liquidation fee, fraction", "maker_share": "Maker share, fraction",
    "volatility_target": "Volatility target, fraction a year", "panel": "Honesty panel",
    "max_daily_loss": "Daily loss limit, fraction", "max_total_drawdown": "Drawdown limit, fraction",
    "max_symbol_weight": "Symbol cap, times equity", "max_gross_weight": "Gross cap, times equity",
    "max_leverage": "Leverage limit, times equity", "rebalance_band": "Rebalance band, times equity",
    "ema_fast": "Fast EMA, bars", "ema_slow": "Slow EMA, bars", "gate": "Risk gate", "home": "Data folder",
}  # fmt: skip
MEASURES: tuple[tuple[str, str, str, str], ...] = (
    ("total_return", "Total return", "signed_percent", "After fees, slippage and funding"),
    ("cagr", "Growth a year", "signed_percent", "Compounded"),
    ("sharpe", "Sharpe ratio, per year", "ratio", "Mean return over its standard deviation"),
    ("sortino", "Sortino ratio, per year", "ratio", "Mean return over the deviation of losses"),
    ("calmar", "Calmar ratio, per year", "ratio", "Growth over the largest drawdown"),
    ("max_drawdown", "Largest drawdown", "percent", "Deepest fall from a peak"),
    ("cvar_95", "CVaR 95 %, per day", "percent", "Mean loss of the worst twentieth of days"),
    ("win_rate", "Winning trades", "percent", "Closed trades with a gain"),
    ("profit_factor", "Profit factor", "ratio", "Gains over losses of closed trades"),
    ("n_trades", "Closed trades", "count", "From flat to flat, or to a flip"),
    ("turnover", "Turnover, times equity a year", "ratio", "Traded notional over mean equity"),
    ("exposure", "Mean exposure", "percent", "Gross, of equity"),
    ("alpha_btc", "Alpha to Bitcoin, a year", "signed_percent", "Return that Bitcoin's moves do not explain"),
    ("beta_btc", "Beta to Bitcoin", "ratio", "Share of Bitcoin's moves carried"),
    ("liquidations", "Liquidations", "count", "Closed out by the venue: the margin no longer carried what was held"),
    ("ambiguous_bars", "Ambiguous bars", "count", "Order of prices inside the bar unknown: resolved against us"),
    ("final_equity", "Final equity, USDT", "ratio", "After all costs"),
)  # fmt: skip


def measures(result: dict[str, Any]) -> Section:
    """Return the measures: whole run, in sample, out of sample, and their interval where it is known."""
    whole, inside, outside = samples(result)
    intervals = (result.get("honesty") or {}).get("intervals") or {}
    rows: list[list[Cell]] = []
    for name, label, kind, meaning in MEASURES:
        if not any(known(sample.get(name)) for sample in (whole, inside, outside)):
            continue
        interval = intervals.get(name) or {}
        cells = [written(sample.get(name), kind) for sample in (whole, inside, outside)]
        rows.append([label, *cells, wording.between(interval.get("low"), interval.get("high"), kind), meaning])
    level = next((entry.get("level") for entry in intervals.values() if isinstance(entry, dict)), None)
    heading = f"{percent(level, 0)} interval" if known(level) else "Interval"
    table = Table("", ["Measure", "Whole run", "In sample", "Out of sample", heading, "Meaning"], rows, wide=(0, 5))
    words = [] if intervals else ["Intervals were not computed for this run."]
    return Section("measures", "Measures", words, [table])


def samples(result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the measures of the whole run, in sample and out of sample."""
    outside = result.get("out_of_sample") or {}
    inside = outside.get("in_sample") or result.get("in_sample") or {}
    return result.get("metrics") or {}, inside.get("metrics", inside), outside.get("metrics", outside)


def curves(result: dict[str, Any]) -> Section:
    """Return equity, drawdown and exposure over time."""
    points = [point for point in result.get("equity") or [] if known(point[1])]
    if len(points) < 2:
        return missing("curves", "Equity, drawdown and exposure")
    table = np.array(points, dtype=np.float64)
    split = (result.get("out_of_sample") or {}).get("first_ts_ms")
    positive = bool((table[:, 1] > 0).all())
    wide = positive and float(table[:, 1].max() / table[:, 1].min()) > 8
    falls = table[:, 1] / np.maximum(np.maximum.accumulate(table[:, 1]), 1e-12) - 1.0
    equity = Chart("Equity after all costs", "USDT" + (", log scale" if wide else ""),
                   [Line("equity", BLUE, thinned(table))], wide, split)  # fmt: skip
    drawdown = Chart("Drawdown from the peak", "%", [
        Line("drawdown", RED, thinned(np.column_stack([table[:, 0], 100 * falls])), True)], False, split)  # fmt: skip
    charts, words = [equity, drawdown], []
    exposure = [row for row in result.get("exposure") or [] if known(row[1]) and known(row[2])]
    if len(exposure) >= 2:
        rows = np.array(exposure, dtype=np.float64)
        charts.append(Chart("Exposure", "x equity", [
            Line("gross", BLUE, thinned(rows[:, [0, 1]])), Line("net", AMBER, thinned(rows[:, [0, 2]])),
        ], False, split))  # fmt: skip
    else:
        words.append("Exposure over time was not kept for this run.")
    return Section("curves", "Equity, drawdown and exposure", words, [], charts)


def thinned(table: np.ndarray, limit: int = MOST_POINTS) -> list[list[float]]:
    """Return at most about ``limit`` of (T, 2) points; the highest and lowest of each stretch survive."""
    if len(table) <= limit:
        return [[float(t), float(value)] for t, value in table]
    kept: set[int] = {0, len(table) - 1}
    for part in np.array_split(np.arange(len(table)), limit // 2):
        kept |= {int(part[table[part, 1].argmin()]), int(part[table[part, 1].argmax()])}
    return [[float(t), float(value)] for t, value in table[sorted(kept)]]


def months(result: dict[str, Any]) -> Section:
    """Return the table of monthly returns, the year's in the last column."""
    points = [point for point in result.get("equity") or [] if known(point[1]) and point[1] > 0]
    if len(points) < 2:
        return missing("months", "Returns by month")
    table = np.array(points, dtype=np.float64)
    # a value at midnight ends the day before
    stamps = (table[:, 0] - 1).astype("int64").astype("datetime64[ms]").astype("datetime64[M]")
    last = np.flatnonzero(np.append(stamps[1:] != stamps[:-1], True))
    cash = (result.get("config") or {}).get("cash")
    opening = float(cash) if known(cash) and cash > 0 else float(table[0, 1])
    ends = table[last, 1]
    returns = ends / np.concatenate([[opening], ends[:-1]]) - 1.0
    years: dict[int, dict[int, float]] = {}
    for month, value in zip(stamps[last].astype(int).tolist(), returns.tolist(), strict=True):
        years.setdefault(1970 + month // 12, {})[month % 12] = value
    rows: list[list[Cell]] = []
    for year, values in sorted(years.items(), reverse=True):
        whole = math.prod(1.0 + value for value in values.values()) - 1.0
        rows.append([str(year), *(_heat(values.get(month)) for month in range(12)), _heat(whole)])
    note = "Per cent, after all costs. The first and the last month may be incomplete."
    return Section("months", "Returns by month", [], [Table("", ["Year", *MONTHS, "Whole"], rows, note)])


def _heat(value: float | None) -> Cell:
    if value is None:
        return ""
    level = sum(abs(value) >= edge for edge in HEAT)
    text = number(100 * value, 1)
    return (text if value <= 0 else f"+{text}", f"{'g' if value > 0 else 'l'}{level}" if level else "")


def costs(result: dict[str, Any]) -> Section:
    """Return what trading cost, and how large that is beside the result."""
    metrics, config = result.get("metrics") or {}, result.get("config") or {}
    uncharged = "funding" in config and config["funding"] is None
    parts = {"Fees": metrics.get("fees"), "Slippage and impact": metrics.get("slippage"),
             "Funding": None if uncharged else metrics.get("funding")}  # fmt: skip
    paid = [value for value in parts.values() if known(value)]
    rows: list[list[Cell]] = [[name, number(value)] for name, value in parts.items()]
    rows.append(["All that is known", number(sum(paid)) if paid else UNKNOWN])
    words = ["Positive was paid, negative was received."]
    if str(config.get("costs") or "").startswith("own"):
        words.append(f"Fees, spread and impact are fitted to our own fills ({config['costs']}).")
    if uncharged:
        words.append("Funding was not charged: there was no history of rates. That is not the same as zero.")
    final, cash = metrics.get("final_equity"), config.get("cash")
    if known(final) and known(cash) and paid:
        gross = final - cash + sum(paid)
        if gross > 0:
            words.append(f"Costs took {percent(sum(paid) / gross, 0)} of what was earned before them.")
    return Section("costs", "Costs", words, [Table("", ["Cost", "USDT"], rows)])


def trades(result: dict[str, Any]) -> Section:
    """Return the closed trades, newest last; a long list is cut and says so."""
    found = result.get("trades") or []
    if not found:
        return Section("trades", "Trades", ["This run closed no trade."])
    rows: list[list[Cell]] = []
    for trade in found[-MOST_TRADES:]:
        pnl = trade.get("pnl_net", trade.get("pnl"))
        tone = "gain" if known(pnl) and pnl > 0 else "loss"
        rows.append([
            str(trade.get("symbol")), str(trade.get("side", "")), wording.minute(trade.get("ts_entry_ms")),
            wording.minute(trade.get("ts_exit_ms")), _px(trade.get("entry_px")), _px(trade.get("exit_px")),
            (number(pnl), tone), (signed_percent(trade.get("pnl_fraction", trade.get("return")), 2), tone),
            number(trade.get("fees")),
        ])  # fmt: skip
    columns = ["Symbol", "Side", "Entry, UTC", "Exit, UTC", "Entry, USDT", "Exit, USDT", "PnL, USDT", "Return", "Fees"]
    cut = f"The last {MOST_TRADES} of {len(found):,} closed trades." if len(found) > MOST_TRADES else ""
    return Section("trades", f"Trades ({len(found):,})", [], [Table("", columns, rows, cut, (0, 1))])


def _px(value: Any) -> str:
    return number(value, 2 if known(value) and abs(value) >= 100 else 4)


def gate(result: dict[str, Any]) -> Section:
    """Return how often each rule of the risk gate acted."""
    rules = result.get("rules")
    if not rules:
        return missing("gate", "Risk gate")
    rows: list[list[Cell]] = [
        [name.replace("_", " ").capitalize(), number(count.get("clip"), 0), number(count.get("refuse"), 0),
         str(count.get("sentence") or _rule_sentence(name))]
        for name, count in rules.items()
    ]  # fmt: skip
    table = Table("", ["Rule", "Clipped, times", "Refused, times", "What it guards"], rows, "", (0, 3))
    return Section("gate", "Risk gate", ["Every wish of the strategy passed these rules, as it would live."], [table])


def _rule_sentence(name: str) -> str:
    return next((RULE_SENTENCE[rule] for rule in Rule if rule.name.lower() == name), "")


def configuration(result: dict[str, Any]) -> Section:
    """Return every setting of the run and where its bars came from."""
    config = result.get("config") or {}
    params = config.get("params") or {}
    plain = {name: value for name, value in config.items() if name not in ("params", "json_out", "bars_in_memory")}
    rows: list[list[Cell]] = [
        [SETTING_NAMES.get(name, name.replace("_", " ").capitalize()), _setting(name, value)]
        for name, value in [*plain.items(), *params.items()]
    ]
    tables = [Table("", ["Setting", "Value"], rows, "", (0, 1))]
    provenance = result.get("provenance") or {}
    listed = provenance.items() if isinstance(provenance, dict) else ((str(p.get("symbol")), p) for p in provenance)
    sources: list[list[Cell]] = [
        [symbol, number(p.get("rows"), 0), wording.day(p.get("first_ts_ms")), wording.day(p.get("last_ts_ms")),
         str(p.get("sha256") or UNKNOWN)[:16], "; ".join(map(str, p.get("problems") or [])) or "none found"]
        for symbol, p in listed if isinstance(p, dict)
    ]  # fmt: skip
    words = []
    if sources:
        columns = ["Symbol", "Bars", "First", "Last", "SHA-256 begins", "Problems"]
        tables.append(Table("Where the bars came from", columns, sources, "", (0, 4, 5)))
    else:
        words.append("Provenance of the bars was not kept for this run.")
    return Section("configuration", "Configuration", words, tables)


def _setting(name: str, value: Any) -> str:
    if name.endswith("_ts_ms"):
        return f"{wording.minute(value)} UTC"
    if name in RATE_NAMES and known(value):
        return f"{number(1e4 * value, 2)} bp"
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not given" if value is None else str(value)
