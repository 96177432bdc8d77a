"""The honesty panel: what is computed with every run without being asked, and whether it may be promoted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine.core.metrics import expected_best_sharpe, probabilistic_sharpe, sharpe_ratio
from engine.core.simulate import SimResult
from engine.domain import F8, I8
from engine.research.config import BacktestConfig, Resolved
from engine.research.critique import Evidence, barred, blockers, critique
from engine.research.figures import DAYS_PER_YEAR, Periods, Stretch, ratios, span_days
from engine.research.funding_cover import Known, funding_cover
from engine.research.ledger import Ledger, Trial, same_periods
from engine.research.loading import BarTable
from engine.research.montecarlo import drawdown_risk, intervals, redraw
from engine.research.outlook import outlook
from engine.research.overfitting import cross_validation_paths, min_track_record, overfitting_probability
from engine.research.periods import period_rows, period_table
from engine.research.stress import Rerun, comparison_rows, stress_rows
from engine.research.trades import RoundTrip
from engine.settings import Environment

AHEAD_DAYS = 365
N_WINDOWS = 10
SKIPPED_WINDOWS = 2
"""Windows of time at the start that count as the history from which the rule was made."""

Report = Callable[[float], None]


class Run(NamedTuple):
    """A finished simulation with what is needed to judge it."""

    config: BacktestConfig
    resolved: Resolved
    bars: BarTable
    funding: F8 | None
    result: SimResult
    trips: list[RoundTrip]
    periods: Periods | None  # None after ruin
    metrics: dict[str, Any]
    in_sample: dict[str, Any]
    out_of_sample: dict[str, Any]
    canaries: dict[str, str]
    conduct: tuple[str, ...]
    funding_known: Known | None = None  # where a rate is known; None without funding

    @property
    def moments(self) -> I8:
        """Ends of the periods, ns."""
        if self.periods is None:
            return np.zeros(0, dtype=np.int64)
        return np.asarray(self.bars.ts_close[period_rows(self.bars, self.periods)])


class Trials(NamedTuple):
    """Everything that was tried on this data, the run included."""

    n: int
    counted: bool  # False when the run was kept out of the ledger
    sharpes: F8  # of those with a ratio, per period of the run
    together: F8  # (T', M) returns over common periods, the run in the first column


def count_trials(run: Run, whole: BarTable, key: str) -> Trials:
    """Put a run into the ledger and return everything that was tried on its data.

    Parameters
    ----------
    run : Run
    whole : BarTable
        Everything that was loaded, before any cut by date.
    key : str
        Says what was tried.
    """
    nothing = np.empty(0)
    returns, per_year = (nothing, DAYS_PER_YEAR) if run.periods is None else (run.periods.returns, run.periods.per_year)
    sharpe = sharpe_ratio(returns, 1.0)
    found: list[Trial] = []
    if run.config.keep_ledger:
        ledger = Ledger(run.config.home or Environment().astrolabe_home)
        ledger.know(whole)
        ledger.record(whole.fingerprint, key, sharpe, returns, run.moments, per_year)
        found = ledger.trials(whole.fingerprint)
    sharpes = np.array([trial.sharpe * math.sqrt(trial.per_year / per_year) for trial in found] or [sharpe])
    together = same_periods(found, run.moments, returns) if len(returns) else np.zeros((0, 1))
    return Trials(max(len(found), 1), run.config.keep_ledger, sharpes[np.isfinite(sharpes)], together)


def best_of_luck(sharpes: F8, n: int) -> float:
    """Return the Sharpe ratio that the best of ``n`` trials is expected to show without skill, per period.

    One of which only the number is known must never lower it: as many of them are taken to have had a ratio of 0 as
    make the spread largest, and the others to be spread like those that are known.

    Parameters
    ----------
    sharpes : (M,) float64, per period
        As the ledger tells them: 0, or NaN, where there is none.
    n : int
    """
    told = sharpes[np.isfinite(sharpes) & (sharpes != 0.0)]
    count = len(told) + np.arange(max(n - len(told), 0) + 1)
    spread = (np.sum(told**2) - np.sum(told) ** 2 / np.maximum(count, 1)) / np.maximum(count - 1, 1)
    return expected_best_sharpe(np.append(told, np.zeros(int(np.argmax(spread)))), n)


def _selection(run: Run, trials: Trials) -> dict[str, Any]:
    """Return what tells skill from selection, in closed form."""
    if run.periods is None:
        psr = deflated = best = needed = math.nan
    else:
        returns = run.periods.returns
        best = best_of_luck(trials.sharpes, trials.n)
        psr, deflated = probabilistic_sharpe(returns, 0.0), probabilistic_sharpe(returns, best)
        needed = min_track_record(returns) * DAYS_PER_YEAR / run.periods.per_year
        best *= math.sqrt(run.periods.per_year)
    pbo = overfitting_probability(trials.together)
    days = span_days(run.bars)
    why = None if pbo is not None else _why_no_pbo(trials)
    return {
        "psr": psr,
        "deflated_sharpe": {"value": deflated, "trials": trials.n, "expected_max_sharpe": best},
        "pbo": {"value": pbo, "trials": trials.together.shape[1], "why": why},
        "min_track_record": {"needed_days": needed, "have_days": days, "enough": bool(days >= needed)},
    }


def _why_no_pbo(trials: Trials) -> str:
    if trials.n < 2:
        return "only one trial on this data: nothing was chosen"
    if trials.together.shape[1] < 2:
        return "the other trials do not cover the same time"
    return f"{len(trials.together)} common periods are too few"


def walk_forward(bars: BarTable, equity: F8, cash: float) -> dict[str, Any] | None:
    """Return a fixed rule's figures in consecutive windows of time, the first fifth left out as its history.

    Parameters
    ----------
    bars : BarTable
    equity : (T,) float64, quote currency, > 0
    cash : float
        Opening equity.

    Returns
    -------
    dict or None
        ``folds`` and the ``sharpe``, ``cagr`` and ``max_drawdown`` of all of them together; None when a window would
        have fewer than two bars.
    """
    edges = np.linspace(0, len(equity), N_WINDOWS + 1).round().astype(int).tolist()
    if edges[1] < 2:
        return None
    before = [cash, *(float(equity[edge - 1]) for edge in edges[1:])]

    def told(first: int, last: int, opening: float) -> dict[str, Any]:
        found = ratios(bars, equity, Stretch(first, last, opening), _years(bars, last - first))
        return {
            "first_ts_ms": int(bars.ts_open[first]) // 1_000_000,
            "last_ts_ms": int(bars.ts_close[last - 1]) // 1_000_000,
            "total_return": float(equity[last - 1]) / opening - 1.0,
            **{name: found[name] for name in ("sharpe", "cagr", "max_drawdown")},
        }  # fmt: skip

    folds = [told(edges[k], edges[k + 1], before[k]) for k in range(SKIPPED_WINDOWS, N_WINDOWS)]
    together = told(edges[SKIPPED_WINDOWS], len(equity), before[SKIPPED_WINDOWS])
    return {"folds": folds} | {name: together[name] for name in ("sharpe", "cagr", "max_drawdown")}


def _years(bars: BarTable, n_bars: int) -> float:
    return n_bars * bars.interval_s / (DAYS_PER_YEAR * 86_400)


def survivors_only(bars: BarTable) -> bool:
    """Return whether several series start at different times and all end together, as a list made at the end does."""
    first = [int(np.argmax(column)) for column in np.isfinite(bars.close_px).T]
    last = [int(np.argmax(column[::-1])) for column in np.isfinite(bars.close_px).T]
    day = max(1, 86_400 // bars.interval_s)
    return len(first) > 2 and max(last) <= day and max(first) > 30 * day


def stopped(run: Run) -> dict[str, Any] | None:
    """Return when the gate closed everything at its drawdown limit for good; None when it did not.

    Returns
    -------
    dict or None
        ``ts_ms`` of that close, ``limit`` (fraction of the peak) and ``share`` of the run that came after it.
    """
    params, equity = run.resolved.params, run.result.track.equity
    if not params.gate or not run.result.state.book["drawdown_locked"][0]:
        return None
    fallen = 1.0 - equity / np.maximum.accumulate(equity) >= params.max_drawdown
    at = int(np.argmax(fallen)) if fallen.any() else len(equity) - 1
    share = (len(equity) - 1 - at) / len(equity)
    return {"ts_ms": int(run.bars.ts_close[at]) // 1_000_000, "limit": float(params.max_drawdown), "share": share}


def _outlook(run: Run, periods: Periods) -> dict[str, Any] | None:
    """Return what the next year may bring; None where the record is not daily or shorter than a year."""
    params = run.resolved.params
    if periods.name != "daily":
        return None
    seed = int(run.bars.fingerprint[:8], 16)
    return outlook(periods.returns, AHEAD_DAYS, float(params.max_drawdown) if params.gate else None, seed)


def _resampled(run: Run, periods: Periods, trials: Trials) -> dict[str, Any]:
    table = period_table(run.bars, run.result, run.trips, periods, run.config.cash, run.funding)
    drawn = redraw(table, int(run.bars.fingerprint[:8], 16))
    together = trials.together if trials.together.shape[1] > 1 else periods.returns[:, None]
    return {
        "intervals": intervals(drawn),
        "drawdown": drawdown_risk(drawn),
        "cpcv": cross_validation_paths(together, periods.per_year),
        "outlook": _outlook(run, periods),
    }


def panel_of(run: Run, trials: Trials, rerun: Rerun, level: str, report: Report) -> dict[str, Any]:
    """Return the honesty panel of a run as plain values; NaN where a figure does not exist.

    Parameters
    ----------
    run : Run
    trials : Trials
    rerun : Rerun
        Runs the rule again under harsher conditions.
    level : str
        ``full``; ``fast`` leaves out what is redrawn or run again; ``off`` leaves out everything but the trial count.
    report : callable
        Called with the finished share, 0 to 1.
    """
    panel: dict[str, Any] = {"level": level} | _selection(run, trials)
    equity, cash = run.result.track.equity, run.config.cash
    panel |= dict.fromkeys(("intervals", "drawdown", "cpcv", "outlook", "stress", "comparison", "walk_forward"))
    panel["stopped"] = stopped(run)
    panel["funding"] = None
    if run.funding_known is not None:
        panel["funding"] = funding_cover(run.bars, run.result.track.weight, run.funding_known)
    if level != "off":
        fee, slippage = (float(run.resolved.listed[name]) for name in ("fee", "slippage"))
        panel["comparison"] = comparison_rows(run.bars, run.funding, cash, fee, slippage)
        panel["walk_forward"] = walk_forward(run.bars, equity, cash) if run.periods is not None else None
    if level == "full":
        if run.periods is not None:
            panel |= _resampled(run, run.periods, trials)
        report(0.5)
        panel["stress"] = stress_rows(run.bars, cash, rerun)
    report(1.0)
    evidence = Evidence(
        run.metrics, run.out_of_sample, panel, run.canaries, span_days(run.bars),
        float(run.resolved.listed["fee"]) + float(run.resolved.listed["slippage"]), run.funding is not None,
        trials.counted, run.conduct, survivors_only(run.bars),
    )  # fmt: skip
    found = blockers(evidence)
    if level != "full":
        found.append(f"The honesty panel was {'left out' if level == 'off' else 'cut short'}: run it in full.")
    held_back = barred(run.canaries, run.conduct)
    return panel | {"critique": critique(evidence), "barred": held_back, "blockers": found, "promotable": not found}
