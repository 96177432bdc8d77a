"""The backtest: a scan of the decision kernel over bars, without allocation per bar.

Each bar t: fill at its open what was decided at the close before, and let happen what its range makes happen; mark at
its close; settle funding; decide. Equity is recorded at the close. See docs/assumptions.md for what this leaves out.

A scan is compiled for what it needs: one for plain costs and one with all of ``frictions``, each for many symbols and
for one symbol of ema-cross, which lives in registers and passes over quiet bars (see ``private`` and ``quiet``). All
run the same kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from engine.core.ahead import new_ahead
from engine.core.compiling import FINGERPRINT, entry_kernel
from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.drafts import Draft, new_draft
from engine.core.frictions import Assumptions, exact, is_plain, needs_ranges, needs_volume, new_venue
from engine.core.matching import FillLog, SimAccount, SimBars, grown_fill_log, new_fill_log, new_sim_account
from engine.core.quiet import can_skip, compiled_quiet_scan
from engine.core.scanning import FILLS_PER_BAR, SimTrack, close_bar, new_track, open_bar
from engine.core.state import State, new_state
from engine.core.step import normal_params
from engine.core.stress import check_shocks
from engine.core.turnover import with_usual
from engine.domain import F8, InstrumentTable, Params, Sleeve
from engine.underlyings import check_underlying

__all__ = [
    "CHUNK_BARS",
    "Scan",
    "SimBars",
    "SimResult",
    "SimTrack",
    "compile_scans",
    "new_track",
    "simulate",
    "stretches",
]

CHUNK_BARS = 65_536
"""Bars between two looks at progress and cancellation."""


class SimResult(NamedTuple):
    """A finished simulation."""

    track: SimTrack
    fills: FillLog  # exactly as long as there were fills
    account: SimAccount
    state: State


def _build_scan(fingerprint: str, plain: bool) -> Callable[..., Any]:
    @entry_kernel
    def compiled_scan(  # type: ignore[no-untyped-def]
        start, stop, bars, external_weight, state, draft, account, venue, log, track, instruments, costs, assumptions,
        params,
    ):  # fmt: skip
        _ = fingerprint  # part of the cache key
        n_symbols, money = account.position_qty.shape[0], account.money[0]
        last_fill = log.bar.shape[0] - FILLS_PER_BAR * n_symbols
        for t in range(start, stop):
            if money["n_fills"] > last_fill:
                return t
            open_bar(n_symbols, t, bars, state, account, venue, log, instruments, costs, assumptions, params, plain)
            close_bar(
                n_symbols, t, bars.ts_close[t], t, bars, external_weight, state, draft, account, venue, track,
                instruments, costs, params, True, plain,
            )  # fmt: skip
        return stop

    scan: Callable[..., Any] = compiled_scan
    return scan


@cache
def _compiled_scan(plain: bool) -> Callable[..., Any]:
    return _build_scan(FINGERPRINT, plain)


class Scan:
    """A simulation that is advanced bar by bar or in stretches, always by the same compiled scan.

    Parameters
    ----------
    bars : SimBars
    instruments : InstrumentTable
    costs : Costs
    params : Params
    cash : float, quote currency
    track : SimTrack, optional
        Memory to record into, for many scans of the same bars one after the other; its rule counts are not used.
    assumptions : Assumptions, optional
        Default: every order is filled in full at the next open, and nothing happens inside a bar.

    Raises
    ------
    ValueError
        The bars lack what the costs or assumptions read.
    """

    def __init__(
        self, bars: SimBars, instruments: InstrumentTable, costs: Costs, params: Params, cash: float,
        track: SimTrack | None = None, assumptions: Assumptions | None = None,
    ) -> None:  # fmt: skip
        n_bars, n_symbols = bars.close_px.shape
        self.bars, self.t = bars, 0
        self._ask(instruments, costs, params, assumptions)
        self.account: SimAccount = new_sim_account(n_symbols, float(cash))
        self.state: State = new_state(n_symbols, self.params)
        self.track = track or new_track(n_bars, n_symbols)
        reads = self.params.sleeve == Sleeve.EXTERNAL or self.params.model_share > 0.0
        external = (n_bars, n_symbols) if reads else (1, n_symbols)
        self.external_weight: F8 = np.full(external, np.nan)
        self.draft: Draft = new_draft(n_symbols)
        self._venue = new_venue(n_symbols, self._assumptions.delay_bars)
        self._log: FillLog = new_fill_log(max(1024, FILLS_PER_BAR * n_symbols))
        self._ahead: tuple[Any, ...] = ()
        if self._is_quiet:
            self._ahead = (new_ahead(bars, self.track, *self._looks),)

    def _ask(
        self, instruments: InstrumentTable, costs: Costs, params: Params, assumptions: Assumptions | None
    ) -> None:  # fmt: skip
        """Take over what is asked for, as the compiled scans take it."""
        self._costs = Costs(*(float(rate) for rate in costs))
        self._assumptions = exact(assumptions or Assumptions())
        self.params = normal_params(params)
        check_underlying(self.params.underlying, self.bars.close_px.shape[1])
        check_shocks(self.params.shocks, self.bars.close_px.shape[1])
        self._instruments = instruments
        self.bars = with_usual(_checked(self.bars, self._costs, self._assumptions), self.params)
        self._is_quiet = self.bars.close_px.shape[1] == 1 and self.params.sleeve == Sleeve.EMA_CROSS
        compiled = compiled_quiet_scan if self._is_quiet else _compiled_scan
        self._compiled = compiled(is_plain(self._costs, self._assumptions))

    @property
    def _looks(self) -> tuple[bool, bool]:
        """Whether quiet bars are passed over, and whether high and low are read."""
        return can_skip(self.params, self._assumptions), needs_ranges(self._costs, self._assumptions)

    def advance(self, stop: int) -> None:
        """Simulate the bars from where the scan stands up to, not including, ``stop``."""
        while True:
            self.t = self._compiled(
                self.t, stop, self.bars, self.external_weight, self.state, self.draft, self.account, self._venue,
                self._log, self.track, self._instruments, self._costs, self._assumptions, self.params, *self._ahead,
            )  # fmt: skip
            if self.t == stop:
                return
            self._log = grown_fill_log(self._log, 2 * len(self._log.bar))

    @property
    def range_variance(self) -> F8:
        """Variance (N,) of one bar's log return as the costs know it: 0 with plain costs."""
        return self._venue.variance

    @property
    def log(self) -> FillLog:
        """The memory that fills are written to, with room to spare; a scan replaces it by a longer one when full."""
        return self._log

    @property
    def fills(self) -> FillLog:
        """What was executed so far."""
        n_fills = int(self.account.money["n_fills"][0])
        return self._log._replace(**{name: column[:n_fills] for name, column in self._log._asdict().items()})

    def result(self) -> SimResult:
        """Return what was recorded so far."""
        counts = self.draft.objections.copy()
        if self.params.gate:
            counts[:, 0] = self.t * self.bars.close_px.shape[1] - counts[:, 1] - counts[:, 2]
        track = SimTrack(self.track.equity[: self.t], self.track.weight[: self.t], counts)
        return SimResult(track, self.fills, self.account, self.state)


