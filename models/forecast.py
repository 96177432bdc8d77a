"""What a forecaster takes and gives, on one screen: panels of bars in, quantiles and probabilities out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from engine.domain import F8, I8

HORIZONS = (1, 2, 4, 8, 12, 24)
"""Bars ahead that every forecaster answers for; the last is the ``forecast_horizon`` of the networks."""

QUANTILE_LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
"""Levels of the forecast distribution: the central intervals of 50, 80, 90 and 95 % are pairs of these."""

MEDIAN = QUANTILE_LEVELS.index(0.5)


class Panel(NamedTuple):
    """Closed bars of N symbols on one clock, oldest first. NaN is unknown, never zero."""

    symbols: tuple[str, ...]
    ts_close: I8  # (T,) ns, when the bar is known
    open_px: F8  # (T, N) quote per base
    high_px: F8
    low_px: F8
    close_px: F8
    volume: F8  # (T, N) base
    funding: F8  # (T, N) newest rate that was known at ts_close, fraction per funding interval
    basis: F8  # (T, N) perp over spot minus one, fraction
    imbalance: F8  # (T, N) (bid - ask) / (bid + ask) of the quantities at the touch, in [-1, 1]


class Learnable(NamedTuple):
    """A panel as learners see it: scaled inputs, and targets in units of the volatility that was known at the bar."""

    panel: Panel
    features: np.ndarray  # (T, N, F) float32, unscaled, NaN while warming up
    sigma: F8  # (T, N) standard deviation of one bar's log return, known at ts_close
    target: F8  # (T, N, H) log return over each horizon / (sigma * sqrt(horizon)); NaN where not known yet
    ts_known: I8  # (T, H) ns, when each target became known


class Prediction(NamedTuple):
    """Forecasts for T bars of N symbols. NaN where there is none."""

    quantile: np.ndarray  # (T, N, H, Q) log return over each horizon / (sigma * sqrt(horizon)), rising along Q
    prob_up: np.ndarray  # (T, N, H) probability that the return is above zero


Progress = Callable[[float, dict[str, float]], bool]
"""Told the share done and the newest losses; returns False when a person has cancelled."""


class Cancelled(Exception):
    """A person cancelled the training."""


class Stream(Protocol):
    """A fitted forecaster that is shown one bar after the other and carries what it needs."""

    def update(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take one bar's unscaled features (N, F); return quantiles (N, H, Q) and probabilities up (N, H)."""


class Forecaster(Protocol):
    """One way to forecast. Batch and stream give the same numbers within the stated tolerance."""

    name: str

    def fit(self, data: Learnable, train: slice, valid: slice, seed: int, progress: Progress) -> dict[str, float]:
        """Learn from the rows of ``train``, stop by those of ``valid``; a fitted one starts from what it knows.

        Both slices end before anything that is judged; targets that are known only after the slice's last bar are not
        used. Returns the losses, with ``seconds``. Raises ``Cancelled``.
        """

    def predict(self, data: Learnable, rows: slice) -> Prediction:
        """Forecast the bars ``rows``; bars before them may be read, bars after them may not."""

    def stream(self, n_symbols: int) -> Stream:
        """Return the forecaster as it runs in the engine, having seen nothing yet."""

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """Return tensors and JSON-able settings: all that the registry keeps."""

    def load(self, tensors: dict[str, np.ndarray], settings: dict[str, object]) -> None:
        """Take up what ``state`` gave."""
