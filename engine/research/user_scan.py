"""The backtest of a user's strategy: the scan stops at each close and asks; nothing later is in its memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.simulate import Scan
from engine.domain import F8
from engine.research.loading import BarTable
from engine.strategies.user import UserRunner

PROGRESS_BARS = 500


def columns_of(bars: BarTable) -> tuple[F8, ...]:
    """Return open, high, low, close and volume, each (T, N)."""
    return bars.open_px, bars.high_px, bars.low_px, bars.close_px, bars.volume


def present_weight(scan: Scan, bars: BarTable, t: int, equity: float) -> F8:
    """Return the weights (N,) at the close of bar ``t``, orders under way included, over the equity of the bar before.

    Parameters
    ----------
    scan : Scan
        Advanced up to, not including, bar ``t``.
    bars : BarTable
    t : int
    equity : float, ccy
    """
    account = scan.account
    # what was decided at the close before is filled at this bar's open, where it has one
    qty = account.position_qty + np.where(np.isfinite(bars.open_px[t]), account.in_flight_qty, 0.0)
    closes = np.where(np.isfinite(bars.close_px[t]), bars.close_px[t], account.mark_px)
    weight: F8 = np.where(qty != 0.0, qty * closes / equity, 0.0)
    return weight


def scan_user(
    scan: Scan, bars: BarTable, strategy: str, params: dict[str, Any], cash: float, report: Callable[[float], None]
) -> None:
    """Advance ``scan`` over all bars with the weights of a strategy file.

    Parameters
    ----------
    scan : Scan
        Of the EXTERNAL sleeve, at its first bar.
    bars : BarTable
    strategy : str
        Path of the file.
    params : dict
    cash : float, ccy
        Opening equity.
    report : callable
        Called now and then with the finished share; may raise to stop the run.

    Raises
    ------
    DataError
        The strategy failed, with the bar and what to change.
    """
    runner = UserRunner(Path(strategy), params, bars.symbols)
    columns, n_bars, equity = columns_of(bars), len(bars.ts_open), cash
    for t in range(n_bars):
        rows = [column[t] for column in columns]
        weight = present_weight(scan, bars, t, equity)
        scan.external_weight[t] = runner.decide(int(scan.bars.ts_close[t]), rows, weight, float(equity))
        scan.advance(t + 1)
        equity = scan.track.equity[t]
        if t % PROGRESS_BARS == 0:
            report(t / n_bars)
