"""Canaries against knowledge of the future: each asks one question of a whole pipeline and answers pass or fail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.domain import F8
from models.dataset import learnable
from models.forecast import Forecaster, Learnable, Panel
from models.panel import rows_of
from models.splits import Fold, usable

Build = Callable[[Panel], Learnable]

Z_BOUND = 4.0
"""Shuffled labels may score this many standard errors: one in 16,000 honest pipelines does."""

CORRELATION_BOUND = 0.3
"""An input that correlates more with the next return than this is not one that was known."""

_OF_SCALER = ("center", "scale")


def prefix_is_equal(build: Build, panel: Panel, cut: int) -> bool:
    """Return whether the inputs and sigma before row ``cut`` are the same bits when the bars from there on are missing.

    Parameters
    ----------
    build : callable
        From a panel to its Learnable.
    panel : Panel
        T bars.
    cut : int
        Between 1 and T - 1.
    """
    whole, short = build(panel), build(rows_of(panel, slice(0, cut)))
    return np.array_equal(whole.features[:cut], short.features, equal_nan=True) and np.array_equal(
        whole.sigma[:cut], short.sigma, equal_nan=True
    )


def labels_are_known_when_they_say(build: Build, panel: Panel, cut: int) -> bool:
    """Return whether, of the bars before ``cut`` alone, exactly the targets can be told whose ``ts_known`` has come.

    A label that claims to be known earlier than it is cannot be told from those bars; one that claims to be known later
    than it is can be.
    """
    whole, short = build(panel), build(rows_of(panel, slice(0, cut)))
    due = whole.ts_known[:cut] <= panel.ts_close[cut - 1]
    expected = np.where(due[:, None, :], whole.target[:cut], np.nan)
    return np.array_equal(expected, short.target, equal_nan=True)


def split_is_pure(data: Learnable, fold: Fold) -> bool:
    """Return whether the parts follow each other and no usable label of one is known after the next begins."""
    ts_close = data.panel.ts_close
    for before, after in ((fold.train, fold.valid), (fold.valid, fold.test)):
        if before.stop > after.start:
            return False
        known = data.ts_known[before][usable(ts_close, data.ts_known, before)]
        if known.size and known.max() >= ts_close[after.start]:
            return False
    return True


def fit_ignores_the_future(make: Callable[[], Forecaster], data: Learnable, fold: Fold, seed: int = 0) -> bool:
    """Return whether a fit is the same to the bit when everything after its rows is replaced by something else.

    All that the forecaster keeps must not change with the rows after validation; centre and scale of its inputs must
    not change with the validation rows either.
    """
    kept = _fitted(make, data, fold, seed).state()[0]
    after_valid = _fitted(make, _bent_from(data, fold.valid.stop), fold, seed).state()[0]
    if not all(np.array_equal(kept[name], after_valid[name], equal_nan=True) for name in kept):
        return False
    after_train = _fitted(make, _bent_from(data, fold.train.stop), fold, seed).state()[0]
    scalers = [name for name in kept if name.split(".")[-1] in _OF_SCALER]
    return all(np.array_equal(kept[name], after_train[name], equal_nan=True) for name in scalers)


def shuffled_score(make: Callable[[], Forecaster], data: Learnable, fold: Fold, seed: int = 0) -> float:
    """Return by how many standard errors a forecaster fitted to shuffled labels is right about the judged bars.

    The labels of the rows up to validation's end change places in time, all symbols and horizons of a bar together.
    Score: mean over the judged bars of (probability up - its mean) * next return, averaged over the symbols of a bar,
    divided by the standard error of that mean. 0 where the forecast is constant.
    """
    target = data.target.copy()
    rows = np.flatnonzero(np.isfinite(target[: fold.valid.stop]).all(axis=(1, 2)))
    target[rows] = target[np.random.default_rng(seed).permutation(rows)]
    fitted = _fitted(make, data._replace(target=target), fold, seed)
    prob_up = fitted.predict(data, fold.test).prob_up[:, :, 0]
    return _z_score(prob_up, data.target[fold.test][:, :, 0])


def suspicious_columns(data: Learnable, rows: slice, bound: float = CORRELATION_BOUND) -> list[int]:
    """Return the inputs whose correlation with the next bar's return over ``rows`` is beyond ``bound``.

    It finds a leak that was baked into the inputs before the pipeline got them, which cutting the future cannot.
    """
    target = data.target[rows][:, :, 0].ravel()
    found = []
    for column in range(data.features.shape[-1]):
        values = data.features[rows][:, :, column].ravel().astype(np.float64)
        known = np.isfinite(values) & np.isfinite(target)
        if known.sum() < 30 or values[known].std() == 0.0 or target[known].std() == 0.0:
            continue
        if abs(np.corrcoef(values[known], target[known])[0, 1]) > bound:
            found.append(column)
    return found


def plant_future(data: Learnable, column: int = 0) -> Learnable:
    """Return the pipeline's product with one input replaced by the return of the next bar: a leak to be caught."""
    features = data.features.copy()
    features[:, :, column] = data.target[:, :, 0]
    return data._replace(features=features)


