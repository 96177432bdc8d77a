"""Regimes are found, named and filtered causally; the change alarm is rare without a change and quick with one."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import DataError, ModelError
from models.changepoints import alarms, new_run_state, watch
from models.features import batch_features
from models.panel import made_up_panel
from models.regimes import (
    Regimes,
    believe,
    filtered,
    first_belief,
    fit_regimes,
    regime_observations,
    regimes_from,
    regimes_state,
)


def planted(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Observations of three regimes that last 50 bars, and which one it was."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(0, 3, 40), 50)
    log_range = np.array([-1.0, 0.0, 1.0])[truth] + 0.4 * rng.standard_normal(2_000)
    return np.stack([log_range, np.abs(rng.standard_normal(2_000))], axis=1), truth


def test_planted_regimes_are_found_and_named_by_their_range() -> None:
    observations, truth = planted()
    regimes = fit_regimes(observations, slice(0, 1_000))
    assert regimes.names == ("calm", "normal", "stressed")
    np.testing.assert_allclose(regimes.mean[:, 0], [-1.0, 0.0, 1.0], atol=0.1)
    assert (regimes.expected_bars > 20.0).all()
    belief = filtered(regimes, observations)
    np.testing.assert_allclose(belief.sum(axis=1), 1.0)
    assert (belief.argmax(axis=1) == truth)[1_000:].mean() > 0.9


def test_the_filter_knows_nothing_of_the_future() -> None:
    observations, _ = planted()
    regimes = fit_regimes(observations, slice(0, 1_000))
    later = observations.copy()
    later[1_000:] = 5.0
    assert fit_regimes(later, slice(0, 1_000)).mean.tobytes() == regimes.mean.tobytes()
    np.testing.assert_array_equal(filtered(regimes, later)[:1_000], filtered(regimes, observations)[:1_000])


def test_one_step_of_the_filter_by_hand() -> None:
    regimes = Regimes(("a", "b"), np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.2, 0.8]]),
                      np.array([[0.0], [1.0]]), np.ones((2, 1)))  # fmt: skip
    belief = believe(regimes, np.array([1.0, 0.0]), np.array([1.0]))
    odds = 0.9 * np.exp(-0.5) / 0.1  # prior 0.9 to 0.1; the second explains the value exactly
    np.testing.assert_allclose(belief[0] / belief[1], odds)
    np.testing.assert_allclose(believe(regimes, np.array([1.0, 0.0]), np.array([np.nan])), [0.9, 0.1])
    np.testing.assert_allclose(believe(regimes, first_belief(regimes), np.array([0.5]), first=True), [0.5, 0.5])


def test_four_regimes_name_the_one_that_trends_and_survive_the_registry() -> None:
    features, _ = batch_features(made_up_panel(3, 900, 2))
    observations = regime_observations(features)
    assert np.isfinite(observations[100:]).all()
    regimes = fit_regimes(observations, slice(0, 900), 4)
    assert sorted(regimes.names) == ["calm", "normal", "stressed", "trending"]
    assert regimes.names[int(regimes.mean[:, 1].argmax())] == "trending"
    again = regimes_from(*regimes_state(regimes))
    np.testing.assert_array_equal(filtered(again, observations), filtered(regimes, observations))
    tensors, settings = regimes_state(regimes)
    with pytest.raises(ModelError, match="fit them again"):
        regimes_from(tensors, {**settings, "names": ["calm"]})


def test_too_little_history_is_refused() -> None:
    with pytest.raises(DataError, match="give more history"):
        fit_regimes(np.zeros((50, 2)), slice(0, 50))
    with pytest.raises(DataError, match="3 or 4"):
        fit_regimes(np.zeros((500, 2)), slice(0, 500), 5)


def test_the_alarm_is_quick_after_a_break_and_rare_without() -> None:
    rng = np.random.default_rng(0)
    quiet = watch(new_run_state(), rng.standard_normal(10_000))[1]
    assert len(alarms(quiet)) == 0  # in 10,000 values in which nothing changes
    for seed in range(5):
        for shift, times in ((1.0, 1.0), (0.0, 2.0)):  # the mean moves by a deviation, or all of it doubles
            values = np.random.default_rng(seed).standard_normal(800)
            values[500:] = shift + times * values[500:]
            after = alarms(watch(new_run_state(), values)[1])
            assert [row for row in after if row < 500] == []
            assert after[0] - 500 <= 96


def test_the_alarm_live_equals_the_batch_to_the_bit_and_passes_over_nan() -> None:
    values = np.random.default_rng(2).standard_normal(300)
    values[[50, 51]] = np.nan
    values[200:] *= 3.0
    batch = watch(new_run_state(), values)[1]
    state, live = new_run_state(), []
    for value in values:
        state, probability = watch(state, np.array([value]))
        live.append(probability[0])
    np.testing.assert_array_equal(live, batch)
    assert batch[:101].max() == 0.0
    assert int(state.n_values[0]) == 298
    assert batch[210:240].max() > 0.9
