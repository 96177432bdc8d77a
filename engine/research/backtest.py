"""One backtest: load, simulate with the decision core, judge. ``run_backtest`` is what everything else calls."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.core.matching import FillKind
from engine.core.simulate import Scan, SimResult, stretches
from engine.domain import F8, N_RULES, NS_PER_S, RULE_SENTENCE, Rule, Sleeve
from engine.errors import CommandRefused, DataError, InvariantBroken
from engine.research import verdicts
from engine.research.audit import audited, checksum
from engine.research.canaries import Subject, run_canaries
from engine.research.certificate import block, version_of_run
from engine.research.conduct import conduct
from engine.research.config import BacktestConfig, Resolved, resolve
from engine.research.figures import OUT_OF_SAMPLE_SHARE, Stretch, figures, periods_of
from engine.research.honesty import Run, count_trials, panel_of
from engine.research.loading import BarTable, cut, known_funding, load_bars, load_funding, select
from engine.research.origin import origin_of
from engine.research.portfolio_scan import scan_portfolio
from engine.research.sensitivity import sensitivity
from engine.research.simulation import harsher, has_volume, in_market, scan_of
from engine.research.trades import RoundTrip, round_trips
from engine.research.user_scan import repaints, scan_user
from engine.settings import Environment
from engine.strategies.user import load_strategy

__all__ = ["BacktestConfig", "BacktestResult", "run_backtest"]

EXPOSURE_POINTS = 2_000
SIMULATED_SHARE, CHECKED_SHARE = 0.6, 0.75
"""Progress after the simulation and after the canaries; the panel is the rest."""

Progress = Callable[[float], None]
Cancelled = Callable[[], bool]


class BacktestResult(NamedTuple):
    """A finished backtest with everything that its report says."""

    config: dict[str, Any]
    metrics: dict[str, Any]
    in_sample: dict[str, Any]
    out_of_sample: dict[str, Any]
    canaries: dict[str, str]
    rules: dict[str, dict[str, Any]]  # how often the gate clipped or refused
    honesty: dict[str, Any]  # see engine.research.honesty
    sensitivity: list[dict[str, Any]]  # the same run with one assumption changed at a time; empty without full panel
    trials: int
    elapsed_s: float
    bars: BarTable
    simulation: SimResult
    trips: list[RoundTrip]
    provenance: dict[str, dict[str, Any]]  # by symbol: file, hash, span and known problems of its bars
    certificate: dict[str, Any]  # of the version that ran, see engine.research.certificate

    def to_json(self, max_points: int | None = None) -> dict[str, Any]:
        """Return the result as plain JSON types; NaN becomes null.

        Parameters
        ----------
        max_points : int, optional
            Thin the equity curve to about so many points, always keeping the last. Default: every bar.
        """
        ts_ms = self.bars.ts_close // 1_000_000
        every = 1 if max_points is None else max(1, math.ceil(len(ts_ms) / max_points))
        rows = np.arange(0, len(ts_ms), every)
        if rows[-1] != len(ts_ms) - 1:
            rows = np.append(rows, len(ts_ms) - 1)
        equity = [[int(ts), _plain(value)] for ts, value in zip(ts_ms[rows], self.simulation.track.equity[rows])]  # noqa: B905
        return {
            "config": self.config,
            "metrics": {name: _plain(value) for name, value in self.metrics.items()},
            "equity": equity,
            "exposure": self._exposure_rows(),
            "trades": [{name: _plain(value) for name, value in trip._asdict().items()} for trip in self.trips],
            "fills": self._fill_rows(),
            "canaries": self.canaries,
            "in_sample": {name: _plain(value) for name, value in self.in_sample.items()},
            "out_of_sample": {name: _plain(value) for name, value in self.out_of_sample.items()},
            "rules": self.rules,
            "honesty": _plain(self.honesty),
            "certificate": self.certificate,
            "sensitivity": _plain(self.sensitivity),
            "provenance": self.provenance,
            "trials": self.trials,
            "elapsed_s": self.elapsed_s,
        }

    def _exposure_rows(self) -> list[list[Any]]:
        """Gross and net exposure as multiples of equity, few enough for a chart: ``[[ts_ms, gross, net], …]``."""
        ts_ms, weight = self.bars.ts_close // 1_000_000, self.simulation.track.weight
        rows = slice(None, None, max(1, math.ceil(len(ts_ms) / EXPOSURE_POINTS)))
        gross, net = np.abs(weight[rows]).sum(axis=1), weight[rows].sum(axis=1)
        return [
            [ts, _plain(one), _plain(other)]
            for ts, one, other in zip(ts_ms[rows].tolist(), gross.tolist(), net.tolist(), strict=True)
        ]

    def _fill_rows(self) -> list[dict[str, Any]]:
        fills = self.simulation.fills
        ts_ms = (self.bars.ts_open[fills.bar] // 1_000_000).tolist()
        names = [self.bars.symbols[i] for i in fills.symbol]
        kinds = [FillKind(kind).name.lower() for kind in fills.kind]
        columns = (fills.qty.tolist(), fills.px.tolist(), fills.fee.tolist(), fills.slippage.tolist(), kinds)
        return [
            {
                "ts_ms": ts,
                "symbol": name,
                "qty": qty,
                "px": px,
                "fee": fee,
                "slippage": slippage,
                "kind": kind,
                "pnl_realized": pnl,
            }
            for ts, name, qty, px, fee, slippage, kind, pnl in zip(
                ts_ms, names, *columns, fills.pnl_realized.tolist(), strict=True
            )
        ]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def _ns(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp()) * NS_PER_S


def loaded(config: BacktestConfig) -> tuple[BarTable, BarTable, F8 | None]:
    """Return all bars that a configuration names, those of its span, and the funding due on these if there is any."""
    whole = _load(config)
    bars = cut(whole, _ns(config.start), _ns(config.end))
    return whole, bars, load_funding(config.funding, bars) if config.funding is not None else None


def _load(config: BacktestConfig) -> BarTable:
    if config.data is not None:
        return load_bars(config.data, config.symbols)
    if config.bars is None:
        raise InvariantBroken("a backtest configuration has neither data nor bars")
    return select(config.bars, config.symbols)


def _stop_if(cancelled: Cancelled | None) -> None:
    if cancelled is not None and cancelled():
        raise CommandRefused("the backtest was cancelled")


def _report(progress: Progress, share: float, cancelled: Cancelled | None) -> None:
    progress(share)
    _stop_if(cancelled)


def _scan_built_in(scan: Scan, progress: Progress, cancelled: Cancelled | None) -> None:
    n_bars = len(scan.bars.ts_close)
    for stop in stretches(n_bars):
        scan.advance(stop)
        _report(progress, stop / n_bars, cancelled)


def _simulate(
    bars: BarTable, funding: F8 | None, config: BacktestConfig, resolved: Resolved, progress: Progress,
    cancelled: Cancelled | None,
) -> tuple[SimResult, F8, float]:  # fmt: skip
    scan = scan_of(bars, funding, resolved, config.cash)
    scan.advance(0)  # compiles, or loads the kernel from disk, outside the measured time
    started = time.perf_counter()
    if config.is_file:
        scan_user(
            scan,
            bars,
            config.strategy,
            resolved.user_params,
            config.cash,
            lambda share: _report(progress, share, cancelled),
        )
    elif resolved.params.sleeve == Sleeve.EXTERNAL:
        scan_portfolio(scan, resolved.params, resolved.user_params, bars.symbols)
        _report(progress, 1.0, cancelled)
    else:
        _scan_built_in(scan, progress, cancelled)
    return scan.result(), scan.external_weight, time.perf_counter() - started


def trial_key(config: BacktestConfig, resolved: Resolved, bars: BarTable) -> str:
    """Return what makes two runs on a data set the same trial: strategy, every parameter, symbols, span and cash."""
    source = Path(config.strategy).read_bytes() if config.is_file else config.strategy.encode()
    listed = json.dumps(resolved.listed, sort_keys=True, default=str)
    span = f"{bars.symbols}{bars.ts_open[0]}{bars.ts_open[-1]}{config.cash}{config.funding is not None}"
    return hashlib.sha256(source + listed.encode() + span.encode()).hexdigest()[:24]


def _harsher(
    config: BacktestConfig, resolved: Resolved, bars: BarTable, funding: F8 | None, cancelled: Cancelled | None
) -> Callable[[float, int], SimResult]:
    """Return a function that runs the rule again with costs times a factor and fills some bars later.

    A user's file is loaded anew and asked at every bar: it sees the account that the other conditions give it.
    """

    def rerun(factor: float, delay: int) -> SimResult:
        other = in_market(resolved, harsher(resolved.market, factor, delay), bars.interval_s)
        return _simulate(bars, funding, config, other, lambda share: None, cancelled)[0]

    return rerun


def _funding_paid(result: SimResult, funding: F8 | None, stretch: Stretch) -> float:
    """Funding paid inside a stretch, from the recorded weights, so that parts add up to the whole."""
    if funding is None:
        return 0.0
    part = slice(stretch.first, stretch.last)
    notional = result.track.weight[part] * result.track.equity[part, None]
    return float(np.sum(notional * np.nan_to_num(funding[part])))


def _funding_on(table: BarTable, bars: BarTable, funding: F8) -> F8:
    """Return the funding rates of some of a run's bars; rows are found by their time."""
    return funding[np.searchsorted(bars.ts_open, table.ts_open)].copy()


