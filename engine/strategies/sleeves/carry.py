"""Funding carry across coins: short where longs pay most, long where they pay least, without the market.

f_i is the EWMA of the funding due a bar over ``funding_bars``; raw_i = -(f_i - mean f) / deviation of f, at most 2 on
either side, over volatility, without the market, at the volatility target. What a perpetual-only account can earn of
funding. Source: Koijen, Moskowitz, Pedersen & Vrugt (2018) for carry; for perpetuals, He, Manela, Ross & von Wachter
(2022).
"""

from __future__ import annotations

import math

from engine.core.compiling import kernel_part
from engine.domain import F8, I8

LEAST_SYMBOLS = 4
MOST = 2.0  # standard deviations that count


@kernel_part
def write_carry(
    raw: F8, sigma: F8, funding: F8, n_funding: I8, needed: float, n_bars: I8, vol_needed: float
) -> int:  # fmt: skip
    """Write raw wishes (N,) in [-2, 2]; return whether there are any.

    Known at: the close. Warm-up: half of ``funding_bars`` since a coin's first settlement and the volatility's horizon;
    without rates it sleeps.
    """
    count, total, square = 0, 0.0, 0.0
    for i in range(raw.shape[0]):
        raw[i] = 0.0
        if sigma[i] > 0.0 and n_funding[i] >= needed and n_bars[i] >= vol_needed:
            count += 1
            total += funding[i]
            square += funding[i] * funding[i]
    if count < LEAST_SYMBOLS:
        return 0
    mean = total / count
    deviation = math.sqrt(max(square / count - mean * mean, 0.0))
    for i in range(raw.shape[0]):
        if sigma[i] > 0.0 and n_funding[i] >= needed and n_bars[i] >= vol_needed and deviation > 0.0:
            raw[i] = min(max(-(funding[i] - mean) / deviation, -MOST), MOST)
    return 1
