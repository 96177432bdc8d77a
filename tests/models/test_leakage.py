"""The canaries pass an honest pipeline and each fails the fault it is there for."""

from __future__ import annotations

import numpy as np
import pytest

from models.baselines import Linear
from models.dataset import learnable
from models.forecast import Learnable, Panel
from models.leakage import (
    canaries,
    fit_ignores_the_future,
    labels_are_known_when_they_say,
    plant_future,
    prefix_is_equal,
    shuffled_score,
    split_is_pure,
    suspicious_columns,
)
from models.panel import made_up_panel
from models.splits import Fold
from models.tabular import Scaler

PANEL = made_up_panel(11, 1_400, 3, memory=0.1)
FOLD = Fold(slice(0, 900), slice(924, 1_100), slice(1_124, 1_400))


@pytest.fixture(scope="module")
def honest() -> Learnable:
    return learnable(PANEL)


def test_an_honest_pipeline_passes_everything() -> None:
    answers = canaries(Linear, PANEL, FOLD)
    assert set(answers) == {"prefix", "label", "split", "scaler", "inputs", "shuffled", "planted"}
    assert set(answers.values()) == {"pass"}, answers


def test_an_input_that_looks_ahead_fails_the_prefix() -> None:
    def smoothed(panel: Panel) -> Learnable:
        data = learnable(panel)
        features = data.features.copy()
        features[:-1] = 0.5 * (features[:-1] + features[1:])
        return data._replace(features=features)

    assert not prefix_is_equal(smoothed, PANEL, 1_200)


@pytest.mark.parametrize("rows", [-1, 1], ids=["claims too early", "claims too late"])
def test_a_label_with_the_wrong_moment_fails(rows: int) -> None:
    def misdated(panel: Panel) -> Learnable:
        data = learnable(panel)
        return data._replace(ts_known=data.ts_known + rows * 3_600_000_000_000 * (data.ts_known < 2**62))

    assert not labels_are_known_when_they_say(misdated, PANEL, 1_200)


def test_parts_that_overlap_fail_the_split(honest: Learnable) -> None:
    assert split_is_pure(honest, FOLD)
    assert not split_is_pure(honest, FOLD._replace(valid=slice(890, 1_100)))


def test_a_scaler_that_saw_later_rows_fails(honest: Learnable) -> None:
    class Peeking(Linear):
        def fit(self, data, train, valid, seed, progress):
            losses = super().fit(data, train, valid, seed, progress)
            self.scaler = Scaler.of(data.features)
            return losses

    assert not fit_ignores_the_future(Peeking, honest, FOLD)


def test_a_learner_that_uses_the_judged_labels_scores_on_shuffled_ones(honest: Learnable) -> None:
    class Cheating(Linear):
        def predict(self, data, rows):
            honest_one = super().predict(data, rows)
            return honest_one._replace(prob_up=(data.target[rows] > 0.0).astype(np.float64))

    assert abs(shuffled_score(Linear, honest, FOLD)) < 4.0
    assert shuffled_score(Cheating, honest, FOLD) > 4.0


def test_a_planted_future_stands_out_among_the_inputs(honest: Learnable) -> None:
    assert suspicious_columns(plant_future(honest, 7), FOLD.train) == [7]
