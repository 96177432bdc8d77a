"""What a trade costs: one definition for simulation and for decision."""

from __future__ import annotations

from typing import NamedTuple

from engine.core.compiling import kernel


class Costs(NamedTuple):
    """Cost assumptions, both fractions of notional."""

    fee_rate: float  # negative: a rebate
    slippage_rate: float  # distance between the open and our fill, always against us


@kernel
def slipped_px(open_px: float, qty: float, slippage_rate: float) -> float:
    """Return the fill price of a market order: the open moved against us, quote per base."""
    if qty > 0.0:
        return open_px * (1.0 + slippage_rate)
    return open_px * (1.0 - slippage_rate)


@kernel
def fee_of(qty: float, px: float, fee_rate: float) -> float:
    """Return the fee of an execution in the quote currency; positive is paid."""
    return abs(qty) * px * fee_rate
