"""Shortfall and cost model: hand-worked sums, known coefficients found again, and the prior while fills are few."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain import NS_PER_S, Mode
from engine.errors import ConfigError
from engine.execution import impact
from engine.execution.impact import ASSUMED, Paid, Prior, expected_cost, fitted, robust_posterior
from engine.execution.parents import Algorithm
from engine.execution.preview import expected_fee
from engine.execution.quality import Execution, Wanted, benchmarks, cost_bps, shortfall
from engine.research.own_costs import chosen_costs, file_name, offered, own_costs
from engine.research.run_params import RunParams
from engine.runtime.own_fills import fit_costs, newest_costs, origin_of, paid_children
from engine.runtime.session import open_session
from storage.database import Database

NAN = math.nan


def test_shortfall_of_a_buy_by_hand():
    # wanted 10 at 100; the market was 101 when it began; 4 filled at 102 (mid 101.5) and 2 at 103 (mid 102.75)
    fills = [Execution(4, 102.0, 101.5, 0.5), Execution(2, 103.0, 102.75, 0.25)]
    split = shortfall(Wanted(1, 10.0, 100.0, 101.0, 104.0), fills)
    assert split == (6 * 1.0, 4 * 0.5 + 2 * 0.25, 4 * 0.5 + 2 * 1.75, 0.75, 4 * 4.0)
    assert split.total == (4 * 102 + 2 * 103 - 6 * 100) + 0.75 + 4 * 4.0


def test_nothing_filled_is_all_opportunity_and_a_sell_is_a_buy_in_the_mirror():
    split = shortfall(Wanted(-1, 2.0, 100.0, 99.0, 97.0), [])
    assert split == (0.0, 0.0, 0.0, 0.0, 6.0)
    sold = shortfall(Wanted(-1, 2.0, 100.0, 99.0, 97.0), [Execution(2, 98.0, NAN, 0.0)])
    assert sold == (2.0, 2.0, 0.0, 0.0, 0.0)  # an unknown mid counts as that of arrival


PX = st.floats(1.0, 1e5)
FILLS = st.lists(st.builds(Execution, st.floats(0.0, 10.0), PX, PX, st.floats(-5.0, 5.0)), max_size=8)


@given(st.sampled_from([1, -1]), st.floats(0.0, 200.0), PX, PX, PX, FILLS)
@settings(max_examples=100, deadline=None)
def test_parts_add_up_to_the_whole(side, extra, decision_px, arrival_px, end_px, fills):
    filled = math.fsum(fill.qty for fill in fills)
    split = shortfall(Wanted(side, filled + extra, decision_px, arrival_px, end_px), fills)
    paid = side * (math.fsum(f.qty * f.px for f in fills) - filled * decision_px) + math.fsum(f.fee for f in fills)
    rest = max((filled + extra) - filled, 0.0)
    whole = paid + side * rest * (end_px - decision_px)
    scale = (filled + extra) * 1e5 + 1.0
    assert split.total == pytest.approx(whole, abs=1e-10 * scale)
    assert math.fsum(split) == split.total  # what is shown adds up exactly


def test_benchmarks_of_an_interval():
    second = NS_PER_S
    mids = [(0, 99.0), (10 * second, 101.0), (14 * second, 105.0)]
    found = benchmarks([(100.0, 3.0), (104.0, 1.0)], mids, 8 * second, 18 * second)
    assert found == pytest.approx((101.0, (2 * 99 + 4 * 101 + 4 * 105) / 10))
    assert all(math.isnan(px) for px in benchmarks([], [], 0, 1))
    assert cost_bps(-1, 99.0, 100.0) == pytest.approx(100.0)


def children(n, half_spread, factor, rng, noise=2e-5):
    sigma, part = rng.uniform(0.002, 0.01, n), rng.uniform(1e-5, 0.05, n)
    cost = half_spread + factor * sigma * np.sqrt(part) + rng.normal(0, noise, n)
    left = 0.5 * sigma * part + rng.normal(0, noise, n)
    return [Paid(c, g, p, s, 100.0, 0.0, 0.04, 0.0, False) for c, g, p, s in zip(cost, left, part, sigma, strict=True)]


def test_without_fills_the_model_is_what_was_assumed():
    model = impact.assumed_model(0.0004, -0.0001)
    for name, prior in ASSUMED.items():
        coefficient = getattr(model, name)
        assert (coefficient.value, coefficient.error, coefficient.n) == (prior.mean, pytest.approx(prior.sd), 0)
    assert (model.taker_fee, model.maker_fee, model.maker_share, model.resting_share) == (0.0004, -0.0001, 0.0, 0.5)


def test_many_fills_find_the_true_coefficients_within_their_errors():
    model = fitted(children(400, 2.5e-5, 0.6, np.random.default_rng(1)), 0.0004, 0.0)
    for found, true in ((model.half_spread, 2.5e-5), (model.impact, 0.6), (model.permanent, 0.5)):
        assert abs(found.value - true) < 4 * found.error
    assert model.half_spread.error < 1e-5
    assert model.taker_fee == pytest.approx(0.0004)


def test_few_fills_stay_near_the_assumed_values_and_more_move_away():
    rng = np.random.default_rng(2)
    gaps = [abs(fitted(children(n, 2.5e-5, 0.2, rng), 0.0, 0.0).impact.value - 1.0) for n in (1, 10, 200)]
    assert gaps[0] < gaps[1] < gaps[2]
    assert gaps[0] < 0.4


def test_one_wild_fill_moves_the_fit_little():
    rows = children(60, 5e-5, 1.0, np.random.default_rng(3))
    wild = rows[0]._replace(cost=0.05)  # five per cent of the price
    calm, shaken = fitted(rows, 0.0, 0.0), fitted([*rows, wild], 0.0, 0.0)
    assert abs(shaken.half_spread.value - calm.half_spread.value) < 5e-6


def test_posterior_of_one_number_by_hand():
    # prior N(1, 1); two observations of 3, whose residuals are within Huber's bound; noise: median |3 - b| * 1.4826
    mean, error = robust_posterior(np.ones((2, 1)), np.array([2.99, 3.01]), (Prior(3.0, 1.0),))
    noise = 1.4826 * 0.01
    assert mean[0] == pytest.approx(3.0)
    assert error[0] == pytest.approx((2 / noise**2 + 1) ** -0.5, rel=1e-6)


def test_model_is_kept_and_read_back_and_becomes_parameters_of_a_backtest():
    model = fitted(children(20, 5e-5, 1.0, np.random.default_rng(4)), 0.0004, 0.0)
    assert impact.from_json(model.as_json()) == model
    params = impact.backtest_params(model)
    assert params["slippage"] == model.half_spread.value
    assert (params["impact"], params["spread_vol"]) == (model.impact.value, 0.0)


def test_backtest_takes_our_own_costs_where_nothing_was_stated(tmp_path):
    with pytest.raises(ConfigError, match="no costs of our own"):
        chosen_costs(tmp_path, "own", {})
    assert chosen_costs(tmp_path, "assumed", {"fee": 0.1}) == ({"fee": 0.1}, "assumed")
    few = fitted(children(19, 5e-5, 1.0, np.random.default_rng(4)), 0.0004, 0.0)
    (tmp_path / file_name("mirror")).write_text(json.dumps({"model": few.as_json()}))
    with pytest.raises(ConfigError, match="need 20 orders that filled, and there are 19"):
        own_costs(tmp_path)
    assert "there are 19" in offered(tmp_path)["why"]
    model = fitted(children(20, 5e-5, 1.0, np.random.default_rng(4)), 0.0004, 0.0)
    (tmp_path / file_name("mirror")).write_text(json.dumps({"model": model.as_json(), "version": "c1", "ts": 1}))
    params, origin = chosen_costs(tmp_path, "own", {"fee": "0.001"}, grid=("maker_fee", "impact"))
    assert origin == "own c1, 20 orders, paper on the mirror market"
    assert {"maker_fee", "impact"}.isdisjoint(params), "a sweep's own axes are stated"
    assert chosen_costs(tmp_path, origin, params) == (params, origin), "a resumed run keeps the fit it began with"
    assert (offered(tmp_path)["why"], offered(tmp_path)["n_orders"]) == (None, 20)
    params = own_costs(tmp_path).completed({"fee": "0.001", "impact": "2"})
    assert (params["fee"], params["impact"], "taker_fee" in params) == ("0.001", "2", False)
    assert params["slippage"] == model.half_spread.value
    assert RunParams.model_validate(params).slippage == model.half_spread.value
    (tmp_path / file_name("mirror")).write_text("{}")
    with pytest.raises(ConfigError, match="cannot be read as a cost model"):
        own_costs(tmp_path)


def test_turning_an_account_over_costs_what_the_model_says_of_each_symbols_part(tmp_path):
    model = fitted(children(20, 5e-5, 1.0, np.random.default_rng(4)), 0.0004, 0.0)
    (tmp_path / file_name("mirror")).write_text(json.dumps({"model": model.as_json()}))
    own = own_costs(tmp_path)
    close_px = 100.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, (50, 3)), axis=0))
    volume = np.array([10.0, 40.0, 0.0]) * np.ones((50, 1))  # the third is unknown
    flat = model.half_spread.value + model.taker_fee
    pushed = [
        model.impact.value
        * np.diff(np.log(close_px[:, n])).std()
        * math.sqrt(500 / np.median(volume[:, n] * close_px[:, n]))
        for n in (0, 1)
    ]
    assert own.turnover_rate(close_px, volume, 1_000.0) == pytest.approx(flat + np.mean(pushed))
    assert own.turnover_rate(close_px, 0.0 * volume, 1_000.0) == pytest.approx(flat)


def test_the_fee_of_an_algorithm_is_a_range_until_an_order_of_ours_has_rested():
    coin = SimpleNamespace(maker_fee=0.0001, taker_fee=0.0004)
    unknown = expected_fee(Algorithm.TWAP, True, 1_000.0, coin, impact.assumed_model(0.0004, 0.0001))
    assert (unknown["fee"], unknown["maker_share"]) == (None, None)
    assert (unknown["fee_low"], unknown["fee_high"]) == pytest.approx((0.1, 0.4))
    rested = [
        row._replace(rested=True, maker_notional=50.0) for row in children(10, 5e-5, 1.0, np.random.default_rng(4))
    ]
    model = fitted(rested, 0.0004, 0.0001)
    known = expected_fee(Algorithm.TWAP, True, 1_000.0, coin, model)
    assert (known["maker_share"], known["resting_orders"]) == (0.5, 10)
    assert known["fee"] == pytest.approx(0.25)
    crossing = expected_fee(Algorithm.TWAP, False, 1_000.0, coin, model)
    assert (crossing["fee"], crossing["resting_orders"]) == (pytest.approx(0.4), None)
    assert expected_fee(Algorithm.ICEBERG, True, 1_000.0, coin, model)["fee"] == pytest.approx(0.1)


def test_expected_cost_by_hand():
    model = impact.assumed_model(0.0004, 0.0)
    # a quarter of an hour's volume at 1 %: 1 * 0.01 * 0.5; half of it rests
    found = expected_cost(model, 25.0, 100.0, 0.01, 0.5)
    assert found == pytest.approx((0.5e-4, 0.005, 0.0002, 0.0))
    assert found.total == pytest.approx(0.00525)
    costs = impact.turnover_costs(model, np.array([-2500.0]), np.array([10_000.0]), np.array([0.01]))
    assert costs == pytest.approx([2500 * (1e-4 + 0.0004 + 0.005)])


def traded(store, session, n, fee):
    """Put n filled orders of a session on the record."""
    key, tag = session.account_key, session.started_ns
    store.append("orders", [
        {"account": key, "client_id": f"{tag}-{k}", "symbol": "BTCUSDT", "side": 1, "tif": "IOC", "purpose": "manual"}
        for k in range(n)
    ])  # fmt: skip
    store.append("fills", [
        {"account": key, "symbol": "BTCUSDT", "trade_id": f"{tag}-{k}", "client_id": f"{tag}-{k}", "qty": 1.0,
         "px": 100.0, "fee": fee * 100.0, "is_maker": False, "arrival_px": 99.99, "ts_filled": tag + k,
         "ts_received": tag + k} for k in range(n)
    ])  # fmt: skip
    store.flush()


def test_fills_of_one_market_are_not_evidence_of_another(tmp_path):
    store = Database(tmp_path / "paper.duckdb")
    made = {}
    for ts, (market, fee) in enumerate((("simulated", 0.01), ("mirror", 0.0004), ("mirror", 0.0006)), start=1):
        made[ts] = open_session(store, Mode.PAPER, market, 1.0, f"0xabc at {ts}", ts * 1000)
        traded(store, made[ts], 20, fee)
    assert len(paid_children(store, origin_of(store, made[1]).accounts)) == 20
    fitted_to = fit_costs(store, made[3], (0.0004, 0.0), 9)
    assert (fitted_to["n_fills"], fitted_to["market"]) == (40, "mirror")  # every start is an account of its own
    assert fitted_to["model"]["taker_fee"] == pytest.approx(0.0005)
    assert fit_costs(store, made[1], (0.0004, 0.0), 10)["model"]["taker_fee"] == pytest.approx(0.01)
    newest, model = newest_costs(store, origin_of(store, made[3]).accounts, (0.0004, 0.0))
    assert (newest["version"], model.n_children) == (fitted_to["version"], 40)
    assert own_costs(tmp_path).market == "mirror"  # better evidence than the simulated one, although that is newer
    store.close()


def test_what_real_money_paid_is_kept_beside_later_practice_and_preferred(tmp_path):
    live, paper = Database(tmp_path / "live.duckdb"), Database(tmp_path / "paper.duckdb")
    first = open_session(live, Mode.LIVE, "aster", 1.0, "0xabc", 1000)
    other = open_session(live, Mode.LIVE, "aster", 1.0, "0xdef", 2000)
    traded(live, first, 25, 0.0004)
    traded(live, other, 3, 0.01)
    assert fit_costs(live, first, (0.0004, 0.0), 9)["n_fills"] == 25  # another account may pay other fees
    practice = open_session(paper, Mode.PAPER, "mirror", 1.0, "0xabc at 3", 3000)
    traded(paper, practice, 30, 0.0)
    fit_costs(paper, practice, (0.0004, 0.0), 10)
    assert own_costs(tmp_path).origin.endswith("25 orders, live")
    fit_costs(live, other, (0.0004, 0.0), 11)  # three orders are too few to be offered
    assert own_costs(tmp_path).origin.endswith("30 orders, paper on the mirror market")
    live.close()
    paper.close()
