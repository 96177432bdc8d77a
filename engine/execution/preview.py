"""What each way of working an order is expected to cost, before it is sent. Pure.

Money is fractions of the notional; ``risk`` is one standard deviation of the cost and comes from waiting alone. By the
square-root law an order's impact does not depend on how long it takes, so slower ways are cheaper by the spread and the
fees that they save, and dearer in risk: sigma sqrt(integral of (share left)^2 dt).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from engine.domain import BookSnapshot, Instrument
from engine.execution.almgren import share_left
from engine.execution.impact import CostModel, Expected
from engine.execution.parents import Algorithm

POINTS = 64
HOUR_S = 3600.0
DIRECT = "direct"


class Situation(NamedTuple):
    """The market that an order meets. NaN where something is not known."""

    side: int
    qty: float  # base
    mid_px: float
    half_spread: float  # fraction of the mid
    book: BookSnapshot | None
    trade_rate: float  # base per second
    sigma: float  # of the log mid per square root of a second
    instrument: Instrument


class Manner(NamedTuple):
    """How long it may take and how patient it is."""

    seconds: float
    urgency: float
    participation: float
    passive: bool


def choices(market: Situation, manner: Manner, model: CostModel) -> list[dict[str, Any]]:
    """Return every way with what it is expected to cost: one row a way, unknown numbers None."""
    rows = [_row(DIRECT, crossing_now(market, model), 0.0, market)]
    for algorithm in Algorithm:
        seconds = duration_s(algorithm, market, manner)
        rows.append(_row(str(algorithm), worked(algorithm, market, manner, model), seconds, market))
    return rows


def crossing_now(market: Situation, model: CostModel) -> Expected:
    """Return the cost of taking the displayed book at once; what it does not hold is priced by the model on top."""
    fees = market.instrument.taker_fee
    levels = () if market.book is None else (market.book.asks if market.side > 0 else market.book.bids)
    left, worth, deepest = market.qty, 0.0, market.mid_px * (1.0 + market.side * market.half_spread)
    for px, qty in levels:
        taken = min(left, qty)
        worth, left, deepest = worth + taken * px, left - taken, px
    worth += left * deepest
    walked = market.side * (worth / market.qty / market.mid_px - 1.0)
    beyond = _pushed(model, left, market) * left / market.qty if left > 0 else 0.0
    return Expected(market.half_spread, walked - market.half_spread + beyond, fees, 0.0)


def worked(algorithm: str, market: Situation, manner: Manner, model: CostModel) -> Expected:
    """Return the cost of an algorithm by the model: part of it rests, the rest pays the spread."""
    rests = resting_part(algorithm, manner.passive, model)
    instrument = market.instrument
    fees = rests * instrument.maker_fee + (1.0 - rests) * instrument.taker_fee
    risk = market.sigma * math.sqrt(_exposed_s(algorithm, duration_s(algorithm, market, manner), manner.urgency))
    return Expected((1.0 - rests) * market.half_spread, _pushed(model, market.qty, market), fees, risk)


def resting_part(algorithm: str, is_passive: bool, model: CostModel) -> float:
    """Return which part of an algorithm's order is expected to fill as maker."""
    return 1.0 if algorithm == Algorithm.ICEBERG else (model.resting_share if is_passive else 0.0)


def expected_fee(
    algorithm: str, is_passive: bool, notional: float, instrument: Instrument, model: CostModel
) -> dict[str, Any]:  # fmt: skip
    """Return the fee of an algorithm: expected where it is known which part rests, else from all maker to all taker.

    Parameters
    ----------
    notional : float, quote

    Returns
    -------
    dict
        ``fee`` quote and ``fee_rate`` fraction, both None while no order of ours has rested; ``fee_low`` and
        ``fee_high`` quote, ``fee_rates`` of those two; ``maker_share`` and the ``resting_orders`` it was seen on.
    """
    rates = sorted((instrument.maker_fee, instrument.taker_fee))
    depends = is_passive and algorithm != Algorithm.ICEBERG
    share = None if depends and model.resting_orders == 0 else resting_part(algorithm, is_passive, model)
    rate = None if share is None else share * instrument.maker_fee + (1.0 - share) * instrument.taker_fee
    return {
        "fee": None if rate is None else rate * notional, "fee_rate": rate, "fee_low": rates[0] * notional,
        "fee_high": rates[1] * notional, "fee_rates": rates, "maker_share": share,
        "resting_orders": model.resting_orders if depends else None,
    }  # fmt: skip


def duration_s(algorithm: str, market: Situation, manner: Manner) -> float:
    """Return how long an algorithm is expected to take, seconds; NaN where it depends on what is not known."""
    if algorithm == Algorithm.POV:
        return min(market.qty / (manner.participation * market.trade_rate), manner.seconds)
    return manner.seconds


def _exposed_s(algorithm: str, seconds: float, urgency: float) -> float:
    """The integral of (share left)^2 dt, seconds: a third of the duration for a straight line."""
    bends = algorithm in (Algorithm.ALMGREN_CHRISS, Algorithm.ADAPTIVE)
    held = [share_left((i + 0.5) / POINTS, urgency if bends else 0.0) for i in range(POINTS)]
    return seconds * math.fsum(share * share for share in held) / POINTS


def _pushed(model: CostModel, qty: float, market: Situation) -> float:
    hour_volume, hour_sigma = market.trade_rate * HOUR_S, market.sigma * math.sqrt(HOUR_S)
    return model.impact.value * hour_sigma * math.sqrt(qty / hour_volume) if hour_volume > 0 else math.nan


def _row(name: str, cost: Expected, seconds: float, market: Situation) -> dict[str, Any]:
    notional = market.qty * market.mid_px

    def known(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "algorithm": name, "cost_bps": known(cost.total * 1e4), "cost": known(cost.total * notional),
        "spread_bps": known(cost.spread * 1e4), "impact_bps": known(cost.impact * 1e4),
        "fees_bps": known(cost.fees * 1e4), "risk_bps": known(cost.risk * 1e4), "seconds": known(seconds),
    }  # fmt: skip
