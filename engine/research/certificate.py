"""Parity certificates: what version of a strategy means, and a signed statement that its paths decide alike.

A version is the strategy's source (a file's content, or a built-in name), its own parameters and the engine code that
decides. Change any of them and there is no certificate until a new one is issued. The key that signs lies in the data
folder: a signature shows that this installation issued the statement and that nothing in it was changed since.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.core.compiling import FINGERPRINT
from engine.errors import ConfigError
from engine.settings import SystemConfig
from engine.strategies import portfolio
from engine.strategies.versions import is_file, kept_path, source_hash

FOLDER = "certificates"  # in the data folder
KEY_FILE = "signing.key"
OWN_SETTINGS = {
    "trend": ("trend_horizons_hours", "volatility_horizon_hours", "volatility_target", "allow_short"),
    "ema-cross": ("ema_fast", "ema_slow", "allow_short"),
    portfolio.NAME: (
        "trend_horizons_hours",
        "volatility_horizon_hours",
        "volatility_target",
        "allow_short",
        "rebalance_band",
    ),
}
"""Settings that make a built-in strategy what it is; limits belong to the account and are not among them."""

NONE: dict[str, Any] = {
    "status": "none", "strategy_version": None, "ts": None, "decisions": 0, "differences": None, "signature": None,
}  # fmt: skip


@functools.cache
def code_fingerprint() -> str:
    """Return the hash of the code that decides: the core, and how a user's strategy is called."""
    digest = hashlib.sha256(FINGERPRINT.encode())
    for path in sorted((Path(__file__).resolve().parents[1] / "strategies").rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def version_of(strategy: str, settings: Mapping[str, Any], own: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """Return what a strategy's version is made of, with its name under ``version``.

    Parameters
    ----------
    strategy : str
        Built-in name, or the name of a file.
    settings : mapping
        Fields of ``SystemConfig``; those that are the strategy's own count.
    own : mapping
        Parameters of a file's constructor, or of the portfolio strategy.
    path : Path or None
        The file; its content counts, not its name.
    """
    if path is None:
        params = {name: settings[name] for name in OWN_SETTINGS[strategy]}
        if strategy == portfolio.NAME:
            params |= portfolio.PortfolioParams.model_validate(own).model_dump(mode="json")
        parts = {"source": strategy, "params": params}
    else:
        parts = {"source": source_hash(path), "params": {**own, "allow_short": settings["allow_short"]}}
    parts["params"] = _plain(parts["params"])
    parts["code"] = code_fingerprint()
    name = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    return {"version": name, **parts}


def version_in_force(config: SystemConfig, path: Path | None) -> dict[str, Any]:
    """Return the version that settings put in force; ``path`` is the kept copy of a file."""
    return version_of(config.strategy, config.model_dump(mode="json"), config.strategy_params, path)


def version_now(home: Path, config: SystemConfig) -> dict[str, Any]:
    """Return the version of the strategy that settings put in force.

    Raises
    ------
    ConfigError
        The kept copy of its file is gone or was changed.
    """
    path = kept_path(home, config.strategy) if is_file(config.strategy) else None
    return version_in_force(config, path)


def version_of_run(strategy: str, listed: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the version that a backtest ran: its strategy, all its parameters, and those of a file's constructor."""
    return version_of(strategy, listed, own, Path(strategy) if is_file(strategy) else None)


def _plain(value: Any) -> Any:
    """Return a value as JSON would give it back, with whole numbers as such: 48.0 and 48 are one parameter."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


# signing -------------------------------------------------------------------------------------------------------------


def _private_key(home: Path, *, make: bool) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = home / FOLDER / KEY_FILE
    if not path.is_file():
        if not make:
            raise ConfigError(f"the signing key {path} is not there, so nothing that was signed can be checked")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw())
        try:
            os.link(part, path)  # unlike a rename, never over the key of a process that was first
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(part, path)
        part.unlink(missing_ok=True)
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


def _message(certificate: Mapping[str, Any]) -> bytes:
    signed = {name: value for name, value in certificate.items() if name != "signature"}
    return json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()


def issue(home: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Sign a certificate, keep it as ``certificates/VERSION.json`` and return it.

    Parameters
    ----------
    home : Path
        Data folder.
    content : mapping
        Plain JSON; ``version``, ``status``, ``ts``, ``decisions``, ``differences`` and whatever explains them.
    """
    return write_signed(home, home / FOLDER / f"{content['version']}.json", content)


def read(home: Path, version: str) -> dict[str, Any] | None:
    """Return the certificate of a version, checked against this folder's key; None when there is none.

    Raises
    ------
    ConfigError
        It cannot be read, is another version's, or was changed after it was issued.
    """
    return read_signed(home, home / FOLDER / f"{version}.json", version, "issue it again: python -m engine certify")


def write_signed(home: Path, path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Sign a statement about a version with this folder's key, keep it whole or not at all, and return it.

    Parameters
    ----------
    home : Path
        Data folder; the key is made there at the first time.
    path : Path
        Its folder is made.
    content : mapping
        Plain JSON with ``version``.
    """
    key = _private_key(home, make=True)
    statement = dict(content) | {"public_key": key.public_key().public_bytes_raw().hex()}
    statement["signature"] = key.sign(_message(statement)).hex()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(statement, indent=1, sort_keys=True))
    os.replace(part, path)
    return statement


def read_signed(home: Path, path: Path, version: str, again: str, kind: str | None = None) -> dict[str, Any] | None:
    """Return a statement about a version that this folder's key signed; None when there is none.

    Parameters
    ----------
    home : Path
        Data folder.
    path : Path
        Where ``write_signed`` kept it.
    version : str
        The version that it must be about.
    again : str
        What a person does where it cannot be trusted.
    kind : str, optional
        What ``kind`` it must state: one signed statement does not pass for another. Certificates state none.

    Raises
    ------
    ConfigError
        It cannot be read, is another version's, or was changed after it was signed.
    """
    from cryptography.exceptions import InvalidSignature

    if not path.is_file():
        return None
    try:
        statement = dict(json.loads(path.read_text()))
        signature = bytes.fromhex(statement["signature"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{path.name} in {path.parent} cannot be read: {again}") from None
    key = _private_key(home, make=False).public_key()
    try:
        key.verify(signature, _message(statement))
    except InvalidSignature:
        raise ConfigError(
            f"the signature of {path.name} in {path.parent} does not fit: it was changed after it was issued, or "
            f"issued elsewhere; {again}"
        ) from None
    if statement.get("version") != version or statement.get("kind") != kind:
        what = statement.get("kind") or "certificate"
        raise ConfigError(f"{path.name} in {path.parent} is the {what} of version {statement.get('version')}: {again}")
    return statement


def block(home: Path, version: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result says of the certificate of the version that it ran.

    Returns
    -------
    dict
        ``status`` (pass, fail or none), ``strategy_version``, ``ts`` (ns), ``decisions``, ``differences``,
        ``signature``; ``why`` when a certificate is there and cannot be trusted.
    """
    try:
        found = read(home, version["version"])
    except ConfigError as error:
        return NONE | {"strategy_version": version["version"], "why": str(error)}
    if found is None:
        return NONE | {"strategy_version": version["version"]}
    return {
        "status": found["status"], "strategy_version": found["version"], "ts": found["ts"],
        "decisions": found["decisions"], "differences": found["differences"], "signature": found["signature"],
    }  # fmt: skip
