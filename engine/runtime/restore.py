"""What a restart must take up again from the record."""

from __future__ import annotations

from engine.domain import Fill, Instrument
from engine.runtime.account import Account
from storage.database import Database


def manual_parts(store: Database, began_ns: int, instruments: dict[str, Instrument]) -> Account:
    """Return an account replayed from the recorded fills since ``began_ns``: it knows which part a person made.

    Fills without an order of ours count as a person's, as they did when they came.
    """
    rows = store.rows(
        "SELECT f.symbol, f.qty, f.px, coalesce(o.purpose, 'external') AS purpose FROM fills f "
        "LEFT JOIN orders o USING (client_id) WHERE f.ts_received >= ? ORDER BY f.ts_received, f.trade_id",
        [began_ns],
    )
    replayed = Account()
    for row in rows:
        instrument = instruments.get(row["symbol"])
        fill = Fill(row["symbol"], "", "", "", row["qty"], row["px"], 0.0, 0.0, False, 0, 0)
        replayed.apply_fill(fill, 0.0 if instrument is None else instrument.lot_size, row["purpose"])
    return replayed
