"""What a parent should have done by now: one rising line for each algorithm. Pure; the present is an argument.

A schedule runs from ``ts_from`` (start, or the last resume or change) with ``base_qty`` behind it, to ``ts_end``:

    due(t) = base + (qty - base) F(t)

    twap            F = s, where s is the share of the time that has passed
    vwap            F = V(ts_from, t) / V(ts_from, ts_end), V from the symbol's volume curve
    almgren-chriss  F = 1 - sinh(u (1 - s)) / sinh(u)
    adaptive        the same line; ``engine.execution.algorithms`` decides how far from it to stray, and how to trade
    pov             due = base + participation * market volume since ts_from, at most qty
    iceberg         due = qty at once; a limit order that shows a part of itself

With a cap no line is above base + max_participation * market volume since ts_from. Only an order that reduces risk is
done whole all the same: its cap ends with its time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from engine.domain import NS_PER_S
from engine.execution.almgren import share_left
from engine.execution.curves import VolumeCurve, volume_between
from engine.execution.parents import Algorithm, Parent, ParentSpec

N_SLICES = 40  # a schedule is worked in about so many children
SHORTEST_SLICE_S = 3.0
GRACE_S = 30.0  # after its end a schedule may still cross for so long, then what is left is given up
WITHOUT_SPRINT = frozenset({Algorithm.POV, Algorithm.ICEBERG})  # these do not cross to be done by their end


class Flow(NamedTuple):
    """The market's trading since ``ts_from``: NaN and None where it is not known."""

    market_volume: float  # base units, everybody's, ours included
    curve: VolumeCurve | None


def given_up_ns(spec: ParentSpec) -> int:
    """Return the time, ns, from which a parent does nothing more, whatever is left: its end, and the grace to cross."""
    return spec.ts_end if spec.algorithm in WITHOUT_SPRINT else spec.ts_end + int(GRACE_S * NS_PER_S)


def due_qty(parent: Parent, flow: Flow, now: int) -> float:
    """Return what should have filled by ``now``, base units, between ``base_qty`` and the parent's quantity."""
    return min(_planned_qty(parent, flow, now), allowed_qty(parent, flow, now))


def _planned_qty(parent: Parent, flow: Flow, now: int) -> float:
    spec = parent.spec
    if spec.algorithm == Algorithm.ICEBERG:
        return spec.qty
    if spec.algorithm == Algorithm.POV:
        return min(parent.base_qty + spec.participation * _known(flow.market_volume), spec.qty)
    return parent.base_qty + (spec.qty - parent.base_qty) * share_due(parent, flow.curve, now)


def allowed_qty(parent: Parent, flow: Flow, now: int) -> float:
    """Return what the cap on the share of the market allows by ``now``, base units; infinite without a cap.

    What the market has traded is not known: then nothing is allowed.
    """
    if not is_capped(parent.spec, now):
        return math.inf
    return parent.base_qty + parent.spec.max_participation * _known(flow.market_volume)


def is_capped(spec: ParentSpec, now: int) -> bool:
    """Return whether a parent's share of the market is capped now: that of one that reduces until its end only."""
    return spec.max_participation > 0.0 and not (spec.reduce_only and now >= spec.ts_end)


def _known(volume: float) -> float:
    return 0.0 if math.isnan(volume) else volume


def share_due(parent: Parent, curve: VolumeCurve | None, now: int) -> float:
    """Return F(now) of a schedule in time, in [0, 1]; see the module."""
    spec, whole = parent.spec, parent.spec.ts_end - parent.ts_from
    if now >= spec.ts_end or whole <= 0:
        return 1.0
    elapsed = max(now - parent.ts_from, 0) / whole
    if spec.algorithm == Algorithm.VWAP and curve is not None:
        return volume_between(curve, parent.ts_from, now) / volume_between(curve, parent.ts_from, spec.ts_end)
    if spec.algorithm in (Algorithm.ALMGREN_CHRISS, Algorithm.ADAPTIVE):
        # kappa stays what it was: with part of the time gone, the rest of the optimal path is optimal for the rest
        urgency = spec.urgency * whole / max(spec.ts_end - spec.ts_start, 1)
        return 1.0 - share_left(elapsed, urgency)
    return elapsed


def slice_qty(parent: Parent, smallest: float) -> float:
    """Return how much one child is meant to do, base units: a fortieth, fewer and larger ones when time is short.

    Parameters
    ----------
    smallest : float
        The least that the venue takes, base units.
    """
    spec = parent.spec
    if spec.algorithm == Algorithm.ICEBERG:
        return max(spec.display_qty or spec.qty / 20.0, smallest)
    duration_s = (spec.ts_end - spec.ts_start) / 1e9
    n_slices = min(max(math.floor(duration_s / SHORTEST_SLICE_S), 1), N_SLICES)
    return max(spec.qty / n_slices, smallest)
