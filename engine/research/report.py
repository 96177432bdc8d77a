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
    ("n_trades", "Closed trades", "count"), ("alpha_btc", "Alpha against BTC, a year", "percent"),
    ("beta_btc", "Beta against BTC", "ratio"), ("deflated_sharpe", "Deflated Sharpe, probability", "ratio"),
    ("pbo", "Probability of overfitting", "ratio"),
)  # fmt: skip


def formatted(value: float | int | None, kind: str) -> str:
    """Return a figure as text; a dash where it does not exist, which is not zero."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if kind == "percent":
        return f"{100 * value:,.2f} %"
    return f"{value:,d}" if kind == "count" else f"{value:,.2f}"


def doubts(result: BacktestResult) -> list[str]:
    """Return the reasons to doubt a result that can be told from it alone."""
    found = []
    for name, verdict in result.canaries.items():
        if verdict == "fail":
            found.append(f"Canary {name} failed: the strategy sees the future or is not repeatable.")
    deflated = result.metrics["deflated_sharpe"]
    if deflated is None or math.isnan(deflated):
        found.append("Too little evidence for a deflated Sharpe ratio.")
    elif deflated < 0.95:
        found.append(f"After {result.trials} trials, skill is not established: deflated Sharpe {deflated:.2f} < 0.95.")
    days = (result.config["last_ts_ms"] - result.config["first_ts_ms"]) / 86_400_000
    if days < 365:
        found.append(f"The run spans {days:.0f} days; less than a year says little about drawdowns.")
    if result.config["funding"] is None:
        found.append("No funding was charged: give funding history to include it.")
    return found


def print_table(result: BacktestResult, console: Console | None = None) -> None:
    """Print the report."""
    screen = console or Console()
    config = result.config
    first, last = (datetime.fromtimestamp(config[key] / 1000, UTC) for key in ("first_ts_ms", "last_ts_ms"))
    table = Table(title=f"{config['strategy']}  {', '.join(config['symbols'])}  {first:%Y-%m-%d} to {last:%Y-%m-%d}")
    table.add_column("Figure")
    table.add_column("Whole run", justify="right")
    table.add_column("Out of sample", justify="right")
    for key, label, kind in _ROWS:
        late = formatted(result.out_of_sample.get(key), kind)
        table.add_row(label, formatted(result.metrics[key], kind), late)
    screen.print(table)
    screen.print(
        f"{config['bars']:,} bars in {1000 * result.elapsed_s:,.1f} ms; trials on this data: {result.trials}; "
        + ", ".join(f"canary {name}: {verdict}" for name, verdict in result.canaries.items())
    )
    for sentence in doubts(result):
        screen.print(f"- {sentence}")
