"""A parameter sweep: many parameter sets over one data set, each counted as a trial, the best one judged as such.

The result as JSON, ``SweepResult.to_json``:

* ``config``: what all members share, the axes, and ``choose_by``
* ``axes``: ``[{"name", "values"}]`` in the order of the grid
* ``rows``: ``[{"params": {axis: value}, **figures, "error"}]`` in the order of the grid; figures as in a backtest, and
  ``in_sample_sharpe``, ``in_sample_return``, ``out_of_sample_sharpe``, ``out_of_sample_return``
* ``best``: index into ``rows`` of the choice, None when no row has the figure; ``best_row`` is that row
* ``n_trials``: members of this sweep; ``trials``: everything ever tried on this data, this sweep included
* ``deflated_sharpe``: ``{"value", "trials", "expected_max_sharpe"}`` of the best
* ``pbo``: ``{"value", "trials", "why"}``, of this sweep's members
* ``heat_map``: ``{"x", "y", "x_values", "y_values", "metric", "values"}``: the figure that chooses over the first two
  axes, the best over any further one; ``values[row of y][column of x]``, None where there is no row; None for one axis
* ``left_out``: sentences about combinations that cannot be run; ``doubts``: sentences
* ``reused``: rows that an earlier, interrupted run had finished; ``scan_s``, ``elapsed_s``, ``backend``
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from engine.core.compiling import FINGERPRINT
from engine.core.known import Known, averages, variances
from engine.core.metrics import probabilistic_sharpe
from engine.core.quiet import can_skip
from engine.core.tally_scan import has_every_price
from engine.domain import F8, I8
from engine.errors import CommandRefused, ConfigError
from engine.research.backtest import loaded
from engine.research.cluster import Compute, answers, checked, n_workers
from engine.research.config import BacktestConfig
from engine.research.finished import Finished
from engine.research.grid import Grid, Member, chunks_of, make_grid, stage_key
from engine.research.honesty import best_of_luck
from engine.research.ledger import Ledger, Trial
from engine.research.loading import BarTable
from engine.research.members import COLUMNS, Evaluated, Stage, evaluate, periods
from engine.research.overfitting import overfitting_probability
from engine.research.simulation import sim_bars
from engine.settings import Environment

CHOICES = ("in_sample_sharpe", "sharpe", "sortino", "calmar", "total_return", "profit_factor")
MAX_SHARED_BYTES = 128 * 2**20
"""Most memory for averages that members share; beyond it each works out its own."""

MAX_CHUNK = 64

Progress = Callable[[float], None]
Cancelled = Callable[[], bool]


class SweepConfig(BacktestConfig):
    """One sweep. ``params`` are those that are not swept."""

    grid: dict[str, Any] = Field(default_factory=dict, description="Axis to values, or to text such as 5:50:5")
    n_random: int | None = Field(None, ge=1, description="Try so many combinations at random; default: all")
    seed: int = Field(0, ge=0)
    choose_by: str = Field("in_sample_sharpe", description=f"One of {', '.join(CHOICES)}")
    folder: Path | None = Field(None, description="Where finished chunks are kept, and found when a run is resumed")
    backend: str = Field("local", description="local or dask")
    address: str = Field("", description="Of the Dask scheduler")
    workers: int = Field(0, ge=0, description="On this machine; 0: one for each core")

    @property
    def compute(self) -> Compute:
        """Where the work runs."""
        return Compute(self.backend, self.address, self.workers)


class SweepTable(NamedTuple):
    """Every member with its figures and the returns of its periods."""

    grid: Grid
    figures: F8  # (M, len(COLUMNS)), NaN in a row that failed
    returns: F8  # (M, D) per period
    errors: list[str]
    moments: I8  # (D,) ns, end of each period
    per_year: float
    reused: int
    scan_s: float

    def column(self, name: str) -> F8:
        """Return one figure of every member, (M,)."""
        found: F8 = self.figures[:, COLUMNS.index(name)]
        return found


class SweepResult(NamedTuple):
    """A finished sweep."""

    config: dict[str, Any]
    table: SweepTable
    best: int | None
    trials: int
    selection: dict[str, Any]  # deflated_sharpe and pbo
    elapsed_s: float
    backend: str

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON types, as the module's first lines say; NaN becomes null."""
        from engine.research.sweep_report import as_json

        return as_json(self)


