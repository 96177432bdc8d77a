"""Round trips: from flat to flat again, or to a flip, per symbol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from engine.core.matching import FillLog
from engine.domain import I8


class RoundTrip(NamedTuple):
    """One closed trade. ``pnl_net`` is after fees, before funding."""

    symbol: str
    side: str  # long or short
    ts_entry_ms: int
    ts_exit_ms: int
    qty: float  # base, everything that was opened
    entry_px: float  # average
    exit_px: float  # average
    pnl_net: float
    fees: float
    pnl_fraction: float  # pnl_net over the opened notional


@dataclass
class _Open:
    ts_entry: int
    sign: float
    held: float = 0.0
    opened_qty: float = 0.0
    opened_notional: float = 0.0
    closed_qty: float = 0.0
    closed_notional: float = 0.0
    fees: float = 0.0

    def closed_trip(self, symbol: str, ts_exit: int) -> RoundTrip:
        pnl = self.sign * (self.closed_notional - self.opened_notional) - self.fees
        return RoundTrip(
            symbol, "long" if self.sign > 0 else "short", self.ts_entry // 1_000_000, ts_exit // 1_000_000,
            self.opened_qty, self.opened_notional / self.opened_qty, self.closed_notional / self.closed_qty, pnl,
            self.fees, pnl / self.opened_notional,
        )  # fmt: skip


def round_trips(fills: FillLog, ts_open: I8, symbols: tuple[str, ...]) -> list[RoundTrip]:
    """Return closed trades in the order of their exits.

    Parameters
    ----------
    fills : FillLog
        In the order of execution.
    ts_open : (T,) int64, ns
        Opening moments of the bars that ``fills.bar`` points to.
    symbols : tuple of str

    Returns
    -------
    list of RoundTrip
        A fill that flips the position closes one trade and opens the next; its fee is split in proportion. What is
        still open at the end is not a trade yet.
    """
    running: dict[int, _Open] = {}
    trips: list[RoundTrip] = []
    rows = zip(
        fills.bar.tolist(),
        fills.symbol.tolist(),
        fills.qty.tolist(),
        fills.px.tolist(),
        fills.fee.tolist(),
        strict=True,
    )
    for bar, i, qty, px, fee in rows:
        moment = int(ts_open[bar])
        left = qty
        trip = running.get(i)
        if trip is not None and left * trip.sign < 0:
            closing = min(abs(left), abs(trip.held))
            trip.closed_qty += closing
            trip.closed_notional += closing * px
            trip.fees += fee * closing / abs(qty)
            trip.held -= closing * trip.sign
            left += closing * trip.sign
            # lots and float sums leave dust below a billionth of what was opened
            if abs(trip.held) <= 1e-9 * trip.opened_qty:
                trips.append(running.pop(i).closed_trip(symbols[i], moment))
                trip = None
        if abs(left) > 1e-9 * abs(qty):
            if trip is None:
                trip = running[i] = _Open(moment, 1.0 if left > 0 else -1.0)
            trip.opened_qty += abs(left)
            trip.opened_notional += abs(left) * px
            trip.held += left
            trip.fees += fee * abs(left) / abs(qty)
    return trips
