"""What a parent order cost against the decision it came from, and against the market meanwhile.

Andre Perold, "The implementation shortfall: paper versus reality", Journal of Portfolio Management 14 (1988), split as
Wayne Wagner and others do. With s the side, Q what was wanted, q what filled, P_d the price of the decision, P_a the
mid when the order began, m_i the mid when child i was sent, p_i its price, P_e the mid at the end:

    delay        s q (P_a - P_d)                 the market moved before anything was sent
    impact       s sum q_i (m_i - P_a)           it moved meanwhile: our own pressure, and whatever else happened
    spread       s sum q_i (p_i - m_i)           paid (or earned) against the mid at sending
    fees         sum f_i
    opportunity  s (Q - q) (P_e - P_d)           what did not fill, at the price of the end

They add up to s (sum q_i p_i - q P_d) + fees + s (Q - q) (P_e - P_d), whatever the prices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from engine.domain import NS_PER_S

PARTS = ("delay", "spread", "impact", "fees", "opportunity")


class Execution(NamedTuple):
    """One fill of a child: base units unsigned, prices in quote, ``fee`` positive when paid."""

    qty: float
    px: float
    mid_px: float  # the mid when the child was sent
    fee: float
    is_maker: bool = False


class Wanted(NamedTuple):
    """What the parent was to do, and the prices that it is measured by."""

    side: int
    qty: float
    decision_px: float
    arrival_px: float
    end_px: float


class Shortfall(NamedTuple):
    """The parts in the quote currency; positive is a cost."""

    delay: float
    spread: float
    impact: float
    fees: float
    opportunity: float

    @property
    def total(self) -> float:
        """The sum of the parts, rounded once."""
        return math.fsum(self)


def shortfall(wanted: Wanted, executions: Sequence[Execution]) -> Shortfall:
    """Return what an order cost, split; see the module. A fill whose mid is unknown counts as sent at arrival."""
    side, filled = wanted.side, math.fsum(e.qty for e in executions)
    mids = [wanted.arrival_px if math.isnan(e.mid_px) else e.mid_px for e in executions]
    pairs = list(zip(executions, mids, strict=True))
    rest = max(wanted.qty - filled, 0.0)
    return Shortfall(
        delay=side * filled * (wanted.arrival_px - wanted.decision_px),
        spread=side * math.fsum(e.qty * (e.px - mid) for e, mid in pairs),
        impact=side * math.fsum(e.qty * (mid - wanted.arrival_px) for e, mid in pairs),
        fees=math.fsum(e.fee for e in executions),
        opportunity=side * rest * (wanted.end_px - wanted.decision_px) if rest > 0.0 else 0.0,
    )


class Benchmarks(NamedTuple):
    """Average market prices over an order's life; NaN where nothing is known."""

    vwap_px: float
    twap_px: float


def benchmarks(
    trades: Sequence[tuple[float, float]], mids: Sequence[tuple[int, float]], start: int, end: int
) -> Benchmarks:
    """Return the interval's averages.

    Parameters
    ----------
    trades : sequence of (px, qty)
        Everybody's within the interval.
    mids : sequence of (ts, mid)
        Rising times, ns; each holds until the next. One at or before ``start`` counts from there.
    start, end : int
        ns.
    """
    volume = math.fsum(qty for _, qty in trades)
    vwap = math.fsum(px * qty for px, qty in trades) / volume if volume > 0 else math.nan
    weighted, seconds = [], []
    for index, (ts, mid) in enumerate(mids):
        until = mids[index + 1][0] if index + 1 < len(mids) else end
        held = max(min(until, end) - max(ts, start), 0) / NS_PER_S
        weighted.append(mid * held)
        seconds.append(held)
    total = math.fsum(seconds)
    return Benchmarks(vwap, math.fsum(weighted) / total if total > 0 else math.nan)


def cost_bps(side: int, avg_px: float, benchmark_px: float) -> float:
    """Return how much worse than a benchmark an average price is, basis points of the benchmark; positive is worse."""
    return side * (avg_px / benchmark_px - 1.0) * 1e4
