"""The baselines learn what is there, nothing where nothing is, and stream what they predict."""

from __future__ import annotations

import numpy as np
import pytest
from learnables import always, made_up

from engine.errors import DataError
from models.baselines import BaseRate, Linear, Persistence
from models.forecast import HORIZONS, MEDIAN, QUANTILE_LEVELS, Cancelled
from models.scoring import inside, log_loss

TRAIN, VALID, TEST = slice(0, 1000), slice(1024, 1200), slice(1224, 1500)


def learners() -> list:
    return [BaseRate(), Persistence(return_column=1), Linear()]


@pytest.mark.parametrize("learner", learners(), ids=lambda learner: learner.name)
def test_state_and_stream_say_what_the_batch_says(learner) -> None:
    data = made_up(drift=0.3)
    losses = learner.fit(data, TRAIN, VALID, 0, always)
    assert {"valid_log_loss", "valid_pinball_loss", "seconds"} <= set(losses)
    batch = learner.predict(data, slice(0, 60))
    assert batch.quantile.shape == (60, 3, len(HORIZONS), len(QUANTILE_LEVELS))
    assert np.isnan(batch.prob_up[:20]).all()
    assert np.isfinite(batch.prob_up[20:]).all()
    assert (np.diff(batch.quantile[20:], axis=-1) >= 0).all()
    other = type(learner)(return_column=0) if isinstance(learner, Persistence) else type(learner)()
    other.load(*learner.state())
    stream = other.stream(3)
    for t in range(60):
        quantile, prob = stream.update(data.features[t])
        np.testing.assert_allclose(quantile, batch.quantile[t], atol=1e-5)
        np.testing.assert_allclose(prob, batch.prob_up[t], atol=1e-5)


def test_base_rate_is_the_share_of_rises_known_in_time() -> None:
    data = made_up()
    model = BaseRate()
    model.fit(data, TRAIN, VALID, 0, always)
    for h, horizon in enumerate(HORIZONS):
        known = data.target[: 1000 - horizon, :, h]  # the rest is known only after the slice's last bar
        assert model.prob_up[h] == pytest.approx((known > 0).mean())


def test_targets_after_the_training_slice_are_not_read() -> None:
    data = made_up(drift=0.2)
    changed = data._replace(target=data.target.copy())
    for h, horizon in enumerate(HORIZONS):
        changed.target[1000 - horizon :, :, h] = 50.0
    for one, other in zip(learners(), learners(), strict=True):
        nothing = slice(1000, 1000)
        one.fit(data, TRAIN, nothing, 0, always)
        other.fit(changed, TRAIN, nothing, 0, always)
        for name, tensor in one.state()[0].items():
            np.testing.assert_array_equal(tensor, other.state()[0][name], err_msg=f"{one.name} {name}")


def test_linear_finds_a_planted_signal_and_states_its_doubt() -> None:
    data = made_up(4000, drift=0.25)
    model, base = Linear(), BaseRate()
    test = slice(3200, 3900)
    for learner in (model, base):
        learner.fit(data, slice(0, 2600), slice(2624, 3100), 0, always)
    said, plain = model.predict(data, test), base.predict(data, test)
    right = (said.prob_up[..., 0] > 0.5) == (data.target[test][..., 0] > 0)
    assert right.mean() == pytest.approx(0.599, abs=0.03)  # P(N(0.25, 1) > 0)
    gain = log_loss(plain.prob_up, data.target[test]) - log_loss(said.prob_up, data.target[test])
    assert (gain.mean(axis=(0, 1)) > 0.005).all()
    assert np.sign(said.quantile[..., 3, MEDIAN])[data.features[test][..., 0] > 0].mean() > 0.9
    covered = np.nanmean(inside(said.quantile[..., 0, :], data.target[test][..., 0]), axis=(0, 1))
    np.testing.assert_allclose(covered, [0.5, 0.8, 0.9, 0.95], atol=0.04)


def test_nothing_to_learn_gives_probabilities_near_one_half() -> None:
    data = made_up(4000, seed=9)
    model = Linear()
    model.fit(data, slice(0, 2600), slice(2624, 3100), 0, always)
    assert np.abs(model.predict(data, slice(3200, 3900)).prob_up[..., 0] - 0.5).mean() < 0.03


def test_persistence_tells_reversal_from_continuation() -> None:
    data = made_up(3000)
    last = np.sign(data.features[..., 1])
    target = data.target.copy()
    target[..., 0] = np.abs(target[..., 0]) * -np.nan_to_num(last)  # every move is undone by the next bar
    data = data._replace(target=target)
    model = Persistence(return_column=1)
    model.fit(data, slice(0, 2000), slice(2024, 2500), 0, always)
    prob = model.predict(data, slice(2600, 2900)).prob_up[..., 0]
    assert (prob[last[2600:2900] > 0] < 0.01).all()
    assert (prob[last[2600:2900] < 0] > 0.99).all()


def test_too_little_to_learn_from_is_refused_and_cancelling_stops() -> None:
    with pytest.raises(DataError, match="needs 200"):
        Linear().fit(made_up(60), slice(0, 50), slice(50, 60), 0, always)
    with pytest.raises(Cancelled):
        Linear().fit(made_up(), TRAIN, VALID, 0, lambda share, losses: False)
