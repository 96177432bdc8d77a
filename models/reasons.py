"""The record of why the ensemble said what it said of one symbol at one bar: numbers in JSON types, then sentences.

Small enough to keep one for every symbol and hour. All of it follows from the set, the bars that were seen and the
engine's record of past forecasts, so a repetition gives the same record.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.domain import F8
from engine.errors import DataError, ModelError
from models.answers import LOOK_BACK
from models.attribution import BP, PAIRS, SEED, Moved, Part, Voice, added_by, attributed, reference_of
from models.explain import TOPICS, Drivers, Searchable, attention_over_time, nearest_cases, typical_bar
from models.features import NAMES
from models.forecast import HORIZONS, MEDIAN, QUANTILE_LEVELS, Learnable
from models.live_set import LiveSet
from models.recent import Recent
from models.sets import BASE
from models.shown import plain
from models.summary import Facts, Vote, summary_of
from models.tabular import Scaler

HORIZON = HORIZONS[-1]
"""The horizon that is kept. The position rule weighs horizons by their length, so this one moves positions the most."""

N_FEATURES = 10
N_CASES = 5  # that are kept one by one, of those that are counted
REST = "Earlier bars, which a network remembers"
LEAST_BP, LEAST_PROB = 1e-4, 1e-6  # what is kept of a number; also the smallest rest that is told
SPREAD_STEPS = (0.1, 0.5, 0.9)


def reasons_of(
    live: LiveSet, recent: Recent, past: Searchable, column: int, parts: list[Part], votes: list[dict[str, Any]],
    facts: Facts,
) -> dict[str, Any]:  # fmt: skip
    """Return why the set in force said what it said of one symbol's newest bar.

    Parameters
    ----------
    live : LiveSet
        It has just said it.
    recent : Recent
        With the bar that it is about as the newest, inputs as the set knew them.
    past : Searchable
        Of ``recent``.
    column : int
        The symbol.
    parts : list of Part
        Whose wishes were mixed into the wish: forecasters first.
    votes : list of dict
        What each agent said, as ``models.live_agents.LiveAgents.votes`` gives it.
    facts : Facts
        What the engine knows of such forecasts.

    Returns
    -------
    dict
        ``said``, ``typical`` and ``low``, ``high`` in basis points of log return (probabilities second in the pairs);
        ``topics``: rows of name, bp, its standard error, probability, its standard error, whose sums are said minus
        typical; ``features``: the strongest, name, topic, how unusual it is in standard deviations, bp, probability;
        ``members``: name, weight, bp, probability, by how much it moved in bp and probability; ``spread`` of these;
        ``wish`` with its ``parts`` (who, wish, share, what it adds); ``votes``, ``attention``, ``cases``, ``summary``.

    Raises
    ------
    ModelError, DataError
        Nothing can be said, with the reason.
    """
    said, symbol = live.said, facts.symbol
    at, data = HORIZONS.index(HORIZON), recent.data()
    if said is None or said["ensemble"] is None or not np.isfinite(said["ensemble"]["prob_up"][column, at]):
        raise ModelError(f"the set in force had no forecast of {symbol} at this bar")
    scale = float(said["sigma"][column]) * math.sqrt(HORIZON) * BP
    members = _members(said, column, at, scale)
    forecasters = {name: live.member(name) for name, weight, *_ in members if weight > 0.0 and name != BASE}
    scaler = reference_of(forecasters, typical_bar(data.features[:-1, column]))
    voices = {
        name: Voice(one, _weight_of(members, name), _looked_at(one, data, column)) for name, one in forecasters.items()
    }
    base = next((row for row in members if row[0] == BASE), None)
    constant = np.zeros(2) if base is None else base[1] * np.array(base[2:])
    moved = attributed(voices, constant, scaler.center, HORIZON, float(said["sigma"][column]))
    ensemble = said["ensemble"]
    issued = np.array([ensemble["quantile"][column, at, MEDIAN] * scale, ensemble["prob_up"][column, at]])
    low, high = (ensemble["quantile"][column, at, QUANTILE_LEVELS.index(level)] * scale for level in (0.1, 0.9))
    spread = [float(said["median_spread"][column, at]) * scale, float(said["prob_spread"][column, at])]
    came, case_rows = _cases(data, column, past)
    told = facts._replace(
        drivers=_drivers(moved), cases=came, spread_bp=spread[0], typical_bp=float(moved.typical[0]),
        said_bp=float(issued[0]),
        votes=tuple(Vote(row["name"], float(row["vote"][column]), row["weight"]) for row in votes),
    )  # fmt: skip
    return dict(_kept({
        "horizon": HORIZON, "ts_first": recent.ts_first, "ts_warm": recent.ts_warm, "seed": SEED,
        "pairs": PAIRS, "said": issued,
        "typical": moved.typical, "low": low, "high": high, "topics": _topics(moved, issued),
        "features": _features(moved, scaler, data.features[-1, column]),
        "members": [[*row, *moved.member.get(row[0], np.zeros(2))] for row in members], "spread": spread,
        "wish": _wish(parts, column), "votes": _votes(votes, column),
        "attention": _attention(voices), "cases": case_rows, "summary": summary_of(told),
    }))  # fmt: skip


def _members(said: dict[str, Any], column: int, at: int, scale: float) -> list[tuple[str, float, float, float]]:
    """Return name, weight, median in bp and probability of everyone who said something, the base rate last."""
    rows = []
    for name, one in sorted(said["models"].items(), key=lambda item: item[0] == BASE):
        weight = said["ensemble"]["base_weight"] if name == BASE else one["weight"]
        counts = 0.0 if weight is None else float(weight[column, at])
        if np.isfinite(one["prob_up"][column, at]):
            median = float(one["quantile"][column, at, MEDIAN]) * scale
            rows.append((name, counts, median, float(one["prob_up"][column, at])))
    return rows


def _weight_of(members: list[tuple[str, float, float, float]], name: str) -> float:
    return next(row[1] for row in members if row[0] == name)


def _looked_at(forecaster: Any, data: Learnable, column: int) -> np.ndarray:
    """Return the inputs (W, F) of the bars that a member is explained by; a longer memory is in the rest."""
    return data.features[-min(int(getattr(forecaster, "warm_up_bars", 0)) + 1, LOOK_BACK) :, column]


def _topics(moved: Moved, issued: F8) -> list[list[Any]]:
    rows: list[list[Any]] = [
        [topic.name, moved.topic[p, 0], moved.topic_error[p, 0], moved.topic[p, 1], moved.topic_error[p, 1]]
        for p, topic in enumerate(TOPICS)
        if moved.topic[p].any()
    ]
    rest = issued - moved.said
    if abs(rest[0]) > LEAST_BP or abs(rest[1]) > LEAST_PROB:
        rows.append([REST, rest[0], None, rest[1], None])
    return sorted(rows, key=lambda row: -abs(row[1]))


def _features(moved: Moved, scaler: Scaler, newest: np.ndarray) -> list[list[Any]]:
    strongest = np.argsort(-np.abs(moved.feature[:, 0]), kind="stable")[:N_FEATURES]
    unusual = np.divide(
        newest - scaler.center, scaler.scale, out=np.full(len(newest), np.nan), where=scaler.scale > 0.0
    )
    topic = {feature: one.name for one in TOPICS for feature in one.features}
    return [[NAMES[f], topic[NAMES[f]], unusual[f], *moved.feature[f]] for f in strongest if moved.feature[f].any()]


def _drivers(moved: Moved) -> Drivers:
    names = tuple(topic.name for topic in TOPICS)
    # the summary names what moved the middle forecast, so the error is of that
    return Drivers(names, moved.topic[:, 1], moved.topic_error[:, 0], moved.topic[:, 0], float(moved.typical[1]),
                   float(moved.typical[0]), float(moved.said[1]), float(moved.said[0]))  # fmt: skip


def _wish(parts: list[Part], column: int) -> dict[str, Any]:
    added = added_by(parts)[:, column] if parts else np.empty(0)
    rows = [[one.who, one.wish[column], one.share, added[m]] for m, one in enumerate(parts)]
    return {"total": added.sum() if parts else None, "parts": rows}


def _votes(votes: list[dict[str, Any]], column: int) -> list[dict[str, Any]]:
    return [
        {"name": row["name"], "vote": row["vote"][column], "low": row["low"][column], "high": row["high"][column],
         "weight": row["weight"], "seeds": row.get("seeds")}
        for row in votes
    ]  # fmt: skip


def _attention(voices: Mapping[str, Voice]) -> dict[str, Any] | None:
    """Return where the first network with attention looked, oldest bar first."""
    for name, voice in voices.items():
        looked = attention_over_time(voice.forecaster, voice.features)
        if looked is not None:
            return {"model": name, "weights": looked}
    return None


def _cases(data: Learnable, column: int, past: Searchable) -> tuple[tuple[int, int] | None, dict[str, Any] | None]:
    try:
        came = nearest_cases(data, column, past)
    except DataError:  # what is known of the bar may forecast it and still be too little to compare
        return None, None
    after = came.path[:, HORIZON]
    rows = [
        [int(data.panel.ts_close[row]), data.panel.symbols[which], distance,
         outcome * float(data.sigma[-1, column]) * BP]
        for row, which, distance, outcome in zip(came.row, came.column, came.distance, after, strict=True)
    ]  # fmt: skip
    counts = int((after > 0.0).sum()), len(after)
    return counts, {
        "rises": counts[0], "count": counts[1], "ordinary": came.ordinary, "rows": rows[:N_CASES],
        "bars": len(data.features),
    }  # fmt: skip


def _kept(value: Any) -> Any:
    """Return a value in JSON types with numbers of six significant digits, at most six decimals."""
    value = plain(value)
    if isinstance(value, dict):
        return {name: _kept(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_kept(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value
