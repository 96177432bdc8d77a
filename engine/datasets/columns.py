"""Which column of a file is which: names that exchanges and vendors use, and files without any names."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence

from engine.errors import DataError

ROLES = {
    "candles": ("timestamp", "open", "high", "low", "close", "volume"),
    "funding": ("timestamp", "rate"),
}
"""Columns that each kind of file must have, under names of our own."""

# Best first: a file may have several columns that would do.
KNOWN = {
    "timestamp": ("timestamp", "opentime", "tsopen", "opentimestamp", "unix", "unixtimestamp", "epoch", "time", "ts",
                  "datetime", "date", "starttime", "start", "candlebegintime", "calctime", "fundingtime",
                  "fundingratetimestamp", "settletime", "t"),
    "open": ("open", "openpx", "openprice", "o"),
    "high": ("high", "highpx", "highprice", "h"),
    "low": ("low", "lowpx", "lowprice", "l"),
    "close": ("close", "closepx", "closeprice", "c", "last"),
    "volume": ("volume", "basevolume", "volumebase", "vol", "volccy", "v"),
    "rate": ("rate", "fundingrate", "lastfundingrate", "realizedrate"),
}  # fmt: skip

# Exports without a header: Binance klines have 12 columns, Bybit's 7, Kraken's 7; all begin with these six.
HEADERLESS = {"candles": ROLES["candles"], "funding": ROLES["funding"]}
_CASH = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD", "EUR")
_QUOTES = (*_CASH, "BTC", "ETH", "BNB")


def plain_name(name: str) -> str:
    """Return a column's name without case, blanks and marks: ``Open Time`` is ``opentime``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def guess(names: Sequence[str], kind: str) -> dict[str, str]:
    """Return which column probably is which: role to column name. A role that nothing fits is left out."""
    plain = {plain_name(name): name for name in reversed(names)}
    found: dict[str, str] = {}
    for role in ROLES[kind]:
        for known in KNOWN[role]:
            if known in plain and plain[known] not in found.values():
                found[role] = plain[known]
                break
    if "volume" in ROLES[kind] and "volume" not in found:
        base = next((name for name in names if plain_name(name).startswith("volume")), None)  # "Volume BTC"
        if base is not None:
            found["volume"] = base
    return found


def settled(names: Sequence[str], kind: str, asked: Mapping[str, str]) -> dict[str, str]:
    """Return the mapping to use: what a person asked for, and guesses for the rest.

    Parameters
    ----------
    names : sequence of str
        The file's columns.
    kind : str
        ``candles`` or ``funding``.
    asked : mapping
        Role to column name, such as ``{"timestamp": "time"}``.

    Raises
    ------
    DataError
        An unknown role or column, with the nearest one, or a role that no column fits.
    """
    for role, column in asked.items():
        if role not in ROLES[kind]:
            raise DataError(f"{role!r} is not a column of {kind}; expected {', '.join(ROLES[kind])}")
        if column not in names:
            near = difflib.get_close_matches(column, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(f"the file has no column {column!r}; it has {', '.join(names)}{hint}")
    found = guess([name for name in names if name not in asked.values()], kind) | dict(asked)
    missing = [role for role in ROLES[kind] if role not in found]
    if missing:
        raise DataError(
            f"no column looks like {missing[0]!r}; the file has {', '.join(names)}. Say which one it is: "
            f"{missing[0]}=COLUMN"
        )
    return {role: found[role] for role in ROLES[kind]}


def symbol_of(stem: str) -> str:
    """Return the symbol that a file's name speaks of: ``Binance_BTCUSDT_1h`` and ``BTC_USDT-1h-futures`` are BTCUSDT.

    A name in which no pair can be told is taken whole.
    """
    parts = [part for part in re.split(r"[^A-Za-z0-9]+", stem.upper()) if part]
    for first, second in itertools.pairwise(parts):
        is_pair = second in _CASH or (second in _QUOTES and len(first) <= 5)
        if is_pair and first not in _CASH and not re.fullmatch(r"\d+[MHDW]", first):
            return first + second
    for part in parts:
        if any(part.endswith(quote) and len(part) > len(quote) + 1 for quote in _QUOTES):
            return part
    return "".join(parts) if len(parts) == 1 else re.sub(r"[^A-Z0-9]+", "_", stem.upper()).strip("_")
