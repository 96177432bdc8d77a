"""The scan of parameter sweeps: the loop of ``simulate``, without the bars on which nothing can happen.

Between two crossings ema-cross leaves its position alone unless the gate forces a reduction or the venue liquidates.
Whether either could is told from equity, peak, day, weight and the bar's worst price, each compared with its limit and
a margin far above rounding. A bar that passes is quiet: the account is marked and nothing is decided. Every other bar
goes through the same kernels as a single run, so the result is the same to the bit, at a fraction of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from engine.core.compiling import FINGERPRINT, entry_kernel, kernel_part
from engine.core.costs import Costs
from engine.core.frictions import Assumptions, is_plain, trade_bar
from engine.core.known import Known, averages, variances
from engine.core.matching import fill_pending
from engine.core.private import (
    ema_cross_params,
    private_account,
    private_draft,
    private_record,
    private_state,
    private_venue,
    publish_account,
    publish_draft,
    publish_state,
    publish_venue,
)
from engine.core.risk import DRIFT_TOLERANCE, FULL_SIZE_DRAWDOWN, NO_NEW_RISK_LOSS
from engine.core.simulate import FILLS_PER_BAR, Scan, SimBars, SimTrack, scan_bars
from engine.core.tally import count_track, new_tally
from engine.domain import F8, I8, InstrumentTable, Params, Sleeve

BLOCK_BARS = 2048
"""Bars whose averages are worked out together: small enough to stay in the fastest cache."""

_PAGE = 4096  # bytes
_EMA_CROSS = int(Sleeve.EMA_CROSS)
_MARGIN = 1e-9  # relative; rounding is below 1e-14, so a bar near a limit is never called quiet


class Ahead(NamedTuple):
    """What a quiet scan is given besides what every scan is given, and where it keeps its account of the bars."""

    fast: F8  # (T,) quote per base, both averages on every bar
    slow: F8
    variance: F8  # (T,) of one bar's log return as the venue knows it after each bar; (0,) with plain costs
    marks: I8  # (D + 1,) bars whose equity is wanted, closed by T
    tally: np.ndarray  # (1,) TALLY
    next_mark: I8  # (1,) index into ``marks``
    crossings: I8  # (BLOCK_BARS + 1,) scratch: bars of one block that may be crossings, closed by the block's end


class Limits(NamedTuple):
    """From where on the gate may act, in what the loop compares. Equity in ccy, weights as fractions."""

    peak: float
    floor: float  # equity at or below which a loss limit may be reached
    soft: float  # equity below which the drawdown shrinks the ceiling on weight
    ceiling: float  # weight above which a reduction may be forced
    slope: float  # below ``soft`` that weight is slope * equity - offset
    offset: float


@kernel_part
def _write_crossings(first: int, end: int, ahead: Ahead) -> None:
    """Write the bars of [first, end), first >= 1, on which the averages may have crossed: too many rather than too few.

    On those their difference changes its sign, or is zero.
    """
    fast, slow, n = ahead.fast, ahead.slow, 0
    for t in range(first, end):
        if (fast[t] - slow[t]) * (fast[t - 1] - slow[t - 1]) <= 0.0:
            ahead.crossings[n] = t
            n += 1
    ahead.crossings[n] = end


@kernel_part
def _limits(peak: float, day_open: float, day_limit: float, params: Params) -> Limits:
    floor = max(peak * (1.0 - params.max_drawdown), day_open * (1.0 - day_limit), 0.0) * (1.0 + _MARGIN)
    soft = peak * (1.0 - params.max_drawdown * FULL_SIZE_DRAWDOWN) * (1.0 + _MARGIN)
    tolerance = (1.0 + DRIFT_TOLERANCE) * (1.0 - _MARGIN)
    widest = min(params.max_symbol_weight, params.max_gross_weight, params.max_leverage)
    # a full weight that no cap cuts is approved as it is, and what is approved as wished is never forced
    ceiling = widest * tolerance if widest < 1.0 else np.inf
    # drawdown_scale(1 - equity / peak, max) = (equity / peak - (1 - max)) / (max - full_until)
    per_cushion = tolerance / (params.max_drawdown * (1.0 - FULL_SIZE_DRAWDOWN))
    offset = per_cushion * (1.0 - params.max_drawdown) + _MARGIN
    return Limits(peak, floor, soft, ceiling, per_cushion / peak, offset)


@kernel_part
def _held_until(t, end, bars, qty, entry_px, cash, book, day_limit, tally, params, assumptions, plain):  # type: ignore[no-untyped-def]
    """Count bars from ``t`` on while the position can stay as it is; return the first bar on which it might not."""
    has_funding = bars.funding_rate.shape[0] > 0
    limits = _limits(book["peak_equity"], book["day_open_equity"], day_limit, params)
    row = tally[0]
    sum_equity, sum_gross, lowest, trough = 0.0, 0.0, row["lowest"], row["trough"]
    for u in range(t, end):
        if has_funding and bars.funding_rate[u, 0] != 0.0:
            end = u
            break
        px = bars.close_px[u, 0]
        equity = cash + qty * (px - entry_px)
        notional = abs(qty) * px
        if equity > limits.peak:
            row["drawdown"] = max(row["drawdown"], 1.0 - trough / limits.peak)
            trough = equity
            limits = _limits(equity, book["day_open_equity"], day_limit, params)
        if params.gate:
            ceiling = limits.ceiling
            if equity < limits.soft:
                ceiling = min(ceiling, limits.slope * equity - limits.offset)
            if equity <= limits.floor or notional > ceiling * equity:
                end = u
                break
        elif equity <= 0.0:
            end = u
            break
        if not plain:
            worst_px = bars.low_px[u, 0] if qty > 0.0 else bars.high_px[u, 0]
            needed = abs(qty) * worst_px * assumptions.maintenance_rate * (1.0 + _MARGIN)
            if cash + qty * (worst_px - entry_px) <= needed:
                end = u
                break
        sum_equity += equity
        sum_gross += notional / equity
        trough = min(trough, equity)
        lowest = min(lowest, equity)
    book["peak_equity"] = limits.peak
    row["peak"] = limits.peak
    row["sum_equity"] += sum_equity
    row["sum_gross"] += sum_gross
    row["trough"] = trough
    row["lowest"] = lowest
    return end


@kernel_part
def _quiet_until(t, end, bars, state, account, venue, tally, params, assumptions, plain):  # type: ignore[no-untyped-def]
    """Pass over the bars from ``t`` on, before ``end``, on which nothing can happen; return the first that is left."""
    book = state.book[0]
    qty = account.position_qty[0]
    cash = account.money[0]["cash"]
    if venue.pending[0] != 0 or venue.n_under_way[0] != 0 or book["peak_equity"] != tally[0]["peak"]:
        return t
    while end > t and bars.ts_close[end - 1] >= book["ts_day_end"]:
        middle = t + (end - t) // 2
        end = middle if bars.ts_close[middle] >= book["ts_day_end"] else end - 1
    if qty == 0.0:
        if not 0.0 < cash <= book["peak_equity"]:
            return t
        tally[0]["sum_equity"] += cash * (end - t)
        return end
    aligned = state.signal[0] * qty
    if params.gate and (book["day_locked"] != 0 or book["drawdown_locked"] != 0 or aligned == 0.0):
        return t
    # a position that the band kept against its signal is closed as soon as exposure may not grow
    day_limit = params.max_daily_loss if aligned > 0.0 else NO_NEW_RISK_LOSS * params.max_daily_loss
    return _held_until(t, end, bars, qty, account.entry_px[0], cash, book, day_limit, tally, params, assumptions, plain)


@kernel_part
def _write_marks(t, left, bars, account, ahead, track):  # type: ignore[no-untyped-def]
    """Write the equity of the marked bars among [t, left), all quiet, and pass over earlier marks."""
    n = ahead.next_mark[0]
    while ahead.marks[n] < left:
        if ahead.marks[n] >= t:
            equity, qty = account.money[0]["cash"], account.position_qty[0]
            if qty != 0.0:
                equity += qty * (bars.close_px[ahead.marks[n], 0] - account.entry_px[0])
            track.equity[ahead.marks[n]] = equity
        n += 1
    ahead.next_mark[0] = n


@kernel_part
def _scan_with_skips(  # type: ignore[no-untyped-def]
    start, stop, bars, external_weight, state, draft, account, venue, log, track, instruments, costs, assumptions,
    params, ahead, tally, plain,
):  # fmt: skip
    """Do what ``scan_bars`` does, passing over quiet bars; returns the first bar that was not simulated."""
    all_in = params.sleeve == _EMA_CROSS and not params.gate
    last_fill = log.bar.shape[0] - FILLS_PER_BAR
    t = start
    while t < stop:
        first, seen = t, state.n_bars[0]
        end = min(first + BLOCK_BARS, stop)
        _write_crossings(max(first, 1), end, ahead)
        n = 0
        while t < end:
            while ahead.crossings[n] < t:
                n += 1
            crossing = ahead.crossings[n]
            if (venue.pending[0] != 0 or venue.n_under_way[0] != 0) and t < crossing:
                if account.money[0]["n_fills"] > last_fill:
                    return t
                # fills come before everything else on a bar, quiet or not; what is filled is not filled again
                if plain:
                    fill_pending(1, account, log, venue.pending, state, bars.open_px, t, all_in, costs)
                else:
                    trade_bar(1, account, log, venue, bars, t, all_in, instruments, costs, assumptions)
            left = t
            if t > 0:
                left = _quiet_until(t, crossing, bars, state, account, venue, tally, params, assumptions, plain)
            if left > t:
                _write_marks(t, left, bars, account, ahead, track)
                t = left
                state.trail[0, 0] = ahead.fast[t - 1]
                state.trail[0, 1] = ahead.slow[t - 1]
                state.n_bars[0] = seen + t - first
                state.last_px[0] = bars.close_px[t - 1, 0]
                account.mark_px[0] = bars.close_px[t - 1, 0]
                state.crossed[0] = 0
                if not plain:
                    venue.variance[0] = ahead.variance[t - 1]
                    venue.last_px[0] = bars.close_px[t - 1, 0]
                    venue.n_ranges[0] = t
            if t < end:
                reached = scan_bars(
                    1, t, t + 1, bars, external_weight, state, draft, account, venue, log, track, instruments, costs,
                    assumptions, params, plain,
                )  # fmt: skip
                if reached == t:
                    return t
                count_track(t, reached, track, tally)
                t = reached
    return stop


def _build_quiet_scan(fingerprint: str, plain: bool) -> Callable[..., Any]:
    @entry_kernel
    def compiled_quiet_scan(  # type: ignore[no-untyped-def]
        start, stop, bars, external_weight, state, draft, account, venue, log, track, instruments, costs, assumptions,
        params, ahead,
    ):  # fmt: skip
        _ = fingerprint  # part of the cache key
        own_state, own_draft, own_tally = private_state(state), private_draft(draft), private_record(ahead.tally)
        own_account, own_venue = private_account(account), private_venue(venue)
        reached = _scan_with_skips(
            start, stop, bars, external_weight, own_state, own_draft, own_account, own_venue, log, track, instruments,
            costs, assumptions, ema_cross_params(params), ahead, own_tally, plain,
        )  # fmt: skip
        publish_state(state, own_state)
        publish_draft(draft, own_draft)
        publish_account(account, own_account)
        publish_venue(venue, own_venue)
        ahead.tally[0] = own_tally[0]
        return reached

    scan: Callable[..., Any] = compiled_quiet_scan
    return scan


@cache
def _compiled_quiet_scan(plain: bool) -> Callable[..., Any]:
    return _build_quiet_scan(FINGERPRINT, plain)


def has_every_price(bars: SimBars) -> bool:
    """Return whether it is one symbol with every price on every bar: what quiet bars can be told apart on."""
    columns = (bars.open_px, bars.high_px, bars.low_px, bars.close_px)
    shape = (len(bars.ts_close), 1)
    return all(column.shape == shape and bool((column > 0.0).all()) for column in columns)


def can_skip(params: Params, assumptions: Assumptions) -> bool:
    """Return whether a run has quiet bars. Ask ``has_every_price`` too.

    They are told apart for ema-cross that fills at the next open, with neither stops nor profit targets: with those,
    something can happen inside any bar.
    """
    simple = assumptions._replace(maintenance_rate=0.0, liquidation_fee_rate=0.0) == Assumptions()
    return params.sleeve == Sleeve.EMA_CROSS and simple


class QuietScan(Scan):
    """A ``Scan`` that skips quiet bars. Ask ``has_every_price`` and ``can_skip`` first.

    It keeps fills, account and ``tally``, and equity on the bars in ``marks`` only; no rule counts.

    Parameters
    ----------
    bars : SimBars
    instruments : InstrumentTable
    costs : Costs
    params : Params
    cash : float, quote currency
    track : SimTrack, optional
        Memory to record into.
    marks : (D,) int64, optional
        Bars whose equity is wanted, increasing; default: the last.
    assumptions : Assumptions, optional
    known : Known, optional
        What scans of the same bars share.
    """

    def __init__(
        self, bars: SimBars, instruments: InstrumentTable, costs: Costs, params: Params, cash: float,
        track: SimTrack | None = None, assumptions: Assumptions | None = None, marks: I8 | None = None,
        known: Known | None = None,
    ) -> None:  # fmt: skip
        super().__init__(bars, instruments, costs, params, cash, track, assumptions)
        n_bars = len(bars.ts_close)
        self.tally = new_tally(cash)
        self._marks = np.append(np.array([n_bars - 1]) if marks is None else marks, n_bars).astype(np.int64)
        self._known = known

    def advance(self, stop: int) -> None:
        """Simulate the bars from where the scan stands up to, not including, ``stop``."""
        if self.t < stop and not self._scratch:
            spans, plain = (self.params.ema_fast, self.params.ema_slow), is_plain(self._costs, self._assumptions)
            warm = self.state.n_bars[0] > 0
            means = {} if self._known is None or warm else self._known.averages  # a warm state has its own
            if not all(span in means for span in spans):
                means = averages(self.bars.close_px, spans, self.state.trail[0, :2].tolist() if warm else None)
            variance = np.empty(0)
            if not plain:
                variance = self._known.variance if self._known is not None else variances(self.bars)
            scratch = (np.zeros(1, dtype=np.int64), np.empty(BLOCK_BARS + 1, dtype=np.int64))
            ahead = Ahead(means[spans[0]], means[spans[1]], variance, self._marks, self.tally, *scratch)
            self._compiled, self._scratch = _compiled_quiet_scan(plain), (ahead,)
        super().advance(stop)
