"""Sleeves: what each is, for whom, and how it is switched on. The kernels are in ``engine.core.sleeves``."""

from __future__ import annotations

from typing import NamedTuple

from engine.domain import Sleeve
from engine.strategies import ema_cross, portfolio, trend

BUILT_IN = {trend.NAME: trend.SPEC, ema_cross.NAME: ema_cross.SPEC, portfolio.NAME: portfolio.SPEC}
"""Built-in strategies by the name that the command line takes."""


class SleeveChoice(NamedTuple):
    """A strategy as a run needs it."""

    name: str
    sleeve: Sleeve
    sentence: str


def built_in(name: str) -> SleeveChoice | None:
    """Return the built-in strategy of that name, or None."""
    spec = BUILT_IN.get(name)
    return SleeveChoice(name, spec[0], spec[1]) if spec else None
