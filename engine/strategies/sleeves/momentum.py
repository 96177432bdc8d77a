"""Cross-sectional momentum: what has risen more than the rest is held against what has risen less.

z_i is the log price's distance from its EMA of ``momentum_bars``, in units of a random walk's; raw_i = z_i - mean(z),
over volatility, without the market, at the volatility target. A bet on the order of coins, not on their direction.
Source: Jegadeesh & Titman (1993); for coins, one to four weeks, Liu, Tsyvinski & Wu (2022).
"""

from __future__ import annotations

from engine.core.compiling import kernel_part
from engine.domain import F8, I8

LEAST_SYMBOLS = 4
"""An order of fewer says nothing."""


@kernel_part
def write_momentum(raw: F8, sigma: F8, trail: F8, gain: float, n_bars: I8, needed: float) -> int:
    """Write raw wishes (N,); return whether there are any. Known at: the close. Warm-up: half the horizon,
    or the volatility's if that is longer.

    ``gain`` is the deviation of a trail over that of a bar.
    """
    count, total = 0, 0.0
    for i in range(raw.shape[0]):
        raw[i] = 0.0
        if sigma[i] > 0.0 and n_bars[i] >= needed:
            raw[i] = trail[i] / (sigma[i] * gain)
            count += 1
            total += raw[i]
    for i in range(raw.shape[0]):
        there = count >= LEAST_SYMBOLS and sigma[i] > 0.0 and n_bars[i] >= needed
        raw[i] = raw[i] - total / count if there else 0.0
    return 1 if count >= LEAST_SYMBOLS else 0
