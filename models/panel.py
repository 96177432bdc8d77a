"""From bars, funding and spot prices to the panel that learners see; also a made-up market for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from engine.domain import F8, I8, NS_PER_S
from engine.errors import DataError
from models.forecast import Panel

FUNDING_MAX_AGE_S = 2 * 86_400
"""A funding rate older than this is unknown: no venue pays less often than every eight hours."""

MADE_UP_START_NS = 1_577_836_800 * NS_PER_S  # 2020-01-01 00:00 UTC


FUNDING_S = 8 * 3600
"""Seconds between two settlements of funding."""


class Bars(Protocol):
    """Bars on one clock; ``engine.research.loading.BarTable`` is one."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names in the order of the columns."""

    @property
    def ts_close(self) -> I8:
        """Moment at which each bar is known, (T,) ns, rising."""

    @property
    def open_px(self) -> F8:
        """(T, N) quote per base, NaN where there is no bar; so are the four below."""

    @property
    def high_px(self) -> F8:
        """Highest price in the bar."""

    @property
    def low_px(self) -> F8:
        """Lowest price in the bar."""

    @property
    def close_px(self) -> F8:
        """Last price in the bar."""

    @property
    def volume(self) -> F8:
        """Traded quantity, base."""


class Series(NamedTuple):
    """Values with the moment at which each became known."""

    ts: I8  # (K,) ns, rising
    values: F8  # (K,)


def newest_known(series: Series, ts_close: I8, max_age_s: float) -> F8:
    """Return for each moment the newest value that was known then.

    Parameters
    ----------
    series : Series
        A value at ``ts`` is known at ``ts`` itself.
    ts_close : (T,) int64 ns
    max_age_s : float
        A value that is older than this, in seconds, is unknown.

    Returns
    -------
    (T,) float64
        NaN before the first value and where the newest is too old.
    """
    result = np.full(ts_close.shape[0], np.nan)
    if series.ts.shape[0] == 0:
        return result
    at = np.searchsorted(series.ts, ts_close, side="right") - 1
    young = (at >= 0) & (ts_close - series.ts[np.maximum(at, 0)] <= max_age_s * NS_PER_S)
    result[young] = series.values[at[young]]
    return result


def panel_from_bars(
    bars: Bars,
    funding: Mapping[str, Series] | None = None,
    spot_close: Mapping[str, Series] | None = None,
    imbalance: F8 | None = None,
) -> Panel:
    """Put bars and what else is known on the bars' clock.

    Parameters
    ----------
    bars : Bars
    funding : mapping of symbol to Series, optional
        Rates as fraction per funding interval, each at the moment of its payment. The newest rate paid at or before a
        bar's close counts for that bar.
    spot_close : mapping of symbol to Series, optional
        Spot closes at their ``ts_close``. basis = perp close / spot close - 1 where both have a bar at that moment.
    imbalance : (T, N) float64, optional
        (bid - ask) / (bid + ask) of the quantities at the touch, at ``ts_close``.

    Returns
    -------
    Panel
        NaN wherever something is not known.

    Raises
    ------
    DataError
        ``imbalance`` has another shape than the bars.
    """
    shape = bars.close_px.shape
    known_funding, basis = np.full(shape, np.nan), np.full(shape, np.nan)
    for i, symbol in enumerate(bars.symbols):
        if funding and symbol in funding:
            known_funding[:, i] = newest_known(funding[symbol], bars.ts_close, FUNDING_MAX_AGE_S)
        if spot_close and symbol in spot_close:
            basis[:, i] = bars.close_px[:, i] / newest_known(spot_close[symbol], bars.ts_close, 0.0) - 1.0
    if imbalance is None:
        imbalance = np.full(shape, np.nan)
    if imbalance.shape != shape:
        raise DataError(f"the imbalance has the shape {imbalance.shape}; the bars have {shape}: give one value a bar")
    prices = (bars.open_px, bars.high_px, bars.low_px, bars.close_px, bars.volume)
    return Panel(bars.symbols, bars.ts_close, *prices, known_funding, basis, imbalance)


