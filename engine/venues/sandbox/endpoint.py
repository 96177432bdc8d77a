"""What an endpoint is: a plain function from a call to a JSON value, its weight, and whether it is signed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.venues.sandbox import codes
from engine.venues.sandbox.codes import Refusal
from engine.venues.sandbox.contracts import Contract
from engine.venues.sandbox.exchange import Exchange
from engine.venues.sandbox.params import Params
from engine.venues.sandbox.venue import PracticeVenue


@dataclass(slots=True)
class Call:
    """One request as an endpoint sees it.

    Parameters
    ----------
    venue : PracticeVenue
    params : Params
    account_id : str
        Empty for public endpoints.
    path : str
        Path below the version, such as ``order``.
    version : str
        ``v1`` to ``v4``.
    wall_s : float
        Monotonic clock, seconds.
    orders_used : tuple of int or None
        New orders of the account in 10 s and 1 min, set by endpoints that place orders.
    can_withdraw : bool
        Whether the key that signed may move money out of the account.
    """

    venue: PracticeVenue
    params: Params
    account_id: str
    path: str
    version: str
    wall_s: float
    orders_used: tuple[int, int] | None = None
    can_withdraw: bool = True

    @property
    def exchange(self) -> Exchange:
        """The matching engine."""
        return self.venue.exchange

    @property
    def now_ms(self) -> int:
        """Market time, ms."""
        return self.venue.market_ms

    def contract(self) -> Contract:
        """Return the contract that the mandatory ``symbol`` names; -1121 when it is not listed."""
        return self.contract_of(self.params.text("symbol"))

    def contract_of(self, symbol: str) -> Contract:
        """Return a listed contract; -1121 otherwise."""
        contract = self.venue.contracts.get(symbol.upper())
        if contract is None:
            raise Refusal(codes.BAD_SYMBOL)
        return contract

    def symbols(self) -> tuple[str, ...]:
        """Return the one symbol asked for, or all."""
        if self.params.get("symbol"):
            return (self.contract().symbol,)
        return self.venue.symbols


Weight = int | Callable[[Params], int]


class Endpoint(NamedTuple):
    """One row of the routing table."""

    respond: Callable[[Call], Any]
    weight: Weight = 1
    private: bool = False

    def cost(self, params: Params) -> int:
        """Return the request weight that the venue charges."""
        return self.weight if isinstance(self.weight, int) else self.weight(params)


Table = dict[tuple[str, str], Endpoint]
"""(method, path below the version) to endpoint."""


def per_symbol(one: int, every: int) -> Callable[[Params], int]:
    """Return a weight that depends on whether a symbol is given."""
    return lambda params: one if params.get("symbol") else every


def by_limit(steps: tuple[tuple[int, int], ...], default: int) -> Callable[[Params], int]:
    """Return a weight that grows with ``limit``: the first step whose bound is not exceeded counts."""

    def weigh(params: Params) -> int:
        text = params.get("limit")
        limit = int(text) if text and text.isdigit() else default
        for bound, weight in steps:
            if limit <= bound:
                return weight
        return steps[-1][1]

    return weigh
