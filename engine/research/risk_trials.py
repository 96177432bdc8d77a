"""How often does the risk control fail? Many one-year runs of the default configuration, each one a ``Trial``.

A window of history begins with a fresh account on the first of a month, after the sleeve has seen the history before
it. A made-up path strings blocks of history together (the stationary bootstrap of Politis & Romano, 1994), the same
blocks for every symbol, so that what fell together falls together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from engine.core import step as core
from engine.core.costs import Costs
from engine.core.metrics import sharpe_ratio
from engine.domain import F8, I8, NS_PER_DAY, NS_PER_S
from engine.errors import DataError
from engine.research.config import BacktestConfig, Resolved, resolve
from engine.research.loading import BarTable, select
from engine.research.simulation import has_volume, scan_of

CASH = 10_000.0
WARM_DAYS = 120
"""History that the sleeve sees before a window: three times its slowest memory."""

DRAWDOWN_LIMIT, DAILY_LOSS_LIMIT = 0.15, 0.05
CONTROL_ON: dict[str, Any] = {}
CONTROL_OFF: dict[str, Any] = {"use_gate_daily_loss": False, "use_gate_drawdown": False, "use_gate_book": False}
"""What is switched off to see what the control costs: the caps on symbol, gross and leverage stay."""


MEAN_BLOCK_DAYS = 20.0
"""Mean length of a block of a made-up path: most of a trend's slowest memory."""

GAP = 0.30
"""Size of the gap in made-up paths and shocks, fraction of price."""


class Plan(NamedTuple):
    """How much is run."""

    paths: int = 1000
    subsets: int = 10
    seed: int = 1
    jobs: int = 2


class Trial(NamedTuple):
    """One run of about a year. Fractions; losses are positive."""

    name: str
    symbols: tuple[str, ...]
    growth: float  # over the whole window
    sharpe: float  # of daily returns, annualised with 365 days
    drawdown: float  # largest fall from a peak, at bar closes
    worst_day: float  # largest loss since a UTC day's opening equity, at a bar close
    n_days: int
    days_beyond: int  # days that at some bar close had lost more than the daily limit
    gross: float  # mean gross weight
    drawdown_within: float = math.nan  # largest fall from a peak at a bar close to the worst moment of a later bar
    worst_day_within: float = math.nan  # largest loss since the day's opening equity, at a bar's worst moment
    days_beyond_within: int = 0  # days that at some bar's worst moment had lost more than the daily limit


def worst_within(bars: BarTable, equity: F8, weight: F8) -> F8:
    """Return equity at the worst moment of each bar, (T,), if every symbol were at its worst for the book at once.

    Never better than it was: the lows of different symbols do not come at the same moment. What was traded at the
    bar's open is held through it.

    Parameters
    ----------
    bars : BarTable
        Of the run's T bars.
    equity : (T,) float64, at closes
    weight : (T, N) float64, signed notional over equity, at closes
    """
    low, high = bars.low_px / bars.close_px - 1.0, bars.high_px / bars.close_px - 1.0
    against = np.nan_to_num(np.minimum(weight * low, weight * high))  # a symbol without a bar is not held
    found: F8 = equity * (1.0 + np.minimum(against, 0.0).sum(axis=1))
    return found


def judged(
    name: str, symbols: tuple[str, ...], ts_close: I8, equity: F8, weight: F8, within: F8 | None = None
) -> Trial:
    """Return what a run's equity (T,) at bar closes says, and beside it what ``within`` says, see ``worst_within``.

    A day's loss is measured from the equity at its first bar close, as the gate measures it, and from the one before.
    """
    worst = equity if within is None else within
    before = np.maximum.accumulate(np.append(CASH, equity))
    peak = before[1:]
    day = (ts_close - 1) // NS_PER_DAY
    starts = np.flatnonzero(np.append(True, day[1:] != day[:-1]))
    opening = np.append(CASH, equity)[starts]
    lows = np.minimum.reduceat(equity, starts)
    losses, inside = 1.0 - lows / opening, 1.0 - np.minimum.reduceat(worst, starts) / opening
    closes = np.append(opening, equity[-1])
    daily = closes[1:] / closes[:-1] - 1.0
    return Trial(
        name, symbols, float(equity[-1] / CASH - 1.0), sharpe_ratio(daily, 365.0), float((1.0 - equity / peak).max()),
        float(losses.max()), len(starts), int((losses > DAILY_LOSS_LIMIT).sum()), float(np.abs(weight).sum(1).mean()),
        float((1.0 - worst / before[:-1]).max()), float(inside.max()), int((inside > DAILY_LOSS_LIMIT).sum()),
    )  # fmt: skip


