"""Wishes are sized as the trend sleeve is, filled a bar later, and pay for it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.simulate import SimBars, simulate
from engine.domain import Params, Sleeve
from models.trading import Terms, sized_weights, traded

HOUR = 3_600_000_000_000
N_BARS, N_SYMBOLS = 2400, 3
PARAMS = Params(
    sleeve=int(Sleeve.TREND), bars_per_year=8760.0, trend_horizon_bars=np.array([12.0, 48.0]), vol_horizon_bars=100.0,
    vol_target=0.2, ema_fast=2, ema_slow=3, allow_short=True, gate=True, max_symbol_weight=2.0, max_gross_weight=4.0,
    max_leverage=5.0, max_daily_loss=1e9, max_drawdown=1e9, max_age_s=7200.0, rebalance_band=0.02,
)  # fmt: skip


def terms(costs: Costs, seed: int = 3) -> Terms:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(0.006 * rng.standard_normal((N_BARS, N_SYMBOLS)), axis=0))
    open_px = np.vstack([close[:1], close[:-1]])
    ts_close = (1 + np.arange(N_BARS, dtype=np.int64)) * HOUR
    bars = SimBars(ts_close, open_px, close, np.zeros((0, N_SYMBOLS)), np.maximum(open_px, close),
                   np.minimum(open_px, close), np.full(close.shape, 1e9))  # fmt: skip
    return Terms(bars, no_limits(N_SYMBOLS), costs, PARAMS, None, 10_000.0)


def test_no_wish_at_all_is_the_trend_rule_itself() -> None:
    given = terms(Costs(0.0004, 0.0001))
    whole = simulate(given.bars, given.instruments, given.costs, PARAMS, 10_000.0)
    ours = traded(np.full((N_BARS, N_SYMBOLS), np.nan), given, 0, share=0.0)
    assert ours.growth == pytest.approx(whole.track.equity[-1] / whole.track.equity[0] - 1.0, rel=1e-9)
    assert len(ours.daily) == N_BARS // 24 - 1


def test_who_knows_the_next_bar_but_one_earns_and_the_next_bar_is_too_late() -> None:
    given = terms(Costs(0.0, 0.0))
    log_return = np.diff(np.log(given.bars.close_px), axis=0)
    knows = np.zeros((N_BARS, N_SYMBOLS))
    knows[:-1] = np.sign(log_return)  # of the bar in which the order, filled at its open, is held
    late = np.zeros_like(knows)
    late[1:] = np.sign(log_return)  # of the bar that has just closed
    assert traded(knows, given, 200).sharpe > 20.0
    assert abs(traded(late, given, 200).sharpe) < 4.0


def test_costs_are_paid_for_what_is_traded_only() -> None:
    rng = np.random.default_rng(1)
    restless = rng.choice([-1.0, 1.0], size=(N_BARS, N_SYMBOLS))
    free, paid = (traded(restless, terms(costs), 200) for costs in (Costs(0.0, 0.0), Costs(0.0004, 0.0001)))
    assert paid.sharpe < free.sharpe - 5.0
    assert paid.costs == pytest.approx(paid.turnover * 0.0005, rel=0.05)
    still = traded(np.zeros((N_BARS, N_SYMBOLS)), terms(Costs(0.0004, 0.0001)), 200)
    assert (still.turnover, still.exposure, still.growth) == (0.0, 0.0, 0.0)
    assert np.isnan(still.sharpe)


def test_full_conviction_aims_at_the_volatility_target_and_half_at_half() -> None:
    given = terms(Costs(0.0, 0.0))
    close = given.bars.close_px
    full = sized_weights(close, np.ones((N_BARS, N_SYMBOLS)), PARAMS)
    half = sized_weights(close, np.full((N_BARS, N_SYMBOLS), 0.5), PARAMS)
    np.testing.assert_allclose(half[500:], 0.5 * full[500:], rtol=1e-9)
    log_return = np.diff(np.log(close), axis=0)
    realised = (full[500:-1] * log_return[500:]).sum(axis=1).std() * np.sqrt(8760.0)
    assert realised == pytest.approx(0.2, rel=0.1)
    unknown = sized_weights(close, np.full((N_BARS, N_SYMBOLS), np.nan), PARAMS)
    assert np.isnan(unknown).all()
