"""The Execution page: buttons send once a click, a new order is reviewed first, and its costs are shown."""

from __future__ import annotations

import pytest
from page_engine import PageEngine, page, texts

from app import execution
from app.client import EngineClient
from app.components.ticket import begin_review, send_reviewed
from app.widgets import styled


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    running = PageEngine(tmp_path).start()
    yield running
    running.stop()


def sent(engine, name):
    return [body for action, body in engine.calls if action == name]


def press(script, label):
    return next(button for button in script.button if button.label == label).click().run()


def test_a_parent_is_paused_and_resumed_with_a_key_of_each_click(engine):
    script = page("execution").run()
    assert "0.1 of 0.4 filled · 25\u202f% where 30\u202f% is due by now · 0.02 working" in str(
        script.get("progress")[0].proto.text
    )
    press(script, "Pause")
    assert engine.running_parents[0]["status"] == "PAUSED"
    press(script, "Resume")
    script.run()
    (paused,), (resumed,) = sent(engine, "parents.pause"), sent(engine, "parents.resume")
    assert paused["parent_id"] == resumed["parent_id"] == 41
    assert paused["idempotency_key"] != resumed["idempotency_key"]
    assert len(sent(engine, "parents.pause")) == 1  # reruns send nothing


def test_a_new_order_is_priced_reviewed_and_sent_once(engine):
    script = page("execution").run()
    press(script, "Review")
    assert not sent(engine, "parents.start")
    said = texts(script)
    assert "Expected cost of each way" in said
    ways = next(frame.value for frame in script.dataframe if "way" in frame.value)
    assert "→ Adaptive" in list(ways["way"])
    press(script, "Send")
    script.run()
    (started,) = sent(engine, "parents.start")
    assert (started["algorithm"], started["size"]) == ("adaptive", {"value": 1000.0, "unit": "quote"})
    assert len(started["idempotency_key"]) == 32


def test_how_an_order_is_worked_is_asked_shown_again_and_sent(engine):
    script = page("execution").run()
    script.selectbox(key="execution.way").set_value("iceberg").run()
    script.number_input(key="execution.display").set_value(0.25)
    script.checkbox(key="execution.hidden").set_value(True)
    script.number_input(key="execution.px").set_value(49_000.0)
    press(script, "Review")
    told = texts(script).replace("\u202f", " ")
    assert "Iceberg within 15 min, at 49 000.00 USDT at worst, 0.25 shown at once, hidden: notional" in told
    press(script, "Send")
    (started,) = sent(engine, "parents.start")
    assert (started["display_qty"], started["hidden"]) == (0.25, True)
    assert not {"passive", "participation", "urgency"} & set(started)  # what it does not have is not sent
    ticket = started | {"algorithm": "pov", "passive": False, "limit_px": None, "participation": 0.1}
    assert execution.manner_words(ticket).replace("\u202f", " ") == (
        "Share of volume within 15 min, 10.0 % of the volume, every part crosses the spread"
    )


def test_a_refused_order_cannot_be_sent(engine):
    engine.kill_level = 2
    script = page("execution").run()
    press(script, "Review")
    assert "The kill switch is on." in texts(script)
    assert next(button for button in script.button if button.label == "Send").disabled


def test_shortfall_parts_add_up_in_the_row(engine):
    (row,) = execution.ended_rows(EngineClient().parents()).to_dict("records")
    assert sum(row[name] for name in ("delay", "spread", "impact", "fees", "opportunity")) == row["total"]
    assert (row["algorithm"], row["filled"], row["vwap_bps"]) == ("TWAP", 1.0, -0.3)


def test_an_order_of_unknown_cost_is_not_one_that_cost_nothing(engine):
    answer = EngineClient().parents()
    (known,) = answer["ended"]
    unknown = known | {"quality": known["quality"] | {"total": None}}
    figures = {row.label: row for row in execution.headline(answer | {"ended": [known, unknown]}, None)}
    assert figures["Shortfall, bp"].value == "2.00"  # 2 of 10,000; not of 20,000
    assert "of the 1 of these whose cost is known" in figures["Shortfall, bp"].meaning
    assert figures["Ended"].value == "2"


def test_a_ticket_with_an_algorithm_starts_a_parent_once(engine):
    state, client = {}, EngineClient()
    ticket = {"symbol": "BTCUSDT", "side": "buy", "kind": "algorithm", "size": {"unit": "quote", "value": 500},
              "limit_px": 51_000, "stop_px": None, "reduce_only": False, "algorithm": "twap", "minutes": 5,
              "urgency": None, "participation": None, "display_qty": None, "hidden": False,
              "passive": False}  # fmt: skip
    begin_review(state, client, {"n": 1, "ticket": ticket})
    assert {row["algorithm"] for row in state["review"]["preview"]["choices"]} >= {"direct", "twap"}
    key = state["review"]["key"]
    send_reviewed(state, client, key)
    send_reviewed(state, client, key)
    assert state["outcome"] == {"ok": True, "text": "Order by algorithm, number 77: WORKING"}
    (started,) = sent(engine, "parents.start")
    assert "kind" not in started
    assert (started["algorithm"], started["minutes"], started["limit_px"]) == ("twap", 5, 51_000)
    assert started["passive"] is False
    assert not {"urgency", "participation", "stop_px"} & set(started), "what is not typed keeps the engine's default"


def test_an_unknown_cost_is_written_as_unknown():
    row = {"algorithm": "vwap", "cost_bps": None, "cost": None, "risk_bps": None}
    shown = styled(execution.choice_rows([row], "twap"), execution.CHOICE_COLUMNS).to_html()
    assert "VWAP" in shown
    assert shown.count("—") == 3


def test_only_the_fields_of_the_chosen_way_are_shown(engine):
    script = page("execution")
    keys = {"urgency", "participation", "cap", "display", "hidden", "cross"}
    assert set(execution.FIELDS) == set(execution.WAYS) == set(execution.WAY_HELP)
    for way in ("pov", "twap"):
        script.session_state["execution.way"] = way
        script.run()
        assert not script.exception
        widgets = [*script.slider, *script.number_input, *script.checkbox]
        shown = {each.key.removeprefix("execution.") for each in widgets if each.key} & keys
        assert shown == set(execution.FIELDS[way])
    script.number_input(key="execution.cap").set_value(5.0)
    press(script, "Review")
    assert "at most 5.0 % of what trades" in texts(script).replace("\u202f", " ")
    press(script, "Send")
    (started,) = sent(engine, "parents.start")
    assert started["max_participation"] == 0.05


def test_a_pause_says_what_it_holds_back_and_until_when(engine):
    parent = engine.running_parents[0]
    parent |= {"status": "PAUSED", "purpose": "target", "holds_until": parent["ts_end"], "max_participation": 0.1}
    script = page("execution").run()
    assert "until" in script.warning[0].value
    assert "does not grow its position in BTCUSDT in any other way. Resume or cancel it" in script.warning[0].value
    assert "of what trades allows 0.4 by now" in str(script.get("progress")[0].proto.text)
