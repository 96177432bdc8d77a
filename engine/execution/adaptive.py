"""To wait at the touch or to pay the spread: whichever is expected to cost less.

All costs are fractions of the price, measured from the present mid; positive is paid. With half spread h, fees f_m and
f_t, and a look ahead of tau seconds:

    cross = h + f_t
    wait  = p (f_m - h + a) + (1 - p) (cross + d + r)

    p  chance that a post-only child fills within tau: 1 - exp(-w tau / (queue + child)), w the volume that trades
       against our side per second. The whole displayed queue counts as ahead of us, so p errs on the low side.
    a  what a fill at the touch tends to lose again, because it comes when the price is about to go through it:
       ADVERSE times h (Glosten and Milgrom, 1985: that loss is what the spread pays for)
    d  where the mid is expected to go by then: side * imbalance * h, the distance of the quantity-weighted mid from the
       mid (the first approximation of the micro-price: Stoikov, 2018), imbalance = (bid qty - ask qty) / (sum)
    r  what the doubt about the price is worth: RISK * urgency * sigma * sqrt(tau)
"""

from __future__ import annotations

import math
from typing import NamedTuple

from engine.domain import BookTop, Instrument, Side

LOOK_AHEAD_S = 5.0
ADVERSE = 0.8
RISK = 0.1


class Pressure(NamedTuple):
    """What the choice depends on: one side of one book, and how fast it moves. NaN where something is not known."""

    side: int
    top: BookTop
    qty: float  # of the child, base
    trade_rate: float  # base per second, both sides
    sigma: float  # of the log mid per square root of a second
    instrument: Instrument
    urgency: float


class Expected(NamedTuple):
    """What each choice is expected to cost, fractions of the price."""

    cross: float
    wait: float
    fill_chance: float


def expected_costs(pressure: Pressure) -> Expected:
    """Return what crossing and waiting are expected to cost; an unknown trade rate or sigma counts as none."""
    top, instrument = pressure.top, pressure.instrument
    mid = (top.bid_px + top.ask_px) / 2.0
    half_spread = (top.ask_px - top.bid_px) / 2.0 / mid
    queue = top.bid_qty if pressure.side == Side.BUY else top.ask_qty
    rate = 0.0 if math.isnan(pressure.trade_rate) else pressure.trade_rate / 2.0
    chance = -math.expm1(-rate * LOOK_AHEAD_S / max(queue + pressure.qty, 1e-300))
    both = top.bid_qty + top.ask_qty
    imbalance = (top.bid_qty - top.ask_qty) / both if both > 0 else 0.0
    drift = pressure.side * imbalance * half_spread
    sigma = 0.0 if math.isnan(pressure.sigma) else pressure.sigma
    risk = RISK * pressure.urgency * sigma * math.sqrt(LOOK_AHEAD_S)
    cross = half_spread + instrument.taker_fee
    filled = instrument.maker_fee - half_spread + ADVERSE * half_spread
    return Expected(cross, chance * filled + (1.0 - chance) * (cross + drift + risk), chance)


def should_cross(pressure: Pressure) -> bool:
    """Return whether waiting is expected to cost more than crossing now.

    With no trading at all the chance of a fill is 0 and only drift and risk speak: then a market that leans our way is
    waited for, and one that leans against us is not.
    """
    costs = expected_costs(pressure)
    return costs.wait > costs.cross
