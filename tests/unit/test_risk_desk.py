"""What the Risk page is told: headroom by hand, correlation of known series, objections counted once."""

from __future__ import annotations

import json
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest

from app.risk import gauge_name, written
from engine.domain import N_RULES, NS_PER_DAY, Rule, Verdict
from engine.execution.parents import ParentSpec
from engine.research.book_risk import Returns, clusters_of, correlation_of, daily_returns, returns_of, tail_rows
from engine.runtime.gate_clusters import cluster_rows, clusters_in_force
from engine.runtime.gauges import Book, gauges
from engine.runtime.objections import Objections
from engine.runtime.risk_desk import RiskDesk
from engine.runtime.shock_table import Moving, shock_rows
from engine.runtime.stress_desk import newest_stress
from engine.settings import SystemConfig
from engine.shocks import shocks
from storage.database import Database

DAY = 20_000 * NS_PER_DAY
HOUR = 3_600 * 10**9


def book(**changes):
    base = Book(9_500.0, 10_000.0, 9_700.0, {"BTCUSDT": 0.4, "ETHUSDT": -0.3}, {"BTCUSDT": 0.2, "ETHUSDT": 0.08})
    return base._replace(**changes)


def by_name(rows):
    return {row["name"]: row for row in rows}


def test_headroom_is_what_is_left_in_the_limits_unit_and_in_money():
    rows = by_name(gauges(SystemConfig(), book(), None))
    halt = rows["DRAWDOWN"]
    assert (halt["measured"], halt["left"]) == (pytest.approx(0.05), pytest.approx(0.10))
    assert halt["left_money"] == pytest.approx(1_000.0)  # 10 % of the peak: 9,500 less 8,500
    day = rows["DAILY_LOSS"]
    assert day["measured"] == pytest.approx(200 / 9_700)
    assert day["left_money"] == pytest.approx(0.05 * 9_700 - 200)
    assert (rows["SYMBOL_CAP"]["where"], rows["SYMBOL_CAP"]["used"]) == ("BTCUSDT", pytest.approx(0.8))
    assert rows["GROSS_CAP"]["left_money"] == pytest.approx(1.3 * 9_500)
    near = rows["LIQUIDATION_DISTANCE"]
    assert (near["where"], near["at_most"], near["used"]) == ("ETHUSDT", False, pytest.approx(0.05 / 0.08))


def test_what_is_unknown_is_none_and_a_gain_uses_nothing():
    rows = by_name(gauges(SystemConfig(use_gate_drawdown=False), book(equity=math.nan), None))
    assert rows["DRAWDOWN"]["measured"] is None
    assert rows["DRAWDOWN"]["left_money"] is None
    assert rows["DRAWDOWN"]["enforced"] is False
    assert rows["GROSS_CAP"]["measured"] is None
    unpriced = by_name(gauges(SystemConfig(), book(weight={"BTCUSDT": 0.4, "ETHUSDT": math.nan}), None))
    assert (unpriced["SYMBOL_CAP"]["where"], unpriced["SYMBOL_CAP"]["measured"]) == ("ETHUSDT", None)
    assert unpriced["GROSS_CAP"]["used"] is None
    assert by_name(gauges(SystemConfig(), book(equity=9_800.0), None))["DAILY_LOSS"]["measured"] == 0.0


def test_rules_that_only_a_decision_measures_come_from_its_record():
    detail = {
        "symbols": ["A", "B"], "measured": np.zeros((2, N_RULES)).tolist(), "limit": np.zeros((2, N_RULES)).tolist(),
    }  # fmt: skip
    detail["measured"][0][Rule.STALE_DATA], detail["measured"][1][Rule.STALE_DATA] = 2.0, 9.0
    detail["limit"][0][Rule.STALE_DATA] = detail["limit"][1][Rule.STALE_DATA] = 15.0
    row = by_name(gauges(SystemConfig(), book(), detail))["STALE_DATA"]
    assert (row["where"], row["measured"], row["source"]) == ("B", 9.0, "decision")


