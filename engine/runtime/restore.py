"""What a restart must take up again from the record."""

from __future__ import annotations

from engine.domain import Fill, Instrument
from engine.runtime.account import Account
from storage.database import Database

PRACTICE_ACCOUNT = "practice-account"


def manual_parts(store: Database, account_key: str, began_ns: int, instruments: dict[str, Instrument]) -> Account:
    """Return an account replayed from the recorded fills since ``began_ns``: it knows which part a person made.

    Fills without an order of ours count as a person's, as they did when they came.
    """
    rows = store.rows(
        "SELECT f.symbol, f.qty, f.px, coalesce(o.purpose, 'external') AS purpose FROM fills f "
        "LEFT JOIN orders o USING (account, client_id) WHERE f.account = ? AND f.ts_received >= ? "
        "ORDER BY f.ts_received, f.trade_id",
        [account_key, began_ns],
    )
    replayed = Account()
    for row in rows:
        instrument = instruments.get(row["symbol"])
        fill = Fill(row["symbol"], "", "", "", row["qty"], row["px"], 0.0, 0.0, False, 0, 0)
        replayed.apply_fill(fill, 0.0 if instrument is None else instrument.lot_size, row["purpose"])
    return replayed


def close_ended_practice(store: Database, account_key: str, now_ns: int) -> None:
    """Close the open orders of the practice exchange that ran before this one: it ended with its own process."""
    ended = store.recall(PRACTICE_ACCOUNT)
    if ended is not None and ended != account_key:
        store.execute(
            "UPDATE orders SET status = 'EXPIRED', reason = 'the practice exchange that held it has ended', "
            "ts_final = ? WHERE account = ? AND status NOT IN ('FILLED', 'CANCELED', 'EXPIRED', 'REJECTED')",
            [now_ns, ended],
        )
        store.execute(
            "UPDATE parents SET status = 'EXPIRED', reason = 'the practice exchange that it traded on has ended', "
            "ts_final = ? WHERE account = ? AND status IN ('WORKING', 'PAUSED', 'STOPPING')",
            [now_ns, ended],
        )
    store.remember(PRACTICE_ACCOUNT, account_key)
