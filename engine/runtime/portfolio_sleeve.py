"""The portfolio strategy on paper and live: the backtest's kernel, with funding as the venue announces it.

A backtest is told each settlement at the close at or after it. Live, the same is put together from what the venue
announces: a rate counts as settled at the first close at or after its moment, as it was announced at the close before.
Settlements of earlier hours come from the record, so a restart does not forget them, and neither does it forget what
each sleeve has earned: that is put back at the bar after which it was recorded.

Where an optimiser shares the risk out, its plans are made in a process beside the engine
(``engine.runtime.plan_process``). One that is late or fails changes nothing until the next: the last shares go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from engine.domain import F8, I8, MarkPrice, Params
from engine.runtime.plan_process import PlanMaker
from engine.strategies.portfolio import ADAPTIVE
from engine.strategies.portfolio_runner import PortfolioRunner, Told
from engine.strategies.sharing import COST
from engine.strategies.sleeves.memory import is_learned, learned_of, take_up
from engine.strategies.sleeves.mixing import share_anew
from engine.strategies.sleeves.state import LEARNED, NAMES

_NEVER = 2**62


class PortfolioSleeve:
    """Wishes of the portfolio strategy, bar by bar.

    Parameters
    ----------
    params : Params
        In force, scaled by ``share``.
    own : dict
        The strategy's own parameters.
    symbols : tuple of str
    share : float
        What the capital ladder allows. The strategy thinks in whole limits and its wishes are scaled, so that its
        evidence does not depend on the rung.
    """

    def __init__(self, params: Params, own: dict[str, Any], symbols: tuple[str, ...], share: float = 1.0) -> None:
        self._share = share
        whole = share if share > 0.0 else 1.0
        unscaled = params._replace(vol_target=params.vol_target / whole, rebalance_band=params.rebalance_band / whole)
        self.runner = PortfolioRunner(unscaled, own, symbols, at_once=False)
        self.plans, self._tried_day = PlanMaker(), -1
        self.cost: Callable[[], float] = lambda: COST  # of shifting, fraction; the engine knows its own fills
        self._settled: dict[str, list[tuple[int, float]]] = {}
        self._announced: dict[str, tuple[int, float]] = {}
        self._answer: tuple[int, F8] | None = None
        self._told: Told | None = None
        self._ts_seen = 0  # ns, close of the newest bar
        self._kept: Mapping[str, Any] | None = None  # what was learned before a restart, until its bar is reached

    @property
    def history(self) -> int:
        """Bars wanted before the first decision."""
        return self.runner.history

    def take_over(self, other: PortfolioSleeve) -> None:
        """Go on with another one's memory; limits may differ, symbols and horizons may not."""
        self.runner.book, self.runner.n_bars = other.runner.book, other.runner.n_bars
        self.runner.sharer, self.plans, self._tried_day = other.runner.sharer, other.plans, other._tried_day
        self._settled, self._announced = other._settled, other._announced
        self._answer, self._told = None, other._told
        self._ts_seen, self._kept = other._ts_seen, other._kept

    def learned(self) -> dict[str, Any] | None:
        """Return what ``resume`` takes back after a restart; None before there is anything to keep.

        Known at: the close of the newest bar seen.
        """
        if self._ts_seen == 0 or self._kept is not None:
            return None
        own = learned_of(self.runner.book)
        return {"ts": self._ts_seen, "of": self._identity(), "sharing": self.runner.sharer.kept(), **own}

    def resume(self, kept: Mapping[str, Any] | None) -> None:
        """Take up what ``learned`` gave before a restart, at the bar after which it was given.

        Bars up to that one bring back the memories of prices only; those after it are learned from as usual. A record
        of other sleeves, parameters, symbols or bars, or one that is damaged, is left alone: the history decides then.
        """
        fits = kept is not None and kept.get("of") == self._identity() and is_learned(kept)
        self._kept = kept if fits and isinstance(kept.get("ts"), int) else None  # type: ignore[union-attr]

    def _identity(self) -> dict[str, Any]:
        runner = self.runner
        return {
            "symbols": list(runner.symbols), "bars_per_year": runner.bars_per_year,
            "parameters": runner.own.model_dump(mode="json", exclude={"sharing"}),  # all ways learn from the same
        }  # fmt: skip

    def _advance(self, ts_close: I8, close_px: F8, due: F8, given: F8 | None = None) -> Told:
        """Advance over bars; where the record from before a restart ends among them, take it up there."""
        kept, self._ts_seen = self._kept, int(ts_close[-1])
        if kept is None or int(kept["ts"]) > ts_close[-1]:
            return self.runner.advance(ts_close, close_px, due, given)
        at = int(np.searchsorted(ts_close, kept["ts"], side="right"))
        before, after = (
            (ts_close[part], close_px[part], due[part], None if given is None else given[part])
            for part in (slice(0, at), slice(at, None))
        )
        told = self.runner.advance(*before)
        take_up(self.runner.book, kept)
        self._kept, sharing = None, kept.get("sharing")
        self.runner.sharer.take_up(sharing)
        if (sharing or {}).get("wanted", ADAPTIVE) != self.runner.sharer.wanted:
            share_anew(self.runner.book, self.runner.sharer)
        return self.runner.advance(*after) if at < len(ts_close) else told

    def remember(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take settlements from the record: ``symbol``, ``ts_funding`` (ns) and ``rate`` (fraction)."""
        for row in rows:
            if row["rate"] is not None:
                self._settled.setdefault(row["symbol"], []).append((int(row["ts_funding"]), float(row["rate"])))
        for each in self._settled.values():
            each.sort()

    def see(self, ts_close: I8, close_px: F8) -> None:
        """Take closed bars (T, N) from before the next decision."""
        if len(ts_close):
            self._told = self._advance(ts_close, close_px, self._due(ts_close))
            self._see_to_plans()

    def _see_to_plans(self) -> None:
        """Take a plan that has been made, and have those made that are owed: at most one try a UTC day fails."""
        sharer, day = self.runner.sharer, int(self.runner.book.day[0])
        plan = self.plans.taken()
        if plan is not None:
            sharer.accept(plan)
            if plan.begins <= day:  # late: the engine was away, or was slow
                share_anew(self.runner.book, sharer)
        work = sharer.owed_work()
        if work is not None and not self.plans.is_busy and (self._tried_day != day or self.plans.trouble is None):
            self._tried_day = day
            self.plans.begin(work, self.cost)

    def _due(self, ts_close: I8) -> F8:
        """Return remembered rates due at each close (T, N), NaN for a symbol of which none is known."""
        for symbol, (moment, rate) in list(self._announced.items()):
            if moment <= ts_close[-1]:
                self._settled.setdefault(symbol, []).append((moment, rate))
                self._announced[symbol] = (_NEVER, 0.0)
        first_open = 2 * ts_close[0] - ts_close[1] if len(ts_close) > 1 and self.runner.n_bars == 0 else 0
        rates = np.full((len(ts_close), len(self.runner.symbols)), np.nan)
        for i, symbol in enumerate(self.runner.symbols):
            if symbol not in self._settled and symbol not in self._announced:
                continue
            waiting = self._settled.get(symbol, [])
            rates[:, i] = 0.0
            while waiting and waiting[0][0] <= ts_close[-1]:
                moment, rate = waiting.pop(0)
                if moment > first_open:  # older ones belong to bars that are not there
                    rates[np.searchsorted(ts_close, moment), i] += rate
        return rates

    def decide(
        self, ts_close: int, close_px: F8, marks: Mapping[str, MarkPrice], given: F8 | None = None
    ) -> F8:  # fmt: skip
        """Return the target weights (N,) at a bar's close; the same bar asked again gets the same answer.

        Parameters
        ----------
        ts_close : int, ns
        close_px : (N,) float64
        marks : mapping of symbol to MarkPrice
            The newest of each; what they announce for later is remembered.
        given : (N,) float64 in [-1, 1], optional
            The models' convictions, as far as they count.
        """
        if self._answer is not None and self._answer[0] == ts_close:
            return self._answer[1]
        times = np.array([ts_close], dtype=np.int64)
        due = self._due(times)
        for symbol in self.runner.symbols:
            mark = marks.get(symbol)
            if mark is not None and mark.ts_next_funding > ts_close and np.isfinite(mark.funding_rate):
                self._announced[symbol] = (mark.ts_next_funding, mark.funding_rate)
        if self._kept is not None and int(self._kept["ts"]) > ts_close:
            self._kept = None  # of a clock that is ahead of this one
        self._see_to_plans()
        self._told = self._advance(
            times, np.asarray(close_px)[None, :], due, None if given is None else given[None, :]
        )  # fmt: skip
        self._answer = ts_close, self._told.weight[0] * self._share
        return self._answer[1]

    def sharing(self) -> dict[str, Any]:
        """Return who shares the risk out, see ``Sharer.told``.

        ``is_making`` a plan now; ``trouble`` and ``cost`` (fraction of what is shifted) of the last attempt.
        """
        told = self.runner.sharer.told(NAMES[:LEARNED])
        plans = self.plans
        return told | {"is_making": plans.is_busy, "trouble": plans.trouble, "cost": plans.cost}

    def record(self) -> dict[str, Any]:
        """Return what a decision's record keeps: each sleeve's multiplier, its own book and what it earned net."""
        if self._told is None:
            return {}
        book = self.runner.book
        return {
            name: {"share": float(self._told.share[-1, s]), "net": float(self._told.net[-1, s]),
                   "awake": bool(book.awake[s]), "held": (book.held[s] * self._share).tolist()}
            for s, name in enumerate(NAMES)
            if self.runner.takes_part(name)
        }  # fmt: skip
