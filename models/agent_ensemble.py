"""The ensemble of trading agents: several algorithms, several seeds of each, weighed by out-of-sample evidence."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8
from models.agent_training import ALGORITHMS, CONFIGS, AgentConfig, config_of
from models.agents import Agent, blended, daily_earned, shares_of, shown_by
from models.catalogue import SEEDS
from models.env import PracticeTerms
from models.forecast import Learnable, Progress
from models.tabular import Scaler

USUAL = tuple(CONFIGS[algorithm] for algorithm in ALGORITHMS)
"""What an ensemble is made of unless it is told otherwise."""


class Vote(NamedTuple):
    """What one agent of an ensemble says about N symbols at the newest bar."""

    name: str
    weight: float  # share of the ensemble, from evidence
    mean: np.ndarray  # (N,) its wish
    std: np.ndarray  # (N,) standard deviation of its action distribution
    value: np.ndarray  # (N,) discounted reward that it expects


class AgentEnsemble:
    """Agents of several algorithms and seeds, weighed by what they earned on bars that they had not learned from.

    Evidence is the daily return after costs of each agent's paper books: on the first fit, over ``valid``; before every
    later fit, over the bars since, of the agents as they were. Algorithms are weighed, not agents: the evidence of one
    is the mean of its seeds' (their days are the same days, so they count once), and each of its agents has an equal
    part of what it counts. Which seed was lucky says nothing of the next bars. weight ~ max(0, S), see ``shares_of``;
    with no positive S the ensemble wishes for nothing: 0, not unknown.

    Parameters
    ----------
    configs : tuple of AgentConfig
    seeds : int
        Agents of each configuration.
    terms : PracticeTerms, optional
    """

    name = "agents"

    def __init__(
        self, configs: tuple[AgentConfig, ...] = USUAL, seeds: int = SEEDS,
        terms: PracticeTerms | None = None,
    ) -> None:  # fmt: skip
        self.members = [Agent(config, terms) for config in configs for _ in range(seeds)]
        self.evidence = np.zeros((len(self.members), 3))  # days, sum and sum of squares of daily returns
        self._judged_to = 0  # ns

    def fit(self, data: Learnable, train: slice, valid: slice, seed: int, progress: Progress) -> dict[str, float]:
        """Judge the agents as they are, then train each; see ``Agent.fit``. Raises ``Cancelled``."""
        ts_close = data.panel.ts_close
        _, stop, _ = valid.indices(len(ts_close))
        again = self._judged_to > 0
        if again:
            self._judge(data, slice(int(np.searchsorted(ts_close, self._judged_to, side="right")), stop))
        report = {"seconds": 0.0, "steps": 0.0}
        for k, member in enumerate(self.members):
            done = k / len(self.members)

            def told(share: float, losses: dict[str, float], done: float = done, of: str = member.name) -> bool:
                named = {f"{of}_{key}": value for key, value in losses.items()}
                return progress(done + share / len(self.members), named)

            found = member.fit(data, train, valid, 1_000 * seed + k, told)
            report = {key: report[key] + found[key] for key in report}
        if not again:
            self._judge(data, valid)
        self._judged_to = int(ts_close[stop - 1])
        named = zip(self.members, self.shares, strict=True)
        return report | {f"weight_{k}_{member.name}": float(share) for k, (member, share) in enumerate(named)}

    def _judge(self, data: Learnable, rows: slice) -> None:
        if rows.stop <= rows.start:
            return
        for k, member in enumerate(self.members):
            self.evidence[k] += shown_by(daily_earned(member.rollout(data, rows), data, rows))

    @property
    def shares(self) -> F8:
        """The agents' weights (M,), summing to 1, or all 0."""
        return shares_of_agents([member.name for member in self.members], self.evidence)

    def weights(self, data: Learnable, rows: slice) -> F8:
        """Return the weighted mean of the agents' wishes (T', N)."""
        shares = self.shares
        wishes = [member.weights(data, rows) for member in self.members]
        return blended(np.array(wishes), shares)

    def stream(self, n_symbols: int) -> EnsembleStream:
        """Return the ensemble as it runs bar by bar, flat."""
        return EnsembleStream(self.members, self.shares, n_symbols)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """Return tensors and JSON-able settings: all that the registry keeps."""
        tensors: dict[str, np.ndarray] = {"evidence": self.evidence}
        kept: list[dict[str, object]] = []
        for k, member in enumerate(self.members):
            own, settings = member.state()
            tensors |= {f"{k}.{name}": value for name, value in own.items()}
            kept.append(settings)
        return tensors, {"members": kept, "judged_to": self._judged_to}

    def load(self, tensors: dict[str, np.ndarray], settings: dict[str, Any]) -> None:
        """Take up what ``state`` gave."""
        self.members = []
        for k, kept in enumerate(settings["members"]):
            member = Agent(config_of(kept["config"]))
            prefix = f"{k}."
            member.load({n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}, kept)
            self.members.append(member)
        self.evidence = np.array(tensors["evidence"], dtype=np.float64)
        self._judged_to = int(settings["judged_to"])


def shares_of_agents(names: list[str], evidence: F8) -> F8:
    """Return weights (M,) of agents from the evidence (M, 3) of each: its algorithm's weight over how many they are.

    Examples
    --------
    Two copies of one that earns and one that loses: what the copies count together is what one of them would count.

    >>> day, std = 1.0 / 365.0, 1.0 / 365.0**0.5
    >>> rows = [[365, m * 365 * day, 365 * (day * day + std * std)] for m in (1.0, 1.0, -1.0)]
    >>> [float(share) for share in shares_of_agents(["ppo", "ppo", "sac"], np.array(rows))]
    [0.5, 0.5, 0.0]
    """
    algorithms = list(dict.fromkeys(names))
    of = np.array([algorithms.index(name) for name in names])
    copies = np.bincount(of)
    pooled = np.zeros((len(algorithms), evidence.shape[1]))
    np.add.at(pooled, of, evidence)
    shares: F8 = (shares_of(pooled / copies[:, None]) / copies)[of]
    return shares


class EnsembleStream:
    """All agents of an ensemble, one bar after the other, each with its own paper book."""

    def __init__(self, members: list[Agent], shares: F8, n_symbols: int) -> None:
        self._names = [member.name for member in members]
        self._streams = [member.stream(n_symbols) for member in members]
        self._shares = shares
        scalers = [member.fitted[1] for member in members]
        # agents that learned from the same bars scale alike: a bar is scaled once for all of them
        self._first = [next(k for k in range(m + 1) if _alike(scalers[k], one)) for m, one in enumerate(scalers)]
        self._scalers = {k: scalers[k] for k in set(self._first)}

    def update(self, features: np.ndarray, close_px: F8, sigma: F8, funding: F8) -> F8:
        """Take a closed bar and return the blended wishes (N,); see ``AgentStream.update``."""
        scaled = {k: scaler.inputs(features) for k, scaler in self._scalers.items()}
        wishes = [
            one.advance(*scaled[k], close_px, sigma, funding) for one, k in zip(self._streams, self._first, strict=True)
        ]
        return blended(np.array(wishes), self._shares)

    def votes(self) -> list[Vote]:
        """Return what every agent says at the newest bar, those without weight too."""
        found = []
        for name, share, stream in zip(self._names, self._shares, self._streams, strict=True):
            said = stream.opinion()
            found.append(Vote(name, float(share), said.mean[:, 0], said.std[:, 0], said.value))
        return found


def _alike(one: Scaler, other: Scaler) -> bool:
    return np.array_equal(one.center, other.center) and np.array_equal(one.scale, other.scale)
