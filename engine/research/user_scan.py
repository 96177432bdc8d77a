"""The backtest of a user's strategy: the scan stops at each close and asks; nothing later is in its memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.core.simulate import Scan
from engine.domain import F8
from engine.errors import DataError
from engine.research.loading import BarTable
from engine.strategies.user import PastBuffer, UserRunner, load_strategy

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
    advance_user(scan, UserRunner(Path(strategy), params, bars.symbols), bars, len(bars.ts_open), cash, report)


def advance_user(
    scan: Scan, runner: UserRunner, bars: BarTable, stop: int, cash: float, report: Callable[[float], None]
) -> None:
    """Advance ``scan`` with a strategy that is loaded, from where it stands up to, not including, bar ``stop``.

    Parameters
    ----------
    scan : Scan
        Of the EXTERNAL sleeve, over ``bars``.
    runner : UserRunner
        Has seen everything before the bar where the scan stands.
    bars : BarTable
    stop : int
    cash : float, ccy
        Equity before the first bar.
    report : callable
        As in ``scan_user``.
    """
    columns, equity = columns_of(bars), cash if scan.t == 0 else scan.track.equity[scan.t - 1]
    for t in range(scan.t, stop):
        rows = [column[t] for column in columns]
        weight = present_weight(scan, bars, t, equity)
        scan.external_weight[t] = runner.decide(int(scan.bars.ts_close[t]), rows, weight, float(equity))
        scan.advance(t + 1)
        equity = scan.track.equity[t]
        if t % PROGRESS_BARS == 0:
            report(t / stop)


def signals_at_once(path: Path, params: dict[str, Any], bars: BarTable, n_bars: int) -> F8:
    """Return what ``signals`` says of the first bars when all of them are known, (n_bars, N).

    Parameters
    ----------
    path : Path
    params : dict
    bars : BarTable
    n_bars : int
        At most the strategy's ``history``.

    Raises
    ------
    DataError
        The strategy failed.
    """
    buffer, columns = PastBuffer(bars.symbols, n_bars), columns_of(bars)
    for t in range(n_bars):
        buffer.append(int(bars.ts_close[t]), [column[t] for column in columns])
    try:
        answer = load_strategy(path, params).strategy.signals(buffer.past(np.zeros(len(bars.symbols)), 10_000.0))
    except Exception as error:  # the user's code may raise anything
        raise DataError(f"signals in {path.name} failed: {type(error).__name__}: {error}") from error
    if isinstance(answer, Mapping):
        answer = np.column_stack([answer.get(symbol, np.full(n_bars, np.nan)) for symbol in bars.symbols])
    table: F8 = np.asarray(answer, dtype=float).reshape(n_bars, len(bars.symbols))
    return table


def same_signals(table: F8, weights: F8) -> npt.NDArray[np.bool_]:
    """Return where a whole table says of a bar what was said at that bar's own close."""
    return np.isclose(table, weights, rtol=1e-9, atol=1e-12, equal_nan=True)


def repaints(path: Path, params: dict[str, Any], bars: BarTable, wish: F8, longest: int) -> bool | None:
    """Return whether ``signals`` changes its mind about bars once later ones are known; None for ``on_bar``.

    Parameters
    ----------
    path : Path
    params : dict
    bars : BarTable
    wish : (T, N) float64
        What it said at each bar's own close.
    longest : int
        Bars that are looked at, at most.
    """
    runner = UserRunner(path, params, bars.symbols)
    if runner.method != "signals":
        return None
    n_bars = min(runner.history, longest, len(wish))
    return not bool(same_signals(signals_at_once(path, params, bars, n_bars), wish[:n_bars]).all())
