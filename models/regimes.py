"""Which regime the market is in: a hidden Markov model of its bar ranges, filtered with nothing but the past."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.domain import F8
from engine.errors import DataError, ModelError
from models.features import NAMES

STAY = 0.95  # where the fit starts: regimes that last 20 bars
FIT_ITERATIONS = 40
FEWEST_BARS = 200

_RANGE, _LEVEL, _TREND = NAMES.index("bar_range"), NAMES.index("vol_level"), NAMES.index("ema_gap_72")


class Regimes(NamedTuple):
    """A fitted hidden Markov model of K regimes, ordered by their bar range, lowest first."""

    names: tuple[str, ...]
    start: F8  # (K,) probabilities before the first bar
    transition: F8  # (K, K) from row to column
    mean: F8  # (K, D) of the observations
    variance: F8  # (K, D)

    @property
    def expected_bars(self) -> F8:
        """Bars that each regime lasts on average, 1 / (1 - probability to stay), (K,)."""
        bars: F8 = 1.0 / np.maximum(1.0 - np.diag(self.transition), 1e-9)
        return bars


def regime_observations(features: np.ndarray) -> F8:
    """Return what the regimes are told of each bar.

    Parameters
    ----------
    features : (T, N, 50) float32
        Unscaled inputs; give one symbol's column for the regime of that symbol alone.

    Returns
    -------
    (T, 2) float64
        ln(high / low) in units of 1 %, as log, averaged over the known symbols; and the absolute value of their average
        ``ema_gap_72``. NaN where no symbol is known. The log range is close to normal and, unlike an average of squared
        returns, has little memory of its own, which the model assumes.

    Notes
    -----
    Known at: each bar's close. Source: Alizadeh, Brandt & Diebold (2002) for the log range.
    """
    log_range = np.log(np.maximum(features[:, :, _RANGE], 0.02)) + features[:, :, _LEVEL]
    known = np.isfinite(log_range) & np.isfinite(features[:, :, _TREND])
    count = known.sum(axis=1)
    sums = [np.where(known, values, 0.0).sum(axis=1) for values in (log_range, features[:, :, _TREND])]
    per_bar = np.stack(sums, axis=1).astype(np.float64) / np.maximum(count, 1)[:, None]
    per_bar[:, 1] = np.abs(per_bar[:, 1])
    return np.where(count[:, None] > 0, per_bar, np.nan)


def fit_regimes(observations: F8, train: slice, n_regimes: int = 3) -> Regimes:
    """Fit the model to the rows ``train`` and to no other, by expectation maximisation.

    It starts from equal parts of the bars by their range, so nothing is random.

    Parameters
    ----------
    observations : (T, 2) float64
        From ``regime_observations``. Three regimes use the first column, four use both.
    train : slice
        Unknown rows in it are left out.
    n_regimes : int
        3: calm, normal, stressed. 4: also the one that moves most one way, trending.

    Returns
    -------
    Regimes

    Raises
    ------
    DataError
        Fewer than 200 known bars, or another number of regimes.
    """
    from hmmlearn.hmm import GaussianHMM  # brings scikit-learn: only where a model is fitted

    if n_regimes not in (3, 4):
        raise DataError(f"{n_regimes} regimes were asked for; 3 or 4 have names")
    seen = observations[train, : n_regimes - 2]
    seen = seen[np.isfinite(seen).all(axis=1)]
    if seen.shape[0] < FEWEST_BARS:
        raise DataError(
            f"the training rows hold {seen.shape[0]} known bars; regimes need {FEWEST_BARS}: give more history"
        )
    model = GaussianHMM(
        n_regimes, "diag", n_iter=FIT_ITERATIONS, tol=1e-5 * len(seen), init_params="", params="stmc", random_state=0
    )
    parts = np.array_split(seen[np.argsort(seen[:, 0], kind="stable")], n_regimes)
    model.startprob_ = np.full(n_regimes, 1.0 / n_regimes)
    model.transmat_ = np.where(np.eye(n_regimes) > 0, STAY, (1.0 - STAY) / (n_regimes - 1))
    model.means_ = np.array([part.mean(axis=0) for part in parts])
    model.covars_ = np.tile(seen.var(axis=0) / n_regimes + 1e-6, (n_regimes, 1))
    model.fit(seen)
    order = np.argsort(model.means_[:, 0])
    variance = np.array([np.diag(matrix) for matrix in model.covars_])[order]
    mean = model.means_[order]
    return Regimes(_names(mean), model.startprob_[order], model.transmat_[order][:, order], mean, variance)


def _names(mean: F8) -> tuple[str, ...]:
    names = ["calm", "normal", "stressed"]
    if mean.shape[0] == 4:
        names.insert(int(np.argmax(mean[:, 1])), "trending")
    return tuple(names)


def first_belief(regimes: Regimes) -> F8:
    """Return the probabilities before any bar was seen, (K,)."""
    return regimes.start.copy()


def believe(regimes: Regimes, belief: F8, observation: F8, first: bool = False) -> F8:
    """Return the probability of each regime after one more bar: the forward recursion, never the smoother.

    p_t(k) ∝ N(x_t; mean_k, variance_k) * sum_j p_{t-1}(j) transition_{jk}

    Parameters
    ----------
    regimes : Regimes
    belief : (K,) float64
        After the bar before; unchanged.
    observation : (2,) float64
        The newest bar's. With a NaN only time has passed.
    first : bool
        ``belief`` is that before the first bar: no transition comes in between.

    Returns
    -------
    (K,) float64, sums to 1

    Notes
    -----
    Known at: the bar's close. Source: Hamilton (1989); Rabiner (1989) for the recursion.
    """
    ahead = belief if first else belief @ regimes.transition
    seen = observation[: regimes.mean.shape[1]]
    if not np.isfinite(seen).all():
        return ahead / ahead.sum()
    off = (seen - regimes.mean) ** 2 / regimes.variance
    log_density = -0.5 * (off + np.log(regimes.variance)).sum(axis=1)
    weight = ahead * np.exp(log_density - log_density.max())
    total = weight.sum()
    # all regimes ruled out by underflow: a bar unlike anything seen says nothing about the rest
    return weight / total if total > 0.0 else ahead / ahead.sum()


def filtered(regimes: Regimes, observations: F8) -> F8:
    """Return the probabilities (T, K) after each bar of ``observations`` (T, 2): a loop over ``believe``."""
    result = np.empty((observations.shape[0], len(regimes.names)))
    belief = first_belief(regimes)
    for t in range(observations.shape[0]):
        belief = believe(regimes, belief, observations[t], first=t == 0)
        result[t] = belief
    return result


def regimes_state(regimes: Regimes) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Return tensors and settings: all that the registry keeps."""
    tensors = {"start": regimes.start, "transition": regimes.transition, "mean": regimes.mean}
    return {**tensors, "variance": regimes.variance}, {"names": list(regimes.names)}


def regimes_from(tensors: dict[str, np.ndarray], settings: dict[str, object]) -> Regimes:
    """Take up what ``regimes_state`` gave.

    Raises
    ------
    ModelError
        Names and tensors do not belong together.
    """
    names = settings["names"]
    if not isinstance(names, list | tuple) or len(names) != tensors["start"].shape[0]:
        raise ModelError(f"{tensors['start'].shape[0]} regimes were kept with the names {names}: fit them again")
    arrays = (np.asarray(tensors[name], dtype=np.float64) for name in ("start", "transition", "mean", "variance"))
    return Regimes(tuple(str(name) for name in names), *arrays)
