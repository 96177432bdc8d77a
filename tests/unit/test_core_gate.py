"""The risk gate through ``step``: each rule's effect on an external wish, with its verdict."""

import math

import numpy as np
import pytest

from engine.core.risk import drawdown_scale, without_growth
from engine.core.step import new_state, restore_book, step, warm_up
from engine.domain import (
    NO_SHOCKS,
    NS_PER_DAY,
    NS_PER_S,
    AccountView,
    InstrumentTable,
    MarketSlice,
    Rule,
    Sleeve,
    TradingState,
    Verdict,
)
from engine.limits import risk_limits
from engine.settings import SystemConfig

TS = 20_000 * NS_PER_DAY + 3600 * NS_PER_S
CONFIG = SystemConfig(decision_interval="1h", rebalance_band=0.02)
PARAMS = CONFIG.params()._replace(  # the limits on the book have tests of their own
    shocks=NO_SHOCKS, sleeve=int(Sleeve.EXTERNAL), risk=risk_limits()
)
CASH = 1000.0


def decide(wish, *, qty=0.0, in_flight=0.0, px=100.0, age=0.0, peak=CASH, day_open=CASH, cash=CASH, lot=0.0,
           min_notional=0.0, trading_state=TradingState.RUNNING, close=None, **changes):  # fmt: skip
    """One decision on one symbol, entered at its present price, so that equity is the cash."""
    params = PARAMS._replace(**changes)
    state = restore_book(new_state(1, params), peak, day_open, TS)
    state = warm_up(state, np.array([[px]]), params)
    one = np.array([px if close is None else close])
    market = MarketSlice(TS, one, one, one, one, np.ones(1), np.array([age]))
    mark = np.array([px])
    account = AccountView(cash, np.array([qty]), np.array([in_flight]), mark, mark, int(trading_state))
    limits = InstrumentTable(np.zeros(1), np.array([lot]), np.array([lot]), np.array([1e9]), np.array([min_notional]))
    return step(state, market, account, limits, np.array([wish]), params)[1]


def verdict(decision, rule):
    return Verdict(int(decision.verdict[0, rule]))


def test_wish_within_all_limits_passes_every_rule():
    decision = decide(0.3)
    assert decision.approved_weight[0] == 0.3
    assert decision.target_qty[0] == pytest.approx(3.0)  # 0.3 * 1000 / 100
    assert decision.act[0] == 1
    assert not decision.verdict.any()


def test_symbol_cap_clips_to_half():
    decision = decide(0.9)
    assert decision.approved_weight[0] == 0.5
    assert verdict(decision, Rule.SYMBOL_CAP) == Verdict.CLIP
    assert (decision.measured[0, Rule.SYMBOL_CAP], decision.limit[0, Rule.SYMBOL_CAP]) == (0.9, 0.5)


def test_gross_cap_shrinks_the_book():
    decision = decide(-0.9, max_symbol_weight=1.0, max_gross_weight=0.6)
    assert decision.approved_weight[0] == pytest.approx(-0.6)
    assert verdict(decision, Rule.GROSS_CAP) == Verdict.CLIP


def test_leverage_applies_after_the_gross_cap():
    decision = decide(3.0, max_symbol_weight=4.0, max_gross_weight=2.0, max_leverage=1.5)
    assert decision.approved_weight[0] == pytest.approx(1.5)
    assert decision.measured[0, Rule.LEVERAGE] == 2.0


def test_reduce_only_lets_a_reduction_through_and_no_growth_or_flip():
    grow = decide(0.4, qty=2.0, trading_state=TradingState.REDUCE_ONLY)
    assert (grow.act[0], grow.target_qty[0]) == (0, 2.0)
    assert verdict(grow, Rule.TRADING_STATE) == Verdict.REFUSE
    reduce = decide(0.1, qty=2.0, trading_state=TradingState.REDUCE_ONLY)
    assert (reduce.act[0], reduce.target_qty[0]) == (1, pytest.approx(1.0))
    flip = decide(-0.3, qty=2.0, trading_state=TradingState.REDUCE_ONLY)
    assert (flip.act[0], flip.target_qty[0]) == (1, 0.0)


def test_halted_refuses_everything_even_a_reduction():
    decision = decide(0.0, qty=2.0, trading_state=TradingState.HALTED)
    assert (decision.act[0], decision.target_qty[0]) == (0, 2.0)
    assert verdict(decision, Rule.TRADING_STATE) == Verdict.REFUSE


@pytest.mark.parametrize("staleness", [{"age": 16.0}, {"age": math.nan}, {"close": math.nan}])
def test_stale_price_stops_growth_but_not_reduction(staleness):
    grow = decide(0.4, qty=2.0, **staleness)
    assert (grow.act[0], verdict(grow, Rule.STALE_DATA)) == (0, Verdict.REFUSE)
    reduce = decide(0.1, qty=2.0, **staleness)
    assert (reduce.act[0], reduce.target_qty[0]) == (1, pytest.approx(1.0))


