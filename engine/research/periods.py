"""One row a day of everything that a headline figure is made of, so that days can be redrawn. Short runs: one a bar."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.core.simulate import SimResult
from engine.domain import F8, I8
from engine.research.figures import DAYS_PER_YEAR, Periods, day_ends
from engine.research.loading import BarTable
from engine.research.trades import RoundTrip


class PeriodTable(NamedTuple):
    """T periods of a run. Money is a fraction of the equity before the period, so that rows can be put in any order."""

    returns: F8  # (T,)
    high: F8  # highest equity inside, as a return on the equity before
    low: F8  # lowest equity inside, as a return on the equity before
    fall: F8  # largest fall from a peak inside, fraction
    benchmark: F8 | None  # return of Bitcoin
    traded: F8  # notional
    fees: F8
    slippage: F8
    funding: F8  # paid
    mean_equity: F8  # over the bars, as a multiple of the equity before
    exposure: F8  # sum of gross weights over the bars
    n_bars: F8
    n_trades: F8  # closed in the period
    n_wins: F8
    gains: F8  # of winning trades
    losses: F8  # of losing trades, positive
    per_year: float
    years: float  # length of the run
    cash: float  # opening equity, quote currency

    @property
    def n(self) -> int:
        """How many periods there are."""
        return len(self.returns)


def period_rows(bars: BarTable, periods: Periods) -> I8:
    """Return the index of the last bar of each period of the whole run."""
    return day_ends(bars.ts_close) if periods.name == "daily" else np.arange(len(bars.ts_close), dtype=np.int64)


def _per_row(rows: I8, at_bar: I8, values: F8) -> F8:
    row = np.searchsorted(rows, at_bar)
    return np.bincount(row, weights=values, minlength=len(rows)).astype(np.float64)


def _inside(equity: F8, before: F8, first: I8, rows: I8) -> tuple[F8, F8, F8]:
    """Return highest, lowest and the largest fall inside each period; the equity before it belongs to it."""
    high = np.maximum(np.maximum.reduceat(equity, first), before)
    low = np.minimum(np.minimum.reduceat(equity, first), before)
    fall = np.empty(len(rows))
    for k, (start, last) in enumerate(zip(first.tolist(), rows.tolist(), strict=True)):
        peak = np.maximum(np.maximum.accumulate(equity[start : last + 1]), before[k])
        fall[k] = np.max(1.0 - equity[start : last + 1] / peak)
    return high / before - 1.0, low / before - 1.0, fall


def period_table(
    bars: BarTable, result: SimResult, trips: list[RoundTrip], periods: Periods, cash: float, funding: F8 | None
) -> PeriodTable:
    """Return the run by period.

    Parameters
    ----------
    bars : BarTable
    result : SimResult
        Equity > 0 throughout.
    trips : list of RoundTrip
    periods : Periods
        Of the whole run.
    cash : float, quote currency
        Opening equity.
    funding : (T, N) float64 or None
        Rates due at each close.
    """
    equity, fills = result.track.equity, result.fills
    rows = period_rows(bars, periods)
    first = np.concatenate([[0], rows[:-1] + 1])
    before = np.concatenate([[cash], equity[rows[:-1]]])
    high, low, fall = _inside(equity, before, first, rows)
    n_bars = (rows - first + 1).astype(np.float64)
    per_bar = np.zeros(len(equity))
    if funding is not None:
        notional = result.track.weight * equity[:, None]
        per_bar = np.sum(np.where(np.isfinite(bars.close_px), notional, 0.0) * funding, axis=1)
    exit_bar = np.searchsorted(bars.ts_open, np.array([trip.ts_exit_ms for trip in trips], dtype=np.int64) * 1_000_000)
    pnl = np.array([trip.pnl_net for trip in trips])
    gross = np.sum(np.abs(result.track.weight), axis=1)

    def sums(at_bar: I8, values: F8) -> F8:
        return _per_row(rows, at_bar, values) / before

    return PeriodTable(
        periods.returns, high, low, fall, periods.benchmark,
        traded=sums(fills.bar, np.abs(fills.qty) * fills.px), fees=sums(fills.bar, fills.fee),
        slippage=sums(fills.bar, fills.slippage), funding=np.add.reduceat(per_bar, first) / before,
        mean_equity=np.add.reduceat(equity, first) / n_bars / before, exposure=np.add.reduceat(gross, first),
        n_bars=n_bars, n_trades=_per_row(rows, exit_bar, np.ones(len(pnl))),
        n_wins=_per_row(rows, exit_bar, (pnl > 0).astype(np.float64)),
        gains=sums(exit_bar, np.maximum(pnl, 0.0)), losses=sums(exit_bar, np.maximum(-pnl, 0.0)),
        per_year=periods.per_year, years=len(equity) * bars.interval_s / (DAYS_PER_YEAR * 86_400), cash=cash,
    )  # fmt: skip
