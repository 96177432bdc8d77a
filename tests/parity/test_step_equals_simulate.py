"""The scan and a loop that calls ``step`` once per bar are the same to the bit."""

import numpy as np
import pytest

from engine.core.account import apply_fill
from engine.core.costs import Costs, fee_of, slipped_px
from engine.core.simulate import Scan, SimBars, simulate
from engine.core.state import CLUSTER
from engine.core.step import new_state, step, warm_up
from engine.domain import NO_SHOCKS, NOT_GIVEN, NS_PER_S, AccountView, InstrumentTable, MarketSlice, Sleeve
from engine.settings import SystemConfig
from engine.underlyings import underlyings

COSTS = Costs(0.0004, 0.0001)
CASH = 10_000.0


def make_bars(n_bars, n_symbols, seed, holes=True):
    rng = np.random.default_rng(seed)
    close_px = 100 * np.exp(np.cumsum(rng.normal(0.0002, 0.012, (n_bars, n_symbols)), axis=0))
    open_px = np.vstack([close_px[:1], close_px[:-1]]) * np.exp(rng.normal(0, 0.001, (n_bars, n_symbols)))
    if holes:
        missing = rng.random((n_bars, n_symbols)) < 0.03
        close_px[missing] = np.nan
        open_px[missing] = np.nan
    funding = np.where(rng.random((n_bars, n_symbols)) < 0.1, 0.0001, 0.0)
    ts_close = (1_600_000_000 + 3600 * np.arange(n_bars)) * NS_PER_S
    return SimBars(ts_close, open_px, close_px, funding)


def limits_for(n_symbols):
    lot = np.full(n_symbols, 0.001)
    return InstrumentTable(np.full(n_symbols, 0.01), lot, lot, np.full(n_symbols, 1e9), np.full(n_symbols, 5.0))


def loop_of_steps(bars, params, external):
    """What live does, with the simplest possible venue: fills at the next open."""
    n_bars, n_symbols = bars.close_px.shape
    limits, state, cash = limits_for(n_symbols), new_state(n_symbols, params), CASH
    position, entry, in_flight = np.zeros(n_symbols), np.zeros(n_symbols), np.zeros(n_symbols)
    mark, age = np.full(n_symbols, np.nan), np.full(n_symbols, np.inf)
    waiting = np.zeros(n_symbols, dtype=bool)
    equity, weight, n_fills = np.empty(n_bars), np.empty((n_bars, n_symbols)), 0
    for t in range(n_bars):
        for i in np.flatnonzero(waiting & np.isfinite(bars.open_px[t])):
            px = slipped_px(bars.open_px[t, i], in_flight[i], COSTS.slippage_rate)
            fee = fee_of(in_flight[i], px, COSTS.fee_rate)
            cash += apply_fill(position, entry, i, in_flight[i], px) - fee
            in_flight[i], waiting[i] = 0.0, False
            n_fills += 1
        seen = np.isfinite(bars.close_px[t])
        mark[seen] = bars.close_px[t, seen]
        age = np.where(seen, 0.0, age + 3600.0)
        for i in np.flatnonzero((position != 0) & (bars.funding_rate[t] != 0)):
            cash -= position[i] * mark[i] * bars.funding_rate[t, i]
        usual = bars.hour_notional[t] if len(bars.hour_notional) else NOT_GIVEN
        market = MarketSlice(int(bars.ts_close[t]), *(bars.close_px[t],) * 5, age, usual)
        account = AccountView(cash, position, in_flight, entry, mark, 0)
        state, decision = step(state, market, account, limits, external[t], params)
        equity[t] = decision.equity
        held_value = position * np.nan_to_num(mark)
        weight[t] = np.where(position != 0, held_value * (1.0 / decision.equity), 0.0)
        for i in np.flatnonzero(decision.act == 1):
            in_flight[i], waiting[i] = decision.target_qty[i] - position[i], True
    return equity, weight, n_fills, state


CASES = [
    ("trend", 3, {}),
    ("trend", 1, {}),
    ("ema-cross", 1, {}),
    ("ema-cross", 2, {"allow_short": True}),
    ("external", 4, {}),
    ("external", 2, {"max_daily_loss": 0.01, "max_total_drawdown": 0.06}),
    ("blend", 3, {}),
    ("trend", 3, {"cvar_horizon_hours": 1.0, "max_cvar": 0.004, "max_net_weight": 0.2, "max_cluster_weight": 0.1}),
    ("external", 3, {"cvar_horizon_hours": 1.0, "cvar_method": "historical", "max_cvar": 0.01, "gap_pct": 0.5}),
    ("pairs", 4, {"basis_gap_pct": 0.1}),
    ("crowded", 3, {"max_hour_participation": 0.02, "max_orders_per_minute": 2, "min_liquidation_distance": 0.5}),
]


