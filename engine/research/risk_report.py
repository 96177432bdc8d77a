"""What the trials of the risk control say: shares with intervals, what the control costs, tables. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from engine.domain import NS_PER_S
from engine.research.loading import BarTable
from engine.research.risk_shocks import Shock, listed
from engine.research.risk_trials import DAILY_LOSS_LIMIT, DRAWDOWN_LIMIT, Plan, Trial
from engine.settings import SystemConfig

GOAL = 0.01
"""Both shares must be below this."""

JUDGED = ("history", "path")
"""Kinds of trials that the goal is stated for; the shocks are shown beside them."""


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval of a share by Wilson (1927), 95 % by default; NaN without a trial.

    Examples
    --------
    >>> [round(bound, 4) for bound in wilson(0, 1000)]
    [0.0, 0.0038]
    """
    if n == 0:
        return math.nan, math.nan
    share, square = hits / n, z * z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _share(hits: int, n: int) -> dict[str, float]:
    low, high = wilson(hits, n)
    return {"hits": hits, "n": n, "share": hits / n if n else math.nan, "low": low, "high": high}


def group(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the figures of some trials."""
    falls = np.array([trial.drawdown for trial in trials])
    days, beyond = sum(trial.n_days for trial in trials), sum(trial.days_beyond for trial in trials)
    sharpes = np.array([trial.sharpe for trial in trials])
    return {
        "drawdown": _share(int((falls > DRAWDOWN_LIMIT).sum()), len(trials)),
        "days": _share(beyond, days),
        "drawdown_within": _share(sum(trial.drawdown_within > DRAWDOWN_LIMIT for trial in trials), len(trials)),
        "days_within": _share(sum(trial.days_beyond_within for trial in trials), days),
        "worst_drawdown_within": max((trial.drawdown_within for trial in trials), default=math.nan),
        "worst_day_within": max((trial.worst_day_within for trial in trials), default=math.nan),
        "paths_with_such_a_day": _share(sum(trial.days_beyond > 0 for trial in trials), len(trials)),
        "median_drawdown": float(np.median(falls)) if len(falls) else math.nan,
        "worst_drawdown": float(falls.max()) if len(falls) else math.nan,
        "worst_day": max((trial.worst_day for trial in trials), default=math.nan),
        "mean_growth": float(np.mean([trial.growth for trial in trials])) if trials else math.nan,
        "median_growth": float(np.median([trial.growth for trial in trials])) if trials else math.nan,
        "mean_sharpe": float(np.nanmean(sharpes)) if np.isfinite(sharpes).any() else math.nan,
        "mean_gross": float(np.mean([trial.gross for trial in trials])) if trials else math.nan,
    }


def summary(
    bars: BarTable, trials: Sequence[tuple[str, str, Trial]], shocks: Sequence[Shock], plan: Plan
) -> dict[str, Any]:
    """Return all figures as plain JSON; ``holds`` says whether both goals are met with the control on."""
    kinds = list(dict.fromkeys(kind for kind, _, _ in trials))
    groups = {
        kind: {
            control: group([trial for k, c, trial in trials if (k, c) == (kind, control)]) for control in ("on", "off")
        }
        for kind in kinds
    }
    whole = [(c, trial) for k, c, trial in trials if k == "history" and trial.symbols == bars.symbols]
    groups["history, all symbols"] = {c: group([trial for at, trial in whole if at == c]) for c in ("on", "off")}
    met = [
        groups[kind]["on"][goal]["share"] < GOAL for kind in JUDGED if kind in groups for goal in ("drawdown", "days")
    ]
    return {
        "symbols": list(bars.symbols), "first": _day(int(bars.ts_open[0])), "last": _day(int(bars.ts_open[-1])),
        "interval_s": bars.interval_s, "goal": GOAL, "drawdown_limit": DRAWDOWN_LIMIT,
        "daily_loss_limit": DAILY_LOSS_LIMIT, "plan": plan._asdict(), "groups": groups, "holds": bool(all(met)),
        "shocks": [listed(shock) for shock in shocks],
    }  # fmt: skip


def _day(ts: int) -> str:
    return datetime.fromtimestamp(ts / NS_PER_S, UTC).strftime("%Y-%m-%d")


def _percent(value: float, digits: int = 2) -> str:
    return "unknown" if math.isnan(value) else f"{value:.{digits}%}".replace("%", " %")


def _interval(share: dict[str, float]) -> str:
    return f"{_percent(share['share'])} ({_percent(share['low'])} to {_percent(share['high'])}) of {share['n']:,.0f}"


def page_lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures as Markdown."""
    plan = figures["plan"]
    lines = [
        "",
        f"{', '.join(figures['symbols'])}, {figures['first']} to {figures['last']}, bars of {figures['interval_s']} s, "
        f"seed {plan['seed']}, {figures.get('elapsed_s', math.nan):.0f} s. Windows of history overlap and subsets "
        "share symbols, so their intervals are too narrow; those of made-up paths are not.",
        "",
        *_measured_how(figures["interval_s"]),
        "",
        "| runs of one year | control | fell by more than 15 % | days that lost more than 5 % | runs with such a day | "
        "deepest fall | worst day | mean growth | median growth | mean Sharpe | mean gross |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, pair in figures["groups"].items():
        for control, found in pair.items():
            lines.append(
                f"| {kind} | {control} | {_interval(found['drawdown'])} | {_interval(found['days'])} | "
                f"{_percent(found['paths_with_such_a_day']['share'])} | {_percent(found['worst_drawdown'], 1)} | "
                f"{_percent(found['worst_day'], 1)} | {_percent(found['mean_growth'], 1)} | "
                f"{_percent(found['median_growth'], 1)} | {found['mean_sharpe']:.2f} | {found['mean_gross']:.2f} |"
            )
    lines += [
        "",
        f"Goal, below {_percent(figures['goal'], 0)} of runs and of days in history and in made-up paths: "
        f"**{'met' if figures['holds'] else 'missed'}**.",
        "",
        "| shock, in one year around it | gross before | account in that bar | deepest fall in the year | worst day | "
        "growth | control off: deepest fall | worst day | growth |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for shock in figures["shocks"]:
        on, off = shock["on"], shock["off"]
        numbers = (shock["move"], on["drawdown"], on["worst_day"], on["growth"])
        cells = [_percent(value, 1) for value in (*numbers, off["drawdown"], off["worst_day"], off["growth"])]
        lines.append(f"| {shock['name']} | {shock['gross']:.2f} | {' | '.join(cells)} |")
    return [*lines, "", *_within_table(figures), ""]


def _measured_how(interval_s: int) -> list[str]:
    """Say at which moments losses were looked at and decisions made, and that the engine decides at others."""
    decides = SystemConfig().decision_interval
    return [
        f"Decisions are made and losses are measured at bar closes, every {interval_s} s. The engine's default is to "
        f"decide every {decides} (`decision_interval`), and between decisions it looks at the loss limits once a "
        "second: neither is measured here. What the same runs lost within bars stands below the shocks.",
    ]


def _within_table(figures: dict[str, Any]) -> list[str]:
    lines = [
        "Within bars, as if every symbol were at its worst for the book at once, which is worse than it was, and "
        "as if the control did not react before the bar's close:",
        "",
        "| runs of one year | control | fell by more than 15 % | days that lost more than 5 % | deepest fall | "
        "worst day |",
        "|---|---|---|---|---|---|",
    ]
    for kind, pair in figures["groups"].items():
        for control, found in pair.items():
            lines.append(
                f"| {kind} | {control} | {_interval(found['drawdown_within'])} | {_interval(found['days_within'])} | "
                f"{_percent(found['worst_drawdown_within'], 1)} | {_percent(found['worst_day_within'], 1)} |"
            )
    return lines


def report_lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures for a terminal."""
    lines = _measured_how(figures["interval_s"])
    for kind, pair in figures["groups"].items():
        for control, found in pair.items():
            lines += [
                f"{kind}, control {control}",
                f"  fell by more than 15 %  {_interval(found['drawdown'])}; deepest {found['worst_drawdown']:.1%}",
                f"  days that lost over 5 %  {_interval(found['days'])}; worst {found['worst_day']:.1%}",
                f"  within bars: {_interval(found['drawdown_within'])} fell by more than 15 %, deepest "
                f"{found['worst_drawdown_within']:.1%}; worst day {found['worst_day_within']:.1%}",
                f"  growth {found['mean_growth']:+.1%} mean, {found['median_growth']:+.1%} median; "
                f"Sharpe {found['mean_sharpe']:.2f}; gross {found['mean_gross']:.2f}",
            ]
    for shock in figures["shocks"]:
        on, off = shock["on"], shock["off"]
        lines.append(
            f"{shock['name']}: gross {shock['gross']:.2f}, account {shock['move']:+.1%} in that bar, deepest fall "
            f"{on['drawdown']:.1%} (control off {off['drawdown']:.1%})"
        )
    return [*lines, f"Goal {'met' if figures['holds'] else 'missed'}: below {figures['goal']:.0%} of runs and of days."]
