"""Mean reversion in calm regimes: what moved away from the market within a day is expected part of the way back.

e_i is a coin's return less beta times the market's; z_i is the distance of its sum from its EMA of ``reversal_bars``,
in units of a random walk's. raw_i = -z_i where it is beyond one, at most two; over volatility, without the market, at
the volatility target times conviction. Only while the market's fast volatility is below its slow one: liquidity
providers are paid for calm and run over in storms. Source: Lehmann (1990); Nagel (2012).
"""

from __future__ import annotations

import math

from engine.core.compiling import kernel_part
from engine.domain import F8, I8

LEAST_SYMBOLS = 4
FIRST, MOST = 1.0, 2.0  # random-walk deviations


@kernel_part
def write_reversal(
    raw: F8, sigma: F8, beta: F8, market_variance: float, trail: F8, gain: float, n_bars: I8, needed: float, calm: bool
) -> int:
    """Write raw wishes (N,) in [-2, 2]; return whether there could be any. Known at: the close.

    Warm-up: the volatility's horizon. ``gain`` is the deviation of a trail over that of a bar.
    """
    count = 0
    for i in range(raw.shape[0]):
        raw[i] = 0.0
        if not sigma[i] > 0.0 or n_bars[i] < needed:
            continue
        count += 1
        own = sigma[i] * sigma[i] - beta[i] * beta[i] * market_variance
        if own > 0.0 and calm:
            z = trail[i] / (math.sqrt(own) * gain)
            raw[i] = -min(max(z, -MOST), MOST) if abs(z) > FIRST else 0.0
    return 1 if count >= LEAST_SYMBOLS else 0
