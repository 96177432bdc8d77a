"""The backtest: a scan of the decision kernel over bars, without allocation per bar.

Each bar t: fill at its open what was decided at the close before; settle funding; mark at its close; decide. Equity is
recorded at the close. See docs/assumptions.md for what this leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.core.compiling import FINGERPRINT, entry_kernel, kernel
from engine.core.costs import Costs
from engine.core.decide import decide, no_limits
from engine.core.drafts import Draft, new_draft
from engine.core.matching import (
    FillLog,
    SimAccount,
    fill_pending,
    grown_fill_log,
    new_fill_log,
    new_sim_account,
    pay_funding,
)
from engine.core.state import State, new_state
from engine.core.step import normal_params
from engine.domain import F8, I8, N_RULES, AccountView, InstrumentTable, Params, Sleeve, TradingState

_EMA_CROSS = int(Sleeve.EMA_CROSS)
CHUNK_BARS = 65_536
"""Bars between two looks at progress and cancellation."""


class SimBars(NamedTuple):
    """What happens to the simulated account. T bars of N symbols on one clock, NaN where a symbol has no bar."""

    ts_close: I8  # (T,) ns, strictly increasing
    open_px: F8  # (T, N)
    close_px: F8  # (T, N)
    funding_rate: F8  # (T, N) due at the bar's close; (0, N) when there is no funding


class SimTrack(NamedTuple):
    """What a scan records."""

    equity: F8  # (T,) ccy at each close
    weight: F8  # (T, N) position value over equity at each close
    rule_counts: I8  # (N_RULES, 3) how often each rule said pass, clip, refuse


def new_track(n_bars: int, n_symbols: int) -> SimTrack:
    """Return memory for the record of a scan."""
    return SimTrack(np.empty(n_bars), np.empty((n_bars, n_symbols)), np.zeros((N_RULES, 3), dtype=np.int64))


class SimResult(NamedTuple):
    """A finished simulation."""

    track: SimTrack
    fills: FillLog  # exactly as long as there were fills
    account: SimAccount
    state: State


@kernel
def scan_bars(  # type: ignore[no-untyped-def]
    n_symbols, start, stop, bars, external_weight, state, draft, account, view, pending, log, track, instruments, costs,
    params,
):  # fmt: skip
    """Simulate bars [start, stop) in place and return where it stopped: before ``stop`` when ``log`` is full.

    The one loop of every simulation: compiled scans differ only in what they wrap around it. ``n_symbols`` is passed,
    so that a scan of one symbol compiles without inner loops.
    """
    has_funding = bars.funding_rate.shape[0] > 0
    all_in = params.sleeve == _EMA_CROSS and not params.gate
    bar_s = 0.0
    if bars.ts_close.shape[0] > 1:
        bar_s = (bars.ts_close[1] - bars.ts_close[0]) / 1e9
    money = account.money[0]
    for t in range(start, stop):
        if money["n_fills"] + 2 * n_symbols > log.bar.shape[0]:
            return t
        fill_pending(n_symbols, account, log, pending, state, bars.open_px, t, all_in, costs, params)
        for i in range(n_symbols):
            if bars.close_px[t, i] > 0.0:
                account.mark_px[i] = bars.close_px[t, i]
                account.age_s[i] = 0.0
            else:
                account.age_s[i] += bar_s
        if has_funding:
            pay_funding(n_symbols, account, bars.funding_rate, t)
        equity, _gross, _volatility = decide(
            n_symbols, state, draft, bars.close_px, external_weight, t, bars.ts_close[t], account.age_s, view,
            money["cash"], instruments, params, False,
        )  # fmt: skip
        track.equity[t] = equity
        per_equity = 1.0 / equity if equity != 0.0 else 0.0
        for i in range(n_symbols):
            held = account.position_qty[i]
            track.weight[t, i] = held * account.mark_px[i] * per_equity if held != 0.0 else 0.0
            if draft.act[i] == 1 or (all_in and state.crossed[i] == 1):
                pending[i] = 1
                account.in_flight_qty[i] = draft.target_qty[i] - held
    return stop


def _build_scan(fingerprint: str, width: int) -> Callable[..., Any]:
    @entry_kernel
    def compiled_scan(  # type: ignore[no-untyped-def]
        start, stop, bars, external_weight, state, draft, account, view, pending, log, track, instruments, costs, params
    ):
        _ = fingerprint  # part of the cache key
        n_symbols = width if width > 0 else account.position_qty.shape[0]
        return scan_bars(
            n_symbols, start, stop, bars, external_weight, state, draft, account, view, pending, log, track,
            instruments, costs, params,
        )  # fmt: skip

    scan: Callable[..., Any] = compiled_scan
    return scan


_compiled_scan = _build_scan(FINGERPRINT, 0)
_compiled_scan_of_one = _build_scan(FINGERPRINT, 1)  # the number of symbols is a constant in it: no inner loops


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
    """

    def __init__(
        self, bars: SimBars, instruments: InstrumentTable, costs: Costs, params: Params, cash: float,
        track: SimTrack | None = None,
    ) -> None:  # fmt: skip
        n_bars, n_symbols = bars.close_px.shape
        self.bars = bars
        self.t = 0
        self.account: SimAccount = new_sim_account(n_symbols, float(cash))
        self.params = normal_params(params)
        self.state: State = new_state(n_symbols, self.params)
        self.track = track or new_track(n_bars, n_symbols)
        external = (n_bars, n_symbols) if self.params.sleeve == Sleeve.EXTERNAL else (1, n_symbols)
        self.external_weight: F8 = np.full(external, np.nan)
        self.draft: Draft = new_draft(n_symbols)
        self._pending: npt.NDArray[np.int8] = np.zeros(n_symbols, dtype=np.int8)
        self._log: FillLog = new_fill_log(1024)
        self._instruments = instruments
        self._costs = Costs(float(costs.fee_rate), float(costs.slippage_rate))
        self._view = AccountView(
            0.0, self.account.position_qty, self.account.in_flight_qty, self.account.entry_px, self.account.mark_px,
            int(TradingState.RUNNING),
        )  # fmt: skip

    def advance(self, stop: int) -> None:
        """Simulate the bars from where the scan stands up to, not including, ``stop``."""
        scan = _compiled_scan_of_one if len(self._pending) == 1 else _compiled_scan
        while True:
            self.t = scan(
                self.t, stop, self.bars, self.external_weight, self.state, self.draft, self.account, self._view,
                self._pending, self._log, self.track, self._instruments, self._costs, self.params,
            )  # fmt: skip
            if self.t == stop:
                return
            capacity = len(self._log.bar)
            self._log = grown_fill_log(self._log, 2 * capacity + 2 * len(self._pending))

    def result(self) -> SimResult:
        """Return what was recorded so far."""
        n_fills = int(self.account.money["n_fills"][0])
        fills = self._log._replace(**{name: column[:n_fills] for name, column in self._log._asdict().items()})
        counts = self.draft.objections.copy()
        if self.params.gate:
            counts[:, 0] = self.t * len(self._pending) - counts[:, 1] - counts[:, 2]
        track = SimTrack(self.track.equity[: self.t], self.track.weight[: self.t], counts)
        return SimResult(track, fills, self.account, self.state)


