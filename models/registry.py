"""Models on disk: one folder a version with tensors and a manifest; what does not match its manifest does not load."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_from
from safetensors.numpy import save as tensors_to

from engine.domain import NS_PER_DAY
from engine.errors import ModelError
from models.catalogue import build
from models.forecast import Panel

TENSORS, MANIFEST = "model.safetensors", "manifest.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LIBRARIES = ("numpy", "torch", "scikit-learn", "stable-baselines3", "safetensors")


class Keepable(Protocol):
    """What the registry asks of a learner: forecasters have it, and so have agents and ensembles."""

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """Return tensors and JSON-able settings."""

    def load(self, tensors: dict[str, np.ndarray], settings: dict[str, object]) -> None:
        """Take up what ``state`` gave."""


@dataclass(frozen=True)
class Training:
    """What the trainer knows of a model, and the registry cannot find out by itself.

    Attributes
    ----------
    name, version : str
        Letters, digits, dot, dash and underscore. A version is written once.
    kind : str
        The learner's name in ``models.catalogue``.
    interval : str
        Length of the bars, such as ``1h``.
    symbols : tuple of str
        The symbols it has seen.
    ts_first, ts_last : int
        Close of the first and of the last training bar, ns.
    data_hash : str
        ``hash_of_panel`` of these bars.
    features_hash : str
        ``models.features.feature_hash`` of the inputs; an agent's is the hash of its observation.
    seed : int
    metrics : dict
        Name to ``{"mean": ..., "spread": ..., "n": ...}``: out of sample, the spread over seeds or blocks.
    intended_use, known_failures : str
        A sentence or two for the person who decides whether to trust it.
    ts_trained, ts_expires : int
        When the training ended, and from when on the model is too old to act on, ns.
    """

    name: str
    version: str
    kind: str
    interval: str
    symbols: tuple[str, ...]
    ts_first: int
    ts_last: int
    data_hash: str
    features_hash: str
    seed: int
    metrics: dict[str, dict[str, float]]
    intended_use: str
    known_failures: str
    ts_trained: int
    ts_expires: int


@dataclass(frozen=True)
class Manifest(Training):
    """All that is known of a stored model: what the trainer said, and what the registry found.

    Attributes
    ----------
    settings : dict
        What the learner's ``load`` takes besides the tensors.
    code : str
        Version of this package, and the commit it was at where there is a repository.
    libraries : dict
        Versions of what it was trained with.
    tensors_sha256 : str
        Hex digest of ``model.safetensors``.
    """

    settings: dict[str, Any]
    code: str
    libraries: dict[str, str]
    tensors_sha256: str


class Listed(NamedTuple):
    """One folder of the registry. Either there is a manifest, or a sentence that says why there is none."""

    name: str
    version: str
    manifest: Manifest | None
    problem: str


class Loaded(NamedTuple):
    """A model that is ready, with its manifest."""

    model: Any
    manifest: Manifest


def save_model(home: Path, model: Keepable, training: Training) -> Manifest:
    """Write a model and its manifest to ``<home>/models/<name>/<version>/``, whole or not at all.

    Parameters
    ----------
    home : Path
        The data folder.
    model : Keepable
        Fitted.
    training : Training

    Returns
    -------
    Manifest
        As written.

    Raises
    ------
    ModelError
        If the version exists already, a name is not one, a tensor holds NaN, or the settings are not plain JSON.
    """
    folder = _folder(home, training.name, training.version)
    if folder.exists():
        raise ModelError(f"{training.name} {training.version} is stored already: a version is written once")
    tensors, settings = model.state()
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    for name, value in tensors.items():
        if value.dtype.kind == "f" and np.isnan(value).any():
            raise ModelError(
                f"{training.name} was not stored: its tensor {name} holds NaN, so it learned nothing usable"
            )
    stored = tensors_to(tensors)
    manifest = Manifest(
        **{field.name: getattr(training, field.name) for field in fields(Training)},
        settings=settings,
        code=code_version(),
        libraries=library_versions(),
        tensors_sha256=hashlib.sha256(stored).hexdigest(),
    )
    try:
        said = json.dumps(asdict(manifest), indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{training.name} was not stored: its manifest is not plain JSON ({error})") from error
    partial = folder.with_name(f".{training.version}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        _write(partial / TENSORS, stored)
        _write(partial / MANIFEST, said.encode())
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ModelError(f"{training.name} {training.version} could not be stored: {error}") from error
    return manifest


def read_manifest(home: Path, name: str, version: str) -> Manifest:
    """Return a stored model's manifest.

    Raises
    ------
    ModelError
        If there is none, it has unknown or missing keys, or it belongs to another folder.
    """
    path = _folder(home, name, version) / MANIFEST
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{name} {version} has no manifest, and without one it is not loaded") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"the manifest of {name} {version} cannot be read: {error}") from error
    expected = {field.name: str(field.type) for field in fields(Manifest)}
    keys = set(found) if isinstance(found, dict) else set()
    if keys != set(expected):
        raise ModelError(
            f"the manifest of {name} {version} is not one of this version: unknown keys "
            f"{sorted(keys - set(expected))}, missing keys {sorted(set(expected) - keys)}. Train the model again."
        )
    for key, kind in expected.items():
        wanted = {"str": str, "int": int, "tuple[str, ...]": list}.get(kind, dict)
        if type(found[key]) is not wanted:
            raise ModelError(f"the manifest of {name} {version} says {key} = {found[key]!r}; expected {kind}")
    if (found["name"], found["version"]) != (name, version):
        raise ModelError(f"the folder {name} {version} holds the manifest of {found['name']} {found['version']}")
    return Manifest(**(found | {"symbols": tuple(found["symbols"])}))


def load_model(
    home: Path, name: str, version: str, features_hash: str, ts_now: int, allow_expired: bool = False
) -> Loaded:
    """Return a stored model, ready to forecast.

    Parameters
    ----------
    home : Path
        The data folder.
    name, version : str
    features_hash : str
        Of the inputs that it will be given; it must have learned on the same.
    ts_now : int
        The present moment, ns.
    allow_expired : bool
        An expired model acts on nothing; it may still be looked at, and be where the next training starts.

    Raises
    ------
    ModelError
        If anything differs from the manifest, with what was found, what was expected and what to do.
    ConfigError
        If the catalogue has no such kind.

    Notes
    -----
    Nothing is unpickled: tensors are read as safetensors (numbers and shapes only), the rest as JSON, and code is only
    what ``models.catalogue`` names.
    """
    manifest = read_manifest(home, name, version)
    if manifest.features_hash != features_hash:
        raise ModelError(
            f"{name} {version} learned on other features ({manifest.features_hash[:12]}) than are computed now "
            f"({features_hash[:12]}): train it again"
        )
    if ts_now >= manifest.ts_expires and not allow_expired:
        days = (ts_now - manifest.ts_expires) / NS_PER_DAY
        raise ModelError(f"{name} {version} expired {days:.1f} days ago: train it again")
    try:
        stored = (_folder(home, name, version) / TENSORS).read_bytes()
    except OSError as error:
        raise ModelError(f"the tensors of {name} {version} cannot be read: {error}") from error
    digest = hashlib.sha256(stored).hexdigest()
    if digest != manifest.tensors_sha256:
        raise ModelError(
            f"the tensors of {name} {version} are not those of its manifest: found {digest[:12]}, expected "
            f"{manifest.tensors_sha256[:12]}. The file was changed or damaged: train the model again."
        )
    try:
        tensors = tensors_from(stored)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"the tensors of {name} {version} are not a safetensors file: {error}") from error
    model = build(manifest.kind)
    model.load(tensors, manifest.settings)
    return Loaded(model, manifest)


def list_models(home: Path) -> list[Listed]:
    """Return every stored version, oldest training first; those without a sound manifest come first, and say why."""
    found = []
    for folder in sorted((home / "models").glob("[!.]*/[!.]*/")):
        name, version = folder.parent.name, folder.name
        try:
            found.append(Listed(name, version, read_manifest(home, name, version), ""))
        except ModelError as error:
            found.append(Listed(name, version, None, str(error)))
    return sorted(found, key=lambda one: one.manifest.ts_trained if one.manifest else 0)


def hash_of_panel(panel: Panel, rows: slice) -> str:
    """Return the SHA-256 of the bars ``rows`` of a panel, hex: symbols, moments and every number, NaN included."""
    digest = hashlib.sha256("\n".join(panel.symbols).encode())
    for values in panel[1:]:
        part = np.ascontiguousarray(values[rows])  # type: ignore[index]
        # One NaN is as good as another: their payload bits must not make two equal panels differ.
        digest.update(np.where(np.isnan(part), np.nan, part).tobytes() if part.dtype.kind == "f" else part.tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return the version of this package, and the commit where the code lies in a repository."""
    version = importlib.metadata.version("astrolabe")
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return version
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}+{asked.stdout.strip()}"


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of what learns, without importing it."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _folder(home: Path, name: str, version: str) -> Path:
    for part in (name, version):
        if not NAME.fullmatch(part):
            raise ModelError(
                f"{part!r} is not a name of a model or version: use letters, digits, dot, dash, underscore"
            )
    return home / "models" / name / version


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
