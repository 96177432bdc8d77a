"""Walk-forward: choose the parameters on one stretch of time, trade them on the next, and go on.

Each fold runs a sweep over its training bars, leaves out a gap, and trades the best set on the bars that follow. The
account goes from fold to fold: cash, peak and the gate's memory of losses stay. Where the choice changes, the position
is closed at the fold's last close, with costs, and the new set begins flat, its averages warmed on everything before.

The result as JSON, ``WalkForwardResult.to_json``:

* ``folds``: ``[{"train_first_ts_ms", "train_last_ts_ms", "first_ts_ms", "last_ts_ms", "params", "in_sample_sharpe",
  "sharpe", "total_return", "max_drawdown", "fees", "n_fills", "carried_on"}]``; ``params`` is None for a fold in cash;
  ``carried_on``: the choice of the fold before went on, so its position did too
* ``equity``: ``[[ts_ms, value]]`` of the traded bars only; ``metrics``: figures of that curve as in a backtest
* ``chosen``: ``{axis: [value per fold]}``, the parameters through time
* ``n_trials``, ``trials``, ``deflated_sharpe`` as in a sweep; ``efficiency``: mean Sharpe ratio traded over mean Sharpe
  ratio chosen on, None when the latter is not positive
* ``doubts``: sentences; ``elapsed_s``; ``reused``
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from engine.core.costs import blended_fee_rate, crossing_rate, slipped_px
from engine.core.metrics import expected_best_sharpe, probabilistic_sharpe, sharpe_ratio
from engine.core.simulate import Scan
from engine.core.step import warm_up
from engine.domain import F8, Sleeve
from engine.errors import ConfigError
from engine.research.backtest import loaded
from engine.research.config import BacktestConfig, Resolved
from engine.research.figures import Stretch, periods_of
from engine.research.grid import Member, make_grid
from engine.research.ledger import Ledger, Trial
from engine.research.loading import GRID_COLUMNS, BarTable
from engine.research.members import Stage
from engine.research.periods import period_rows
from engine.research.portfolio_scan import advance_portfolio
from engine.research.simulation import scan_of
from engine.research.sweep import SweepConfig, best_of, checked_settings, described, run_members
from engine.research.user_scan import advance_user, columns_of
from engine.settings import Environment
from engine.strategies import portfolio
from engine.strategies.portfolio_runner import PortfolioRunner
from engine.strategies.user import UserRunner

MIN_BARS = 50
"""Of a training and of a trading stretch."""

Progress = Callable[[float], None]
Cancelled = Callable[[], bool]


class WalkForwardConfig(SweepConfig):
    """One walk-forward: a sweep's grid, and how time is cut."""

    choose_by: str = Field("sharpe", description="Figure of the training stretch that chooses")
    train_days: float = Field(365.0, gt=0, description="Length of each training stretch")
    test_days: float = Field(90.0, gt=0, description="Length of each traded stretch")
    anchored: bool = Field(False, description="Training begins at the first bar always, instead of moving along")
    purge_days: float = Field(1.0, ge=0, description="Left out at the end of training: what still runs when it ends")
    embargo_days: float = Field(0.0, ge=0, description="Left out besides, before trading begins")


class Fold(NamedTuple):
    """Bars [train_first, train_last) to choose on and [first, last) to trade."""

    train_first: int
    train_last: int
    first: int
    last: int


class Traded(NamedTuple):
    """One fold, chosen and traded."""

    fold: Fold
    member: Member | None  # None: no set had a figure, so the fold stayed in cash
    in_sample: float  # Sharpe ratio on the training bars
    fees: float
    n_fills: int
    carried_on: bool


class WalkForwardResult(NamedTuple):
    """A finished walk-forward."""

    config: dict[str, Any]
    bars: BarTable
    axes: dict[str, list[Any]]
    traded: list[Traded]
    equity: F8  # (T,) ccy, NaN outside the traded bars
    paid: dict[str, float]  # fees, slippage, funding, ccy
    cash: float
    n_trials: int
    trials: int
    deflated: dict[str, Any]
    reused: int
    elapsed_s: float

    def to_json(self, max_points: int | None = None) -> dict[str, Any]:
        """Return the result as plain JSON types, as the module's first lines say; NaN becomes null."""
        from engine.research.walkforward_report import as_json

        return as_json(self, max_points)


def plan_folds(n_bars: int, interval_s: int, config: WalkForwardConfig) -> list[Fold]:
    """Return the folds in the order of time; the last may be shorter.

    Raises
    ------
    ConfigError
        The bars do not hold one fold.
    """
    per_day = 86_400 / interval_s
    train, test = (round(days * per_day) for days in (config.train_days, config.test_days))
    gap = round((config.purge_days + config.embargo_days) * per_day)
    if train < MIN_BARS or test < MIN_BARS:
        raise ConfigError(
            f"{config.train_days:g} days of training and {config.test_days:g} of trading are {train} and {test} bars; "
            f"each needs at least {MIN_BARS}"
        )
    starts = range(train + gap, n_bars - MIN_BARS + 1, test)
    folds = [
        Fold(0 if config.anchored else start - gap - train, start - gap, start, min(start + test, n_bars))
        for start in starts
    ]
    if not folds:
        raise ConfigError(
            f"the data holds {n_bars / per_day:,.0f} days; one fold takes {config.train_days:g} of training, "
            f"{gap / per_day:g} between and some of trading. Shorten them or load more"
        )
    return folds


