"""The environment is the backtest, step by step: same money, nothing from the future, honest ends."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from learnables import made_up

from engine.core.decide import no_limits
from engine.core.frictions import Assumptions
from engine.core.simulate import Scan
from engine.domain import Sleeve
from engine.errors import DataError
from models.env import Market, PracticeTerms, TradingEnv, market_of, practice_terms, unit_weight
from models.own_book import N_OWN
from models.panel import funding_due
from models.tabular import Scaler

TERMS = practice_terms()
DATA = made_up(400, 3, drift=0.0)
DATA = DATA._replace(panel=DATA.panel._replace(funding=np.full((400, 3), 1e-4)))
SCALER = Scaler.of(DATA.features[:300])


def market(**changed: object) -> Market:
    return market_of(DATA._replace(**changed), slice(0, 400), SCALER, TERMS)  # type: ignore[arg-type]


def scanned(terms: PracticeTerms, weights: np.ndarray, symbols: list[int], start: int, stop: int) -> Scan:
    bars = market().bars
    cut = [np.ascontiguousarray(column[start:stop][:, symbols]) for column in bars[1:] if len(column)]
    params = terms.params._replace(sleeve=int(Sleeve.EXTERNAL))
    scan = Scan(
        bars._replace(ts_close=bars.ts_close[start:stop], open_px=cut[0], close_px=cut[1], funding_rate=cut[2],
                      high_px=cut[3], low_px=cut[4], volume=cut[5]),
        no_limits(len(symbols)), terms.costs, params, terms.cash, assumptions=terms.assumptions,
    )  # fmt: skip
    scan.external_weight[:] = weights
    scan.advance(stop - start)
    return scan


def test_checkers_find_nothing() -> None:
    from stable_baselines3.common.env_checker import check_env as check_for_learners

    env = TradingEnv(market(), TERMS, symbols=2, episode_bars=50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
        check_for_learners(env)


@pytest.mark.parametrize("symbols", [[1], [2, 0]])
def test_an_episode_earns_what_the_backtest_says(symbols: list[int]) -> None:
    env = TradingEnv(market(), TERMS, symbols=len(symbols), episode_bars=300)
    env.reset(seed=1, options={"start": 30, "symbols": symbols})
    rng = np.random.default_rng(3)
    weights, equity, wish = np.zeros((301, len(symbols))), [env.equity], np.zeros(len(symbols))
    for t in range(300):
        if t % 20 == 0:
            wish = rng.uniform(-1.0, 1.0, len(symbols)).astype(np.float32)
        weights[t] = wish * market().unit[30 + t, symbols]
        _seen, _reward, terminated, truncated, told = env.step(wish)
        equity.append(told["equity"])
        if terminated or truncated:
            break
    assert truncated
    assert len(equity) == 301
    scan = scanned(TERMS, weights, symbols, 30, 331)
    assert np.array_equal(np.array(equity)[:-1], scan.track.equity[:-1])
    assert equity[-1] == pytest.approx(scan.track.equity[-1], abs=0.0)
    assert scan.account.money["fees"][0] > 0.0
    assert scan.account.money["funding"][0] != 0.0


def test_buy_and_hold_earns_what_the_backtest_says() -> None:
    env = TradingEnv(market(), TERMS, episode_bars=200)
    env.reset(options={"start": 30, "symbols": [0]})
    done = False
    while not done:
        _seen, _reward, terminated, truncated, told = env.step(np.ones(1, dtype=np.float32))
        done = terminated or truncated
    scan = scanned(TERMS, market().unit[30:231, [0]], [0], 30, 231)
    assert told["equity"] == scan.track.equity[-1] != TERMS.cash


def test_observations_do_not_hold_the_future() -> None:
    cut = 200
    panel = DATA.panel
    torn = panel._replace(**{
        name: np.where(np.arange(400)[:, None] > cut, getattr(panel, name) * 1.7, getattr(panel, name))
        for name in ("open_px", "high_px", "low_px", "close_px", "volume", "funding")
    })  # fmt: skip
    later = np.arange(400)[:, None, None] > cut
    features = np.where(later, DATA.features + 9.0, DATA.features)
    sigma = np.where(later[..., 0], 0.5, DATA.sigma)
    seen = []
    for one in (market(), market(panel=torn, features=features, sigma=sigma)):
        env = TradingEnv(one, TERMS, episode_bars=300)
        rows = [env.reset(options={"start": 150, "symbols": [1]})[0]]
        rows += [env.step(np.array([np.sin(k)], dtype=np.float32))[0] for k in range(60)]
        seen.append(np.array(rows))
    assert np.array_equal(seen[0][: cut - 150 + 1], seen[1][: cut - 150 + 1])
    assert not np.array_equal(seen[0][cut - 150 + 1], seen[1][cut - 150 + 1])


def test_the_own_inputs_follow_the_account() -> None:
    env = TradingEnv(market(), TERMS, episode_bars=100)
    seen, _ = env.reset(options={"start": 30, "symbols": [0]})
    assert seen[-N_OWN:] == pytest.approx([0.0, 0.0, 1.0, np.log1p(1.0) / np.log(169.0)], abs=1e-6)
    seen = env.step(np.array([-1.0], dtype=np.float32))[0]
    assert seen[-N_OWN] == pytest.approx(-1.0, abs=0.05)
    assert seen[-1] == 0.0
    entry, close = env.account.entry_px[0], DATA.panel.close_px[31, 0]
    assert seen[-3] == pytest.approx(-np.log(close / entry) / (0.01 * np.sqrt(24.0)), rel=1e-5)


def test_ruin_terminates_and_the_end_of_the_stretch_truncates() -> None:
    crash = DATA.panel.close_px.copy()
    crash[100:] *= 0.05
    fallen = DATA.panel._replace(close_px=crash, open_px=np.vstack([crash[:1], crash[:-1]]), low_px=crash)
    env = TradingEnv(market(panel=fallen), TERMS, episode_bars=100)
    env.reset(options={"start": 95, "symbols": [0]})
    ends = [env.step(np.ones(1, dtype=np.float32))[2:4] for _ in range(6)]
    assert (True, False) in ends
    assert ends[0] == (False, False)
    env.reset(options={"start": 200, "symbols": [0]})
    ends = [env.step(np.zeros(1, dtype=np.float32))[2:4] for _ in range(100)]
    assert ends[-1] == (False, True)
    assert not any(truncated for _, truncated in ends[:-1])


def test_the_reward_is_utility_in_units_of_the_target() -> None:
    env = TradingEnv(market(), TERMS, episode_bars=50)
    env.reset(options={"start": 30, "symbols": [0]})
    before = env.equity
    _seen, reward, *_ = env.step(np.ones(1, dtype=np.float32))
    gain = np.log(env.equity / before) * np.sqrt(8760.0) / 0.2
    assert reward == pytest.approx(gain - 0.5 * 1.5 / np.sqrt(8760.0) * gain**2, rel=1e-12)


def test_what_cannot_be_practised_is_refused() -> None:
    unknown = np.full(DATA.sigma.shape, np.nan)
    assert (unit_weight(unknown, TERMS.params) == 0.0).all()
    with pytest.raises(DataError, match="known well enough"):
        TradingEnv(market(sigma=unknown), TERMS)
    with pytest.raises(DataError, match="there are 3"):
        TradingEnv(market(), TERMS, symbols=4)


def test_funding_is_due_thrice_a_day() -> None:
    assert (funding_due(DATA.panel) != 0.0).sum() == 3 * 400 // 8
    assert Assumptions() == TERMS.assumptions
