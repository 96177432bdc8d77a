"""A move laid over the simulated market: prices drift by a fraction and stay there, and the book is thin meanwhile."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.venues.sandbox.market.process import F8


class Shock(NamedTuple):
    """What is moved, when, by how much and how thin the book is."""

    symbols: tuple[str, ...]
    begin_ms: int  # UTC, market time
    over_ms: int
    move: float  # fraction; -0.3 takes three tenths of the price
    depth: float  # what is left of the makers' quantities

    def log_move(self, ts_ms: npt.NDArray[np.int64]) -> F8:
        """Return what is added to log fair values at some moments: 0 before, log(1 + move) from the end on.

        Linear in the logarithm between, so every second takes the same share of the price.
        """
        way = np.clip((ts_ms - self.begin_ms) / self.over_ms, 0.0, 1.0)
        return way * math.log1p(self.move)

    def depth_at(self, ts_ms: int) -> float:
        """Return what is left of the book: ``depth`` for twice the move's length, then back to 1 over as long again."""
        since = (ts_ms - self.begin_ms) / self.over_ms
        if since < 0.0:
            return 1.0
        return self.depth + (1.0 - self.depth) * min(max((since - 2.0) / 2.0, 0.0), 1.0)