def test_rules_of_the_whole_book_say_so_with_their_unit_and_what_is_left_as_money():
    measured = np.zeros((2, N_RULES))
    measured[:, [Rule.KELLY, Rule.CVAR, Rule.NET_CAP, Rule.CLUSTER_CAP]] = 0.1, 0.02, 0.5, 0.4
    detail = {"symbols": ["A", "B"], "measured": measured.tolist(), "limit": (2.0 * measured).tolist()}
    rows = by_name(gauges(SystemConfig(), book(), detail))
    assert {rows[name]["where"] for name in ("KELLY", "CVAR", "NET_CAP")} == {"book"}
    assert rows["CLUSTER_CAP"]["where"] == "cluster of A"
    assert rows["CVAR"]["left_money"] == pytest.approx(0.02 * 9_500)
    assert rows["NET_CAP"]["left_money"] == pytest.approx(0.5 * 9_500)
    assert (rows["KELLY"]["unit"], rows["KELLY"]["left_money"]) == ("volatility", None)  # a volatility is no money
    assert written(rows["KELLY"], 0.1).replace("\u202f", " ") == "10.00 % a year"
    assert gauge_name("CVAR") == "CVaR"


@pytest.mark.parametrize("settings", [{"use_gate_book": False}, {"strategy": "ema-cross"}])
def test_rules_that_are_off_are_shown_as_off(settings):
    zeros = np.zeros((1, N_RULES)).tolist()  # an ema-cross decision writes no verdict of theirs
    some = [{"symbols": ["A"], "measured": zeros, "limit": np.ones((1, N_RULES)).tolist()}, None]
    for detail in some:
        rows = by_name(gauges(SystemConfig(**settings), book(), detail))
        off = [rows[name] for name in ("KELLY", "CVAR", "CUSHION", "CLUSTER_CAP", "NET_CAP", "STRESS")]
        assert {row["enforced"] for row in off} == {False}
        assert {row["measured"] for row in off} == {None}
        assert (rows["CVAR"]["limit"], rows["KELLY"]["limit"]) == (SystemConfig().max_cvar, None)


def test_every_limit_is_shown_before_anything_was_decided():
    rows = by_name(gauges(SystemConfig(), book(orders_in_minute=30), None))
    assert {"KELLY", "CVAR", "CUSHION", "NET_CAP", "STRESS", "PARTICIPATION", "STALE_DATA"} <= set(rows)
    assert (rows["STRESS"]["measured"], rows["STRESS"]["limit"]) == (None, 0.2)
    assert rows["ORDER_RATE"]["used"] == pytest.approx(30 / 600)
    assert rows["LIQUIDATION"]["measured"] == pytest.approx(0.7)
    assert rows["LIQUIDATION"]["limit"] == pytest.approx(1.0 / (0.05 * 1.01 + 0.01))
    assert written(rows["ORDER_RATE"], 600.0) == "600"
    for settings in ({"strategy": "ema-cross"}, {"use_gate_book": False}):
        off = by_name(gauges(SystemConfig(**settings), book(), None))
        assert (off["PARTICIPATION"]["enforced"], off["LIQUIDATION"]["enforced"]) == (False, True)


def test_gauges_are_of_the_account_even_when_a_person_has_taken_a_whole_limit():
    measured, limit = np.zeros((1, N_RULES)), np.zeros((1, N_RULES))
    measured[0, Rule.STRESS], limit[0, Rule.NET_CAP] = 0.02, 0.3
    detail = {
        "symbols": ["A"], "measured": measured.tolist(), "limit": limit.tolist(), "shocks": {"LUNA": 0.02, "FTX": 0.01},
        "by_hand": {"weight": {"B": 0.7}, "cvar": 0.01, "stress": 0.2},
    }  # fmt: skip
    rows = by_name(gauges(SystemConfig(), book(), detail))
    stress = rows["STRESS"]  # nothing is left to the strategy: 0.2 by hand and a wish for 0.02 more
    assert (stress["measured"], stress["limit"], stress["where"]) == (pytest.approx(0.22), pytest.approx(0.2), "LUNA")
    assert (rows["NET_CAP"]["measured"], rows["NET_CAP"]["limit"]) == (pytest.approx(0.7), pytest.approx(1.0))