def test_half_the_daily_loss_stops_new_risk_and_all_of_it_flattens():
    half = decide(0.4, qty=2.0, day_open=CASH / 0.97)  # 3 % lost, limit 5 %
    assert (half.act[0], verdict(half, Rule.DAILY_LOSS)) == (0, Verdict.REFUSE)
    assert half.measured[0, Rule.DAILY_LOSS] == pytest.approx(0.03)
    full = decide(0.4, qty=2.0, day_open=CASH / 0.94)
    assert (full.act[0], full.target_qty[0]) == (1, 0.0)


def test_daily_loss_lock_lasts_until_the_next_utc_day():
    params = PARAMS
    state = restore_book(new_state(1, params), CASH, CASH, TS)
    limits = InstrumentTable(*(np.zeros(1) for _ in range(5)))
    one, flat = np.array([100.0]), np.zeros(1)
    approved = []
    for hours, cash in ((0, 940.0), (1, 990.0), (22, 990.0), (23, 990.0)):
        market = MarketSlice(TS + hours * 3600 * NS_PER_S, one, one, one, one, one, flat)
        state, decision = step(
            state, market, AccountView(cash, flat, flat, flat, one, 0), limits, np.array([0.3]), params
        )
        approved.append(decision.approved_weight[0])
    assert approved[:3] == [0.0, 0.0, 0.0]
    assert approved[3] == pytest.approx(0.3 * drawdown_scale(0.01, 0.15))  # midnight has passed


@pytest.mark.parametrize(
    ("fall", "share"), [(0.0, 1.0), (0.05, 1.0), (0.10, 0.5), (0.125, 0.25), (0.15, 0.0), (0.3, 0.0)]
)
def test_drawdown_scale(fall, share):
    assert drawdown_scale(fall, 0.15) == pytest.approx(share)


def test_drawdown_shrinks_the_wish_and_flattens_at_the_limit_for_good():
    half = decide(0.4, peak=CASH / 0.9)
    assert half.approved_weight[0] == pytest.approx(0.2)
    assert verdict(half, Rule.DRAWDOWN) == Verdict.CLIP
    gone = decide(0.4, qty=2.0, peak=CASH / 0.8)
    assert (gone.act[0], gone.target_qty[0]) == (1, 0.0)
    assert verdict(gone, Rule.DRAWDOWN) == Verdict.REFUSE


def test_in_flight_counts_as_exposure():
    decision = decide(0.3, qty=1.0, in_flight=2.0)
    assert (decision.act[0], decision.target_qty[0]) == (0, 3.0)


def test_lots_round_toward_zero_and_small_orders_are_refused():
    assert decide(0.257, lot=0.1).target_qty[0] == pytest.approx(2.5)
    refused = decide(0.257, min_notional=300.0)
    assert (refused.act[0], refused.target_qty[0]) == (0, 0.0)
    assert verdict(refused, Rule.VENUE_FILTER) == Verdict.REFUSE
    assert decide(0.1, qty=2.0, min_notional=300.0).act[0] == 1  # reducing needs no minimum


def test_band_blocks_small_changes_but_not_closing_or_forced_reductions():
    small = decide(0.21, qty=2.0)
    assert (small.act[0], verdict(small, Rule.REBALANCE_BAND)) == (0, Verdict.REFUSE)
    assert decide(0.0, qty=0.1).act[0] == 1
    forced = decide(0.515, qty=5.15)  # 0.515 against a cap of 0.5: more than 2 % beyond
    assert (forced.act[0], forced.target_qty[0]) == (1, pytest.approx(5.0))
    drift = decide(0.505, qty=5.05)
    assert drift.act[0] == 0


def test_unknown_wish_keeps_the_position_and_says_so():
    decision = decide(math.nan, qty=2.0)
    assert math.isnan(decision.raw_weight[0])
    assert (decision.act[0], decision.target_qty[0]) == (0, 2.0)
    assert verdict(decision, Rule.WARM_UP) == Verdict.REFUSE


def test_lost_account_closes_everything():
    decision = decide(0.3, qty=2.0, cash=-5.0)
    assert (decision.act[0], decision.target_qty[0]) == (1, 0.0)


@pytest.mark.parametrize(
    ("weight", "present", "allowed"), [(0.5, 0.2, 0.2), (0.1, 0.2, 0.1), (-0.5, 0.2, 0.0), (0.3, 0.0, 0.0)]
)
def test_without_growth(weight, present, allowed):
    assert without_growth(weight, present) == allowed


def test_step_changes_none_of_its_inputs():
    params = PARAMS
    state = warm_up(new_state(2, params), np.array([[100.0, 50.0]]), params)
    before = [np.array(field, copy=True) for field in state]
    one, flat = np.array([101.0, 51.0]), np.zeros(2)
    account = AccountView(CASH, flat, flat, flat, one, 0)
    step(state, MarketSlice(TS, one, one, one, one, one, flat), account, InstrumentTable(*(flat,) * 5), one, params)
    for field, saved in zip(state, before, strict=True):
        np.testing.assert_array_equal(field, saved)
    assert not flat.any()
