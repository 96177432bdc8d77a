"""The rules on the whole book, through ``step``: what each measures, and what it leaves of a wish."""

import math

import numpy as np
import pytest

from engine.core.book_rules import affordable_gross
from engine.core.kelly import worth_volatility
from engine.core.risk import DRIFT_TOLERANCE, day_scale
from engine.core.state import KEPT_PERIODS, PAST_SIGMA, Z, copy_state
from engine.core.step import (
    Remembered,
    adopt_book,
    new_state,
    rearm,
    remembered,
    restore_book,
    step,
    warm_up,
)
from engine.core.tail import TailMethod, expected_shortfall, fitted_dof, shortfall_table, student_t
from engine.core.tail_days import YOUNG_VOLATILITY
from engine.domain import (
    NO_SHOCKS,
    NS_PER_DAY,
    NS_PER_S,
    AccountView,
    InstrumentTable,
    MarketSlice,
    Rule,
    Sleeve,
    Verdict,
)
from engine.limits import risk_limits
from engine.research.parity import Played, between
from engine.settings import SystemConfig

TS = 20_000 * NS_PER_DAY + 3600 * NS_PER_S
CASH = 10_000.0
N = 3
LEVEL = 0.975
FREE = SystemConfig(
    decision_interval="1h", rebalance_band=0.0, max_symbol_weight=5.0, max_gross_weight=10.0, max_leverage=20.0,
    volatility_horizon_hours=48.0,
).params()._replace(
    shocks=NO_SHOCKS, sleeve=int(Sleeve.EXTERNAL), risk=risk_limits(), tail_table=shortfall_table(LEVEL)
)  # fmt: skip
DAILY = {"horizon_bars": 24, "tail_level": LEVEL}


def history(n_days=80, seed=4):
    """Closes of three symbols: two that move together, one on its own."""
    rng = np.random.default_rng(seed)
    shared, own = rng.standard_t(4, (24 * n_days, 1)), rng.standard_t(4, (24 * n_days, N))
    moves = 0.004 * (shared * [1.0, 0.9, 0.0] + own * [0.3, 0.4, 1.0])
    return 100.0 * np.exp(np.cumsum(moves, axis=0))


CLOSES = history()


def decide(wish, *, held=(0.0, 0.0, 0.0), peak=CASH, day_open=CASH, cash=CASH, closes=CLOSES, kept=None, params=FREE,
           **limits):  # fmt: skip
    """One decision on books held and wished for, with some limits on; positions were entered at the present price."""
    params = params._replace(risk=risk_limits(**limits))
    state = restore_book(new_state(N, params), peak, day_open, TS, kept)
    state = warm_up(state, closes, params)
    px = closes[-1]
    market = MarketSlice(TS, px, px, px, px, px, np.zeros(N))
    account = AccountView(cash, np.array(held) * cash / px, np.zeros(N), px, px, 0)
    free = InstrumentTable(*(np.zeros(N) for _ in range(3)), np.full(N, np.inf), np.zeros(N))
    return step(state, market, account, free, np.array(wish, dtype=float), params)


def covariance(closes=CLOSES):
    """The core's estimate after a bar without a move, worked out anew."""
    return decide([0.0] * N, closes=closes)[0].covariance


def found(decision, rule, symbol=0):
    return decision.measured[symbol, rule], decision.limit[symbol, rule]


def test_nothing_is_limited_by_default():
    decision = decide([2.0, -1.0, 1.5])[1]
    np.testing.assert_array_equal(decision.approved_weight, [2.0, -1.0, 1.5])
    assert not decision.verdict.any()


@pytest.mark.parametrize("fall", [0.0, 0.05, 0.12])
def test_the_cushion_pays_for_the_gap(fall):
    wish = np.array([1.0, -0.8, 0.6])
    decision = decide(wish, peak=CASH / (1.0 - fall), gap=0.31, full_share=0.95)[1]
    gross = np.abs(decision.approved_weight).sum()
    assert gross * (1.0 + DRIFT_TOLERANCE) * 0.31 == pytest.approx(1.0 - 0.85 / (1.0 - fall))
    assert found(decision, Rule.CUSHION) == (pytest.approx(2.4), pytest.approx(gross))
    np.testing.assert_allclose(decision.approved_weight / gross, wish / 2.4)
    assert (decision.verdict[:, Rule.CUSHION] == Verdict.CLIP).all()


