"""What must hold of books with pairs of spot and perpetual, and what must not change for all others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.netting import basis_loss
from engine.core.risk import DRIFT_TOLERANCE
from engine.core.step import new_state, restore_book, step, warm_up
from engine.core.tail_days import is_young
from engine.domain import NO_SHOCKS, NS_PER_S, AccountView, InstrumentTable, MarketSlice, Rule, Sleeve
from engine.limits import MAINTENANCE_RATE, risk_limits
from engine.settings import SystemConfig
from engine.underlyings import check_underlying, underlyings

CASH = 10_000.0
TS = 1_600_000_200 * NS_PER_S
SYMBOLS = ("A", "A.SPOT", "B", "C.SPOT", "C")
N = len(SYMBOLS)
PAIRS = ((0, 1), (4, 3))
quick = settings(max_examples=80, deadline=None, derandomize=True)
CONFIG = SystemConfig(decision_interval="1h", volatility_horizon_hours=24.0, max_symbol_weight=2.0)
PARAMS = CONFIG.params()._replace(shocks=NO_SHOCKS, sleeve=int(Sleeve.EXTERNAL), underlying=underlyings(SYMBOLS))
rng = np.random.default_rng(3)
OF_UNDERLYING = np.cumsum(rng.standard_t(3, (24 * 70, 3)) * 0.005 + rng.normal(0, 0.006, (24 * 70, 1)), axis=0)
CLOSES = 50.0 * np.exp(OF_UNDERLYING[:, [0, 0, 1, 2, 2]] + rng.normal(0, 0.0005, (24 * 70, N)))
WARM = warm_up(new_state(N, PARAMS), CLOSES, PARAMS)
PX = CLOSES[-1]
FREE = InstrumentTable(*(np.zeros(N) for _ in range(3)), np.full(N, np.inf), np.zeros(N))
anything = st.lists(st.floats(-1.5, 1.5), min_size=N, max_size=N).map(np.array)


@st.composite
def hedged(draw):
    """A book whose legs nearly cancel."""
    book = np.zeros(N)
    book[2] = draw(st.floats(-0.5, 0.5))
    for perpetual, spot in PAIRS:
        book[spot] = draw(st.floats(-0.1, 0.6))
        book[perpetual] = -book[spot] * draw(st.floats(0.7, 1.3))
    return book


books = st.one_of(anything, hedged())
near = st.lists(st.floats(-0.049, 0.049), min_size=N, max_size=N).map(np.array)  # a change within the band


def decide(wish, held, peak=CASH, state=WARM, params=PARAMS, px=PX):
    start = restore_book(state, peak, CASH, TS)
    account = AccountView(CASH, held * CASH / px, np.zeros(N), px, px, 0)
    market = MarketSlice(TS, px, px, px, px, px, np.zeros(N))
    return step(start, market, account, FREE, wish, params)[1]


def worst_loss(weight, px, gap, basis, slippage):
    """The most that a book loses when no price moves by more than the gap and no perpetual rises above its premium."""
    loss = slippage * np.abs(weight).sum() + gap * abs(weight[2])
    for perpetual, spot in PAIRS:
        short, held = -weight[perpetual], weight[spot]
        if not (short > 0.0 and held > 0.0):
            loss += gap * (abs(short) + abs(held))
            continue
        k = (1.0 + basis) / min(px[perpetual] / px[spot], 1.0)
        of_spot = np.clip([-gap, gap, (1.0 + gap) / k - 1.0], -gap, gap)
        loss += np.max(short * np.minimum(gap, k * (1.0 + of_spot) - 1.0) - held * of_spot)
    return loss


@quick
@given(books, books, near, st.booleans(), st.floats(0.86, 1.0), st.sampled_from([0.02, 0.1, 0.3, 1.5]),
       st.sampled_from([1.0, 0.99, 0.8, 1.05]))  # fmt: skip
def test_a_gap_and_the_basis_end_above_the_floor(wish, held, moved, is_near, peak_share, basis, premium):
    config = CONFIG.model_copy(update={"basis_gap_pct": basis})
    params = PARAMS._replace(risk=config.risk_limits())
    px = PX * np.where(np.arange(N) == 0, premium, 1.0)
    if is_near:
        held = decide(wish, held, CASH / peak_share, params=params, px=px).approved_weight + moved
    decision = decide(wish, held, CASH / peak_share, params=params, px=px)
    after = decision.target_qty * px / CASH
    lost = worst_loss(after, px, config.gap_pct, basis, config.stop_slippage_pct)
    assert CASH * (1.0 - lost) >= 0.85 * CASH / peak_share * (1.0 - 1e-9)
    spot = np.abs(after[[1, 3]]).sum()
    perpetuals = np.abs(after[[0, 2, 4]]).sum()
    assert 1.0 - spot >= perpetuals * (config.gap_pct + config.stop_slippage_pct) * (1.0 - 1e-9)  # margin is left


@quick
@given(anything, anything, st.floats(0.87, 1.0))
def test_who_has_no_partner_is_decided_to_the_bit_as_without_pairs(wish, held, peak_share):
    alone = PARAMS._replace(underlying=np.arange(N))
    without = PARAMS._replace(underlying=underlyings(tuple("ABCDE")))
    assert len(without.underlying) == 0
    one, other = (decide(wish, held, CASH / peak_share, params=params) for params in (alone, without))
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@quick
@given(st.floats(-1.0, 1.0), st.floats(-0.049, 0.049), st.sampled_from(["gap", "stress"]))
def test_a_pair_that_is_not_held_changes_nothing(wish, moved, rule):
    limits = risk_limits(gap=0.31, slippage=0.01, basis_gap=0.1) if rule == "gap" else risk_limits(
        max_stress_loss=0.1, stress_fall=0.4, stress_rise=0.25, stress_own=0.05, basis_gap=0.1
    )  # fmt: skip
    symbol = 0 if rule == "gap" else 2  # the first has a spot leg that is not held
    held = np.clip(wish, -0.47, 0.47) + moved
    only = [np.where(np.arange(N) == symbol, weight, 0.0) for weight in (wish, held)]
    params = PARAMS._replace(risk=limits)
    paired, plain = (decide(*only, params=p) for p in (params, params._replace(underlying=underlyings(("X",)))))
    np.testing.assert_array_equal(paired.target_qty, plain.target_qty)
    np.testing.assert_array_equal(paired.measured, plain.measured)


HEDGED = (basis_loss.py_func(PX[0], PX[1], 0.1, 0.3, 0.3) + 0.02) / 0.31  # what the smaller leg counts
PAIR = np.array([-0.3, 0.3, 0.0, 0.0, 0.0])


def only(**limits):
    return PARAMS._replace(risk=risk_limits(**limits))


def test_a_pair_counts_with_its_net_and_the_basis():
    wish = np.array([-0.5, 0.4, 0.2, 0.0, 0.0])
    decision = decide(wish, np.zeros(N), params=only(gap=0.31, slippage=0.01, basis_gap=0.1))
    assert pytest.approx((1.3 * (1.0 - 1.0 / 1.1) + 0.02) / 0.31, rel=0.02) == HEDGED
    counted = 0.1 + 0.4 * HEDGED + 0.2
    limit = 0.15 / (0.31 * (1.0 + DRIFT_TOLERANCE))
    assert decision.measured[0, Rule.CUSHION] == pytest.approx(counted)
    assert decision.limit[0, Rule.CUSHION] == pytest.approx(limit)
    np.testing.assert_allclose(decision.approved_weight, wish if counted <= limit else wish * limit / counted)


@pytest.mark.parametrize("book", [np.abs(PAIR), -PAIR])
def test_only_spot_against_a_short_perpetual_is_a_hedge(book):
    decision = decide(book, np.zeros(N), params=only(gap=0.31, slippage=0.01, basis_gap=0.1))
    assert decision.measured[0, Rule.CUSHION] == pytest.approx(0.6)


def test_a_discount_is_expected_to_close_and_a_premium_earns_no_credit():
    def counted(premium):
        px = PX * np.where(np.arange(N) == 0, premium * PX[1] / PX[0], 1.0)
        params = only(gap=0.31, slippage=0.01, basis_gap=0.1)
        return decide(PAIR, np.zeros(N), params=params, px=px).measured[0, Rule.CUSHION]

    assert counted(0.8) == pytest.approx(0.3 * (1.3 * (1.0 - 0.8 / 1.1) + 0.02) / 0.31)
    assert counted(1.2) == pytest.approx(counted(1.0))


def test_a_young_leg_hedges_nothing():
    young = warm_up(new_state(N, PARAMS), np.where(np.arange(N) == 1, np.nan, CLOSES), PARAMS)
    assert is_young.py_func(young, 1, PARAMS)
    limits = only(
        gap=0.31, slippage=0.01, basis_gap=0.1, max_stress_loss=9.0, stress_fall=0.4, stress_rise=0.25, stress_own=0.05
    )
    decision = decide(PAIR, np.zeros(N), state=young, params=limits)
    assert decision.measured[0, Rule.CUSHION] == pytest.approx(0.6)
    known = young.covariance[np.ix_([0, 2, 3, 4], [0, 2, 3, 4])]
    rise = 0.25 * (0.3 + 0.3 * known.mean(axis=1)[0] / known.mean())  # the young leg moves against us, its partner too
    assert decision.measured[0, Rule.STRESS] == pytest.approx(rise + 0.05 * 0.6, rel=0.02)


def test_without_a_stated_basis_nothing_is_netted():
    decision = decide(PAIR, np.zeros(N), params=only(gap=0.31))
    assert decision.measured[0, Rule.CUSHION] == pytest.approx(0.6)


def test_in_a_shock_the_legs_move_together_and_the_basis_is_paid():
    limits = only(max_stress_loss=9.0, stress_fall=0.4, stress_rise=0.25, stress_own=0.05, basis_gap=0.1)
    basis = basis_loss.py_func(PX[0], PX[1], 0.1, 0.25, 0.4)
    assert decide(PAIR, np.zeros(N), params=limits).measured[0, Rule.STRESS] == pytest.approx(0.3 * basis)
    tilted = decide(PAIR + 0.1 * (np.arange(N) == 0), np.zeros(N), params=limits).measured[0, Rule.STRESS]
    beta = WARM.covariance.mean(axis=1) / WARM.covariance.mean()
    assert tilted == pytest.approx(0.1 * (0.4 * beta[:2].mean() + 0.05) + 0.2 * basis, rel=0.02)


def test_a_hedge_that_is_too_small_is_made_whole_within_the_band():
    params = only(gap=0.31, slippage=0.01, basis_gap=0.1)._replace(max_drawdown=0.06)
    wish = np.array([-0.4, 0.4, 0.0, 0.0, 0.0])
    held = np.array([-0.4, 0.36, 0.0, 0.0, 0.0])  # its net costs what is left; no leg is above its weight
    assert decide(wish, held, params=only(gap=0.31, slippage=0.01, basis_gap=0.1)).act.sum() == 0
    tight = decide(wish, held, params=params)
    assert tight.measured[0, Rule.CUSHION] < tight.limit[0, Rule.CUSHION]
    np.testing.assert_allclose((tight.target_qty * PX / CASH)[:2], wish[:2], rtol=1e-9)
    assert list(tight.act) == [0, 1, 0, 0, 0]


def test_spot_takes_margin_from_the_perpetuals():
    params = only(gap=0.31, basis_gap=0.001)._replace(max_symbol_weight=5.0, max_gross_weight=9.0, max_leverage=9.0)
    wish = np.array([-0.9, 0.9, 0.0, 0.0, 0.0])
    decision = decide(wish, np.zeros(N), params=params)
    needed = 0.9 * (1.0 + 0.31 * (1.0 + DRIFT_TOLERANCE) + MAINTENANCE_RATE)
    np.testing.assert_allclose(decision.approved_weight, wish / needed)


@pytest.mark.parametrize("index", [[0], [0, 9, 2, 3, 4], [1, 2, 2, 3, 4], [0, 0, 0, 3, 4], [-1, 1, 2, 3, 4]])
def test_an_index_that_is_no_pairing_is_refused(index):
    with pytest.raises(ValueError, match=r"params\.underlying"):
        check_underlying(np.array(index), N)
    with pytest.raises(ValueError, match=r"params\.underlying"):
        decide(PAIR, np.zeros(N), params=PARAMS._replace(underlying=np.array(index)))
