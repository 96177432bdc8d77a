"""Schedules and next steps of parent orders, against lines and sums worked by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from execution_builders import BTC, NOW, TOP, order, spec
from scipy.optimize import minimize

from engine.domain import NS_PER_DAY, NS_PER_S, OrderStatus, Tif
from engine.execution import adaptive, almgren
from engine.execution.adaptive import Pressure, expected_costs, should_cross
from engine.execution.algorithms import View, next_step
from engine.execution.curves import VolumeCurve, even_curve, learned_curve, volume_between
from engine.execution.parents import Algorithm, Parent, ParentSpec, ParentStatus
from engine.execution.schedule import Flow, due_qty

END = NOW + 400 * NS_PER_S
VIEW = View(TOP, BTC, 0.0)
NO_FLOW = Flow(math.nan, None)


def parent(algorithm=Algorithm.TWAP, qty=4.0, **changes) -> Parent:
    wanted = ParentSpec("BTCUSDT", 1, qty, algorithm, NOW, END)._replace(**changes)
    return Parent(7, wanted, ParentStatus.WORKING, NOW, NOW)


def after(seconds: float) -> int:
    return NOW + int(seconds * NS_PER_S)


# schedules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "due"), [(-5, 0.0), (0, 0.0), (100, 1.0), (400, 4.0), (900, 4.0)])
def test_twap_is_a_straight_line(seconds, due):
    assert due_qty(parent(), NO_FLOW, after(seconds)) == pytest.approx(due)


def test_a_schedule_that_begins_anew_spreads_the_rest():
    again = replace(parent(), ts_from=after(200), base_qty=1.0)  # 3 left for 200 s
    assert due_qty(again, NO_FLOW, after(300)) == pytest.approx(1.0 + 3.0 * 0.5)


def test_vwap_follows_the_curve():
    share = np.full(96, 1.0 / 192)
    share[0] = 1.0 - 95 / 192  # the first quarter of an hour has as much as the rest of the day
    start = 10 * NS_PER_DAY
    wanted = ParentSpec("BTCUSDT", 1, 2.0, Algorithm.VWAP, start, start + NS_PER_DAY // 48)  # half an hour
    made = Parent(7, wanted, ParentStatus.WORKING, start, start)
    first, second = float(share[0]), 1 / 192
    due = due_qty(made, Flow(math.nan, VolumeCurve(share, 9.0)), start + NS_PER_DAY // 96)
    assert due == pytest.approx(2.0 * first / (first + second))
    assert due_qty(made, NO_FLOW, start + NS_PER_DAY // 96) == pytest.approx(1.0)  # no curve: straight


def test_curve_learns_hours_and_is_drawn_to_even_while_days_are_few():
    hours = np.arange(24 * 9)
    volume = np.where(hours % 24 == 12, 77.0, 1.0)  # 77 of 100
    curve = learned_curve(hours * 3600 * NS_PER_S, volume, 3600)
    assert curve.share[12] == pytest.approx((9 * 0.77 + 3 / 24) / 12)
    assert (curve.share.sum(), curve.n_days) == (pytest.approx(1.0), 9.0)
    assert learned_curve(np.array([], dtype=np.int64), np.array([]), 3600).share == pytest.approx(even_curve().share)
    day = 3 * NS_PER_DAY
    assert volume_between(curve, day + 6 * 3600 * NS_PER_S, day + NS_PER_DAY * 5 // 4) == pytest.approx(1.0)
    assert volume_between(curve, day, day) == 0.0


def test_pov_does_its_share_of_what_was_traded_and_no_more_than_its_quantity():
    made = parent(Algorithm.POV, participation=0.2)
    assert due_qty(made, Flow(10.0, None), after(1)) == pytest.approx(2.0)
    assert due_qty(made, Flow(1000.0, None), after(1)) == 4.0
    assert due_qty(made, NO_FLOW, after(399)) == 0.0  # unknown volume: nothing is assumed


# Almgren and Chriss --------------------------------------------------------------------------------------------------

# the example of the paper's section 2: 10^6 shares, five days, sigma 0.95, eta 2.5e-6, gamma 2.5e-7, epsilon 0.0625
PAPER = almgren.Market(0.95, 2.5e-6, 2.5e-7, 0.0625)


def test_kappa_of_the_papers_example():
    assert almgren.kappa(1e-6, PAPER, 1.0) == pytest.approx(0.61, abs=5e-3)  # "0.61 a day"
    with pytest.raises(ValueError, match="must be above"):
        almgren.kappa(1e-6, almgren.Market(1.0, 1e-6, 1.0), 1.0)


@pytest.mark.parametrize("risk_aversion", [0.0, 2e-7, 2e-6, 2e-5])
def test_closed_form_is_the_numerical_optimum(risk_aversion):
    n_steps, qty = 8, 1e6
    tau = 5.0 / n_steps

    def objective(inner):
        held = np.concatenate(([qty], np.asarray(inner) * qty, [0.0]))
        cost = almgren.expected_cost(held, PAPER, tau) + risk_aversion * almgren.variance(held, PAPER, tau)
        return cost / 1e5

    straight = np.linspace(1.0, 0.0, n_steps + 1)[1:-1]
    found = minimize(objective, straight, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 500})
    closed = almgren.holdings(qty, n_steps, almgren.kappa(risk_aversion, PAPER, tau) * 5.0)
    assert closed[1:-1] / qty == pytest.approx(found.x, abs=2e-4)
    assert objective(closed[1:-1] / qty) <= found.fun * (1.0 + 1e-9)


def test_cost_and_variance_of_two_steps_by_hand():
    held = np.array([2.0, 1.0, 0.0])
    # gamma X^2 / 2 = 0.2; epsilon 2 = 0.2; (1 - 0.05) / 1 * (1 + 1) = 1.9; variance 4 * 1 * (1 + 0)
    assert almgren.expected_cost(held, almgren.Market(2.0, 1.0, 0.1, 0.1), 1.0) == pytest.approx(2.3)
    assert almgren.variance(held, almgren.Market(2.0, 1.0, 0.1, 0.1), 1.0) == pytest.approx(4.0)


def test_urgency_front_loads_and_a_restart_in_the_middle_stays_on_the_same_path():
    made = parent(Algorithm.ALMGREN_CHRISS, urgency=2.0)
    half = due_qty(made, NO_FLOW, after(200))
    assert half == pytest.approx(4.0 * (1 - math.sinh(1.0) / math.sinh(2.0)))
    again = replace(made, ts_from=after(200), base_qty=half)
    assert due_qty(again, NO_FLOW, after(300)) == pytest.approx(due_qty(made, NO_FLOW, after(300)))
    assert almgren.share_left(0.5, 1e5) == 0.0  # no overflow


# steps ---------------------------------------------------------------------------------------------------------------


def child(qty=0.1, filled=0.0, status=OrderStatus.NEW, age_s=0.0, **changes):
    made = spec(qty=qty, **{key: changes.pop(key) for key in ("limit_px", "tif") if key in changes})
    return order(status, made, age_s=age_s, filled_qty=filled, avg_px=50_000.0 if filled else math.nan, **changes)


def test_first_child_waits_until_a_slice_is_due_and_rests_at_the_touch():
    assert next_step(parent(), [], VIEW, after(5)).place is None
    placed = next_step(parent(), [], VIEW, after(10)).place  # a fortieth of 4 in 400 s
    assert (placed.qty, placed.limit_px, placed.tif) == (pytest.approx(0.1), 49_999.9, "GTX")
    assert (placed.side, placed.purpose, placed.reduce_only) == (1, "manual", False)


def test_child_that_rests_is_crossed_when_two_slices_behind():
    resting = replace(child(0.1), ts_intent=after(10))
    assert next_step(parent(), [resting], VIEW, after(19)).cancel == ()
    assert next_step(parent(), [resting], VIEW, after(20)).cancel == (resting.client_id,)
    gone = replace(resting, status=OrderStatus.CANCELED)
    crossing = next_step(parent(), [gone], VIEW, after(20)).place
    assert (crossing.tif, crossing.qty, crossing.limit_px) == ("IOC", pytest.approx(0.2), pytest.approx(50_100.2))


def test_child_away_from_the_touch_is_moved_after_two_seconds():
    resting = replace(child(0.1, limit_px=49_990.0), ts_intent=after(10))
    assert next_step(parent(), [resting], VIEW, after(11)).cancel == ()
    assert next_step(parent(), [resting], VIEW, after(13)).cancel == (resting.client_id,)


@pytest.mark.parametrize("status", [OrderStatus.INTENT, OrderStatus.SENT, OrderStatus.UNKNOWN])
def test_nothing_is_done_while_a_child_is_in_doubt(status):
    step = next_step(parent(), [child(status=status)], VIEW, after(390))
    assert (step.cancel, step.place, step.stop) == ((), None, None)


def test_paused_parent_cancels_and_sends_nothing():
    waiting = replace(parent(), status=ParentStatus.PAUSED)
    assert next_step(waiting, [child()], VIEW, after(100)).cancel
    assert next_step(waiting, [], VIEW, after(100)).place is None


@pytest.mark.parametrize(("algorithm", "seconds"), [(Algorithm.TWAP, 430), (Algorithm.ICEBERG, 400)])
def test_paused_parent_expires_like_one_at_work_and_needs_no_price_for_it(algorithm, seconds):
    waiting = replace(parent(algorithm), status=ParentStatus.PAUSED)
    blind = VIEW._replace(top=TOP._replace(bid_px=math.nan, ask_px=math.nan))
    assert next_step(waiting, [], blind, after(seconds - 1)).stop is None
    assert next_step(waiting, [], blind, after(seconds)).stop == ParentStatus.EXPIRED
    assert next_step(waiting, [child(4.0, 4.0, OrderStatus.FILLED)], blind, after(1)).stop == ParentStatus.DONE
    assert next_step(waiting, [child(status=OrderStatus.UNKNOWN)], blind, after(seconds)).stop is None


def test_crossing_child_never_pays_more_than_the_limit():
    limited = parent(limit_px=50_010.0, passive=False)
    assert next_step(limited, [], VIEW, after(10)).place.limit_px == 50_010.0
    below = next_step(parent(limit_px=49_995.0, passive=False), [], VIEW, after(10)).place
    assert (below.limit_px, below.tif) == (pytest.approx(49_995.0), "GTX")  # rests at its limit


def test_the_end_crosses_what_is_left_and_the_grace_ends_it():
    done = child(3.95, 3.95, OrderStatus.FILLED)
    last = next_step(parent(), [done], VIEW, after(400)).place
    assert (last.qty, last.tif) == (pytest.approx(0.05), "IOC")
    over = next_step(parent(), [done], VIEW, after(431))
    assert (over.stop, over.why) == (ParentStatus.EXPIRED, "its time was over with 0.05 of 4 to do")
    assert next_step(parent(), [child(4.0, 4.0, OrderStatus.FILLED)], VIEW, after(1)).stop == ParentStatus.DONE


def test_reduce_only_parent_sends_no_more_than_the_position_and_ends_with_it():
    reducing = parent(reduce_only=True, passive=False)
    held = VIEW._replace(position_qty=-0.03)
    assert next_step(reducing, [], held, after(100)).place.qty == pytest.approx(0.03)
    assert next_step(reducing, [], VIEW, after(100)).stop == ParentStatus.CANCELED
    assert next_step(reducing, [], VIEW._replace(position_qty=1.0), after(100)).stop == ParentStatus.CANCELED


def test_iceberg_shows_a_part_hides_on_wish_and_never_crosses():
    ice = parent(Algorithm.ICEBERG, display_qty=0.25, limit_px=49_950.0)
    shown = next_step(ice, [], VIEW, after(0)).place
    assert (shown.qty, shown.limit_px, shown.tif) == (0.25, pytest.approx(49_950.0), "GTX")
    hidden = replace(ice, spec=ice.spec._replace(hidden=True))
    assert next_step(hidden, [], VIEW, after(0)).place.tif == Tif.HIDDEN.value
    assert next_step(ice, [child(0.25)], VIEW, after(399)).place is None
    assert next_step(ice, [child(0.25, 0.25, OrderStatus.FILLED)], VIEW, after(400)).stop == ParentStatus.EXPIRED


def test_a_rest_too_small_for_the_venue_goes_with_the_last_child():
    small = parent(qty=0.0201)  # 0.001 lots of 50 quote each; 40 slices would be below a lot
    first = next_step(small, [], VIEW, after(390)).place
    assert first.qty == pytest.approx(0.019) or first.qty == pytest.approx(0.02)


# adaptive ------------------------------------------------------------------------------------------------------------


def test_costs_of_waiting_by_hand():
    pressure = Pressure(1, TOP, 0.1, 0.44, 1e-4, BTC, 1.0)
    half = 0.1 / 50_000.0
    chance = 1 - math.exp(-0.22 * 5 / 1.1)  # 0.22 a second against a queue of 1 and ourselves
    cross, risk = half + 0.0004, 0.1 * 1e-4 * math.sqrt(5)
    wait = chance * (0.0 - half + 0.8 * half) + (1 - chance) * (cross + 0.0 + risk)
    assert expected_costs(pressure) == pytest.approx((cross, wait, chance))
    assert not should_cross(pressure)


def test_a_dead_market_that_leans_against_us_is_crossed_and_one_that_leans_our_way_is_not():
    quiet = Pressure(1, TOP._replace(bid_qty=9.0), 0.1, 0.0, 0.0, BTC, 1.0)
    assert should_cross(quiet)  # bids are heavy: the price is expected to rise
    assert not should_cross(quiet._replace(side=-1))
    assert adaptive.expected_costs(quiet._replace(trade_rate=math.nan)).fill_chance == 0.0


def test_adaptive_posts_ahead_of_its_schedule_and_crosses_when_far_behind():
    made = parent(Algorithm.ADAPTIVE, urgency=0.0)
    early = next_step(made, [], VIEW._replace(trade_rate=5.0), after(1)).place
    assert (early.tif, early.qty) == ("GTX", pytest.approx(0.2))
    late = next_step(made, [], VIEW._replace(trade_rate=5.0), after(41)).place
    assert (late.tif, late.qty) == ("IOC", pytest.approx(0.41))


# a cap on the share of the market ------------------------------------------------------------------------------------


def test_no_line_is_above_the_cap_and_an_unknown_volume_allows_nothing():
    capped = parent(max_participation=0.1)
    assert due_qty(capped, Flow(5.0, None), after(200)) == pytest.approx(0.5)  # 2 by the schedule, 0.5 by the market
    assert due_qty(capped, Flow(50.0, None), after(200)) == pytest.approx(2.0)
    assert due_qty(replace(capped, base_qty=1.0), Flow(5.0, None), after(400)) == pytest.approx(1.5)
    assert due_qty(capped, NO_FLOW, after(200)) == 0.0
    assert next_step(capped, [], VIEW, after(200)).place is None


def test_a_capped_child_is_a_share_of_what_trades_since_the_beginning_and_lately():
    capped = parent(max_participation=0.1, passive=False)
    since = next_step(capped, [], VIEW._replace(market_volume=5.0, trade_rate=1.0), after(200)).place
    assert since.qty == pytest.approx(0.5)
    saved_up = VIEW._replace(market_volume=30.0, trade_rate=0.02)  # 1.2 a minute now
    assert next_step(capped, [], saved_up, after(380)).place.qty == pytest.approx(0.12)


def test_what_a_cap_leaves_is_given_up_unless_it_reduces_risk():
    thin = VIEW._replace(market_volume=5.0, trade_rate=0.01, position_qty=-9.0)
    capped = parent(max_participation=0.1, passive=False)
    child = order(OrderStatus.FILLED, spec(side=1, qty=0.5), filled_qty=0.5)
    ended = next_step(capped, [child], thin, after(431))
    assert (ended.stop, ended.place) == (ParentStatus.EXPIRED, None)
    assert ended.why == "its time was over with 3.5 of 4 to do, capped at 10.0% of what the market trades"
    assert next_step(capped, [child], thin, after(401)).place is None
    reduces = parent(max_participation=0.1, passive=False, reduce_only=True)
    assert next_step(reduces, [child], thin, after(390)).place is None
    assert next_step(reduces, [child], thin, after(401)).place.qty == pytest.approx(3.5)
