"""Whose account this is, and what must be remembered about it over a restart."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from engine.domain import NS_PER_MS, Mode
from engine.execution.ids import order_prefix, sequence_of
from storage.database import Database

SEQUENCE_EPOCH_NS = 1_767_225_600 * 10**9  # 2026-01-01; counted in ms, an engine never makes ids that fast


@dataclass(frozen=True, slots=True)
class Session:
    """One engine on one account.

    ``account_key`` names the account at the venue: after a restart against the same account the peak equity and the
    day's opening equity count on; a new practice account starts anew.
    """

    engine_id: str
    mode: Mode
    market_source: str
    speed: float
    account_key: str
    tag: str
    sequence: int
    started_ns: int

    @property
    def risk_key(self) -> str:
        """Key of the risk memory in table ``settings``."""
        return f"risk:{self.account_key}"

    @property
    def sleeves_key(self) -> str:
        """Key of what the portfolio's sleeves have earned: it belongs to a market, and made-up ones begin anew."""
        made_up = self.market_source in ("simulated", "replay")
        return f"sleeves:{self.account_key if made_up else self.market_source}"


def market_key(account_key: str) -> str:
    """Return the key of the market that an account trades, in table ``settings``."""
    return f"market:{account_key}"


def open_session(
    store: Database, mode: Mode, market_source: str, speed: float, account: str, started_ns: int
) -> Session:
    """Return the session of an account, with this data folder's tag and order sequence.

    Parameters
    ----------
    account : str
        What distinguishes the account: its address and, for a practice exchange, when that exchange started.
    """
    tag = store.recall("order_tag")
    if tag is None:
        tag = "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(4))
        store.remember("order_tag", tag).result(10)
    # Counting from the milliseconds of the start as well keeps ids unique when the record is restored from a copy.
    sequence = max(_last_sequence(store, tag), (started_ns - SEQUENCE_EPOCH_NS) // NS_PER_MS)
    key = hashlib.sha256(f"{mode}:{account}".encode()).hexdigest()[:16]
    store.remember(market_key(key), market_source)
    return Session(secrets.token_hex(6), mode, market_source, speed, key, tag, sequence, started_ns)


def _last_sequence(store: Database, tag: str) -> int:
    """Return the highest sequence in use. Rows are not counted: one that was lost would give its number twice."""
    rows = store.rows("SELECT client_id FROM orders WHERE starts_with(client_id, ?)", [order_prefix(tag)])
    return max((sequence_of(row["client_id"]) for row in rows), default=0)