def run_backtest(
    config: BacktestConfig, progress: Progress | None = None, cancelled: Cancelled | None = None
) -> BacktestResult:
    """Run one backtest and judge it.

    Parameters
    ----------
    config : BacktestConfig
    progress : callable, optional
        Called with the finished share, 0 to 1.
    cancelled : callable, optional
        Asked now and then; True stops the run with ``CommandRefused``.

    Returns
    -------
    BacktestResult
        Includes the last 30 % apart as ``out_of_sample``, canaries, and the number of trials on this data set.

    Raises
    ------
    ConfigError
        Unknown or impossible parameters.
    DataError
        Bars that cannot be used.
    """
    report = progress or (lambda share: None)
    whole, bars, funding = loaded(config)
    resolved = resolve(config, bars.interval_s, bars.symbols, has_volume(bars))
    path = Path(config.strategy) if config.is_file else None
    history = 0 if path is None else load_strategy(path, resolved.user_params).history
    version = version_of_run(config.strategy, resolved.listed, resolved.user_params)
    sums = checksum(bars)
    result, wish, elapsed_s = _simulate(
        bars, funding, config, resolved, lambda share: report(SIMULATED_SHARE * share), cancelled
    )
    run = _measured(config, resolved, bars, funding, result)

    unchanged = sums == checksum(bars) and audited(bars, result.fills, result.track.equity, funding, config.cash)

    def rerun(table: BarTable) -> tuple[SimResult, F8]:
        _stop_if(cancelled)
        rates = None if funding is None else _funding_on(table, bars, funding)
        return _simulate(table, rates, config, resolved, lambda share: None, cancelled)[:2]

    subject = Subject(bars, (result, wish), rerun, config.is_file, unchanged, history)
    canaries = run_canaries(subject, config.panel)
    if path is not None:
        changed = repaints(path, resolved.user_params, bars, wish, subject.longest)
        canaries |= {} if changed is None else {"repaint": "fail" if changed else "pass"}
        run = run._replace(conduct=conduct(path))
    run = run._replace(canaries=canaries)
    report(CHECKED_SHARE)
    _stop_if(cancelled)
    trials = count_trials(run, whole, trial_key(config, resolved, bars))
    honesty = panel_of(
        run, trials, _harsher(config, resolved, bars, funding, cancelled), config.panel,
        lambda share: report(CHECKED_SHARE + (1.0 - CHECKED_SHARE) * share),
    )  # fmt: skip
    run.metrics.update({"deflated_sharpe": honesty["deflated_sharpe"]["value"], "pbo": honesty["pbo"]["value"]})
    stop, hangs_on = partial(_stop_if, cancelled), []
    if config.panel == "full":
        hangs_on = sensitivity(bars, funding, resolved, config.cash, wish, stop, run.funding_known)
    home = config.home or Environment().astrolabe_home
    if version_of_run(config.strategy, resolved.listed, resolved.user_params) != version:
        raise DataError(f"{config.strategy} was changed while its backtest ran: run it again")
    if config.panel == "full" and config.keep_ledger:
        verdicts.keep(home, version, _shown(run))
    return BacktestResult(
        _described(run), run.metrics, run.in_sample, run.out_of_sample, run.canaries, _rules(result), honesty, hangs_on,
        trials.n, elapsed_s, bars, result, run.trips, origin_of(config.data, config.funding, whole),
        block(home, version),
    )  # fmt: skip


