"""What a training makes beside its forecasters: the market's surroundings, and trading agents with their evidence."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.domain import NS_PER_DAY
from models.catalogue import ENTRIES, RECORDS, SEEDS, build, entry_of
from models.features import feature_hash
from models.fit import (
    EXPIRES_AFTER_DAYS,
    TRAIN_SHARE,
    VALID_SHARE,
    Report,
    expected_seconds,
    forecasters,
    kept,
    why_failed,
)
from models.forecast import Cancelled, Learnable
from models.judging import Judged
from models.registry import Training, hash_of_panel, save_model

AGENTS, SURROUNDINGS = "agents", "surroundings"
AGENT_S = 60.0
"""What one agent takes on a core of an AMD EPYC, both trainings together."""


class Wanted(NamedTuple):
    """What a training is to make."""

    forecasters: tuple[str, ...]
    agents: tuple[str, ...]  # algorithms
    seeds: int = SEEDS  # how often what is random is taught

    @property
    def seconds(self) -> float:
        """About how long it takes, seconds of one core."""
        return expected_seconds(self.forecasters, self.seeds) + AGENT_S * len(self.agents) * self.seeds


class Beside(NamedTuple):
    """What was made. None: it was not wanted, or it failed."""

    surroundings: Any
    agents: Any
    metrics: dict[str, dict[str, float]]  # of the agents
    failed: dict[str, str]
    found: dict[str, list[Judged]]  # what the agents wished on the judged bars, over seeds


def wanted_of(names: tuple[str, ...] = (), seeds: int = SEEDS) -> Wanted:
    """Return which forecasters and which agents names stand for; by default all of both.

    Raises
    ------
    ConfigError
        A name that there is not.
    """
    policies = tuple(name for name in names if entry_of(name).is_policy)
    others = tuple(name for name in names if name not in policies)
    if not names or AGENTS in policies:
        policies = tuple(name for name, entry in ENTRIES.items() if entry.is_policy and name != AGENTS)
    # agents alone would be a set that forecasts nothing: the base rate is always there
    chosen = forecasters(others) if others or not names else ("base-rate",)
    return Wanted(chosen, tuple(dict.fromkeys(policies)), seeds)


def train_beside(data: Learnable, algorithms: tuple[str, ...], seed: int, report: Report, seeds: int = SEEDS) -> Beside:
    """Learn the surroundings and teach the agents.

    Agents learn from the first 70 % of the bars, are weighed against each other by the next 10 % and are judged by the
    rest. Then they go on to learn from all bars. What fails is left out with its reason.

    Parameters
    ----------
    data : Learnable
    algorithms : tuple of str
        ppo, sac, a2c; empty for none.
    seed : int
    report : Report
        Told shares of this part alone.
    seeds : int
        Agents of each algorithm.

    Raises
    ------
    Cancelled
    """
    failed: dict[str, str] = {}
    surroundings = build(SURROUNDINGS)
    try:
        surroundings.fit(data, slice(0, len(data.panel.ts_close)))
        kept(surroundings, SURROUNDINGS)
    except Exception as error:  # a set forecasts without them
        surroundings, failed[SURROUNDINGS] = None, why_failed(error)
    if not algorithms:
        return Beside(surroundings, None, {}, failed, {})
    n_bars = len(data.panel.ts_close)
    ends = (round(TRAIN_SHARE * n_bars), round((TRAIN_SHARE + VALID_SHARE) * n_bars))
    try:
        # by name: it brings the learning libraries, which the engine's command line must not
        taught = importlib.import_module("models.agent_evidence").taught
        agents, found, each = taught(data, algorithms, ends, seed, lambda share: report(AGENTS, share, {}), seeds)
        kept(agents, AGENTS)
    except Cancelled:
        raise
    except Exception as error:  # whatever it is, it ends the agents alone
        return Beside(surroundings, None, {}, failed | {AGENTS: why_failed(error)}, {})
    return Beside(surroundings, agents, found.metrics(), failed, each)


def store_beside(home: Path, data: Learnable, made: Beside, version: str, seed: int, ts_now: int) -> None:
    """Write them to the registry under the version of the set; before the set itself, which makes it one."""
    ts_close = data.panel.ts_close
    common: dict[str, Any] = {
        "version": version, "interval": "1h", "symbols": data.panel.symbols, "ts_first": int(ts_close[0]),
        "ts_last": int(ts_close[-1]), "data_hash": hash_of_panel(data.panel, slice(None)),
        "features_hash": feature_hash(), "seed": seed, "ts_trained": ts_now, "known_failures": "none in training",
        "ts_expires": ts_now + EXPIRES_AFTER_DAYS * NS_PER_DAY,
    }  # fmt: skip
    said = RECORDS[SURROUNDINGS].said
    if made.surroundings is not None:
        seen = Training(name=SURROUNDINGS, kind=SURROUNDINGS, metrics={}, intended_use=said, **common)
        save_model(home, made.surroundings, seen)
    if made.agents is not None and all(np.isfinite(row["mean"]) for row in made.metrics.values()):
        use = "wishes beside the forecasters, as far as they earned more than holding and the trend rule"
        training = Training(name=AGENTS, kind=AGENTS, metrics=made.metrics, intended_use=use, **common)
        save_model(home, made.agents, training)