def test_affordable_gross_is_nothing_at_the_floor_and_unlimited_when_off():
    assert affordable_gross(85.0, 100.0, 0.15, 0.3) == pytest.approx(0.0)
    assert affordable_gross(50.0, 100.0, 0.15, 0.3) == 0.0
    assert affordable_gross(-1.0, 100.0, 0.15, 0.3) == 0.0
    assert affordable_gross(100.0, 100.0, 0.15, 0.0) == math.inf
    assert affordable_gross(100.0, 100.0, 1e9, 0.3) > 1e6  # drawdown control switched off


def test_the_band_keeps_nothing_that_the_cushion_cannot_pay_for():
    band = FREE._replace(rebalance_band=0.05)
    held, wish = (0.20, 0.20, 0.18), (0.155, 0.155, 0.155)  # within what 0.31 allows; each change is within the band
    assert decide(wish, held=held, params=band, gap=0.2)[1].act.sum() == 0
    forced = decide(wish, held=held, params=band, gap=0.31)[1]
    assert forced.act.all()
    np.testing.assert_allclose(forced.target_qty * CLOSES[-1] / CASH, wish, rtol=1e-6)


def test_net_cap_counts_longs_less_shorts():
    decision = decide([1.0, -0.2, 0.4], max_net_weight=0.6)[1]
    np.testing.assert_allclose(decision.approved_weight, [0.5, -0.1, 0.2])
    assert found(decision, Rule.NET_CAP) == (pytest.approx(1.2), 0.6)


def test_a_cluster_is_capped_alone():
    decision = decide([0.6, 0.4, 0.9], max_cluster_weight=0.5, cluster_correlation=0.6)[1]
    np.testing.assert_allclose(decision.approved_weight, [0.3, 0.2, 0.5])
    assert found(decision, Rule.CLUSTER_CAP, 1) == (pytest.approx(1.0), 0.5)
    assert found(decision, Rule.CLUSTER_CAP, 2)[0] == pytest.approx(0.9)
    hedged = decide([0.6, -0.4, 0.3], max_cluster_weight=0.5, cluster_correlation=0.6)[1]
    assert not hedged.verdict.any()


def test_stress_is_beta_times_the_shock_plus_the_own_move():
    wish = np.array([0.8, -0.2, 0.5])
    limits = {"stress_fall": 0.4, "stress_rise": 0.25, "stress_own": 0.05}
    decision = decide(wish, **limits, max_stress_loss=0.1)[1]
    c = covariance()
    beta = c.mean(axis=1) / c.mean()
    loss = max(0.4 * wish @ beta, -0.25 * wish @ beta) + 0.05 * 1.5
    assert found(decision, Rule.STRESS) == (pytest.approx(loss), 0.1)
    np.testing.assert_allclose(decision.approved_weight, wish * 0.1 / loss)
    short = decide(-wish, **limits, max_stress_loss=9.0)[1]
    assert found(short, Rule.STRESS)[0] == pytest.approx(0.25 * wish @ beta + 0.05 * 1.5)


def shortfall_by_hand(state, wish, method):
    n = int(state.book["n_periods"][0])
    z, then = state.past[:N, Z : Z + n], state.past[:N, PAST_SIGMA : PAST_SIGMA + n]
    sigma = np.sqrt(np.diag(state.covariance) * 24)
    if method == TailMethod.STUDENT_T:
        volatility = math.sqrt(wish @ state.covariance @ wish * 24)
        return volatility * student_t(LEVEL, round(fitted_dof(z), 9))[1]
    scale = then if method == TailMethod.HISTORICAL else sigma[:, None]
    return expected_shortfall(-wish @ np.maximum(z * scale, -1.0), LEVEL)


@pytest.mark.parametrize("method", list(TailMethod))
def test_cvar_equals_the_plain_measure_and_caps_the_book(method):
    wish = np.array([0.9, -0.3, 0.7])
    state, loose = decide(wish, **DAILY, tail_method=int(method), max_cvar=5.0)
    by_hand = shortfall_by_hand(state, wish, method)
    assert found(loose, Rule.CVAR)[0] == pytest.approx(by_hand, rel=0.01 if method == TailMethod.STUDENT_T else 1e-9)
    tight = decide(wish, **DAILY, tail_method=int(method), max_cvar=0.5 * by_hand)[1]
    np.testing.assert_allclose(tight.approved_weight, 0.5 * wish, rtol=0.01)
    assert (tight.verdict[:, Rule.CVAR] == Verdict.CLIP).all()


