"""The scan of ema-cross on one symbol: the loop of every scan, without the bars on which nothing can happen.

A block of bars is looked at first: averages, and the bars on which they may have crossed. Between two crossings the
account is marked in stretches (see ``stretch``) as far as no rule of the gate could change its mind; the bars in
between go through the kernels of every other scan. The result is the same to the bit, at a fraction of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from engine.core.ahead import BLOCK_BARS, FETCHED_AHEAD, fetch_for, has_prices, look_at
from engine.core.compiling import FINGERPRINT, entry_kernel, kernel_part
from engine.core.frictions import Assumptions
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
from engine.core.scanning import FILLS_PER_BAR, close_bar, open_bar
from engine.core.stretch import STRETCH_BARS, first_unsure, holding_of, measure, range_of
from engine.core.tally import count_track
from engine.domain import F8, I8, N_RULES, Params, Rule, Sleeve, Verdict

_FIRST_BARS = 64  # most stretches are short, and what is measured beyond a limit is measured in vain
_EMA_CROSS = int(Sleeve.EMA_CROSS)
_CLIP = int(Verdict.CLIP)
_DRAWDOWN, _SYMBOL_CAP = int(Rule.DRAWDOWN), int(Rule.SYMBOL_CAP)


@kernel_part
def _pass_flat(t, end, cash, state, ahead, tally, draft, objected):  # type: ignore[no-untyped-def]
    """Write bars [t, end) of an account without a position; ``objected``: with the objections of the bar before."""
    if ahead.tape.keeps:
        equity_of, weight_of = ahead.tape.equity[t:end], ahead.tape.weight[t:end]
        for k in range(end - t):
            equity_of[k] = cash
            weight_of[k] = 0.0
        if objected:
            for rule in range(N_RULES):
                for verdict in range(3):
                    draft.objections[rule, verdict] += (end - t) * ahead.before[rule, verdict]
    else:
        row = tally[0]
        row["sum_equity"] += cash * (end - t)
        row["lowest"] = min(row["lowest"], cash)
        row["trough"] = min(row["trough"], cash)


@kernel_part
def _walk_peaks(n: int, equity_of: F8, tally) -> None:  # type: ignore[no-untyped-def]
    row = tally[0]
    peak, trough, drawdown = row["peak"], row["trough"], row["drawdown"]
    for k in range(n):
        equity = equity_of[k]
        if equity > peak:
            drawdown = max(drawdown, 1.0 - trough / peak)
            peak = trough = equity
        elif equity < trough:
            trough = equity
    row["peak"], row["trough"], row["drawdown"] = peak, trough, drawdown


@kernel_part
def _tally_stretch(n, found, tape, tally):  # type: ignore[no-untyped-def]
    row = tally[0]
    row["sum_equity"] += found.sum_equity
    row["sum_gross"] += found.sum_gross
    row["lowest"] = min(row["lowest"], found.lowest)
    if found.highest > row["peak"]:
        _walk_peaks(n, tape.equity, tally)
    else:
        row["trough"] = min(row["trough"], found.lowest)


@kernel_part
def _pass_held(t, end, qty, cash, entry_px, book, ahead, tally, draft, params, maintenance_rate):  # type: ignore[no-untyped-def]
    """Pass over the bars from ``t`` on while the position surely stays as it is; return the first that is left."""
    tape = ahead.tape
    held = holding_of(cash, qty, entry_px, maintenance_rate)
    n_soft, n_capped, size = 0, 0, _FIRST_BARS
    peak = new_peak = book["peak_equity"]
    quiet = range_of(cash + qty * (tape.close_px[t] - entry_px), held, peak, book, params)
    while t < end:
        stop = min(t + size, end)
        found = measure(t, stop, tape, held, quiet)
        if found.n_unsure > 0:  # once more, up to there
            end = first_unsure(t, stop, tape, held, quiet)
            continue
        new_peak = max(peak, found.highest)
        if new_peak > peak and stop > t + 1 and not found.lowest > quiet.rising * new_peak:
            size = (stop - t) // 2  # the limits rise with the peak: too far for this stretch
            continue
        n_soft += stop - t if quiet.is_soft else 0
        n_capped += stop - t if quiet.is_capped else 0
        if not tape.keeps:
            _tally_stretch(stop - t, found, tape, tally)
        t, size = stop, min(4 * (stop - t), STRETCH_BARS)
        if new_peak > peak and t < end:
            quiet = range_of(cash + qty * (tape.close_px[t] - entry_px), held, new_peak, book, params)
        peak = new_peak
    book["peak_equity"] = peak
    draft.objections[_DRAWDOWN, _CLIP] += n_soft
    draft.objections[_SYMBOL_CAP, _CLIP] += n_capped
    return t


@kernel_part
def _day_end(t: int, end: int, ts_close: I8, ts_day_end: int) -> int:
    """Return the first bar of [t, end) that closes in the next day, or ``end``: where even bars would have it, else
    by bisection.
    """
    bar_ns = ts_close[1] - ts_close[0]
    guess = min(t + max((ts_day_end - ts_close[t] + bar_ns - 1) // bar_ns, 0), end)
    if (guess == t or ts_close[guess - 1] < ts_day_end) and (guess == end or ts_close[guess] >= ts_day_end):
        return guess
    low, high = t, end
    while low < high:
        middle = low + (high - low) // 2
        if ts_close[middle] >= ts_day_end:
            high = middle
        else:
            low = middle + 1
    return low


@kernel_part
def _pass_quiet(t, end, state, account, ahead, tally, draft, params, assumptions, repeats, plain):  # type: ignore[no-untyped-def]
    """Pass over the bars from ``t`` on, before ``end``, on which nothing can happen; return the first that is left."""
    book, qty, cash = state.book[0], account.position_qty[0], account.money[0]["cash"]
    if end <= t or (not ahead.tape.keeps and book["peak_equity"] != tally[0]["peak"]):
        return t
    if qty == 0.0:
        # the gate answers a standing signal on every bar alike: as on the bar before
        objected = params.gate and state.signal[0] != 0.0
        if not 0.0 < cash <= book["peak_equity"] or (ahead.tape.keeps and objected and not repeats):
            return t
        _pass_flat(t, end, cash, state, ahead, tally, draft, objected)
        return end
    if params.gate and (book["day_locked"] != 0 or book["drawdown_locked"] != 0 or not state.signal[0] * qty > 0.0):
        return t
    rate = 0.0 if plain else assumptions.maintenance_rate
    return _pass_held(t, end, qty, cash, account.entry_px[0], book, ahead, tally, draft, params, rate)


@kernel_part
def _write_marks(left, account, ahead):  # type: ignore[no-untyped-def]
    """Write the equity of the marked bars before ``left``, all quiet, from the next mark on."""
    n = ahead.next_mark[0]
    while ahead.marks[n] < left:
        equity, qty = account.money[0]["cash"], account.position_qty[0]
        if qty != 0.0:
            equity += qty * (ahead.tape.close_px[ahead.marks[n]] - account.entry_px[0])
        ahead.marked[n] = equity
        n += 1
    ahead.next_mark[0] = n


@kernel_part
def _tally_bar(t, track, ahead, tally):  # type: ignore[no-untyped-def]
    """Count bar ``t``, recorded in row 0, and write its equity where it is marked."""
    count_track(0, 1, track, tally)
    if ahead.marks[ahead.next_mark[0]] == t:
        ahead.marked[ahead.next_mark[0]] = track.equity[0]
        ahead.next_mark[0] += 1


@kernel_part
def _waits(venue) -> bool:  # type: ignore[no-untyped-def]
    return venue.pending[0] != 0 or venue.n_under_way[0] != 0


@kernel_part
def _leave_quiet(t, base, n_bars, n_ranges, state, account, venue, ahead, has_volatility):  # type: ignore[no-untyped-def]
    """Bring state and account to where the bars before ``t`` have left them."""
    px = ahead.tape.close_px[t - 1]
    state.trail[0, 0], state.trail[0, 1] = ahead.fast[t - 1 - base], ahead.slow[t - 1 - base]
    state.n_bars[0], state.last_px[0], state.crossed[0] = n_bars, px, 0
    account.mark_px[0] = px
    if has_volatility:
        venue.variance[0], venue.last_px[0] = ahead.variance[t - 1 - base], px
        venue.n_ranges[0] = n_ranges


@kernel_part
def _note_objections(draft, ahead, again):  # type: ignore[no-untyped-def]
    """Keep how often each rule has objected; ``again``: how often since it was kept."""
    for rule in range(N_RULES):
        for verdict in range(3):
            before = ahead.before[rule, verdict] if again else 0
            ahead.before[rule, verdict] = draft.objections[rule, verdict] - before


@kernel_part
def _scan_with_skips(  # type: ignore[no-untyped-def]
    start, stop, bars, external_weight, state, draft, account, venue, log, track, instruments, costs, assumptions,
    params, ahead, tally, plain,
):  # fmt: skip
    """Do bar by bar what every scan does, passing over quiet bars; returns the first bar that was not simulated.

    Fills come first on a bar, quiet or not. What is there once here is there once in the compiled code, which is why
    a bar may come round more than once: to be filled, to be tried as quiet, to be decided.
    """
    has_volatility = not plain and (costs.spread_per_volatility > 0.0 or costs.impact > 0.0)
    last_fill, keeps, needed = log.bar.shape[0] - FILLS_PER_BAR, ahead.tape.keeps, params.ema_slow
    t, ready, first, base, seen, ranges, n, looked, repeats = start, start, start, 0, 0, 0, 0, False, False
    day_end = ts_day_end = opened = noisy = -1
    while t < stop:
        if t >= ready:
            first, n, seen, ranges = t, 0, state.n_bars[0], venue.n_ranges[0]
            # the last bar is always decided, so that the draft is its own
            ready = min(t + BLOCK_BARS, stop - 1)
            looked = ahead.skips and seen >= needed and ready > t and (ahead.known or has_prices(t, ready, ahead))
            if looked:
                base = look_at(t, ready, bars, ahead, state, venue, params, has_volatility)
            else:
                ready = max(min(ready, t + needed - seen) if seen < needed else ready, t + 1)
        crossing = t
        if looked:
            while ahead.crossings[n] < t:
                n += 1
            crossing = ahead.crossings[n]
        decides = (t == crossing) | (t == noisy)
        if looked and t == crossing and opened != t:
            fetch_for(ahead.crossings[n + FETCHED_AHEAD], bars, ahead, has_volatility)
        if opened != t and (decides or _waits(venue)):
            if account.money[0]["n_fills"] > last_fill:
                return t
            open_bar(1, t, bars, state, account, venue, log, instruments, costs, assumptions, params, plain)
            opened = t
        if not decides and not _waits(venue):
            if state.book[0]["ts_day_end"] != ts_day_end or day_end <= t:  # not looked up on every stretch
                ts_day_end = state.book[0]["ts_day_end"]
                day_end = _day_end(t, stop, bars.ts_close, ts_day_end)
            noisy = _pass_quiet(
                t, min(crossing, day_end), state, account, ahead, tally, draft, params, assumptions, repeats, plain
            )  # fmt: skip
            if noisy > t:
                if not keeps:
                    _write_marks(noisy, account, ahead)
                t = noisy
                n_bars, n_ranges = seen + t - first, ranges + t - first
                _leave_quiet(t, base, n_bars, n_ranges, state, account, venue, ahead, has_volatility)
                continue
            if opened != t:
                continue
        watched = looked and params.gate and keeps and account.position_qty[0] == 0.0
        if watched:
            _note_objections(draft, ahead, False)
        same_day = t < day_end and state.book[0]["ts_day_end"] == ts_day_end  # spares a look at far memory
        ts_close = ts_day_end - 1 if same_day else bars.ts_close[t]
        close_bar(
            1, t, ts_close, t if keeps else 0, bars, external_weight, state, draft, account, venue, track, instruments,
            costs, params, not ahead.known, plain,
        )  # fmt: skip
        if has_volatility and ahead.known:
            venue.variance[0], venue.last_px[0] = ahead.variance[t], account.mark_px[0]
            venue.n_ranges[0] += 1
        if not keeps:
            _tally_bar(t, track, ahead, tally)
        t += 1
        repeats = watched and state.crossed[0] == 0 and account.position_qty[0] == 0.0 and not _waits(venue)
        if watched:
            _note_objections(draft, ahead, True)
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
def compiled_quiet_scan(plain: bool) -> Callable[..., Any]:
    """Return the compiled scan, of plain costs or with all of ``frictions``."""
    return _build_quiet_scan(FINGERPRINT, plain)


def can_skip(params: Params, assumptions: Assumptions) -> bool:
    """Return whether a run has quiet bars.

    They are told apart for ema-cross that fills at the next open, with neither stops nor profit targets: with those,
    something can happen inside any bar. The caps on the whole book must not bind before the cap on one symbol does.
    """
    simple = assumptions._replace(maintenance_rate=0.0, liquidation_fee_rate=0.0) == Assumptions()
    widest = min(params.max_symbol_weight, 1.0)
    caps = min(params.max_gross_weight, params.max_leverage, float(params.risk[0]["liquidation_gross"]))
    symbol_first = not params.gate or caps >= widest
    return params.sleeve == Sleeve.EMA_CROSS and simple and symbol_first
