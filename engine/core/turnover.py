"""What usually trades in an hour, as an average over a day: the scale of the limit on participation.

u_t = u_{t-1} + a (close_t volume_t b - u_{t-1}), a = 2 / (bars a day + 1), b bars an hour; the first bar starts it.
Known at the bar's close. A bar without a price or a volume leaves it as it was; a bar in which nothing traded counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.core.compiling import FINGERPRINT, entry_kernel
from engine.core.matching import SimBars
from engine.domain import F8, Params, Sleeve

_DAYS_PER_YEAR, _HOURS_PER_DAY = 365.0, 24.0


def _build(fingerprint: str) -> Callable[..., None]:
    @entry_kernel
    def compiled_turnover(usual, close_px, volume, bars_per_hour, alpha, out):  # type: ignore[no-untyped-def]
        _ = fingerprint  # part of the cache key
        for i in range(usual.shape[0]):
            level = usual[i]
            for t in range(close_px.shape[0]):
                traded = close_px[t, i] * volume[t, i] * bars_per_hour
                if traded == traded:
                    level = level + alpha * (traded - level) if level == level else traded
                out[t, i] = level
            usual[i] = level

    kernel: Callable[..., None] = compiled_turnover
    return kernel


_compiled_turnover = _build(FINGERPRINT)


def hour_notional(usual: F8, close_px: F8, volume: F8, bars_per_year: float) -> F8:
    """Return what usually trades in an hour as of each bar, and advance ``usual`` in place.

    Parameters
    ----------
    usual : (N,) float64, quote currency
        As of the bar before; NaN before the first.
    close_px, volume : (T, N) float64
        Quote per base, and base units.
    bars_per_year : float

    Returns
    -------
    (T, N) float64, quote currency
        NaN until a symbol's first bar.
    """
    out, bars_per_day = np.empty(close_px.shape), bars_per_year / _DAYS_PER_YEAR
    columns = (np.ascontiguousarray(column, dtype=np.float64) for column in (close_px, volume))
    _compiled_turnover(usual, *columns, bars_per_day / _HOURS_PER_DAY, 2.0 / (bars_per_day + 1.0), out)
    return out


def with_usual(bars: SimBars, params: Params) -> SimBars:
    """Return bars with what usually trades, where a limit reads it and every symbol has a volume to learn it from.

    Without volumes participation is not limited: a symbol that has none would never be bought.
    """
    limited = params.gate and params.sleeve != Sleeve.EMA_CROSS and params.risk[0]["max_participation"] < np.inf
    shape = bars.close_px.shape
    if not limited or bars.hour_notional.shape == shape or not has_volume(bars.volume, shape):
        return bars
    usual: Any = np.full(shape[1], np.nan)
    return bars._replace(hour_notional=hour_notional(usual, bars.close_px, bars.volume, params.bars_per_year))


def has_volume(volume: F8, shape: tuple[int, ...]) -> bool:
    """Return whether there is a column of volumes for every symbol, and each has traded at all."""
    return volume.shape == shape and bool((np.nan_to_num(volume) > 0.0).any(axis=0).all())
