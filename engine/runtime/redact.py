"""Takes secrets out of what leaves this machine: by the name of a field, by the shape of a text, by known values."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.runtime.evidence import as_json

HIDDEN = "[redacted]"
SECRET_NAME = re.compile(
    r"secret|token|passw|passphrase|private|signature|api_?key|signer|mnemonic|authorization|listen_?key|totp|otp|cookie"
    r"|credential",
    re.IGNORECASE,
)
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{40}\b")
SHAPES = (
    re.compile(r"\b(?:0x)?[0-9a-fA-F]{64}(?:[0-9a-fA-F]{66})?\b"),  # private keys, signatures
    re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"),  # JSON web tokens
    re.compile(r"otpauth://\S+"),
    re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|$)", re.DOTALL),
    re.compile(r"(?<=//)[^/\s:@]+:[^/\s@]+(?=@)"),  # user:password in an address
    re.compile(r"(?i)(?<=bearer )[\w.~+/=-]{8,}"),
    re.compile(r"\b(?=[A-Za-z0-9]*[0-9])(?=[A-Za-z0-9]*[a-z])(?=[A-Za-z0-9]*[A-Z])[A-Za-z0-9]{40,}\b"),  # random text
)
# name=value, name: value and "name": "value" inside a text; the name decides.
PAIR = re.compile(
    r"(?P<head>[\"']?(?P<name>[A-Za-z_][\w-]*)[\"']?\s*[=:]\s*[\"']?)(?P<value>[^\s\"'&,;}\]\[{]{4,})", re.ASCII
)
ENVIRONMENT = re.compile(r"^ASTER_.*(KEY|SECRET|USER)$|TOKEN|PASSPHRASE|PASSWORD|SECRET", re.IGNORECASE)
MIN_LITERAL = 6


class Redactor:
    """Redacts texts and nested values; the same address gets the same number throughout one redactor.

    Parameters
    ----------
    known : iterable of str
        Values that are secret whatever they look like.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = sorted({text for text in known if len(text) >= MIN_LITERAL}, key=len, reverse=True)
        self._addresses: dict[str, str] = {}
        self._home = str(Path.home())

    def text(self, text: str) -> str:
        """Return a text without secrets; the home folder becomes ``~``."""
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
        text = ADDRESS.sub(self._address, text)
        text = PAIR.sub(_pair, text)
        for shape in SHAPES:
            text = shape.sub(HIDDEN, text)
        return text.replace(self._home, "~") if len(self._home) > 1 else text

    def value(self, value: Any, name: str = "") -> Any:
        """Return a nested value without secrets. JSON inside a text is redacted as JSON."""
        if isinstance(value, dict):
            return {key: self.value(item, str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item, name) for item in value]
        if SECRET_NAME.search(name) and value not in (None, "", True, False):
            return HIDDEN
        if not isinstance(value, str):
            return value
        nested = as_json(value)
        return self.text(value) if nested is None else json.dumps(self.value(nested, name))

    def _address(self, match: re.Match[str]) -> str:
        address = match.group().lower()
        return self._addresses.setdefault(address, f"[address {len(self._addresses) + 1}]")


def _pair(match: re.Match[str]) -> str:
    return match["head"] + (HIDDEN if SECRET_NAME.search(match["name"]) else match["value"])


def known_secrets(folder: Path) -> list[str]:
    """Return the secrets that this process and this data folder hold: keys of the environment, the engine's token."""
    found = [value for name, value in os.environ.items() if ENVIRONMENT.search(name)]
    with contextlib.suppress(OSError, ValueError, KeyError):  # no engine runs on the folder, so there is no token
        found.append(str(json.loads((folder / "engine.json").read_text())["token"]))
    return found
