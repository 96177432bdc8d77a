"""What a parent does next: wait, cancel its child, or send one. Pure, and asked again whenever something changed.

One child at a time. Nothing is sent while a child is in doubt, while the parent is paused or stopping, or beyond what
the parent's quantity leaves after all that has filled or might. So a parent cannot over-fill, whatever is delayed,
refused, repeated or lost, and a restart changes nothing: the children are on the record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from engine.domain import NS_PER_S, BookTop, Instrument, OrderSpec, OrderType, Side, Tif
from engine.execution.adaptive import Pressure, should_cross
from engine.execution.curves import VolumeCurve
from engine.execution.orders import QTY_EPSILON, Order
from engine.execution.parents import Algorithm, Parent, ParentStatus, Tally, tally
from engine.execution.planner import CANCEL_RETRY_S, IN_DOUBT, REQUOTE_AFTER_S, crossing_px
from engine.execution.schedule import WITHOUT_SPRINT, Flow, allowed_qty, due_qty, given_up_ns, is_capped, slice_qty

CROSS_BEHIND = 2.0  # slices behind schedule at which a scheduled algorithm stops waiting for its post-only child
ADAPTIVE_BEHIND = 4.0  # the same for adaptive, which is given more rope
ADAPTIVE_AHEAD = 4.0  # slices by which adaptive's post-only child may run ahead: a fill at the touch is cheap


RECENT_S = 60.0  # a capped child is at most that share of what the market trades in so long, by its newest rate


class View(NamedTuple):
    """The market and the account as one look sees them. NaN and None where something is not known."""

    top: BookTop
    instrument: Instrument
    position_qty: float  # signed base, every known fill applied
    market_volume: float = math.nan  # base, traded by everybody since the schedule in force began
    trade_rate: float = math.nan  # base per second, newest minutes
    sigma: float = math.nan  # of the log mid per square root of a second
    curve: VolumeCurve | None = None
    max_qty: float = math.inf  # what somebody else allows beyond the parent's own arithmetic, base


class Step(NamedTuple):
    """What to do now: cancel these; or place this; or stop, because of this."""

    cancel: tuple[str, ...] = ()
    place: OrderSpec | None = None
    stop: ParentStatus | None = None
    why: str = ""


WAIT = Step()


def next_step(parent: Parent, children: Sequence[Order], view: View, now: int) -> Step:
    """Return a parent's next step.

    Parameters
    ----------
    parent : Parent
    children : sequence of Order
        Every child it ever had, final ones too.
    view : View
        Fresh; the caller looks at the age of prices.
    now : int
        ns, the clock of the parent's and the orders' times.
    """
    if parent.is_ended:
        return WAIT
    live = [child for child in children if not child.is_final]
    if any(child.status in IN_DOUBT for child in live):
        return WAIT  # looked up elsewhere; until then its quantity is spent
    if parent.status == ParentStatus.STOPPING and not live:
        return Step(stop=ParentStatus(parent.ending))
    done = tally(children)
    if parent.status == ParentStatus.PAUSED and (ending := _over(parent, done, now)) is not None:
        return ending
    if parent.status != ParentStatus.WORKING:
        return Step(_cancellable(live, now))
    if (ending := _over(parent, done, now) or _pointless(parent, done, view)) is not None:
        return ending
    return _work(parent, live, done, view, now)


def _over(parent: Parent, done: Tally, now: int) -> Step | None:
    """Return the end of a parent that is done or late. It needs no price, so that nothing can put it off."""
    spec = parent.spec
    left = spec.qty - done.filled - done.written_off
    if left <= QTY_EPSILON and done.working == 0.0:
        return Step(stop=ParentStatus.DONE)
    if now >= given_up_ns(spec):
        why = f"its time was over with {left:g} of {spec.qty:g} to do"
        if is_capped(spec, now):
            why += f", capped at {spec.max_participation:.1%} of what the market trades"
        return Step(stop=ParentStatus.EXPIRED, why=why)
    return None


def _pointless(parent: Parent, done: Tally, view: View) -> Step | None:
    spec = parent.spec
    left = spec.qty - done.filled - done.written_off
    if spec.reduce_only and view.position_qty * spec.side >= 0.0:
        return Step(stop=ParentStatus.CANCELED, why="it may only reduce, and there is nothing left to reduce")
    if done.working == 0.0 and not _takes(whole_lots(left, view.instrument), view, spec.reduce_only):
        return Step(stop=ParentStatus.EXPIRED, why=f"what is left, {left:g}, is less than the venue takes")
    return None


def _work(parent: Parent, live: Sequence[Order], done: Tally, view: View, now: int) -> Step:
    spec = parent.spec
    room = max(min(spec.qty - done.committed, view.max_qty - done.working, _capped_room(parent, done, view, now)), 0.0)
    if spec.reduce_only:
        room = min(room, max(abs(view.position_qty) - done.working, 0.0))
    due = due_qty(parent, Flow(view.market_volume, view.curve), now)
    smallest = smallest_qty(view)
    one = slice_qty(parent, smallest)
    behind = (due - done.filled - done.written_off) / one
    cross = _crosses(parent, behind, one, view, now)
    if live:
        keep = len(live) == 1 and not cross and _still_right(live[0], parent, view, now)
        return WAIT if keep else Step(_cancellable(live, now))
    ahead = ADAPTIVE_AHEAD if spec.algorithm == Algorithm.ADAPTIVE and not cross else 0.0
    wanted = one if spec.algorithm == Algorithm.ICEBERG else (behind + ahead) * one
    at_end = now >= spec.ts_end
    if wanted < one - QTY_EPSILON and not at_end and room > wanted:
        return WAIT
    wanted = min(max(wanted, one), 2.0 * one) if not at_end and not cross else max(wanted, smallest)
    if room - wanted < smallest:
        wanted = room  # a rest that the venue would not take goes with this child
    qty = whole_lots(min(wanted, room), view.instrument)
    if not _takes(qty, view, spec.reduce_only):
        return WAIT
    return Step(place=_child(parent, qty, cross, view))


def _capped_room(parent: Parent, done: Tally, view: View, now: int) -> float:
    """Return what the cap on the share of the market leaves for one child: of all since the schedule began, and lately.

    A resting child saves up room while it waits; without the second part all of that could go at once.
    """
    if not is_capped(parent.spec, now):
        return math.inf
    room = allowed_qty(parent, Flow(view.market_volume, view.curve), now) - done.committed
    lately = parent.spec.max_participation * view.trade_rate * RECENT_S
    return room if math.isnan(lately) else min(room, lately)


def _crosses(parent: Parent, behind: float, one: float, view: View, now: int) -> bool:
    """Return whether to pay the spread now."""
    spec, top = parent.spec, view.top
    touch = top.ask_px if spec.side == Side.BUY else top.bid_px
    if not math.isnan(spec.limit_px) and (touch - spec.limit_px) * spec.side > 0:
        return False  # the limit does not reach the other side
    if spec.algorithm == Algorithm.ICEBERG:
        return False
    if now >= spec.ts_end and spec.algorithm not in WITHOUT_SPRINT:
        return True
    if not spec.passive:
        return behind >= 1.0 - QTY_EPSILON
    if spec.algorithm != Algorithm.ADAPTIVE:
        return behind >= CROSS_BEHIND
    if behind >= ADAPTIVE_BEHIND:
        return True
    pressure = Pressure(spec.side, top, one, view.trade_rate, view.sigma, view.instrument, spec.urgency)
    return behind >= 1.0 - QTY_EPSILON and should_cross(pressure)


def _still_right(child: Order, parent: Parent, view: View, now: int) -> bool:
    """Return whether a resting child may stay: it is where it would be put now, or was put there lately."""
    if child.spec.tif == Tif.IOC.value:
        return True  # on its way out by itself
    at_place = abs(child.spec.limit_px - _resting_px(parent, view)) < view.instrument.tick_size / 2
    return at_place or now - child.ts_intent < REQUOTE_AFTER_S * NS_PER_S


def _resting_px(parent: Parent, view: View) -> float:
    spec, top, tick = parent.spec, view.top, view.instrument.tick_size
    touch = top.bid_px if spec.side == Side.BUY else top.ask_px
    if math.isnan(spec.limit_px):
        return touch
    # on the grid, and never beyond the limit for the sake of rounding
    ticks = spec.limit_px / tick
    limit = (math.floor(ticks + 1e-9) if spec.side == Side.BUY else math.ceil(ticks - 1e-9)) * tick
    return min(touch, limit) if spec.side == Side.BUY else max(touch, limit)


def _child(parent: Parent, qty: float, cross: bool, view: View) -> OrderSpec:
    spec = parent.spec
    if cross:
        touch = view.top.ask_px if spec.side == Side.BUY else view.top.bid_px
        px, tif = crossing_px(touch, spec.side, view.instrument), Tif.IOC
        if not math.isnan(spec.limit_px):
            px = min(px, spec.limit_px) if spec.side == Side.BUY else max(px, spec.limit_px)
    else:
        px, tif = _resting_px(parent, view), Tif.HIDDEN if spec.hidden else Tif.GTX
    return OrderSpec(
        spec.symbol, spec.side, OrderType.LIMIT.value, qty, px, math.nan, tif.value, spec.reduce_only, False,
        spec.purpose,
    )  # fmt: skip


def smallest_qty(view: View) -> float:
    """Return the least quantity that the venue takes at the present price, base units, in whole lots."""
    instrument = view.instrument
    least = max(instrument.min_qty, instrument.min_notional / view.top.bid_px, instrument.lot_size)
    return math.ceil(least / instrument.lot_size - 1e-9) * instrument.lot_size


def whole_lots(qty: float, instrument: Instrument) -> float:
    """Return a quantity rounded down to lots and to what one order may have, base units."""
    lots = math.floor(qty / instrument.lot_size + 1e-9)
    return min(lots * instrument.lot_size, instrument.max_market_qty)


def _takes(qty: float, view: View, reduce_only: bool) -> bool:
    if qty < view.instrument.min_qty or qty <= 0.0:
        return False
    return reduce_only or qty * view.top.bid_px >= view.instrument.min_notional


def _cancellable(live: Sequence[Order], now: int) -> tuple[str, ...]:
    return tuple(order.client_id for order in live if now - order.cancel_sent_ns > CANCEL_RETRY_S * NS_PER_S)
