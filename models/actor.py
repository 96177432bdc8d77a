"""A trained agent as plain arrays: what it does, how sure it is and what it expects, without a learning library."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.errors import ModelError

Layers = list[tuple[np.ndarray, np.ndarray]]

LOG_STD = (-20.0, 2.0)
"""Bounds of the log standard deviation of a squashed Gaussian, as in Haarnoja et al. (2018)."""


class Opinion(NamedTuple):
    """What an agent says to M observations."""

    mean: np.ndarray  # (M, A) the deterministic action, in [-1, 1]
    std: np.ndarray  # (M, A) standard deviation of the action that it would draw
    value: np.ndarray  # (M,) discounted sum of rewards that it expects


class Actor(NamedTuple):
    """A multilayer perceptron for the action and one or two for the value."""

    squashed: bool  # SAC: tanh of a Gaussian; PPO, A2C: a Gaussian that is clipped
    trunk: Layers
    head: Layers
    log_std: Layers  # squashed: a layer; otherwise one pair whose bias is the constant
    values: tuple[Layers, ...]  # PPO, A2C: of the observation; SAC: of observation and action, the lower counts

    def mean(self, observation: np.ndarray) -> np.ndarray:
        """Return the deterministic actions (M, A) float32 for observations (M, O) float32."""
        hidden = _hidden(self.trunk, observation, self.squashed)
        out = _affine(self.head[0], hidden)
        return np.tanh(out) if self.squashed else np.clip(out, -1.0, 1.0)

    def opinion(self, observation: np.ndarray) -> Opinion:
        """Return action, its spread and the value for observations (M, O) float32.

        The spread of a squashed Gaussian is to first order std * (1 - mean²) (delta method); that of a clipped one is
        given as before the clip.
        """
        hidden = _hidden(self.trunk, observation, self.squashed)
        out = _affine(self.head[0], hidden)
        if self.squashed:
            mean = np.tanh(out)
            std = np.exp(np.clip(_affine(self.log_std[0], hidden), *LOG_STD)) * (1.0 - mean * mean)
            seen = np.concatenate([observation, mean], axis=1)
        else:
            mean = np.clip(out, -1.0, 1.0)
            std = np.broadcast_to(np.exp(self.log_std[0][1]), mean.shape)
            seen = observation
        expected = [_affine(net[-1], _hidden(net[:-1], seen, self.squashed))[:, 0] for net in self.values]
        return Opinion(mean, std, np.minimum.reduce(expected))


def _affine(layer: tuple[np.ndarray, np.ndarray], x: np.ndarray) -> np.ndarray:
    out: np.ndarray = x @ layer[0] + layer[1]
    return out


def _hidden(layers: Layers, x: np.ndarray, rectified: bool) -> np.ndarray:
    for layer in layers:
        x = _affine(layer, x)
        x = np.maximum(x, 0.0) if rectified else np.tanh(x)
    return x


def _layers(tensors: dict[str, np.ndarray], prefix: str) -> Layers:
    """Return weight (in, out) and bias of the linear layers under ``prefix``, in order."""
    parts = [name[len(prefix) : -len("weight")] for name in tensors if name.startswith(prefix) and "weight" in name]
    if not parts:
        raise ModelError(f"there is no tensor under {prefix}: these are not the tensors of a PPO, A2C or SAC agent")
    parts.sort(key=lambda part: int(part.strip(".") or 0))
    return [
        (np.ascontiguousarray(tensors[f"{prefix}{part}weight"].T), tensors[f"{prefix}{part}bias"]) for part in parts
    ]


def actor_of(tensors: dict[str, np.ndarray]) -> Actor:
    """Return the actor in the tensors of a PPO, A2C or SAC policy, as ``agent_training.train_agent`` gives them."""
    if "log_std" in tensors:
        return Actor(
            False, _layers(tensors, "mlp_extractor.policy_net."), _layers(tensors, "action_net."),
            [(np.zeros((0, 0), dtype=np.float32), tensors["log_std"])],
            (_layers(tensors, "mlp_extractor.value_net.") + _layers(tensors, "value_net."),),
        )  # fmt: skip
    return Actor(
        True, _layers(tensors, "actor.latent_pi."), _layers(tensors, "actor.mu."), _layers(tensors, "actor.log_std."),
        (_layers(tensors, "critic.qf0."), _layers(tensors, "critic.qf1.")),
    )  # fmt: skip
