"""Scans of loaded bars: once as asked, and again under other assumptions about the market."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.core import turnover
from engine.core.simulate import Scan, SimBars, SimResult
from engine.domain import F8, Params, Sleeve
from engine.research.config import Resolved
from engine.research.loading import BarTable
from engine.research.run_params import Market

PRICED = ("fee", "maker_fee", "slippage", "spread_vol", "impact")
"""What a fill costs, in the names of ``RunParams``."""


def has_volume(bars: BarTable) -> bool:
    """Return whether every symbol has traded at all."""
    return turnover.has_volume(bars.volume, bars.close_px.shape)


def usual_trade(bars: BarTable, params: Params) -> F8:
    """Return what usually trades in an hour as of each bar, (T, N) float64, quote currency."""
    unknown = np.full(len(bars.symbols), np.nan)
    return turnover.hour_notional(unknown, bars.close_px, bars.volume, params.bars_per_year)


def sim_bars(bars: BarTable, funding: F8 | None) -> SimBars:
    """Return the bars as the simulation takes them."""
    rates = np.zeros((0, len(bars.symbols))) if funding is None else funding
    return SimBars(bars.ts_close, bars.open_px, bars.close_px, rates, bars.high_px, bars.low_px, bars.volume)


def scan_of(bars: BarTable, funding: F8 | None, resolved: Resolved, cash: float) -> Scan:
    """Return a scan at its first bar.

    Parameters
    ----------
    bars : BarTable
    funding : (T, N) float64 or None
    resolved : Resolved
    cash : float, quote currency
    """
    columns = sim_bars(bars, funding)
    return Scan(
        columns, resolved.instruments, resolved.costs, resolved.params, cash, assumptions=resolved.assumptions
    )  # fmt: skip


def harsher(market: Market, factor: float, delay: int) -> Market:
    """Return a market in which every cost of a fill is multiplied, rebates apart, and fills come some bars later."""
    priced: dict[str, Any] = {name: max(getattr(market, name) * factor, getattr(market, name)) for name in PRICED}
    return market._replace(**priced, delay_bars=market.delay_bars + delay)


def in_market(resolved: Resolved, market: Market, interval_s: int) -> Resolved:
    """Return a configuration with other assumptions about costs and the venue."""
    return resolved._replace(
        costs=market.costs(interval_s), assumptions=market.assumptions(interval_s), market=market
    )  # fmt: skip


def scan_again(
    bars: BarTable, funding: F8 | None, resolved: Resolved, cash: float, wish: F8, market: Market
) -> SimResult:
    """Return what the same rule does in another market.

    Parameters
    ----------
    bars : BarTable
    funding : (T, N) float64 or None
    resolved : Resolved
        Of the first run.
    cash : float, quote currency
    wish : (T, N) float64
        The recorded weights of a user's strategy, which is not asked again; not read for a built-in one.
    market : Market
    """
    scan = scan_of(bars, funding, in_market(resolved, market, bars.interval_s), cash)
    if resolved.params.sleeve == Sleeve.EXTERNAL:
        scan.external_weight[:] = wish
    scan.advance(len(bars.ts_open))
    return scan.result()
