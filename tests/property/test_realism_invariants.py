"""What must hold for every market that answers: money is conserved, costs never help, nothing negative is hidden."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.frictions import Assumptions
from engine.core.matching import FillKind
from engine.core.simulate import Scan, SimBars, simulate
from engine.domain import NO_SHOCKS, NS_PER_S, Sleeve
from engine.settings import SystemConfig

CASH = 10_000.0
N_BARS = 150
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=20, deadline=None, derandomize=True)
COSTS = Costs(0.0004, 0.0001, 0.0002, 0.3, 0.05, 1.0)
VENUE = Assumptions(0.2, 1, 0.25, 0.04, 0.5, 0.06, 0.02, 0.025)
WILD = SystemConfig(decision_interval="1h", rebalance_band=0.0).params()._replace(shocks=NO_SHOCKS,
    sleeve=int(Sleeve.EXTERNAL), max_symbol_weight=9.0, max_gross_weight=9.0, max_leverage=9.0, max_daily_loss=1.0,
    max_drawdown=1.0,
)  # fmt: skip
YARDSTICK = SystemConfig(strategy="ema-cross", ema_fast=3, ema_slow=9).params()._replace(gate=False)


def make_bars(seed, n_symbols=2, holes=0.03, step=None):
    rng = np.random.default_rng(seed)
    step = rng.uniform(0.005, 0.06) if step is None else step
    shape = (N_BARS, n_symbols)
    close_px = rng.uniform(1, 1000, n_symbols) * np.exp(np.cumsum(rng.standard_t(3, shape) * step / 2, axis=0))
    open_px = np.vstack([close_px[:1], close_px[:-1]]) * np.exp(rng.normal(0, step / 5, shape))
    high_px = np.maximum(open_px, close_px) * np.exp(np.abs(rng.normal(0, step / 2, shape)))
    low_px = np.minimum(open_px, close_px) * np.exp(-np.abs(rng.normal(0, step / 2, shape)))
    volume = np.where(rng.random(shape) < 0.1, 0.0, rng.uniform(10, 1e4, shape))
    missing = rng.random(shape) < holes
    for column in (open_px, high_px, low_px, close_px):
        column[missing] = np.nan
    funding = np.where(rng.random(shape) < 0.1, rng.normal(0, 3e-4, shape), 0.0)
    ts_close = (1_600_000_000 + 3600 * np.arange(N_BARS)) * NS_PER_S
    return SimBars(ts_close, open_px, close_px, funding, high_px, low_px, volume)


def run(bars, weight, costs=COSTS, venue=VENUE, cash=CASH):
    scan = Scan(bars, no_limits(bars.close_px.shape[1]), costs, WILD, cash, assumptions=venue)
    scan.external_weight[:] = weight
    scan.advance(N_BARS)
    return scan.result()


def weights(seed, n_symbols=2):
    rng = np.random.default_rng(seed + 1)
    wish = rng.normal(0, 2.0, (N_BARS, n_symbols))
    wish[rng.random(wish.shape) < 0.5] = np.nan
    return wish


@quick
@given(seeds)
def test_money_is_conserved_through_stops_and_liquidations(seed):
    bars = make_bars(seed)
    result = run(bars, weights(seed))
    account, money, fills = result.account, result.account.money[0], result.fills
    unrealised = np.nansum(account.position_qty * (account.mark_px - account.entry_px))
    expected = CASH + money["pnl_realized"] + unrealised - money["fees"] - money["funding"]
    np.testing.assert_allclose(result.track.equity[-1], expected, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(fills.fee.sum(), money["fees"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fills.slippage.sum(), money["slippage"], rtol=1e-9, atol=1e-9)
    for i in range(2):
        np.testing.assert_allclose(
            fills.qty[fills.symbol == i].sum(), account.position_qty[i], rtol=1e-9, atol=1e-9 * np.abs(fills.qty).max()
        )
    assert 0 <= money["ambiguous_bars"] <= N_BARS


@quick
@given(seeds)
def test_every_fill_is_no_better_than_the_market(seed):
    bars = make_bars(seed)
    fills = run(bars, weights(seed)).fills
    opens, closes = bars.open_px[fills.bar, fills.symbol], bars.close_px[fills.bar, fills.symbol]
    order = fills.kind == FillKind.ORDER
    before = opens + VENUE.delay_share * (closes - opens)
    sign = np.sign(fills.qty)
    assert ((fills.px - before) * sign >= -1e-9 * fills.px)[order].all()
    closing = fills.kind == FillKind.LIQUIDATION
    worst = np.where(sign < 0, bars.low_px[fills.bar, fills.symbol], bars.high_px[fills.bar, fills.symbol])
    known = closing & np.isfinite(worst)
    assert ((fills.px - worst) * sign >= -1e-9 * fills.px)[known].all()


@quick
@given(seeds, st.sampled_from(["fee_rate", "slippage_rate", "spread_per_volatility", "impact"]), st.floats(0.0, 0.01))
def test_a_higher_cost_never_helps_fixed_trades(seed, name, more):
    bars = make_bars(seed, n_symbols=1, holes=0.0, step=0.01)
    bars = bars._replace(volume=np.full_like(bars.volume, 1e4))
    dear = COSTS._replace(**{name: getattr(COSTS, name) + more})
    cheap, costly = (simulate(bars, no_limits(1), costs, YARDSTICK, CASH) for costs in (COSTS, dear))
    assert costly.track.equity[-1] <= cheap.track.equity[-1] * (1 + 1e-12)


@quick
@given(seeds)
def test_what_liquidation_leaves_is_shown(seed):
    bars = make_bars(seed, step=0.08)
    wish = np.full((N_BARS, 2), np.nan)
    wish[0] = (4.0, 4.0)
    venue = Assumptions(maintenance_rate=0.02, liquidation_fee_rate=0.025)
    result = run(bars, wish, Costs(0.0004, 0.0001), venue)
    closing = result.fills.kind == FillKind.LIQUIDATION
    if not closing.any():
        return
    bar = result.fills.bar[closing][-1]
    assert (result.track.weight[bar] == 0).all()
    paid = result.account.money[0]
    left = CASH + paid["pnl_realized"] - paid["fees"] - paid["funding"]
    assert result.track.equity[bar] == pytest.approx(left, rel=1e-9, abs=1e-6)
    assert (np.diff(result.track.equity[bar:]) == 0).all()  # flat: what is lost stays lost, below zero too


@quick
@given(seeds)
def test_doubling_prices_volume_kept_and_cash_doubles_equity(seed):
    bars = make_bars(seed)
    twice = bars._replace(**{n: 2 * getattr(bars, n) for n in ("open_px", "high_px", "low_px", "close_px")})
    one, two = run(bars, weights(seed)), run(twice, weights(seed), cash=2 * CASH)
    np.testing.assert_array_equal(2 * one.track.equity, two.track.equity)


@quick
@given(seeds)
def test_permuting_symbols_permutes_a_market_that_answers(seed):
    bars = make_bars(seed)
    swapped = bars._replace(**{
        name: np.ascontiguousarray(getattr(bars, name)[:, ::-1]) for name in SimBars._fields if name != "ts_close"
    })  # fmt: skip
    one, two = run(bars, weights(seed)), run(swapped, weights(seed)[:, ::-1])
    np.testing.assert_allclose(one.track.equity, two.track.equity, rtol=1e-7, atol=1e-6)


@quick
@given(seeds, st.integers(20, N_BARS - 1))
def test_later_bars_change_nothing_before_in_a_market_that_answers(seed, cut_at):
    bars = make_bars(seed)
    other = bars._replace(**{
        name: np.vstack([getattr(bars, name)[:cut_at], 0.7 * getattr(bars, name)[cut_at:]])
        for name in ("open_px", "high_px", "low_px", "close_px", "volume")
    })  # fmt: skip
    one, two = run(bars, weights(seed)), run(other, weights(seed))
    np.testing.assert_array_equal(one.track.equity[:cut_at], two.track.equity[:cut_at])


@quick
@given(seeds)
def test_the_full_scan_with_everything_off_is_the_plain_one(seed):
    bars = make_bars(seed)
    off = Assumptions(stop_gap=1.0)  # without a stop it means nothing, but it is not the plain scan
    plain, full = (run(bars, weights(seed), Costs(0.0004, 0.0001), venue) for venue in (Assumptions(), off))
    np.testing.assert_array_equal(plain.track.equity, full.track.equity)
    np.testing.assert_array_equal(plain.fills.px, full.fills.px)
    one = make_bars(seed, n_symbols=1)
    for params in (YARDSTICK, YARDSTICK._replace(gate=True)):
        plain, full = (
            simulate(one, no_limits(1), Costs(0.0004, 0.0001), params, CASH, venue) for venue in (Assumptions(), off)
        )
        np.testing.assert_array_equal(plain.track.equity, full.track.equity)
