"""The goal's answer as plain JSON: probabilities and their uncertainty, what would be required, words for people."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from engine.domain import F8
from engine.errors import DataError
from engine.research.goal import (
    DAYS_PER_YEAR,
    FAN_LEVELS,
    FEWEST_INNER,
    INNER,
    MIN_RETURNS,
    MOST_STEPS,
    OUTER,
    SEED,
    Goal,
    Paths,
    block_length,
    p_first_passage,
    p_target_before_drawdown,
    p_terminal_unknown_mean,
    required_sharpe,
    simulate_paths,
)
from engine.research.overfitting import min_track_record
from engine.research.track_record import MS_PER_DAY, TrackRecord, day_text

SEED_TARGET, SEED_EQUITY, SEED_DATE, SEED_GROWTH = 1_000_000.0, 10_000.0, date(2026, 12, 31), 2.0
CHANCES = (0.5, 0.8, 0.95)
CENTURY_DAYS = 36_525
EXCEPTIONAL_SHARPE = 3.0  # what hardly any fund has held for years
FORMULA = (
    "Sharpe = (μ + σ²/2) / σ, with μ = ln(target / equity) / years, and σ the largest volatility for which the target "
    "comes before a drawdown of D with the stated chance: exp(−ln(target / equity) · x / (exp(x · D') − 1)), "
    "x = 2μ/σ², D' = −ln(1 − D)."
)


def default_date(today: date) -> date:
    """Return the first goal's date while it is ahead, else a year from today."""
    return SEED_DATE if today < SEED_DATE else date(today.year + 1, today.month, min(today.day, 28))


def days_until(by: str | date | None, today: date) -> tuple[date, int]:
    """Return the date and the whole days until it.

    Raises
    ------
    DataError
        Not a date, or not ahead.
    """
    try:
        when = default_date(today) if by is None else date.fromisoformat(by) if isinstance(by, str) else by
    except ValueError:
        raise DataError(f"{by!r} is not a date: write it as 2026-12-31.") from None
    if when <= today:
        raise DataError(f"{when} is not ahead of today, {today}: choose a later date.")
    return when, (when - today).days


def chance_words(count: int, paths: int) -> str:
    """Say a probability that was counted, never as 0 or 100 %.

    Examples
    --------
    >>> chance_words(0, 100_000), chance_words(25, 100_000), chance_words(31_000, 100_000)
    ('fewer than 1 in 100,000', 'about 1 in 4,000', '31.0 %')
    """
    if count == 0:
        return f"fewer than 1 in {paths:,}"
    if count == paths:
        return f"more than {paths - 1:,} in {paths:,}"
    share = count / paths
    if share < 0.001:
        return f"about 1 in {round(paths / count):,}"
    return f"{100 * share:.1f} %"


def tiny_words(p: float) -> str:
    """Say a probability from a formula; far below what can be counted it is written as 1 in 10^n."""
    if p >= 0.001:
        return f"{100 * p:.1f} %"
    if p < 1e-300:
        return "less than 1 in 10^300"
    exponent = -math.log10(p)
    return f"about 1 in {round(1 / p):,}" if exponent < 6 else f"about 1 in 10^{exponent:.0f}"


