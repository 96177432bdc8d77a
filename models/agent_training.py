"""How agents learn: PPO, SAC and A2C of Stable-Baselines3 with the settings used here, and why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.errors import ConfigError
from models.forecast import Cancelled, Progress

ALGORITHMS = ("ppo", "sac", "a2c")


@dataclass(frozen=True)
class AgentConfig:
    """Settings of one agent.

    Attributes
    ----------
    algorithm : str
        One of ``ALGORITHMS``.
    steps : int
        Environment steps of the first training, over all parallel environments.
    steps_again : int
        Of every later one, which starts from what is known.
    n_envs : int
        Environments that are stepped together: one forward pass serves them all.
    hidden : tuple of int
        Widths of the layers, of policy and value alike. Two of 64 see 54 inputs; more would fit the noise.
    gamma : float
        0.97 looks about 33 bars ahead. Positions cost when they change and earn while they last, so a bar alone (0)
        would never pay for entering; with 0.99 and more, the value of a noisy market drowns what an action adds.
    learning_rate : float
    entropy : float
        PPO, A2C: bonus for spread actions. SAC tunes its own from the start value.
    log_std : float
        PPO, A2C: log standard deviation at the start. exp(-1) = 0.37 explores a third of the range and does not pay
        for a full turn at every bar.
    episode_bars : int
    settings : dict
        What the algorithm takes besides.
    """

    algorithm: str
    steps: int
    steps_again: int
    n_envs: int = 8
    hidden: tuple[int, ...] = (64, 64)
    gamma: float = 0.97
    learning_rate: float = 3e-4
    entropy: float = 0.0
    log_std: float = -1.0
    episode_bars: int = 512
    settings: tuple[tuple[str, Any], ...] = ()

    def plain(self) -> dict[str, object]:
        """Return the settings as JSON has them."""
        return {**asdict(self), "hidden": list(self.hidden), "settings": [list(pair) for pair in self.settings]}


CONFIGS = {
    # Long rollouts (8 x 256) average the noise of returns before each update; 4 passes reuse them without running off.
    "ppo": AgentConfig(
        "ppo", 24_576, 12_288,
        settings=(("n_steps", 256), ("batch_size", 256), ("n_epochs", 4), ("gae_lambda", 0.9), ("clip_range", 0.2)),
    ),
    # One gradient step for each turn of 8 environments: with one per transition SAC makes 75 steps a second here.
    "sac": AgentConfig(
        "sac", 6_400, 3_200,
        settings=(
            ("buffer_size", 50_000), ("batch_size", 128), ("learning_starts", 800), ("train_freq", 1),
            ("gradient_steps", 1), ("ent_coef", "auto_0.1"),
        ),
    ),
    # The usual 5 steps of A2C see five bars; 32 x 8 make its gradient about as quiet as a minibatch of PPO.
    "a2c": AgentConfig(
        "a2c", 24_576, 12_288, learning_rate=7e-4, settings=(("n_steps", 32), ("gae_lambda", 0.9)),
    ),
}  # fmt: skip


def config_of(plain: dict[str, Any]) -> AgentConfig:
    """Return what ``AgentConfig.plain`` gave."""
    pairs = tuple((str(name), value) for name, value in plain["settings"])
    return AgentConfig(**{**plain, "hidden": tuple(plain["hidden"]), "settings": pairs})


def make_learner(config: AgentConfig, make_env: Callable[[], Any], seed: int) -> Any:
    """Return a fresh Stable-Baselines3 learner on ``n_envs`` environments, on one thread of the CPU."""
    import torch
    from stable_baselines3 import A2C, PPO, SAC
    from stable_baselines3.common.vec_env import DummyVecEnv

    torch.set_num_threads(1)
    classes: dict[str, Any] = {"ppo": PPO, "sac": SAC, "a2c": A2C}
    if config.algorithm not in classes:
        raise ConfigError(f"there is no agent {config.algorithm!r}; there are {', '.join(ALGORITHMS)}")
    shape: dict[str, Any] = {"net_arch": list(config.hidden)}
    extra: dict[str, Any] = dict(config.settings)
    if config.algorithm != "sac":
        shape |= {"activation_fn": torch.nn.Tanh, "log_std_init": config.log_std}
        extra |= {"ent_coef": config.entropy}
    envs = DummyVecEnv([make_env] * config.n_envs)
    return classes[config.algorithm](
        "MlpPolicy", envs, gamma=config.gamma, learning_rate=config.learning_rate, policy_kwargs=shape, seed=seed,
        device="cpu", verbose=0, **extra,
    )  # fmt: skip


def tensors_of(learner: Any) -> dict[str, np.ndarray]:
    """Return all of a learner's weights as arrays."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in learner.policy.state_dict().items()}


def _callback(steps: int, progress: Progress) -> Any:
    from stable_baselines3.common.callbacks import BaseCallback

    class Told(BaseCallback):
        """Tells the progress a hundred times, and stops when it is told to."""

        def __init__(self) -> None:
            super().__init__()
            self.total, self.count, self.next, self.cancelled = 0.0, 0, 0, False

        def _on_step(self) -> bool:
            rewards = self.locals["rewards"]
            self.total += float(np.sum(rewards))
            self.count += len(rewards)
            if self.num_timesteps >= self.next:
                self.next += max(steps // 100, 1)
                mean = self.total / self.count
                self.total, self.count = 0.0, 0
                self.cancelled = not progress(min(self.num_timesteps / steps, 1.0), {"reward": mean})
            return not self.cancelled

    return Told()


def train_agent(
    config: AgentConfig, make_env: Callable[[], Any], seed: int, progress: Progress,
    known: dict[str, np.ndarray] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:  # fmt: skip
    """Train one agent.

    Parameters
    ----------
    config : AgentConfig
    make_env : callable
        Gives a fresh Gymnasium environment.
    seed : int
        Of weights, actions and environments: equal seeds give equal agents.
    progress : Progress
        Told the mean reward a step since it was last told.
    known : dict of arrays, optional
        Tensors to start from; the optimiser starts anew.

    Returns
    -------
    dict of arrays
        The tensors.
    dict
        ``seconds`` and ``steps``.

    Raises
    ------
    Cancelled
    """
    import torch

    started = time.perf_counter()
    learner = make_learner(config, make_env, seed)
    if known is not None:
        learner.policy.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in known.items()})
    steps = config.steps if known is None else config.steps_again
    told = _callback(steps, progress)
    learner.learn(steps, callback=told)
    if told.cancelled:
        raise Cancelled
    return tensors_of(learner), {"seconds": time.perf_counter() - started, "steps": float(learner.num_timesteps)}
