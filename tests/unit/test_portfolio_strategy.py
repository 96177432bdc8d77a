"""The portfolio strategy: one kernel bar by bar, books that are what they say, and shares that regret little."""

import numpy as np
import pytest
from research_bars import walk

from engine.errors import ConfigError
from engine.research.backtest import BacktestConfig, run_backtest
from engine.settings import SystemConfig
from engine.strategies.portfolio import SLEEVES, PortfolioParams
from engine.strategies.portfolio_runner import PortfolioRunner
from engine.strategies.sleeves.mixing import learn, shares_of
from engine.strategies.sleeves.state import BASIS, CARRY, FIRST_GAP, LEARNED, MOMENTUM, NAMES, REVERSAL, TAIL, TREND

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "LTCUSDT", "BTCUSDT.SPOT")
SHORT = {"momentum_hours": 48.0, "funding_hours": 48.0, "sleeves": SLEEVES, "sharing": "adaptive"}
PARAMS = SystemConfig(
    decision_interval="1h", trend_horizons_hours=(12.0, 48.0), volatility_horizon_hours=48.0
).params()  # fmt: skip


def market(n_bars=600, seed=3):
    """Closes of five coins with a common factor, the first one's spot leg, and funding every eighth bar."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(0, 0.006, n_bars) * np.where(np.arange(n_bars) > n_bars // 2, 2.0, 1.0)
    moves = factor[:, None] + rng.normal(0, 0.006, (n_bars, 5))
    closes = 100 * np.exp(np.cumsum(moves, axis=0))
    closes = np.column_stack([closes, closes[:, 0] * (1 + rng.normal(0, 1e-4, n_bars))])
    closes[40:44, 2] = np.nan  # a hole
    closes[:60, 3] = np.nan  # listed later
    funding = np.where((np.arange(n_bars) % 8 == 7)[:, None], rng.normal(2e-4, 1e-4, (n_bars, 6)), 0.0)
    funding[:, 5] = 0.0
    ts_close = (1_600_002_000 + 3600 * np.arange(1, n_bars + 1)) * 1_000_000_000
    return ts_close, closes, funding


def runner(**own):
    return PortfolioRunner(PARAMS, SHORT | own, SYMBOLS)


def test_many_bars_say_what_single_bars_say_bit_for_bit():
    ts_close, closes, funding = market()
    given = np.full(closes.shape, np.nan)
    given[300:, :5] = np.random.default_rng(1).uniform(-1, 1, (300, 5))
    whole, single, parts = runner(), runner(), runner()
    told = whole.advance(ts_close, closes, funding, given)
    stream = [
        single.decide(int(ts_close[t]), closes[t], funding[t], given[t]) for t in range(len(closes))
    ]  # fmt: skip
    assert np.array_equal(told.weight, np.array(stream), equal_nan=True)
    cuts = [parts.advance(ts_close[a:b], closes[a:b], funding[a:b], given[a:b]) for a, b in ((0, 137), (137, 600))]
    for name in told._fields:
        joined = np.concatenate([getattr(cut, name) for cut in cuts])
        assert np.array_equal(getattr(told, name), joined, equal_nan=True)
    assert np.isfinite(told.weight[-1]).all()
    assert all(np.array_equal(a, b) for a, b in zip(whole.book[2:], single.book[2:], strict=True))


def test_the_future_does_not_change_the_past():
    ts_close, closes, funding = market()
    other = closes.copy()
    other[400:] *= np.exp(np.random.default_rng(5).normal(0, 0.1, (200, 6)))
    paid = funding.copy()
    paid[400:] *= -3.0
    one, two = runner().advance(ts_close, closes, funding), runner().advance(ts_close, other, paid)
    for name in one._fields:
        assert np.array_equal(getattr(one, name)[:400], getattr(two, name)[:400], equal_nan=True)
    assert not np.array_equal(one.weight[400:], two.weight[400:], equal_nan=True)


def test_a_neutral_sleeve_has_no_market_and_the_volatility_it_aims_at():
    ts_close, closes, funding = market()
    made = runner()
    made.advance(ts_close, closes, funding)
    book, per_bar = made.book, PARAMS.vol_target / np.sqrt(PARAMS.bars_per_year)
    perps = book.core.covariance[:5, :5]
    beta = perps.mean(axis=0) / perps.mean()
    assert book.beta[:5] == pytest.approx(beta)
    assert book.beta @ book.sigma >= 0
    assert book.beta[5] == 0.0  # a spot leg is not part of the market
    for sleeve in (MOMENTUM, CARRY):
        wish = book.wish[sleeve]
        assert wish @ book.beta == pytest.approx(0.0, abs=1e-12)
        assert np.sqrt(wish @ book.core.covariance @ wish) == pytest.approx(0.5 * per_bar)
        assert wish[5] == 0.0
    order = np.argsort(book.funding[:5])
    assert book.wish[CARRY][order[-1]] < book.wish[CARRY][order[0]]


def test_a_covariance_that_sees_no_risk_cannot_lever_a_book():
    ts_close, closes, funding = market(300)
    apart = 1e-7 * np.arange(300)[:, None] * [1, -1, 1, -1]
    closes[:, 1:5] = closes[:, :1] * np.array([1.0, 2.0, 3.0, 4.0]) * (1 + apart)
    told = runner(sleeves="momentum+carry").advance(ts_close, closes, funding)
    assert np.nanmax(np.abs(told.weight).sum(axis=1)) <= 2 * 4.0 + 1e-9


def test_trend_alone_wishes_what_the_cores_trend_strategy_does():
    bars = walk(600, symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT"), seed=2)
    settings = {"horizons": "12,48", "volatility_horizon_hours": 48, "gate": "off", "rebalance_band": 0}
    alone = BacktestConfig(
        bars=bars, strategy="portfolio", params=settings | {"sleeves": "trend"}, panel="off", keep_ledger=False
    )  # fmt: skip
    core = BacktestConfig(bars=bars, strategy="trend", params=settings, panel="off", keep_ledger=False)
    ours, theirs = (run_backtest(config).simulation.track.weight for config in (alone, core))
    assert np.abs(theirs[100:]).sum() > 1
    assert ours[100:] == pytest.approx(theirs[100:], rel=1e-9, abs=1e-9)


def test_pairs_hold_both_legs_within_their_budget_and_only_while_longs_pay():
    ts_close, closes, funding = market()
    made = runner(sleeves="basis")
    weight = made.advance(ts_close, closes, funding).weight
    opened = np.flatnonzero(np.nan_to_num(weight[:, 5]) > 0)
    assert weight[opened, 5] == pytest.approx(-weight[opened, 0])
    assert weight[opened, 5] == pytest.approx(made.own.basis_cap)
    assert np.all(np.nan_to_num(weight[:, 1:5]) == 0)
    closing = runner(sleeves="basis").advance(ts_close, closes, np.where(funding > 0, -funding, funding)).weight
    assert np.all(np.nan_to_num(closing) == 0)
    unknown = runner(sleeves="basis").advance(ts_close, closes).weight
    assert np.isnan(unknown).all()  # without rates nothing is known, which is not zero


def test_the_tail_hedge_rests_until_the_market_breaks_down_and_grows_faster_than_the_fall():
    def short_after(fall):
        n_bars = 300
        rng = np.random.default_rng(4)
        moves = np.repeat(rng.normal(0, 0.004, n_bars)[:, None], 6, axis=1) + rng.normal(0, 1e-3, (n_bars, 6))
        moves[-6:] -= fall
        made = runner(sleeves="tail")
        ts_close, _, funding = market(n_bars)
        made.advance(ts_close, 100 * np.exp(np.cumsum(moves, axis=0)), funding)
        return -made.book.wish[TAIL].sum()

    rising, mild, hard = short_after(-0.004), short_after(0.006), short_after(0.009)
    assert rising == 0.0
    assert 0.0 < mild < hard
    assert hard / mild > 1.5


def test_reversal_leans_against_a_coin_in_calm_and_rests_in_storms():
    ts_close, closes, funding = market(400)
    calm = closes.copy()
    calm[-3:, 1] *= np.exp([0.02, 0.04, 0.06])
    made = runner()
    made.advance(ts_close[:380], closes[:380], funding[:380])
    made.book.market[0] = 0.0  # the fast variance: nothing moves
    made.advance(ts_close[-3:], calm[-3:], funding[-3:])
    assert made.book.wish[REVERSAL][1] < 0
    made.book.market[0] = 1.0
    made.advance(ts_close[-1:] + 1, calm[-1:], funding[-1:])
    assert np.all(made.book.wish[REVERSAL] == 0)


@pytest.mark.parametrize("seed", range(3))
def test_the_regret_against_the_best_sleeve_stays_within_its_bound(seed):
    rng = np.random.default_rng(seed)
    losses = rng.uniform(size=(600, LEARNED)) * rng.uniform(0.3, 1.0, LEARNED)
    if seed == 2:  # whoever led fails next
        losses = np.eye(LEARNED)[np.arange(600) % LEARNED]
    summed, gap, learner = np.zeros(LEARNED), FIRST_GAP, 0.0
    awake = np.ones(LEARNED, dtype=bool)
    for own in losses:
        share = shares_of(summed, awake, gap)
        assert share.sum() == pytest.approx(1.0)
        learner += share @ own
        added, gap = learn(share, awake, own, gap)
        summed += added
    assert learner - losses.sum(axis=0).min() <= 2 * gap
    assert learner - losses.sum(axis=0).min() <= 2 * np.sqrt(600 * np.log(LEARNED)) + 20


def test_a_sleeping_sleeve_neither_earns_nor_loses_its_share():
    awake = np.array([True, True, False, True, True])
    share = shares_of(np.zeros(LEARNED), awake, FIRST_GAP)
    assert share[2] == 0.0
    added, _ = learn(share, awake, np.array([0.2, 0.4, 9.9, 0.6, 0.8]), FIRST_GAP)
    assert added[2] == pytest.approx(0.5)  # the learner's own
    assert shares_of(added, np.ones(LEARNED, dtype=bool), FIRST_GAP)[2] == pytest.approx(
        np.median(shares_of(added, np.ones(LEARNED, dtype=bool), FIRST_GAP)), rel=0.01
    )


def test_what_earned_more_gets_more_of_the_risk():
    ts_close, closes, funding = market(2400, seed=8)
    made = runner()
    told = made.advance(ts_close, closes, funding)
    earned = told.net.sum(axis=0)
    awake = [TREND, MOMENTUM, CARRY]
    losses = made.book.loss[:, awake].sum(axis=0)
    assert np.argmin(losses) == np.argmax(earned[awake])
    assert NAMES[BASIS] == "basis"


def test_a_backtest_of_the_portfolio_is_judged_like_every_other(tmp_path):
    bars = walk(1500, symbols=SYMBOLS[:4], seed=6)
    config = BacktestConfig(bars=bars, strategy="portfolio", panel="fast", home=tmp_path, params={"momentum_hours": 48})
    result = run_backtest(config)
    assert set(result.canaries.values()) == {"pass"}
    assert result.config["params"]["momentum_hours"] == 48
    assert "reversal" not in result.config["params"]["sleeves"]
    assert result.certificate["status"] == "none"


def test_what_cannot_be_meant_is_refused_with_a_sentence():
    with pytest.raises(ConfigError, match="sleeve 'momentun' is not one of trend, momentum"):
        runner(sleeves="momentun")
    with pytest.raises(ValueError, match="did you mean 'portfolio'"):
        BacktestConfig(bars=walk(10), strategy="portfolios")
    config = BacktestConfig(bars=walk(60), strategy="portfolio", params={"momentum_hour": 3}, keep_ledger=False)
    with pytest.raises(ConfigError, match="did you mean 'momentum_hours'"):
        run_backtest(config)
    assert PortfolioParams(sleeves="trend + tail").sleeves == ("trend", "tail")
