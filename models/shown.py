"""Words and plain JSON types for what models have shown; needs no learner, so the engine may read it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from models.forecast import HORIZONS

SHOWN = ("accuracy", "log_loss_gain", "ic", "issued_50", "issued_80", "issued_90", "issued_95")
"""Figures of a model that a screen shows."""


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


FEWEST_AGENT_DAYS = 30


def why_agents(excess: float, error: float, n_days: int, share: float) -> str:
    """Say why agents count what they count: what they earned a day beyond holding and the trend rule.

    Examples
    --------
    >>> why_agents(0.0002, 0.0004, 300, 0.0)
    'no skill shown: +7.3 % a year (± 28.6) beyond holding and the trend rule, after costs, on 300 days'
    """
    if n_days < FEWEST_AGENT_DAYS:
        return f"not judged yet: {n_days} of {FEWEST_AGENT_DAYS} days"
    if not error > 0.0:
        return "no skill shown: all of them lost money after costs on the bars that weigh them, so they hold nothing"
    if not error > 0.0:
        return "no skill shown: all of them lost money after costs on the bars that weigh them, so they hold nothing"
    said = f"{36_500 * excess:+.1f} % a year (± {36_500 * 1.96 * error:.1f})".replace("-", "−")
    lead = "skill" if share > 0.0 else "no skill shown"
    return f"{lead}: {said} beyond holding and the trend rule, after costs, on {n_days} days"