def _prepared(config: SweepConfig) -> tuple[BarTable, Stage, Grid]:
    """Return all bars, the stage that members run on, and the members."""
    whole, bars, funding = loaded(config)
    plain = BacktestConfig.model_construct(
        strategy=config.strategy, params=config.params, cash=config.cash, funding=config.funding
    )
    return whole, Stage(bars, funding, plain, None), make_grid(plain, config.grid, bars, config.n_random, config.seed)


def _with_averages(stage: Stage, members: list[Member], n_threads: int) -> Stage:
    """Return the stage with every average of closes that its members need, where memory allows."""
    wanted = [member.resolved for member in members if can_skip(member.resolved.params, member.resolved.assumptions)]
    bars = sim_bars(stage.bars, stage.funding)
    if not wanted or not has_every_price(bars):
        return stage
    spans = sorted({span for one in wanted for span in (int(one.params.ema_fast), int(one.params.ema_slow))})
    fits = len(spans) * bars.close_px.nbytes <= MAX_SHARED_BYTES
    volatile = any(one.costs.spread_per_volatility > 0.0 or one.costs.impact > 0.0 for one in wanted)
    with ThreadPoolExecutor(n_threads) as pool:
        variance = pool.submit(variances, bars) if volatile else None
        shared = averages(bars.close_px, spans, pool.map) if fits else {}
        return stage._replace(known=Known(shared, variance.result() if variance else np.empty(0)))


