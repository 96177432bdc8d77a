"""How long a challenge may still take: futures drawn from the differences that were seen, put through the same test."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.domain import F8
from models.champion import ALPHA, BLOCK_NS, deciding

FEWEST_BLOCKS = 5
"""With fewer nobody can say how the differences spread."""

MOST_AHEAD = 90  # blocks; half a year
N_PATHS = 200
DAYS_A_BLOCK = BLOCK_NS / 8.64e13


class Outlook(NamedTuple):
    """What becomes of a challenge if its differences go on as they were."""

    days: float | None  # until half of the drawn futures have a verdict; None: later than ``MOST_AHEAD`` blocks
    share: float  # of the futures that have one by the challenge's end
    for_it: float  # of the futures in which that verdict, by the end, is for the challenger


def outlook(differences: F8, days_left: float, alpha: float = ALPHA, seed: int = 0) -> Outlook | None:
    """Return when a challenge can be expected to be decided.

    Parameters
    ----------
    differences : (B,) float64
        Blocks of loss differences so far, none of which decided.
    days_left : float
        Until the challenge ends because a set expires.
    alpha : float
    seed : int
        Of the draws; one for all, so that the same record gives the same sentence.

    Returns
    -------
    Outlook or None
        None before ``FEWEST_BLOCKS`` blocks.

    Notes
    -----
    Blocks share no outcome, so they are drawn one by one with replacement (Efron, 1979). The mean that was seen is
    taken for the true one, which flatters an early lead: it says what such differences take, not who is better.
    """
    seen = np.asarray(differences, dtype=np.float64)
    if len(seen) < FEWEST_BLOCKS:
        return None
    drawn = np.random.default_rng(seed).choice(seen, (N_PATHS, MOST_AHEAD))
    paths = np.concatenate([np.broadcast_to(seen, (N_PATHS, len(seen))), drawn], axis=1)
    better, worse = deciding(paths, alpha)
    first = np.minimum(better, worse) + 1 - len(seen)  # blocks from now on
    by_end = first * DAYS_A_BLOCK <= days_left
    middle = float(np.median(first))
    return Outlook(
        middle * DAYS_A_BLOCK if middle <= MOST_AHEAD else None, float(by_end.mean()),
        float((by_end & (better < worse)).mean()),
    )  # fmt: skip


def steady_days(effect: float, spread: float, alpha: float = ALPHA, seed: int = 0) -> float | None:
    """Return after how many days half of the challengers with a true difference are promoted.

    Parameters
    ----------
    effect : float
        Mean of a block's difference, in units of the loss.
    spread : float
        Its standard deviation; normal blocks.

    Returns
    -------
    float or None
        None: later than ``MOST_AHEAD`` blocks.
    """
    paths = effect + spread * np.random.default_rng(seed).standard_normal((N_PATHS, MOST_AHEAD))
    better, worse = deciding(paths, alpha)
    promoted = np.where(better < worse, better, MOST_AHEAD)
    middle = float(np.median(promoted)) + 1.0
    return middle * DAYS_A_BLOCK if middle <= MOST_AHEAD else None
