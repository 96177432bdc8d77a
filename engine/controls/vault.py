"""The encrypted file of credentials: AES-256-GCM under a key that scrypt makes from a passphrase.

The header (version, key derivation, names and kinds of what is inside) is readable without the passphrase and covered
by the authentication tag, so a changed header makes the file unreadable instead of believed. The file is replaced
atomically and readable by its owner only. Values leave an open vault only by ``credential`` and ``second_factor``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from engine.controls.credentials import NAME_PATTERN, Credential
from engine.errors import ConfigError, WorkstationError

FILE_NAME = "vault.json"
ATTEMPTS_NAME = "vault.attempts.json"
VERSION = 1
SCRYPT_COST = 2**17  # with r = 8: 128 MiB and about half a second a guess
SCRYPT_BLOCK, SCRYPT_LANES = 8, 1
MAX_COST = 2**20  # a changed header must not make us ask for all memory
MIN_PASSPHRASE = 10
FREE_ATTEMPTS = 3
LONGEST_WAIT_S = 300.0


class VaultError(WorkstationError):
    """The vault cannot be opened or written; the sentence says what to do."""


class WrongPassphrase(VaultError):
    """The passphrase does not open the vault, or the file was changed."""


class Vault:
    """An open vault. Make one with ``create_vault`` or ``open_vault``; close it by letting go of it."""

    __slots__ = ("_contents", "_cost", "_key", "_nonce", "_salt", "path")

    def __init__(
        self, path: Path, key: bytes, salt: bytes, cost: int, contents: dict[str, Any], nonce: str | None = None
    ) -> None:
        self.path = path
        self._nonce = nonce  # of the file as it was read; None for a file not written yet
        self._key, self._salt, self._cost, self._contents = key, salt, cost, contents

    @property
    def names(self) -> dict[str, str]:
        """Kind of each credential by name."""
        return {name: entry["kind"] for name, entry in self._contents["credentials"].items()}

    def credential(self, name: str | None = None) -> Credential:
        """Return a credential; without a name the only one there is.

        Raises
        ------
        VaultError
            There is none of that name, or there are several and none was named.
        """
        names = list(self.names)
        if not names:
            raise VaultError("The vault holds no credential: store one on the Settings page or with `vault add`.")
        if name is None and len(names) > 1:
            raise VaultError(f"The vault holds {', '.join(names)}: name one with --key.")
        chosen = name or names[0]
        if chosen not in self.names:
            raise VaultError(f"Found {', '.join(names)} in the vault; expected {chosen!r}: store it or name another.")
        entry = self._contents["credentials"][chosen]
        return Credential(entry["kind"], entry["values"])

    def store(self, name: str, credential: Credential) -> None:
        """Keep a credential under a name, in place of an earlier one of that name."""
        if not NAME_PATTERN.fullmatch(name):
            raise ConfigError("The name must be 1 to 32 letters, digits, dots, dashes or underscores.")
        self._contents["credentials"][name] = credential.stored()
        self.save()

    def remove(self, name: str) -> None:
        """Forget a credential."""
        if self._contents["credentials"].pop(name, None) is None:
            raise VaultError(f"The vault holds no credential named {name!r}.")
        self.save()

    def second_factor(self) -> dict[str, Any] | None:
        """Return the second factor's secret and state, None when it is not set up. For ``mfa`` only."""
        kept = self._contents.get("totp")
        return None if kept is None else dict(kept)

    def keep_second_factor(self, state: dict[str, Any]) -> None:
        """Keep the second factor's secret and state. For ``mfa`` only."""
        self._contents["totp"] = dict(state)
        self.save()

    def save(self) -> None:
        """Write the file under a fresh nonce, atomically, readable by its owner only.

        Raises
        ------
        VaultError
            Somebody else has written it since it was opened: what they stored, or a code they spent, must not be lost.
        """
        found = _parts(self.path)[0]["nonce"] if self.path.exists() else None
        if found != self._nonce:
            raise VaultError("The vault was changed while it was open here: nothing was written. Try again.")
        nonce = os.urandom(12)
        header = {
            "version": VERSION,
            "kdf": {
                "name": "scrypt", "salt": _text(self._salt), "n": self._cost, "r": SCRYPT_BLOCK, "p": SCRYPT_LANES,
            },
            "cipher": "AES-256-GCM",
            "nonce": _text(nonce),
            "names": self.names,
            "second_factor": self._contents.get("totp") is not None,
        }  # fmt: skip
        sealed = AESGCM(self._key).encrypt(nonce, json.dumps(self._contents).encode(), _associated(header))
        _write_private(self.path, json.dumps({"header": header, "sealed": _text(sealed)}, indent=1))
        self._nonce = _text(nonce)

    def __repr__(self) -> str:
        return f"Vault({self.path.name}, contents hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an open vault is not pickled: it must not reach another process or a file")


