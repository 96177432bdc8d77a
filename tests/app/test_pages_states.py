"""Every page but the desk tells a value, nothing and the unknown apart."""

from __future__ import annotations

import pytest
from page_engine import PageEngine, page, texts

EMPTY_SENTENCES = {
    "portfolio": "No equity recorded in this period yet",
    "execution": "No parent order is at work",
    "risk": "No decision yet, so no rule has been asked",
    "backtest": "No backtest yet",
    "data": "No data set yet",
    "journal": "No decisions yet",
    "settings": "No change recorded yet",
    "health": "No drill yet",
    "goal": "Not enough evidence: the record holds 0 daily returns",
    "insights": "No model has been trained yet",
}
VALUE_SENTENCES = {
    "portfolio": "Ratios from daily returns",
    "execution": "paid 6.00 bp against the mid on average; 7.00 bp were assumed",
    "risk": "170 changes were too small",
    "backtest": "trend · BTC · run-0001",
    "data": "btc-hours@2 · 1 error, 3 warnings",
    "journal": "Decision 60",
    "settings": "Applied from the next decision on",
    "health": "flat in 0.91",
    "goal": "is fewer than 1 in 2,000 paths: practically impossible",
    "insights": "In the past 78.0",
}
TITLES = {"insights": "AI Insights"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def engine(home):
    running = PageEngine(home).start()
    yield running
    running.stop()


@pytest.fixture
def empty_engine(home):
    running = PageEngine(home, empty=True).start()
    yield running
    running.stop()


@pytest.mark.parametrize("name", EMPTY_SENTENCES)
def test_engine_that_is_down_is_unknown_and_not_empty(home, name):
    script = page(name).run()
    assert not script.exception
    said = texts(script)
    assert "unknown since" in said
    assert script.title[0].value == TITLES.get(name, name.capitalize())
    assert EMPTY_SENTENCES[name] not in said
    assert "0.00" not in said
    assert not script.dataframe


@pytest.mark.parametrize("name", EMPTY_SENTENCES)
def test_nothing_there_is_empty_and_not_unknown(empty_engine, name):
    script = page(name).run()
    assert not script.exception
    said = texts(script)
    assert EMPTY_SENTENCES[name] in said
    assert "unknown since" not in said


@pytest.mark.parametrize("name", VALUE_SENTENCES)
def test_values_are_neither_empty_nor_unknown(engine, name):
    if name == "backtest":
        finish_run(engine)
    script = page(name).run()
    if name == "settings":
        leverage = next(box for box in script.number_input if box.label.startswith("Leverage"))
        leverage.set_value(2.0)
        next(button for button in script.button if button.label == "Apply").click()
        script.run()
    assert not script.exception
    said = texts(script)
    assert VALUE_SENTENCES[name] in said
    assert "PAPER · simulated market · as of 20" in said
    assert EMPTY_SENTENCES[name] not in said
    assert "unknown since" not in said


@pytest.mark.parametrize("name", EMPTY_SENTENCES)
def test_engine_that_dies_while_a_page_is_open_becomes_unknown(engine, name):
    script = page(name).run()
    assert "unknown since" not in texts(script)
    engine.stop()
    script.run()
    assert "unknown since" in texts(script)


def test_page_comes_to_life_once_the_engine_answers(home):
    script = page("journal").run()
    assert "Asked again every 2 s." in texts(script)
    running = PageEngine(home).start()
    script.run()
    running.stop()
    assert "Decision 60" in texts(script)


def finish_run(engine: PageEngine, **config) -> str:
    """Start a run that began long enough ago to be over."""
    answer = engine.act_run_start({"config": {"symbols": ["BTCUSDT"], "strategy": "trend", "interval": "1h", **config}})
    engine.books.runs[answer["run_id"]]["ts_started"] -= 3_000_000_000
    return answer["run_id"]
