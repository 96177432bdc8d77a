"""The portfolio strategy on paper and live: it says what the backtest says, and a restart forgets no settlement."""

import json

import numpy as np
import pytest
from decider_builders import INSTRUMENTS, SYMBOLS, account_with, config, market_now, rising
from execution_builders import NOW
from research_bars import walk
from test_decider_models import FakeHost

from engine.domain import MarkPrice, TradingState
from engine.research.walkforward import WalkForwardConfig, run_walk_forward
from engine.runtime.decider import Decider
from engine.runtime.model_host import Said
from engine.runtime.plan_process import PlanMaker
from engine.runtime.portfolio_sleeve import PortfolioSleeve
from engine.settings import SystemConfig
from engine.strategies.portfolio_runner import PortfolioRunner
from engine.strategies.sharing import caught_up

OWN = {
    "sleeves": "trend+momentum+carry+tail+models", "momentum_hours": 2.0, "funding_hours": 2.0, "sharing": "adaptive",
}  # fmt: skip
HOUR_NS = 3_600_000_000_000
FIVE = ("A", "B", "C", "D", "E")


def a_sleeve(share=1.0, own=OWN):
    params = SystemConfig(
        decision_interval="1h", trend_horizons_hours=(12.0,), volatility_horizon_hours=24.0
    ).params()  # fmt: skip
    scaled = params._replace(vol_target=params.vol_target * share, rebalance_band=params.rebalance_band * share)
    return PortfolioSleeve(scaled, own, FIVE, share), params


def tape(n_bars=120):
    rng = np.random.default_rng(2)
    closes = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, (n_bars, 5)), axis=0))
    ts_close = (np.arange(1, n_bars + 1) * HOUR_NS).astype(np.int64)
    rates = np.where((np.arange(1, n_bars + 1) % 8 == 0)[:, None], rng.normal(1e-4, 1e-4, (n_bars, 5)), 0.0)
    return ts_close, closes, rates


def marks_at(t, rates):
    """What the venue announces after the close of bar ``t``: the next settlement and its rate."""
    after = (t + 1) // 8 * 8 + 8
    if after > len(rates):
        return {}
    return {
        name: MarkPrice(name, 0, 0, 1.0, 1.0, float(rates[after - 1, i]), after * HOUR_NS)
        for i, name in enumerate(FIVE)
    }  # fmt: skip


def test_live_is_told_the_same_settlements_as_a_backtest_and_says_the_same_bit_for_bit():
    sleeve, params = a_sleeve()
    ts_close, closes, rates = tape()
    rates[:64] = np.where(np.arange(1, 65)[:, None] % 8 == 0, rates[:64], 0.0)
    batch = PortfolioRunner(params, OWN, FIVE).advance(ts_close, closes, rates).weight
    recorded = [
        {"symbol": name, "ts_funding": int(ts_close[t]), "rate": float(rates[t, i])}
        for i, name in enumerate(FIVE) for t in range(7, 60, 8)
    ]  # fmt: skip
    old = {"symbol": "A", "ts_funding": -50 * HOUR_NS, "rate": 0.5}
    sleeve.remember([*recorded, old, {"symbol": "B", "ts_funding": 1, "rate": None}])
    sleeve.see(ts_close[:60], closes[:60])
    said = []
    for t in range(60, len(closes)):
        said.append(sleeve.decide(int(ts_close[t]), closes[t], marks_at(t, rates)))
        assert sleeve.decide(int(ts_close[t]), closes[t] * 2, {}) is said[-1]  # the same bar is not seen twice
        if t == 60:  # the settlement at bar 63 was announced before anything was decided
            assert sleeve._announced["A"][0] == 64 * HOUR_NS
    assert np.array_equal(np.array(said), batch[60:], equal_nan=True)
    assert set(sleeve.record()) == {"trend", "momentum", "carry", "tail", "models"}
    json.dumps(sleeve.record(), allow_nan=False)


def restarted(kept, seen, first=0, own=OWN):
    """A sleeve that begins again on the newest bars before ``seen``."""
    sleeve, _ = a_sleeve(own=own)
    ts_close, closes, _ = tape(400)
    sleeve.resume(kept)
    sleeve.see(ts_close[first:seen], closes[first:seen])
    return sleeve


