"""From a Learnable to a table of rows, for learners that look at one bar of one symbol at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.domain import F8
from engine.errors import DataError
from models.forecast import QUANTILE_LEVELS, Cancelled, Learnable, Prediction, Progress, Stream
from models.scoring import log_loss, pinball_loss
from models.splits import usable

CLIP = 4.0
"""Inputs further out than this many standard deviations count as if they were there."""

TARGET_CLIP = 6.0
"""The same for targets that a squared error is fitted to: sigmas."""

KNOWN_SHARE = 0.5
"""A row is forecast when at least this share of its inputs is known; the others count as average."""

FEWEST_ROWS = 200


class RowForecaster:
    """A forecaster that needs one bar and no memory: its stream is a batch of one."""

    def rows(self, features: np.ndarray) -> tuple[F8, F8]:
        """Return quantiles (..., H, Q) and probabilities up (..., H) for unscaled features (..., F)."""
        raise NotImplementedError

    def predict(self, data: Learnable, rows: slice) -> Prediction:
        """Forecast the bars ``rows``."""
        return Prediction(*self.rows(data.features[rows]))

    def stream(self, n_symbols: int) -> Stream:
        """Return the forecaster as it runs in the engine."""
        return RowStream(self)

    def valid_losses(self, data: Learnable, valid: slice) -> dict[str, float]:
        """Return the losses on the validation rows, as far as their targets are known by the end of these."""
        losses = mean_losses(*self.rows(data.features[valid]), known_targets(data, valid))
        return {f"valid_{name}": loss for name, loss in losses.items()}


class RowStream:
    """The stream of a ``RowForecaster``."""

    def __init__(self, forecaster: RowForecaster) -> None:
        self._forecaster = forecaster

    def update(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take one bar's unscaled features (N, F); return quantiles (N, H, Q) and probabilities up (N, H)."""
        return self._forecaster.rows(features)


def report(progress: Progress, share: float, losses: dict[str, float]) -> None:
    """Tell the share done; raise ``Cancelled`` when a person has cancelled."""
    if not progress(share, losses):
        raise Cancelled


class Scaler(NamedTuple):
    """What turns features into inputs; estimated on training rows alone."""

    center: F8  # (F,)
    scale: F8  # (F,), 0 where a feature was unknown or constant: it is not used

    @classmethod
    def of(cls, features: np.ndarray) -> Scaler:
        """Return mean and standard deviation (ddof 0) of the known values of each column of (..., F)."""
        flat = features.reshape(-1, features.shape[-1])
        known = np.isfinite(flat)
        count = known.sum(axis=0)
        zeroed = np.where(known, flat, 0.0)
        center = zeroed.sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
        zeroed -= np.where(known, center.astype(np.float32), 0.0)
        scale = np.sqrt(np.einsum("ij,ij->j", zeroed, zeroed, dtype=np.float64) / np.maximum(count, 1))
        enough = count >= 0.05 * max(len(flat), 1)
        return cls(center, np.where(enough & (scale > 1e-12), scale, 0.0))

    def inputs(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return clipped inputs (..., F) float32, 0 where unknown or unused, and which rows (...,) are known enough."""
        used = self.scale > 0.0
        per_scale = np.divide(1.0, self.scale, out=np.zeros(len(used)), where=used).astype(np.float32)
        scaled = (features.astype(np.float32, copy=False) - self.center.astype(np.float32)) * per_scale
        known = np.isfinite(scaled)
        share = (known & used).sum(axis=-1) / max(int(used.sum()), 1)
        scaled[~known] = 0.0
        return np.clip(scaled, -CLIP, CLIP, out=scaled), share >= KNOWN_SHARE


def known_targets(data: Learnable, rows: slice) -> F8:
    """Return targets (T', N, H) of ``rows``, NaN where they are known only after the last of these bars closed."""
    start, stop, _ = rows.indices(len(data.panel.ts_close))
    if stop <= start:
        return np.full((0, *data.target.shape[1:]), np.nan)
    in_time = usable(data.panel.ts_close, data.ts_known, rows)
    return np.where(in_time[:, None, :], data.target[start:stop], np.nan)


def examples(data: Learnable, rows: slice, scaler: Scaler) -> tuple[np.ndarray, F8]:
    """Return inputs (M, F) and targets (M, H) of all bars and symbols in ``rows`` of which every horizon is known."""
    inputs, known = scaler.inputs(data.features[rows])
    target = known_targets(data, rows)
    chosen = known & np.isfinite(target).all(axis=-1)
    return inputs[chosen], target[chosen]


def enough_rows(count: int, learner: str) -> None:
    """Refuse to learn from almost nothing."""
    if count < FEWEST_ROWS:
        raise DataError(
            f"{learner} found {count} training rows with known inputs and targets; it needs {FEWEST_ROWS}: "
            "give it more bars, or bars with fewer gaps"
        )


def residual_quantiles(residual: F8) -> F8:
    """Return the quantiles (H, Q) of residuals (M, H)."""
    return np.quantile(residual, QUANTILE_LEVELS, axis=0).T


def around(mean: np.ndarray, residual_quantile: F8, prob_up: np.ndarray, known: np.ndarray) -> tuple[F8, F8]:
    """Return quantiles (..., H, Q) and probabilities (..., H) around a mean, NaN where the row is not known."""
    quantile = mean[..., :, None] + residual_quantile
    return np.where(known[..., None, None], quantile, np.nan), np.where(known[..., None], prob_up, np.nan)


def mean_losses(quantile: F8, prob_up: F8, target: F8) -> dict[str, float]:
    """Return the mean log-loss and pinball loss, NaN without a single known forecast."""
    out = {}
    for name, loss in (("log_loss", log_loss(prob_up, target)), ("pinball_loss", pinball_loss(quantile, target))):
        known = np.isfinite(loss)
        out[name] = float(loss[known].mean()) if known.any() else float("nan")
    return out
