"""A bar on which given weights ask for nothing is passed over only where the whole gate would change nothing.

The whole gate works every bar out as soon as any limit on the book is set, so one that nothing can reach is compared
with none.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.costs import Costs
from engine.core.simulate import Scan, SimBars
from engine.domain import NO_SHOCKS, NS_PER_S, InstrumentTable, Rule, Sleeve, Verdict
from engine.limits import risk_limits
from engine.settings import SystemConfig

N, N_BARS, CASH = 4, 240, 10_000.0
TIGHT = {
    "wide": {},
    "symbol cap": {"max_symbol_weight": 0.2},
    "gross cap": {"max_gross_weight": 0.6},
    "leverage": {"max_leverage": 0.6},
    "day": {"max_daily_loss": 0.01},
    "drawdown": {"max_drawdown": 0.04},
}


def market(seed):
    rng = np.random.default_rng(seed)
    close_px = 100.0 * np.exp(np.cumsum(rng.standard_t(3, (N_BARS, N)) * 0.006, axis=0))
    open_px = np.vstack([close_px[:1], close_px[:-1]]) * np.exp(rng.normal(0.0, 0.001, (N_BARS, N)))
    missing = rng.random((N_BARS, N)) < 0.05
    missing[rng.integers(0, N_BARS // 2) :][:30, 0] = True  # one symbol is long without a price
    open_px[missing], close_px[missing] = np.nan, np.nan
    return SimBars((1_600_000_000 + 3600 * np.arange(N_BARS)) * NS_PER_S, open_px, close_px, np.zeros((0, N)))


def scanned(bars, weight, params, limits):
    lot = np.full(N, 0.001)
    instruments = InstrumentTable(lot, lot, lot, np.full(N, np.inf), np.full(N, 5.0))
    scan = Scan(bars, instruments, Costs(0.0004, 0.0001), params._replace(risk=limits), CASH)
    scan.external_weight[:] = weight
    scan.advance(N_BARS)
    return scan


@pytest.mark.parametrize("limit", TIGHT)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), every=st.sampled_from([1, 5, 24]), partly=st.booleans())
def test_bars_that_ask_for_nothing_decide_as_the_whole_gate_does(limit, seed, every, partly):
    rng = np.random.default_rng(seed)
    weight = np.full((N_BARS, N), np.nan)
    weight[::every] = rng.uniform(-0.3, 0.3, weight[::every].shape)
    if partly:
        weight[rng.random((N_BARS, N)) < 0.3] = np.nan
    params = SystemConfig(decision_interval="1h", rebalance_band=0.0).params()._replace(shocks=NO_SHOCKS)
    params = params._replace(sleeve=int(Sleeve.EXTERNAL), max_daily_loss=0.5, max_drawdown=0.9)._replace(**TIGHT[limit])
    bars = market(seed)
    short, whole = (scanned(bars, weight, params, limits) for limits in (risk_limits(), risk_limits(max_net_weight=99)))
    for name, found, expected in zip(short.track._fields, short.result().track, whole.result().track, strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=name)
    for found, expected in zip(short.fills, whole.fills, strict=True):
        np.testing.assert_array_equal(found, expected)
    for name, found, expected in zip(short.draft._fields, short.draft, whole.draft, strict=True):
        if name in ("raw_weight", "sized_weight", "approved_weight", "target_qty", "act", "present_weight"):
            np.testing.assert_array_equal(found, expected, err_msg=name)
    assert (short.state.book == whole.state.book).all()


def test_the_tight_limits_above_do_object_on_bars_that_ask_for_nothing():
    rules = {"symbol cap": Rule.SYMBOL_CAP, "gross cap": Rule.GROSS_CAP, "leverage": Rule.LEVERAGE,
             "day": Rule.DAILY_LOSS, "drawdown": Rule.DRAWDOWN}  # fmt: skip
    weight = np.full((N_BARS, N), np.nan)
    weight[0] = 0.19, -0.14, 0.12, -0.14  # within every limit; the rest is the market's doing
    base = SystemConfig(decision_interval="1h").params()._replace(shocks=NO_SHOCKS, sleeve=int(Sleeve.EXTERNAL))
    for limit, rule in rules.items():
        params = base._replace(max_daily_loss=0.5, max_drawdown=0.9)._replace(**TIGHT[limit])
        found = [scanned(market(seed), weight, params, risk_limits()).result().track for seed in range(20)]
        objections = sum(track.rule_counts[rule, [Verdict.CLIP, Verdict.REFUSE]].sum() for track in found)
        assert objections > 0, limit
