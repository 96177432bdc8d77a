"""What the screen asks of models, as plain JSON types: why a forecast, what shifted, what each model has shown.

The names are those of ``app/model_client.py``, which is the contract. NaN becomes None: unknown is not zero.
"""

from __future__ import annotations

from typing import Any

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
from models.forecast import Forecaster, Learnable
from models.shift import Shift, verdict_of
from models.shown import SHOWN, plain, why_weight
from models.summary import Facts, summary_of

LOOK_BACK = 64
"""Bars that a network is shown for its reasons: with all it remembers, asking would hold up the next forecast."""


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


def drift_rows(found: Shift) -> list[dict[str, Any]]:
    """Return the ``drift`` rows of ``models``: a row an input, unknown ones left out."""
    topic = {feature: one.name for one in TOPICS for feature in one.features}
    rows = [
        {"topic": topic[name], "feature": name, "psi": psi, "usual": usual, "verdict": verdict_of(psi, usual, largest)}
        for name, psi, usual, largest in zip(NAMES, found.psi, found.usual, found.largest, strict=True)
    ]
    return [dict(plain(row)) for row in rows if row["verdict"] != "unknown"]


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
