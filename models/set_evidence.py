"""What a training found out: each learner over seeds on the bars that judge it, what the set keeps, and its tables.

The figures, intervals and tables are those of the walk-forward (``models.evidence``); only the walk is another one: one
fit before all judged bars, members weighed anew every 30 days by the days before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.catalogue import BASE, ENTRIES
from models.conformal import adapted
from models.earned import TradingEvidence
from models.ensemble import Weights, combine, skill_of, weights_from
from models.evidence import evidence, forecast_figures
from models.evidence_report import printed
from models.evidence_walk import Block, blocks_of, usual_terms, walked, weighed_before
from models.forecast import HORIZONS, Learnable, Prediction
from models.judging import Judged, judged_forecasts, known_target
from models.scoring import INTERVALS
from models.sets import ENSEMBLE, EnsembleRecord
from models.tallies import drawn_days, mean_tally

INPUTS = ("funding", "basis", "imbalance")
"""What a panel may know besides candles."""

KEPT = (
    "skill", "accuracy", "accuracy_at_20", "share_at_20", "log_loss", "log_loss_gain", "ic",
    *(f"{how}_{100 * level:.0f}" for how in ("inside", "issued") for level in INTERVALS),
    "volatility_gain", "volatility_ic", "barrier_right", "barrier_gain",
)  # fmt: skip
"""Figures of a forecaster that a manifest keeps, by horizon; those of outcomes are of the longest horizon alone."""

JSON_FILE, TEXT_FILE = "evidence.json", "evidence.txt"

Metrics = dict[str, dict[str, float]]


class TrainingWalk(NamedTuple):
    """The judged bars of one training, see ``models.judging.Walk``."""

    rows: slice
    steps: tuple[Block, ...]

    def seconds_of(self, name: str) -> float | None:
        """Return None: what a step takes is measured for the whole training alone."""
        return None


class SetJudged(NamedTuple):
    """What the judged bars say of a set's forecasters."""

    record: EnsembleRecord
    found: dict[str, list[Judged]]  # by learner, one for each seed; the ensemble last
    metrics: dict[str, Metrics]  # the same in a manifest's form


def judged_set(data: Learnable, judged: slice, said: Mapping[str, Mapping[int, Prediction]], seed: int) -> SetJudged:
    """Judge every learner with each of its seeds, and the ensemble of each seed's members.

    Parameters
    ----------
    data : Learnable
    judged : slice
        Bars that nobody has learned from.
    said : mapping of name to mapping of seed to Prediction
        Forecasts of these bars, the base rate's among them; one seed where nothing is random.
    seed : int
        Of the learners that will be used: the adaptive intervals go on from where theirs ended.

    Returns
    -------
    SetJudged
        Weights follow the mean over seeds. Of trading results, which a lucky seed could carry, the ensemble keeps those
        of the seed in the middle: at least half of the seeds earned as much.
    """
    base = next(iter(said[BASE].values()))
    found = {
        name: [judged_forecasts(name, one, each, base, data, judged, {}) for one, each in seeds.items()]
        for name, seeds in said.items()
    }
    members = [name for name in said if name != BASE]
    seeds = sorted({one for name in members for one in said[name]} or {seed})
    found[ENSEMBLE] = [_ensemble(data, judged, said, found, one) for one in seeds]
    earned = [walked(data, judged, one.wish) for one in found[ENSEMBLE]]
    if not members:  # the base rate alone is no set that could trade
        earned = [TradingEvidence(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, earned[0].n_days)]
    metrics = {name: metrics_of(each) for name, each in found.items()}
    metrics[ENSEMBLE] |= earned_metrics(earned)
    skills = {name: skill_of(*mean_tally([one.tallies["skill"] for one in found[name]])) for name in members}
    weights = weights_from(skills)
    used = {name: said[name].get(seed, next(iter(said[name].values()))) for name in members}
    combined = combine(used, base, weights).prediction if used else base
    ts_close, ts_known = data.panel.ts_close[judged], data.ts_known[judged]
    _, tracker = adapted(combined.quantile, known_target(data, judged), ts_close, ts_known)
    inputs = tuple(name for name in INPUTS if np.isfinite(getattr(data.panel, name)).any())
    return SetJudged(EnsembleRecord(data.panel.symbols, weights, tracker, inputs), found, metrics)


def _ensemble(
    data: Learnable, judged: slice, said: Mapping[str, Mapping[int, Prediction]], found: dict[str, list[Judged]],
    seed: int,
) -> Judged:  # fmt: skip
    """Return the ensemble of one seed, with those that have one seed for all."""
    base = next(iter(said[BASE].values()))
    chosen = {name: seed if seed in said[name] else min(said[name]) for name in said if name != BASE}
    skills = {
        name: next(one.tallies["skill"] for one in found[name] if one.seed == own) for name, own in chosen.items()
    }
    members = {name: said[name][own] for name, own in chosen.items()}
    forecast, shares = weighed_before(members, base, skills, data.panel.ts_close[judged])
    return judged_forecasts(ENSEMBLE, seed, forecast, base, data, judged, shares)


