"""What is added to the ensemble's forecast adds up, is exact for a line, and is nothing for what is not used."""

from __future__ import annotations

import math

import numpy as np
import pytest
from learnables import always, made_up

from engine.errors import ModelError
from models.attribution import BP, Part, Voice, added_by, attributed, reference_of
from models.baselines import Linear
from models.explain import TOPICS, columns_of
from models.features import NAMES
from models.forecast import HORIZONS, MEDIAN, Prediction
from models.live_agents import together
from models.recent import Recent

H, SIGMA = 24, 0.01
SCALE = SIGMA * math.sqrt(H) * BP


@pytest.fixture(scope="module")
def line():
    data = made_up(n_bars=700, n_symbols=2, drift=0.3)
    features = np.random.default_rng(2).standard_normal((700, 2, len(NAMES))).astype(np.float32)
    features[..., 3] = data.features[..., 0]
    features[..., 7] += 2.0  # its mean is not zero
    data = data._replace(features=features)
    model = Linear()
    model.fit(data, slice(0, 500), slice(524, 690), 0, always)
    return model, features[-1:, 0]


class Products:
    """Neither linear nor of one bar: the median is the product of two inputs, summed over four bars."""

    name, warm_up_bars = "products", 3

    def predict(self, data, rows):
        assert rows == slice(3, 4)
        said = (data.features[..., 0] * data.features[..., 1]).astype(float).sum(axis=0)[None]
        quantile = said[..., None, None] * np.ones((len(HORIZONS), 9))
        return Prediction(quantile, 0.5 + 0.01 * quantile[..., 0])


def test_a_line_is_attributed_its_slopes_times_distances_from_its_mean(line):
    model, newest = line
    found = attributed({"linear": Voice(model, 1.0, newest)}, np.zeros(2), model.scaler.center, H, SIGMA)
    distance = (newest[0].astype(float) - model.scaler.center) / model.scaler.scale
    assert np.abs(distance).max() < 4.0  # none is clipped
    exact = model.slope[:-1, HORIZONS.index(H)] * distance * SCALE
    np.testing.assert_allclose(found.feature[:, 0], exact, atol=1e-3)
    np.testing.assert_allclose(found.typical + found.feature.sum(axis=0), found.said, atol=1e-9)
    assert found.said[0] == pytest.approx(model.rows(newest)[0][0, HORIZONS.index(H), MEDIAN] * SCALE, abs=1e-3)
    np.testing.assert_allclose(found.topic_error[:, 0], 0.0, atol=1e-3)  # no order matters
    for p, columns in enumerate(columns_of()):
        np.testing.assert_allclose(found.topic[p], found.feature[columns].sum(axis=0), atol=1e-12)


def test_members_count_by_weight_and_what_none_uses_gets_exactly_nothing(line):
    model, newest = line
    window = np.full((4, len(NAMES)), 2.0, dtype=np.float32)
    window[-1] = newest[0]
    voices = {"linear": Voice(model, 0.3, newest), "products": Voice(Products(), 0.5, window)}
    constant = np.array([0.2 * 5.0, 0.2 * 0.51])
    found = attributed(voices, constant, np.zeros(len(NAMES)), H, SIGMA)
    again = attributed(voices, constant, np.zeros(len(NAMES)), H, SIGMA)
    np.testing.assert_array_equal(found.feature, again.feature)  # one seed, one answer
    np.testing.assert_allclose(found.typical + found.topic.sum(axis=0), found.said, atol=1e-9)
    product = (window[:, 0] * window[:, 1]).astype(float).sum()
    linear = model.rows(newest)[0][0, HORIZONS.index(H), MEDIAN]
    assert found.said[0] == pytest.approx((0.3 * linear + 0.5 * product) * SCALE + 1.0, rel=1e-5)
    assert found.member["products"][0] == pytest.approx(product * SCALE)
    alone = attributed({"products": voices["products"]}, np.zeros(2), np.zeros(len(NAMES)), H, SIGMA)
    assert (alone.feature[2:] == 0.0).all()
    np.testing.assert_allclose(alone.feature[:2, 0], 0.5 * product * SCALE / 2, rtol=1e-6)  # half each


def test_inputs_of_a_topic_are_revealed_together(line):
    model, newest = line
    found = attributed({"linear": Voice(model, 1.0, newest)}, np.zeros(2), model.scaler.center, H, SIGMA, seed=5)
    assert len(found.topic) == len(TOPICS)
    with pytest.raises(ModelError, match="linear says nothing of this bar"):
        attributed({"linear": Voice(model, 1.0, np.full_like(newest, np.nan))}, np.zeros(2),
                   np.full(len(NAMES), np.nan), H, SIGMA)  # fmt: skip


def test_the_average_bar_is_the_lines_then_another_members_then_what_was_seen(line):
    model, _ = line
    seen = np.full(len(NAMES), 7.0)
    assert reference_of({"boosting": object(), "linear": model}, seen) is model.scaler
    assert (reference_of({"persistence": object()}, seen).center == 7.0).all()
    assert (reference_of({}, seen).scale == 0.0).all()


def test_parts_of_a_wish_add_up_to_the_wish_where_one_has_none_too():
    first = Part("forecasters", np.array([0.8, np.nan, -0.2, np.nan]), 0.3)
    second = Part("agents", np.array([-0.4, 0.5, np.nan, np.nan]), 0.2)
    third = Part("headlines", np.array([0.1, 0.1, 0.1, np.nan]), 0.05)
    wish, share = together(first.wish, first.share, second.wish, second.share)
    wish, _ = together(wish, share, third.wish, third.share)
    added = added_by([first, second, third])
    np.testing.assert_allclose(added.sum(axis=0)[:3], wish[:3], atol=1e-12)
    assert np.isnan(added[:, 3]).all()
    assert added[0, 0] > 0.0 > added[1, 0]
    alone = added_by([first, second._replace(share=0.0)])
    np.testing.assert_allclose(alone[:, 0], [0.8, 0.0])


def test_bars_that_were_seen_are_kept_up_to_a_number_and_know_where_they_began():
    kept = Recent(("A", "B"), most=3)
    for first in (0, 2):
        ts = (1 + np.arange(first, first + 2, dtype=np.int64)) * 10
        kept.add(ts, np.full((2, 2), float(first)), np.full((2, 2, 5), first, dtype=np.float32), np.ones((2, 2)))
    data = kept.data()
    assert data is kept.data()
    assert data.panel.ts_close.tolist() == [20, 30, 40]
    assert kept.ts_first == 10
    assert data.panel.close_px[:, 0].tolist() == [0.0, 2.0, 2.0]
    assert data.features.shape == (3, 2, 5)
