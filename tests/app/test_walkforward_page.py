"""A walk-forward on the Backtest page: started from the grid, shown fold by fold, resumed, and asked for the goal."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from fake_actions import refuse
from page_engine import PageEngine, page, texts

from app import goal, walkforwards
from app.formats import percent, signed_percent
from engine.research.track_record import record_of_backtest

DAY_MS = 86_400_000
START_MS = 1_700_006_400_000 // DAY_MS * DAY_MS
CHOSEN = ({"fast": 5, "side": "long"}, {"fast": 5, "side": "long"}, None, {"fast": 20, "side": "both"})
RETURNS = (0.04, -0.02, 0.0, 0.03)


def fold(place: int) -> dict:
    first = START_MS + 30 * place * DAY_MS
    return {
        "train_first_ts_ms": first - 101 * DAY_MS, "train_last_ts_ms": first - DAY_MS, "first_ts_ms": first,
        "last_ts_ms": first + 30 * DAY_MS, "params": CHOSEN[place], "in_sample_sharpe": 2.0, "sharpe": 1.0 - place,
        "total_return": RETURNS[place], "max_drawdown": 0.05, "fees": 3.5, "n_fills": 4, "carried_on": place == 1,
    }  # fmt: skip


RESULT = {
    "kind": "walkforward",
    "config": {"strategy": "ema-cross", "symbols": ["BTCUSDT"], "cash": 10_000.0, "choose_by": "sharpe",
               "train_days": 100.0, "test_days": 30.0, "purge_days": 1.0, "embargo_days": 0.0, "anchored": False},
    "axes": [{"name": "fast", "values": [5, 10, 20]}, {"name": "side", "values": ["long", "both"]}],
    "folds": [fold(place) for place in range(4)],
    "chosen": {"fast": [5, 5, None, 20], "side": ["long", "long", None, "both"]},
    "equity": [[START_MS + day * DAY_MS, 10_000.0 + day] for day in range(121)],
    "metrics": {"total_return": 0.012, "sharpe": 0.8, "max_drawdown": 0.05, "final_equity": 10_120.0, "fees": 14.0},
    "n_trials": 6, "trials": 21, "deflated_sharpe": {"value": 0.42, "trials": 21, "expected_max_sharpe": 1.1},
    "efficiency": 0.25, "doubts": ["It kept 25 % of the Sharpe ratio that it was chosen for."],
}  # fmt: skip


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    running = PageEngine(tmp_path).start()
    yield running
    running.stop()


def started(engine, kind: str = "walkforward", **changes) -> str:
    answer = engine.act_run_start({"config": {"symbols": ["BTCUSDT"], "strategy": "ema-cross"}, "kind": kind})
    engine.books.runs[answer["run_id"]] |= {"ts_started": 0} | changes
    return answer["run_id"]


def labelled(elements, start: str):
    return next(element for element in elements if element.label.startswith(start))


def test_grid_and_a_choice_in_the_form_start_a_walk_forward(engine):
    script = page("backtest").run()
    labelled(script.selectbox, "What is done").set_value("walkforward")
    labelled(script.button, "Run backtest").click().run()
    assert "fill in the grid" in texts(script)
    assert not [action for action, _ in engine.calls if action == "run.start"]
    labelled(script.text_area, "One name").set_value("fast = 5:20:5")
    labelled(script.number_input, "Chosen on").set_value(100.0)
    labelled(script.selectbox, "Training begins").set_value(True)
    labelled(script.button, "Run backtest").click().run()
    (body,) = [body for action, body in engine.calls if action == "run.start"]
    sent = {name: body["config"][name] for name in ("grid", "train_days", "test_days", "purge_days", "anchored")}
    assert body["kind"] == "walkforward"
    assert sent == {"grid": {"fast": "5:20:5"}, "train_days": 100.0, "test_days": 90.0, "purge_days": 1.0,
                    "anchored": True}  # fmt: skip


def test_finished_walk_forward_shows_what_was_traded_and_each_choice(engine, monkeypatch):
    run_id = started(engine)
    monkeypatch.setattr(engine, "act_run_result", lambda body: RESULT)
    script = page("backtest", run_id=run_id).run()
    assert not script.exception
    figures = {metric.label: (metric.value, metric.delta) for metric in script.metric}
    assert figures["Return traded"] == (signed_percent(0.012), "2 of 4 folds earned")
    assert figures["Sharpe traded, per year"] == ("0.80", f"{percent(0.25, 0)} of what was chosen on")
    assert figures["More than luck"] == (percent(0.42, 0), "21 trials on this data")
    said = texts(script)
    assert "best of 6 sets by sharpe on 100 days, leaves 1 d out, and trades the 30 days after" in said
    assert "It kept 25 % of the Sharpe ratio" in said
    table = next(frame.value for frame in script.dataframe if "in_sample_sharpe" in frame.value.columns)
    assert table["fast"].tolist() == ["5", "5", "cash", "20"]
    assert table["position"].tolist() == ["began flat", "went on", "none", "began flat"]
    assert table["first"].tolist()[:2] == ["2023-11-15", "2023-12-15"]


def test_staircase_of_choices_ends_with_its_last_and_is_broken_in_cash():
    fast, side = walkforwards.choice_figure(RESULT).data
    assert list(fast.y) == [5, 5, None, 20, 20]
    assert list(side.y) == ["long", "long", None, "both", "both"]
    assert pd.Timestamp(fast.x[-1]) == pd.Timestamp(START_MS + 120 * DAY_MS, unit="ms", tz="UTC")
    assert walkforwards.choice_figure(RESULT | {"axes": []}) is None
    assert walkforwards.fold_marks(RESULT)[1] == (START_MS + 30 * DAY_MS, "2")


def test_broken_off_run_is_resumed_once_where_it_keeps_something(engine, monkeypatch):
    lost, plain = started(engine, cancelled=True), started(engine, "backtest", cancelled=True)
    monkeypatch.setattr(engine, "act_run_resume", lambda body: {"run_id": body["run_id"]}, raising=False)
    script = page("backtest", run_id=f"{lost},{plain}").run()
    (button,) = [button for button in script.button if button.label.startswith("Resume")]
    button.click().run()
    assert [body["run_id"] for action, body in engine.calls if action == "run.resume"] == [lost]


def test_broken_off_run_is_discarded_and_a_refusal_is_shown(engine, monkeypatch):
    lost, plain = started(engine, cancelled=True), started(engine, "backtest", cancelled=True)
    monkeypatch.setattr(engine, "act_run_discard", lambda body: {"discarded": body["run_id"]}, raising=False)
    script = page("backtest", run_id=f"{lost},{plain}").run()
    (button,) = [button for button in script.button if button.label == "Discard"]
    button.click().run()
    (body,) = [body for action, body in engine.calls if action == "run.discard"]
    assert body["run_id"] == lost
    assert len(body["idempotency_key"]) >= 16

    def full(body):
        raise refuse("Nothing was discarded: the disk is full.")

    monkeypatch.setattr(engine, "act_run_discard", full)
    next(button for button in script.button if button.label == "Discard").click().run()
    assert "Nothing was discarded: the disk is full." in texts(script)


def test_goal_takes_runs_with_an_equity_curve_and_all_of_a_walk_forward(engine):
    runs = pd.DataFrame([{"run_id": f"r-{kind}", "kind": kind, "status": "done", "strategy": "x", "symbols": "BTC"}
                         for kind in ("backtest", "sweep", "walkforward")])  # fmt: skip
    assert list(goal.source_names(runs, runs)) == [goal.ACCOUNT, "r-backtest", "r-walkforward"]
    record = record_of_backtest(RESULT)
    assert record.label == "backtest, ema-cross on BTCUSDT, walk-forward"
    assert len(record.returns) == 120
    assert math.isclose(record.returns[0], 1e-4)
    assert not any("flatters" in caveat for caveat in record.caveats)
    assert any("21 variants" in caveat for caveat in record.caveats)