def goal_answer(
    record: TrackRecord, goal: Goal, now_ms: int, progress: Callable[[float], None] | None = None, *,
    outer: int = OUTER, seed: int = SEED,
) -> dict[str, Any]:  # fmt: skip
    """Return everything that the Goal page and the command line show.

    Parameters
    ----------
    record : TrackRecord
    goal : Goal
    now_ms : int
        Where the fan begins, ms since the epoch.
    """
    goal = goal.checked()
    evidence = _evidence(record)
    answer: dict[str, Any] = {
        "goal": goal._asdict() | {
            "by": day_text(now_ms + goal.days * MS_PER_DAY), "multiple": goal.target / goal.equity,
            "growth_per_year": _finite(_expm1(goal.log_multiple * DAYS_PER_YEAR / goal.days)),
            "years_at_seed_growth": goal.log_multiple / math.log1p(SEED_GROWTH),
        },
        "record": _record_figures(record, goal.leverage),
        "evidence": evidence,
        "required": _required(record, goal),
        "probabilities": [],
        "closed_form": [],
        "fan": None,
        "method": [],
    }  # fmt: skip
    if evidence["state"] != "none":
        steps = max(1, round(goal.days / record.step_days))
        inner = int(min(INNER, max(FEWEST_INNER, MOST_STEPS // (outer * steps))))
        paths = simulate_paths(record.returns, goal, steps, outer=outer, inner=inner, seed=seed, progress=progress)
        answer["probabilities"] = _probabilities(paths, goal)
        answer["closed_form"] = _closed_form(record, goal, steps)
        answer["fan"] = _fan(paths, record, now_ms)
        answer["method"] = _method(record, goal, outer, inner, seed)
    answer["words"] = _words(answer, goal)
    return answer


def _evidence(record: TrackRecord) -> dict[str, Any]:
    have = len(record.returns)
    days = have * record.step_days
    varied = have >= MIN_RETURNS and float(np.std(record.returns)) > 0
    if not varied:
        why = f"the record holds {have} daily returns" if have < MIN_RETURNS else "the record's equity never moved"
        sentence = f"Not enough evidence: {why}; at least {MIN_RETURNS} that vary are needed for any probability."
        return {"state": "none", "have_days": days, "needed_days": None, "sentence": sentence}
    needed = min_track_record(record.returns)
    needed_days = math.ceil(needed * record.step_days) if math.isfinite(needed) else None
    if needed_days is None:
        sentence = f"The record lost money or stood still over {days} days: no length of it would speak for skill."
        return {"state": "short", "have_days": days, "needed_days": None, "sentence": sentence}
    if needed > have:
        long = f"{needed_days:,} days" if needed_days <= CENTURY_DAYS else "more than a century"
        sentence = (
            f"Not enough evidence: {days} days, while a Sharpe ratio like this one needs {long} before it can be told "
            "from luck (95 %). The figures are what the record alone suggests."
        )
        return {"state": "short", "have_days": days, "needed_days": needed_days, "sentence": sentence}
    sentence = f"{days} days, and {needed_days:,} would do to tell this Sharpe ratio from zero (95 %)."
    return {"state": "enough", "have_days": days, "needed_days": needed_days, "sentence": sentence}


def _record_figures(record: TrackRecord, leverage: float) -> dict[str, Any]:
    returns = leverage * record.returns
    figures: dict[str, Any] = {
        "label": record.label, "kind": record.kind, "returns": len(returns), "step_days": record.step_days,
        "first_ts_ms": record.first_ts_ms or None, "last_ts_ms": record.last_ts_ms or None,
        "caveats": list(record.caveats), "mean": None, "volatility": None, "sharpe": None, "sharpe_interval": None,
    }  # fmt: skip
    if len(returns) >= MIN_RETURNS and float(np.std(returns)) > 0:
        mean, deviation, scale = float(np.mean(returns)), float(np.std(returns, ddof=1)), math.sqrt(record.per_year)
        sharpe, error = mean / deviation, _sharpe_error(returns)
        figures |= {
            "mean": mean * record.per_year, "volatility": deviation * scale, "sharpe": sharpe * scale,
            "sharpe_interval": [(sharpe - 1.645 * error) * scale, (sharpe + 1.645 * error) * scale],
        }  # fmt: skip
    return figures


def _sharpe_error(returns: F8) -> float:
    # Standard error of a Sharpe ratio of returns that are not normal: Mertens (2002).
    sharpe = float(np.mean(returns) / np.std(returns, ddof=1))
    scaled = (returns - np.mean(returns)) / np.std(returns)
    skew, kurtosis = float(np.mean(scaled**3)), float(np.mean(scaled**4))
    return math.sqrt(max(1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2, 1e-12) / (len(returns) - 1))


def _required(record: TrackRecord, goal: Goal) -> dict[str, Any]:
    figures = _record_figures(record, goal.leverage)
    own = figures["volatility"]
    rows = [required_sharpe(goal, chance) for chance in CHANCES]
    return {
        "rows": [row | {"leverage": None if not own else row["volatility"] / own} for row in rows],
        "formula": FORMULA,
        "record_sharpe": figures["sharpe"],
    }


def _probabilities(paths: Paths, goal: Goal) -> list[dict[str, Any]]:
    limit, loss = f"{goal.max_drawdown:.0%}", f"{goal.ruin_loss:.0%}"
    named = (
        ("target", "Reaching the target by the date", paths.reached),
        ("target_clean", f"Reaching it with no drawdown of {limit} on the way", paths.reached_clean),
        ("breach", f"A drawdown of {limit} or more by the date", paths.breached),
        ("ruin", f"Losing {loss} of today's equity by the date", paths.ruined),
    )
    rows = []
    for name, label, hits in named:
        by_record = hits.mean(axis=1)  # one probability for each record that might have been
        rows.append({
            "name": name, "label": label, "p": float(hits.mean()), "count": int(hits.sum()), "paths": int(hits.size),
            "low": float(np.quantile(by_record, 0.05)), "high": float(np.quantile(by_record, 0.95)),
            "words": chance_words(int(hits.sum()), int(hits.size)),
        })  # fmt: skip
    return rows


def _closed_form(record: TrackRecord, goal: Goal, steps: int) -> list[dict[str, Any]]:
    returns = goal.leverage * record.returns
    logs = np.log1p(np.maximum(returns, -0.9999))
    drift, volatility = float(np.mean(logs)) * record.per_year, float(np.std(logs, ddof=1)) * math.sqrt(record.per_year)
    years = goal.days / DAYS_PER_YEAR
    rows = (
        ("Above the target on the date, mean unknown (Student t)",
         p_terminal_unknown_mean(returns, goal.log_multiple, steps)),
        ("Touching the target by the date, were the record's mean the true one",
         p_first_passage(goal.log_multiple, drift, volatility, years)),
        (f"Reaching it some day before a drawdown of {goal.max_drawdown:.0%}, were the mean the true one",
         p_target_before_drawdown(goal.log_multiple, drift, volatility, goal.max_drawdown)),
    )  # fmt: skip
    return [{"label": label, "p": p, "words": tiny_words(p)} for label, p in rows]


def _fan(paths: Paths, record: TrackRecord, now_ms: int) -> dict[str, Any]:
    ts_ms = now_ms + paths.fan_steps * record.step_days * MS_PER_DAY
    return {
        "ts_ms": [int(value) for value in ts_ms],
        "levels": list(FAN_LEVELS),
        "equity": [[_finite(float(value)) for value in row] for row in paths.fan.T],
    }


def _method(record: TrackRecord, goal: Goal, outer: int, inner: int, seed: int) -> list[str]:
    return [
        f"{outer * inner:,} paths: {outer:,} times the record of {len(record.returns):,} returns is resampled in "
        f"blocks of {block_length(len(record.returns))} (circular block bootstrap), and each time {inner} futures are "
        "drawn from that resample. So the uncertainty of the mean and of the volatility is inside every figure. "
        f"Seed {seed}; the same question gets the same answer.",
        f"Leverage {goal.leverage:g}; equity is looked at once a day, so falls within a day are not seen. "
        "Deposits and withdrawals are no returns: they are taken out. No future day can be worse or better than the "
        "record's own days: what has not happened yet is missing here.",
        "The range beside a probability: its 5 % to 95 % over the resampled records.",
    ]


def _words(answer: dict[str, Any], goal: Goal) -> list[str]:
    lines = []
    needed, growth = answer["goal"], answer["goal"]["growth_per_year"]
    lines.append(
        f"From {goal.equity:,.0f} to {goal.target:,.0f} USDT by {needed['by']} is × {needed['multiple']:,.1f} in "
        f"{goal.days} days: " + (f"{growth:,.0%} a year." if growth is not None and growth < 1e6
                                 else "more than a million per cent a year.")
    )  # fmt: skip
    if needed["years_at_seed_growth"] * DAYS_PER_YEAR > goal.days * 1.05:
        lines.append(
            f"Even at 200 % a year, held without a break, it takes {needed['years_at_seed_growth']:.1f} years."
        )
    by_name = {row["name"]: row for row in answer["probabilities"]}
    if by_name:
        clean, breach, ruin = by_name["target_clean"], by_name["breach"], by_name["ruin"]
        lines.append(
            f"On this record the chance to get there within the {goal.max_drawdown:.0%} drawdown limit is "
            f"{clean['words']}" + (" paths: practically impossible." if clean["p"] < 0.001 else ".")
        )
        lines.append(
            f"A drawdown of {goal.max_drawdown:.0%} by then: {breach['words']}. "
            f"Losing {goal.ruin_loss:.0%} of the account: {ruin['words']}."
        )
    even = answer["required"]["rows"][0]
    own = answer["required"]["record_sharpe"]
    line = (
        f"For an even chance a net Sharpe ratio of {even['sharpe']:.1f} would be needed, at a volatility of "
        f"{even['volatility']:.0%} a year"
    )
    line += f"; this record has {own:.2f}." if own is not None else "."
    if even["sharpe"] > EXCEPTIONAL_SHARPE:
        line += f" A Sharpe ratio above {EXCEPTIONAL_SHARPE:g} over years is something hardly anybody has shown."
    return [*lines, line, answer["evidence"]["sentence"]]


def _expm1(value: float) -> float:
    return math.expm1(value) if value < 700 else math.inf


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def today_utc() -> date:
    """Return today's date in UTC."""
    return datetime.now(UTC).date()
