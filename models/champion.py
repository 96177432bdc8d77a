"""Champion and challenger: who forecasts better on the same tape, by a test that may be looked at any time.

Both forecast the same bars. Their losses are compared in blocks of time that share no outcome, and a bet is placed on
the challenger before each block, with what earlier blocks have shown. If the challenger is not better, the capital of
such a bet is a supermartingale: the chance that it ever multiplies by 1 / alpha is at most alpha, however often one
looks (Ville's inequality). Source: Waudby-Smith & Ramdas (2024), on means of bounded variables by betting.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np

from engine.domain import F8, I8, NS_PER_DAY, NS_PER_S
from models.ensemble import Skill
from models.forecast import Prediction
from models.scoring import log_loss, pinball_loss

ALPHA = 0.05
"""Chance of ever promoting one challenger that is not better; every challenger is a new chance of this size."""

LIMIT = 0.02
"""Differences of a block's losses count as if they were at most this far from zero; see ``limits``."""

LEAST_LIMIT = 0.002
SPREADS = 2.5
"""A block counts up to this many root mean squares of the blocks before it."""

WORTHWHILE = 0.001
"""A challenger that is not better by this much is not worth a change."""

BLOCK_NS = 2 * NS_PER_DAY
"""A set lives for 60 days and challenges for less, so no challenge has more than 29 blocks."""

MOST_STAKE = 0.75
PINBALL_SCALE = 0.25
"""About the mean pinball loss of a right forecast of a unit normal: brings both losses to shares of what is usual."""


class Action(StrEnum):
    """What to do with a challenger."""

    PROMOTE = "promote"
    KEEP = "keep"
    WAIT = "wait"


class Verdict(NamedTuple):
    """The decision with its numbers."""

    action: Action
    evidence_for: float  # largest capital of the bet that the challenger is better; promote at 1 / alpha
    evidence_against: float  # the same for: not better by what is worthwhile; keep at 1 / alpha
    needed: float  # 1 / alpha
    mean_difference: float  # of the blocks' losses, champion minus challenger; > 0: the challenger is better
    n_blocks: int

    @property
    def sentence(self) -> str:
        """The decision in words."""
        said = {
            Action.PROMOTE: "The challenger forecasts better",
            Action.KEEP: "The challenger is not better by what would be worth a change",
            Action.WAIT: "Nothing can be said yet",
        }[self.action]
        blocks = f"{self.n_blocks} block{'' if self.n_blocks == 1 else 's'}"
        return (
            f"{said}: after {blocks} the evidence for it is {self.evidence_for:.1f} and against it "
            f"{self.evidence_against:.1f}; {self.needed:.0f} decides."
        )


