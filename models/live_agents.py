"""The trading agents of a set on a live tape: each with its paper book, their votes, and what evidence allows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.domain import F8
from models.agent_ensemble import AgentEnsemble
from models.agents import DAYS_PER_YEAR
from models.forecast import Panel
from models.panel import funding_due
from models.registry import Manifest

NAME = "agents"
REACH_95 = 1.96
REACH = 1.645
"""Nine of ten actions lie within this many standard deviations."""


class LiveAgents:
    """Agents that are shown every bar once.

    Parameters
    ----------
    agents : AgentEnsemble
        Fitted.
    manifest : Manifest
        Of these agents: its metric ``share`` is what their evidence gave them.
    n_symbols : int
    """

    def __init__(self, agents: AgentEnsemble, manifest: Manifest, n_symbols: int) -> None:
        self._stream = agents.stream(n_symbols)
        self._expires = manifest.ts_expires
        self._evidence = agents.evidence
        self.share = float(manifest.metrics.get("share", {}).get("mean", 0.0))

    def see(self, panel: Panel, features: np.ndarray, sigma: F8) -> F8:
        """Take one bar, a panel of one row, and return the blended wishes (N,) in [-1, 1]; NaN where there is none."""
        return self._stream.update(features, panel.close_px[0], sigma, funding_due(panel)[0])

    def share_at(self, ts_now: int) -> float:
        """Return what they count by now: nothing once they have expired."""
        return self.share if ts_now < self._expires else 0.0

    def votes(self) -> list[dict[str, Any]]:
        """Return what each algorithm says at the newest bar: ``name``; ``vote``, ``spread``, ``low``, ``high`` of (N,).

        Copies of one algorithm fall together: their mean, the standard deviation over them (``spread``, NaN for a
        single one), the widest of their ranges, and how many ``seeds`` they are.
        """
        grouped: dict[str, list[Any]] = {}
        evidence: dict[str, list[F8]] = {}
        for one, record in zip(self._stream.votes(), self._evidence, strict=True):
            grouped.setdefault(one.name, []).append(one)
            evidence.setdefault(one.name, []).append(record)
        rows = []
        for name, copies in grouped.items():
            means = np.array([one.mean for one in copies], dtype=np.float64)
            mean = means.mean(axis=0)
            spread = means.std(axis=0, ddof=1) if len(copies) > 1 else np.full(mean.shape, np.nan)
            low = np.min([one.mean - REACH * one.std for one in copies], axis=0)
            high = np.max([one.mean + REACH * one.std for one in copies], axis=0)
            rows.append({
                "name": name, "vote": mean, "spread": spread, "low": np.clip(low, -1.0, 1.0),
                "high": np.clip(high, -1.0, 1.0), "seeds": len(copies),
                "weight": self.share * sum(one.weight for one in copies),
                "sharpe": sharpe_estimate(np.mean(evidence[name], axis=0)),  # the days of copies are the same days
            })  # fmt: skip
        return rows


def sharpe_estimate(record: F8) -> dict[str, float] | None:
    """Return value and 95 % interval of the annual Sharpe ratio in days, sum and sum of squares of daily returns.

    The error is that of independent returns (Lo, 2002). None before two days, or where nothing was earned or lost.
    """
    n_days, total, squares = (float(value) for value in record)
    variance = squares / n_days - (total / n_days) ** 2 if n_days >= 2.0 else 0.0
    if not variance > 0.0:
        return None
    value = total / n_days / math.sqrt(variance) * math.sqrt(DAYS_PER_YEAR)
    reach = REACH_95 * math.sqrt((DAYS_PER_YEAR + 0.5 * value * value) / n_days)
    return {"value": value, "low": value - reach, "high": value + reach}


def together(wish: F8, share: float, other: F8, other_share: float) -> tuple[F8, float]:
    """Return one wish from two, each counting by its share of the decision, and what both count together.

    share = 1 - (1 - a)(1 - b): what neither has earned stays with the rule. It is one number for all symbols, so where
    only one of both is known, its wish is made smaller until it counts by its own share, own / joint of it, and what
    the other one had earned is held by nobody; one without a share there leaves the symbol to the rule, NaN.

    Examples
    --------
    >>> wish, share = together(np.array([1.0]), 0.5, np.array([0.0]), 0.5)
    >>> float(wish[0]), share
    (0.5, 0.75)
    >>> wish, share = together(np.array([0.9]), 0.5, np.array([np.nan]), 0.5)
    >>> float(wish[0]), share
    (0.6, 0.75)
    """
    if not other_share > 0.0:
        return wish, share
    first = np.where(np.isfinite(wish), share, 0.0)
    second = np.where(np.isfinite(other), other_share, 0.0)
    total = first + second
    sums = first * np.nan_to_num(wish) + second * np.nan_to_num(other)
    mixed = np.divide(sums, total, out=np.full(len(wish), np.nan), where=total > 0.0)
    joint = 1.0 - (1.0 - share) * (1.0 - other_share)
    is_both = np.isfinite(wish) & np.isfinite(other)
    return np.where(is_both, mixed, mixed * (total / joint)), joint
