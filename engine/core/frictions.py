"""What happens between a decision and its fill, and inside a bar: delay, thin volume, stops, liquidation.

Everything here is switched off by default and is compiled only into scans that need it. Where a bar does not tell the
order of events, the worse order is taken and the bar is counted as ambiguous.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.core.compiling import kernel_part
from engine.core.costs import Costs, blended_fee_rate, crossing_rate, slipped_px
from engine.core.matching import FillKind, FillLog, SimAccount, SimBars, book_fill
from engine.core.targets import whole_lots
from engine.domain import F8, I8, InstrumentTable

_ORDER, _STOP, _TAKE, _LIQUIDATION = (int(kind) for kind in FillKind)

RANGE_SPAN_BARS = 100.0  # of the moving average of squared ranges that the costs' volatility is made of
_RANGES_IN_MEAN, _RANGE_TO_VARIANCE = (RANGE_SPAN_BARS + 1.0) / 2.0, 1.0 / (4.0 * math.log(2.0))


class Assumptions(NamedTuple):
    """What the simulated venue does with our orders and positions. The defaults switch everything off."""

    max_participation: float = math.inf  # of a bar's volume; what is beyond it waits for the next bar
    delay_bars: int = 0  # whole bars between a decision and the open that fills it, beyond the next open
    delay_share: float = 0.0  # of a bar, after that open: the fill is between open and close in proportion
    stop_distance: float = 0.0  # fraction of the entry price; 0: no protective stop
    stop_gap: float = 0.0  # 0: a stop fills at its price, 1: at the bar's worst
    take_distance: float = 0.0  # fraction of the entry price; 0: no order that takes a profit
    maintenance_rate: float = 0.0  # margin that positions need, fraction of notional; 0: no liquidation
    liquidation_fee_rate: float = 0.0  # fraction of notional, as far as the balance allows


class SimVenue(NamedTuple):
    """What the simulated venue remembers: private memory of a scan, changed in place. D whole bars of delay."""

    pending: npt.NDArray[np.int8]  # (N,) 1: an order has arrived and waits for its fill
    aim: F8  # (N,) what that order aims at: target quantity; for all-in sizing the direction
    newest_target: F8  # (N,) signed base: target of the newest order, arrived or not
    n_under_way: I8  # (N,) orders that have not arrived
    under_way: npt.NDArray[np.int8]  # (D + 1, N) by the bar of their decision, modulo D + 1
    under_way_aim: F8  # (D + 1, N)
    variance: F8  # (N,) of one bar's log return, from ranges up to the last bar
    last_px: F8  # (N,) newest close, 0 before the first
    n_ranges: I8  # (N,)
    filled_late: npt.NDArray[np.int8]  # (N,) 1: filled inside the present bar, after its open


def new_venue(n_symbols: int, delay_bars: int) -> SimVenue:
    """Return the memory of a venue that has seen nothing."""
    return SimVenue(
        pending=np.zeros(n_symbols, dtype=np.int8),
        aim=np.zeros(n_symbols),
        newest_target=np.zeros(n_symbols),
        n_under_way=np.zeros(n_symbols, dtype=np.int64),
        under_way=np.zeros((delay_bars + 1, n_symbols), dtype=np.int8),
        under_way_aim=np.zeros((delay_bars + 1, n_symbols)),
        variance=np.zeros(n_symbols),
        last_px=np.zeros(n_symbols),
        n_ranges=np.zeros(n_symbols, dtype=np.int64),
        filled_late=np.zeros(n_symbols, dtype=np.int8),
    )


def exact(assumptions: Assumptions) -> Assumptions:
    """Return the same assumptions with exactly the types that the kernels are compiled for."""
    fields: dict[str, Any] = {name: float(value) for name, value in assumptions._asdict().items()}
    return Assumptions(**{**fields, "delay_bars": int(assumptions.delay_bars)})


def needs_ranges(costs: Costs, assumptions: Assumptions) -> bool:
    """Return whether high and low are read."""
    inside = assumptions.stop_distance > 0 or assumptions.take_distance > 0 or assumptions.maintenance_rate > 0
    return inside or costs.spread_per_volatility > 0 or costs.impact > 0


def needs_volume(costs: Costs, assumptions: Assumptions) -> bool:
    """Return whether volume is read."""
    return costs.impact > 0 or assumptions.max_participation < math.inf


def is_plain(costs: Costs, assumptions: Assumptions) -> bool:
    """Return whether fee and slippage are the only costs and every order is filled in full at the next open."""
    return costs[2:] == Costs(0.0, 0.0)[2:] and assumptions == Assumptions()


@kernel_part
def _row_of(venue: SimVenue, t: int) -> int:
    n_rows = venue.under_way.shape[0]
    return t % n_rows if n_rows > 1 else 0  # a division of whole numbers costs more than the rest of a quiet bar


@kernel_part
def send_order(account: SimAccount, venue: SimVenue, i: int, t: int, target_qty: float, aim: float) -> None:
    """Send the order that was decided at the close of bar ``t`` on its way."""
    row = _row_of(venue, t)
    venue.under_way[row, i] = 1
    venue.under_way_aim[row, i] = aim
    venue.n_under_way[i] += 1
    venue.newest_target[i] = target_qty
    account.in_flight_qty[i] = target_qty - account.position_qty[i]


@kernel_part
def receive_orders(n_symbols: int, venue: SimVenue, t: int) -> None:
    """Let the orders arrive that are due at the open of bar ``t``; each replaces what still waits of its symbol."""
    row = _row_of(venue, t)
    for i in range(n_symbols):
        venue.filled_late[i] = 0
        if venue.under_way[row, i] == 1:
            venue.under_way[row, i] = 0
            venue.n_under_way[i] -= 1
            venue.aim[i] = venue.under_way_aim[row, i]
            venue.pending[i] = 1


@kernel_part
def _drop_orders(account: SimAccount, venue: SimVenue, i: int) -> None:
    venue.pending[i] = 0
    venue.n_under_way[i] = 0
    for row in range(venue.under_way.shape[0]):
        venue.under_way[row, i] = 0
    account.in_flight_qty[i] = 0.0


@kernel_part
def _trade(
    account: SimAccount, log: FillLog, i: int, t: int, qty: float, before_px: float, variance: float, volume: float,
    costs: Costs,
) -> None:  # fmt: skip
    rate = crossing_rate(costs, costs.maker_share, math.sqrt(variance), abs(qty) / volume)
    px = slipped_px(before_px, qty, rate)
    book_fill(account, log, i, t, qty, px, before_px, blended_fee_rate(costs, costs.maker_share), _ORDER)


@kernel_part
def _trade_all_in(
    account: SimAccount, log: FillLog, i: int, t: int, direction: float, before_px: float, variance: float,
    volume: float, costs: Costs,
) -> None:  # fmt: skip
    """Flip or close, then spend the sub-account; the impact is that of the quantity which it would buy without any."""
    if account.position_qty[i] != 0.0:
        _trade(account, log, i, t, -account.position_qty[i], before_px, variance, volume, costs)
    if direction != 0.0 and account.slot_cash[i] > 0.0:
        fee_rate = blended_fee_rate(costs, costs.maker_share)
        wanted = account.slot_cash[i] / (before_px * (1.0 + fee_rate))
        rate = crossing_rate(costs, costs.maker_share, math.sqrt(variance), wanted / volume)
        px = slipped_px(before_px, direction, rate)
        qty = direction * account.slot_cash[i] / (px * (1.0 + fee_rate))
        book_fill(account, log, i, t, qty, px, before_px, fee_rate, _ORDER)


@kernel_part
def fill_orders(
    n_symbols: int,
    account: SimAccount,
    log: FillLog,
    venue: SimVenue,
    bars: SimBars,
    t: int,
    all_in: bool,
    instruments: InstrumentTable,
    costs: Costs,
    assumptions: Assumptions,
) -> None:
    """Fill what has arrived, in bar ``t``.

    before = open + delay_share * (close - open): where a path from open to close is on average at that moment. A symbol
    without a bar, or without volume where volume is needed, keeps waiting; so does what is beyond the participation
    limit, in whole lots.
    """
    thin = costs.impact > 0.0 or assumptions.max_participation < math.inf
    for i in range(n_symbols):
        if venue.pending[i] == 0:
            continue
        open_px = bars.open_px[t, i]
        volume = bars.volume[t, i] if thin else 1.0
        if not open_px > 0.0 or not volume > 0.0:
            continue
        before_px = open_px
        if assumptions.delay_share > 0.0:
            before_px += assumptions.delay_share * (bars.close_px[t, i] - open_px)
        venue.pending[i] = 0
        if all_in:
            _trade_all_in(account, log, i, t, venue.aim[i], before_px, venue.variance[i], volume, costs)
        else:
            qty = venue.aim[i] - account.position_qty[i]
            room = assumptions.max_participation * volume
            if abs(qty) > room:
                qty = math.copysign(whole_lots(room, instruments.lot_size[i]), qty)
                venue.pending[i] = 1
            if qty != 0.0:
                _trade(account, log, i, t, qty, before_px, venue.variance[i], volume, costs)
        venue.filled_late[i] = 1 if assumptions.delay_share > 0.0 else 0
        waits = venue.pending[i] == 1 or venue.n_under_way[i] > 0
        account.in_flight_qty[i] = venue.newest_target[i] - account.position_qty[i] if waits else 0.0


@kernel_part
def _exit_of(
    account: SimAccount, venue: SimVenue, bars: SimBars, i: int, t: int, assumptions: Assumptions
) -> tuple[int, float, bool]:
    """Return what closes the position of symbol ``i`` inside bar ``t``, the price before costs, whether that is sure.

    A stop comes before an order that takes a profit, because the bar does not say which it met first. A bar that opens
    beyond the stop fills it at the open. An order filled inside the bar may have come after the extreme that counts
    against it, never after the one that would help.
    """
    qty = account.position_qty[i]
    high_px, low_px, open_px = bars.high_px[t, i], bars.low_px[t, i], bars.open_px[t, i]
    if qty == 0.0 or not (high_px > 0.0 and low_px > 0.0):
        return _ORDER, np.nan, False
    sign = 1.0 if qty > 0.0 else -1.0
    worst_px, best_px = (low_px, high_px) if qty > 0.0 else (high_px, low_px)
    entry_px = account.entry_px[i]
    late = venue.filled_late[i] == 1
    take_px = entry_px * (1.0 + sign * assumptions.take_distance)
    taken = assumptions.take_distance > 0.0 and (best_px - take_px) * sign > 0.0
    stop_px = entry_px * (1.0 - sign * assumptions.stop_distance)
    if assumptions.stop_distance > 0.0 and (worst_px - stop_px) * sign <= 0.0:
        gap = (open_px - stop_px) * sign <= 0.0 and not late
        px = open_px if gap else stop_px
        return _STOP, px + assumptions.stop_gap * (worst_px - px), gap or taken or late
    if taken:
        return (_ORDER, np.nan, True) if late else (_TAKE, take_px, False)
    return _ORDER, np.nan, False


@kernel_part
def _close_position(
    account: SimAccount, log: FillLog, venue: SimVenue, bars: SimBars, i: int, t: int, px: float, kind: int,
    costs: Costs,
) -> None:  # fmt: skip
    qty = -account.position_qty[i]
    if kind == _TAKE:
        book_fill(account, log, i, t, qty, px, px, costs.maker_fee_rate, kind)
    else:
        volume = bars.volume[t, i] if costs.impact > 0.0 else 1.0
        participation = abs(qty) / volume if volume > 0.0 else 1.0
        rate = crossing_rate(costs, 0.0, math.sqrt(venue.variance[i]), participation)
        book_fill(account, log, i, t, qty, slipped_px(px, qty, rate), px, costs.fee_rate, kind)
    _drop_orders(account, venue, i)


@kernel_part
def _worst_of(account: SimAccount, bars: SimBars, i: int, t: int) -> float:
    px = bars.low_px[t, i] if account.position_qty[i] > 0.0 else bars.high_px[t, i]
    return px if px > 0.0 else account.mark_px[i]


@kernel_part
def _falls_short(
    n_symbols: int, account: SimAccount, venue: SimVenue, bars: SimBars, t: int, assumptions: Assumptions
) -> bool:
    """Return whether the account falls below its maintenance margin inside bar ``t``.

    Every position is valued at its bar's worst price, or at its stop where that comes first.
    """
    equity, needed = account.money[0]["cash"], 0.0
    for i in range(n_symbols):
        qty = account.position_qty[i]
        if qty == 0.0:
            continue
        px = _worst_of(account, bars, i, t)
        if assumptions.stop_distance > 0.0:
            kind, exit_px, _unsure = _exit_of(account, venue, bars, i, t, assumptions)
            px = exit_px if kind == _STOP else px
        equity += qty * (px - account.entry_px[i])
        needed += abs(qty) * px * assumptions.maintenance_rate
    return needed > 0.0 and equity <= needed


@kernel_part
def _is_sure(n_symbols: int, account: SimAccount, bars: SimBars, t: int, assumptions: Assumptions) -> bool:
    """Return whether one position, or the closes of several, would do: worst prices need not have met."""
    equity, needed, held = account.money[0]["cash"], 0.0, 0
    for i in range(n_symbols):
        qty = account.position_qty[i]
        if qty != 0.0:
            held += 1
            px = bars.close_px[t, i] if bars.close_px[t, i] > 0.0 else account.mark_px[i]
            equity += qty * (px - account.entry_px[i])
            needed += abs(qty) * px * assumptions.maintenance_rate
    return held == 1 or equity <= needed


@kernel_part
def _liquidate(
    n_symbols: int, account: SimAccount, log: FillLog, venue: SimVenue, bars: SimBars, t: int, costs: Costs,
    assumptions: Assumptions,
) -> None:  # fmt: skip
    """Close everything at each bar's worst price, drop all orders and charge the venue's fee as far as money is left.

    A loss beyond the account's money stays on it as negative cash: it is shown, not forgiven.
    """
    money = account.money[0]
    first = money["n_fills"]
    for i in range(n_symbols):
        if account.position_qty[i] != 0.0:
            px = _worst_of(account, bars, i, t)
            _close_position(account, log, venue, bars, i, t, px, _LIQUIDATION, costs)
        _drop_orders(account, venue, i)
    notional = 0.0
    for n in range(first, money["n_fills"]):
        notional += abs(log.qty[n]) * log.px[n]
    due = min(assumptions.liquidation_fee_rate * notional, max(money["cash"], 0.0))
    for n in range(first, money["n_fills"]):
        share = due * abs(log.qty[n]) * log.px[n] / notional
        log.fee[n] += share
        money["fees"] += share
        money["cash"] -= share
        account.slot_cash[log.symbol[n]] -= share
    money["liquidations"] += 1


@kernel_part
def close_inside(
    n_symbols: int,
    account: SimAccount,
    log: FillLog,
    venue: SimVenue,
    bars: SimBars,
    t: int,
    only_stops: bool,
    costs: Costs,
    assumptions: Assumptions,
) -> bool:
    """Close inside bar ``t`` what its stop, its profit target or the venue closes, and return whether that is unsure.

    With ``only_stops``, before orders that are filled inside the bar: a stop that the bar reaches comes first.
    """
    unsure = False
    margin_counts = assumptions.maintenance_rate > 0.0 and not only_stops
    if margin_counts and _falls_short(n_symbols, account, venue, bars, t, assumptions):
        sure = _is_sure(n_symbols, account, bars, t, assumptions)
        _liquidate(n_symbols, account, log, venue, bars, t, costs, assumptions)
        return not sure
    if assumptions.stop_distance > 0.0 or assumptions.take_distance > 0.0:
        for i in range(n_symbols):
            kind, px, doubtful = _exit_of(account, venue, bars, i, t, assumptions)
            waits = venue.pending[i] == 1
            if kind == _STOP or (kind == _TAKE and not only_stops):
                _close_position(account, log, venue, bars, i, t, px, kind, costs)
                unsure = unsure or doubtful or (only_stops and waits)
            elif doubtful:
                unsure = True
    return unsure


@kernel_part
def trade_bar(
    n_symbols: int,
    account: SimAccount,
    log: FillLog,
    venue: SimVenue,
    bars: SimBars,
    t: int,
    all_in: bool,
    instruments: InstrumentTable,
    costs: Costs,
    assumptions: Assumptions,
) -> None:
    """Let everything happen to the account that happens between the open and the close of bar ``t``."""
    receive_orders(n_symbols, venue, t)
    unsure = False
    if assumptions.delay_share > 0.0:
        unsure = close_inside(n_symbols, account, log, venue, bars, t, True, costs, assumptions)
    fill_orders(n_symbols, account, log, venue, bars, t, all_in, instruments, costs, assumptions)
    unsure = close_inside(n_symbols, account, log, venue, bars, t, False, costs, assumptions) or unsure
    if unsure:
        account.money[0]["ambiguous_bars"] += 1


@kernel_part
def observe_ranges(n_symbols: int, venue: SimVenue, bars: SimBars, t: int) -> None:
    """Update the volatility that later fills are charged with from the range of bar ``t``.

    The range includes the close before it. variance = mean of range^2 / (4 ln 2) (Parkinson, 1980), plain at first and
    with the weight 2 / (span + 1) for the newest bar later. range = 2 (high - low) / (high + low), which is ln(high /
    low) up to its third power.
    """
    for i in range(n_symbols):
        high_px, low_px = bars.high_px[t, i], bars.low_px[t, i]
        if not (high_px > 0.0 and low_px > 0.0):
            continue
        if venue.last_px[i] > 0.0:
            high_px = max(high_px, venue.last_px[i])
            low_px = min(low_px, venue.last_px[i])
        venue.n_ranges[i] += 1
        newest = 1.0 / venue.n_ranges[i] if venue.n_ranges[i] < _RANGES_IN_MEAN else 1.0 / _RANGES_IN_MEAN
        relative = 2.0 * (high_px - low_px) / (high_px + low_px)
        venue.variance[i] += newest * (relative * relative * _RANGE_TO_VARIANCE - venue.variance[i])
        if bars.close_px[t, i] > 0.0:
            venue.last_px[i] = bars.close_px[t, i]
