"""Boosted trees: our walk over plain arrays equals scikit-learn's, learns what is there, and admits when nothing is."""

from __future__ import annotations

import numpy as np
import pytest
from learnables import always, made_up
from sklearn.ensemble import HistGradientBoostingRegressor

from models.baselines import BaseRate
from models.boosting import SHALLOW, Boosting, BoostingConfig, packed, walked
from models.forecast import MEDIAN
from models.scoring import log_loss

SMALL = BoostingConfig(n_trees=6, max_rows=2000)


def test_walk_over_arrays_equals_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((800, 4)).astype(np.float32)
    target = np.sin(2 * inputs[:, 0]) + 0.3 * inputs[:, 1] * inputs[:, 2]
    learner = HistGradientBoostingRegressor(max_iter=12, max_depth=SHALLOW, max_leaf_nodes=8, early_stopping=False)
    learner.fit(inputs, target)
    trees = packed([[stage[0].nodes for stage in learner._predictors], [learner._predictors[0][0].nodes]])
    ours = walked(trees, inputs)
    np.testing.assert_allclose(ours[:, 0] + learner._baseline_prediction[0, 0], learner.predict(inputs), atol=1e-12)
    first = next(iter(learner.staged_predict(inputs)))
    np.testing.assert_allclose(ours[:, 1] + learner._baseline_prediction[0, 0], first, atol=1e-12)


@pytest.fixture(scope="module")
def fitted():
    data = made_up(3000, drift=0.25)
    model = Boosting(SMALL)
    model.fit(data, slice(0, 2000), slice(2024, 2500), 1, always)
    return data, model


def test_planted_signal_is_found_and_beats_the_base_rate(fitted) -> None:
    data, model = fitted
    base, test = BaseRate(), slice(2600, 2900)
    base.fit(data, slice(0, 2000), slice(2024, 2500), 0, always)
    said = model.predict(data, test)
    gain = log_loss(base.predict(data, test).prob_up, data.target[test]) - log_loss(said.prob_up, data.target[test])
    assert gain.mean() > 0.005
    up = data.features[test][..., 0] > 0
    assert said.quantile[..., 3, MEDIAN][up].mean() > said.quantile[..., 3, MEDIAN][~up].mean() + 0.3


def test_stream_of_the_loaded_model_equals_the_batch(fitted) -> None:
    data, model = fitted
    other = Boosting()
    other.load(*model.state())
    assert other.config == SMALL
    batch, stream = model.predict(data, slice(0, 40)), other.stream(3)
    for t in range(40):
        quantile, prob = stream.update(data.features[t])
        np.testing.assert_allclose(quantile, batch.quantile[t], atol=1e-6)
        np.testing.assert_allclose(prob, batch.prob_up[t], atol=1e-6)
    assert np.isnan(batch.prob_up[0]).all()
    assert all(isinstance(tensor, np.ndarray) and tensor.dtype != object for tensor in model.state()[0].values())


def test_a_seed_repeats_and_another_differs(fitted) -> None:
    data, model = fitted
    again, other = Boosting(SMALL), Boosting(SMALL)
    again.fit(data, slice(0, 2000), slice(2024, 2500), 1, always)
    other.fit(data, slice(0, 2000), slice(2024, 2500), 2, always)
    np.testing.assert_array_equal(again.trees["threshold"], model.trees["threshold"])
    assert not np.array_equal(
        other.predict(data, slice(100, 110)).prob_up, model.predict(data, slice(100, 110)).prob_up
    )


def test_noise_leaves_almost_nothing_of_the_trees() -> None:
    data = made_up(3000, seed=4)
    model = Boosting(SMALL)
    model.fit(data, slice(0, 2000), slice(2024, 2500), 1, always)
    prob = model.predict(data, slice(2600, 2900)).prob_up[..., 0]
    assert np.std(prob) < 0.03
