"""Words and plain JSON types for what models have shown; needs no learner, so the engine may read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    return f"better than the base rate by {100 * best:.2f} % at best, beyond doubt {of}: {_kind(row['figures'])}"


def _kind(figures: dict[str, list[dict[str, Any]]]) -> str:
    """Say what a skill is of: of which way prices go, or of how far alone."""
    direction = figures.get("log_loss_gain")
    if not direction:
        return "which way and how far prices move, together"
    sure = sum(1 for each in direction if each["low"] is not None and each["low"] > 0.0)
    if not sure:
        return "it knows how far prices move, and not surely which way, so it sizes but does not steer"
    return f"of that, which way prices go at {sure}; the rest is how far they move"


FEWEST_TRADED_DAYS = 90
"""Before so many days of trading results nobody has a share of a decision, because nobody can know."""

NO_EVIDENCE = "unknown: trained before a share followed trading results, so nothing is given; train again"


def why_share(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """Say why traders have the share that they have: what they earned a day beyond holding and the trend rule.

    Parameters
    ----------
    metrics : mapping
        As ``models.earned.TradingEvidence.metrics`` gives them; without them nothing is known.

    Examples
    --------
    >>> row = {"mean": 0.0002, "spread": 0.0004, "n": 300.0}
    >>> why_share({"excess": row, "share": {"mean": 0.0, "spread": 0.0, "n": 300.0}})
    'no trading skill shown: +7.3 % a year (-21.3 to +35.9) beyond holding and the trend rule, after costs, on 300 days'
    """
    if not {"share", "excess"} <= set(metrics):
        return NO_EVIDENCE
    excess, share = metrics["excess"], metrics["share"]["mean"]
    n_days = int(excess["n"])
    if n_days < FEWEST_TRADED_DAYS:
        return f"not judged yet: {n_days} of {FEWEST_TRADED_DAYS} days of trading results on bars not learned from"
    if not excess["spread"] > 0.0:
        return "no trading skill shown: it held nothing on the bars that judge it"
    value, reach = excess["mean"], 1.96 * excess["spread"]
    low, high = (f"{36_500 * bound:+.1f}" for bound in (value - reach, value + reach))
    said = f"{36_500 * value:+.1f} % a year ({low} to {high}) beyond holding and the trend rule, after costs"
    lead = "trading skill" if share > 0.0 else "no trading skill shown"
    return f"{lead}: {said}, on {n_days} days"