def resolved_for(bars: BarTable, settings: dict[str, Any]) -> Resolved:
    """Return the default configuration with some settings changed, for these bars."""
    config = BacktestConfig(bars=bars, strategy="trend", params=settings)
    return resolve(config, bars.interval_s, bars.symbols, has_volume(bars))


def run_window(
    bars: BarTable, first: int, last: int, settings: dict[str, Any], name: str, costs_factor: float = 1.0,
    funding: F8 | None = None,
) -> Trial:  # fmt: skip
    """Run bars [first, last) with a fresh account, after the sleeve has seen up to ``WARM_DAYS`` before them.

    Parameters
    ----------
    bars : BarTable
    first, last : int
    settings : dict
        What differs from the default configuration.
    name : str
    costs_factor : float
        Multiplies slippage, spread and impact.
    funding : (last - first, N) float64, optional
        Rate charged at each bar's close.
    """
    return judged_run(name, rows_of(bars, slice(first, last)), scan_window(bars, first, last, settings, costs_factor,
                                                                           funding))  # fmt: skip


def judged_run(name: str, bars: BarTable, result: Any) -> Trial:
    """Return the trial that a simulation over these bars made."""
    equity, weight = result.track.equity, result.track.weight
    return judged(name, bars.symbols, bars.ts_close, equity, weight, worst_within(bars, equity, weight))


