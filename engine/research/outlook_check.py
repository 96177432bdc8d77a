"""Whether the intervals for another year hold: history is cut again and again, and the year after is looked at."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.datasets.times import moment_text
from engine.domain import F8, I8, NS_PER_DAY
from engine.errors import DataError
from engine.research.config import BacktestConfig, resolve
from engine.research.figures import day_ends
from engine.research.loading import BarTable, cut, select
from engine.research.outlook import NAMES, outlook, realised
from engine.research.simulation import has_volume, scan_of

FIRST_CUT_DAYS = 730
STEP_DAYS = 91
MIN_COIN_DAYS = 60
DRAWS = 500


class Check(NamedTuple):
    """One cut: what was stated before it and what came after."""

    universe: int
    cut_ns: int
    stated: dict[str, Any]
    came: dict[str, float]

    def holds(self, name: str) -> bool:
        """Return whether a figure came out between its bounds; one that does not exist, as after no trade, does not."""
        bounds = self.stated[name]
        return bool(bounds["low"] <= self.came[name] <= bounds["high"])


def daily_returns(config: BacktestConfig, bars: BarTable, funding: F8 | None) -> tuple[I8, F8]:
    """Return the ends of days and the rule's daily returns over bars that begin with a new account.

    Coins with hardly a bar in this stretch are left out; ``DataError`` where none is left.
    """
    there = np.isfinite(bars.close_px).sum(axis=0) * bars.interval_s >= MIN_COIN_DAYS * 86_400
    if not there.any():
        longest = np.isfinite(bars.close_px).sum(axis=0).max() * bars.interval_s / 86_400
        raise DataError(
            f"the longest of {len(bars.symbols)} series holds {longest:,.0f} days of bars between "
            f"{moment_text(int(bars.ts_open[0]))} and {moment_text(int(bars.ts_close[-1]))}; at least {MIN_COIN_DAYS} "
            "are needed to say anything of a year"
        )
    kept = select(bars, tuple(name for name, known in zip(bars.symbols, there, strict=True) if known))
    rates = None if funding is None else np.ascontiguousarray(funding[:, there])
    resolved = resolve(config, kept.interval_s, kept.symbols, has_volume(kept))
    scan = scan_of(kept, rates, resolved, config.cash)
    scan.advance(len(kept.ts_open))
    rows = day_ends(kept.ts_close)
    equity = np.concatenate([[config.cash], scan.result().track.equity[rows]])
    return kept.ts_close[rows], equity[1:] / np.maximum(equity[:-1], 1e-9) - 1.0


def universes(symbols: tuple[str, ...], n: int, seed: int) -> list[tuple[str, ...]]:
    """Return all symbols, and random halves of them (at least three), in their own order."""
    rng = np.random.default_rng(seed)
    size = max(min(3, len(symbols)), (len(symbols) + 1) // 2)
    halves = [tuple(symbols[i] for i in np.sort(rng.choice(len(symbols), size, replace=False))) for _ in range(n)]
    return [symbols, *(halves if size < len(symbols) else [])]


def checks(
    config: BacktestConfig, bars: BarTable, funding: F8 | None, days: int, limit: float | None, n_universes: int = 5
) -> list[Check]:
    """Return what was stated at every cut, and what the time after it brought on a new account.

    Each universe states from its own past; all coins' statement is also held against the halves, whose trades it has
    partly not seen.

    Parameters
    ----------
    config : BacktestConfig
        Strategy, parameters, cash.
    bars : BarTable
    funding : (T, N) float64 or None
    days : int
        Length of the time after a cut.
    limit : float or None
        See ``outlook``.
    n_universes : int
        Random halves beside all coins.
    """
    found: list[Check] = []
    first, last = int(bars.ts_open[0]), int(bars.ts_close[-1])
    cuts = range(first + FIRST_CUT_DAYS * NS_PER_DAY, last - days * NS_PER_DAY + 1, STEP_DAYS * NS_PER_DAY)
    of_all: dict[int, dict[str, Any]] = {}
    for number, symbols in enumerate(universes(bars.symbols, n_universes, int(bars.fingerprint[:8], 16))):
        table = select(bars, symbols)
        columns = [bars.symbols.index(name) for name in symbols]
        rates = None if funding is None else np.ascontiguousarray(funding[:, columns])
        ends, returns = daily_returns(config, table, rates)
        for moment in cuts:
            stated = outlook(returns[ends <= moment], days, limit, seed=number, draws=DRAWS)
            rows = (table.ts_open >= moment) & (table.ts_open < moment + days * NS_PER_DAY)
            if (
                stated is None
                or np.isfinite(table.close_px[rows]).sum(axis=0).max() < 0.8 * rows.sum()
                or not rows.any()
            ):
                continue
            part = cut(table, moment, moment + days * NS_PER_DAY)
            came = realised(daily_returns(config, part, None if rates is None else rates[rows])[1])
            of_all.setdefault(moment, stated)  # all coins come first
            found += [
                Check(number, moment, one, came) for one in ([stated] if number == 0 else [stated, of_all[moment]])
            ]
    return found


def coverage(found: list[Check]) -> dict[str, float]:
    """Return the share of checks in which each figure came out between its bounds."""
    return {name: float(np.mean([check.holds(name) for check in found])) for name in NAMES}