def test_shocks_are_of_the_whole_account_worst_first_and_unknown_without_a_price():
    moving = Moving(("BTCUSDT", "SOLUSDT"), 1e-4 * np.eye(2), np.array([True, True]))
    held = {"BTCUSDT": 0.2, "SOLUSDT": 0.3, "NEWUSDT": 0.1}
    rows = shock_rows(SystemConfig(), moving, held, 10_000.0)
    by_title = {row["title"]: row["loss"] for row in rows}
    assert [row["loss"] for row in rows] == sorted(by_title.values(), reverse=True)
    days = {shock.key: shock for shock in shocks()}
    ftx = days["2022-11"]
    assert by_title[ftx.title] == pytest.approx(
        -0.2 * ftx.move["BTCUSDT"] - 0.3 * ftx.move["SOLUSDT"] - 0.1 * ftx.market
    )
    assert by_title["Market falls by 40 %"] == pytest.approx(0.4 * 0.6 + 0.05 * 0.6)
    assert rows[0]["left"] == pytest.approx(0.2 - rows[0]["loss"])
    assert shock_rows(SystemConfig(), None, held, 10_000.0) is None
    assert shock_rows(SystemConfig(), moving, held | {"BTCUSDT": math.nan}, 10_000.0) is None


def test_clusters_are_those_of_the_gate_by_its_own_threshold():
    spread = np.array([0.01, 0.02, 0.01, 0.01])
    matrix = np.array([[1.0, 0.65, 0.1, 0.0], [0.65, 1.0, 0.0, 0.0], [0.1, 0.0, 1.0, 0.9], [0.0, 0.0, 0.9, 1.0]])
    state = SimpleNamespace(covariance=matrix * np.outer(spread, spread), n_bars=np.array([500, 500, 500, 3]))
    decider = SimpleNamespace(
        state=state, symbols=("A", "B", "C", "D"), params=SimpleNamespace(vol_horizon_bars=168.0), config=SystemConfig()
    )
    found = clusters_in_force(decider)
    assert (found.groups, found.young) == ([["A"], ["B"], ["C"]], ["D"])
    assert found.threshold == SystemConfig().cluster_correlation == 0.7
    decider.config = SystemConfig(cluster_correlation=0.6)
    found = clusters_in_force(decider)
    assert found.named() == {"A": "C1", "B": "C1", "C": "C2"}
    assert cluster_rows(found, {"A": 0.3, "B": -0.1, "D": 0.2}) == [
        {"name": "C1", "symbols": ["A", "B"], "net": pytest.approx(0.2), "gross": pytest.approx(0.4)}
    ]
    state.n_bars[:] = 0
    assert clusters_in_force(decider).groups is None
    assert "not begun" in clusters_in_force(None).why


def test_a_gap_is_no_return_and_an_unknown_symbol_is_nan():
    symbol, ts = ["A", "A", "A", "B"], np.array([1, 2, 4, 2]) * HOUR
    found = returns_of(symbol, ts, np.array([1.0, 2.0, 4.0, 5.0]), ["A", "B"], HOUR)
    assert found.log_return[0].tolist() == [pytest.approx(math.log(2)), pytest.approx(math.nan, nan_ok=True)]
    assert np.isnan(found.log_return[1]).all()


def test_correlation_agrees_with_numpy_and_needs_enough_hours():
    dice = np.random.default_rng(4)
    common = dice.normal(size=(200, 1))
    rows = np.hstack([common + 0.3 * dice.normal(size=(200, 2)), dice.normal(size=(200, 1))])
    found = correlation_of(np.vstack([rows, [np.nan, 0.0, 0.0]]))
    assert found == pytest.approx(np.corrcoef(rows.T))
    assert clusters_of(found, 0.6) == [[0, 1], [2]]
    assert correlation_of(rows[:40]) is None
    assert correlation_of(np.zeros((60, 2))).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_tail_is_of_todays_weights_and_unknown_while_days_are_few():
    log_return = np.log([[1.1, 0.9], [1.0, 1.2], [0.5, 1.0], [2.0, np.nan], [1.1, 1.1]])
    daily = daily_returns(Returns(("A", "B"), np.arange(5), log_return), bars=1)
    rows = {(row.method, row.level): row for row in tail_rows(daily, np.array([0.5, -1.0]), (0.75, 0.9))}
    # losses: −0.15, 0.2, 0.25, unknown, 0.05: the worst of four
    assert rows["HISTORICAL", 0.75].expected_shortfall == pytest.approx(0.25)
    assert rows["HISTORICAL", 0.75].value_at_risk == pytest.approx(0.2)
    assert rows["HISTORICAL", 0.9][2:] == (None, None, 4)
    assert {row.expected_shortfall for row in tail_rows(daily, np.zeros(2))} == {0.0}
    assert {row.value_at_risk for row in tail_rows(daily[:0], np.ones(2))} == {None}


