"""Losses of forecasts: pure functions of what was said and what came."""

from __future__ import annotations

import numpy as np

from engine.domain import F8
from models.forecast import QUANTILE_LEVELS

SURELY = 1e-3
"""Probabilities are scored as if they lay at least this far inside [0, 1]: one certain error is not infinitely bad."""

INTERVALS = {0.5: (3, 5), 0.8: (2, 6), 0.9: (1, 7), 0.95: (0, 8)}
"""The central intervals by their stated coverage: indices into ``QUANTILE_LEVELS``."""


def log_loss(prob_up: np.ndarray, target: np.ndarray) -> F8:
    """Return -log of the probability that was given to what came, nats, elementwise; NaN where either is unknown.

    Examples
    --------
    >>> log_loss(np.array([0.5, 0.8]), np.array([1.2, -0.3])).round(4).tolist()
    [0.6931, 1.6094]
    """
    prob = np.clip(np.asarray(prob_up, dtype=np.float64), SURELY, 1.0 - SURELY)
    loss = -np.log(np.where(np.asarray(target) > 0.0, prob, 1.0 - prob))
    return np.where(np.isfinite(target), loss, np.nan)


def pinball_loss(quantile: np.ndarray, target: np.ndarray) -> F8:
    """Return the mean pinball loss over ``QUANTILE_LEVELS``, in the target's unit.

    Parameters
    ----------
    quantile : (..., Q)
    target : (...,)

    Returns
    -------
    (...,) float64
        max(a * (y - q), (a - 1) * (y - q)), averaged over the levels a. NaN where either is unknown.

    Notes
    -----
    Twice its integral over all levels is the continuous ranked probability score. Source: Koenker & Bassett (1978);
    Gneiting & Raftery (2007).

    Examples
    --------
    Every quantile 1 below the outcome costs its level, 0.5 on average:

    >>> pinball_loss(np.zeros((1, 9)), np.array([1.0])).tolist()
    [0.5]
    """
    target = np.asarray(target, dtype=np.float64)
    total = np.zeros(target.shape)
    for k, level in enumerate(QUANTILE_LEVELS):  # by level: years of forecasts at once would not fit into a cache
        over = target - quantile[..., k]
        total += np.maximum(level * over, (level - 1.0) * over)
    return total / len(QUANTILE_LEVELS)


def inside(quantile: np.ndarray, target: np.ndarray) -> F8:
    """Return for each interval of ``INTERVALS`` whether the target lies in it: (..., 4), 1, 0, or NaN if unknown."""
    target = np.asarray(target, dtype=np.float64)
    columns = [(target >= quantile[..., low]) & (target <= quantile[..., high]) for low, high in INTERVALS.values()]
    known = np.isfinite(target)
    for k in range(quantile.shape[-1]):
        known &= np.isfinite(quantile[..., k])
    return np.where(known[..., None], np.stack(columns, axis=-1).astype(np.float64), np.nan)
