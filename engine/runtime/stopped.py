"""Symbols whose protective stop was hit: they stay out until the sleeve turns, or the stop would be bought back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.domain import AccountView, Decision
from storage.database import Database

SENTENCE = "Its protective stop closed the {side} position; it stays out until the sleeve's sign changes."


class StoppedOut:
    """Remembers, over restarts, on which side each symbol was stopped out.

    Parameters
    ----------
    store : Database
    account_key : str
        Whose memory this is.
    """

    def __init__(self, store: Database, account_key: str) -> None:
        self._store, self._key = store, f"stopped:{account_key}"
        self.sides: dict[str, int] = {symbol: int(side) for symbol, side in store.recall(self._key, {}).items()}

    def add(self, symbol: str, side: int) -> None:
        """Note that a long (+1) or short (-1) position was closed by its stop."""
        self.sides[symbol] = side
        self._store.remember(self._key, self.sides)

    def hold(self, decision: Decision, view: AccountView, symbols: Sequence[str]) -> tuple[Decision, dict[str, str]]:
        """Return the decision with stopped-out symbols held where they are, and a sentence for each.

        A symbol is released when the sleeve's raw weight is zero or on the other side.
        """
        held: dict[str, str] = {}
        act, target_qty = decision.act.copy(), decision.target_qty.copy()
        for index, symbol in enumerate(symbols):
            side = self.sides.get(symbol, 0)
            raw = float(decision.raw_weight[index])
            if side == 0 or math.isnan(raw):
                continue
            if raw * side <= 0:
                del self.sides[symbol]
                self._store.remember(self._key, self.sides)
            elif target_qty[index] * side > view.position_qty[index] * side:
                act[index], target_qty[index] = 0, view.position_qty[index]
                held[symbol] = SENTENCE.format(side="long" if side > 0 else "short")
        return decision._replace(act=act, target_qty=target_qty), held
