"""The plainest forecasts, which every model must beat: the base rate, the last return's sign, and a straight line."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.domain import F8
from models.forecast import HORIZONS, QUANTILE_LEVELS, Learnable, Progress
from models.tabular import (
    KNOWN_SHARE,
    TARGET_CLIP,
    RowForecaster,
    Scaler,
    around,
    enough_rows,
    examples,
    known_targets,
    report,
    residual_quantiles,
)

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Ridge penalties that are tried on the validation rows, each times the number of training rows."""

LOGISTIC_STEPS = 8
RISES, FALLS, STANDS = 0, 1, 2


@dataclass
class BaseRate(RowForecaster):
    """What always happened: the quantiles of past targets and the share of rises, whatever the bar looks like."""

    name: str = "base-rate"
    has_randomness: bool = False
    quantile: F8 = field(default_factory=lambda: np.full((len(HORIZONS), len(QUANTILE_LEVELS)), np.nan))
    prob_up: F8 = field(default_factory=lambda: np.full(len(HORIZONS), np.nan))

    def fit(self, data: Learnable, train: slice, valid: slice, seed: int, progress: Progress) -> dict[str, float]:
        """Take quantiles and shares from the training rows; nothing is random and nothing is tuned."""
        started = time.perf_counter()
        flat = known_targets(data, train).reshape(-1, data.target.shape[2])
        enough_rows(int(np.isfinite(flat).all(axis=1).sum()), self.name)
        self.quantile = np.nanquantile(flat, QUANTILE_LEVELS, axis=0).T
        self.prob_up = (flat > 0.0).sum(axis=0) / np.isfinite(flat).sum(axis=0)
        losses = self.valid_losses(data, valid)
        report(progress, 1.0, losses)
        return losses | {"seconds": time.perf_counter() - started}

    def rows(self, features: np.ndarray) -> tuple[F8, F8]:
        """Return the same forecast for every row (...) whose features are known enough."""
        known = np.isfinite(features).mean(axis=-1) >= KNOWN_SHARE
        return (
            np.where(known[..., None, None], self.quantile, np.nan),
            np.where(known[..., None], self.prob_up, np.nan),
        )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """Return tensors and settings."""
        return {"quantile": self.quantile, "prob_up": self.prob_up}, {}

    def load(self, tensors: dict[str, np.ndarray], settings: dict[str, object]) -> None:
        """Take up what ``state`` gave."""
        self.quantile, self.prob_up = tensors["quantile"], tensors["prob_up"]


@dataclass
class Persistence(RowForecaster):
    """What happened after a rise and after a fall: quantiles and shares given the sign of the last bar's return."""

    return_column: int  # of the features, the last bar's return in any positive unit
    name: str = "persistence"
    has_randomness: bool = False
    quantile: F8 = field(default_factory=lambda: np.full((3, len(HORIZONS), len(QUANTILE_LEVELS)), np.nan))
    prob_up: F8 = field(default_factory=lambda: np.full((3, len(HORIZONS)), np.nan))

    def fit(self, data: Learnable, train: slice, valid: slice, seed: int, progress: Progress) -> dict[str, float]:
        """Take quantiles and shares from the training rows after a rise, after a fall, and of all (for no move)."""
        started = time.perf_counter()
        target = known_targets(data, train).reshape(-1, data.target.shape[2])
        state = self._state_of(data.features[train]).reshape(-1)
        complete = np.isfinite(target).all(axis=1) & (state >= 0)
        enough_rows(int(complete.sum()), self.name)
        self.quantile, self.prob_up = self.quantile.copy(), self.prob_up.copy()
        for kind in (RISES, FALLS, STANDS):
            chosen = complete & (state == kind) if kind != STANDS else complete
            if chosen.sum() < 50:
                chosen = complete
            self.quantile[kind] = residual_quantiles(target[chosen])
            self.prob_up[kind] = (target[chosen] > 0.0).mean(axis=0)
        losses = self.valid_losses(data, valid)
        report(progress, 1.0, losses)
        return losses | {"seconds": time.perf_counter() - started}

    def _state_of(self, features: np.ndarray) -> np.ndarray:
        """Return RISES, FALLS, STANDS, or -1 where the last return is unknown, for each row (...)."""
        last = features[..., self.return_column]
        state = np.where(last > 0.0, RISES, np.where(last < 0.0, FALLS, STANDS))
        return np.where(np.isfinite(last), state, -1)

    def rows(self, features: np.ndarray) -> tuple[F8, F8]:
        """Return the forecast of each row (...)."""
        state = self._state_of(features)
        known = state >= 0
        return (
            np.where(known[..., None, None], self.quantile[state], np.nan),
            np.where(known[..., None], self.prob_up[state], np.nan),
        )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """Return tensors and settings."""
        return {"quantile": self.quantile, "prob_up": self.prob_up}, {"return_column": self.return_column}

    def load(self, tensors: dict[str, np.ndarray], settings: dict[str, object]) -> None:
        """Take up what ``state`` gave."""
        self.quantile, self.prob_up = tensors["quantile"], tensors["prob_up"]
        self.return_column = int(str(settings["return_column"]))