def stretches(n_bars: int, chunk_bars: int = CHUNK_BARS) -> Iterator[int]:
    """Yield the bar counts at which a long scan pauses, the last being ``n_bars``."""
    yield from range(chunk_bars, n_bars, chunk_bars)
    yield n_bars


def _checked(bars: SimBars, costs: Costs, assumptions: Assumptions) -> SimBars:
    """Return the bars with whole columns of what is read, or say what is missing."""
    for name, needed in (
        ("high_px", needs_ranges(costs, assumptions)),
        ("low_px", needs_ranges(costs, assumptions)),
        ("volume", needs_volume(costs, assumptions)),
    ):
        shape = getattr(bars, name).shape
        if shape != bars.close_px.shape and (needed or shape[0] > 0):
            raise ValueError(f"{name} has shape {shape}, expected {bars.close_px.shape}: these costs read it")
    rates = bars.funding_rate.shape
    if rates != bars.close_px.shape and rates[0] > 0:
        raise ValueError(
            f"funding_rate has shape {rates}, expected {bars.close_px.shape}, or no rows where no funding is charged"
        )
    return bars


def simulate(
    bars: SimBars, instruments: InstrumentTable, costs: Costs, params: Params, cash: float,
    assumptions: Assumptions | None = None,
) -> SimResult:  # fmt: skip
    """Run a built-in sleeve over all bars.

    Parameters
    ----------
    bars : SimBars
        T bars of N symbols.
    instruments : InstrumentTable
        Lots and minimums; zeros switch them off.
    costs : Costs
    params : Params
        With ``gate`` False and the ema-cross sleeve, quantities follow the public yardstick: all cash of a symbol's
        equal share, sized at the fill price.
    cash : float, quote currency
        Opening balance, > 0.
    assumptions : Assumptions, optional
        Delay, participation, stops, liquidation; default: none of them.

    Returns
    -------
    SimResult
        Equity is known at each close. NaN closes carry the last mark.
    """
    scan = Scan(bars, instruments, costs, params, cash, assumptions=assumptions)
    scan.advance(len(bars.ts_close))
    return scan.result()


def compile_scans() -> None:
    """Compile, or load from disk, every scan: of ema-cross in one symbol and of everything else. Takes long once."""
    params = Params(
        sleeve=int(Sleeve.TREND), bars_per_year=8760.0, trend_horizon_bars=np.array([2.0]), vol_horizon_bars=2.0,
        vol_target=0.2, ema_fast=2, ema_slow=3, allow_short=True, gate=True, max_symbol_weight=0.5,
        max_gross_weight=2.0, max_leverage=3.0, max_daily_loss=0.05, max_drawdown=0.15, max_age_s=15.0,
        rebalance_band=0.05,
    )  # fmt: skip
    ones = np.ones((2, 1))
    bars = SimBars(np.array([1, 2], dtype=np.int64), ones, ones, np.zeros((0, 1)), ones, ones, ones)
    for sleeve in (Sleeve.TREND, Sleeve.EMA_CROSS):
        for assumptions in (Assumptions(), Assumptions(maintenance_rate=0.01)):
            simulate(bars, no_limits(1), Costs(0.0, 0.0), params._replace(sleeve=int(sleeve)), 1000.0, assumptions)
