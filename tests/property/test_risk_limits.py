"""What must hold of the limits on the whole book for all books."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.risk import DRIFT_TOLERANCE
from engine.core.step import new_state, restore_book, step, warm_up
from engine.domain import NO_SHOCKS, NS_PER_S, AccountView, InstrumentTable, MarketSlice, Sleeve
from engine.limits import risk_limits
from engine.settings import SystemConfig

CASH = 10_000.0
TS = 1_600_000_200 * NS_PER_S
quick = settings(max_examples=60, deadline=None, derandomize=True)
CONFIG = SystemConfig(decision_interval="1h", volatility_horizon_hours=24.0, max_symbol_weight=2.0)
PARAMS = CONFIG.params()._replace(shocks=NO_SHOCKS, sleeve=int(Sleeve.EXTERNAL))
rng = np.random.default_rng(3)
CLOSES = 50.0 * np.exp(np.cumsum(rng.standard_t(3, (24 * 70, 3)) * 0.005 + rng.normal(0, 0.006, (24 * 70, 1)), axis=0))
WARM = warm_up(new_state(3, PARAMS), CLOSES, PARAMS)
PX = CLOSES[-1]
FREE = InstrumentTable(*(np.zeros(3) for _ in range(3)), np.full(3, np.inf), np.zeros(3))
weights = st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3).map(np.array)
LIMITS = {name: float(PARAMS.risk[name][0]) for name in PARAMS.risk.dtype.names}
EVERY_PERIOD = {"horizon_bars": 24, "tail_method": 2}


def decide(wish, held, peak=CASH, day_open=CASH, cash=CASH, state=None, ts=TS, params=PARAMS):
    start = restore_book(WARM, peak, day_open, TS) if state is None else state
    account = AccountView(cash, held * cash / PX, np.zeros(3), PX, PX, 0)
    market = MarketSlice(ts, PX, PX, PX, PX, PX, np.zeros(3))
    return step(start, market, account, FREE, wish, params)


@quick
@given(weights, weights, st.floats(0.86, 1.0))
def test_a_gap_against_every_position_ends_above_the_floor(wish, held, peak_share):
    peak = CASH / peak_share
    decision = decide(wish, held, peak=peak)[1]
    after = np.abs(decision.target_qty * PX).sum() / CASH
    gap = float(PARAMS.risk["gap"][0])
    assert CASH * (1.0 - after * gap) >= 0.85 * peak * (1.0 - 1e-9)


TIGHTER = {
    "max_net_weight": 0.5, "kelly_fraction": 0.5, "max_cvar": 0.5, "max_stress_loss": 0.5, "gap": 2.0,
    "stress_fall": 2.0, "stress_rise": 2.0, "kelly_prior_sharpe": 0.5, "full_share": 0.5, "throttle_share": 0.5,
    "reduce_share": 0.5, "flatten_share": 0.5,
}  # fmt: skip


@quick
@given(weights, weights, st.floats(0.87, 1.0), st.floats(0.955, 1.0), st.sampled_from(sorted(TIGHTER)))
def test_a_tighter_limit_never_leaves_more(wish, held, peak_share, day_share, name):
    tight = PARAMS._replace(risk=risk_limits(**LIMITS | {name: LIMITS[name] * TIGHTER[name]}))
    one, other = (
        decide(wish, held, CASH / peak_share, CASH / day_share, params=params)[1] for params in (PARAMS, tight)
    )
    assert (np.abs(other.approved_weight) <= np.abs(one.approved_weight) * (1.0 + 1e-9) + 1e-12).all()


@quick
@given(weights, weights, st.floats(0.87, 1.0), st.floats(0.955, 1.0))
def test_rules_only_lower_a_weight_and_never_turn_it(wish, held, peak_share, day_share):
    decision = decide(wish, held, CASH / peak_share, CASH / day_share)[1]
    assert (np.abs(decision.approved_weight) <= np.abs(wish) + 1e-12).all()
    assert (decision.approved_weight * wish >= 0.0).all()


@quick
@given(st.lists(st.floats(0.94, 1.02), min_size=2, max_size=8))
def test_the_ladder_only_goes_up_within_a_day(path):
    wish, state, before = np.array([0.1, 0.0, 0.0]), restore_book(WARM, CASH, CASH, TS), np.inf
    for number, share in enumerate(path):
        ts = TS + number * 60 * NS_PER_S
        state, decision = decide(wish, np.zeros(3), cash=CASH * share, state=state, ts=ts)
        allowed = abs(decision.approved_weight[0])
        assert allowed <= before + 1e-12
        before = allowed
    tomorrow = decide(wish, np.zeros(3), cash=CASH, state=state, ts=TS + 86_400 * NS_PER_S)[1]
    assert tomorrow.day_pnl == 0.0
    assert tomorrow.approved_weight[0] > 0.0


def test_the_tolerance_is_part_of_what_the_gap_may_cost():
    only_gaps = PARAMS._replace(risk=risk_limits(gap=0.31))
    wish = np.array([0.3, 0.4, 0.0])
    left = decide(wish, np.zeros(3), params=only_gaps)[1].approved_weight
    drifted = decide(wish, left * (1.0 + 0.99 * DRIFT_TOLERANCE), params=only_gaps)[1]
    assert not drifted.act.any()
    assert decide(wish, left * (1.0 + 1.5 * DRIFT_TOLERANCE), params=only_gaps)[1].act.sum() == 2