def _measured(config: BacktestConfig, resolved: Resolved, bars: BarTable, funding: F8 | None, result: SimResult) -> Run:
    """Return the run with its figures: whole, in sample and out of sample."""
    trips = round_trips(result.fills, bars.ts_open, bars.symbols)
    n_bars = len(bars.ts_open)
    split = round(n_bars * (1 - OUT_OF_SAMPLE_SHARE))
    whole = Stretch(0, n_bars, config.cash)
    early = Stretch(0, split, config.cash)
    late = Stretch(split, n_bars, float(result.track.equity[split - 1]))
    metrics = figures(bars, result, trips, whole, {"funding": float(result.account.money["funding"][0])})
    money = result.account.money[0]
    metrics |= {name: int(money[name]) for name in ("ambiguous_bars", "liquidations")}
    metrics["stops"] = int(np.sum(result.fills.kind == FillKind.STOP))
    in_sample = figures(bars, result, trips, early, {"funding": _funding_paid(result, funding, early)})
    late_funding = {"funding": _funding_paid(result, funding, late)}
    out_of_sample = figures(bars, result, trips, late, late_funding) if late.opening_equity > 0 else {}
    out_of_sample["first_ts_ms"] = int(bars.ts_open[split]) // 1_000_000
    alive = bool((result.track.equity > 0).all())
    periods = periods_of(bars, result.track.equity, whole) if alive else None
    known = None if config.funding is None else known_funding(config.funding, bars)
    return Run(
        config, resolved, bars, funding, result, trips, periods, metrics, in_sample, out_of_sample, {}, (), known
    )  # fmt: skip


