"""From raw wishes to risk shares: how the account is divided before the portfolio is scaled."""

from __future__ import annotations

import math

from engine.core.compiling import kernel_part
from engine.core.state import State
from engine.domain import F8


@kernel_part
def inverse_volatility_shares(n_symbols: int, state: State, raw_weight: F8, shares: F8) -> float:
    """Write raw weight over volatility into ``shares`` and return the conviction of the whole book.

    share_i = raw_i / sigma_i, so that equal wishes carry equal risk. Symbols without an opinion (NaN) or without
    variance get 0.

    Parameters
    ----------
    n_symbols : int
    state : State
    raw_weight : (N,) float64, in [-1, 1] or NaN
    shares : (N,) float64, written

    Returns
    -------
    float in [0, 1]
        Root mean square of the raw weights that are known: 1.0 when every symbol is wished for in full.
    """
    known = 0
    square = 0.0
    for i in range(n_symbols):
        variance = state.covariance[i, i]
        shares[i] = 0.0
        if raw_weight[i] == raw_weight[i]:
            known += 1
            square += raw_weight[i] * raw_weight[i]
            if variance > 0.0:
                shares[i] = raw_weight[i] / math.sqrt(variance)
    return math.sqrt(square / known) if known > 0 else 0.0