def stretches(n_bars: int, chunk_bars: int = CHUNK_BARS) -> Iterator[int]:
    """Yield the bar counts at which a long scan pauses, the last being ``n_bars``."""
    yield from range(chunk_bars, n_bars, chunk_bars)
    yield n_bars


def simulate(bars: SimBars, instruments: InstrumentTable, costs: Costs, params: Params, cash: float) -> SimResult:
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

    Returns
    -------
    SimResult
        Equity is known at each close. NaN closes carry the last mark.
    """
    scan = Scan(bars, instruments, costs, params, cash)
    scan.advance(len(bars.ts_close))
    return scan.result()


def compile_scans() -> None:
    """Compile, or load from disk, both scans: of one symbol and of several. Takes seconds the first time."""
    params = Params(
        sleeve=int(Sleeve.TREND), bars_per_year=8760.0, trend_horizon_bars=np.array([2.0]), vol_horizon_bars=2.0,
        vol_target=0.2, ema_fast=2, ema_slow=3, allow_short=True, gate=True, max_symbol_weight=0.5,
        max_gross_weight=2.0, max_leverage=3.0, max_daily_loss=0.05, max_drawdown=0.15, max_age_s=15.0,
        rebalance_band=0.05,
    )  # fmt: skip
    for n_symbols in (1, 2):
        ones = np.ones((2, n_symbols))
        bars = SimBars(np.array([1, 2], dtype=np.int64), ones, ones, np.zeros((0, n_symbols)))
        simulate(bars, no_limits(n_symbols), Costs(0.0, 0.0), params, 1000.0)
