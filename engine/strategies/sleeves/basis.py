"""Funding carry without the market: long spot, short the same coin's perpetual, as long as longs pay for it.

y_i is the funding due a year at its present EWMA. A pair opens when y is above ``basis_hurdle`` and closes when it is
below zero. Spot notional of pair i: budget * y_i / sum(y) over open pairs, at most ``basis_cap``. All spot together is
at most ``basis_budget`` of equity, which is paid for in full, so the rest is the perpetuals' margin. What is left as
risk is the basis and the venue itself. Source: He, Manela, Ross & von Wachter (2022); Schmeling, Schrimpf & Todorov
(2023).

Runs where there is a spot leg (``X.SPOT``): in backtests. An account at a venue of perpetuals has none, so it sleeps
there.
"""

from __future__ import annotations

from engine.core.compiling import kernel_part
from engine.domain import F8, I8
from engine.strategies.sleeves.state import Rules


@kernel_part
def write_basis(
    wish: F8, held: F8, yearly: F8, funding: F8, last_px: F8, pair_of: I8, n_funding: I8, rules: Rules,
    bars_per_year: float, may: bool,
) -> int:  # fmt: skip
    """Write the weights (N,) of both legs; return whether there could be any. Known at: the close.

    Parameters
    ----------
    wish : (N,) float64, written
    held : (N,) float64
        What the sleeve holds now: an open pair stays open longer than a closed one opens.
    yearly : (N,) float64, scratch
    funding, last_px, pair_of, n_funding
        As in ``Book``. Warm-up: half of ``funding_bars``.
    rules : Rules
    bars_per_year : float
    may : bool
        Shorts are allowed.
    """
    awake, total = 0, 0.0
    for k in range(wish.shape[0]):
        yearly[k] = 0.0
        wish[k] = 0.0
    for k in range(wish.shape[0]):
        i = pair_of[k]
        if i < 0 or i >= wish.shape[0] or not may:
            continue
        if not (last_px[i] > 0.0 and last_px[k] > 0.0) or n_funding[i] < rules.funding_needed:
            continue
        awake = 1
        expected = funding[i] * bars_per_year
        if expected > rules.basis_hurdle or (held[k] > 0.0 and expected > 0.0):
            yearly[k] = expected
            total += expected
    for k in range(wish.shape[0]):
        if yearly[k] > 0.0:
            wish[k] = min(rules.basis_budget * yearly[k] / total, rules.basis_cap)
            wish[pair_of[k]] = -wish[k]
    return awake
