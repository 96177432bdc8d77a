"""What a live or paper record shows of the goals, and where it is too short to say. Pure.

A goal counts as reached only when the whole 95 % interval lies on its good side, and as missed only when the whole
interval lies on the other. Everything between is "not enough evidence": a young record can look like anything.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8

DAYS_A_YEAR = 365.0
Z95 = 1.959964
MIN_DAYS = 20  # fewer daily returns say nothing about a ratio
LIMIT_DAYS = 90  # a limit that was not touched in fewer days has not been tried
UPTIME_DAYS = 7
LATENCY_DECISIONS = 1_000

SHARPE_GOAL = 2.0
UPTIME_GOAL = 0.999
LATENCY_GOAL_MS = 50.0
REACHED, MISSED, OPEN = "reached", "missed", "not enough evidence"


class Record(NamedTuple):
    """What was measured; NaN is unknown."""

    daily_return: F8  # (D,) simple, whole days
    max_drawdown: float
    worst_day: float  # loss, fraction, positive
    uptime: float  # share of minutes
    n_days: float  # length of the record
    latency_p99_ms: float
    n_decisions: int


def sharpe_interval(daily_return: F8) -> tuple[float, float, float]:
    """Return the annual Sharpe ratio with its 95 % interval; NaN with fewer than ``MIN_DAYS`` returns.

    SR = mean / std * sqrt(365); SE = sqrt((1 + SR_d^2 / 2) / D) * sqrt(365), with SR_d the daily ratio.

    Parameters
    ----------
    daily_return : (D,) float64

    Notes
    -----
    Source: Lo (2002), equation 9, for independent returns. Autocorrelated returns have a wider interval.
    """
    n = len(daily_return)
    spread = float(daily_return.std(ddof=1)) if n > 1 else 0.0
    if n < MIN_DAYS or not spread > 0.0:
        return math.nan, math.nan, math.nan
    ratio = float(daily_return.mean()) / spread
    error = math.sqrt((1.0 + 0.5 * ratio * ratio) / n)
    root = math.sqrt(DAYS_A_YEAR)
    return ratio * root, (ratio - Z95 * error) * root, (ratio + Z95 * error) * root


def growth_interval(daily_return: F8) -> tuple[float, float, float]:
    """Return the growth a year with its 95 % interval, from the mean daily log return; NaN with too few days."""
    n = len(daily_return)
    if n < MIN_DAYS or (daily_return <= -1.0).any():
        return math.nan, math.nan, math.nan
    logs = np.log1p(daily_return)
    mean, error = float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(n)
    return (
        math.expm1(mean * DAYS_A_YEAR),
        math.expm1((mean - Z95 * error) * DAYS_A_YEAR),
        math.expm1((mean + Z95 * error) * DAYS_A_YEAR),
    )


def target_rows(record: Record, annual_goal: float, max_drawdown: float, max_daily_loss: float) -> list[dict[str, Any]]:
    """Return a row a goal: ``name, unit, goal, measured, low, high, verdict, why``; None is unknown.

    Parameters
    ----------
    record : Record
    annual_goal : float
        Return a year, fraction.
    max_drawdown, max_daily_loss : float
        The limits, fractions.
    """
    days = f"{len(record.daily_return)} whole days"
    growth, sharpe = growth_interval(record.daily_return), sharpe_interval(record.daily_return)
    return [
        _estimate("annual return", "fraction", annual_goal, growth, days),
        _estimate("Sharpe ratio", "ratio", SHARPE_GOAL, sharpe, days),
        _limit("largest drawdown", max_drawdown, record.max_drawdown, record.n_days),
        _limit("worst day", max_daily_loss, record.worst_day, record.n_days),
        _measured("uptime", "fraction", UPTIME_GOAL, record.uptime, record.uptime >= UPTIME_GOAL,
                  record.n_days >= UPTIME_DAYS, f"{record.n_days:.1f} of {UPTIME_DAYS} days"),
        _measured("decision latency, p99", "ms", LATENCY_GOAL_MS, record.latency_p99_ms,
                  record.latency_p99_ms <= LATENCY_GOAL_MS, record.n_decisions >= LATENCY_DECISIONS,
                  f"{record.n_decisions} of {LATENCY_DECISIONS} decisions"),
    ]  # fmt: skip


def _estimate(name: str, unit: str, goal: float, found: tuple[float, float, float], why: str) -> dict[str, Any]:
    value, low, high = found
    verdict = REACHED if low >= goal else MISSED if high < goal else OPEN
    return _row(name, unit, goal, value, verdict, f"from {why}; the interval is of 95 %", low, high)


def _limit(name: str, limit: float, measured: float, n_days: float) -> dict[str, Any]:
    """A limit is missed the moment it is gone through, and held only once the record is long enough to have tried."""
    verdict = OPEN
    if measured > limit:
        verdict = MISSED
    elif measured == measured and n_days >= LIMIT_DAYS:
        verdict = REACHED
    return _row(name, "fraction", limit, measured, verdict, f"at most; {n_days:.1f} of {LIMIT_DAYS} days")


def _measured(
    name: str, unit: str, goal: float, measured: float, good: bool, enough: bool, why: str
) -> dict[str, Any]:  # fmt: skip
    verdict = OPEN if not enough or measured != measured else REACHED if good else MISSED
    return _row(name, unit, goal, measured, verdict, why)


def _row(
    name: str, unit: str, goal: float, measured: float, verdict: str, why: str, low: float = math.nan,
    high: float = math.nan,
) -> dict[str, Any]:  # fmt: skip
    return {
        "name": name, "unit": unit, "goal": goal, "measured": _plain(measured), "low": _plain(low),
        "high": _plain(high), "verdict": verdict, "why": why,
    }  # fmt: skip


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