@dataclass
class Linear(RowForecaster):
    """Ridge regression for the mean, logistic regression for the direction, quantiles from what the line leaves over.

    mean = x' B,  prob = 1 / (1 + exp(-x' G)),  quantile = mean + quantile of (target - mean) on the training rows: the
    two months of validation would take their own trend for a law.
    The penalty is chosen on the validation rows among ``PENALTIES``. Sources: Hoerl & Kennard (1970); the logistic
    steps use the bound X'X / 4 of the curvature by Boehning & Lindsay (1988), factored once for all horizons.
    """

    name: str = "linear"
    has_randomness: bool = False
    scaler: Scaler = field(default_factory=lambda: Scaler(np.zeros(0), np.zeros(0)))
    slope: F8 = field(default_factory=lambda: np.zeros((0, 0)))  # (F + 1, H), the intercept last
    logit_slope: F8 = field(default_factory=lambda: np.zeros((0, 0)))  # (F + 1, H)
    residual_quantile: F8 = field(default_factory=lambda: np.zeros((0, 0)))  # (H, Q)

    def fit(self, data: Learnable, train: slice, valid: slice, seed: int, progress: Progress) -> dict[str, float]:
        """Solve both regressions on the training rows; nothing is random."""
        started = time.perf_counter()
        self.scaler = Scaler.of(data.features[train])
        inputs, target = examples(data, train, self.scaler)
        enough_rows(len(inputs), self.name)
        checked, checked_target = examples(data, valid, self.scaler)
        wide = _with_one(inputs)
        gram = (wide.T @ wide).astype(np.float64)
        clipped = np.clip(target, -TARGET_CLIP, TARGET_CLIP).astype(np.float32)
        moment = (wide.T @ clipped).astype(np.float64)
        report(progress, 0.4, {})
        penalty, self.slope = _best_ridge(gram, moment, len(wide), checked, checked_target)
        self.logit_slope = _logistic(wide, target > 0.0, gram, penalty)
        self.residual_quantile = residual_quantiles(target - wide @ self.slope)
        losses = self.valid_losses(data, valid) | {"penalty": penalty}
        report(progress, 1.0, losses)
        return losses | {"seconds": time.perf_counter() - started}

    def rows(self, features: np.ndarray) -> tuple[F8, F8]:
        """Return the forecast of each row (...)."""
        inputs, known = self.scaler.inputs(features)
        wide = _with_one(inputs)
        prob_up = 1.0 / (1.0 + np.exp(-(wide @ self.logit_slope)))
        return around(wide @ self.slope, self.residual_quantile, prob_up, known)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """Return tensors and settings."""
        tensors = {
            "center": self.scaler.center, "scale": self.scaler.scale, "slope": self.slope,
            "logit_slope": self.logit_slope, "residual_quantile": self.residual_quantile,
        }  # fmt: skip
        return tensors, {}

    def load(self, tensors: dict[str, np.ndarray], settings: dict[str, object]) -> None:
        """Take up what ``state`` gave."""
        self.scaler = Scaler(tensors["center"], tensors["scale"])
        self.slope, self.logit_slope = tensors["slope"], tensors["logit_slope"]
        self.residual_quantile = tensors["residual_quantile"]


def make_persistence() -> Persistence:
    """Return the forecaster that looks at the last bar's return alone."""
    from models.features import NAMES

    return Persistence(NAMES.index("ret_1"))


def _with_one(inputs: np.ndarray) -> np.ndarray:
    """Return inputs (..., F) with a last column of ones."""
    return np.concatenate([inputs, np.ones((*inputs.shape[:-1], 1), dtype=inputs.dtype)], axis=-1)


def _penalised(gram: F8, penalty: float) -> F8:
    """Return X'X plus the penalty on every coefficient but the intercept."""
    diagonal = np.full(len(gram), penalty)
    diagonal[-1] = 1e-9
    return gram + np.diag(diagonal)


def _best_ridge(
    gram: F8, moment: F8, count: int, checked: np.ndarray, checked_target: F8, penalties: Sequence[float] = PENALTIES
) -> tuple[float, F8]:
    """Return the penalty with the least squared error on the validation rows, and its coefficients (F + 1, H)."""
    fitted: list[tuple[float, F8]] = []
    for penalty in penalties:
        slope = np.linalg.solve(_penalised(gram, penalty * count), moment).astype(np.float64)
        fitted.append((penalty * count, slope))
    if not len(checked):
        return fitted[-1]
    wide, clipped = _with_one(checked), np.clip(checked_target, -TARGET_CLIP, TARGET_CLIP)
    errors = [float(np.square(clipped - wide @ slope).mean()) for _, slope in fitted]
    return fitted[int(np.argmin(errors))]


def _logistic(wide: np.ndarray, up: np.ndarray, gram: F8, penalty: float) -> F8:
    """Return the coefficients (F + 1, H) of the penalised logistic regression of each horizon on (M, F + 1) rows.

    The penalty of the squared error is a quarter as heavy here, as the curvature is.
    """
    bound = 0.25 * _penalised(gram, penalty)
    ridge = np.full((len(gram), 1), 0.25 * penalty)
    ridge[-1] = 0.0
    slope = np.zeros((wide.shape[1], up.shape[1]))
    for _ in range(LOGISTIC_STEPS):
        prob = 1.0 / (1.0 + np.exp(-(wide @ slope.astype(np.float32))))
        gradient = (wide.T @ (up - prob).astype(np.float32)).astype(np.float64) - ridge * slope
        slope = slope + np.linalg.solve(bound, gradient)
    return slope