def learned(sleeve):
    book = sleeve.runner.book
    return [book.loss.copy(), book.gap.copy(), book.share.copy(), book.regime.copy(), book.day.copy()]


def test_a_restart_gives_the_shares_of_a_run_that_was_never_interrupted():
    own = {"sleeves": "trend+momentum", "momentum_hours": 4.0, "sharing": "adaptive"}
    ts_close, closes, _ = tape(400)
    at = 24 * 14 + 7  # in the middle of a day
    whole = restarted(None, at, own=own)
    kept = json.loads(json.dumps(whole.learned(), allow_nan=False))
    again, forgetful = restarted(kept, at, 200, own), restarted(None, at, 200, own)
    for mine, theirs in zip(learned(again), learned(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not np.allclose(forgetful.runner.book.share, whole.runner.book.share, atol=0.01)
    assert again.learned() == whole.learned()
    for t in range(at, 400):  # and goes on like it: the sleeves' own books have forgotten where they began
        for sleeve in (whole, again):
            sleeve.decide(int(ts_close[t]), closes[t], {})
    for mine, theirs in zip(learned(again), learned(whole), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0.02)


def test_a_restart_learns_from_the_hours_that_it_was_away_and_not_twice_from_the_others():
    own = {"sleeves": "trend+momentum", "momentum_hours": 4.0, "sharing": "adaptive"}
    ts_close, closes, _ = tape(400)
    before = restarted(None, 300, own=own)
    kept = before.learned()
    whole, away = restarted(None, 380, own=own), restarted(kept, 380, 150, own)
    for mine, theirs in zip(learned(away), learned(whole), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0.02)
    again = restarted(kept, 299, 150, own)  # the bar that was decided on last is decided on again
    assert again.learned() is None  # nothing to keep yet: what there is would be older
    again.decide(int(ts_close[299]), closes[299], {})
    assert again.learned() == before.learned()


@pytest.mark.parametrize("change", [
    {"of": {}}, {"loss": [[1.0]]}, {"gap": [float("nan"), 1.0]}, {"share": "x"}, {"ts": None}, {"day": None},
])  # fmt: skip
def test_a_record_of_something_else_or_damaged_is_left_alone(change):
    kept = restarted(None, 300).learned()
    for given in (kept | change, None, {}):
        fresh = restarted(given, 350, 100)
        for mine, theirs in zip(learned(fresh), learned(restarted(None, 350, 100)), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_record_of_a_later_clock_is_dropped():
    ts_close, closes, _ = tape(400)
    kept = restarted(None, 390).learned()
    early = restarted(kept, 200)
    early.decide(int(ts_close[200]), closes[200], {})
    assert early.learned()["ts"] == ts_close[200]


def test_the_capital_ladder_scales_wishes_and_not_what_is_learned():
    (whole, _), (half, _) = a_sleeve(), a_sleeve(0.5)
    ts_close, closes, _ = tape()
    for sleeve in (whole, half):
        sleeve.see(ts_close[:-1], closes[:-1])
    one, two = (sleeve.decide(int(ts_close[-1]), closes[-1], {}) for sleeve in (whole, half))
    assert two == pytest.approx(one / 2)
    assert half.runner.book.loss == pytest.approx(whole.runner.book.loss)
    fresh, _ = a_sleeve(0.5)
    fresh.take_over(half)
    assert fresh.runner.book is half.runner.book
    assert np.isfinite(fresh.decide(int(ts_close[-1]) + HOUR_NS, closes[-1], {})).all()


async def test_the_engine_decides_on_the_portfolio_and_records_its_sleeves():
    own = {"sleeves": "trend+models+tail"}
    decider = Decider(config(strategy="portfolio", strategy_params=own), INSTRUMENTS)
    history = {symbol: rising(symbol, px, 1_500) for symbol, px in (("BTCUSDT", 50_000.0), ("ETHUSDT", 3_000.0))}
    decider.warm_up({symbol: bars[:-1] for symbol, bars in history.items()})  # past midnight: shares are in force
    decider.models = FakeHost(Said(np.array([-0.8, np.nan]), 0.4, {"version": "one"}))
    market = market_now()
    for bars in history.values():
        market.on_bar(bars[-1])
    seen = market.slice_at(SYMBOLS, "1m", history["BTCUSDT"][-1].ts_open, NOW)
    wish = await decider.wish(seen, account_with(), market, lambda symbol: 0.0)
    decision, view = decider.decide(seen, account_with(), market, np.zeros(2), TradingState.RUNNING, wish)
    assert np.array_equal(decision.raw_weight, wish)
    assert (decision.approved_weight > 0).any()
    detail = json.loads(decider.detail(decision, seen, view, {}, wish))
    assert detail["portfolio"]["wish"] == pytest.approx(wish.tolist())
    assert detail["portfolio"]["sleeves"]["trend"]["share"] > 0
    assert detail["portfolio"]["sleeves"]["models"]["awake"] is True
    assert detail["models"]["wish"][0] == -0.8
    assert decider.warm_up_bars > 60


def test_settings_with_parameters_that_the_portfolio_does_not_have_are_refused():
    with pytest.raises(ValueError, match="sleeve 'x' is not one of"):
        SystemConfig(strategy="portfolio", strategy_params={"sleeves": "x"})


def test_a_walk_forward_trades_the_portfolio(tmp_path):
    bars = walk(1600, symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"), seed=3)
    asked = WalkForwardConfig(
        bars=bars, strategy="portfolio", grid={"momentum_hours": [48, 96]}, train_days=30, test_days=20, home=tmp_path,
        params={"horizons": "12,48", "volatility_horizon_hours": 48},
    )  # fmt: skip
    result = run_walk_forward(asked)
    assert len(result.traded) >= 1
    assert {fold.member.chosen["momentum_hours"] for fold in result.traded} <= {48, 96}
    assert sum(fold.n_fills for fold in result.traded) > 0


def test_an_optimiser_shares_out_live_as_in_a_backtest_and_its_plans_are_kept_over_a_restart(monkeypatch):
    monkeypatch.setattr("engine.strategies.sharer.MIN_DAYS", 3)
    monkeypatch.setattr("engine.strategies.sharing.MIN_DAYS", 2)
    monkeypatch.setattr(PlanMaker, "_make", lambda self, work, cost: setattr(self, "_plan", caught_up(*work, cost())))
    own = OWN | {"sharing": "risk-parity"}
    ts_close, closes, rates = tape(400)
    ts_close = ts_close + 400 * 24 * HOUR_NS  # 1971-02-05
    sleeve, params = a_sleeve(own=own)
    whole = PortfolioRunner(params, own, FIVE)
    told = whole.advance(ts_close, closes, np.zeros(rates.shape))
    adaptive = PortfolioRunner(params, OWN, FIVE).advance(ts_close, closes, np.zeros(rates.shape))
    assert not np.array_equal(told.weight, adaptive.weight, equal_nan=True)
    sleeve.remember([{"symbol": name, "ts_funding": 1, "rate": 0.0} for name in FIVE])
    sleeve.see(ts_close[:60], closes[:60])
    said = []
    for t in range(60, 400):
        said.append(sleeve.decide(int(ts_close[t]), closes[t], {}))
        if sleeve.plans.is_busy:
            sleeve.plans._thread.join(5)
        if t == 300:
            kept = json.loads(json.dumps(sleeve.learned()))
    assert np.array_equal(np.array(said), told.weight[60:], equal_nan=True)
    shown = sleeve.sharing()
    assert (shown["rule"], shown["trouble"], shown["owed"]) == ("risk-parity", None, [])
    assert shown["begins"] == shown["made"] + 1
    assert sum(shown["share"].values()) == pytest.approx(1.0)
    json.dumps(shown, allow_nan=False)

    again, other = a_sleeve(own=own)[0], a_sleeve(own=OWN)[0]
    for each in (again, other):
        each.resume(kept)
        each.remember([{"symbol": name, "ts_funding": 1, "rate": 0.0} for name in FIVE])
        each.see(ts_close[:301], closes[:301])
    assert again.runner.sharer.plan is not None
    assert [again.decide(int(ts_close[t]), closes[t], {}).tolist() for t in range(301, 320)] == (
        told.weight[301:320].tolist()
    )
    for t in range(301, 320):  # chosen now: the learner has learned all along
        assert np.array_equal(other.decide(int(ts_close[t]), closes[t], {}), adaptive.weight[t])
