"""The evidence in numbers: figures with intervals and the spread over seeds, results after costs, and the goal."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8, NS_PER_DAY
from models.catalogue import BASE, entry_of
from models.earned import SURE_Z, evidence_of
from models.forecast import HORIZONS
from models.judging import ENSEMBLE, Judged, Walk
from models.tallies import COVERAGES, drawn_days, intervals, mean_tally, ratio
from models.trading import DAYS_PER_YEAR, Terms, Traded, traded

GOAL_ACCURACY, GOAL_SHARE = 0.55, 0.2
WARM_BARS = 2_000
"""Bars before the judged ones on which volatilities and trails settle."""

MIXED_SHARE = 0.5


class Court(NamedTuple):
    """What every wish is judged beside: the terms, the first judged bar, and what needs no model, by day."""

    terms: Terms
    first: int
    drawn: F8
    hold: F8  # (D,)
    trend: Traded


def _plain(value: Any) -> Any:
    """Return plain JSON types; NaN becomes None."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _spread(values: list[float]) -> float:
    """Return the standard deviation over seeds, NaN for one seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def forecast_figures(judged: list[Judged], drawn: F8) -> dict[str, list[dict[str, float]]]:
    """Return every figure by horizon: value, 95 % interval over redrawn days, standard deviation over seeds."""
    found = {}
    for name in judged[0].tallies:
        per_seed = [one.tallies[name] for one in judged]
        ratios = np.stack([ratio(tally) for tally in per_seed])
        found[name] = [
            {"value": each.value, "low": each.low, "high": each.high, "spread": _spread(list(ratios[:, h]))}
            for h, each in enumerate(intervals(mean_tally(per_seed), drawn))
        ]
    return found


def trading_figures(results: list[Traded], drawn: F8) -> dict[str, Any]:
    """Return what the wishes earned: means over seeds, and of the Sharpe ratio its spread and an interval by days.

    The interval is that of the value beside it, the mean over seeds of each one's ratio: in every redrawn history all
    seeds live through the same days, and their ratios are averaged. The ratio of the seeds' mean returns would be
    another number: holding all seeds at once spreads risk, and nobody does. Unknown if a seed never held anything.
    """
    days = np.stack([one.daily for one in results])  # (seeds, D)
    drawn = drawn[:, : days.shape[1]]
    count = drawn.sum(axis=1, keepdims=True)
    mean = drawn @ days.T / count  # (draws, seeds)
    variance = drawn @ np.square(days).T / count - mean**2
    redrawn = (mean / np.sqrt(np.maximum(variance, 1e-18))).mean(axis=1) * math.sqrt(DAYS_PER_YEAR)
    known = bool(np.all(np.any(days != 0.0, axis=1)))
    found: dict[str, Any] = {
        name: float(np.mean([getattr(one, name) for one in results]))
        for name in ("growth", "drawdown", "turnover", "exposure", "costs")
    }
    sharpes = [one.sharpe for one in results]
    found["sharpe"] = {
        "value": float(np.mean(sharpes)) if known else math.nan,
        "low": float(np.percentile(redrawn, 2.5)) if known else math.nan,
        "high": float(np.percentile(redrawn, 97.5)) if known else math.nan,
        "spread": _spread(sharpes),
    }
    return found


def _terms_of(terms: Terms, rows: slice) -> tuple[Terms, int]:
    """Return the terms on the judged bars and those that warm up, and the first judged bar there."""
    start = max(rows.start - WARM_BARS, 0)
    part = {
        name: column[start : rows.stop] if len(column) > rows.stop - start else column
        for name, column in terms.bars._asdict().items()
    }
    return terms._replace(bars=terms.bars._replace(**part)), rows.start - start


def _trade(wish: F8, terms: Terms, first: int, share: float | F8) -> Traded:
    whole = np.zeros((len(terms.bars.ts_close), wish.shape[1]))
    whole[first:] = wish
    if isinstance(share, np.ndarray):
        share = np.concatenate([np.zeros(first), share])
    return traded(whole, terms, first, share)


def evidence(plan: Walk, found: dict[str, list[Judged]], failed: dict[str, str], terms: Terms) -> dict[str, Any]:
    """Return everything that is known about each learner, the ensemble, and the rule that they must beat.

    Parameters
    ----------
    plan : Walk
    found : dict of name to list of Judged
        One for each seed.
    failed : dict of name to str
        Learners that did not get through, and why: they stay in the table.
    terms : Terms
        Of all bars of the data, of which the plan's rows are judged.

    Returns
    -------
    dict
        Plain JSON types; unknown is None.
    """
    short, first = _terms_of(terms, plan.rows)
    n_days = max((len(judged[0].tallies["accuracy"][0]) for judged in found.values() if judged[0].tallies), default=2)
    drawn = drawn_days(n_days)
    nothing = np.zeros((plan.rows.stop - plan.rows.start, terms.bars.close_px.shape[1]))
    trend = _trade(nothing, short, first, 0.0)
    court = Court(short, first, drawn, _trade(np.ones(nothing.shape), short, first, 1.0).daily, trend)
    models = [_row(plan, name, judged, court) for name, judged in found.items()]
    models += [
        {"name": name, "said": entry_of(name).said, "failed": why, "weight": _nothing()} for name, why in failed.items()
    ]
    blends = _blends(plan, found[ENSEMBLE], court) if ENSEMBLE in found else []
    _write_weights(models, found)
    return dict(_plain({
        "horizons": list(HORIZONS),
        "models": models,
        "trend": trading_figures([trend], drawn),
        "blends": blends,
        "goal": goal_of(models),
        "ensemble_weights": _weights_by_month(plan, found),
        "intervals": {"block_days": 7, "level": 0.95, "days": n_days},
    }))  # fmt: skip


def _nothing() -> dict[str, list[float]]:
    return {"mean": [0.0] * len(HORIZONS), "latest": [0.0] * len(HORIZONS)}


def _blends(plan: Walk, ensemble: list[Judged], court: Court) -> list[dict[str, Any]]:
    """Return the rows of the rule with the ensemble beside it: by evidence, as the engine does, and half each."""
    ts_close = court.terms.bars.ts_close[court.first :]
    shares = [shares_by_month(plan, ts_close, _daily(one, court), court) for one in ensemble]
    months = [step.test.stop - step.test.start for step in plan.steps]
    by_evidence = [
        _trade(one.wish, court.terms, court.first, np.repeat(share, months))
        for one, share in zip(ensemble, shares, strict=True)
    ]
    halves = [_trade(one.wish, court.terms, court.first, MIXED_SHARE) for one in ensemble]
    by_month = np.mean(shares, axis=0)
    counted = {"by_month": by_month, "mean": by_month.mean(), "latest": by_month[-1], "most": by_month.max()}
    return [
        {"name": "trend + ensemble, share by evidence", "share": counted, **trading_figures(by_evidence, court.drawn)},
        {"name": "trend + ensemble, half each", **trading_figures(halves, court.drawn)},
    ]


def shares_by_month(plan: Walk, ts_close: np.ndarray, daily: F8, court: Court) -> F8:
    """Return the share (months,) that the days before each month had earned: no later day is looked at.

    Parameters
    ----------
    plan : Walk
    ts_close : (T',) int64 ns
        Of the judged bars.
    daily : (D,) float64
        What the wish alone earned, as ``models.trading.daily_returns`` gives it: from the second day on.
    court : Court
    """
    day = (ts_close - 1) // NS_PER_DAY
    days = np.unique(day)[1:]
    starts = np.cumsum([0, *(step.test.stop - step.test.start for step in plan.steps)])[:-1]
    known = [int(np.searchsorted(days, day[start])) for start in starts]
    return np.array([evidence_of(daily[:n], court.hold[:n], court.trend.daily[:n]).share for n in known])


def _daily(judged: Judged, court: Court) -> F8:
    return _trade(judged.wish, court.terms, court.first, 1.0).daily


def _earned(results: list[Traded], court: Court) -> dict[str, Any]:
    """Return what the whole walk is evidence of: the mean over seeds of each figure."""
    found = [evidence_of(one.daily, court.hold, court.trend.daily) for one in results]
    mean = {name: float(np.mean([getattr(one, name) for one in found])) for name in ("share", "excess", "error")}
    year = DAYS_PER_YEAR * np.array([mean["excess"], mean["error"]])
    return {"share": mean["share"], "days": found[0].n_days, "excess": {
        "value": year[0], "low": year[0] - SURE_Z * year[1], "high": year[0] + SURE_Z * year[1],
        "spread": _spread([DAYS_PER_YEAR * one.excess for one in found]),
    }}  # fmt: skip


def _row(plan: Walk, name: str, judged: list[Judged], court: Court) -> dict[str, Any]:
    results = [_trade(one.wish, court.terms, court.first, 1.0) for one in judged]
    row: dict[str, Any] = {
        "name": name,
        "said": "average by skill before each month" if name == ENSEMBLE else entry_of(name).said,
        "seeds": len(judged),
        "is_random": name == ENSEMBLE or entry_of(name).has_randomness,
        "trading": trading_figures(results, court.drawn),
        "earned": _earned(results, court),
    }
    if name != ENSEMBLE:
        row["seconds_a_month"] = plan.seconds_of(name)
        row["retrain_months"] = entry_of(name).retrain_months
        if entry_of(name).members:
            shares = {part: np.mean([one.weights[part] for one in judged], axis=0) for part in entry_of(name).members}
            row["member_weights"] = {"by_month": shares, "mean": {part: own.mean() for part, own in shares.items()}}
    if judged[0].tallies:
        row["figures"] = forecast_figures(judged, court.drawn)
        row["reliability"] = judged[0].reliability
    return row


def _write_weights(models: list[dict[str, Any]], found: dict[str, list[Judged]]) -> None:
    """Put into each forecaster's row what it counted in the ensemble, 0 for those that never did."""
    shares = [one.weights for one in found.get(ENSEMBLE, [])]
    for row in models:
        own = [weights[row["name"]] for weights in shares if row["name"] in weights]
        if own:
            row["weight"] = {
                "mean": np.mean([share.mean(axis=0) for share in own], axis=0),
                "latest": np.mean([share[-1] for share in own], axis=0),
            }


def _weights_by_month(plan: Walk, found: dict[str, list[Judged]]) -> dict[str, Any]:
    shares = [one.weights for one in found.get(ENSEMBLE, [])]
    if not shares:
        return {}
    mean = {name: np.mean([weights[name] for weights in shares], axis=0) for name in shares[0]}
    return {"months": [step.name for step in plan.steps], "share": mean}


def goal_of(models: list[dict[str, Any]]) -> dict[str, Any]:
    """Return who was right in more than 55 % of at least 20 % of the bars, and whose interval lies above 55 %.

    The share counts as 20 % from 19 % on, because thresholds come from the days before.
    """
    name_of_share = f"share_at_{100 * GOAL_SHARE:.0f}"
    reached, surely = [], []
    for row in models:
        figures = row.get("figures")
        if not figures or row["name"] == BASE:
            continue
        for h, horizon in enumerate(HORIZONS):
            right, share = figures[f"accuracy_at_{100 * GOAL_SHARE:.0f}"][h], figures[name_of_share][h]
            if share["value"] >= GOAL_SHARE - 0.01 and right["value"] > GOAL_ACCURACY:
                reached.append(f"{row['name']} at {horizon}")
                if right["low"] > GOAL_ACCURACY:
                    surely.append(f"{row['name']} at {horizon}")
    return {"accuracy": GOAL_ACCURACY, "share": GOAL_SHARE, "reached_by": reached, "surely_by": surely,
            "looked_at": len(COVERAGES[:1]) * len(HORIZONS) * sum("figures" in row for row in models)}  # fmt: skip
