"""The rules on orders, the distance to liquidation and the past shocks, through ``step``."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.step import new_state, step, warm_up
from engine.core.turnover import has_volume, hour_notional
from engine.domain import NS_PER_DAY, NS_PER_S, AccountView, InstrumentTable, MarketSlice, Rule, Sleeve, Verdict
from engine.limits import MAINTENANCE_RATE, risk_limits
from engine.settings import SystemConfig
from engine.shocks import losses, past_shocks, shocks

TS = 20_000 * NS_PER_DAY + 3600 * NS_PER_S
CASH, N, HOUR = 10_000.0, 3, 3600 * NS_PER_S
SYMBOLS = ("BTCUSDT", "SOLUSDT", "NEWUSDT")
CONFIG = SystemConfig(
    decision_interval="1h", rebalance_band=0.0, max_symbol_weight=5.0, max_gross_weight=10.0, max_leverage=20.0,
    volatility_horizon_hours=48.0, symbols=SYMBOLS,
)  # fmt: skip
FREE = CONFIG.params()._replace(sleeve=int(Sleeve.EXTERNAL), risk=risk_limits())
PX = np.array([100.0, 50.0, 10.0])
CLOSES = PX * np.exp(np.cumsum(np.random.default_rng(3).normal(0.0, 0.01, (24 * 40, 1)) * [1.0, 2.0, 1.5], axis=0))


def decide(wish, *, held=(0.0, 0.0, 0.0), usual=(), state=None, ts=TS, lot=0.0, **limits):
    """One decision at prices ``PX``; weights are of ``CASH``, ``usual`` what trades in an hour."""
    params = FREE._replace(risk=risk_limits(**limits))
    state = new_state(N, params) if state is None else state
    market = MarketSlice(ts, PX, PX, PX, PX, PX, np.zeros(N), np.array(usual, dtype=float))
    account = AccountView(CASH, np.array(held) * CASH / PX, np.zeros(N), PX, PX, 0)
    table = InstrumentTable(np.zeros(N), np.full(N, lot), np.zeros(N), np.full(N, np.inf), np.zeros(N))
    return step(state, market, account, table, np.array(wish, dtype=float), params)


def weights(decision):
    return decision.target_qty * PX / CASH


def test_a_book_stays_so_far_from_liquidation_and_shrinks_in_proportion():
    decision = decide([3.0, -1.0, 1.0], liquidation_gross=2.5)[1]
    np.testing.assert_allclose(decision.approved_weight, [1.5, -0.5, 0.5])
    assert (decision.verdict[:, Rule.LIQUIDATION] == Verdict.CLIP).all()
    assert (decision.measured[0, Rule.LIQUIDATION], decision.limit[0, Rule.LIQUIDATION]) == (5.0, 2.5)


@pytest.mark.parametrize("strategy", ["trend", "ema-cross"])
def test_at_the_limit_the_worse_side_is_liquidated_by_exactly_the_stated_move(strategy):
    gross = SystemConfig(strategy=strategy, min_liquidation_distance=0.2).params().risk["liquidation_gross"][0]
    assert 1.0 - gross * 0.2 == pytest.approx(MAINTENANCE_RATE * gross * 1.2)


def test_growth_is_a_share_of_what_usually_trades_and_what_was_added_in_the_hour_counts():
    usual = [4_000.0, 40_000.0, 1e9]
    state, decision = decide([0.5, 0.5, 0.5], usual=usual, max_participation=0.25)
    np.testing.assert_allclose(weights(decision), [0.1, 0.5, 0.5])
    assert decision.verdict[:, Rule.PARTICIPATION].tolist() == [Verdict.CLIP, Verdict.PASS, Verdict.PASS]
    assert decision.measured[0, Rule.PARTICIPATION] == pytest.approx(1.25)
    assert decision.limit[0, Rule.PARTICIPATION] == 0.25
    again = {"held": (0.1, 0.5, 0.5), "usual": usual, "state": state, "max_participation": 0.25}
    _, decision = decide([0.5, 0.5, 0.5], ts=TS + 60 * NS_PER_S, **again)
    assert weights(decision)[0] == pytest.approx(0.1)
    assert decision.act[0] == 0
    assert decision.verdict[0, Rule.PARTICIPATION] == Verdict.REFUSE
    _, decision = decide([0.5, 0.5, 0.5], ts=TS + HOUR, **again)
    assert weights(decision)[0] == pytest.approx(0.2)


def test_reducing_is_never_limited_and_a_position_that_turns_is_closed_at_once():
    limits = {"held": (0.5, -0.5, 0.5), "usual": [1_000.0] * 3, "max_participation": 0.1}
    decision = decide([0.1, 0.0, -0.5], **limits)[1]
    np.testing.assert_allclose(weights(decision), [0.1, 0.0, -0.01])
    assert decision.act.all()


def test_what_is_not_known_to_trade_may_not_grow_and_without_volumes_nothing_is_limited():
    decision = decide([0.5, 0.1, 0.5], held=(0.2, 0.3, 0.0), usual=[np.nan, 0.0, 1e9], max_participation=0.5)[1]
    np.testing.assert_allclose(weights(decision), [0.2, 0.1, 0.5])
    assert decision.act.tolist() == [0, 1, 1]
    decision = decide([0.5, 0.5, 0.5], max_participation=0.001)[1]
    np.testing.assert_allclose(weights(decision), 0.5)
    assert not decision.verdict[:, Rule.PARTICIPATION].any()
    with pytest.raises(ValueError, match="hour_notional has shape"):
        decide([0.5] * 3, usual=[1.0, 2.0])


@given(
    wish=st.lists(st.floats(-2, 2), min_size=N, max_size=N), held=st.lists(st.floats(-2, 2), min_size=N, max_size=N),
    usual=st.floats(1.0, 1e6), share=st.floats(0.01, 2.0), lot=st.sampled_from([0.0, 0.01]),
)  # fmt: skip
def test_nothing_ever_adds_more_than_its_share(wish, held, usual, share, lot):
    decision = decide(wish, held=held, usual=[usual] * N, max_participation=share, lot=lot)[1]
    after, before = decision.target_qty, np.array(held) * CASH / PX
    same_side = after * before > 0.0
    grown = np.where(same_side, np.maximum(np.abs(after) - np.abs(before), 0.0), np.abs(after)) * PX
    grown[decision.act == 0] = 0.0
    assert (grown <= share * usual * (1.0 + 1e-9) + 1e-6).all()
    assert (after * np.array(wish) >= -1e-12)[decision.act == 1].all()


def test_no_more_symbols_are_acted_on_in_a_minute_except_to_reduce():
    state, decision = decide([0.5, 0.5, 0.5], max_orders=2)
    assert decision.act.tolist() == [1, 1, 0]
    assert decision.verdict[2, Rule.ORDER_RATE] == Verdict.REFUSE
    assert (decision.measured[2, Rule.ORDER_RATE], decision.limit[2, Rule.ORDER_RATE]) == (3.0, 2.0)
    _, decision = decide([0.4, 0.6, 0.0], held=(0.5, 0.5, 0.5), state=state, ts=TS + NS_PER_S, max_orders=2)
    assert decision.act.tolist() == [1, 0, 1]
    _, decision = decide([0.5, 0.5, 0.5], state=state, ts=TS + 60 * NS_PER_S, max_orders=2)
    assert decision.act.tolist() == [1, 1, 0]


def stressed(wish, table, seen=CLOSES, **limits):
    params = FREE._replace(risk=risk_limits(max_stress_loss=100.0, **limits), shocks=np.array(table, dtype=float))
    state = warm_up(new_state(N, params), seen, params)
    px = seen[-1]
    market = MarketSlice(TS, px, px, px, px, px, np.zeros(N))
    account = AccountView(CASH, np.zeros(N), np.zeros(N), px, px, 0)
    free = InstrumentTable(*(np.zeros(N) for _ in range(3)), np.full(N, np.inf), np.zeros(N))
    state, decision = step(state, market, account, free, np.array(wish, dtype=float), params)
    return decision.measured[0, Rule.STRESS], state


def test_the_worst_past_shock_counts_with_each_symbols_own_move():
    table = [[-0.4, -0.1, -0.2, -0.3], [0.1, -0.5, 0.0, -0.1]]
    assert stressed([0.5, 0.2, 0.1], table)[0] == pytest.approx(0.5 * 0.4 + 0.2 * 0.1 + 0.1 * 0.2)
    assert stressed([-0.5, 0.6, 0.0], table)[0] == pytest.approx(0.5 * 0.1 + 0.6 * 0.5)
    assert stressed([-0.5, 0.0, 0.0], [table[0]])[0] == 0.0
    assert stressed([0.1, 0.0, 0.0], table, stress_fall=0.9)[0] > 0.04  # the two of the market count as well


def test_who_did_not_trade_then_moves_by_beta_and_whoever_is_young_by_the_whole_against_the_position():
    found, state = stressed([0.0, 0.0, 0.4], [[-0.4, -0.1, np.nan, -0.3]])
    known = state.covariance
    beta = known[2].sum() * N / known.sum()
    assert found == pytest.approx(0.4 * beta * 0.3)
    assert stressed([0.0, 0.0, -0.4], [[-0.4, -0.1, np.nan, -0.3]])[0] == 0.0
    young = CLOSES.copy()
    young[:-10, 2] = np.nan
    assert stressed([0.0, 0.0, -0.4], [[-0.4, -0.1, np.nan, -0.3]], young)[0] == pytest.approx(0.4 * 0.3)


@pytest.mark.parametrize("wish", [[0.5, 0.2, 0.1], [-0.5, 0.6, -0.3], [0.0, 0.0, 0.4], [-0.2, -0.2, -0.2]])
def test_the_shocks_by_name_are_those_of_the_limit(wish):
    moves = {"fall": 0.4, "rise": 0.25, "own": 0.05}
    measured, state = stressed(wish, past_shocks(SYMBOLS), **{f"stress_{name}": by for name, by in moves.items()})
    found = losses(SYMBOLS, np.array(wish), state.covariance, np.ones(N, dtype=bool), moves)
    assert len(found) == 8
    assert max(found.values()) == pytest.approx(measured, rel=1e-9)


def test_the_stored_days_are_the_worst_of_the_crises_and_a_spot_leg_moves_with_its_perpetual():
    table = past_shocks((*SYMBOLS, "BTCUSDT.SPOT"))
    assert table.shape == (6, 5)
    days = {shock.key: shock for shock in shocks()}
    assert days["2020-03-12"].move["BTCUSDT"] == pytest.approx(-0.465, abs=1e-3)
    assert "SOLUSDT" not in days["2020-03-12"].move
    np.testing.assert_array_equal(table[:, 0], table[:, 3])
    assert np.isnan(table[:2, 1]).all()
    assert np.isnan(table[:, 2]).all()
    assert (table[:, 4] < -0.1).all()
    with pytest.raises(ValueError, match=r"params\.shocks has shape"):
        stressed([0.1] * 3, past_shocks(SYMBOLS[:2]))


def test_what_usually_trades_is_an_average_over_a_day_in_quote_an_hour_and_one_bar_at_a_time_gives_the_same():
    rng = np.random.default_rng(5)
    close, volume = rng.uniform(90, 110, (50, 2)), rng.lognormal(3, 1, (50, 2))
    close[7, 0] = np.nan
    bars_per_year = 4 * 24 * 365.0
    whole = hour_notional(np.full(2, np.nan), close, volume, bars_per_year)
    level, alpha = 4 * close[0, 1] * volume[0, 1], 2.0 / 97.0
    for t in range(1, 50):
        level += alpha * (4 * close[t, 1] * volume[t, 1] - level)
    assert whole[-1, 1] == pytest.approx(level, rel=1e-12)
    assert whole[7, 0] == whole[6, 0]
    usual, single = np.full(2, np.nan), []
    for t in range(50):
        single.append(hour_notional(usual, close[t : t + 1], volume[t : t + 1], bars_per_year)[0])
    np.testing.assert_array_equal(whole, single)


def test_volumes_count_when_every_symbol_has_traded():
    volume = np.ones((4, 2))
    assert has_volume(volume, (4, 2))
    assert not has_volume(np.zeros((0, 0)), (4, 2))
    volume[:, 1] = 0.0
    assert not has_volume(volume, (4, 2))
