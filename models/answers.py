"""What the screen asks of models, as plain JSON types: why a forecast, what shifted, what each model has shown.

The names are those of ``app/model_client.py``, which is the contract. NaN becomes None: unknown is not zero.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.domain import F8
from models.explain import (
    TOPICS,
    Cases,
    Drivers,
    attention_over_time,
    drivers,
    nearest_cases,
    typical_bar,
)
from models.features import NAMES
from models.forecast import HORIZONS, Forecaster, Learnable
from models.shift import Shift, shift_of, verdict_of
from models.summary import Facts, summary_of

LOOK_BACK = 64
"""Bars that a network is shown for its reasons: with all it remembers, asking would hold up the next forecast."""


def plain(value: Any) -> Any:
    """Return a value in JSON types; NaN and infinity become None.

    Examples
    --------
    >>> plain({"a": np.array([1.0, np.nan])})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def explanation(forecaster: Forecaster, data: Learnable, column: int, horizon: int, facts: Facts) -> dict[str, Any]:
    """Return the answer of ``models.explain`` for one symbol's newest bar.

    Parameters
    ----------
    forecaster : Forecaster
        Fitted.
    data : Learnable
        Known bars, newest last; what is typical and what is similar comes from the bars before the last.
    column : int
        The symbol.
    horizon : int
        One of ``HORIZONS``.
    facts : Facts
        What else the summary may tell; drivers and cases are put in here.

    Returns
    -------
    dict

    Raises
    ------
    ModelError, DataError
        There is nothing to explain, with the reason.

    Notes
    -----
    A network that remembers more than ``LOOK_BACK`` bars is explained from these alone, so ``said_prob`` may differ a
    little from its forecast.
    """
    looks_back = min(int(getattr(forecaster, "warm_up_bars", 0)) + 1, LOOK_BACK)
    features = data.features[-looks_back:, column]
    drove = drivers(forecaster, features, typical_bar(data.features[:-1]), horizon)
    came = nearest_cases(data, column)
    rises = int((came.path[:, horizon] > 0.0).sum())
    told = summary_of(facts._replace(drivers=drove, cases=(rises, len(came.path))))
    return dict(plain({
        "drivers": _driver_rows(drove), "typical_prob": drove.typical_prob, "said_prob": drove.said_prob,
        "attention": attention_over_time(forecaster, features), "cases": _case_rows(came, data),
        "ordinary_distance": came.ordinary, "summary": told,
    }))  # fmt: skip


def _driver_rows(drove: Drivers) -> list[dict[str, Any]]:
    return [
        {"topic": name, "points": points, "error": error}
        for name, points, error in zip(drove.names, drove.prob, drove.prob_error, strict=True)
    ]


def _case_rows(came: Cases, data: Learnable) -> list[dict[str, Any]]:
    return [
        {
            "ts_close": data.panel.ts_close[row], "symbol": data.panel.symbols[column], "distance": distance,
            "path": path,
        }
        for row, column, distance, path in zip(came.row, came.column, came.distance, came.path, strict=True)
    ]  # fmt: skip


def drift_answer(trained: np.ndarray, recent: np.ndarray) -> list[dict[str, Any]]:
    """Return the ``drift`` rows of ``models``: a row an input, (T, N, F) against (W, N, F), unknown ones left out."""
    found: Shift = shift_of(trained, recent)
    topic = {feature: one.name for one in TOPICS for feature in one.features}
    rows = [
        {"topic": topic[name], "feature": name, "psi": psi, "usual": usual, "verdict": verdict_of(psi, usual, largest)}
        for name, psi, usual, largest in zip(NAMES, found.psi, found.usual, found.largest, strict=True)
    ]
    return [dict(plain(row)) for row in rows if row["verdict"] != "unknown"]


SHOWN = ("accuracy", "log_loss_gain", "ic", "issued_50", "issued_80", "issued_90", "issued_95")


def model_answer(row: dict[str, Any]) -> dict[str, Any]:
    """Return one ``models`` row as far as the evidence knows it, from a row of ``models.evidence.evidence``.

    Version, role and times are the registry's and are left to the caller.
    """
    weight = (row.get("weight") or {}).get("latest")
    figures = {name: row["figures"][name] for name in SHOWN if name in row.get("figures", {})}
    return dict(plain({
        "name": row["name"], "said": row["said"], "failed": row.get("failed"), "weight": weight, "figures": figures,
        "sharpe": (row.get("trading") or {}).get("sharpe"), "why_weight": why_weight(row, weight),
    }))  # fmt: skip


def why_weight(row: dict[str, Any], weight: list[float] | None) -> str:
    """Say why a model counts what it counts, from its skill: its gain on the base rate in shares of the base's loss."""
    if row.get("failed"):
        return "not judged: its training failed"
    found = (row.get("figures") or {}).get("skill")
    if not found or weight is None:
        return "not judged yet"
    known = [each for each in found if each["value"] is not None and math.isfinite(each["value"])]
    sure = [each for each in known if each["low"] is not None and each["low"] > 0.0]
    best = max((each["value"] for each in known), default=0.0)
    of = f"at {len(sure)} of {len(HORIZONS)} horizons"
    if not any(share > 0.0 for share in weight):
        return f"no skill: its loss is not below the base rate's (at best {100 * best:+.2f} %)".replace("-", "−")
    if not sure:
        return f"little: better than the base rate by {100 * best:.2f} % at best, and nowhere beyond doubt"
    return f"better than the base rate by {100 * best:.2f} % at best, beyond doubt {of}"


def weights_share(member: F8, base: F8) -> float:
    """Return what the models count together, in [0, 1]: the mean over horizons; weights (M, H) and (H,) as ``Weights``.

    Examples
    --------
    >>> weights_share(np.array([[0.2, 0.4]]), np.array([0.8, 0.6]))
    0.3
    """
    total = member.sum(axis=0) + base
    return round(float((member.sum(axis=0) / total).mean()), 12)
