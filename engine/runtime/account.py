"""The account as our own fills tell it. The venue's word is compared with it, and adopted only in plain sight."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from engine.domain import BalanceReport, Fill, PositionReport, Purpose


@dataclass(frozen=True, slots=True)
class Position:
    """One symbol's holding. ``manual_qty`` is the part of it that a person, not a strategy, brought about."""

    qty: float = 0.0  # signed base
    entry_px: float = 0.0  # quote per base; 0 when flat
    manual_qty: float = 0.0
    liq_px: float = math.nan
    leverage: float = math.nan


FLAT = Position()


def after_fill(position: Position, qty: float, px: float, lot_size: float) -> Position:
    """Return the position after buying (+) or selling (−) ``qty`` at ``px``.

    Increasing averages the entry price by quantity; reducing keeps it; a flip starts anew at ``px``.
    """
    new_qty = position.qty + qty
    if abs(new_qty) < lot_size / 2:
        return replace(position, qty=0.0, entry_px=0.0, liq_px=math.nan)
    if position.qty * qty >= 0:
        entry = (abs(position.qty) * position.entry_px + abs(qty) * px) / abs(new_qty)
    else:
        entry = position.entry_px if position.qty * new_qty > 0 else px
    # a price at which the old side would have been liquidated says nothing of the new one
    liq_px = position.liq_px if position.qty * new_qty > 0 else math.nan
    return replace(position, qty=new_qty, entry_px=entry, liq_px=liq_px)


def _manual_after(position: Position, qty: float) -> float:
    """Return a person's part after they bought (+) or sold (-) ``qty``.

    A person who closes more than their own part closes the strategy's. Kept as a part of the other sign, it would be
    opened as a position as soon as the strategy leaves.
    """
    if position.qty * qty >= 0.0:
        return position.manual_qty + qty
    side = math.copysign(1.0, qty)
    closed = min(abs(qty), abs(position.qty))
    own = min(max(-position.manual_qty * side, 0.0), closed)
    return position.manual_qty + side * (own + abs(qty) - closed)


class Account:
    """Cash and positions."""

    def __init__(self) -> None:
        self.cash = math.nan
        self.free_margin = math.nan
        self.maintenance_margin = math.nan
        self.n_pushes = 0  # words on cash from the stream; an answer that was asked for before the newest is older
        self.positions: dict[str, Position] = {}

    def position(self, symbol: str) -> Position:
        """Return a symbol's position, flat when there is none."""
        return self.positions.get(symbol, FLAT)

    def apply_fill(self, fill: Fill, lot_size: float, purpose: str) -> None:
        """Apply one execution. The caller has made sure that it was not applied before.

        A person's own fill belongs to the manual part; what it closes beyond that part it takes from the strategy's. A
        stop or a flatten closes both parts alike. Everything else is the strategy's.
        """
        before = self.position(fill.symbol)
        position = after_fill(before, fill.qty, fill.px, lot_size)
        manual_qty = before.manual_qty
        if purpose in (Purpose.MANUAL, Purpose.EXTERNAL):
            manual_qty = _manual_after(before, fill.qty)
        elif purpose in (Purpose.PROTECT, Purpose.FLATTEN):
            manual_qty *= max(position.qty / before.qty, 0.0) if before.qty else 0.0
        self.positions[fill.symbol] = replace(position, manual_qty=manual_qty)

    def set_manual(self, symbol: str, manual_qty: float) -> None:
        """Say which part of a position a person brought about."""
        self.positions[symbol] = replace(self.position(symbol), manual_qty=manual_qty)

    def adopt(self, report: PositionReport) -> None:
        """Take the venue's quantity and entry price as the truth."""
        position = self.position(report.symbol)
        manual_qty = _manual_after(position, report.qty - position.qty)
        self.positions[report.symbol] = replace(
            position, qty=report.qty, entry_px=report.entry_px if report.qty else 0.0, manual_qty=manual_qty
        )

    def note(self, report: PositionReport) -> None:
        """Take what only the venue knows: liquidation price and leverage."""
        if not math.isnan(report.leverage):
            position = self.position(report.symbol)
            self.positions[report.symbol] = replace(position, liq_px=report.liq_px, leverage=report.leverage)

    def apply_balance(self, report: BalanceReport) -> None:
        """Take the venue's cash, and margins where it says them."""
        self.cash = report.cash
        if not math.isnan(report.free_margin):
            self.free_margin, self.maintenance_margin = report.free_margin, report.maintenance_margin

    def apply_push(self, report: BalanceReport) -> float:
        """Take the cash that the stream says, and return its change; NaN when it was unknown."""
        before = self.cash
        self.n_pushes += 1
        self.apply_balance(report)
        return self.cash - before

    def unrealized(self, mark_px: dict[str, float]) -> float:
        """Return Σ qty · (mark − entry) over open positions, quote; NaN when a mark is missing."""
        return sum(p.qty * (mark_px.get(s, math.nan) - p.entry_px) for s, p in self.positions.items() if p.qty != 0.0)

    def open_positions(self) -> dict[str, Position]:
        """Return the positions that are not flat."""
        return {symbol: position for symbol, position in self.positions.items() if position.qty != 0.0}
