"""The headline figures of a stretch of a run."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.core.metrics import (
    alpha_beta,
    annual_growth,
    conditional_value_at_risk,
    max_drawdown,
    profit_factor,
    sharpe_ratio,
    simple_returns,
    sortino_ratio,
)
from engine.core.simulate import SimResult
from engine.domain import F8, I8, NS_PER_DAY, NS_PER_S
from engine.research.coins import coin_column
from engine.research.loading import BarTable
from engine.research.trades import RoundTrip

DAYS_PER_YEAR = 365.0
OUT_OF_SAMPLE_SHARE = 0.3
MIN_DAILY_RETURNS = 5


class Stretch(NamedTuple):
    """Bars [first, last) of a run, with the equity before them."""

    first: int
    last: int
    opening_equity: float


class Periods(NamedTuple):
    """Returns on which ratios are computed: daily where there are enough days, else per bar."""

    returns: F8
    benchmark: F8 | None  # BTC, same periods
    per_year: float
    name: str


def day_ends(ts_close: I8) -> I8:
    """Return the index of the last bar of each UTC day; a bar that closes at midnight belongs to the day it ends.

    ``ts_close`` (ns) increases. Midnights are looked up among the bars, because there are far fewer of them.
    """
    if len(ts_close) == 0:
        return np.array([-1])
    midnights = np.arange((ts_close[0] - 1) // NS_PER_DAY + 1, (ts_close[-1] - 1) // NS_PER_DAY + 1) * NS_PER_DAY
    last = np.append(np.searchsorted(ts_close, midnights, side="right") - 1, len(ts_close) - 1)
    return last[np.append(True, last[1:] != last[:-1])]  # a day without bars ends where the one before it did


def periods_of(bars: BarTable, equity: F8, stretch: Stretch) -> Periods:
    """Return the returns of a stretch, its opening equity included."""
    part = slice(stretch.first, stretch.last)
    rows = day_ends(bars.ts_close[part])
    per_year, name = DAYS_PER_YEAR, "daily"
    if len(rows) < MIN_DAILY_RETURNS:
        rows = np.arange(stretch.last - stretch.first)
        per_year, name = DAYS_PER_YEAR * 86_400 / bars.interval_s, "per bar"
    sampled = np.concatenate([[stretch.opening_equity], equity[part][rows]])
    benchmark = None
    column = coin_column(bars.symbols, "BTC")
    if column is not None:
        closes = bars.close_px[part, column]
        before = bars.close_px[stretch.first - 1, column] if stretch.first > 0 else bars.open_px[0, column]
        marks = np.concatenate([[before], closes[rows]])
        if np.isfinite(marks).all():
            benchmark = simple_returns(marks)
    return Periods(simple_returns(sampled), benchmark, per_year, name)


def figures(
    bars: BarTable, result: SimResult, trips: list[RoundTrip], stretch: Stretch, cash_flows: dict[str, float]
) -> dict[str, float | int | None]:
    """Return the figures of design: totals, ratios, costs, trades.

    Parameters
    ----------
    bars : BarTable
    result : SimResult
    trips : list of RoundTrip
        Closed trades; those that exit inside the stretch are counted.
    stretch : Stretch
    cash_flows : dict
        ``funding`` paid inside the stretch, quote currency.

    Returns
    -------
    dict
        NaN where a figure does not exist. A ruined account has no ratios and a drawdown of 1.
    """
    part = slice(stretch.first, stretch.last)
    equity = result.track.equity[part]
    years = (stretch.last - stretch.first) * bars.interval_s / (DAYS_PER_YEAR * 86_400)
    inside = (result.fills.bar >= stretch.first) & (result.fills.bar < stretch.last)
    traded = float(np.sum(np.abs(result.fills.qty[inside]) * result.fills.px[inside]))
    start_ms = int(bars.ts_open[stretch.first]) // 1_000_000
    end_ms = int(bars.ts_open[stretch.last - 1]) // 1_000_000
    pnl = np.array([trip.pnl_net for trip in trips if start_ms <= trip.ts_exit_ms <= end_ms])
    final = float(equity[-1])
    found: dict[str, float | int | None] = {
        "final_equity": final,
        "total_return": final / stretch.opening_equity - 1.0,
        **ratios(bars, result.track.equity, stretch, years),
        "win_rate": float(np.mean(pnl > 0)) if len(pnl) else math.nan,
        "profit_factor": profit_factor(pnl),
        "turnover": traded / float(np.mean(equity)) / years,
        "exposure": float(np.mean(np.sum(np.abs(result.track.weight[part]), axis=1))),
        "fees": float(np.sum(result.fills.fee[inside])),
        "slippage": float(np.sum(result.fills.slippage[inside])),
        "funding": cash_flows["funding"],
        "n_trades": len(pnl),
    }
    return found


def ratios(bars: BarTable, equity: F8, stretch: Stretch, years: float) -> dict[str, float | int | None]:
    """Return growth, ratios and drawdown of a stretch of an equity curve; NaN, and a drawdown of 1, after ruin."""
    names = ("cagr", "sharpe", "sortino", "calmar", "max_drawdown", "cvar_95", "alpha_btc", "beta_btc")
    part = equity[stretch.first : stretch.last]
    if not (part > 0).all():
        return {**dict.fromkeys(names, math.nan), "max_drawdown": 1.0}
    periods = periods_of(bars, equity, stretch)
    growth = annual_growth(stretch.opening_equity, float(part[-1]), years)
    fall = max_drawdown(np.concatenate([[stretch.opening_equity], part]))
    alpha, beta = math.nan, math.nan
    if periods.benchmark is not None:
        alpha, beta = alpha_beta(periods.returns, periods.benchmark, periods.per_year)
    return {
        "cagr": growth,
        "sharpe": sharpe_ratio(periods.returns, periods.per_year),
        "sortino": sortino_ratio(periods.returns, periods.per_year),
        "calmar": growth / fall if fall > 0 else math.nan,
        "max_drawdown": fall,
        "cvar_95": conditional_value_at_risk(periods.returns),
        "alpha_btc": alpha,
        "beta_btc": beta,
    }


def span_days(bars: BarTable) -> float:
    """Return the length of the run in days."""
    return float(bars.ts_close[-1] - bars.ts_open[0]) / NS_PER_S / 86_400
