"""What models get of a decision is what their positions earned, not how well they forecast ranges."""

from __future__ import annotations

import numpy as np
import pytest
from learnables import made_up

from engine.core.costs import Costs
from models import book
from models.earned import MOST_SHARE, evidence_of
from models.ensemble import daily_sums, gains, skill_of, weights_from
from models.evidence_walk import BLOCK_DAYS, traded_evidence, usual_terms, walked, weighed_before
from models.forecast import HORIZONS, QUANTILE_LEVELS, Prediction
from models.judging import judged_forecasts
from models.shown import FEWEST_TRADED_DAYS, NO_EVIDENCE, why_share
from models.tallies import day_index

N_BARS, JUDGED = 24 * 220, slice(24 * 20, 24 * 220)
NORMAL = np.array([-1.96, -1.6449, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.6449, 1.96])


def said_of(lean: np.ndarray, width: float) -> Prediction:
    """Forecasts that lean by so many sigmas a bar over every horizon (T, N), with normal intervals of a width."""
    assert len(NORMAL) == len(QUANTILE_LEVELS)
    middle = lean[..., None] * np.sqrt(np.array(HORIZONS))
    prob_up = 0.5 + 0.4 * middle / (1.0 + np.abs(middle))
    return Prediction(middle[..., None] + width * NORMAL, np.clip(prob_up, 0.01, 0.99))


def judged(data, lean, width=1.0):
    """Walk one forecaster beside a base rate whose intervals are half as wide again as what comes."""
    base, said = said_of(np.zeros(lean.shape), 1.5), said_of(lean, width)
    target = data.target[JUDGED]
    skill = daily_sums(gains(said.quantile, said.prob_up, base, target), day_index(data.panel.ts_close[JUDGED]))
    ts_close = data.panel.ts_close[JUDGED]
    forecast, shares = weighed_before({"one": said}, base, {"one": skill}, ts_close)
    assert shares["one"][0].max() == 0.0  # nobody has a record in the first block
    np.testing.assert_array_equal(forecast.prob_up[: 24 * BLOCK_DAYS - 1], base.prob_up[: 24 * BLOCK_DAYS - 1])
    wish = judged_forecasts("one", 0, forecast, base, data, JUDGED, shares).wish
    return walked(data, JUDGED, wish), weights_from({"one": skill_of(*skill)})


def test_knowing_how_far_and_not_which_way_makes_the_forecast_and_no_decision():
    data = made_up(N_BARS, n_symbols=2)
    noise = 0.01 * np.sign(np.random.default_rng(5).standard_normal((JUDGED.stop - JUDGED.start, 2)))
    evidence, weights = judged(data, noise)
    assert weights.base.max() < 0.1  # its intervals are the right ones, and it is trusted for that
    assert evidence.share == 0.0
    assert evidence.n_days == pytest.approx(200 - BLOCK_DAYS, abs=2)


def test_knowing_which_way_earns_a_part_of_the_decision():
    data = made_up(N_BARS, n_symbols=2, drift=0.15)
    evidence, _ = judged(data, 0.1 * data.features[JUDGED][..., 0].astype(np.float64))
    assert evidence.share > 0.2
    assert evidence.excess > 1.96 * evidence.error


def test_what_costs_eat_earns_nothing():
    panel = made_up(N_BARS, n_symbols=2).panel
    returns = np.diff(np.log(panel.close_px), axis=0, append=np.log(panel.close_px[-1:]))
    right = np.random.default_rng(2).random(returns.shape) < 0.53  # and turned over in every other bar
    wish = np.where(right, 1.0, -1.0) * np.sign(returns)
    terms = usual_terms(panel)
    assert traded_evidence(wish, terms._replace(costs=Costs(0.0, 0.0)), 480).share > 0.2
    paid = traded_evidence(wish, terms, 480)
    assert paid.excess < 0.0
    assert paid.share == 0.0


