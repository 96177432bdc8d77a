"""A backtest in the terminal: whole run and out-of-sample side by side, canaries, and what makes one doubt it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from engine.research.backtest import BacktestResult

_ROWS = (
    ("final_equity", "Final equity, USDT", "money"), ("total_return", "Total return", "percent"),
    ("cagr", "Growth a year", "percent"), ("sharpe", "Sharpe ratio", "ratio"), ("sortino", "Sortino ratio", "ratio"),
    ("calmar", "Calmar ratio", "ratio"), ("max_drawdown", "Largest drawdown", "percent"),
    ("cvar_95", "Mean loss, worst 5 % of periods", "percent"), ("win_rate", "Winning trades", "percent"),
    ("profit_factor", "Profit factor", "ratio"), ("turnover", "Turnover, times equity a year", "ratio"),
    ("exposure", "Mean gross weight", "percent"), ("fees", "Fees, USDT", "money"),
    ("slippage", "Slippage, USDT", "money"), ("funding", "Funding paid, USDT", "money"),
    ("n_trades", "Closed trades", "count"), ("liquidations", "Liquidations", "count"),
    ("ambiguous_bars", "Ambiguous bars, taken against us", "count"),
    ("alpha_btc", "Alpha against BTC, a year", "percent"),
    ("beta_btc", "Beta against BTC", "ratio"), ("deflated_sharpe", "Deflated Sharpe, probability", "ratio"),
    ("pbo", "Probability of overfitting", "ratio"),
)  # fmt: skip


def formatted(value: float | int | None, kind: str) -> str:
    """Return a figure as text; a dash where it does not exist, which is not zero."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if kind == "percent":
        return f"{100 * value:,.2f} %"
    if math.isinf(value):
        return "never" if kind == "days" else "unlimited"
    return f"{value:,.0f}" if kind in ("count", "days") else f"{value:,.2f}"


def _panel_lines(result: BacktestResult) -> list[str]:
    """Return the honesty panel in a few lines; what was not computed is left out."""
    panel, lines = result.honesty, []
    deflated, record, pbo = panel["deflated_sharpe"], panel["min_track_record"], panel["pbo"]
    lines.append(
        f"Skill: probabilistic Sharpe {formatted(panel['psr'], 'ratio')}, deflated "
        f"{formatted(deflated['value'], 'ratio')} after {deflated['trials']} trials (luck alone: Sharpe "
        f"{formatted(deflated['expected_max_sharpe'], 'ratio')}); overfitting "
        + (formatted(pbo["value"], "ratio") if pbo["value"] is not None else f"unknown, {pbo['why']}")
        + f"; record {record['have_days']:,.0f} days, needed {formatted(record['needed_days'], 'days')}"
    )
    walk, paths, risk = panel["walk_forward"], panel["cpcv"], panel["drawdown"]
    if walk:
        folds = ", ".join(formatted(fold["sharpe"], "ratio") for fold in walk["folds"])
        lines.append(f"Sharpe in {len(walk['folds'])} windows of time: {folds}")
    if paths:
        spread = " / ".join(formatted(paths[f"sharpe_{share}"], "ratio") for share in ("p5", "p50", "p95"))
        lines.append(f"Sharpe over {paths['paths']} {paths['of']}, 5 / 50 / 95 %: {spread}")
    if risk:
        falls = " / ".join(formatted(risk[share], "percent") for share in ("p50", "p95", "p99"))
        lines.append(
            f"Drawdown of runs redrawn from its own days, 50 / 95 / 99 %: {falls}; above 15 % in "
            f"{formatted(risk['p_over_15'], 'percent')}"
        )
    if panel["outlook"]:
        ahead = panel["outlook"]
        told = "; ".join(
            f"{word} {formatted(ahead[name]['low'], kind)} to {formatted(ahead[name]['high'], kind)}"
            for name, word, kind in (("sharpe", "Sharpe", "ratio"), ("cagr", "growth", "percent"),
                                     ("max_drawdown", "drawdown", "percent"), ("volatility", "volatility", "percent"))
        )  # fmt: skip
        lines.append(f"The next {ahead['days']} days, with {ahead['level']:.0%} probability: {told}")
    for row in [*(panel["stress"] or ()), *(panel["comparison"] or ())]:
        told = "; ".join(
            f"{word} {formatted(row[name], kind)}"
            for name, word, kind in (("cagr", "a year", "percent"), ("sharpe", "Sharpe", "ratio"),
                                     ("max_drawdown", "drawdown", "percent"))
        )  # fmt: skip
        lines.append(f"{row['name']}: {row.get('why') or told}")
    return lines


def print_table(result: BacktestResult, console: Console | None = None) -> None:
    """Print the report."""
    screen = console or Console()
    config = result.config
    first, last = (datetime.fromtimestamp(config[key] / 1000, UTC) for key in ("first_ts_ms", "last_ts_ms"))
    table = Table(title=f"{config['strategy']}  {', '.join(config['symbols'])}  {first:%Y-%m-%d} to {last:%Y-%m-%d}")
    table.add_column("Figure")
    table.add_column("Whole run", justify="right")
    intervals = result.honesty["intervals"] or {}
    level = next((found["level"] for found in intervals.values()), 0.0)
    if intervals:
        table.add_column(f"{level:.0%} interval".replace("%", " %"), justify="right")
    table.add_column("Out of sample", justify="right")
    for key, label, kind in _ROWS:
        row = [label, formatted(result.metrics.get(key), kind)]
        if intervals:
            found = intervals.get(key)
            row.append(f"{formatted(found['low'], kind)} to {formatted(found['high'], kind)}" if found else "")
        table.add_row(*row, formatted(result.out_of_sample.get(key), kind))
    screen.print(table)
    screen.print(
        f"{config['bars']:,} bars in {1000 * result.elapsed_s:,.1f} ms; trials on this data: {result.trials}; "
        + ", ".join(f"canary {name}: {verdict}" for name, verdict in result.canaries.items())
    )
    for line in _panel_lines(result):
        screen.print(line)
    against = (
        "Not to be promoted:" if result.honesty["barred"] else "Speaks against real money, but nothing forbids it:"
    )
    screen.print("May be promoted." if result.honesty["promotable"] else against)
    for sentence in result.honesty["blockers"]:  # the rest is for a person to weigh
        enforced = " (The capital ladder enforces this.)" if sentence in result.honesty["barred"] else ""
        screen.print(f"- {sentence}{enforced}")
    screen.print("What would make one doubt this:")
    for sentence in result.honesty["critique"]:
        screen.print(f"- {sentence}")
