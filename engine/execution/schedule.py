"""What a parent should have done by now: one rising line for each algorithm. Pure; the present is an argument.

A schedule runs from ``ts_from`` (start, or the last resume or change) with ``base_qty`` behind it, to ``ts_end``:

    due(t) = base + (qty - base) F(t)

    twap            F = s, where s is the share of the time that has passed
    vwap            F = V(ts_from, t) / V(ts_from, ts_end), V from the symbol's volume curve
    almgren-chriss  F = 1 - sinh(u (1 - s)) / sinh(u)
    adaptive        the same line; ``engine.execution.algorithms`` decides how far from it to stray, and how to trade
    pov             due = base + participation * market volume since ts_from, at most qty
    iceberg         due = qty at once; a limit order that shows a part of itself
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
    spec = parent.spec
    if spec.algorithm == Algorithm.ICEBERG:
        return spec.qty
    if spec.algorithm == Algorithm.POV:
        volume = 0.0 if math.isnan(flow.market_volume) else flow.market_volume
        return min(parent.base_qty + spec.participation * volume, spec.qty)
    return parent.base_qty + (spec.qty - parent.base_qty) * share_due(parent, flow.curve, now)


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
