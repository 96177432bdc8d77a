"""The passphrase in the operating system's keyring, where the optional package ``keyring`` finds one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

SERVICE = "astrolabe-vault"


def _backend() -> Any | None:
    try:
        keyring = import_module("keyring")
        # without a desktop the package falls back to a backend of priority 0 that refuses everything
        return keyring if keyring.get_keyring().priority > 0 else None
    except Exception:  # backends fail in their own ways; a keyring that does not work is a keyring we do not have
        return None


def keyring_passphrase(home: Path) -> str | None:
    """Return the passphrase kept for a data folder, None without a keyring or without an entry."""
    backend = _backend()
    if backend is None:
        return None
    try:
        kept = backend.get_password(SERVICE, str(home.resolve()))
    except Exception:  # a locked keyring is the same as none: the person is asked
        return None
    return None if kept is None else str(kept)


def remember_passphrase(home: Path, passphrase: str) -> bool:
    """Keep the passphrase for a data folder; False when there is no keyring that works."""
    backend = _backend()
    if backend is None:
        return False
    try:
        backend.set_password(SERVICE, str(home.resolve()), passphrase)
    except Exception:
        return False
    return True
