"""Tail hedge: a short position that grows with the square of how fast the market breaks down, and rests otherwise.

z is the distance of the market's log price from its EMA of ``tail_bars``, in units of a random walk's at the slow
volatility. raw_i = -min(1, max(0, -z - 1)^2) for every perpetual, over volatility, at the volatility target times
conviction. Like an option that is replicated instead of bought: it costs in falls that turn round at once and pays in
those that go on. Source: dynamic portfolio insurance, Black & Jones (1987); trend as a straddle, Fung & Hsieh (2001).
"""

from __future__ import annotations

from engine.core.compiling import kernel_part
from engine.domain import F8

FIRST = 1.0  # random-walk deviations below which it rests


@kernel_part
def write_tail(raw: F8, trail: float, deviation: float, may: bool) -> int:
    """Write raw wishes (N,) in [-1, 0]; return whether there could be any. Known at: the close.

    Parameters
    ----------
    raw : (N,) float64, written
    trail : float
        The market's log price less its EMA.
    deviation : float
        Of ``trail`` under a random walk at the slow volatility.
    may : bool
        The volatility is known and shorts are allowed.
    """
    beyond = max(-trail / deviation - FIRST, 0.0) if may and deviation > 0.0 else 0.0
    for i in range(raw.shape[0]):
        raw[i] = -min(beyond * beyond, 1.0)
    return 1 if may else 0
