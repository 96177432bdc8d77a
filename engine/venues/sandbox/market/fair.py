"""Fair values of the simulated market as a function of seed, start and time alone.

The process runs on a fixed grid of 100 ms, generated a minute at a time, so a market that is advanced in other steps,
or at another speed, goes through the same values. Only background orders depend on when it is advanced. Shocks are laid
over the path and do not change its dice.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.venues.sandbox.market.bars import MINUTE_MS
from engine.venues.sandbox.market.history import PREMIUM_NOISE, History, premium_trend
from engine.venues.sandbox.market.process import F8, Steps, simulate, vol_ratio
from engine.venues.sandbox.market.shocks import Shock

GRID_MS = 100
_PER_MINUTE = MINUTE_MS // GRID_MS
_MOMENTUM_KEEP = math.exp(-1.0 / (7 * 24 * 60))
# Per minute; the hourly noise of the history keeps 0.92.
_NOISE_KEEP = 0.92 ** (1.0 / 60.0)


class Stretch(NamedTuple):
    """Grid points passed by one move: (k, S) log fair values, k may be 0, and (S,) their diffusive deviation."""

    log_px: F8
    deviation: F8


class FairPath:
    """Walks the grid.

    Parameters
    ----------
    past : History
        Where the path begins; its process state is taken over and moved on.
    start_ms : int
        UTC ms, a whole minute.
    seed : int

    Attributes
    ----------
    log_px, vol_ratio, premium : (S,) float64
        Log fair value of the perpetual, volatility relative to its long-run level, and the perpetual's premium over
        its index as a fraction, at the latest grid point.
    """

    def __init__(self, past: History, start_ms: int, seed: int) -> None:
        self._par, self._state = past.par, past.state
        self._rng = np.random.default_rng([seed, 2])
        self._start_ms = start_ms
        self._i = 0
        self._minute_end = 0
        self._steps: Steps | None = None
        self._path: F8 = past.log_px[None, :]
        self._momentum: F8 = past.momentum.copy()
        self._noise: F8 = past.premium - premium_trend(past.momentum)
        self.log_px: F8 = past.log_px.copy()
        self.vol_ratio: F8 = vol_ratio(past.state)
        self.premium: F8 = past.premium.copy()
        self.shocks: list[tuple[Shock, F8]] = []  # each with 1.0 for the symbols it moves

    @property
    def regime(self) -> int:
        """The volatility regime at the end of the minute that has been generated."""
        return self._state.regime

    def set_regime(self, regime: int) -> None:
        """Force the volatility regime from the next whole minute on; the chain goes on from there."""
        self._state.regime = regime

    def move(self, now_ms: int) -> Stretch:
        """Walk to the last grid point at or before `now_ms` and return what was passed."""
        target = max(self._i, (now_ms - self._start_ms) // GRID_MS)
        parts, variance = [self._path[:0]], np.zeros_like(self.log_px)
        while self._i < target:
            if self._i == self._minute_end or self._steps is None:
                self._steps = self._next_minute()
            base = self._minute_end - _PER_MINUTE
            i, j = self._i - base, min(target, self._minute_end) - base
            parts.append(self._path[i:j])
            variance += (self._steps.deviation[i:j] ** 2).sum(axis=0)
            self.vol_ratio = self._steps.vol_ratio[j - 1]
            self._i = base + j
        passed = np.concatenate(parts)
        if len(passed):
            if self.shocks:
                passed = passed + self._moved(target, len(passed))
            self.log_px = passed[-1]
        return Stretch(passed, np.sqrt(variance))

    def thin(self, now_ms: int) -> F8:
        """Return what the shocks leave of each symbol's book (S,), 1.0 without any."""
        left = np.ones_like(self.log_px)
        for shock, moves in self.shocks:
            left *= 1.0 - moves * (1.0 - shock.depth_at(now_ms))
        return left

    def _moved(self, target: int, n: int) -> F8:
        """Return what the shocks add to the log values of the last ``n`` grid points up to ``target``: (n, S)."""
        ts_ms = self._start_ms + np.arange(target - n + 1, target + 1) * GRID_MS
        return sum((np.outer(shock.log_move(ts_ms), moves) for shock, moves in self.shocks), np.zeros((n, 1)))

    def _next_minute(self) -> Steps:
        opening = self._path[-1]
        begin_ms = self._start_ms + self._minute_end * GRID_MS
        steps = simulate(self._par, self._state, begin_ms, _PER_MINUTE, GRID_MS / 1e3, self._rng)
        self._path = opening + np.cumsum(steps.log_return, axis=0)
        self._minute_end += _PER_MINUTE
        self._momentum = self._momentum * _MOMENTUM_KEEP + (self._path[-1] - opening)
        shock = self._rng.standard_normal(len(opening)) * (PREMIUM_NOISE * math.sqrt(1 - _NOISE_KEEP**2))
        self._noise = _NOISE_KEEP * self._noise + shock
        self.premium = premium_trend(self._momentum) + self._noise
        return steps
