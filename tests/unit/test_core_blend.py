"""What models count in a decision: a share of the trend rule's conviction, and nothing where they say nothing."""

import numpy as np
import pytest

from engine.core.decide import no_limits
from engine.core.step import new_state, step, warm_up
from engine.domain import NO_SHOCKS, AccountView, MarketSlice
from engine.settings import SystemConfig

PARAMS = (
    SystemConfig(
        decision_interval="1h", trend_horizons_hours=(6.0, 24.0), volatility_horizon_hours=24.0, rebalance_band=0.0
    )
    .params()
    ._replace(shocks=NO_SHOCKS)
)
CLOSES = 100.0 * np.exp(np.cumsum(np.random.default_rng(2).normal(0.001, 0.01, (80, 3)), axis=0))


def decision(external, **changes):
    params = PARAMS._replace(**changes)
    state = warm_up(new_state(3, params), CLOSES[:-1], params)
    zero = np.zeros(3)
    market = MarketSlice(1, *(CLOSES[-1],) * 5, zero)
    account = AccountView(10_000.0, zero, zero, zero, CLOSES[-1], 0)
    return step(state, market, account, no_limits(3), np.array(external), params)[1]


def test_a_share_of_nothing_changes_no_weight():
    plain = decision([np.nan] * 3)
    given = decision([0.9, -0.9, 0.1])
    np.testing.assert_array_equal(given.raw_weight, plain.raw_weight)
    np.testing.assert_array_equal(given.target_qty, plain.target_qty)


def test_conviction_is_blended_by_the_share_and_left_alone_where_models_say_nothing():
    plain = decision([np.nan] * 3).raw_weight
    blended = decision([0.9, np.nan, -0.5], model_share=0.25).raw_weight
    assert blended[0] == pytest.approx(0.75 * plain[0] + 0.25 * 0.9)
    assert blended[1] == plain[1]
    assert blended[2] == pytest.approx(0.75 * plain[2] - 0.25 * 0.5)


def test_a_wish_to_be_short_counts_as_none_where_shorts_are_not_allowed():
    plain = decision([np.nan] * 3, allow_short=False).raw_weight
    blended = decision([-0.9] * 3, model_share=0.5, allow_short=False).raw_weight
    np.testing.assert_allclose(blended, 0.5 * plain)
