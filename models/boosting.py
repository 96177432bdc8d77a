"""Histogram gradient boosting: shallow trees by scikit-learn, kept as plain arrays and walked by our own few lines."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from engine.domain import F8
from models.forecast import Learnable, Progress
from models.tabular import (
    RowForecaster,
    Scaler,
    around,
    enough_rows,
    examples,
    known_targets,
    report,
    residual_quantiles,
)

SCORE_CLIP = 2.0
"""Trees are fitted to targets clipped here: between the sign alone and the mean, which a few large moves would rule."""

SHALLOW = 4
LEAST_LEAF = 200
ROWS_AT_ONCE = 4096
MOST_LOGIT = 2.0


@dataclass(frozen=True)
class BoostingConfig:
    """Settings of the trees."""

    n_trees: int = 30  # a horizon
    max_leaves: int = 8
    max_bins: int = 31  # values that a threshold can take
    learning_rate: float = 0.1
    leaf_penalty: float = 10.0
    max_rows: int = 30_000  # training rows, drawn by the seed from all: the time of a fit is proportional to them


@dataclass
class Boosting(RowForecaster):
    """One ensemble of trees a horizon for a score; mean, probability and quantiles are calibrated on validation rows.

    score_h(x) = sum of its trees, fitted by squared error to the clipped target. mean = a_h * score with a_h the slope
    of the target on the score where the trees were not fitted, between 0 and 1; the probability is the base rate moved
    by b_h * score on the log-odds scale; the quantiles are the mean plus those of the training residuals. A slope of 0
    says that the trees learnt nothing that held. Source: Friedman (2001); histograms as in Ke et al. (2017).
    """

    config: BoostingConfig = field(default_factory=BoostingConfig)
    name: str = "boosting"
    has_randomness: bool = True
    scaler: Scaler = field(default_factory=lambda: Scaler(np.zeros(0), np.zeros(0)))
    trees: dict[str, np.ndarray] = field(default_factory=dict)
    calibration: F8 = field(default_factory=lambda: np.zeros((4, 0)))  # (4, H): score offset, a, base log-odds, b
    residual_quantile: F8 = field(default_factory=lambda: np.zeros((0, 0)))

    def fit(self, data: Learnable, train: slice, valid: slice, seed: int, progress: Progress) -> dict[str, float]:
        """Grow the trees on rows of ``train`` drawn by ``seed``; every fit starts afresh."""
        started = time.perf_counter()
        inputs, target = self._drawn(data, train, seed)
        n_horizons = target.shape[1]
        offset, grown = np.empty(n_horizons), []
        for h in range(n_horizons):
            clipped = np.clip(target[:, h], -SCORE_CLIP, SCORE_CLIP)
            offset[h], horizon_trees = _grow(inputs, clipped, self.config, seed)
            grown.append(horizon_trees)
            report(progress, (h + 1) / (n_horizons + 1), {})
        self.trees = packed(grown)
        checked, checked_target = examples(data, valid, self.scaler)
        rest, rest_target = (checked, checked_target) if len(checked) >= 1000 else (inputs, target)
        score = self._scores(rest)
        slope = _slopes(score, rest_target)
        self.calibration = np.stack([offset, slope, *_log_odds(score, rest_target, target)])
        self.residual_quantile = residual_quantiles(target - (offset + slope * self._scores(inputs)))
        losses = self.valid_losses(data, valid)
        report(progress, 1.0, losses)
        return losses | {"seconds": time.perf_counter() - started}

    def _drawn(self, data: Learnable, train: slice, seed: int) -> tuple[np.ndarray, F8]:
        """Return at most ``max_rows`` inputs and targets drawn by the seed; only these are scaled, which saves time."""
        features, target = data.features[train], known_targets(data, train)
        bar, symbol = np.nonzero(np.isfinite(target).all(axis=-1))
        if len(bar) > self.config.max_rows:
            chosen = np.random.default_rng(seed).choice(len(bar), self.config.max_rows, replace=False)
            bar, symbol = bar[np.sort(chosen)], symbol[np.sort(chosen)]
        drawn = features[bar, symbol]
        self.scaler = Scaler.of(drawn)
        inputs, known = self.scaler.inputs(drawn)
        enough_rows(int(known.sum()), self.name)
        return inputs[known], target[bar, symbol][known]

    def _scores(self, inputs: np.ndarray) -> F8:
        """Return the sum of each horizon's trees, (M, H)."""
        parts = [walked(self.trees, inputs[i : i + ROWS_AT_ONCE]) for i in range(0, len(inputs), ROWS_AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros((0, self.trees["root"].shape[0]))

    def rows(self, features: np.ndarray) -> tuple[F8, F8]:
        """Return the forecast of each row (...)."""
        inputs, known = self.scaler.inputs(features)
        score = self._scores(inputs.reshape(-1, inputs.shape[-1])).reshape(*inputs.shape[:-1], -1)
        offset, slope, base, steepness = self.calibration
        logit = base + np.clip(steepness * score, -MOST_LOGIT, MOST_LOGIT)
        return around(offset + slope * score, self.residual_quantile, 1.0 / (1.0 + np.exp(-logit)), known)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """Return tensors and settings: thresholds, children and values of every node."""
        tensors = {
            "center": self.scaler.center, "scale": self.scaler.scale, "calibration": self.calibration,
            "residual_quantile": self.residual_quantile, **self.trees,
        }  # fmt: skip
        return tensors, {"config": vars(self.config).copy()}

    def load(self, tensors: dict[str, np.ndarray], settings: dict[str, object]) -> None:
        """Take up what ``state`` gave."""
        config = settings["config"]
        self.config = BoostingConfig(**config) if isinstance(config, dict) else BoostingConfig()
        self.scaler = Scaler(tensors["center"], tensors["scale"])
        self.calibration, self.residual_quantile = tensors["calibration"], tensors["residual_quantile"]
        self.trees = {name: tensors[name] for name in ("feature", "threshold", "child", "value", "root")}


def _grow(inputs: np.ndarray, target: F8, config: BoostingConfig, seed: int) -> tuple[float, list[np.ndarray]]:
    """Return the constant and the node tables of the trees fitted to one target."""
    from sklearn.ensemble import HistGradientBoostingRegressor  # slow to import: only training needs it

    learner = HistGradientBoostingRegressor(
        max_iter=config.n_trees, max_leaf_nodes=config.max_leaves, max_bins=config.max_bins, max_depth=SHALLOW,
        learning_rate=config.learning_rate, l2_regularization=config.leaf_penalty,
        min_samples_leaf=min(LEAST_LEAF, max(20, len(inputs) // 20)), early_stopping=False, random_state=seed,
    )  # fmt: skip
    learner.fit(inputs, target)
    return float(np.ravel(learner._baseline_prediction)[0]), [stage[0].nodes for stage in learner._predictors]


def packed(grown: list[list[np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the trees of all horizons as arrays over all nodes.

    Parameters
    ----------
    grown : list of lists of node tables
        By horizon and tree, as scikit-learn keeps them.

    Returns
    -------
    dict
        ``feature`` (K,), ``threshold`` (K,), ``child`` (K, 2): left where the input is at most the threshold; a leaf
        is its own child. ``value`` (K,), 0 inside. ``root`` (H, trees): padded with an empty leaf, the last node.
    """
    feature, threshold, child, value = [], [], [], []
    roots: list[list[int]] = []
    count = 0
    for trees in grown:
        roots.append([])
        for nodes in trees:
            own, leaf = np.arange(len(nodes)), nodes["is_leaf"] == 1
            sides = np.stack([nodes["left"], nodes["right"]], axis=1).astype(np.int64)
            child.append(count + np.where(leaf[:, None], own[:, None], sides))
            feature.append(np.where(leaf, 0, nodes["feature_idx"]))
            threshold.append(np.where(leaf, 0.0, nodes["num_threshold"]))
            value.append(np.where(leaf, nodes["value"], 0.0))
            roots[-1].append(count)
            count += len(nodes)
    most = max(len(row) for row in roots)
    return {
        "feature": np.concatenate([*feature, [0]]).astype(np.int32),
        "threshold": np.concatenate([*threshold, [0.0]]),
        "child": np.concatenate([*child, [[count, count]]]).astype(np.int32),
        "value": np.concatenate([*value, [0.0]]),
        "root": np.array([row + [count] * (most - len(row)) for row in roots], dtype=np.int32),
    }


def walked(trees: dict[str, np.ndarray], inputs: np.ndarray) -> F8:
    """Return the sum over each horizon's trees of the leaf that a row ends in: (M, F) to (M, H)."""
    node = np.broadcast_to(trees["root"].reshape(1, -1), (len(inputs), trees["root"].size))
    rows = np.arange(len(inputs))[:, None]
    for _ in range(SHALLOW):
        goes_right = inputs[rows, trees["feature"][node]] > trees["threshold"][node]
        node = trees["child"][node, goes_right.astype(np.int8)]
    return trees["value"][node].reshape(len(inputs), *trees["root"].shape).sum(axis=2)


def _slopes(score: F8, target: F8) -> F8:
    """Return the least-squares slope of target on score for each horizon, held in [0, 1]."""
    centred = score - score.mean(axis=0)
    spread = np.square(centred).sum(axis=0)
    slope = np.divide((centred * target).sum(axis=0), spread, out=np.zeros(len(spread)), where=spread > 1e-12)
    return np.clip(slope, 0.0, 1.0)


def _log_odds(score: F8, target: F8, trained: F8) -> tuple[F8, F8]:
    """Return the base log-odds of a rise on the training rows, and the log-odds a unit of score, never negative.

    Where probabilities are near 1/2, log-odds are 4 * (p - 1/2), so the slope of the outcome on the score gives them.
    """
    share = np.clip((trained > 0.0).mean(axis=0), 0.01, 0.99)
    centred = score - score.mean(axis=0)
    spread = np.square(centred).sum(axis=0)
    rise = np.divide((centred * (target > 0.0)).sum(axis=0), spread, out=np.zeros(len(spread)), where=spread > 1e-12)
    return np.log(share / (1.0 - share)), np.clip(4.0 * rise, 0.0, 4.0)
