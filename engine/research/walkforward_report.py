"""A walk-forward as JSON, and what makes one doubt it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from engine.research.figures import DAYS_PER_YEAR, Stretch, ratios
from engine.research.report import formatted
from engine.research.wording import day, known

if TYPE_CHECKING:
    from engine.research.walkforward import Traded, WalkForwardResult


def _plain(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def _figures(result: WalkForwardResult, first: int, last: int, opening: float) -> dict[str, Any]:
    years = (last - first) * result.bars.interval_s / (DAYS_PER_YEAR * 86_400)
    found = ratios(result.bars, result.equity, Stretch(first, last, opening), years)
    final = float(result.equity[last - 1])
    totals = {"final_equity": final, "total_return": final / opening - 1.0 if opening > 0 else math.nan}
    return {name: _plain(value) for name, value in (totals | found).items()}


def _fold(result: WalkForwardResult, traded: Traded, opening: float) -> dict[str, Any]:
    fold, bars = traded.fold, result.bars
    figures = _figures(result, fold.first, fold.last, opening)
    return {
        "train_first_ts_ms": int(bars.ts_open[fold.train_first]) // 1_000_000,
        "train_last_ts_ms": int(bars.ts_close[fold.train_last - 1]) // 1_000_000,
        "first_ts_ms": int(bars.ts_open[fold.first]) // 1_000_000,
        "last_ts_ms": int(bars.ts_close[fold.last - 1]) // 1_000_000,
        "params": None if traded.member is None else traded.member.chosen,
        "in_sample_sharpe": _plain(traded.in_sample),
        "sharpe": figures["sharpe"], "total_return": figures["total_return"], "max_drawdown": figures["max_drawdown"],
        "fees": traded.fees, "n_fills": traded.n_fills, "carried_on": traded.carried_on,
    }  # fmt: skip


def doubts(result: WalkForwardResult, metrics: dict[str, Any], efficiency: float | None) -> list[str]:
    """Return the reasons to doubt a walk-forward."""
    found = []
    deflated = result.deflated["value"]
    if not deflated >= 0.95:
        told = "unknown" if math.isnan(deflated) else f"{deflated:.2f}"
        found.append(f"After {result.trials} trials its deflated Sharpe ratio is {told}, below 0.95.")
    if known(metrics["sharpe"]) and metrics["sharpe"] <= 0.0:
        found.append("What was chosen on the past did not earn on what followed.")
    idle = sum(1 for traded in result.traded if traded.member is not None and traded.n_fills == 0)
    if idle:
        found.append(f"Nothing was traded in {idle} of {len(result.traded)} folds: no signal, or a loss limit was hit.")
    if efficiency is not None and 0.0 < efficiency < 0.5:
        found.append(f"It kept {efficiency:.0%} of the Sharpe ratio that it was chosen for.")
    sets = {str(traded.member.chosen) for traded in result.traded if traded.member is not None}
    if len(result.traded) >= 4 and len(sets) > 0.75 * len(result.traded):
        found.append(f"{len(sets)} different sets were chosen in {len(result.traded)} folds: the choice is not stable.")
    if len(result.traded) < 4:
        found.append(f"Only {len(result.traded)} folds: little was traded on parameters from the past.")
    if result.config["funding"] is None:
        found.append("No funding was charged: give funding history to include it.")
    return found


def as_json(result: WalkForwardResult, max_points: int | None = None) -> dict[str, Any]:
    """Return the JSON that ``engine.research.walkforward`` describes."""
    first, last = result.traded[0].fold.first, result.traded[-1].fold.last
    folds, opening = [], result.cash
    for traded in result.traded:
        folds.append(_fold(result, traded, opening))
        opening = float(result.equity[traded.fold.last - 1])
    metrics = _figures(result, first, last, result.cash) | result.paid
    metrics["n_fills"] = sum(traded.n_fills for traded in result.traded)
    pairs = [(row["in_sample_sharpe"], row["sharpe"]) for row in folds if row["params"] is not None]
    usable = [pair for pair in pairs if None not in pair]
    promised = float(np.mean([pair[0] for pair in usable])) if usable else math.nan
    efficiency = float(np.mean([pair[1] for pair in usable])) / promised if promised > 0.0 else None
    every = 1 if max_points is None else max(1, math.ceil((last - first) / max_points))
    rows = np.unique(np.append(np.arange(first, last, every), last - 1))
    stamps = (result.bars.ts_close[rows] // 1_000_000).tolist()
    return {
        "kind": "walkforward",
        "config": result.config,
        "axes": [{"name": name, "values": values} for name, values in result.axes.items()],
        "folds": folds,
        "chosen": {
            name: [None if row["params"] is None else row["params"][name] for row in folds] for name in result.axes
        },
        "equity": [[ts, _plain(value)] for ts, value in zip(stamps, result.equity[rows].tolist(), strict=True)],
        "metrics": metrics,
        "n_trials": result.n_trials,
        "trials": result.trials,
        "deflated_sharpe": {name: _plain(value) for name, value in result.deflated.items()},
        "efficiency": efficiency,
        "doubts": doubts(result, metrics, efficiency),
        "reused": result.reused,
        "elapsed_s": result.elapsed_s,
    }


def print_walk_forward(result: WalkForwardResult, screen: Console) -> None:
    """Print what was chosen and traded in each fold, the whole, and what makes one doubt it."""
    answer = as_json(result, 2)
    shown = Table(title=f"{result.config['strategy']}: {len(answer['folds'])} folds, {answer['n_trials']:,} sets each")
    for name in ("Traded from", "to", *result.axes, "Sharpe chosen on", "Sharpe traded", "Return", "Drawdown", "Fees"):
        shown.add_column(name, justify="right", no_wrap=name in ("Traded from", "to"))
    for row in answer["folds"]:
        chosen = ["cash"] * len(result.axes) if row["params"] is None else [str(v) for v in row["params"].values()]
        shown.add_row(
            day(row["first_ts_ms"]), day(row["last_ts_ms"]), *chosen, formatted(row["in_sample_sharpe"], "ratio"),
            formatted(row["sharpe"], "ratio"), formatted(row["total_return"], "percent"),
            formatted(row["max_drawdown"], "percent"), formatted(row["fees"], "money"),
        )  # fmt: skip
    screen.print(shown)
    metrics = answer["metrics"]
    screen.print(
        f"Traded out of sample: equity {formatted(metrics['final_equity'], 'money')}, "
        f"{formatted(metrics['cagr'], 'percent')} a year, Sharpe {formatted(metrics['sharpe'], 'ratio')}, largest "
        f"drawdown {formatted(metrics['max_drawdown'], 'percent')}, fees {formatted(metrics['fees'], 'money')}"
    )
    deflated = formatted(answer["deflated_sharpe"]["value"], "ratio")
    screen.print(f"Trials on this data: {answer['trials']:,}; deflated Sharpe {deflated}")
    for sentence in answer["doubts"]:
        screen.print(f"- {sentence}", highlight=False)