def test_a_period_is_kept_in_units_of_its_forecast():
    limits = FREE._replace(risk=risk_limits(**DAILY))
    before = warm_up(new_state(N, limits), CLOSES[: 24 * 20], limits)
    after = warm_up(before, CLOSES[24 * 20 : 24 * 21], limits)
    k = int(before.book["n_periods"][0])
    assert after.book["n_periods"][0] == k + 1
    sigma = np.sqrt(np.diag(before.covariance) * 24)
    expected = (CLOSES[24 * 21 - 1] / CLOSES[24 * 20 - 1] - 1.0) / sigma
    np.testing.assert_allclose(after.past[:N, Z + k], expected, rtol=1e-9)
    np.testing.assert_allclose(after.past[:N, PAST_SIGMA + k], sigma, rtol=1e-9)


def test_the_ring_keeps_the_newest_periods():
    closes = history(KEPT_PERIODS + 12)[::24]
    daily = FREE._replace(risk=risk_limits(horizon_bars=1), vol_horizon_bars=3.0)
    state = warm_up(new_state(N, daily), closes, daily)
    n = int(state.book["n_periods"][0])
    assert n > KEPT_PERIODS
    last = (n - 1) % KEPT_PERIODS
    assert (state.past[:N, Z + last] * state.past[:N, PAST_SIGMA + last]) == pytest.approx(closes[-1] / closes[-2] - 1)


def test_without_a_record_of_periods_the_tail_is_the_priors():
    decision = decide([0.5, 0.0, 0.0], closes=CLOSES[:60], **DAILY, max_cvar=1.0)[1]
    c = covariance(CLOSES[:60])
    expected = 0.5 * math.sqrt(c[0, 0] * 24) * student_t(LEVEL, 4.0)[1]
    assert found(decision, Rule.CVAR)[0] == pytest.approx(expected, rel=0.01)


def test_a_young_symbol_counts_with_a_floor_and_correlation_one():
    decision = decide([0.5, -0.5, 0.5], closes=CLOSES[:1], **DAILY, max_cvar=9.0, max_cluster_weight=9.0,
                      max_stress_loss=9.0, stress_fall=0.4)[1]  # fmt: skip
    expected = 1.5 * YOUNG_VOLATILITY / math.sqrt(365.0) * student_t(LEVEL, 4.0)[1]
    assert found(decision, Rule.CVAR)[0] == pytest.approx(expected, rel=0.01)
    assert found(decision, Rule.CLUSTER_CAP)[0] == pytest.approx(1.5)  # what is not known nets nothing
    assert found(decision, Rule.STRESS)[0] == pytest.approx(0.4 * 1.5)


def test_an_unknown_measure_lets_nothing_grow():
    params = FREE._replace(risk=risk_limits(**DAILY, max_cvar=0.5))
    state = warm_up(restore_book(new_state(N, params), CASH, CASH, TS), CLOSES, params)
    broken = copy_state(state)
    broken.covariance[0, 1] = broken.covariance[1, 0] = math.nan
    broken.book["n_periods"] = 0  # the law, whose volatility is then unknown
    px = CLOSES[-1]
    account = AccountView(CASH, np.array([0.2, 0.2, 0.0]) * CASH / px, np.zeros(N), px, px, 0)
    free = InstrumentTable(*(np.zeros(N) for _ in range(3)), np.full(N, np.inf), np.zeros(N))
    market = MarketSlice(TS, px, px, px, px, px, np.zeros(N))
    decision = step(broken, market, account, free, np.array([0.4, 0.1, 0.3]), params)[1]
    np.testing.assert_allclose(decision.approved_weight, [0.2, 0.1, 0.0])


def test_kelly_caps_the_volatility_at_what_the_record_is_worth():
    limits = {**DAILY, "kelly_fraction": 0.5, "kelly_prior_sharpe": 1.0, "kelly_prior_days": 365.0}
    kept = Remembered(edge_n=400.0, edge_sum=4.0, edge_square=400.0)
    wish = np.array([1.5, 0.5, 1.0])
    state, decision = decide(wish, kept=kept, **limits)
    worth = worth_volatility.py_func(400.0, 4.0, 400.0, 365.0, risk_limits(**limits)[0])
    volatility = math.sqrt(wish @ state.covariance @ wish * 8760)
    assert found(decision, Rule.KELLY) == (pytest.approx(volatility), pytest.approx(worth))
    np.testing.assert_allclose(decision.approved_weight, wish * worth / volatility)
    losing = decide(wish, kept=Remembered(0.0, 900.0, -90.0, 900.0), **limits)[1]
    assert not losing.approved_weight.any()
    assert (losing.verdict[:, Rule.KELLY] == Verdict.REFUSE).all()