def record(decision_id, ts_close, verdicts):
    verdict = np.zeros((2, N_RULES), dtype=int)
    for (index, rule), value in verdicts.items():
        verdict[index, rule] = value
    detail = {
        "symbols": ["A", "B"], "verdict": verdict.tolist(), "measured": (verdict * 0.1).tolist(),
        "limit": np.full((2, N_RULES), 0.05).tolist(),
    }  # fmt: skip
    return {"decision_id": decision_id, "ts_close": ts_close, "ts_decided": ts_close, "detail": json.dumps(detail)}


def test_objections_of_the_newest_day_are_counted_once(tmp_path):
    store = Database(tmp_path / "t.duckdb")
    clip, refuse = int(Verdict.CLIP), int(Verdict.REFUSE)
    day_loss = {(0, Rule.DAILY_LOSS): refuse, (1, Rule.REBALANCE_BAND): refuse}
    objections = Objections(store, DAY)
    assert objections.today() == {"day": None, "decisions": 0, "economy": 0, "rows": []}
    store.append("decisions", [
        record(1, DAY - 60, day_loss), record(2, DAY + 60, day_loss),
        record(3, DAY + 120, day_loss | {(1, Rule.GROSS_CAP): clip}),
    ])  # fmt: skip
    store.flush()
    objections.today()
    found = objections.today()
    assert (found["day"], found["decisions"], found["economy"]) == (DAY, 2, 2)
    assert [(row["rule"], row["symbol"], row["count"]) for row in found["rows"]] == [
        ("DAILY_LOSS", "A", 2),
        ("GROSS_CAP", "B", 1),
    ]
    assert found["rows"][0]["measured"] == pytest.approx(0.2)
    store.append("decisions", [record(4, DAY + NS_PER_DAY, {})])
    store.flush()
    assert objections.today()["rows"] == []
    store.close()


def engine_of(store, *, began_ns=0, parents=None, account="me"):
    worker = SimpleNamespace(parents=SimpleNamespace(parents=parents or {}))
    loop = SimpleNamespace(began_ns=began_ns, worker=worker)
    return SimpleNamespace(store=store, loop=loop, session=SimpleNamespace(account_key=account))


def test_refused_tickets_and_orders_by_algorithm_are_listed_with_what_they_were(tmp_path):
    store, now = Database(tmp_path / "t.duckdb"), time.time_ns()
    asked = [
        ("ticket.submit", {"symbol": "A", "side": "buy"}), ("parents.start", {"symbol": "B", "side": "sell"}),
        ("parents.replace", {"parent_id": 7, "qty": 9.0}), ("parents.replace", {"parent_id": 8, "qty": 9.0}),
        ("settings.set", {}),
    ]  # fmt: skip
    store.append("commands", [
        {"idempotency_key": f"key-{k}", "ts": now - k, "command": command, "payload": json.dumps(payload),
         "status": "refused", "result": "The cap is 0.50."} for k, (command, payload) in enumerate(asked)
    ])  # fmt: skip
    store.flush()
    known = {7: SimpleNamespace(spec=ParentSpec("C", -1, 1.0, "twap", 0, 1))}
    rows = RiskDesk(engine_of(store, parents=known))._refused()
    assert [(row["order"], row["symbol"], row["side"]) for row in rows] == [
        ("ticket", "A", "buy"), ("by algorithm", "B", "sell"), ("change by algorithm", "C", "sell"),
        ("change by algorithm", None, None),
    ]  # fmt: skip
    store.close()


def test_replay_of_another_account_or_of_an_ended_one_is_not_this_ones(tmp_path):
    store = Database(tmp_path / "t.duckdb")
    store.append("runs", [
        {"run_id": f"stress-{k}", "kind": "stress", "status": "done", "ts_started": k, "result": '{"rows": []}',
         "config": json.dumps({"trigger": f"t{k}", "account": "me" if k < 3 else "other"})} for k in (1, 2, 3)
    ])  # fmt: skip
    store.flush()
    assert newest_stress(engine_of(store))["trigger"] == "t2"
    assert newest_stress(engine_of(store, account="other"))["trigger"] == "t3"
    assert newest_stress(engine_of(store, began_ns=3))["ts"] is None
    store.close()