def block_differences(
    champion: Prediction, challenger: Prediction, target: F8, ts_close: I8, ts_known: I8, block_ns: int = BLOCK_NS
) -> F8:
    """Return the mean loss of the champion minus that of the challenger in each block of time.

    loss = log-loss / (2 log 2) + pinball loss / (2 * PINBALL_SCALE), over all symbols and horizons

    Parameters
    ----------
    champion, challenger : Prediction
        Of the same bars, (T, N, H, Q) and (T, N, H).
    target : (T, N, H)
    ts_close : (T,) ns
    ts_known : (T, H) ns
    block_ns : int
        Length of a block, counted from the epoch; longer than the longest horizon.

    Returns
    -------
    (B,) float64
        Oldest first. A forecast counts only if its outcome is known before its block ends, so that no two blocks share
        a return; blocks without any are left out, and so is the newest while it lasts.
    """
    difference = _loss(champion, target) - _loss(challenger, target)
    block = ts_close // block_ns
    in_time = (ts_known // block_ns == block[:, None]) & (block[:, None] < ts_close[-1:, None] // block_ns)
    known = np.isfinite(difference) & in_time[:, None, :]
    numbers = np.unique(block, return_inverse=True)[1]
    sums = np.bincount(numbers, weights=np.where(known, difference, 0.0).sum(axis=(1, 2)))
    counts = np.bincount(numbers, weights=known.sum(axis=(1, 2)))
    return np.asarray(sums[counts > 0] / counts[counts > 0])


def _loss(said: Prediction, target: F8) -> F8:
    direction = log_loss(said.prob_up, target) / np.log(2.0)
    return 0.5 * (direction + pinball_loss(said.quantile, target) / PINBALL_SCALE)


def capital(outcomes: F8) -> F8:
    """Return the running capital of a bet that outcomes are above zero on average.

    K_t = prod over s <= t of (1 + stake_s * x_s), stake_s = mean / (variance + mean^2) of the outcomes before s, held
    in [0, MOST_STAKE]; the estimates start from one outcome of 0 with variance 1/4.

    Parameters
    ----------
    outcomes : (..., B), in [-1, 1]

    Returns
    -------
    (..., B) float64
        At least 0. If no outcome's mean, given those before it, is above zero, K is a supermartingale from 1.

    Notes
    -----
    The first block stakes nothing and each later one at most multiplies by 1.75, so 20 takes seven blocks, however
    large the difference. A steady difference of half of ``LIMIT`` takes 11 blocks, of a quarter 14, of a tenth 20;
    what noise adds to that is in ``models.outlook``.
    """
    total, square = np.zeros(outcomes.shape[:-1]), np.full(outcomes.shape[:-1], 0.25)
    held = np.ones(outcomes.shape[:-1])
    out = np.empty(outcomes.shape)
    for b in range(outcomes.shape[-1]):
        x = outcomes[..., b]
        mean = total / (b + 1.0)
        stake = np.clip(mean / (square / (b + 1.0)), 0.0, MOST_STAKE)
        held = held * (1.0 + stake * x)
        out[..., b] = held
        total, square = total + x, square + x * x
    return out


def compare(differences: F8, alpha: float = ALPHA) -> Verdict:
    """Return whether the challenger is to be promoted, from blocks of loss differences since it was registered.

    Parameters
    ----------
    differences : (B,) float64
        From ``block_differences``; may be looked at after every block.
    alpha : float
        Chance of ever promoting a challenger whose (limited) difference is not above zero on average.

    Returns
    -------
    Verdict
        The first of both bets to reach 1 / alpha decides, and its decision stays. Without a decision the challenge ends
        with the life of the champion, see ``models.retraining``.
    """
    values = np.asarray(differences, dtype=np.float64)
    n_blocks = len(values)
    if n_blocks == 0:
        return Verdict(Action.WAIT, 1.0, 1.0, 1.0 / alpha, float("nan"), 0)
    better, worse = _both(values)
    needed = 1.0 / alpha
    first_better, first_worse = _first_at(better, needed), _first_at(worse, needed)
    action = Action.WAIT
    if first_better < first_worse:
        action = Action.PROMOTE
    elif first_worse < n_blocks:
        action = Action.KEEP
    return Verdict(
        action, float(better.max()), float(worse.max()), needed, float(np.mean(differences)), n_blocks
    )  # fmt: skip


def deciding(differences: F8, alpha: float = ALPHA) -> tuple[I8, I8]:
    """Return the blocks, from 0, at which the evidence for and against decides, in each of (P, B) paths; B if never."""
    n_blocks = differences.shape[-1]
    reached = [one >= 1.0 / alpha for one in _both(differences)]
    better, worse = (np.where(one.any(axis=-1), one.argmax(axis=-1), n_blocks) for one in reached)
    return better, worse


def limits(differences: F8) -> F8:
    """Return how far each block's difference (..., B) counts: what the blocks before it call for, known before it.

    limit_b = SPREADS * root mean square of the differences before b, those begun with one of LIMIT / SPREADS, held in
    [LEAST_LIMIT, LIMIT]

    A bet that is won by a difference of a tenth of the limit hardly grows, so the limit follows the differences down.
    It depends on earlier blocks alone, so the stake stays a supermartingale of what is limited by it.
    """
    square = np.square(differences)
    first = np.full((*differences.shape[:-1], 1), (LIMIT / SPREADS) ** 2)
    before = np.cumsum(np.concatenate([first, square[..., :-1]], axis=-1), axis=-1)
    count = np.arange(1.0, differences.shape[-1] + 1.0)
    return np.clip(SPREADS * np.sqrt(before / count), LEAST_LIMIT, LIMIT)


def _both(differences: F8) -> tuple[F8, F8]:
    limit = limits(differences)
    scaled, worth = np.clip(differences / limit, -1.0, 1.0), WORTHWHILE / limit
    return capital(scaled), capital((worth - scaled) / (1.0 + worth))


def evidence_path(differences: F8) -> list[list[float]]:
    """Return the evidence for and against a challenger after each block, as ``compare`` weighs it; rows of two."""
    better, worse = _both(np.asarray(differences, dtype=np.float64))
    return [[float(one), float(other)] for one, other in zip(better, worse, strict=True)]


def _first_at(values: F8, level: float) -> int:
    """Return the first index at which ``level`` is reached, the length if never."""
    reached = np.flatnonzero(values >= level)
    return int(reached[0]) if len(reached) else len(values)


class Trigger(StrEnum):
    """Why a model is trained again."""

    SCHEDULE = "schedule"
    EXPIRY = "expiry"
    DRIFT = "drift"
    REGIME = "regime"


class Watch(NamedTuple):
    """What retraining depends on. Moments are ns; 0 is never."""

    ts_now: int
    ts_trained: int  # end of the newest training, of a challenger too
    ts_regime_changed: int  # newest change of regime or change point
    recent: Skill  # of the model against the base rate over the newest days
    schedule_s: float  # trained this often anyway
    pause_s: float  # never sooner than this after a training
    is_ending: bool = False  # the set in force is about to expire, and nobody is there to follow it


DRIFT_Z = 3.0
DRIFT_DAYS = 14


def drifted(recent: Skill) -> bool:
    """Return whether a model is surely worse than the base rate of late: on any horizon, by three standard errors."""
    judged = (recent.n_days >= DRIFT_DAYS) & (recent.error > 0.0)
    return bool(np.any(judged & (recent.gain < -DRIFT_Z * recent.error)))


def retraining_due(watch: Watch) -> Trigger | None:
    """Return why a model should be trained again now, None if it should not.

    A drift alarm or a change of regime since the last training comes first, then the end of the set in force, the
    schedule last; nothing happens within the pause, so that an alarm that stays on does not train without end.
    """
    age_s = (watch.ts_now - watch.ts_trained) / NS_PER_S
    if watch.ts_trained > 0 and age_s < watch.pause_s:
        return None
    if drifted(watch.recent):
        return Trigger.DRIFT
    if watch.ts_regime_changed > watch.ts_trained > 0:
        return Trigger.REGIME
    if watch.is_ending:
        return Trigger.EXPIRY
    return Trigger.SCHEDULE if watch.ts_trained <= 0 or age_s >= watch.schedule_s else None