@pytest.mark.parametrize(("name", "n_symbols", "settings"), CASES)
def test_scan_equals_repeated_steps(name, n_symbols, settings):
    bars = make_bars(600, n_symbols, seed=n_symbols)
    strategy = name if name in ("trend", "ema-cross") else "trend"
    params = SystemConfig(
        decision_interval="1h", strategy=strategy, ema_fast=5, ema_slow=20, trend_horizons_hours=(6.0, 24.0),
        volatility_horizon_hours=24.0, symbols=("BTCUSDT", "NEWUSDT", "SOLUSDT", "OTHERUSDT")[:n_symbols], **settings,
    ).params()  # fmt: skip
    external = np.full((600, n_symbols), np.nan)
    if name == "pairs":
        params = params._replace(underlying=underlyings(("A", "B", "B.SPOT", "A.SPOT")))
    if name not in ("trend", "ema-cross"):
        given = {"model_share": 0.4} if name == "blend" else {"sleeve": int(Sleeve.EXTERNAL)}
        params = params._replace(**given)
        external = np.random.default_rng(9).normal(0, 0.4, (600, n_symbols))
        external[::7] = np.nan
    if name == "crowded":
        bars = bars._replace(volume=np.random.default_rng(8).lognormal(4.0, 1.0, bars.close_px.shape))
    scan = Scan(bars, limits_for(n_symbols), COSTS, params, CASH)
    scan.external_weight[:] = external[: len(scan.external_weight)]
    scan.advance(600)
    result = scan.result()
    equity, weight, n_fills, state = loop_of_steps(scan.bars, params, external)
    np.testing.assert_array_equal(result.track.equity, equity)
    np.testing.assert_array_equal(result.track.weight, weight)
    assert len(result.fills.qty) == n_fills > 5
    for name in set(state._fields) - {"past"}:
        np.testing.assert_array_equal(getattr(result.state, name), getattr(state, name))
    kept = [np.delete(one.past[:-1], CLUSTER, axis=1) for one in (result.state, state)]  # the rest is scratch
    np.testing.assert_array_equal(*kept)


def test_pausing_a_scan_changes_nothing():
    bars = make_bars(500, 2, seed=3)
    config = SystemConfig(decision_interval="1h", trend_horizons_hours=(6.0,), volatility_horizon_hours=12.0)
    params = config.params()._replace(shocks=NO_SHOCKS)
    whole = simulate(bars, limits_for(2), COSTS, params, CASH)
    scan = Scan(bars, limits_for(2), COSTS, params, CASH)
    for stop in (1, 2, 77, 499, 500):
        scan.advance(stop)
    np.testing.assert_array_equal(scan.result().track.equity, whole.track.equity)
    np.testing.assert_array_equal(scan.result().fills.qty, whole.fills.qty)


def test_fill_log_grows_without_losing_fills():
    bars = make_bars(3000, 2, seed=5, holes=False)
    config = SystemConfig(decision_interval="1h", rebalance_band=0.0, trend_horizons_hours=(3.0,),
                          volatility_horizon_hours=6.0, use_gate_drawdown=False)  # fmt: skip
    params = config.params()._replace(shocks=NO_SHOCKS)
    result = simulate(bars, limits_for(2), COSTS, params, CASH)
    assert len(result.fills.qty) > 2048
    for i in range(2):
        assert result.fills.qty[result.fills.symbol == i].sum() == pytest.approx(
            result.account.position_qty[i], abs=1e-6
        )


def test_warm_up_equals_the_sleeve_part_of_steps():
    params = SystemConfig(decision_interval="1h", trend_horizons_hours=(6.0, 24.0)).params()._replace(shocks=NO_SHOCKS)
    bars = make_bars(100, 3, seed=8)
    warmed = warm_up(new_state(3, params), bars.close_px, params)
    _, _, _, stepped = loop_of_steps(bars, params, np.full((100, 3), np.nan))
    for name in ("trail", "last_px", "covariance", "n_bars", "log_return"):
        np.testing.assert_array_equal(getattr(warmed, name), getattr(stepped, name))
