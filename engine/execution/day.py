"""The day's ladder for what no decision made: tickets, parents, and what the screen says."""

from __future__ import annotations

from enum import StrEnum

from engine.settings import SystemConfig


class DayRung(StrEnum):
    """What today's worst loss still allows; within a UTC day it only gets stricter."""

    OPEN = "open"
    SHRINKING = "shrinking"  # decisions size the book down
    REDUCE_ONLY = "reduce only"
    FLAT = "flat"

    @property
    def may_grow(self) -> bool:
        """Whether an order may still open risk."""
        return self in (DayRung.OPEN, DayRung.SHRINKING)


def day_rung(worst_loss: float, config: SystemConfig) -> DayRung:
    """Return the rung that a day's worst loss stands on.

    Parameters
    ----------
    worst_loss : float
        Fraction of the day's opening equity, what closing the book was expected to cost included once it was closed.
    config : SystemConfig
        Its ``daily_*_share`` are shares of ``max_daily_loss``. With the daily limit off no loss climbs.

    Returns
    -------
    DayRung

    Examples
    --------
    >>> [str(day_rung(loss, SystemConfig())) for loss in (0.02, 0.03, 0.04, 0.045)]
    ['open', 'shrinking', 'reduce only', 'flat']
    """
    if not config.use_gate_daily_loss:
        return DayRung.OPEN
    rungs = (
        (DayRung.FLAT, config.daily_flatten_share),
        (DayRung.REDUCE_ONLY, config.daily_reduce_share),
        (DayRung.SHRINKING, config.daily_throttle_share),
    )
    for rung, share in rungs:
        if worst_loss >= share * config.max_daily_loss:
            return rung
    return DayRung.OPEN
