"""A request's parameters, read once from query and form body and then asked for by type."""

from __future__ import annotations

import math
from urllib.parse import parse_qsl

from engine.venues.sandbox import codes
from engine.venues.sandbox.codes import Refusal

TRUE, FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})


class Params:
    """Parameters of one request.

    Parameters
    ----------
    fields : dict of str to str
        Decoded parameters. An empty value counts as absent.
    """

    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    @classmethod
    def parse(cls, raw: str) -> Params:
        """Decode a url-encoded parameter string."""
        return cls(dict(parse_qsl(raw, keep_blank_values=True)))

    def get(self, name: str) -> str | None:
        """Return a parameter as text, or None."""
        return self._fields.get(name) or None

    def text(self, name: str) -> str:
        """Return a mandatory parameter as text; -1102 without it."""
        value = self._fields.get(name)
        if not value:
            raise codes.missing(name)
        return value

    def choice(self, name: str, allowed: tuple[str, ...], code: int, default: str | None = None) -> str:
        """Return a parameter that must be one of ``allowed``; ``code`` otherwise."""
        value = self.get(name) if default is not None else self.text(name)
        if value is None:
            return default or ""
        if value not in allowed:
            raise Refusal(code)
        return value

    def number(self, name: str) -> float | None:
        """Return a finite float, or None when absent; -1102 when malformed."""
        value = self.get(name)
        if value is None:
            return None
        try:
            number = float(value)
        except ValueError:
            raise codes.missing(name) from None
        if not math.isfinite(number):
            raise codes.missing(name)
        return number

    def integer(self, name: str) -> int | None:
        """Return an integer, or None when absent; -1102 when malformed."""
        value = self.get(name)
        if value is None:
            return None
        try:
            return int(value)
        except ValueError:
            raise codes.missing(name) from None

    def limit(self, default: int, largest: int) -> int:
        """Return the ``limit`` parameter within 1 and ``largest``."""
        asked = self.integer("limit")
        if asked is None:
            return default
        if asked < 1:
            raise Refusal(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(asked, largest)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a boolean, in either language's spelling."""
        value = self.get(name)
        if value is None:
            return default
        if value in TRUE:
            return True
        if value in FALSE:
            return False
        raise codes.missing(name)
