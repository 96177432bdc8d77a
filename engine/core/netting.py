"""What a perpetual and its spot leg have at stake together. Compiled.

In a gap both move with their underlying, so the net weight is hit by the whole gap; the smaller leg, which the other
one hedges, only by what the perpetual can rise against spot. Only spot held against a short perpetual is a hedge.
Books without pairs are measured exactly as they were.
"""

from __future__ import annotations

from engine.core.compiling import kernel, kernel_part
from engine.core.risk import DRIFT_TOLERANCE
from engine.core.state import State
from engine.core.tail_days import is_young
from engine.domain import F8, Params
from engine.limits import MAINTENANCE_RATE

_OFF = 1e9


@kernel
def pair_weight(perpetual: float, spot: float, per_hedged: float) -> float:
    """Return what the two legs of one underlying count in a gap, in units of an open weight.

    |p + s| + per_hedged * (|p| + |s| - |p + s|) / 2 for spot held against a short perpetual, else |p| + |s|

    The second term is the smaller leg. It grows in proportion with the book.

    Examples
    --------
    >>> round(pair_weight(-0.2, 0.15, 0.5), 12), round(pair_weight(0.2, 0.15, 0.5), 12)
    (0.125, 0.35)
    >>> round(pair_weight(0.2, -0.15, 0.5), 12)
    0.35
    """
    gross = abs(perpetual) + abs(spot)
    if not (spot > 0.0 and perpetual < 0.0):
        return gross
    net = abs(perpetual + spot)
    return net + 0.5 * per_hedged * (gross - net)


@kernel
def basis_loss(perpetual_px: float, spot_px: float, basis_gap: float, rise: float, fall: float) -> float:
    """Return what a pair loses a unit of its smaller leg when the perpetual goes to its highest premium.

    k = (1 + basis_gap) / (1 + min(perpetual / spot - 1, 0))
    loss = max((1 + rise) * (1 - 1 / k), (1 - fall) * (k - 1))

    A discount is expected to close on top; a premium that is already there earns no credit, because the spot price may
    be a stale one. The first term belongs to the highest price that the perpetual can have, the second to the lowest
    that spot can have.

    Parameters
    ----------
    perpetual_px, spot_px : float, quote per base, > 0
    basis_gap : float
        Highest premium of the perpetual over its spot, fraction.
    rise, fall : float
        Largest moves of either price, fraction.

    Examples
    --------
    >>> round(basis_loss(100.0, 100.0, 0.1, 0.3, 0.3), 6), round(basis_loss(80.0, 100.0, 0.1, 0.3, 0.3), 6)
    (0.118182, 0.354545)
    """
    k = (1.0 + basis_gap) / min(perpetual_px / spot_px, 1.0)
    return max((1.0 + rise) * (1.0 - 1.0 / k), (1.0 - fall) * (k - 1.0))


@kernel_part
def _per_hedged(state: State, i: int, j: int, params: Params) -> float:
    """Return what the smaller leg of a pair counts in a gap, in units of an open weight, at most 2: nothing is netted.

    Leaving costs the stop's slippage on both legs.
    """
    limits = params.risk[0]
    if not limits["gap"] > 0.0:
        return 2.0
    move = limits["gap"] - limits["slippage"]
    lost = basis_loss(state.last_px[i], state.last_px[j], limits["basis_gap"], move, move)
    return min((lost + 2.0 * limits["slippage"]) / limits["gap"], 2.0)


@kernel_part
def netted_with(state: State, i: int, params: Params) -> int:
    """Return the column of the spot leg that perpetual ``i`` is netted with; ``i`` when it counts alone.

    -1 for a spot leg that counts with its perpetual. A pair with a young leg is not netted: how the two move together
    has not been seen.
    """
    if params.underlying.shape[0] == 0 or is_young(state, i, params) or not params.risk[0]["basis_gap"] < _OFF:
        return i
    perpetual = params.underlying[i]
    if perpetual != i:
        return i if is_young(state, perpetual, params) else -1
    for j in range(params.underlying.shape[0]):
        if j != i and params.underlying[j] == i:
            return i if is_young(state, j, params) else j
    return i