def metrics_of(judged: list[Judged]) -> Metrics:
    """Return what a manifest keeps of a forecaster: by figure and horizon, unknown ones left out.

    ``mean`` over seeds, ``spread`` its standard error by days, ``n`` the days, ``seeds``; and where they are known
    ``low`` and ``high``, the 95 % interval over redrawn blocks of days, and ``over_seeds``, the standard deviation
    over seeds.
    """
    drawn = drawn_days(max(len(judged[0].tallies["accuracy"][0]), 1))
    figures, out = forecast_figures(judged, drawn), {}
    for name in KEPT:
        skill = skill_of(*mean_tally([one.tallies[name] for one in judged]))
        for horizon, mean, error, n_days, figure in zip(
            HORIZONS[-len(skill.gain) :], skill.gain, skill.error, skill.n_days, figures[name], strict=True
        ):
            if np.isfinite(mean):
                row = {"mean": float(mean), "spread": float(error), "n": float(n_days), "seeds": float(len(judged))}
                known = _known(low=figure["low"], high=figure["high"], over_seeds=figure["spread"])
                out[f"{name}_{horizon}"] = row | known
    return out


def earned_metrics(earned: list[TradingEvidence]) -> Metrics:
    """Return the trading results of the seed in the middle by excess, and how far the seeds lie apart."""
    middle = sorted(earned, key=lambda one: one.excess)[(len(earned) - 1) // 2]
    out = middle.metrics()
    for name in ("share", "excess", "sharpe"):
        values = [getattr(one, name) for one in earned]
        out[name] |= {"seeds": float(len(earned))}
        out[name] |= _known(over_seeds=float(np.std(values, ddof=1)) if len(values) > 1 else np.nan)
    return out


def _known(**values: float) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if np.isfinite(value)}


def training_evidence(
    data: Learnable, judged: slice, found: Mapping[str, list[Judged]], failed: Mapping[str, str], weights: Weights,
    seeds: int,
) -> dict[str, Any]:  # fmt: skip
    """Return the evidence of one training: what ``models.evidence.evidence`` gives, and ``config``.

    A member's ``latest`` weight is what it counts in the set that is kept.

    Parameters
    ----------
    data : Learnable
    judged : slice
    found : mapping of name to list of Judged
        Forecasters, agents and the ensemble.
    failed : mapping of name to str
        Who did not get through, and why: they stay in the tables.
    weights : Weights
        Of the set.
    seeds : int
    """
    ts_close, terms = data.panel.ts_close, usual_terms(data.panel)
    walk = TrainingWalk(judged, blocks_of(ts_close, judged))
    last = [ENSEMBLE] if ENSEMBLE in found else []
    ordered = {name: found[name] for name in [*(name for name in found if name != ENSEMBLE), *last]}
    missed = {name: why for name, why in failed.items() if name in ENTRIES and name not in found}
    result = evidence(walk, ordered, missed, terms)
    kept = dict(zip(weights.names, weights.member.tolist(), strict=True))
    kept[BASE] = np.broadcast_to(weights.base, (len(HORIZONS),)).tolist()
    for row in result["models"]:
        if row["name"] in kept and "weight" in row:
            row["weight"]["latest"] = kept[row["name"]]
    first, end = (str(ts.astype("datetime64[ns]").astype("datetime64[D]")) for ts in ts_close[judged][[0, -1]])
    result["config"] = {
        "from": first, "to": end, "symbols": list(data.panel.symbols), "seeds": seeds, "blocks": len(walk.steps),
        "fee_rate": terms.costs.fee_rate, "slippage_rate": terms.costs.slippage_rate,
    }  # fmt: skip
    return result


def with_results(metrics: Metrics, result: dict[str, Any], name: str, key: str = "net_sharpe") -> Metrics:
    """Return a manifest's metrics with the net Sharpe ratio of the position rule, where the evidence knows it."""
    row = next((one for one in result["models"] if one["name"] == name and "trading" in one), None)
    sharpe = None if row is None else row["trading"]["sharpe"]
    if row is None or sharpe is None or sharpe["value"] is None:
        return metrics
    kept = {"mean": sharpe["value"], "low": sharpe["low"], "high": sharpe["high"], "over_seeds": sharpe["spread"],
            "n": result["intervals"]["days"], "seeds": row["seeds"]}  # fmt: skip
    return metrics | {key: {name: float(value) for name, value in kept.items() if value is not None}}


def evidence_text(result: dict[str, Any]) -> str:
    """Return all tables of a training's evidence, with what they are of."""
    config = result["config"]
    head = (
        f"Judged from {config['from']} to {config['to']} on {len(config['symbols'])} symbols, which nobody had learned "
        f"from, with {config['seeds']} seeds where something is random. Members are weighed anew every 30 days by the "
        f"days before. Costs: fee {1e4 * config['fee_rate']:.1f} bp, half spread {1e4 * config['slippage_rate']:.1f} "
        "bp, volatility and impact as in a backtest."
    )
    return f"{head}\n\n{printed(result, 'mean over the judged days, then as the set has it')}\n"


def write_evidence(folder: Path, result: dict[str, Any]) -> Path:
    """Write the evidence beside a set's manifest, as text and as JSON; return the text's path.

    Raises
    ------
    OSError
        It cannot be written. The manifest holds the figures, too.
    """
    for name, text in ((JSON_FILE, json.dumps(result, indent=1)), (TEXT_FILE, evidence_text(result))):
        unfinished = folder / f".{name}.{os.getpid()}"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(folder / name)
    return folder / TEXT_FILE
