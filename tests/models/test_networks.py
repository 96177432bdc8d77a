"""The networks learn what is there, see nothing that comes later, stream what they predict, and repeat under a seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from learnables import N_FEATURES, always, made_up

from engine.errors import ModelError
from models.baselines import BaseRate
from models.forecast import HORIZONS, QUANTILE_LEVELS, Cancelled
from models.heads import QuantileHead, forecast_losses
from models.lstm import LSTMConfig, LstmForecaster
from models.neural import TOLERANCE, NeuralForecaster
from models.scoring import log_loss, pinball_loss
from models.training import Rows, TrainingConfig, _Training
from models.transformer import TransformerConfig, TransformerForecaster

SHORT = TrainingConfig(
    sequence=48, burn_in=8, batch=12, steps_per_epoch=8, epochs_first=2, epochs_after=1, learning_rate_first=2e-2,
    warm_up_steps=2, averaging=0.8,
)  # fmt: skip
TRAIN, VALID, TEST = slice(0, 900), slice(924, 1100), slice(1124, 1470)
BUILDERS = ("lstm", "transformer")


def forecaster(kind: str, training: TrainingConfig = SHORT, horizon: int = 24) -> NeuralForecaster:
    if kind == "lstm":
        return LstmForecaster(LSTMConfig(N_FEATURES, 16, 2, 0.1, horizon, window=16), training)
    return TransformerForecaster(TransformerConfig(N_FEATURES, 16, 2, 2, 0.1, 16, horizon), training)


@pytest.fixture(scope="module")
def fitted() -> dict[str, NeuralForecaster]:
    out = {kind: forecaster(kind) for kind in BUILDERS}
    for model in out.values():
        model.fit(made_up(drift=0.4), TRAIN, VALID, 1, always)
    return out


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_planted_signal_is_found_and_beats_the_base_rate(kind, fitted) -> None:
    data, base = made_up(drift=0.4), BaseRate()
    base.fit(data, TRAIN, VALID, 0, always)
    said, plain, target = fitted[kind].predict(data, TEST), base.predict(data, TEST), data.target[TEST]
    gain = log_loss(plain.prob_up, target) - log_loss(said.prob_up, target)
    assert (gain.mean(axis=(0, 1)) > 0.01).all()  # the best at one bar ahead is 0.074 nats: drift 0.4, known sign
    assert (pinball_loss(plain.quantile, target) - pinball_loss(said.quantile, target)).mean() > 0.01


@pytest.mark.parametrize("kind", BUILDERS)
def test_stream_over_hundreds_of_bars_says_what_the_batch_says(kind, fitted) -> None:
    data, model = made_up(drift=0.4), forecaster(kind)
    model.load(*fitted[kind].state())
    batch, stream = model.predict(data, slice(0, 250)), model.stream(3)
    assert np.isnan(batch.prob_up[:20]).all()  # nothing is known of these bars
    assert np.isfinite(batch.quantile[20:]).all()
    for t in range(250):
        quantile, prob = stream.update(data.features[t])
        np.testing.assert_allclose(quantile, batch.quantile[t], atol=TOLERANCE, rtol=0)
        np.testing.assert_allclose(prob, batch.prob_up[t], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", BUILDERS)
def test_batch_starts_its_memory_where_a_stream_would(kind, fitted) -> None:
    data, model = made_up(drift=0.4), fitted[kind]
    batch, stream = model.predict(data, slice(500, 505)), model.stream(3)
    for t in range(500 - model.warm_up_bars, 500):
        stream.update(data.features[t])
    for t in range(5):
        np.testing.assert_allclose(stream.update(data.features[500 + t])[0], batch.quantile[t], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", BUILDERS)
def test_later_bars_change_nothing_before_them(kind, fitted) -> None:
    data = made_up(drift=0.4)
    changed = data._replace(features=data.features.copy())
    changed.features[300:] += 3.0
    one, other = (fitted[kind].predict(source, slice(100, 320)) for source in (data, changed))
    np.testing.assert_array_equal(one.quantile[:200], other.quantile[:200])
    assert (one.quantile[200:] != other.quantile[200:]).any()


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_window_is_all_that_attention_sees(kind, fitted) -> None:
    network = fitted[kind].network
    inputs = torch.randn(1, 60, N_FEATURES, generator=torch.Generator().manual_seed(1))
    shifted = inputs.clone()
    shifted[:, 0] += 5.0
    with torch.inference_mode():
        differs = (network(inputs)[0] != network(shifted)[0]).any(-1).any(-1)[0]
    if kind == "transformer":  # two layers of 16 bars reach 2 x 15 bars back, and no further
        assert differs[30]
        assert not differs[31:].any()
    assert differs[0]


def test_quantiles_never_cross_and_start_as_the_base_rate() -> None:
    head = QuantileHead(4, 2)
    torch.nn.init.normal_(head.linear.weight, std=30.0, generator=torch.Generator().manual_seed(0))
    quantile, _ = head(torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1)))
    assert (quantile.diff(dim=-1) >= 0).all()
    wanted = np.array([np.linspace(-2, 2, len(QUANTILE_LEVELS)), np.linspace(-1, 3, len(QUANTILE_LEVELS)) ** 3])
    head.set_base(wanted, np.array([0.5, 0.6]))
    head.start_as_base()
    quantile, logit = head(torch.zeros(1, 1, 4))
    np.testing.assert_allclose(quantile[0, 0].detach().numpy(), wanted, atol=1e-5)
    np.testing.assert_allclose(torch.sigmoid(logit)[0, 0].detach().numpy(), [0.5, 0.6], atol=1e-6)


def test_only_what_the_judged_rows_bear_out_is_said() -> None:
    head = QuantileHead(4, 2)
    flat = np.tile(np.linspace(-2.0, 2.0, len(QUANTILE_LEVELS)), (2, 1))
    head.set_base(flat, np.array([0.5, 0.5]))
    target = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    said = head.base_quantile + 2.0 * target[..., None].sign()  # knows the direction
    logit = torch.stack([3.0 * target[:, 0].sign(), -3.0 * target[:, 1].sign()], -1)  # right, and always wrong
    head.set_trust(said, logit, target)
    np.testing.assert_allclose(head.trust[1].numpy(), [1.0, 0.0])
    assert (head.trust[0] > 0.0).all()
    _, logit = head(torch.zeros(1, 4))
    assert float(logit.detach()[0, 1]) == 0.0  # the base rate's
    head.set_trust(said, logit.expand(4000, 2), torch.full_like(target, torch.nan))
    assert (head.trust == 0.0).all()


def test_losses_by_hand() -> None:
    quantile = torch.zeros(1, 1, 1, len(QUANTILE_LEVELS))
    target = torch.tensor([[[2.0]]])
    pinball, entropy = forecast_losses(quantile, torch.zeros(1, 1, 1), target)
    assert float(pinball) == pytest.approx(2.0 * sum(QUANTILE_LEVELS) / len(QUANTILE_LEVELS))  # all lie below: q * 2
    assert float(entropy) == pytest.approx(np.log(2.0))
    unknown = forecast_losses(quantile, torch.zeros(1, 1, 1), torch.full((1, 1, 1), torch.nan))
    assert [float(loss) for loss in unknown] == [0.0, 0.0]


@pytest.mark.parametrize("kind", BUILDERS)
def test_same_seed_same_weights(kind) -> None:
    brief = TrainingConfig(sequence=32, burn_in=8, batch=8, steps_per_epoch=3, epochs_first=1)
    weights = []
    for seed in (3, 3, 4):
        torch.rand(seed)  # what others drew before does not matter
        model = forecaster(kind, brief)
        model.fit(made_up(400), slice(0, 200), slice(224, 300), seed, always)
        weights.append(model.state()[0])
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    assert any((weights[0][name] != weights[2][name]).any() for name in weights[0])


def test_a_later_fit_starts_from_the_weights_and_keeps_them_unless_it_finds_better(fitted) -> None:
    data, model = made_up(drift=0.4), forecaster("lstm")
    model.load(*fitted["lstm"].state())
    before = model.state()[0]
    noise = data._replace(target=np.random.default_rng(0).standard_normal(data.target.shape) * 8.0)
    noise.target[VALID] = data.target[VALID]
    losses = model.fit(noise, TRAIN, VALID, 2, always)
    after = model.state()[0]
    assert losses["epochs"] == 1
    assert all(
        (before[name] == after[name]).all() for name in before if name.startswith("network.") and ".head." not in name
    )
    model.fit(data, TRAIN, slice(0, 0), 2, always)
    assert any((before[name] != model.state()[0][name]).any() for name in before)


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_sequence_in_parts_is_the_whole_sequence(kind, fitted, monkeypatch) -> None:
    monkeypatch.setattr("models.training.STEP_BARS", 7)
    data = made_up(drift=0.4)
    rows = Rows(data.features, data.target[:200].astype(np.float32), 0)
    training = _Training(fitted[kind].build(), lambda features: features, rows, rows, SHORT, True, 1)
    training.network.eval()
    inputs = torch.randn(4, SHORT.sequence, N_FEATURES, generator=torch.Generator().manual_seed(1))
    whole = [each[:, SHORT.burn_in :] for each in training.network(inputs)[:2]]
    for part, wanted in zip(training._shown(inputs), whole, strict=True):
        torch.testing.assert_close(part, wanted, atol=1e-5, rtol=0.0)
        assert part.requires_grad


def test_targets_known_only_later_teach_nothing() -> None:
    brief = TrainingConfig(sequence=32, burn_in=8, batch=8, steps_per_epoch=3, epochs_first=1)
    data, weights = made_up(400), []
    changed = data._replace(target=data.target.copy())
    for h, horizon in enumerate(HORIZONS):
        changed.target[200 - horizon :, :, h] = 50.0
    for source in (data, changed):
        model = forecaster("transformer", brief)
        model.fit(source, slice(0, 200), slice(200, 200), 1, always)
        weights.append(model.state()[0])
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_cancelling_leaves_the_model_as_it_was(fitted) -> None:
    model, shares = forecaster("lstm"), []
    with pytest.raises(Cancelled):
        model.fit(made_up(), TRAIN, VALID, 1, lambda share, losses: bool(shares.append(share)))
    assert len(shares) == 1
    assert 0.0 < shares[0] < 1.0
    with pytest.raises(ModelError, match="not been fitted"):
        model.stream(3)
    model.load(*fitted["lstm"].state())
    before = model.state()[0]
    with pytest.raises(Cancelled):
        model.fit(made_up(), TRAIN, VALID, 1, lambda share, losses: False)
    assert all((before[name] == model.state()[0][name]).all() for name in before)


def test_a_loss_that_is_not_a_number_is_an_error_and_nothing_is_kept() -> None:
    data = made_up(400)
    model = forecaster("transformer", replace(SHORT, learning_rate_first=1e30, warm_up_steps=1))
    with pytest.raises(ModelError, match="the loss is not a number"):
        model.fit(data, slice(0, 200), slice(224, 300), 1, always)
    with pytest.raises(ModelError, match="not been fitted"):
        model.predict(data, slice(0, 10))


def test_wrong_width_and_foreign_state_are_refused_with_a_sentence(fitted) -> None:
    data = made_up(100)
    with pytest.raises(ModelError, match="reads 6 features a bar and was given 5"):
        fitted["lstm"].predict(data._replace(features=data.features[..., :5]), slice(0, 10))
    with pytest.raises(ModelError, match="carries 3 symbols and was given 2"):
        fitted["lstm"].stream(3).update(data.features[0, :2])
    with pytest.raises(ModelError, match="not a transformer of this version"):
        forecaster("transformer").load(*fitted["lstm"].state())


def test_horizons_beyond_the_forecast_horizon_are_unknown() -> None:
    brief = TrainingConfig(sequence=32, burn_in=8, batch=8, steps_per_epoch=2, epochs_first=1)
    model = forecaster("lstm", brief, horizon=4)
    data = made_up(400)
    model.fit(data, slice(0, 200), slice(224, 300), 1, always)
    prob = model.predict(data, slice(300, 310)).prob_up
    assert np.isfinite(prob[..., :3]).all()
    assert np.isnan(prob[..., 3:]).all()
