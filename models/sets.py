"""The models of one training, kept together: members, the base rate, what each counts, and how wide intervals are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.errors import ModelError
from models.conformal import Tracker
from models.ensemble import Weights
from models.registry import Loaded, Manifest, list_models, load_model

ENSEMBLE, BASE = "ensemble", "base-rate"


class EnsembleRecord:
    """What a set knows besides its members; the registry keeps it as a model of the kind ``ensemble``.

    Attributes
    ----------
    symbols : tuple of str
        In the order of the tracker's first axis.
    weights : Weights
        From forecasts of bars that the members had not seen.
    tracker : Tracker
        Of the adaptive intervals, as after the last judged bar.
    inputs : tuple of str
        Columns of the panel besides the candles that were known somewhere: funding, basis, imbalance. Whoever uses the
        set has to know them too.
    """

    def __init__(
        self, symbols: tuple[str, ...] = (), weights: Weights | None = None, tracker: Tracker | None = None,
        inputs: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.symbols, self.inputs = symbols, inputs
        self.weights = weights or Weights((), np.zeros((0, 1)), np.ones(1))
        self.tracker = tracker or Tracker.fresh(len(symbols))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """Return the arrays, and the names they are about."""
        tensors = {"member": self.weights.member, "base": self.weights.base, **self.tracker._asdict()}
        return tensors, {
            "names": list(self.weights.names), "symbols": list(self.symbols), "inputs": list(self.inputs),
        }  # fmt: skip

    def load(self, tensors: dict[str, np.ndarray], settings: dict[str, Any]) -> None:
        """Take up what ``state`` gave."""
        self.symbols, self.inputs = tuple(settings["symbols"]), tuple(settings.get("inputs", ()))
        self.weights = Weights(tuple(settings["names"]), tensors["member"], tensors["base"])
        self.tracker = Tracker(*(tensors[name].copy() for name in Tracker._fields))


class ModelSet(NamedTuple):
    """A set that is ready to forecast. A member that cannot be used is left out, with a sentence."""

    version: str
    members: dict[str, Loaded]
    base: Loaded
    record: EnsembleRecord
    manifest: Manifest  # the ensemble's
    left_out: dict[str, str]


def load_set(home: Path, version: str, features_hash: str, ts_now: int, allow_expired: bool = False) -> ModelSet:
    """Return a stored set.

    Parameters
    ----------
    home : Path
        The data folder.
    version : str
    features_hash : str
        Of the inputs that it will be given.
    ts_now : int, ns
    allow_expired : bool

    Raises
    ------
    ModelError
        The set or its base rate cannot be used. A single member that cannot is left out instead.
    """
    record, manifest = load_model(home, ENSEMBLE, version, features_hash, ts_now, allow_expired)
    base = load_model(home, BASE, version, features_hash, ts_now, allow_expired)
    members: dict[str, Loaded] = {}
    left_out: dict[str, str] = {}
    for name in record.weights.names:
        try:
            members[name] = load_model(home, name, version, features_hash, ts_now, allow_expired)
        except ModelError as error:
            left_out[name] = str(error)
    return ModelSet(version, members, base, record, manifest, left_out)


def list_sets(home: Path) -> list[Manifest]:
    """Return the ensembles' manifests, oldest training first: a training that was broken off has none."""
    return [one.manifest for one in list_models(home) if one.manifest is not None and one.manifest.kind == ENSEMBLE]