def test_shares_of_given_days_by_hand():
    rng = np.random.default_rng(3)
    hold, trend = 0.01 * rng.standard_normal((2, 800))
    noise = 0.01 * rng.standard_normal(800)
    follower = evidence_of(0.5 * hold + 0.5 * trend + 0.1 * noise, hold, trend)
    assert abs(follower.excess) < 3.0 * follower.error
    assert follower.share == 0.0
    # an edge of 0.002 a day with noise of 0.01 on 800 days has an error of 0.01 / sqrt(800) = 0.00035
    skilled = evidence_of(0.002 + hold + noise, hold, trend)
    assert skilled.error == pytest.approx(0.01 / np.sqrt(800), rel=0.15)
    assert skilled.excess == pytest.approx(0.002, abs=3 * skilled.error)
    # by hand: daily - trend has a variance of 3e-4, and the rule a Sharpe ratio of 1.6 with 0.01 a day
    shrunk = skilled.excess * (1.0 - (1.96 * skilled.error / skilled.excess) ** 2)
    aversion = 1.6 / np.sqrt(365.0) / 0.01
    assert skilled.share == pytest.approx(min(shrunk / (aversion * 3e-4), MOST_SHARE), rel=0.3)
    small = evidence_of(0.1 * (0.002 + noise), hold, trend)  # as sure, but ten times smaller
    assert small.share == pytest.approx(0.1 * shrunk / (aversion * 1.01e-4), rel=0.3)
    tiny = evidence_of(0.01 * (0.002 + noise), hold, trend)  # and a hundred times: it may not halve the rule
    assert 0.0 < tiny.share < 0.03
    assert evidence_of(0.02 + noise, hold, trend).share == MOST_SHARE


def test_too_few_days_or_a_rule_that_never_held_give_nothing():
    rng = np.random.default_rng(4)
    hold, trend = 0.01 * rng.standard_normal((2, 400))
    rich = 0.01 + 0.005 * rng.standard_normal(400)
    few = FEWEST_TRADED_DAYS - 1
    assert evidence_of(rich, hold, trend).share > 0.3
    assert evidence_of(rich[:few], hold[:few], trend[:few]).share == 0.0
    assert evidence_of(rich, hold, np.zeros(400)).share == 0.0
    assert evidence_of(np.zeros(400), hold, trend).share == 0.0
    assert evidence_of(rich[:0], hold[:0], trend[:0]).n_days == 0


def test_what_never_held_anything_has_no_record_to_show():
    hold, trend = 0.01 * np.random.default_rng(5).standard_normal((2, 400))
    row = book._traded(evidence_of(np.zeros(400), hold, trend).metrics())
    assert (row["sharpe"], row["traded"]["excess"], row["traded"]["share"]) == (None, None, 0.0)
    assert row["traded"]["trend_sharpe"]["low"] < row["traded"]["trend_sharpe"]["value"]
    assert book._traded(evidence_of(trend, hold, -trend).metrics())["sharpe"]["value"] != 0.0


def test_an_excess_that_lasts_for_days_is_less_sure():
    rng = np.random.default_rng(6)
    hold, trend = 0.01 * rng.standard_normal((2, 1200))
    single = rng.standard_normal(1200)
    lasting = np.convolve(rng.standard_normal(1210), np.ones(10) / np.sqrt(10.0), "valid")[:1200]
    errors = [evidence_of(0.01 * one, hold, trend).error for one in (single, lasting)]
    assert errors[1] > 1.5 * errors[0]


def test_the_reason_is_said_with_its_interval():
    assert why_share({}) == NO_EVIDENCE
    row = {"mean": 0.001, "spread": 0.0002, "n": 400.0}
    said = why_share({"excess": row, "share": {"mean": 0.2, "spread": 0.0, "n": 400.0}})
    assert said.startswith("trading skill: +36.5 % a year (+22.2 to +50.8) beyond holding and the trend rule")
    assert "12 of 90 days" in why_share({"excess": row | {"n": 12.0}, "share": row})
    assert "held nothing" in why_share({"excess": row | {"spread": 0.0}, "share": row})
