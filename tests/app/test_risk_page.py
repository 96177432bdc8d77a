"""The Risk page: limits with their headroom, and a form in which more risk needs a second click."""

from __future__ import annotations

import json

import pytest
from fake_actions import refuse
from page_engine import PageEngine, page, texts

from app import loosening, risk, risk_shocks
from app.settings_form import form_fields
from engine.settings import SystemConfig, field_descriptions


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    running = PageEngine(tmp_path).start()
    yield running
    running.stop()


def sent(engine):
    return [body["values"] for action, body in engine.calls if action == "settings.set"]


def number(script, name):
    return next(box for box in script.number_input if f".{name}" in box.key)


def test_limits_exposures_and_objections_are_shown(engine):
    script = page("risk").run()
    assert not script.exception
    said = texts(script).replace("\u202f", " ")
    assert "To halt 12.00 %" in said
    assert "To today's stop 4.00 %" in said
    assert len(script.get("plotly_chart")) == 1
    tables = [frame.value for frame in script.dataframe]
    assert len(tables) == 7  # limits, shocks, exposures, clusters, tail, objections, refused tickets
    assert "from 64 days of hourly candles" in said
    assert "No replay yet" in said
    assert "Worst for what is held now: **" in said
    assert {"Orders a minute", "Gross, for liquidation", "Added to a symbol an hour"} <= set(tables[0]["name"])


def test_tightening_applies_at_once_and_loosening_only_when_confirmed(engine):
    script = page("risk").run()
    number(script, "max_leverage").set_value(2.0)
    apply = next(button for button in script.button if button.label == "Apply limits")
    apply.click().run()
    assert sent(engine) == [{"max_leverage": 2.0}]

    number(script, "max_daily_loss").set_value(8.0)
    next(button for button in script.button if button.label == "Apply limits").click().run()
    assert len(sent(engine)) == 1
    said = texts(script)
    assert "applied only when you confirm it" in said
    assert "Daily loss limit, %: 5 → **8** · allows more risk" in said
    script.button(key="risk.keep").click().run()
    assert "confirm it" not in texts(script)
    assert len(sent(engine)) == 1

    number(script, "max_daily_loss").set_value(8.0)
    next(button for button in script.button if button.label == "Apply limits").click().run()
    script.button(key="risk.confirm").click().run()
    assert "Applied from the next decision on: max_daily_loss" in texts(script)
    script.run()  # a rerun sends nothing
    assert sent(engine)[1:] == [{"max_daily_loss": 0.08}]

    number(script, "gap_pct").set_value(20.0)  # a limit on the whole book, in the form's unit
    next(button for button in script.button if button.label == "Apply limits").click().run()
    assert len(sent(engine)) == 2, "surviving a smaller gap allows more risk"
    number(script, "gap_pct").set_value(30.0)

    number(script, "max_gross_weight").set_value(0.3)  # below the symbol cap
    next(button for button in script.button if button.label == "Apply limits").click().run()
    assert "Nothing was applied." in texts(script)


def test_every_risk_setting_has_a_direction_in_which_it_loosens():
    config = SystemConfig()
    groups = form_fields({"values": json.loads(config.model_dump_json()), "fields": field_descriptions()})
    fields = [*groups["Risk"], *groups["Risk of the whole book"]]
    neither = {"cvar_method", "kelly_prior_days", "kelly_memory_days"}  # any change of these asks for the second click
    assert {field.name for field in fields} - neither <= set(loosening.LOOSER)
    assert set(loosening.loosened(fields, {name: 1.0 for name in neither})) == neither
    tighter = {"max_daily_loss": 0.04, "min_liquidation_distance": 0.1, "protective_stop_pct": 0.03}
    assert loosening.loosened(fields, tighter) == []
    every = [field for group in groups.values() for field in group]
    assert loosening.loosened(every, {"news_every_minutes": 99, "volatility_target": 0.5}) == ["volatility_target"]
    looser = {"use_gate_drawdown": False, "min_liquidation_distance": 0.01, "max_leverage": 4.0}
    assert set(loosening.loosened(fields, looser)) == set(looser)