def rows_of(bars: BarTable, first: int, last: int) -> BarTable:
    """Return the bars [first, last); the fingerprint stays."""
    return bars._replace(**{name: getattr(bars, name)[first:last] for name in ("ts_open", *GRID_COLUMNS)})


class Trader:
    """The account that goes from fold to fold.

    Parameters
    ----------
    bars : BarTable
    funding : (T, N) float64 or None
    strategy : str
        Built in, or the path of a file.
    cash : float, quote currency
    """

    def __init__(self, bars: BarTable, funding: F8 | None, strategy: str, cash: float) -> None:
        self._bars, self._funding, self._strategy = bars, funding, strategy
        self.equity = np.full(len(bars.ts_open), math.nan)
        self.cash = cash
        self.paid = {"fees": 0.0, "slippage": 0.0, "funding": 0.0}
        self._scan: Scan | None = None
        self._runner: UserRunner | None = None
        self._portfolio: PortfolioRunner | None = None
        self._resolved: Resolved | None = None
        self._book: np.ndarray | None = None
        self._first = 0
        self._chosen: dict[str, Any] | None = None

    def trade(self, member: Member | None, first: int, last: int) -> tuple[float, int, bool]:
        """Trade bars [first, last) with a parameter set, or stay in cash; return fees, fills, whether it went on."""
        goes_on = member is not None and self._scan is not None and member.chosen == self._chosen
        if not goes_on:
            self.close(first)
            self._begin(member, first)
        if self._scan is None:
            self.equity[first:last] = self.cash
            return 0.0, 0, False
        money = self._scan.account.money[0]
        fees, fills = float(money["fees"]), int(money["n_fills"])
        if self._portfolio is not None:
            advance_portfolio(self._scan, self._portfolio, last - self._first)
        elif self._runner is not None:
            shown = rows_of(self._bars, self._first, last)
            advance_user(self._scan, self._runner, shown, last - self._first, self.cash, lambda share: None)
        else:
            self._scan.advance(last - self._first)
        self.equity[first:last] = self._scan.track.equity[first - self._first : last - self._first]
        return float(money["fees"]) - fees, int(money["n_fills"]) - fills, goes_on

    def _begin(self, member: Member | None, first: int) -> None:
        self._first, self._chosen = first, None if member is None else member.chosen
        self._runner = self._portfolio = None
        if member is None or not self.cash > 0.0:
            return
        rest, resolved = rows_of(self._bars, first, len(self._bars.ts_open)), member.resolved
        funding = None if self._funding is None else np.ascontiguousarray(self._funding[first:])
        self._scan, self._resolved = scan_of(rest, funding, resolved, self.cash), resolved
        if self._strategy == portfolio.NAME:
            self._portfolio = PortfolioRunner(resolved.params, resolved.user_params, self._bars.symbols)
            seen = None if self._funding is None else self._funding[:first]
            self._portfolio.advance(self._bars.ts_close[:first], self._bars.close_px[:first], seen)
        elif resolved.params.sleeve == Sleeve.EXTERNAL:
            self._runner = self._warm_runner(resolved, first)
        else:
            self._scan.state = warm_up(self._scan.state, self._bars.close_px[:first], resolved.params)
        if self._book is not None:
            self._scan.state.book[:] = self._book

    def _warm_runner(self, resolved: Resolved, first: int) -> UserRunner:
        runner = UserRunner(Path(self._strategy), resolved.user_params, self._bars.symbols)
        columns, ts_close = columns_of(self._bars), self._bars.ts_close
        for t in range(max(0, first - runner.history), first):
            runner.warm_up(int(ts_close[t]), [column[t] for column in columns])
        return runner

    def close(self, at: int) -> None:
        """Close what is held at the close of bar ``at - 1``, with costs, and keep the account's memory."""
        scan = self._scan
        if scan is None or self._resolved is None:
            return
        costs, account = self._resolved.costs, scan.account
        for i, qty in enumerate(account.position_qty.tolist()):
            if qty == 0.0:
                continue
            px = float(account.mark_px[i])
            volume = float(np.nan_to_num(self._bars.volume[at - 1, i]))
            part = abs(qty) / volume if volume > 0.0 else 1.0
            rate = crossing_rate(costs, costs.maker_share, math.sqrt(float(scan.range_variance[i])), part)
            fill_px = slipped_px(px, -qty, rate)
            fee = abs(qty) * fill_px * blended_fee_rate(costs, costs.maker_share)
            account.money["cash"] += qty * (fill_px - account.entry_px[i]) - fee
            self.paid["fees"] += fee
            self.paid["slippage"] += abs(qty) * abs(fill_px - px)
            self.equity[at - 1] += qty * (fill_px - px) - fee
        for name in self.paid:
            self.paid[name] += float(account.money[name][0])
        self.cash = float(account.money["cash"][0])
        self._book, self._scan, self._runner = scan.state.book.copy(), None, None

    def finish(self) -> None:
        """Add up what was paid; what is held at the end stays marked, as in a backtest."""
        if self._scan is not None:
            for name in self.paid:
                self.paid[name] += float(self._scan.account.money[name][0])
            self._scan = None