def scan_window(
    bars: BarTable, first: int, last: int, settings: dict[str, Any], costs_factor: float = 1.0,
    funding: F8 | None = None,
) -> Any:  # fmt: skip
    """Return the simulation that ``run_window`` judges."""
    resolved = resolved_for(bars, settings)
    if costs_factor != 1.0:
        usual = resolved.costs
        resolved = resolved._replace(costs=Costs(
            usual.fee_rate, usual.slippage_rate * costs_factor, usual.maker_fee_rate, usual.maker_share,
            usual.spread_per_volatility * costs_factor, usual.impact * costs_factor,
        ))  # fmt: skip
    before = max(first - WARM_DAYS * NS_PER_DAY // (bars.interval_s * NS_PER_S), 0)
    scan = scan_of(rows_of(bars, slice(first, last)), funding, resolved, CASH)
    scan.state = core.warm_up(scan.state, bars.close_px[before:first], resolved.params)
    scan.advance(last - first)
    return scan.result()


_GRID = ("open_px", "high_px", "low_px", "close_px", "volume")


def rows_of(bars: BarTable, rows: slice) -> BarTable:
    """Return a stretch of the bars."""
    cut: dict[str, Any] = {name: np.ascontiguousarray(getattr(bars, name)[rows]) for name in ("ts_open", *_GRID)}
    return bars._replace(**cut)


def month_windows(bars: BarTable, days: int = 365, every_months: int = 1) -> list[tuple[str, int, int]]:
    """Return name, first and last row of a window from the first of every month that has room for it."""
    n_bars = days * NS_PER_DAY // (bars.interval_s * NS_PER_S)
    found: list[tuple[str, int, int]] = []
    year, month = (datetime.fromtimestamp(bars.ts_open[0] / NS_PER_S, UTC).timetuple())[:2]
    while True:
        month += every_months
        year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
        begin = int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * NS_PER_S
        first = int(np.searchsorted(bars.ts_open, begin))
        if first + n_bars > len(bars.ts_open):
            return found
        found.append((f"{year}-{month:02d}", first, first + n_bars))


def symbol_sets(symbols: Sequence[str], n_random: int, seed: int) -> list[tuple[str, ...]]:
    """Return all symbols, each alone, every pair, and seeded random subsets of three or more."""
    rng = np.random.default_rng(seed)
    sets: list[tuple[str, ...]] = [tuple(symbols), *((name,) for name in symbols), *combinations(symbols, 2)]
    for _ in range(n_random if len(symbols) > 3 else 0):
        chosen = rng.choice(len(symbols), size=int(rng.integers(3, len(symbols))), replace=False)
        sets.append(tuple(symbols[i] for i in sorted(chosen)))
    return list(dict.fromkeys(sets))


def known_part(bars: BarTable, symbols: tuple[str, ...]) -> BarTable:
    """Return the bars of some symbols from the first on which all of them have one."""
    part = select(bars, symbols)
    known = np.isfinite(part.close_px).all(axis=1)
    if not known.any():
        return rows_of(part, slice(0, 0))
    return rows_of(part, slice(int(np.argmax(known)), None))


def drawn(n_rows: int, n_bars: int, mean_block: float, rng: np.random.Generator) -> I8:
    """Return ``n_bars`` rows in blocks of geometric length (stationary bootstrap)."""
    begins = rng.random(n_bars) < 1.0 / mean_block
    begins[0] = True
    at = np.flatnonzero(begins)
    start = rng.integers(0, n_rows, len(at))
    block = np.cumsum(begins) - 1
    rows: I8 = (start[block] + np.arange(n_bars) - at[block]) % n_rows
    return rows


def made_up_path(bars: BarTable, rows: I8) -> BarTable:
    """Return bars whose moves are those that followed ``rows``, one after the other; every price begins at 100.

    Parameters
    ----------
    bars : BarTable
        No bar may be missing.
    rows : (T,) int64
        Below the number of bars less one.
    """
    before = bars.close_px[:-1][rows]
    moves = {name: getattr(bars, name)[1:][rows] / before for name in ("open_px", "high_px", "low_px", "close_px")}
    level = np.cumprod(moves["close_px"], axis=0) * 100.0
    opening = np.vstack([np.full((1, level.shape[1]), 100.0), level[:-1]])
    prices: dict[str, Any] = {name: column * opening for name, column in moves.items()}
    # impact needs quantities traded: the money that changed hands is kept
    volume = bars.volume[1:][rows] * bars.close_px[1:][rows] / prices["close_px"]
    ts_open = bars.ts_open[0] + np.arange(len(rows)) * bars.interval_s * NS_PER_S
    return bars._replace(ts_open=ts_open, volume=volume, **prices)


def shifted(bars: BarTable, t: int, factor: F8) -> BarTable:
    """Return bars in which every price from bar ``t``'s open on is multiplied by ``factor`` (N,): a gap."""
    moved: dict[str, Any] = {}
    for name in ("open_px", "high_px", "low_px", "close_px"):
        column = getattr(bars, name).copy()
        column[t:] *= factor
        moved[name] = column
    return bars._replace(**moved)


def _both(bars: BarTable, first: int, last: int, kind: str, name: str) -> list[tuple[str, str, Trial]]:
    return [
        (kind, control, run_window(bars, first, last, settings, name))
        for control, settings in (("on", CONTROL_ON), ("off", CONTROL_OFF))
    ]


def history_trials(bars: BarTable, symbols: tuple[str, ...]) -> list[tuple[str, str, Trial]]:
    """Return the windows of history of one set of symbols, from every month on, with the control on and off."""
    part = known_part(bars, symbols)
    if len(part.ts_open) == 0:
        return []
    found = []
    for name, first, last in month_windows(part):
        found += _both(part, first, last, "history", name)
    return found


def path_trials(bars: BarTable, seed: int, numbers: Sequence[int]) -> list[tuple[str, str, Trial]]:
    """Return made-up years, each with the control on and off, and again with a gap up or down at a random hour."""
    day = NS_PER_DAY // (bars.interval_s * NS_PER_S)
    warm, year = WARM_DAYS * day, 365 * day
    found = []
    for number in numbers:
        rng = np.random.default_rng([seed, number])
        path = made_up_path(bars, drawn(len(bars.ts_open) - 1, warm + year, MEAN_BLOCK_DAYS * day, rng))
        found += _both(path, warm, warm + year, "path", str(number))
        at, move = warm + int(rng.integers(day, year - day)), GAP * (1.0 if rng.random() < 0.5 else -1.0)
        gapped = shifted(path, at, np.full(len(bars.symbols), 1.0 + move))
        found += _both(gapped, warm, warm + year, "path with gap", str(number))
    return found


def all_trials(bars: BarTable, plan: Plan) -> list[tuple[str, str, Trial]]:
    """Return every trial as kind (history, path, path with gap), control (on, off) and figures.

    Raises
    ------
    DataError
        Fewer than 14 months on which all symbols have bars.
    """
    from joblib import Parallel, delayed

    common = known_part(bars, bars.symbols)
    span = len(common.ts_open) * bars.interval_s / 86_400
    if span < 425 or not np.isfinite(common.close_px).all():
        raise DataError(
            f"the symbols have {span:.0f} days in common, or bars are missing among them: 425 whole days are needed"
        )
    work = [delayed(history_trials)(bars, symbols) for symbols in symbol_sets(bars.symbols, plan.subsets, plan.seed)]
    step = 25
    work += [
        delayed(path_trials)(common, plan.seed, range(first, min(first + step, plan.paths)))
        for first in range(0, plan.paths, step)
    ]
    return [trial for some in Parallel(n_jobs=plan.jobs)(work) for trial in some]