def funding_due(panel: Panel) -> F8:
    """Return the rates (T, N) that are settled at each close: the newest known one at 0, 8 and 16 h UTC, else 0."""
    settles = panel.ts_close % (FUNDING_S * NS_PER_S) == 0
    return np.where(settles[:, None] & np.isfinite(panel.funding), panel.funding, 0.0)


def rows_of(panel: Panel, rows: slice) -> Panel:
    """Return the bars ``rows`` of a panel, without copying."""
    inputs = (panel.volume[rows], panel.funding[rows], panel.basis[rows], panel.imbalance[rows])
    prices = (panel.open_px[rows], panel.high_px[rows], panel.low_px[rows], panel.close_px[rows])
    return Panel(panel.symbols, panel.ts_close[rows], *prices, *inputs)


def made_up_panel(
    seed: int, n_bars: int, n_symbols: int, memory: float = 0.0, interval_s: int = 3_600, sigma: float = 0.008
) -> Panel:
    """Return a seeded market: a common factor, volatility that clusters, fat tails, volume that follows movement.

    Log volatility is an AR(1) around ``sigma``, shared in part; returns are r_t = memory * r_{t-1} + sigma_t * e_t with
    e Student-t of 5 degrees of freedom, scaled to variance 1, and a correlation of 0.5 between symbols.

    Parameters
    ----------
    seed : int
    n_bars, n_symbols : int
        T and N.
    memory : float in (-1, 1)
        Share of the last return that comes again. 0: nothing can be forecast but the volatility.
    interval_s : int
        Seconds from bar to bar.
    sigma : float
        Typical standard deviation of one bar's log return.

    Returns
    -------
    Panel
        All bars known; funding, basis and imbalance too.
    """
    rng = np.random.default_rng(seed)
    shape = (n_bars, n_symbols)
    scale = np.sqrt(3.0 / 5.0)
    shocks = scale * (
        np.sqrt(0.5) * rng.standard_t(5, (n_bars, 1)) + np.sqrt(0.5) * rng.standard_t(5, (n_bars, n_symbols))
    )
    log_sigma = _ar1(0.97, 0.12 * (rng.standard_normal((n_bars, 1)) + rng.standard_normal(shape)) / np.sqrt(2.0))
    volatility = sigma * np.exp(log_sigma)
    log_return = _ar1(memory, volatility * shocks)
    close_px = 100.0 * np.exp(np.cumsum(log_return, axis=0))
    open_px = np.vstack([np.full((1, n_symbols), 100.0), close_px[:-1]])
    reach = np.abs(rng.standard_normal((2, *shape))) * 0.5 * volatility
    high_px = np.maximum(open_px, close_px) * np.exp(reach[0])
    low_px = np.minimum(open_px, close_px) * np.exp(-reach[1])
    volume = 1_000.0 * np.exp(0.5 * rng.standard_normal(shape)) * (0.2 + np.abs(log_return) / sigma)
    funding = _ar1(0.99, 1e-5 * rng.standard_normal(shape)) + 1e-4
    basis = _ar1(0.9, 2e-4 * rng.standard_normal(shape))
    imbalance = np.tanh(_ar1(0.5, 0.5 * rng.standard_normal(shape)))
    ts_close = MADE_UP_START_NS + np.arange(1, n_bars + 1, dtype=np.int64) * interval_s * NS_PER_S
    symbols = tuple(f"MADE{i}USDT" for i in range(n_symbols))
    return Panel(symbols, ts_close, open_px, high_px, low_px, close_px, volume, funding, basis, imbalance)


def _ar1(keep: float, shocks: F8) -> F8:
    values = shocks.copy()
    for t in range(1, values.shape[0]):
        values[t] += keep * values[t - 1]
    return values
