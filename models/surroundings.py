"""What a set knows of the market besides forecasts: its regimes, when it changes, and what inputs used to be like."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from engine.domain import F8, NS_PER_MS
from engine.errors import DataError
from models.answers import drift_rows
from models.changepoints import is_loud, new_run_state, watch
from models.forecast import Learnable, Panel
from models.regimes import (
    Regimes,
    believe,
    filtered,
    first_belief,
    fit_regimes,
    regime_observations,
    regimes_from,
    regimes_state,
)
from models.shift import Reference, reference_of, shift_from

DRIFT_BARS = 168
"""Newest bars that are compared with the training: a week of hours."""

SHOWN_BARS = 400
"""Newest bars whose regime a screen shows."""

SHOWN_CHANGES = 20
RARE_SHARE = 0.05
RARE_BARS = 48
"""A regime that the training hardly knew, and that lasts two days, is a change too."""

MAX_Z = 8.0


class Surroundings:
    """What is learned beside the forecasters, on the same bars; the registry keeps it as a kind of its own.

    Attributes
    ----------
    regimes : Regimes or None
        None: the training had too few known bars.
    share : (K,) float64
        How much of the training each regime was the likeliest in.
    reference : Reference or None
        Of the inputs; None: the training was too short to know what is usual.
    centre, scale : float
        Mean and standard deviation of ``market_move`` in the training.
    """

    def __init__(self) -> None:
        self.regimes: Regimes | None = None
        self.share: F8 = np.zeros(0)
        self.reference: Reference | None = None
        self.centre, self.scale = 0.0, 1.0

    def fit(self, data: Learnable, train: slice) -> None:
        """Learn from the rows ``train`` and from no other; what cannot be learned from them stays unknown."""
        observations = regime_observations(data.features)
        try:
            self.regimes = fit_regimes(observations, train)
            likeliest = filtered(self.regimes, observations[train]).argmax(axis=1)
            self.share = np.bincount(likeliest, minlength=len(self.regimes.names)) / len(likeliest)
        except DataError:
            self.regimes = None
        try:
            self.reference = reference_of(data.features[train], DRIFT_BARS)
        except DataError:
            self.reference = None
        moves = np.array([market_move(row) for row in data.target[train][:, :, 0]])
        moves = moves[np.isfinite(moves)]
        if len(moves) > 1 and moves.std() > 0.0:
            self.centre, self.scale = float(moves.mean()), float(moves.std())

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """Return the arrays, and what they are about; an input that was never known has -1 for what is usual."""
        tensors: dict[str, np.ndarray] = {"move": np.array([self.centre, self.scale])}
        settings: dict[str, object] = {}
        if self.regimes is not None:
            own, settings = regimes_state(self.regimes)
            tensors |= {f"regimes.{name}": value for name, value in own.items()} | {"regimes.share": self.share}
        if self.reference is not None:
            for name in ("edges", "expected", "usual", "largest"):
                value = getattr(self.reference, name)
                tensors[f"drift.{name}"] = np.where(np.isnan(value), -1.0, value)
            settings["drift_bars"] = self.reference.length
        return tensors, settings

    def load(self, tensors: dict[str, np.ndarray], settings: dict[str, Any]) -> None:
        """Take up what ``state`` gave."""
        self.centre, self.scale = (float(value) for value in tensors["move"])
        if "regimes.start" in tensors:
            own = {name.removeprefix("regimes."): value for name, value in tensors.items() if name[:8] == "regimes."}
            self.share = own.pop("share")
            self.regimes = regimes_from(own, settings)
        if "drift.edges" in tensors:
            usual, largest = (
                np.where(tensors[f"drift.{name}"] < 0.0, np.nan, tensors[f"drift.{name}"])
                for name in ("usual", "largest")
            )
            self.reference = Reference(
                int(settings["drift_bars"]), tensors["drift.edges"], tensors["drift.expected"], usual, largest
            )


def market_move(returns: F8) -> float:
    """Return the mean of the symbols' returns (N,), each in sigmas of its own, within ±8; NaN if none is known.

    Returns over the volatility known before them are close to independent with a steady variance while nothing
    changes, which is what the alarm of ``models.changepoints`` wants.
    """
    known = returns[np.isfinite(returns)]
    return float(np.clip(known, -MAX_Z, MAX_Z).mean()) if len(known) else float("nan")


class Lookout:
    """``Surroundings`` on a live tape: shown every bar once, it says where the market stands. It forecasts nothing."""

    def __init__(self, learned: Surroundings) -> None:
        self._learned = learned
        self._belief: F8 | None = None
        self._runs = new_run_state()
        self._before: tuple[F8, F8] | None = None  # close and sigma of the bar before
        self._is_loud = False
        self._rare_bars = 0
        self._recent: deque[np.ndarray] = deque(maxlen=DRIFT_BARS)
        self.points: deque[list[float]] = deque(maxlen=SHOWN_BARS)
        self.changes: deque[list[Any]] = deque(maxlen=SHOWN_CHANGES)  # [moment in ms, what changed]

    def see(self, panel: Panel, features: np.ndarray, sigma: F8) -> None:
        """Take one bar: a panel of one row, its unscaled inputs (N, F) and volatilities (N,)."""
        ts_ms = int(panel.ts_close[0]) // NS_PER_MS
        self._recent.append(features)
        self._see_regime(ts_ms, features)
        close = panel.close_px[0]
        if self._before is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                move = market_move(np.log(close / self._before[0]) / self._before[1])
            value = (move - self._learned.centre) / self._learned.scale
            self._runs, probability = watch(self._runs, np.array([value]))
            loud = is_loud(self._is_loud, float(probability[0]))
            if loud and not self._is_loud:
                self.changes.append([ts_ms, "the size of moves changed"])
            self._is_loud = loud
        self._before = close, sigma

    def _see_regime(self, ts_ms: int, features: np.ndarray) -> None:
        regimes = self._learned.regimes
        if regimes is None:
            return
        first = self._belief is None
        belief = first_belief(regimes) if self._belief is None else self._belief
        self._belief = believe(regimes, belief, regime_observations(features[None])[0], first)
        self.points.append([ts_ms, *self._belief.tolist()])
        likeliest = int(self._belief.argmax())
        self._rare_bars = self._rare_bars + 1 if self._learned.share[likeliest] < RARE_SHARE else 0
        if self._rare_bars == RARE_BARS:
            self.changes.append([ts_ms, f"{regimes.names[likeliest]} for two days, which the training hardly knew"])

    def regime(self) -> tuple[str, float] | None:
        """Return the likeliest regime and its probability, None if nothing is known."""
        if self._belief is None or self._learned.regimes is None:
            return None
        likeliest = int(self._belief.argmax())
        return self._learned.regimes.names[likeliest], float(self._belief[likeliest])

    def answer(self) -> dict[str, Any]:
        """Return ``regimes`` (names, points, changes) or None, and ``drift``, a row an input, in JSON types."""
        regimes = self._learned.regimes
        found: dict[str, Any] = {"regimes": None, "changes": list(self.changes), "drift": []}
        if regimes is not None and self.points:
            found["regimes"] = {"names": list(regimes.names), "points": list(self.points)}
        if self._learned.reference is not None and len(self._recent) == self._learned.reference.length:
            found["drift"] = drift_rows(shift_from(self._learned.reference, np.array(self._recent)))
        return found
