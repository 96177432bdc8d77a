"""What a trade costs: one definition for simulation and for decision.

Half spread and market impact follow the market's state. The half spread is a floor plus a multiple of volatility
(market makers ask more where prices move more: Wyart, Bouchaud, Kockelkoren, Potters & Vettorazzo, 2008). Impact is the
square-root law: sigma * sqrt(qty / volume), with volatility and volume of the same stretch of time, so that the length
of a bar cancels out (Almgren, Thum, Hauptmann & Li, 2005; Toth et al., 2011).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from engine.core.compiling import kernel

WORST_RATE = 0.9
"""No fill is moved by more than this share of the price: beyond it, a price would no longer be one."""


class Costs(NamedTuple):
    """Cost assumptions, fractions of notional unless stated. The first two alone are the public yardstick's."""

    fee_rate: float  # of a fill that takes liquidity; negative: a rebate
    slippage_rate: float  # floor of the distance between the open and our fill, always against us
    maker_fee_rate: float = 0.0  # of a fill that adds liquidity
    maker_share: float = 0.0  # share of an order that is filled as maker, at the open, without crossing the spread
    spread_per_volatility: float = 0.0  # half spread over the volatility of one bar, on top of slippage_rate
    impact: float = 0.0  # the square-root law's factor; about 1 in the literature


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


@kernel
def blended_fee_rate(costs: Costs, maker_share: float) -> float:
    """Return the fee rate of a fill of which ``maker_share`` added liquidity."""
    return maker_share * costs.maker_fee_rate + (1.0 - maker_share) * costs.fee_rate


@kernel
def crossing_rate(costs: Costs, maker_share: float, volatility: float, participation: float) -> float:
    """Return how far from the price before it a fill is, always against us.

    (1 - maker_share) * (slippage + k * sigma) + Y * sigma * sqrt(participation), at most ``WORST_RATE``

    Parameters
    ----------
    costs : Costs
        k is ``spread_per_volatility``, Y is ``impact``.
    maker_share : float in [0, 1]
        That part rests: it saves the half spread, but gains none, because what fills a resting order tends to be
        followed by a move against it. It has the same impact.
    volatility : float
        Sigma of one bar's log return, fraction.
    participation : float
        Our quantity over the bar's volume.

    Returns
    -------
    float, fraction of the price

    Examples
    --------
    Slippage 0.0001, k 0.01, Y 1, sigma 0.006, 0.01 % of the volume, all of it taken:

    >>> round(crossing_rate(Costs(0.0, 0.0001, 0.0, 0.0, 0.01, 1.0), 0.0, 0.006, 0.0001), 12)
    0.00022
    """
    half_spread = (1.0 - maker_share) * (costs.slippage_rate + costs.spread_per_volatility * volatility)
    pushed = costs.impact * volatility * math.sqrt(participation) if costs.impact > 0.0 else 0.0
    return min(half_spread + pushed, WORST_RATE)
