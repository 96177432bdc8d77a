"""Which symbols the risk gate treats as moving together: its own estimate, its own threshold."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8
from engine.research.book_risk import clusters_of
from engine.runtime.decider import Decider


class Clusters(NamedTuple):
    """The gate's clusters after its newest bar. ``groups`` None is unknown, and ``why`` says why."""

    groups: list[list[str]] | None
    young: list[str]  # not seen long enough: each counts in full in every cluster
    threshold: float  # correlation from which two symbols belong together
    memory_hours: float  # of the running estimate
    why: str | None

    def named(self) -> dict[str, str]:
        """Return each symbol's cluster by its short name."""
        return {symbol: f"C{number}" for number, group in enumerate(self.groups or [], 1) for symbol in group}


def clusters_in_force(decider: Decider | None) -> Clusters:
    """Return the clusters that the rule CLUSTER_CAP forms of the decider's symbols, as ``engine.core.book_rules`` does.

    Call it where decisions are made: it copies what they change.
    """
    if decider is None:
        return Clusters(None, [], np.nan, np.nan, "The engine has not begun to decide.")
    covariance, n_bars = np.array(decider.state.covariance), np.array(decider.state.n_bars)
    variance = np.diag(covariance)
    known = (n_bars >= decider.params.vol_horizon_bars) & (variance > 0.0)
    young = [symbol for symbol, is_known in zip(decider.symbols, known, strict=True) if not is_known]
    config = decider.config
    found = Clusters(None, young, config.cluster_correlation, config.volatility_horizon_hours, None)
    if not known.any():
        return found._replace(why="The strategy in force has seen no symbol for as long as its volatility needs.")
    names = [symbol for symbol, is_known in zip(decider.symbols, known, strict=True) if is_known]
    matrix = _correlation(covariance[np.ix_(known, known)])
    groups = clusters_of(matrix, config.cluster_correlation)
    return found._replace(groups=[[names[index] for index in group] for group in groups])


def _correlation(covariance: F8) -> F8:
    spread = np.sqrt(np.diag(covariance))
    found: F8 = covariance / np.outer(spread, spread)
    return found


def cluster_rows(found: Clusters, weight: dict[str, float]) -> list[dict[str, Any]] | None:
    """Return ``name, symbols, net, gross`` (x equity) of each cluster that holds something; None while unknown.

    Parameters
    ----------
    weight : dict of symbol to float
        Signed notional over equity; NaN is unknown.
    """
    if found.groups is None:
        return None
    rows = []
    for number, group in enumerate(found.groups, 1):
        weights = [weight[symbol] for symbol in group if symbol in weight]
        if weights:
            net, gross = sum(weights), sum(map(abs, weights))
            rows.append({"name": f"C{number}", "symbols": group,
                         "net": float(net) if np.isfinite(net) else None,
                         "gross": float(gross) if np.isfinite(gross) else None})  # fmt: skip
    return rows