def vault_summary(home: Path) -> dict[str, Any]:
    """Return what is known without the passphrase: ``exists``, ``names`` (name to kind), ``second_factor``."""
    path = home / FILE_NAME
    if not path.exists():
        return {"exists": False, "names": {}, "second_factor": False}
    header, _ = _parts(path)
    return {"exists": True, "names": dict(header["names"]), "second_factor": bool(header["second_factor"])}


def create_vault(home: Path, passphrase: str, *, cost: int = SCRYPT_COST) -> Vault:
    """Make an empty vault.

    Raises
    ------
    VaultError
        There is one already, or the passphrase is too short.
    """
    path = home / FILE_NAME
    if path.exists():
        raise VaultError(f"{path} exists: open it, or move it away to start a new one.")
    if len(passphrase) < MIN_PASSPHRASE:
        raise VaultError(
            f"Found a passphrase of {len(passphrase)} characters; expected at least {MIN_PASSPHRASE}. Four or more "
            "random words are easy to keep and hard to guess."
        )
    home.mkdir(parents=True, exist_ok=True)
    salt = os.urandom(16)
    vault = Vault(path, _derive(passphrase, salt, cost), salt, cost, {"credentials": {}, "totp": None})
    vault.save()
    return vault


def open_vault(home: Path, passphrase: str) -> Vault:
    """Open the vault of a data folder.

    Raises
    ------
    WrongPassphrase
        The passphrase does not fit. After three in a row each further one must wait, twice as long each time.
    VaultError
        No vault, an unreadable file, or too soon after wrong passphrases.
    """
    path = home / FILE_NAME
    if not path.exists():
        raise VaultError(f"There is no vault in {home}: store a credential on the Settings page or with `vault add`.")
    _wait_over(home)
    header, sealed = _parts(path)
    kdf = header["kdf"]
    if not 2 <= kdf["n"] <= MAX_COST or kdf["r"] != SCRYPT_BLOCK or kdf["p"] != SCRYPT_LANES:
        raise VaultError(f"{path.name} asks for a key derivation that this program does not do: restore a copy of it.")
    salt = base64.b64decode(kdf["salt"])
    key = _derive(passphrase, salt, kdf["n"])
    try:
        opened = AESGCM(key).decrypt(base64.b64decode(header["nonce"]), sealed, _associated(header))
    except InvalidTag:
        raise WrongPassphrase(_note_failure(home)) from None
    with contextlib.suppress(FileNotFoundError):
        (home / ATTEMPTS_NAME).unlink()
    return Vault(path, key, salt, kdf["n"], json.loads(opened), header["nonce"])


def _derive(passphrase: str, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=cost, r=SCRYPT_BLOCK, p=SCRYPT_LANES).derive(passphrase.encode())


def _parts(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        outer = json.loads(path.read_text())
        header, sealed = outer["header"], base64.b64decode(outer["sealed"], validate=True)
        version = int(header["version"])
        _ = header["kdf"]["n"] + header["kdf"]["r"] + header["kdf"]["p"], header["nonce"], dict(header["names"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VaultError(f"{path} cannot be read ({type(error).__name__}): restore a copy of it.") from None
    if version != VERSION:
        raise VaultError(f"{path.name} has version {version}, this program knows {VERSION}: update Astrolabe.")
    return header, sealed


def _associated(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _write_private(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _attempts(home: Path) -> dict[str, float]:
    try:
        kept = json.loads((home / ATTEMPTS_NAME).read_text())
        return {"failures": int(kept["failures"]), "until_s": float(kept["until_s"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"failures": 0, "until_s": 0.0}


def _wait_over(home: Path) -> None:
    # a clock that was set back must not lock the vault for longer than the longest wait
    left = min(_attempts(home)["until_s"] - time.time(), LONGEST_WAIT_S)
    if left > 0:
        raise VaultError(f"Too many wrong passphrases: try again in {left:.0f} s.")


def _note_failure(home: Path) -> str:
    failures = int(_attempts(home)["failures"]) + 1
    wait_s = 0.0 if failures < FREE_ATTEMPTS else min(2.0 ** (failures - FREE_ATTEMPTS + 1), LONGEST_WAIT_S)
    _write_private(home / ATTEMPTS_NAME, json.dumps({"failures": failures, "until_s": time.time() + wait_s}))
    pause = f" The next one is taken in {wait_s:.0f} s." if wait_s else ""
    return f"The passphrase does not open the vault, or the file was changed (wrong {failures} times).{pause}"
