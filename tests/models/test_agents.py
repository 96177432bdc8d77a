"""Agents learn what can be learnt and leave alone what cannot; what is kept, streamed and voted is what was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from learnables import made_up

from engine.errors import ModelError
from models.actor import actor_of
from models.agent_ensemble import AgentEnsemble
from models.agent_training import CONFIGS, AgentConfig, config_of, make_learner, tensors_of, train_agent
from models.agents import BURN_IN, Agent, daily_earned, shares_of
from models.forecast import Cancelled
from models.registry import Training, load_model, save_model


class SignalMarket(gymnasium.Env):  # type: ignore[type-arg]
    """The next return is ``edge`` times a sign that is seen, plus noise; changing the position costs."""

    observation_space = spaces.Box(-4.0, 4.0, (3,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, edge: float, cost: float, noise: float) -> None:
        self.edge, self.cost, self.noise = edge, cost, noise

    def _seen(self) -> np.ndarray:
        self.sign = float(self.np_random.choice([-1.0, 1.0]))
        return np.array([self.sign, np.clip(self.np_random.normal(), -4, 4), self.held], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.held = 0, 0.0
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        wish = float(np.clip(action[0], -1.0, 1.0))
        gain = wish * (self.edge * self.sign + self.noise * self.np_random.normal()) - self.cost * abs(wish - self.held)
        self.held, self.t = wish, self.t + 1
        return self._seen(), gain, False, self.t >= 50, {}


SMALL: dict[str, AgentConfig] = {
    "ppo": AgentConfig("ppo", 3072, 512, hidden=(16,), gamma=0.0, learning_rate=2e-2,
                       settings=(("n_steps", 32), ("batch_size", 64), ("n_epochs", 4))),
    "a2c": AgentConfig("a2c", 2048, 512, hidden=(16,), gamma=0.0, learning_rate=1e-2, settings=(("n_steps", 16),)),
    "sac": AgentConfig("sac", 96, 64, hidden=(16,),
                       settings=(("learning_starts", 32), ("buffer_size", 500), ("batch_size", 16))),
}  # fmt: skip
DATA = made_up(600, 2, drift=0.3)


def go_on(share: float, losses: dict[str, float]) -> bool:
    return True


def acts(tensors: dict[str, np.ndarray], seen: list[list[float]]) -> np.ndarray:
    return actor_of(tensors).mean(np.array(seen, dtype=np.float32))[:, 0]


@pytest.mark.parametrize("name", ["ppo", "a2c"])
def test_an_agent_finds_the_sign_that_pays(name: str) -> None:
    tensors, report = train_agent(SMALL[name], lambda: SignalMarket(1.0, 0.0, 0.5), 1, go_on)
    up, down = acts(tensors, [[1, 0, 0], [1, 1, -0.5], [1, -1, 0.5]]), acts(tensors, [[-1, 0, 0], [-1, 1, 0.5]])
    assert up.min() > 0.6
    assert down.max() < -0.6
    assert report["steps"] == SMALL[name].steps


def test_an_agent_stays_flat_where_only_costs_are_sure() -> None:
    tensors, _ = train_agent(SMALL["ppo"], lambda: SignalMarket(0.0, 1.0, 0.5), 1, go_on)
    assert np.abs(acts(tensors, [[1, 0, 0], [-1, 0, 0], [1, 1, 0], [-1, -1, 0]])).max() < 0.2


@pytest.mark.parametrize("name", sorted(SMALL))
def test_plain_arrays_act_as_the_library_does(name: str) -> None:
    learner = make_learner(replace(SMALL[name], n_envs=2), lambda: SignalMarket(1.0, 0.0, 0.5), 3)
    seen = np.random.default_rng(2).uniform(-2, 2, (20, 3)).astype(np.float32)
    actor = actor_of(tensors_of(learner))
    assert actor.mean(seen) == pytest.approx(learner.predict(seen, deterministic=True)[0], abs=1e-6)
    import torch

    said = actor.opinion(seen)
    with torch.no_grad():
        if name == "sac":
            shown = torch.from_numpy(seen)
            expected = torch.cat(learner.critic(shown, torch.from_numpy(said.mean)), 1).min(1).values.numpy()
        else:
            expected = learner.policy.predict_values(torch.from_numpy(seen))[:, 0].numpy()
            assert said.std == pytest.approx(np.exp(-1.0), abs=1e-6)
    assert said.value == pytest.approx(expected, abs=1e-5)
    assert (said.std > 0.0).all()


def test_a_person_can_cancel() -> None:
    with pytest.raises(Cancelled):
        train_agent(SMALL["ppo"], lambda: SignalMarket(1.0, 0.0, 0.5), 1, lambda *_: False)


def test_settings_survive_as_json() -> None:
    for config in CONFIGS.values():
        assert config_of(config.plain()) == config


@pytest.fixture(scope="module")
def ensemble() -> AgentEnsemble:
    short = tuple(replace(SMALL[name], steps=256, steps_again=128, episode_bars=60) for name in ("ppo", "sac"))
    fitted = AgentEnsemble(short, 1)
    told: list[float] = []
    report = fitted.fit(DATA, slice(0, 400), slice(410, 480), 1, lambda share, _: told.append(share) is None)
    assert told == sorted(told)
    assert {"seconds", "steps", "weight_0_ppo", "weight_1_sac"} <= set(report)
    return fitted


def test_stream_and_batch_are_one(ensemble: AgentEnsemble) -> None:
    ensemble.evidence[:] = [[100, 1.0, 0.05], [100, 0.5, 0.05]]
    wish = ensemble.weights(DATA, slice(500, 560))
    stream = ensemble.stream(2)
    rows = range(500 - BURN_IN, 560)
    streamed = [stream.update(DATA.features[t], DATA.panel.close_px[t], DATA.sigma[t], np.zeros(2)) for t in rows]
    assert np.array_equal(np.array(streamed)[BURN_IN:], wish)
    assert np.abs(wish).max() <= 1.0
    votes = stream.votes()
    assert [vote.name for vote in votes] == ["ppo", "sac"]
    assert sum(vote.weight * vote.mean for vote in votes) == pytest.approx(wish[-1])
    later = DATA._replace(features=np.where(np.arange(600)[:, None, None] > 530, 3.0, DATA.features).astype(np.float32))
    assert np.array_equal(ensemble.weights(later, slice(500, 560))[:31], wish[:31])


def test_what_is_kept_acts_alike_and_learns_on(ensemble: AgentEnsemble) -> None:
    tensors, settings = ensemble.state()
    again = AgentEnsemble()
    again.load(tensors, settings)
    assert np.array_equal(again.weights(DATA, slice(500, 520)), ensemble.weights(DATA, slice(500, 520)))
    days = again.evidence[:, 0].copy()
    again.fit(DATA, slice(0, 500), slice(510, 580), 2, go_on)
    assert (again.evidence[:, 0] > days).all()
    assert not np.array_equal(again.state()[0]["0.action_net.weight"], tensors["0.action_net.weight"])


def test_a_set_from_when_an_algorithm_had_one_agent_still_loads_and_says_the_same(ensemble: AgentEnsemble) -> None:
    ensemble.evidence[:] = [[100, 1.0, 0.05], [100, 0.5, 0.05]]
    assert ensemble.shares.tolist() == shares_of(ensemble.evidence).tolist()  # as it was weighed then
    old = AgentEnsemble()  # of three copies each until it is told what was kept
    old.load(*ensemble.state())
    assert (len(old.members), old.shares.tolist()) == (2, ensemble.shares.tolist())


def test_copies_of_an_algorithm_share_what_it_earned() -> None:
    copied = AgentEnsemble((SMALL["ppo"], SMALL["sac"]), 2)
    copied.evidence = np.array([[100, 1.5, 0.05], [100, 0.5, 0.05], [100, 0.8, 0.05], [100, 0.0, 0.05]])
    by_algorithm = shares_of(np.array([[100, 1.0, 0.05], [100, 0.4, 0.05]]))
    assert copied.shares.tolist() == pytest.approx([by_algorithm[0] / 2] * 2 + [by_algorithm[1] / 2] * 2)


def test_agents_without_evidence_have_no_say(ensemble: AgentEnsemble) -> None:
    assert shares_of(np.array([[100, -1.0, 0.1], [100, -0.5, 0.1]])).tolist() == [0.0, 0.0]
    kept, ensemble.evidence = ensemble.evidence, np.array([[100, -1.0, 0.1], [100, -0.5, 0.1]])
    assert (ensemble.weights(DATA, slice(500, 505)) == 0.0).all()
    ensemble.evidence = kept
    with pytest.raises(ModelError, match="learned nothing"):
        Agent(SMALL["ppo"]).weights(DATA, slice(0, 5))


def test_paper_results_are_net_of_costs(ensemble: AgentEnsemble) -> None:
    found = ensemble.members[0].rollout(DATA, slice(500, 560))
    daily = daily_earned(found, DATA, slice(500, 560))
    assert len(daily) in (3, 4)
    assert np.prod(1.0 + daily) == pytest.approx(np.prod(1.0 + found.earned.mean(axis=1)))


def test_stored_agents_come_back_and_stream_the_same(ensemble: AgentEnsemble, tmp_path: Path) -> None:
    ensemble.evidence[:] = [[100, 1.0, 0.05], [100, 0.5, 0.05]]
    record = Training(
        name="agents", version="v1", kind="agents", interval="1h", symbols=("S0USDT", "S1USDT"), ts_first=1, ts_last=2,
        data_hash="d", features_hash="f" * 64, seed=1, metrics={}, intended_use="Tests.", known_failures="none",
        ts_trained=3, ts_expires=9,
    )  # fmt: skip
    save_model(tmp_path, ensemble, record)
    stored = load_model(tmp_path, "agents", "v1", "f" * 64, 4).model
    one, other = ensemble.stream(2), stored.stream(2)
    for t in range(500, 530):
        bar = (DATA.features[t], DATA.panel.close_px[t], DATA.sigma[t], np.zeros(2))
        np.testing.assert_array_equal(one.update(*bar), other.update(*bar))
    assert np.isfinite(one.votes()[0].mean).all()
