"""Do backtest, paper and live decide alike? Decision logs compared to the bit.

Each trading path leaves its bars and its decision records. Two questions are asked of each.

*Same tape*: the backtest scans the bars that the path saw, with an account of its own. Raw, sized and approved weights
must be the same to the bit, and so must the verdict of every rule that does not look at the present position. Fills
differ between a backtest and a matching engine, so quantities and the two rules about them are left to the next one.

*Same record*: each decision is worked out again from what its record says that it saw, with the code of the backtest.
Everything must be the same to the bit: weights, quantities, verdicts, measured values and limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.core import step as core
from engine.core.costs import Costs
from engine.core.simulate import Scan, SimBars
from engine.domain import F8, AccountView, InstrumentTable, MarketSlice, Rule
from engine.research.loading import BarTable
from engine.research.simulation import usual_trade
from engine.research.user_scan import columns_of, present_weight
from engine.settings import SystemConfig
from engine.strategies import portfolio
from engine.strategies.portfolio_runner import PortfolioRunner
from engine.strategies.user import UserRunner

WEIGHTS = ("raw_weight", "sized_weight", "approved_weight")
EVERYTHING = (*WEIGHTS, "target_qty", "act", "verdict", "measured", "limit")
OF_POSITION = (Rule.VENUE_FILTER, Rule.REBALANCE_BAND, Rule.PARTICIPATION, Rule.ORDER_RATE)
TAPE_RULES = [int(rule) for rule in Rule if rule not in OF_POSITION]
OF_ACCOUNT = (Rule.DAILY_LOSS, Rule.DRAWDOWN, Rule.KELLY, Rule.CUSHION)
"""Rules whose limits follow the account's own equity, and with it what each path's fills have cost."""

KEPT_DIFFERENCES = 20

Record = Mapping[str, Any]  # a decision's detail as it lies in the record


class Played(NamedTuple):
    """What one trading path has left."""

    name: str  # paper or live
    bars: BarTable  # as its exchange published them, from the first that its sleeve saw
    records: list[Record]  # one a decision, oldest first


class Judged(NamedTuple):
    """One path compared with the backtest."""

    decisions: int
    differences: list[str]  # sentences, the first of them
    n_differences: int  # decisions with at least one
    own_account: int  # decisions that follow the path's own account, so that tapes cannot compare all of them
    traded: int  # decisions that moved something

    def listed(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return self._asdict()


class Backtester:
    """The backtest's side of the comparison, for one configuration.

    Parameters
    ----------
    config : SystemConfig
    instruments : InstrumentTable
        The venue's filters.
    path : Path or None
        A user's strategy file; None for a built-in one.
    """

    def __init__(self, config: SystemConfig, instruments: InstrumentTable, path: Path | None) -> None:
        self._config, self._instruments, self._path = config, instruments, path
        self._params = config.params()

    def judge(self, played: Played) -> Judged:
        """Ask both questions of one path."""
        first = int(np.searchsorted(played.bars.ts_close, played.records[0]["inputs"]["ts_close"]))
        _, tape = self._scan(played.bars, first, len(played.records))
        again = self._again(played, first)
        found: list[str] = []
        n_differences = own_account = 0
        for index, record in enumerate(played.records):
            wrong = [name for name in EVERYTHING if not same(again[index][name], record[name])]
            sentences = [f"{played.name}, decision {index}: {name} does not follow from its record" for name in wrong]
            apart = [name for name in WEIGHTS if not same(tape[index][name], record[name])]
            apart += [] if tape[index]["objections"] == _counted(record["verdict"]) else ["a verdict"]
            if apart and self._path is not None and "raw_weight" in apart and not wrong:
                own_account += 1  # the same bars and the same code: only its account can have told it something else
                apart = []
            limited = apart and (_by_account(record["verdict"]) or tape[index]["by_account"])
            if limited and not wrong and set(apart) <= {"approved_weight", "a verdict"}:
                own_account += 1
                apart = []
            sentences += [f"{played.name}, decision {index}: {name} differs from the backtest's" for name in apart]
            n_differences += bool(sentences)
            found += sentences
        traded = sum(any(record["act"]) for record in played.records)
        return Judged(len(played.records), found[:KEPT_DIFFERENCES], n_differences, own_account, traded)

    def _runner(self, bars: BarTable, first: int) -> UserRunner | PortfolioRunner | None:
        if self._config.strategy == portfolio.NAME:
            sleeves = PortfolioRunner(self._params, self._config.strategy_params, bars.symbols)
            if first:
                sleeves.advance(bars.ts_close[:first], bars.close_px[:first])
            return sleeves
        if self._path is None:
            return None
        runner = UserRunner(self._path, self._config.strategy_params, bars.symbols)
        for t in range(first):
            runner.warm_up(int(bars.ts_close[t]), [column[t] for column in columns_of(bars)])
        return runner

    def fills(self, bars: BarTable, first: int) -> np.ndarray:
        """Return the bars at whose open a backtest fills something, when it decides from bar ``first`` on."""
        scan, _ = self._scan(bars, first, len(bars.ts_open) - first)
        found: np.ndarray = scan.result().fills.bar + first
        return found

    def _scan(self, bars: BarTable, first: int, n_decisions: int) -> tuple[Scan, list[dict[str, Any]]]:
        """Backtest from the path's first decision on, with the same history seen before it."""
        part = bars._replace(**{name: getattr(bars, name)[first:] for name in ("ts_open", *_GRID)})
        usual = usual_trade(bars, self._params)[first:]
        none = np.empty((0, len(bars.symbols)))
        sim = SimBars(part.ts_close, part.open_px, part.close_px, none, none, none, part.volume, usual)
        scan = Scan(sim, self._instruments, Costs(0.0004, 0.0), self._params, self._config.initial_balance)
        scan.state = core.warm_up(scan.state, bars.close_px[:first], self._params)
        runner = self._runner(bars, first)
        drafts, equity = [], self._config.initial_balance
        for t in range(n_decisions):
            if isinstance(runner, PortfolioRunner):
                scan.external_weight[t] = runner.decide(int(part.ts_close[t]), part.close_px[t])
            elif runner is not None:
                weight = present_weight(scan, part, t, equity)
                rows = [column[t] for column in columns_of(part)]
                scan.external_weight[t] = runner.decide(int(part.ts_close[t]), rows, weight, equity)
            before = scan.draft.objections.copy()
            scan.advance(t + 1)
            equity = float(scan.track.equity[t])
            objected = scan.draft.objections - before
            objections = objected[TAPE_RULES, 1:].tolist()
            weights = {name: getattr(scan.draft, name).tolist() for name in WEIGHTS}
            by_account = bool(objected[list(OF_ACCOUNT), 1:].any())
            drafts.append(weights | {"objections": objections, "by_account": by_account})
        return scan, drafts

    def _again(self, played: Played, first: int) -> list[dict[str, Any]]:
        """Work each decision out again from its own record."""
        bars = played.bars
        state = core.new_state(len(bars.symbols), self._params)
        state = core.warm_up(state, bars.close_px[:first], self._params)
        runner = self._runner(bars, first)
        decided = []
        for record in played.records:
            market, view = seen_by(record)
            wish = np.full(len(bars.symbols), np.nan)
            if isinstance(runner, PortfolioRunner):
                wish = runner.decide(market.ts_close, market.close_px)
            elif runner is not None:
                rows = (market.open_px, market.high_px, market.low_px, market.close_px, market.volume)
                own = record["own"]
                wish = runner.decide(market.ts_close, rows, numbers(own["weight"]), float(own["equity_before"]))
            state, decision = core.step(state, market, view, self._instruments, wish, self._params)
            decided.append({name: getattr(decision, name).tolist() for name in EVERYTHING})
        return decided


