"""What must hold for all inputs: conservation of money, limits, causality, symmetry."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.costs import Costs
from engine.core.metrics import max_drawdown
from engine.core.risk import DRIFT_TOLERANCE
from engine.core.simulate import Scan, SimBars, simulate
from engine.core.step import new_state, restore_book, step, warm_up
from engine.domain import N_RULES, NO_SHOCKS, NS_PER_S, AccountView, InstrumentTable, MarketSlice, Sleeve
from engine.settings import SystemConfig

CASH = 10_000.0
HOURLY = {"decision_interval": "1h", "trend_horizons_hours": (4.0, 12.0), "volatility_horizon_hours": 12.0}
PARAMS = SystemConfig(**HOURLY).params()._replace(shocks=NO_SHOCKS)
EXTERNAL = PARAMS._replace(sleeve=int(Sleeve.EXTERNAL))
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=25, deadline=None, derandomize=True)


def make_bars(seed, n_symbols=3, n_bars=200, holes=0.02):
    rng = np.random.default_rng(seed)
    volatility = rng.uniform(0.002, 0.03)
    close_px = rng.uniform(0.1, 50_000, n_symbols) * np.exp(
        np.cumsum(rng.standard_t(3, (n_bars, n_symbols)) * volatility, axis=0)
    )
    open_px = np.vstack([close_px[:1], close_px[:-1]]) * np.exp(rng.normal(0, volatility / 5, (n_bars, n_symbols)))
    missing = rng.random((n_bars, n_symbols)) < holes
    close_px[missing] = np.nan
    open_px[missing] = np.nan
    funding = np.where(rng.random((n_bars, n_symbols)) < 0.1, rng.normal(0, 3e-4, (n_bars, n_symbols)), 0.0)
    return SimBars((1_600_000_000 + 3600 * np.arange(n_bars)) * NS_PER_S, open_px, close_px, funding)


def limits_for(n_symbols, lot=0.0, min_notional=0.0):
    column = np.full(n_symbols, lot)
    return InstrumentTable(column, column, column, np.full(n_symbols, np.inf), np.full(n_symbols, min_notional))


USUAL_COSTS = Costs(0.0004, 0.0002)


def run(bars, costs=USUAL_COSTS, params=PARAMS, cash=CASH):
    return simulate(bars, limits_for(bars.close_px.shape[1]), costs, params, cash)


@quick
@given(seeds)
def test_money_is_conserved_and_positions_are_the_sum_of_fills(seed):
    result = run(make_bars(seed))
    account, money = result.account, result.account.money[0]
    fills = result.fills
    for i in range(3):
        np.testing.assert_allclose(fills.qty[fills.symbol == i].sum(), account.position_qty[i], rtol=1e-9, atol=1e-9)
    unrealised = np.nansum(account.position_qty * (account.mark_px - account.entry_px))
    expected = CASH + money["pnl_realized"] + unrealised - money["fees"] - money["funding"]
    np.testing.assert_allclose(result.track.equity[-1], expected, rtol=1e-9)
    np.testing.assert_allclose(fills.fee.sum(), money["fees"], rtol=1e-9, atol=1e-12)
    bought = -(fills.qty * fills.px).sum() + np.nansum(account.position_qty * account.mark_px)
    np.testing.assert_allclose(money["pnl_realized"] + unrealised, bought, rtol=1e-6, atol=1e-6)


@quick
@given(seeds, st.floats(0.0, 0.01), st.floats(0.0001, 0.01))
def test_more_slippage_never_helps_fixed_trades(seed, slippage, more):
    params = SystemConfig(strategy="ema-cross", ema_fast=3, ema_slow=9).params()._replace(gate=False)
    bars = make_bars(seed, n_symbols=1, holes=0.0)
    cheap, dear = (run(bars, Costs(0.0004, rate), params) for rate in (slippage, slippage + more))
    assert (cheap.fills.fee >= 0).all()
    assert dear.track.equity[-1] <= cheap.track.equity[-1]


@quick
@given(seeds, st.integers(20, 190))
def test_later_bars_change_nothing_before(seed, cut_at):
    bars = make_bars(seed)
    other = SimBars(bars.ts_close, bars.open_px.copy(), bars.close_px.copy(), bars.funding_rate.copy())
    other.open_px[cut_at:] *= 1.7
    other.close_px[cut_at:] *= 0.6
    one, two = run(bars), run(other)
    np.testing.assert_array_equal(one.track.equity[:cut_at], two.track.equity[:cut_at])
    np.testing.assert_array_equal(one.track.weight[:cut_at], two.track.weight[:cut_at])
    # what was decided at the last common close is traded at the cut
    traded = [result.fills.qty[result.fills.bar <= cut_at] for result in (one, two)]
    np.testing.assert_array_equal(*traded)


@quick
@given(seeds)
def test_doubling_prices_and_cash_doubles_equity(seed):
    bars = make_bars(seed)
    doubled = SimBars(bars.ts_close, 2 * bars.open_px, 2 * bars.close_px, bars.funding_rate)
    one, two = run(bars), run(doubled, cash=2 * CASH)
    np.testing.assert_array_equal(2 * one.track.equity, two.track.equity)


@quick
@given(seeds)
def test_permuting_symbols_permutes_results(seed):
    bars = make_bars(seed)
    order = np.array([2, 0, 1])
    columns = [np.ascontiguousarray(column[:, order]) for column in bars[1:4]]
    one, two = run(bars), run(SimBars(bars.ts_close, *columns))
    np.testing.assert_allclose(one.track.weight[:, order], two.track.weight, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(one.track.equity, two.track.equity, rtol=1e-8)


weights = st.floats(-3, 3, allow_nan=False)


@quick
@given(
    st.tuples(weights, weights), st.tuples(weights, weights), st.tuples(weights, weights), st.floats(0.3, 1.0),
    st.floats(0.8, 1.1), st.sampled_from([0, 1, 2]), st.sampled_from([0.0, 20.0]), st.sampled_from([0.0, 0.05]),
)  # fmt: skip
def test_gate_never_lets_exposure_beyond_its_limits(wish, held, flying, peak_share, day_share, trading_state, age, lot):
    px = np.array([100.0, 2.0])
    position, in_flight = np.array(held) * CASH / px, np.array(flying) * CASH / px * 0.2
    state = restore_book(new_state(2, EXTERNAL), CASH / peak_share, CASH / day_share, 1_600_000_000 * NS_PER_S)
    state = warm_up(state, px.reshape(1, 2), EXTERNAL)
    market = MarketSlice(1_600_000_000 * NS_PER_S, px, px, px, px, px, np.full(2, age))
    account = AccountView(CASH, position, in_flight, px, px, trading_state)
    _, decision = step(state, market, account, limits_for(2, lot), np.array(wish), EXTERNAL)
    present = position + in_flight
    if trading_state == 2:
        assert not decision.act.any()
        return
    before, after = np.abs(present * px / CASH), np.abs(decision.target_qty * px / CASH)
    cap = EXTERNAL.max_symbol_weight
    for i in range(2):
        grows = after[i] > before[i] + 1e-9 or decision.target_qty[i] * present[i] < 0
        if grows:
            assert after[i] <= cap + 1e-9
            assert np.abs(decision.approved_weight).sum() <= EXTERNAL.max_gross_weight + 1e-9
            assert trading_state == 0
            assert age == 0.0
            assert decision.drawdown < EXTERNAL.max_drawdown
            assert (
                -decision.day_pnl / (CASH / day_share) < 0.7 * EXTERNAL.max_daily_loss + 1e-12
            )  # the ladder's second step
        elif lot == 0.0:
            assert after[i] <= max(cap, 0.0) * (1 + DRIFT_TOLERANCE) + 1e-9 or after[i] < before[i] + 1e-9


@quick
@given(seeds)
def test_every_rule_answers_for_every_symbol_and_bar(seed):
    result = run(make_bars(seed))
    assert result.track.rule_counts.shape == (N_RULES, 3)
    assert (result.track.rule_counts.sum(axis=1) == 200 * 3).all()
    assert (result.track.rule_counts >= 0).all()


@quick
@given(seeds)
def test_recorded_verdicts_and_counted_objections_agree(seed):
    bars = make_bars(seed, n_symbols=2, n_bars=60)
    scan = Scan(bars, limits_for(2), Costs(0.0004, 0.0), PARAMS, CASH)
    for t in range(60):
        scan.advance(t + 1)
    assert scan.result().track.rule_counts.tolist() == run(bars, Costs(0.0004, 0.0)).track.rule_counts.tolist()


@quick
@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=50), st.floats(0.01, 1e6))
def test_drawdown_lies_in_the_unit_interval_and_never_falls_when_extended(values, next_value):
    curve = np.array(values)
    longer = np.append(curve, next_value)
    assert 0.0 <= max_drawdown(curve) <= max_drawdown(longer) <= 1.0