def run_members(
    stage: Stage, grid: Grid, compute: Compute, folder: Path | None = None, progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> SweepTable:  # fmt: skip
    """Run every member of a grid, wherever ``compute`` says, and return the table in the grid's order.

    Parameters
    ----------
    stage : Stage
    grid : Grid
    compute : Compute
    folder : Path, optional
        Finished chunks are written there as they come, and what is there already is not computed again.
    progress : callable, optional
        Called with the finished share, 0 to 1.
    cancelled : callable, optional
        Asked after every chunk; True stops the run with ``CommandRefused``. What is finished stays in ``folder``.
    """
    report, stop = progress or (lambda share: None), cancelled or (lambda: False)
    started = time.perf_counter()
    read, n_all = periods(stage.bars), len(grid.members)
    stage = stage._replace(read=read)
    store = Finished(folder, stage_key(stage.bars, stage.config.cash, stage.funding, FINGERPRINT)) if folder else None
    known = store.known(member.key for member in grid.members) if store else {}
    reused = len(known)
    missing = [member for member in grid.members if member.key not in known]
    errors: dict[str, str] = {}
    in_threads = not stage.config.is_file
    if in_threads and compute.backend == "local":
        stage = _with_averages(stage, missing, n_workers(compute))
    chunks = chunks_of(missing, n_workers(compute), MAX_CHUNK)
    done = reused
    report(done / n_all)
    for _, answer in answers(evaluate, stage, chunks, compute, in_threads):
        if store:
            store.keep(answer)
        _take(answer, known, errors)
        done += len(answer.keys)
        report(done / n_all)
        if stop():
            raise CommandRefused(f"the sweep was cancelled after {done} of {n_all} parameter sets; they are kept")
    scan_s = time.perf_counter() - started
    nothing = (np.full(len(COLUMNS), math.nan), np.full(len(read.whole), math.nan))
    rows = [known.get(member.key, nothing) for member in grid.members]
    figures, returns = (np.array([row[part] for row in rows]) for part in (0, 1))
    told = [errors.get(member.key, "") for member in grid.members]
    return SweepTable(
        grid, figures, returns, told, stage.bars.ts_close[read.whole], read.per_year[0], reused, scan_s
    )  # fmt: skip


def _take(answer: Evaluated, known: dict[str, tuple[F8, F8]], errors: dict[str, str]) -> None:
    for row, key in enumerate(answer.keys):
        if answer.errors[row]:
            errors[key] = answer.errors[row]
        else:
            known[key] = (answer.figures[row], answer.returns[row])


def best_of(table: SweepTable, choose_by: str) -> int | None:
    """Return the member with the largest figure, the first of equals; None when none has it."""
    values = table.column(choose_by)
    usable = np.where(np.isfinite(values), values, -math.inf)
    return int(np.argmax(usable)) if np.isfinite(values).any() else None


def _counted(table: SweepTable, ledger: Ledger | None, whole: BarTable) -> list[Trial]:
    """Put every member into the ledger and return everything that was tried on this data."""
    sharpes = table.column("sharpe") / math.sqrt(table.per_year)
    own = [
        Trial(member.key, float(sharpe), returns, table.moments, table.per_year)
        if np.isfinite(returns).all()
        else Trial(member.key, math.nan, np.empty(0), per_year=table.per_year)
        for member, sharpe, returns in zip(table.grid.members, sharpes, table.returns, strict=True)
    ]
    if ledger is None:
        return own
    ledger.know(whole)
    ledger.record_many(whole.fingerprint, own)
    return ledger.trials(whole.fingerprint)


def _selection(table: SweepTable, best: int | None, trials: list[Trial]) -> dict[str, Any]:
    """Return how much of the best is selection."""
    value = hurdle = math.nan
    if best is not None and np.isfinite(table.returns[best]).all():
        sharpes = np.array([trial.sharpe * math.sqrt(trial.per_year / table.per_year) for trial in trials])
        hurdle = best_of_luck(sharpes, len(trials))
        value = probabilistic_sharpe(table.returns[best], hurdle)
    together = table.returns[np.isfinite(table.returns).all(axis=1)].T
    pbo = overfitting_probability(together) if together.shape[1] >= 2 else None
    why = None
    if pbo is None:
        few = together.shape[1] < 2
        why = "fewer than two parameter sets have a result" if few else f"{len(together)} periods are too few"
    return {
        "deflated_sharpe": {
            "value": value, "trials": len(trials), "expected_max_sharpe": hurdle * math.sqrt(table.per_year),
        },
        "pbo": {"value": pbo, "trials": together.shape[1], "why": why},
    }  # fmt: skip


def checked_settings(config: SweepConfig) -> None:
    """Refuse with ``ConfigError`` what does not need the data to be known as wrong."""
    if config.choose_by not in CHOICES:
        raise ConfigError(f"choose_by {config.choose_by!r} is unknown: choose one of {', '.join(CHOICES)}")
    checked(config.compute)


def described(config: SweepConfig, bars: BarTable) -> dict[str, Any]:
    """Return what all members share, for the report."""
    return config.model_dump(mode="json", exclude={"home", "grid", "folder"}) | {
        "symbols": list(bars.symbols), "interval_s": bars.interval_s, "bars": len(bars.ts_open),
        "first_ts_ms": int(bars.ts_open[0]) // 1_000_000, "last_ts_ms": int(bars.ts_close[-1]) // 1_000_000,
        "dataset": bars.fingerprint,
    }  # fmt: skip


def run_sweep(config: SweepConfig, progress: Progress | None = None, cancelled: Cancelled | None = None) -> SweepResult:
    """Run a sweep: every parameter set of its grid over the same bars, with the decisions and costs of a single run.

    Parameters
    ----------
    config : SweepConfig
    progress, cancelled : callable, optional
        As in ``run_members``.

    Returns
    -------
    SweepResult
        Each row equals a single run with those parameters. All of them are counted in the ledger of trials.

    Raises
    ------
    ConfigError
        A grid that cannot be meant, with what to change.
    DataError
        Bars that cannot be used.
    CommandRefused
        Cancelled, or the machines that were to do the work are not there.
    """
    started = time.perf_counter()
    checked_settings(config)
    whole, stage, grid = _prepared(config)
    table = run_members(stage, grid, config.compute, config.folder, progress, cancelled)
    best = best_of(table, config.choose_by)
    ledger = Ledger(config.home or Environment().astrolabe_home) if config.keep_ledger else None
    trials = _counted(table, ledger, whole)
    selection = _selection(table, best, trials)
    elapsed_s = time.perf_counter() - started
    return SweepResult(
        described(config, stage.bars), table, best, len(trials), selection, elapsed_s, config.backend
    )  # fmt: skip
