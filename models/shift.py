"""How far the inputs have moved from those that models were trained on, held against how far they usually move."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.domain import F8
from engine.errors import DataError

BINS = 10
FEWEST_WINDOWS = 8
USUAL = 0.95
"""A shift that is larger than in this share of the training's own stretches is not usual."""

FLOOR = 1e-4
"""A bin counts as if it held at least this share: an empty one is not infinitely surprising."""


class Shift(NamedTuple):
    """One number an input, (F,); NaN for an input that was never known or never varied."""

    psi: F8  # of the newest stretch against the whole training
    usual: F8  # that ``USUAL`` of equally long stretches of the training stayed below
    largest: F8  # of any stretch of the training


def stability(edges: F8, expected: F8, values: np.ndarray) -> float:
    """Return the population stability index of values against the shares that bins held in the training.

    PSI = sum_b (a_b - e_b) ln(a_b / e_b)

    Parameters
    ----------
    edges : (B - 1,)
        Inner edges of the bins, rising.
    expected : (B,)
        Shares, adding up to 1.
    values : (K,)
        NaN is left out.

    Returns
    -------
    float
        0 where the shares are the same; NaN without a known value.

    Notes
    -----
    Source: Siddiqi (2006); it is the symmetrised Kullback-Leibler divergence of the two histograms.

    Examples
    --------
    Half and half became a quarter and three quarters, 0.25 ln 2 + 0.25 ln 1.5:

    >>> round(stability(np.array([0.0]), np.array([0.5, 0.5]), np.array([-1.0, 1.0, 2.0, 3.0])), 4)
    0.2747
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan")
    count = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(expected))
    actual, stated = np.maximum(count / len(known), FLOOR), np.maximum(expected, FLOOR)
    return float(((actual - stated) * np.log(actual / stated)).sum())


class Reference(NamedTuple):
    """What the inputs of a training were like: enough to compare later bars with it, without keeping its bars."""

    length: int  # bars of a stretch
    edges: F8  # (F, B - 1) inner edges of the bins, rising; infinite where an input needs fewer
    expected: F8  # (F, B) shares, 0 where there is no such bin
    usual: F8  # (F,) as in ``Shift``; NaN for an input that was never known or never varied
    largest: F8  # (F,)


def reference_of(trained: np.ndarray, length: int) -> Reference:
    """Return what later stretches of ``length`` bars are held against.

    Parameters
    ----------
    trained : (T, N, F)
        Unscaled inputs of the training.
    length : int

    Raises
    ------
    DataError
        The training has fewer than ``FEWEST_WINDOWS`` stretches of that length.
    """
    n_windows = len(trained) // max(length, 1)
    if n_windows < FEWEST_WINDOWS:
        raise DataError(
            f"{len(trained)} bars of training hold {n_windows} stretches of {length} bars; {FEWEST_WINDOWS} are needed "
            "to know what is usual: compare fewer bars"
        )
    n_features = trained.shape[2]
    edges, expected = np.full((n_features, BINS - 1), np.inf), np.zeros((n_features, BINS))
    usual, largest = np.full(n_features, np.nan), np.full(n_features, np.nan)
    for k in range(n_features):
        past = trained[: n_windows * length, :, k].reshape(n_windows, -1)
        known = past[np.isfinite(past)]
        inner = np.unique(np.quantile(known, np.linspace(0.0, 1.0, BINS + 1)[1:-1])) if len(known) else np.zeros(0)
        if not len(inner) or known.min() == known.max():
            continue
        edges[k, : len(inner)] = inner
        expected[k] = np.bincount(np.searchsorted(edges[k], known, side="right"), minlength=BINS) / len(known)
        before = np.array([stability(edges[k], expected[k], window) for window in past])
        before = before[np.isfinite(before)]
        usual[k], largest[k] = np.quantile(before, USUAL), before.max()
    return Reference(length, edges, expected, usual, largest)


def shift_from(reference: Reference, recent: np.ndarray) -> Shift:
    """Return how unlike the training the newest bars (W, N, F) are; W is the reference's length for a fair answer."""
    psi = np.full(len(reference.usual), np.nan)
    for k in np.flatnonzero(np.isfinite(reference.usual)):
        psi[k] = stability(reference.edges[k], reference.expected[k], recent[..., k].ravel())
    return Shift(psi, reference.usual, reference.largest)


def shift_of(trained: np.ndarray, recent: np.ndarray) -> Shift:
    """Return how unlike the training the newest bars are, and how unlike stretches of the training were to all of it.

    Parameters
    ----------
    trained : (T, N, F)
        Unscaled inputs of the training.
    recent : (W, N, F)
        Of the newest bars.

    Returns
    -------
    Shift

    Raises
    ------
    DataError
        The training has fewer than ``FEWEST_WINDOWS`` stretches of W bars.

    Notes
    -----
    A week is never a fair sample of years: slow inputs hardly move in it. So an index is not held against a fixed
    threshold but against the same index of every stretch of the training that is as long.
    """
    return shift_from(reference_of(trained, len(recent)), recent)


def verdict_of(psi: float, usual: float, largest: float) -> str:
    """Return ``steady``, ``shifted`` (more than usual), ``unlike`` (more than ever in training), or ``unknown``."""
    if not np.isfinite([psi, usual, largest]).all():
        return "unknown"
    return "unlike" if psi > largest else "shifted" if psi > usual else "steady"