@kernel_part
def _margin_weight(n_symbols: int, weight: F8, other: F8, params: Params) -> float:
    """Return the share of equity that spot legs and a gap against every perpetual take, maintenance margin included.

    Spot is paid in full and is no margin: what is left must carry the perpetuals through the gap, or the venue closes
    the short leg of a pair whose long leg has just gained. Of two books the larger weight of each symbol counts.
    """
    needed = 0.0
    for i in range(n_symbols):
        size = max(abs(weight[i]), abs(other[i]))
        spot = params.underlying[i] != i
        needed += size if spot else size * (params.risk[0]["gap"] * (1.0 + DRIFT_TOLERANCE) + MAINTENANCE_RATE)
    return needed


@kernel_part
def gap_weight(n_symbols: int, state: State, weight: F8, affordable: float, params: Params) -> float:
    """Return what a gap hits of a book, in units of an open weight: the gross weight where nothing is paired.

    Parameters
    ----------
    n_symbols : int
    state : State
    weight : (N,) float64
    affordable : float
        The limit it is compared with; the margin of pairs, whose limit is 1, is stated in its units.
    params : Params
    """
    hit = 0.0
    for i in range(n_symbols):
        j = netted_with(state, i, params)
        if j == i:
            hit += abs(weight[i])
        elif j >= 0:
            hit += pair_weight(weight[i], weight[j], _per_hedged(state, i, j, params))
    if params.underlying.shape[0] > 0 and affordable < _OFF:
        return max(hit, affordable * _margin_weight(n_symbols, weight, weight, params))
    return hit


@kernel_part
def largest_gap_weight(
    n_symbols: int, state: State, approved: F8, present: F8, left: float, affordable: float, params: Params
) -> float:
    """Return the most that ``gap_weight`` can be when each symbol keeps its present weight or gets its approved one.

    Parameters
    ----------
    n_symbols : int
    state : State
    approved, present : (N,) float64
    left : float
        Share that the later caps leave of the approved weights: a leg that becomes smaller than the other one expects
        opens the net. A symbol alone can only become safer by it and is measured without.
    affordable : float
    params : Params
    """
    hit = 0.0
    for i in range(n_symbols):
        j = netted_with(state, i, params)
        if j == i:
            hit += max(abs(approved[i]), abs(present[i]))
        elif j >= 0:
            per_hedged = _per_hedged(state, i, j, params)
            fresh = pair_weight(approved[i] * left, approved[j] * left, per_hedged)
            mixed = max(
                pair_weight(approved[i] * left, present[j], per_hedged),
                pair_weight(present[i], approved[j] * left, per_hedged),
            )
            hit += max(fresh, mixed, pair_weight(present[i], present[j], per_hedged))
    if params.underlying.shape[0] > 0 and affordable < _OFF:
        return max(hit, affordable * _margin_weight(n_symbols, approved, present, params))
    return hit


@kernel_part
def _left_by_band(approved: float, present: float, band: float) -> float:
    """Return the weight that a symbol ends at when the band keeps what is neither too large nor far from approved."""
    small = abs(approved - present) < band and approved != 0.0
    return present if small and not abs(present) > abs(approved) * (1.0 + DRIFT_TOLERANCE) else approved


@kernel_part
def write_open_pairs(
    n_symbols: int, state: State, approved: F8, present: F8, left: float, band: float, out: F8, params: Params
) -> None:
    """Write 1 for both legs of every pair that the band would leave to a gap with more than approved, else 0.

    Neither leg need be too large for that: a hedge that is too small is risk as well.

    Parameters
    ----------
    n_symbols : int
    state : State
    approved, present : (N,) float64
    left : float
        Share that the later caps leave of the approved weights.
    band : float
        Smaller changes of weight are not made.
    out : (N,) float64, changed
    params : Params
    """
    for i in range(n_symbols):
        out[i] = 0.0
    for i in range(n_symbols):
        j = netted_with(state, i, params)
        if j != i and j >= 0:
            per_hedged = _per_hedged(state, i, j, params)
            one, other = approved[i] * left, approved[j] * left
            kept = pair_weight(_left_by_band(one, present[i], band), _left_by_band(other, present[j], band), per_hedged)
            if kept > pair_weight(one, other, per_hedged) * (1.0 + DRIFT_TOLERANCE):
                out[i] = out[j] = 1.0