def planted_future_is_caught(build: Build, panel: Panel, cut: int) -> bool:
    """Return whether both ways of looking find a planted input: by cutting the future, and by its correlation."""

    def leaky(bars: Panel) -> Learnable:
        return plant_future(build(bars))

    cut_finds = not prefix_is_equal(leaky, panel, cut)
    correlation_finds = 0 in suspicious_columns(leaky(panel), slice(0, cut))
    return cut_finds and correlation_finds


def canaries(
    make: Callable[[], Forecaster], panel: Panel, fold: Fold, build: Build = learnable, seed: int = 0
) -> dict[str, str]:
    """Ask every question of one pipeline.

    Parameters
    ----------
    make : callable
        Returns a new forecaster of the kind that is asked about. It is fitted four times.
    panel : Panel
        Bars over the whole fold; a few thousand rows are enough.
    fold : Fold
        Of that panel.
    build : callable
        From a panel to its Learnable.
    seed : int

    Returns
    -------
    dict of str to "pass" or "fail"
        prefix, label, split, scaler, inputs, shuffled, planted.
    """
    data = build(panel)
    cut = (fold.test.start + fold.test.stop) // 2
    answers = {
        "prefix": prefix_is_equal(build, panel, cut),
        "label": labels_are_known_when_they_say(build, panel, cut),
        "split": split_is_pure(data, fold),
        "scaler": fit_ignores_the_future(make, data, fold, seed),
        "inputs": not suspicious_columns(data, fold.train),
        "shuffled": abs(shuffled_score(make, data, fold, seed)) < Z_BOUND,
        "planted": planted_future_is_caught(build, panel, cut),
    }
    return {name: "pass" if passed else "fail" for name, passed in answers.items()}


def _fitted(make: Callable[[], Forecaster], data: Learnable, fold: Fold, seed: int) -> Forecaster:
    forecaster = make()
    forecaster.fit(data, fold.train, fold.valid, seed, lambda share, losses: True)
    return forecaster


def _bent_from(data: Learnable, row: int) -> Learnable:
    # everything from that row on becomes something else, but stays as known as it was
    features, target, sigma = data.features.copy(), data.target.copy(), data.sigma.copy()
    features[row:] = 3.0 - 2.0 * features[row:]
    target[row:] = 1.0 - target[row:]
    sigma[row:] *= 5.0
    return data._replace(features=features, target=target, sigma=sigma)


def _z_score(prob_up: F8, moved: F8) -> float:
    lean = prob_up - np.nanmean(prob_up)
    known = np.isfinite(lean) & np.isfinite(moved)
    count = known.sum(axis=1)
    per_bar = np.where(known, lean * moved, 0.0).sum(axis=1)[count > 0] / count[count > 0]
    spread = per_bar.std()
    if per_bar.shape[0] < 2 or spread == 0.0:
        return 0.0
    return float(per_bar.mean() / (spread / np.sqrt(per_bar.shape[0])))
