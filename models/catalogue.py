"""Every learner by name, imported only when it is wanted: the networks bring torch, the agents bring more."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import ConfigError


class Entry(NamedTuple):
    """How to make a learner and what is known of it."""

    module: str
    factory: str  # a class or function of the module that takes no argument
    said: str  # one line for tables
    is_policy: bool = False  # gives positions, not forecasts
    has_randomness: bool = True
    needs_torch: bool = False
    retrain_months: int = 1
    sources: tuple[str, ...] = ()  # modules of this package whose change makes kept forecasts worthless
    members: tuple[str, ...] = ()  # policies that this one blends: a walk-forward takes theirs and trains none again


BASE = "base-rate"
SEEDS = 3
"""How often what is random is taught unless told otherwise: what one of them learned is partly luck, and their spread
shows how much."""

NETWORK = ("neural", "training", "heads", "tabular")
AGENT = ("agent_training", "actor", "env", "own_book", "tabular")

ENTRIES: dict[str, Entry] = {
    BASE: Entry("models.baselines", "BaseRate", "what always happened", False, False, sources=("tabular",)),
    "persistence": Entry(
        "models.baselines", "make_persistence", "what happened after such a last bar", False, False,
        sources=("tabular",),
    ),
    "linear": Entry("models.baselines", "Linear", "ridge and logistic regression", False, False, sources=("tabular",)),
    "boosting": Entry("models.boosting", "Boosting", "histogram gradient boosting", sources=("tabular",)),
    "lstm": Entry("models.lstm", "LstmForecaster", "LSTM with attention", needs_torch=True, sources=NETWORK),
    "transformer": Entry(
        "models.transformer", "TransformerForecaster", "causal Transformer", needs_torch=True, sources=NETWORK
    ),
    "ppo": Entry(
        "models.agents", "make_ppo", "agent: proximal policy optimisation", is_policy=True, needs_torch=True,
        retrain_months=12, sources=AGENT,
    ),
    "sac": Entry(
        "models.agents", "make_sac", "agent: soft actor-critic", is_policy=True, needs_torch=True, retrain_months=12,
        sources=AGENT,
    ),
    "a2c": Entry(
        "models.agents", "make_a2c", "agent: advantage actor-critic", is_policy=True, needs_torch=True,
        retrain_months=12, sources=AGENT,
    ),
    "agents": Entry(
        "models.agent_ensemble", "AgentEnsemble", "the three agents by evidence", is_policy=True, needs_torch=True,
        retrain_months=12, sources=("agents", *AGENT), members=("ppo", "sac", "a2c"),
    ),
}  # fmt: skip
"""In the order of tables: plain ones first."""

RECORDS = {
    "ensemble": Entry("models.sets", "EnsembleRecord", "what each member counts"),
    "surroundings": Entry("models.surroundings", "Surroundings", "regimes, the alarm, and what inputs were like"),
}
"""What the registry keeps besides learners."""


def available() -> list[str]:
    """Return the names whose modules are installed."""
    return [name for name, entry in ENTRIES.items() if importlib.util.find_spec(entry.module) is not None]


def entry_of(name: str) -> Entry:
    """Return an entry, or say which names there are."""
    if name not in ENTRIES:
        raise ConfigError(f"there is no model {name!r}; there are {', '.join(ENTRIES)}")
    return ENTRIES[name]


def build(name: str) -> Any:
    """Return a fresh Forecaster, a Policy where the entry says so, or an empty record."""
    entry = RECORDS.get(name) or entry_of(name)
    return getattr(importlib.import_module(entry.module), entry.factory)()


def source_hash(modules: tuple[str, ...]) -> str:
    """Return a short hash of the text of modules, without importing them."""
    digest = hashlib.sha256()
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ConfigError(f"the module {name} is not installed: its learner cannot be evaluated")
        digest.update(Path(spec.origin).read_bytes())
    return digest.hexdigest()[:10]


def version_of(name: str) -> str:
    """Return a short hash of the code that a learner's forecasts come from, its own module first."""
    entry = entry_of(name)
    return source_hash((entry.module, *(f"models.{source}" for source in entry.sources)))
