"""Symbols out of which a stop or a person took the strategy: it stays out until the sleeve turns, or would buy back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.domain import AccountView, Decision, Fill, Purpose
from engine.execution.orders import QTY_EPSILON
from storage.database import Database

if TYPE_CHECKING:
    from engine.runtime.loop import Loop

SENTENCE = "A stop or a person closed the {side} position; what is left does not grow until the sleeve's sign changes."


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
        """Note that a long (+1) or short (-1) position was closed by its stop or by a person."""
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


def keep_out(loop: Loop, fill: Fill, of_strategy: float, purpose: str) -> None:
    """Keep the strategy out of what a stop or a person took from it.

    Parameters
    ----------
    loop : Loop
    fill : Fill
        Applied already.
    of_strategy : float, signed base units
        The strategy's part before it.
    purpose : str
        The order's: PROTECT, MANUAL or EXTERNAL.
    """
    side, symbol = (-1 if fill.qty > 0 else 1), fill.symbol
    position, word = loop.account.position(symbol), "long" if side > 0 else "short"
    told = f"{symbol}: the protective stop closed the {word} at {fill.px:g}"
    if purpose != Purpose.PROTECT:
        left = position.qty - position.manual_qty
        if of_strategy * side <= max(left * side, 0.0) + QTY_EPSILON:  # a person's own part
            return
        told = f"{symbol}: a person closed {abs(of_strategy - left):g} of the strategy's {word} at {fill.px:g}"
    elif of_strategy * side <= QTY_EPSILON:  # a person's position: the strategy was not stopped out, nor kept out
        if not position.qty:
            loop.incident("warning", "protect", f"{told}; it was opened by hand")
        return
    loop.worker.forget(symbol)
    loop.executor.spawn(loop.worker.drop(symbol, "the position was closed by a stop or a person"))
    if loop.stopped.sides.get(symbol) != side:
        loop.stopped.add(symbol, side)
        loop.incident("warning", "protect", f"{told}; the strategy stays out until its sign changes")
