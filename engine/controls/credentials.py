"""A venue credential: an account's own key, an agent's key, or a legacy API key. It never shows itself."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from engine.errors import ConfigError
from engine.settings import Environment

KIND_FIELDS: dict[str, tuple[str, ...]] = {
    "private_key": ("private_key",),
    "agent": ("signer_key", "user"),
    "hmac": ("api_key", "api_secret"),
}
"""Kinds of credential and what each consists of."""
KIND_WORDS = {
    "private_key": "the account's own private key",
    "agent": "an agent's key",
    "hmac": "a legacy API key",
}
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_KEY_PATTERN = re.compile(r"(0x)?[0-9a-fA-F]{64}")
_ADDRESS_PATTERN = re.compile(r"0x[0-9a-fA-F]{40}")
_TOKEN_PATTERN = re.compile(r"[!-~]{8,256}")
_EXPECTED = {
    "private_key": (_KEY_PATTERN, "64 hexadecimal digits, with or without 0x"),
    "signer_key": (_KEY_PATTERN, "64 hexadecimal digits, with or without 0x"),
    "user": (_ADDRESS_PATTERN, "the account's address: 0x and 40 hexadecimal digits"),
    "api_key": (_TOKEN_PATTERN, "8 to 256 printable characters without spaces"),
    "api_secret": (_TOKEN_PATTERN, "8 to 256 printable characters without spaces"),
}


class Credential:
    """One way to sign for an account.

    Parameters
    ----------
    kind : str
        A key of ``KIND_FIELDS``.
    values : dict of str
        The kind's fields. White space around a value is dropped; an unknown field is refused.

    Raises
    ------
    ConfigError
        A field is missing or has the wrong form. The sentence names the field, never its value.
    """

    __slots__ = ("_values", "kind")

    def __init__(self, kind: str, values: dict[str, Any]) -> None:
        if kind not in KIND_FIELDS:
            raise ConfigError(f"Found credential kind {str(kind)[:20]!r}; expected one of {', '.join(KIND_FIELDS)}.")
        given = {name for name, value in values.items() if value not in (None, "")}
        strangers = sorted(given - set(KIND_FIELDS[kind]))
        if strangers:
            raise ConfigError(f"A credential of kind {kind} has no field {', '.join(strangers)}: leave it out.")
        self.kind = kind
        self._values: dict[str, str] = {name: _checked(name, values.get(name)) for name in KIND_FIELDS[kind]}

    def secret(self, name: str) -> str:
        """Return one field's value; the only way to it."""
        return self._values[name]

    def stored(self) -> dict[str, Any]:
        """Return kind and values as they are encrypted."""
        return {"kind": self.kind, "values": dict(self._values)}

    def __repr__(self) -> str:
        return f"Credential({self.kind}, values hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a credential is not pickled: it must not reach another process or a file")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Credential) and self.stored() == other.stored()

    __hash__ = None  # type: ignore[assignment]


def environment_credential(environment: Environment) -> Credential | None:
    """Return the credential that the environment names, None when it names none.

    Raises
    ------
    ConfigError
        Half of a pair is missing, or a value has the wrong form.
    """
    if environment.aster_signer_key is not None:
        if not environment.aster_user:
            raise ConfigError("ASTER_SIGNER_KEY is an agent's key: set ASTER_USER to the account's address as well.")
        signer_key = environment.aster_signer_key.get_secret_value()
        return Credential("agent", {"signer_key": signer_key, "user": environment.aster_user})
    if environment.aster_private_key is not None:
        return Credential("private_key", {"private_key": environment.aster_private_key.get_secret_value()})
    if environment.aster_api_key is None and environment.aster_api_secret is None:
        return None
    if environment.aster_api_key is None or environment.aster_api_secret is None:
        raise ConfigError("ASTER_API_KEY and ASTER_API_SECRET belong together: set both.")
    key, secret = environment.aster_api_key.get_secret_value(), environment.aster_api_secret.get_secret_value()
    return Credential("hmac", {"api_key": key, "api_secret": secret})


def _checked(name: str, value: Any) -> str:
    pattern, expected = _EXPECTED[name]
    text = str(value or "").strip()
    if not text:
        raise ConfigError(f"{name} is missing: expected {expected}.")
    if not pattern.fullmatch(text):
        # the value itself stays out of the sentence: sentences reach logs and screens
        raise ConfigError(f"{name} has {len(text)} characters of the wrong form: expected {expected}.")
    return text
