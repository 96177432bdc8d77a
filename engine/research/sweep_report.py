"""A sweep as JSON, as sentences of doubt, and as a table in the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from engine.research.members import COLUMNS
from engine.research.report import formatted

if TYPE_CHECKING:
    from engine.research.sweep import SweepResult, SweepTable

MAX_LEFT_OUT = 20
SHOWN_ROWS = 15
_COLUMNS = (
    ("in_sample_sharpe", "Sharpe, first 70 %", "ratio"), ("out_of_sample_sharpe", "Sharpe, last 30 %", "ratio"),
    ("total_return", "Total return", "percent"), ("max_drawdown", "Largest drawdown", "percent"),
    ("fees", "Fees, USDT", "money"), ("n_trades", "Trades", "count"),
)  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def rows_of(table: SweepTable) -> list[dict[str, Any]]:
    """Return every member as plain JSON types."""
    counts = {"n_trades"}
    return [
        {"params": member.chosen}
        | {
            name: int(value) if name in counts and math.isfinite(value) else _plain(value)
            for name, value in zip(COLUMNS, figures.tolist(), strict=True)
        }
        | {"error": error}
        for member, figures, error in zip(table.grid.members, table.figures, table.errors, strict=True)
    ]


def heat_map(table: SweepTable, metric: str) -> dict[str, Any] | None:
    """Return a figure over the first two axes, the best over any others; None with one axis."""
    if len(table.grid.axes) < 2:
        return None
    (x, x_values), (y, y_values) = list(table.grid.axes.items())[:2]
    cells: list[list[float | None]] = [[None] * len(x_values) for _ in y_values]
    for member, value in zip(table.grid.members, table.column(metric).tolist(), strict=True):
        row, column = y_values.index(member.chosen[y]), x_values.index(member.chosen[x])
        before = cells[row][column]
        if math.isfinite(value) and (before is None or value > before):
            cells[row][column] = value
    return {"x": x, "y": y, "x_values": x_values, "y_values": y_values, "metric": metric, "values": cells}


def doubts(result: SweepResult) -> list[str]:
    """Return the reasons to doubt the best of a sweep."""
    table, best = result.table, result.best
    if best is None:
        return ["No parameter set has a figure to choose by, so there is no best one."]
    found = []
    deflated, pbo = result.selection["deflated_sharpe"]["value"], result.selection["pbo"]
    if not deflated >= 0.95:
        told = "unknown" if math.isnan(deflated) else f"{deflated:.2f}"
        found.append(f"The best of {result.trials} trials: its deflated Sharpe ratio is {told}, below 0.95.")
    if pbo["value"] is None:
        found.append(f"The probability of overfitting is unknown: {pbo['why']}.")
    elif pbo["value"] >= 0.5:
        found.append(
            f"Probability of overfitting {pbo['value']:.0%}: what is best in one half of the time is below the middle "
            "in the other more often than not."
        )
    late = float(table.column("out_of_sample_sharpe")[best])
    early = float(table.column("in_sample_sharpe")[best])
    if result.config["choose_by"] != "in_sample_sharpe":
        found.append(
            "It was chosen on the whole span, so nothing of it is out of sample. Choose by in_sample_sharpe to keep "
            "the last 30 % apart."
        )
    elif math.isnan(late):
        found.append("It has no Sharpe ratio in the 30 % after the choice: it held nothing there.")
    elif not late > 0.0 < early:
        found.append(f"Its Sharpe ratio is {early:.2f} where it was chosen and {late:.2f} in the 30 % after.")
    for name, values in table.grid.axes.items():
        if len(values) > 2 and table.grid.members[best].chosen[name] in (values[0], values[-1]):
            found.append(f"{name}={table.grid.members[best].chosen[name]} lies at the edge of what was tried.")
    failed = sum(1 for error in table.errors if error)
    if failed:
        found.append(f"{failed} parameter sets failed and have no figures.")
    return found


def as_json(result: SweepResult) -> dict[str, Any]:
    """Return the JSON that ``engine.research.sweep`` describes."""
    table, best = result.table, result.best
    rows = rows_of(table)
    left_out = table.grid.left_out
    told = left_out[:MAX_LEFT_OUT]
    if len(left_out) > MAX_LEFT_OUT:
        told = [*told, f"and {len(left_out) - MAX_LEFT_OUT} more"]
    deflated = result.selection["deflated_sharpe"]
    return {
        "kind": "sweep",
        "config": result.config,
        "axes": [{"name": name, "values": values} for name, values in table.grid.axes.items()],
        "rows": rows,
        "best": best,
        "best_row": None if best is None else rows[best],
        "n_trials": len(rows),
        "trials": result.trials,
        "deflated_sharpe": {name: _plain(value) for name, value in deflated.items()},
        "pbo": result.selection["pbo"],
        "heat_map": heat_map(table, result.config["choose_by"]),
        "left_out": told,
        "doubts": doubts(result),
        "reused": table.reused,
        "scan_s": table.scan_s,
        "elapsed_s": result.elapsed_s,
        "backend": result.backend,
    }


def print_sweep(result: SweepResult, screen: Console) -> None:
    """Print the best rows, the choice, and what makes one doubt it."""
    table, metric = result.table, result.config["choose_by"]
    values = np.where(np.isfinite(table.column(metric)), table.column(metric), -math.inf)
    order = np.argsort(-values, kind="stable")[:SHOWN_ROWS]
    shown = Table(title=f"{result.config['strategy']}: {len(values):,} parameter sets, best by {metric}")
    for name in (*table.grid.axes, *(label for _, label, _ in _COLUMNS)):
        shown.add_column(name, justify="right")
    for row in order.tolist():
        cells = [formatted(float(table.column(name)[row]), kind) for name, _, kind in _COLUMNS]
        shown.add_row(*(str(value) for value in table.grid.members[row].chosen.values()), *cells)
    screen.print(shown)
    deflated, pbo = result.selection["deflated_sharpe"], result.selection["pbo"]
    screen.print(
        f"Trials on this data: {result.trials:,}; deflated Sharpe of the best {formatted(deflated['value'], 'ratio')}; "
        f"probability of overfitting {formatted(pbo['value'], 'ratio')}; {1000 * table.scan_s:,.0f} ms on "
        f"{result.backend}, {table.reused:,} sets reused"
    )
    for sentence in [*doubts(result), *table.grid.left_out[:3]]:
        screen.print(f"- {sentence}", highlight=False)