def _trials_of(
    config: WalkForwardConfig, bars: BarTable, whole: BarTable, keys: list[str], returns: F8, rows: Any, per_year: float
) -> tuple[list[Trial], int]:
    """Count every parameter set once and the stitched curve as one more; return all trials on this data."""
    text = json.dumps(config.model_dump(mode="json", exclude={"home", "folder", "backend", "address"}))
    key = hashlib.sha256(f"{text}{bars.ts_open[0]}{bars.ts_open[-1]}".encode()).hexdigest()[:24]
    own = Trial(key, sharpe_ratio(returns, 1.0), returns, bars.ts_close[rows], per_year)
    tried = [Trial(f"wf-{name}", math.nan, np.empty(0), per_year=per_year) for name in keys]
    if not config.keep_ledger:
        return [own, *tried], len(tried) + 1
    ledger = Ledger(config.home or Environment().astrolabe_home)
    ledger.know(whole)
    ledger.record_many(whole.fingerprint, [own, *tried])
    found = ledger.trials(whole.fingerprint)
    return found, len(found)


def _deflated(returns: F8, trials: list[Trial], n: int, per_year: float) -> dict[str, Any]:
    known = [trial for trial in trials if len(trial.returns)]
    sharpes = np.array([trial.sharpe * math.sqrt(trial.per_year / per_year) for trial in known])
    hurdle = expected_best_sharpe(sharpes, n)
    value = probabilistic_sharpe(returns, hurdle)
    return {"value": value, "trials": n, "expected_max_sharpe": hurdle * math.sqrt(per_year)}


def run_walk_forward(
    config: WalkForwardConfig, progress: Progress | None = None, cancelled: Cancelled | None = None
) -> WalkForwardResult:
    """Choose on training bars, trade the bars after them, and go on to the end of the data.

    Parameters
    ----------
    config : WalkForwardConfig
    progress : callable, optional
        Called with the finished share, 0 to 1.
    cancelled : callable, optional
        Asked after every chunk of a fold's sweep; True stops the run with ``CommandRefused``.

    Returns
    -------
    WalkForwardResult
        Everything in ``equity`` was decided with parameters chosen on earlier bars only.

    Raises
    ------
    ConfigError
        A grid or a cut of time that cannot be meant.
    DataError
        Bars that cannot be used.
    CommandRefused
        Cancelled, or the machines that were to do the work are not there.
    """
    report, stop = progress or (lambda share: None), cancelled or (lambda: False)
    started = time.perf_counter()
    checked_settings(config)
    whole, bars, funding = loaded(config)
    folds = plan_folds(len(bars.ts_open), bars.interval_s, config)
    plain = BacktestConfig.model_construct(
        strategy=config.strategy, params=config.params, cash=config.cash, funding=config.funding
    )
    members = make_grid(plain, config.grid, bars, config.n_random, config.seed)
    trader = Trader(bars, funding, config.strategy, config.cash)
    traded, reused = [], 0
    for number, fold in enumerate(folds):
        part = slice(fold.train_first, fold.train_last)
        rates = None if funding is None else np.ascontiguousarray(funding[part])
        stage = Stage(rows_of(bars, fold.train_first, fold.train_last), rates, plain, None)

        def told(share: float, number: int = number) -> None:
            report((number + share) / len(folds))

        table = run_members(stage, members, config.compute, config.folder, told, stop)
        reused += table.reused
        best = best_of(table, config.choose_by)
        member = None if best is None else members.members[best]
        figure = math.nan if best is None else float(table.column("sharpe")[best])
        traded.append(Traded(fold, member, figure, *trader.trade(member, fold.first, fold.last)))
    trader.finish()
    first, last = folds[0].first, folds[-1].last
    periods = periods_of(bars, trader.equity, Stretch(first, last, config.cash))
    alive = bool((trader.equity[first:last] > 0).all())
    rows = first + period_rows(rows_of(bars, first, last), periods)
    returns = periods.returns if alive else np.empty(0)
    trials, n = _trials_of(
        config, bars, whole, [member.key for member in members.members], returns, rows if alive else rows[:0],
        periods.per_year,
    )  # fmt: skip
    report(1.0)
    return WalkForwardResult(
        described(config, bars), bars, members.axes, traded, trader.equity, trader.paid, config.cash,
        len(members.members), n, _deflated(returns, trials, n, periods.per_year), reused, time.perf_counter() - started,
    )  # fmt: skip