def test_limits_keep_their_order_and_unknown_is_not_zero():
    answer = {"gauges": [
        {"name": "GROSS_CAP", "unit": "weight", "measured": 0.5, "limit": 2.0, "at_most": True, "used": 0.25,
         "left": 1.5, "left_money": 15_000.0, "where": "book", "source": "now", "enforced": True, "sentence": ""},
        {"name": "DRAWDOWN", "unit": "fraction", "measured": None, "limit": 0.15, "at_most": True, "used": None,
         "left": None, "left_money": None, "where": "book", "source": "now", "enforced": True, "sentence": ""},
        {"name": "LIQUIDATION_DISTANCE", "unit": "fraction", "measured": 0.06, "limit": 0.05, "at_most": False,
         "used": 0.83, "left": 0.01, "left_money": None, "where": "BTCUSDT", "source": "now", "enforced": True,
         "sentence": ""},
        {"name": "CVAR", "unit": "fraction", "measured": 0.055, "limit": 0.04, "at_most": True, "used": 1.38,
         "left": -0.015, "left_money": 0.0, "where": "book", "source": "decision", "enforced": True, "sentence": ""},
    ]}  # fmt: skip
    rows = risk.gauge_rows(answer)
    assert list(rows["name"]) == ["Gross cap", "Drawdown", "Distance to liquidation", "CVaR"]
    assert list(rows["state"]) == ["▲ within", "— unknown", "▾ near", "▾ clipped"]  # a wish is cut, not held
    assert rows.loc[2, "limit"].replace("\u202f", " ") == "at least 5.00 %"
    assert rows.loc[1, ["measured", "left"]].tolist() == ["—", "—"]


def test_correlation_that_is_unknown_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    running = PageEngine(tmp_path, empty=True).start()
    script = page("risk").run()
    running.stop()
    said = texts(script)
    assert "Correlation is unknown while the history is short" in said
    assert "No open position." in said
    assert not script.get("plotly_chart")


def test_replay_is_made_once_a_click_and_shown_with_its_age(engine):
    script = page("risk").run()
    script.button(key="risk.replay").click().run()
    script.run()
    assert [action for action, _ in engine.calls].count("stress.run") == 1
    said = texts(script).replace("\u202f", " ")
    assert "does **not** hold in 1 of 3 scenarios" in said
    assert "Replayed 0.4 s ago" in said
    assert "because they did not trade then: NEWUSDT" in said
    assert "the account changes by ▼ −10.00 %" in said

    def refuse_it(body):
        raise refuse("The book cannot be replayed: the mark price of BTCUSDT is unknown now.")

    engine.act_stress_run = refuse_it
    script.button(key="risk.replay").click().run()
    assert "the mark price of BTCUSDT is unknown now" in texts(script)


def test_tail_without_enough_days_is_a_dash():
    found = [
        {"method": "HISTORICAL", "level": 0.975, "value_at_risk": 0.02, "expected_shortfall": 0.03, "n_days": 60},
        {"method": "HISTORICAL", "level": 0.99, "value_at_risk": None, "expected_shortfall": None, "n_days": 60},
    ]
    row = risk.tail_rows({"tail": found, "equity": 10_000.0}).iloc[0]
    assert row["es_97.5"].replace("\u202f", " ") == "3.00 %"
    assert row["money"] == pytest.approx(300.0)
    assert row["es_99"] == "—"


def test_shocks_name_the_worst_and_say_when_they_are_unknown_or_cost_nothing():
    row = {"title": "May 2022: LUNA", "loss": 0.17, "loss_money": 1_700.0, "limit": 0.2, "left": 0.03, "enforced": True}
    answer = {
        "exposures": [1],
        "shocks": [row, row | {"title": "Market rises by 25 %", "loss": -0.1, "left": 0.3, "loss_money": -1_000.0}],
    }
    said = risk_shocks.worst_sentence(answer).replace("\u202f", " ")
    assert "**May 2022: LUNA**, 17.00 % of equity" in said
    rows = risk_shocks.shock_rows(answer)
    assert rows["state"].tolist() == ["▾ near", "▲ within"]
    assert rows["used"].tolist() == [pytest.approx(0.85), 0.0]
    assert rows["pnl"].tolist() == [-1_700.0, 1_000.0]
    assert rows["loss"].tolist()[1].replace("\u202f", " ") == "gain 10.00 %"
    assert "Unknown" in risk_shocks.worst_sentence(answer | {"shocks": None})
    assert "Nothing is held" in risk_shocks.worst_sentence(answer | {"exposures": []})
    assert "in none of these" in risk_shocks.worst_sentence({"exposures": [1], "shocks": [row | {"loss": 0.0}]})
    off = risk_shocks.worst_sentence({"exposures": [1], "shocks": [row | {"enforced": False}]})
    assert "**not enforced**" in off