_GRID = ("open_px", "high_px", "low_px", "close_px", "volume")


def numbers(values: Sequence[Any]) -> F8:
    """Return a record's list as floats; null is NaN."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def seen_by(record: Record) -> tuple[MarketSlice, AccountView]:
    """Return the market and the account that a decision saw, from its record."""
    inputs = record["inputs"]
    market = MarketSlice(
        ts_close=int(inputs["ts_close"]), open_px=numbers(inputs["open_px"]), high_px=numbers(inputs["high_px"]),
        low_px=numbers(inputs["low_px"]), close_px=numbers(record["close_px"]), volume=numbers(inputs["volume"]),
        age_s=numbers(inputs["age_s"]), hour_notional=numbers(inputs.get("hour_notional", ())),
    )  # fmt: skip
    cash = inputs["cash"]
    view = AccountView(
        np.nan if cash is None else float(cash), numbers(record["position_qty"]), numbers(record["in_flight_qty"]),
        numbers(inputs["entry_px"]), numbers(inputs["mark_px"]), int(inputs["trading_state"]),
    )  # fmt: skip
    return market, view


def same(one: Any, other: Any) -> bool:
    """Return whether two nested lists hold the same numbers to the bit; not a number, infinite and null are one."""
    ours, theirs = _as_numbers(one), _as_numbers(other)
    return ours.shape == theirs.shape and bool(np.array_equal(ours, theirs, equal_nan=True))


def _as_numbers(values: Any) -> F8:
    found = np.array(values, dtype=object)
    flat = np.array([np.nan if value is None else float(value) for value in found.ravel()])
    flat[np.isinf(flat)] = np.nan  # JSON knows no infinity: the record has null there
    shaped: F8 = flat.reshape(found.shape)
    return shaped


def _counted(verdicts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return how many symbols each rule clipped and refused, without the rules that look at the present position."""
    table = np.array(verdicts)
    counts: list[list[int]] = [[int((table[:, rule] == verdict).sum()) for verdict in (1, 2)] for rule in TAPE_RULES]
    return counts


