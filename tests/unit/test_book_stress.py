"""The stress replay on paths small enough to work out by hand, and the facts of the stored crises."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from app import risk_stress
from engine import risk_commands
from engine.domain import NO_SHOCKS
from engine.research.book_risk import Returns
from engine.research.book_stress import Control, HeldBook, run_scenario, stress
from engine.research.scenarios import OTHER_BETA, Scenario, crises, historic, synthetic
from engine.settings import SystemConfig

NAN = float("nan")


def book(weight=1.0, stop=NAN, **changes):
    base = HeldBook(("BTCUSDT",), np.array([weight * 100.0]), np.array([100.0]), np.array([stop]), 10_000.0, 10_000.0,
                    10_000.0, 0.01, 0.0)  # fmt: skip
    return base._replace(**changes)


def control(**changes):
    config = SystemConfig(decision_interval="1h", max_gross_weight=5.0, max_symbol_weight=5.0, max_leverage=5.0)
    return Control(config.params()._replace(shocks=NO_SHOCKS), np.zeros((0, 1)), 0.05, 0.15)._replace(**changes)


def path(*moves, low=None, high=None, through=0.0, slippage=0.0, funding=0.0, quote=1.0):
    close = np.array(moves, dtype=float).reshape(-1, 1)
    lows = np.minimum(close, 0.0) if low is None else np.array(low, dtype=float).reshape(-1, 1)
    highs = np.maximum(close, 0.0) if high is None else np.array(high, dtype=float).reshape(-1, 1)
    paid = np.full_like(close, funding)
    return Scenario("p", "p", "synthetic", close, lows, highs, paid, slippage, through, quote, (), "")


def modes(book_, scenario, control_=None):
    return run_scenario(book_, scenario, control_ or control())["modes"]


def test_held_loses_the_move_and_a_stop_what_lies_before_it():
    found = modes(book(1.0, stop=95.0), path(-0.10))
    assert found["held"]["loss"] == pytest.approx(0.10)
    assert found["stops"]["loss"] == pytest.approx(0.05)
    halfway = modes(book(1.0, stop=95.0), path(-0.10, through=0.5))["stops"]
    assert halfway["loss"] == pytest.approx(0.075)
    gap = modes(book(1.0, stop=95.0), path(-0.30, through=1.0))
    assert gap["stops"]["loss"] == gap["control"]["loss"] == pytest.approx(0.30)
    assert gap["control"]["broken"] == ["drawdown", "daily loss"]


def test_a_wick_stops_out_although_the_hour_closes_unchanged():
    found = modes(book(-1.0, stop=105.0), path(0.0, high=[0.08]))
    assert found["held"]["end"] == pytest.approx(0.0)
    assert found["held"]["loss"] == pytest.approx(0.08)
    assert found["stops"]["end"] == pytest.approx(-0.05)


def test_control_flattens_at_the_days_limit_before_a_far_stop():
    found = modes(book(2.0, stop=90.0), path(-0.08, -0.05))
    assert found["stops"]["loss"] == pytest.approx(0.20)  # −8 % of 2.0, then the stop at −10 %
    assert found["control"]["loss"] == pytest.approx(0.048)  # closed ahead of 5 % by 0.1 % of a notional of 2.0
    assert found["control"]["broken"] == []
    slipped = modes(book(2.0, stop=90.0), path(-0.08, -0.05, through=0.5))["control"]
    # reached 2.4 of 8 points down, filled half of the way further: 5.2 % of 2.0
    assert slipped["loss"] == pytest.approx(0.104)
    assert slipped["broken"] == ["daily loss"]


def test_todays_loss_counts_and_a_limit_that_is_off_never_acts():
    found = modes(book(1.0, day_open_equity=10_300.0), path(-0.04))["control"]
    assert found["loss"] == pytest.approx(1.0 - 0.95 * 1.03 - 0.001)
    assert found["worst_day"] == pytest.approx(0.05 - 0.001 / 1.03)
    off = modes(book(1.0), path(-0.30), control(max_daily_loss=math.inf, max_drawdown=math.inf))["control"]
    assert off["loss"] == pytest.approx(0.30)
    assert off["broken"] == []


def test_exposure_follows_the_cushion_from_hour_to_hour():
    slow = path(*[-0.02] * 40)
    found = modes(book(1.0), slow)
    assert found["held"]["drawdown"] > 0.5
    assert found["control"]["drawdown"] < 0.15
    assert found["control"]["broken"] == []


def test_costs_funding_and_a_weaker_quote_currency():
    assert modes(book(1.0, stop=95.0), path(-0.06, slippage=0.01))["stops"]["costs"] == pytest.approx(95.0)
    assert modes(book(1.0), path(*[0.0] * 8, funding=0.001))["held"]["end"] == pytest.approx(-0.008)
    assert modes(book(-1.0), path(*[0.0] * 8, funding=0.001))["held"]["end"] == pytest.approx(0.008)
    depeg = modes(book(0.0), path(0.1, quote=0.9))["held"]
    assert (depeg["end"], depeg["end_dollars"]) == (pytest.approx(0.0), pytest.approx(-0.1))


def test_liquidation_ends_the_account_at_nothing_and_not_below():
    found = modes(book(4.0), path(-0.30))["held"]
    assert found["liquidated"]
    assert found["loss"] == 1.0
    assert found["broken"] == ["drawdown", "daily loss", "liquidation"]
    near = modes(book(2.0), path(-0.30))["held"]
    assert near["liquidation_distance"] == pytest.approx(0.4 / 1.4 - 0.01)
    assert modes(book(0.0), path(-0.30))["held"]["liquidation_distance"] is None


def test_stored_crises_are_what_happened():
    assert set(crises()["crises"]) == {"2018-11", "2020-03-12", "2021-05-19", "2022-05", "2022-11", "2024-08-05"}
    lows = {}
    for scenario in historic(("BTCUSDT",), {}):
        assert (scenario.low <= np.minimum(scenario.close, 0.0)).all()
        assert (scenario.high >= np.maximum(scenario.close, 0.0)).all()
        before = np.concatenate(([1.0], np.cumprod(1.0 + scenario.close[:, 0])[:-1]))
        lows[scenario.key] = float((before * (1.0 + scenario.low[:, 0])).min() - 1.0)
    assert lows["2020-03-12"] == pytest.approx(-0.52, abs=0.01)
    assert lows["2024-08-05"] == pytest.approx(-0.20, abs=0.01)


def test_symbol_that_did_not_trade_then_moves_by_its_beta_and_is_named():
    found = {scenario.key: scenario for scenario in historic(("BTCUSDT", "SOLUSDT", "NEWUSDT"), {"SOLUSDT": 2.0})}
    early = found["2020-03-12"]
    assert early.by_beta == ("SOLUSDT", "NEWUSDT")
    assert early.close[:, 1] == pytest.approx(2.0 * early.close[:, 0])
    assert early.close[5, 2] == pytest.approx(OTHER_BETA * early.close[5, 0])
    assert found["2022-11"].by_beta == ("NEWUSDT",)


def test_made_up_scenarios_turn_against_the_book():
    for sign in (1.0, -1.0):
        found = {s.key: s for s in synthetic(("BTCUSDT", "ETHUSDT"), np.array([0.5, 0.5]) * sign, {}, {})}
        assert np.sign(found["correlation-one"].close[0, 0]) == -sign
        assert np.sign(found["liquidity-gone"].close[0, 0]) == -sign
        assert (found["funding-spike"].funding * sign > 0).all()
    day = np.prod(1.0 + found["correlation-one"].close, axis=0)
    assert day == pytest.approx([1.0 + 4 * 0.04, 1.0 + 4 * 0.06])


def test_whole_replay_says_what_it_used():
    dice = np.random.default_rng(1).normal(0.0, 0.005, (200, 1))
    returns = Returns(("BTCUSDT",), np.arange(200), dice)
    found = stress(book(0.5, stop=95.0), control(), returns)
    assert len(found["rows"]) == 12
    assert found["beta"] == {"BTCUSDT": 1.0}
    assert found["sigma_day"]["BTCUSDT"] == pytest.approx(dice.std(ddof=1) * 24**0.5)
    assert found["worst"]["key"] == "gap-down"
    assert found["holds"] is False
    empty = stress(book(0.0), control(), returns)
    assert empty["holds"] is True
    assert empty["worst"]["loss"] == 0.0


def test_a_limit_that_is_off_is_said_to_be_off_and_never_to_hold(capsys):
    returns = Returns(("BTCUSDT",), np.zeros(0, dtype=np.int64), np.zeros((0, 1)))
    half = stress(book(0.4), control(max_drawdown=math.inf), returns)
    assert half["limits"] == {"max_daily_loss": 0.05, "max_drawdown": None}
    assert half["holds"] is False
    told = risk_stress.verdict(half)
    assert "a limit (a day's loss of 5.00\u202f%) does **not** hold" in told
    assert "**No limit on a drawdown is in force**" in told
    none = stress(book(0.4), control(max_daily_loss=math.inf, max_drawdown=math.inf), returns)
    assert none["holds"] is None
    json.dumps(none, allow_nan=False)
    told = risk_stress.verdict(none | {"trigger": "test"})
    assert "the worst scenario loses" in told
    assert "hold" not in told
    assert set(risk_stress.stress_rows(none)["state"]) == {"— none on"}
    risk_commands.show(none)
    assert "a day's loss not limited (switched off), drawdown not limited (switched off)" in " ".join(
        capsys.readouterr().out.split()
    )