LADDER = {"throttle_share": 0.4, "reduce_share": 0.6, "flatten_share": 0.8}


@pytest.mark.parametrize(
    ("loss", "held", "left"),
    [(0.019, 0.0, 0.4), (0.025, 0.0, 0.3), (0.032, 0.1, 0.1), (0.032, 0.3, 0.16), (0.041, 0.3, 0.0), (0.06, 0.3, 0.0)],
)
def test_the_days_ladder(loss, held, left):
    decision = decide([0.4, 0.0, 0.0], held=(held, 0.0, 0.0), day_open=CASH / (1.0 - loss), **LADDER)[1]
    assert decision.approved_weight[0] == pytest.approx(left)
    assert found(decision, Rule.DAILY_LOSS) == (pytest.approx(loss), 0.05)


def test_the_ladder_remembers_the_days_worst_across_a_restart_and_forgets_it_at_rearm():
    kept = Remembered(day_worst=0.045)
    assert decide([0.4, 0.0, 0.0], kept=kept, **LADDER)[1].approved_weight[0] == 0.0
    state = restore_book(new_state(N, FREE), CASH, CASH, TS, kept)
    assert remembered(state).day_worst == 0.045
    assert remembered(rearm(state, CASH)).day_worst == 0.0


def test_day_scale_is_a_step_when_throttle_and_flat_are_one():
    assert day_scale(0.0499, 0.05, 1.0, 1.0) == 1.0
    assert day_scale(0.05, 0.05, 1.0, 1.0) == 0.0


def test_another_strategy_does_not_inherit_the_record_of_the_edge():
    old = restore_book(new_state(N, FREE), CASH, CASH, TS, Remembered(0.02, 50.0, 5.0, 50.0))
    limits = FREE._replace(risk=risk_limits(**DAILY))
    fresh = warm_up(new_state(N, limits), CLOSES, limits)
    same, other = adopt_book(fresh, old, True), adopt_book(fresh, old, False)
    assert remembered(same) == Remembered(0.02, 50.0, 5.0, 50.0)
    assert remembered(other) == Remembered(0.02, 0.0, 0.0, 0.0)
    assert same.book["n_periods"][0] == fresh.book["n_periods"][0] > 0


def test_limits_on_the_book_do_not_reach_the_yardstick():
    tight = {"gap": 0.9, "max_net_weight": 0.01, "max_stress_loss": 0.01, "stress_fall": 0.9, "throttle_share": 0.01,
             "reduce_share": 0.01, "flatten_share": 0.01}  # fmt: skip
    yardstick = FREE._replace(sleeve=int(Sleeve.EMA_CROSS), ema_fast=3, ema_slow=9)
    plain, limited = (decide([0.0] * N, params=yardstick, day_open=CASH / 0.99, **limits)[1] for limits in ({}, tight))
    np.testing.assert_array_equal(plain.approved_weight, limited.approved_weight)
    assert np.abs(plain.approved_weight).sum() > 0.9


def test_a_limit_with_a_wrong_name_is_refused():
    with pytest.raises(ValueError, match=r"\['max_cvr'\] are no risk limits"):
        risk_limits(max_cvr=0.1)


def test_paths_may_differ_where_their_own_equity_limits_them_and_nowhere_else():
    def record(approved, rule):
        verdict = [[0] * len(Rule)]
        verdict[0][rule] = int(Verdict.CLIP)
        same = {"close_px": [1.0], "inputs": {"ts_close": 1}, "raw_weight": [0.9], "sized_weight": [0.8]}
        return same | {"approved_weight": [approved], "verdict": verdict}

    def compared(rule):
        paths = [Played(name, None, [record(w, rule)]) for name, w in (("paper", 0.4), ("live", 0.41))]
        return between(*paths)[1]

    assert compared(Rule.CUSHION) == []
    assert compared(Rule.CVAR) == ["decision 0: approved_weight differs between paper and live"]