def _described(run: Run) -> dict[str, Any]:
    bars, periods = run.bars, run.periods
    return run.config.model_dump(mode="json", exclude={"params", "home"}) | {
        "params": json.loads(json.dumps(run.resolved.listed)),
        "symbols": list(bars.symbols),
        "interval_s": bars.interval_s,
        "bars": len(bars.ts_open),
        "first_ts_ms": int(bars.ts_open[0]) // 1_000_000,
        "last_ts_ms": int(bars.ts_close[-1]) // 1_000_000,
        "returns": periods.name if periods is not None else None,
        "dataset": bars.fingerprint,
    }


def _shown(run: Run) -> dict[str, Any]:
    """Return what the capital ladder wants to know of a run."""
    told = _described(run)
    kept = {name: told[name] for name in ("bars", "symbols", "first_ts_ms", "last_ts_ms", "dataset", "strategy")}
    return kept | {"canaries": run.canaries, "conduct": list(run.conduct)}


def _rules(result: SimResult) -> dict[str, dict[str, Any]]:
    counts = result.track.rule_counts
    return {
        Rule(rule).name.lower(): {
            "clip": int(counts[rule, 1]), "refuse": int(counts[rule, 2]), "sentence": RULE_SENTENCE[Rule(rule)],
        }
        for rule in range(N_RULES)
    }  # fmt: skip
