"""The members of a sweep, run and measured: only figures and the returns of each period are kept.

``evaluate`` is what threads, worker processes and cluster workers call. A built-in strategy goes through the compiled
scans, ema-cross of one symbol through the one that skips quiet bars; a user's file goes through the ordinary run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.core.known import Known
from engine.core.matching import SimBars
from engine.core.metrics import annual_growth
from engine.core.quiet import can_skip
from engine.core.simulate import Scan
from engine.core.tally import largest_drawdown, tally_of, trips_of
from engine.core.tally_scan import TallyScan, has_every_price
from engine.domain import F8, I8, Sleeve
from engine.errors import WorkstationError
from engine.research.config import BacktestConfig
from engine.research.figures import DAYS_PER_YEAR, MIN_DAILY_RETURNS, OUT_OF_SAMPLE_SHARE, day_ends
from engine.research.grid import Member
from engine.research.loading import BarTable
from engine.research.portfolio_scan import scan_portfolio
from engine.research.simulation import sim_bars
from engine.research.user_scan import scan_user

COLUMNS = (
    "final_equity", "total_return", "cagr", "sharpe", "sortino", "calmar", "max_drawdown", "cvar_95", "win_rate",
    "profit_factor", "turnover", "exposure", "fees", "slippage", "funding", "n_trades", "in_sample_sharpe",
    "in_sample_return", "out_of_sample_sharpe", "out_of_sample_return",
)  # fmt: skip
"""Figures of a member, named and defined as those of a single run; the last four are of its two parts."""
OWN = ("max_drawdown", "win_rate", "profit_factor", "turnover", "exposure", "fees", "slippage", "funding", "n_trades")
"""Those that need the fills or every bar."""


class Periods(NamedTuple):
    """Rows at which equity is read: of the whole, and of the parts before and after the split."""

    whole: I8
    early: I8
    late: I8
    split: int  # bar at which the last part begins
    per_year: tuple[float, float, float]  # periods a year of each


class Stage(NamedTuple):
    """What all members of a sweep run on. Picklable, so that it can be sent to another machine."""

    bars: BarTable
    funding: F8 | None
    config: BacktestConfig  # strategy and cash; the members' parameters replace its own
    known: Known | None  # what quiet scans of bars with every price share; None: each member works out its own
    read: Periods | None = None  # where equity is read; None: not worked out yet


class Evaluated(NamedTuple):
    """Figures of some members. A member that failed has NaN everywhere and its sentence in ``errors``."""

    keys: list[str]
    figures: F8  # (m, len(COLUMNS))
    returns: F8  # (m, D) per period, fractions
    errors: list[str]


def _rows(ts_close: I8, first: int, last: int, interval_s: int) -> tuple[I8, float]:
    """Return the period ends of bars [first, last) and how many there are a year, as ``periods_of`` chooses them."""
    rows = first + day_ends(ts_close[first:last])
    if len(rows) >= MIN_DAILY_RETURNS:
        return rows, DAYS_PER_YEAR
    return np.arange(first, last), DAYS_PER_YEAR * 86_400 / interval_s


def periods(bars: BarTable) -> Periods:
    """Return where the equity of a run is read."""
    n_bars = len(bars.ts_open)
    split = round(n_bars * (1 - OUT_OF_SAMPLE_SHARE))
    ts_close = bars.ts_close
    spans = ((0, n_bars), (0, split), (split, n_bars))
    (whole, a), (early, b), (late, c) = (_rows(ts_close, first, last, bars.interval_s) for first, last in spans)
    return Periods(whole, early, late, split, (a, b, c))


def _marks(read: Periods) -> I8:
    return np.unique(np.concatenate([read.whole, read.early, read.late, [read.split - 1]]))


def simple_rows(equity: F8) -> F8:
    """Return simple returns along the rows of equity (m, D + 1) as (m, D); NaN in a row whose account was lost."""
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = equity[:, 1:] / equity[:, :-1] - 1.0
    moved[~(equity > 0.0).all(axis=1)] = np.nan
    return moved


def row_ratios(returns: F8, per_year: float) -> dict[str, F8]:
    """Return Sharpe ratio, Sortino ratio and mean worst loss of each row, as ``engine.core.metrics`` defines them."""
    n = returns.shape[1]
    nothing = np.full(len(returns), np.nan)
    if n < 2:
        return {"sharpe": nothing, "sortino": nothing, "cvar_95": nothing}
    mean, deviation = returns.mean(axis=1), returns.std(axis=1, ddof=1)
    downside = np.sqrt((np.minimum(returns, 0.0) ** 2).mean(axis=1))
    factor = math.sqrt(per_year)
    n_worst = max(1, math.ceil(round(0.05 * n, 9)))
    return {
        "sharpe": np.divide(mean, deviation, out=nothing.copy(), where=deviation > 1e-15) * factor,
        "sortino": np.divide(mean, downside, out=nothing.copy(), where=downside > 0.0) * factor,
        "cvar_95": -np.partition(returns, n_worst - 1, axis=1)[:, :n_worst].mean(axis=1),
    }


class _Bench(NamedTuple):
    """What is made once for a list of members."""

    stage: Stage
    bars: SimBars
    read: Periods
    marks: I8
    years: float
    skips: bool  # the bars allow quiet ones to be skipped


def _scanned(bench: _Bench, member: Member, before: Scan | None) -> tuple[Scan, np.ndarray, F8]:
    """Run one member; return the scan, its tally and its equity at the marks.

    ``before`` is the member before it, no longer needed: a scan of the same kind goes on in its memory.
    """
    stage, resolved, n_bars = bench.stage, member.resolved, len(bench.bars.ts_close)
    asked = (resolved.instruments, resolved.costs, resolved.params)
    whole = (bench.bars, *asked, stage.config.cash)
    if bench.skips and len(bench.marks) < n_bars and can_skip(resolved.params, resolved.assumptions):
        if isinstance(before, TallyScan):
            quiet = before
            quiet.again(*asked, resolved.assumptions)
        else:
            quiet = TallyScan(*whole, bench.marks, resolved.assumptions, stage.known)
        quiet.advance(n_bars)
        return quiet, quiet.tally, quiet.marked
    scan = Scan(*whole, assumptions=resolved.assumptions)
    if resolved.params.sleeve == Sleeve.EXTERNAL:
        if stage.config.is_file:
            own = (stage.config.strategy, resolved.user_params, stage.config.cash)
            scan_user(scan, stage.bars, *own, lambda share: None)
        else:
            scan_portfolio(scan, resolved.params, resolved.user_params, stage.bars.symbols)
    else:
        scan.advance(n_bars)
    return scan, tally_of(scan.track, stage.config.cash), scan.track.equity[bench.marks]


def _own_figures(bench: _Bench, scan: Scan, tally: np.ndarray) -> dict[str, float]:
    """Return the figures that need the fills or every bar."""
    log, n_bars = scan.log, len(bench.bars.ts_close)
    n_fills = int(scan.account.money["n_fills"][0])
    qty, px, fee, slippage = (column[:n_fills] for column in (log.qty, log.px, log.fee, log.slippage))
    trips = trips_of(log, n_fills, scan.bars.close_px.shape[1])
    mean_equity = float(tally["sum_equity"][0]) / n_bars
    return {
        "max_drawdown": largest_drawdown(tally),
        "win_rate": trips.win_rate,
        "profit_factor": trips.profit_factor,
        "turnover": float(np.sum(np.abs(qty) * px)) / mean_equity / bench.years,
        "exposure": float(tally["sum_gross"][0]) / n_bars,
        "fees": float(np.sum(fee)),
        "slippage": float(np.sum(slippage)),
        "funding": float(scan.account.money["funding"][0]),
        "n_trades": float(trips.n),
    }


def _shared_figures(bench: _Bench, equity: F8) -> tuple[dict[str, F8], F8]:
    """Return the figures that follow from equity at the marks, (m, len(marks)), for all members together."""
    read, cash = bench.read, bench.stage.config.cash
    opening = np.full((len(equity), 1), cash)
    split_equity = equity[:, np.searchsorted(bench.marks, [read.split - 1])]
    whole, early, late = (equity[:, np.searchsorted(bench.marks, rows)] for rows in read[:3])
    moved = simple_rows(np.hstack([opening, whole]))
    first = row_ratios(simple_rows(np.hstack([opening, early])), read.per_year[1])
    last = row_ratios(simple_rows(np.hstack([split_equity, late])), read.per_year[2])
    final = equity[:, -1]
    growth = np.array([annual_growth(cash, float(value), bench.years) for value in final])
    figures = {
        "final_equity": final, "total_return": final / cash - 1.0, "cagr": growth,
        **row_ratios(moved, read.per_year[0]),
        "in_sample_sharpe": first["sharpe"], "in_sample_return": split_equity[:, 0] / cash - 1.0,
        "out_of_sample_sharpe": last["sharpe"], "out_of_sample_return": final / split_equity[:, 0] - 1.0,
    }  # fmt: skip
    return figures, moved


def evaluate(stage: Stage, members: Sequence[Member]) -> Evaluated:
    """Run and measure members one after the other; a pure function of its arguments.

    Parameters
    ----------
    stage : Stage
    members : sequence of Member

    Returns
    -------
    Evaluated
        A user's file that fails for one parameter set does not end the others.
    """
    n_bars = len(stage.bars.ts_open)
    read = stage.read or periods(stage.bars)
    marks = _marks(read)
    years = n_bars * stage.bars.interval_s / (DAYS_PER_YEAR * 86_400)
    bars = sim_bars(stage.bars, stage.funding)
    bench = _Bench(stage, bars, read, marks, years, stage.known is not None or has_every_price(bars))
    equity = np.full((len(members), len(marks)), np.nan)
    own: list[dict[str, float]] = []
    errors: list[str] = []
    scan: Scan | None = None
    for row, member in enumerate(members):
        try:
            scan, tally, equity[row] = _scanned(bench, member, scan)
        except WorkstationError as error:
            own.append({})
            errors.append(str(error))
            continue
        own.append(_own_figures(bench, scan, tally))
        errors.append("")
    shared, moved = _shared_figures(bench, equity)
    return Evaluated([member.key for member in members], *_table(own, shared, moved), errors)


def _table(own: list[dict[str, float]], shared: Mapping[str, F8], moved: F8) -> tuple[F8, F8]:
    """Return the figures in the order of ``COLUMNS`` and the returns; a lost account has neither ratios nor returns."""
    found = dict(shared) | {name: np.array([row.get(name, math.nan) for row in own]) for name in OWN}
    fall = found["max_drawdown"]
    found["calmar"] = np.divide(found["cagr"], fall, out=np.full(len(own), math.nan), where=fall > 0.0)
    lost = fall >= 1.0
    for name in ("cagr", "sharpe", "sortino", "calmar", "cvar_95", "in_sample_sharpe", "out_of_sample_sharpe"):
        found[name] = np.where(lost, math.nan, found[name])
    return np.column_stack([found[name] for name in COLUMNS]), np.where(lost[:, None], math.nan, moved)