def _by_account(verdicts: Sequence[Sequence[int]]) -> bool:
    """Return whether a rule that follows the account's own equity limited a decision."""
    return any(row[rule] for row in verdicts for rule in OF_ACCOUNT if rule < len(row))


def between(one: Played, other: Played) -> tuple[int, list[str]]:
    """Compare two paths with each other; return how many decisions could be compared, and differences.

    Closes must be the same. Decisions of a strategy that was told something else of its account, or of volumes and
    extremes that its own orders had a part in, are left out: each path has been compared with its own record.
    """
    compared, found = 0, []
    for index, (left, right) in enumerate(zip(one.records, other.records, strict=False)):
        if left["close_px"] != right["close_px"] or left["inputs"]["ts_close"] != right["inputs"]["ts_close"]:
            found.append(f"decision {index}: {one.name} and {other.name} saw different bars")
            continue
        if "own" in left and _told(left) != _told(right):
            continue
        compared += 1
        limited = _by_account(left["verdict"]) or _by_account(right["verdict"])
        for name in WEIGHTS[:2] if limited else WEIGHTS:
            if not same(left[name], right[name]):
                found.append(f"decision {index}: {name} differs between {one.name} and {other.name}")
        if not limited and _counted(left["verdict"]) != _counted(right["verdict"]):
            found.append(f"decision {index}: a verdict differs between {one.name} and {other.name}")
    if len(one.records) != len(other.records):
        found.append(f"{one.name} made {len(one.records)} decisions, {other.name} {len(other.records)}")
    return compared, found


def _told(record: Record) -> list[Any]:
    inputs, own = record["inputs"], record["own"]
    return [*(inputs[name] for name in ("high_px", "low_px", "volume")), own["weight"], own["equity_before"]]
