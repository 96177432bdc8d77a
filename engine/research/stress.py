"""What a run is held against: the same rule under harsher conditions, and holding Bitcoin, Ether or nothing instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.core.simulate import SimResult
from engine.domain import F8
from engine.errors import DataError
from engine.research.coins import coin_column
from engine.research.figures import DAYS_PER_YEAR, Stretch, ratios
from engine.research.loading import BarTable

HOLDS = ("BTC", "ETH")
RATIOS = ("cagr", "sharpe", "sortino", "calmar", "max_drawdown", "cvar_95")
FIGURES = ("final_equity", "total_return", *RATIOS)
STRESSES = {"costs x 2": (2.0, 0), "delay + 1 bar": (1.0, 1)}
"""Name, factor on every cost of a fill, bars that every fill comes later."""

Rerun = Callable[[float, int], SimResult]
"""Runs the rule again with costs times a factor and fills so many bars later."""


def _told(bars: BarTable, equity: F8, cash: float, paid: dict[str, float]) -> dict[str, Any]:
    stretch = Stretch(0, len(equity), cash)
    years = len(equity) * bars.interval_s / (DAYS_PER_YEAR * 86_400)
    found = ratios(bars, equity, stretch, years)
    final = float(equity[-1])
    return {"final_equity": final, "total_return": final / cash - 1.0} | {n: found[n] for n in RATIOS} | paid


def _unknown(why: str) -> dict[str, Any]:
    return dict.fromkeys(FIGURES, math.nan) | {"why": why}


def stress_rows(bars: BarTable, cash: float, rerun: Rerun) -> list[dict[str, Any]]:
    """Return the figures of the rule with doubled costs and with fills one bar later.

    Parameters
    ----------
    bars : BarTable
    cash : float, quote currency
    rerun : Rerun
        Its ``DataError`` becomes a row of NaN with the reason.
    """
    rows = []
    for name, (factor, delay) in STRESSES.items():
        try:
            result = rerun(factor, delay)
        except DataError as error:  # a user's file that fails on the account that it then has
            rows.append({"name": name} | _unknown(str(error)))
            continue
        paid = {"fees": float(np.sum(result.fills.fee)), "slippage": float(np.sum(result.fills.slippage))}
        rows.append({"name": name} | _told(bars, result.track.equity, cash, paid))
    return rows


def hold_equity(
    open_px: F8, close_px: F8, funding: F8 | None, cash: float, fee: float, slippage: float
) -> tuple[F8, dict[str, float]]:
    """Return the equity of buying one coin with all the cash at its first open, and selling at the last close.

    Parameters
    ----------
    open_px, close_px : (T,) float64
        NaN where there is no bar: the position keeps its last mark.
    funding : (T,) float64 or None
        Rate due at each close; a positive one is paid.
    cash : float, quote currency
    fee, slippage : float
        Fractions of notional, paid at both ends.

    Returns
    -------
    tuple
        Equity at each close (T,), and ``fees``, ``slippage``, ``funding`` in quote currency.

    Notes
    -----
    cash = qty * px * (1 + fee), px = open * (1 + slippage): nothing is borrowed. Funding is paid out of the position,
    which shrinks by the rate, so that it is always worth all the equity and never more.
    """
    start = int(np.flatnonzero(np.isfinite(open_px) & np.isfinite(close_px))[0])
    entry_px = float(open_px[start]) * (1.0 + slippage)
    qty = cash / (entry_px * (1.0 + fee))
    rows = np.maximum.accumulate(np.where(np.isfinite(close_px), np.arange(len(close_px)), start))
    marks = close_px[rows]
    held, paid = np.full(len(close_px), qty), 0.0
    if funding is not None:
        due = np.where(np.isfinite(close_px), funding, 0.0)
        due[:start] = 0.0
        held = qty * np.cumprod(1.0 - due)
        paid = float(np.sum(np.concatenate([[qty], held[:-1]]) * marks * due))
    equity = np.where(np.arange(len(marks)) < start, cash, held * marks)
    left, last_px = float(held[-1]), float(marks[-1])
    exit_px = last_px * (1.0 - slippage)
    equity[-1] -= left * (last_px - exit_px) + left * exit_px * fee
    fees = qty * entry_px * fee + left * exit_px * fee
    slipped = qty * (entry_px - float(open_px[start])) + left * (last_px - exit_px)
    return equity, {"fees": fees, "slippage": slipped, "funding": paid}


def comparison_rows(
    bars: BarTable, funding: F8 | None, cash: float, fee: float, slippage: float
) -> list[dict[str, Any]]:
    """Return the figures of holding Bitcoin, holding Ether, and doing nothing.

    A coin without bars in the run has a row of NaN with the reason: what is not known is not zero.

    Parameters
    ----------
    bars : BarTable
    funding : (T, N) float64 or None
    cash : float, quote currency
    fee, slippage : float
        Fractions of notional.
    """
    rows = []
    for coin in HOLDS:
        name, column = f"{coin} hold", coin_column(bars.symbols, coin)
        if column is None or not np.isfinite(bars.close_px[:, column]).any():
            rows.append({"name": name} | _unknown(f"the run has no bars of {coin}"))
            continue
        rates = None if funding is None else funding[:, column]
        equity, paid = hold_equity(bars.open_px[:, column], bars.close_px[:, column], rates, cash, fee, slippage)
        rows.append({"name": name} | _told(bars, equity, cash, paid))
    nothing = dict.fromkeys(FIGURES, 0.0) | {"final_equity": cash, "sharpe": math.nan, "sortino": math.nan}
    return [*rows, {"name": "cash"} | nothing | {"calmar": math.nan}]
