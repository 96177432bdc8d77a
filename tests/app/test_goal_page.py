"""The Goal page: what it asks, and that it tells small chances as small and short records as short."""

from __future__ import annotations

import pytest
from page_engine import PageEngine, page, texts
from test_pages_states import finish_run

from app.goal import first_date


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    running = PageEngine(tmp_path).start()
    yield running
    running.stop()


def asked(engine: PageEngine) -> dict:
    return [body for action, body in engine.calls if action == "goal"][-1]


def test_first_goal_is_asked_without_touching_the_form(engine):
    script = page("goal").run()
    assert not script.exception
    body = asked(engine)
    assert (body["run_id"], body["target"], body["equity"], body["max_drawdown"], body["ruin_loss"]) == (
        None, 1_000_000.0, None, 0.15, 0.5,
    )  # fmt: skip
    figures = {metric.label: metric.value for metric in script.metric}
    assert next(value for label, value in figures.items() if label.startswith("Target within")) == ("< 1 in 2,000")
    assert "0.0" not in figures.values()
    assert "circular block bootstrap" in texts(script)


def test_form_reaches_the_engine_in_its_units(engine):
    script = page("goal").run()
    boxes = {box.label: box for box in script.number_input}
    boxes["To, USDT"].set_value(20_000.0)
    boxes["Drawdown limit, %"].set_value(30.0)
    next(button for button in script.button if button.label == "Work it out").click()
    script.run()
    assert (asked(engine)["target"], asked(engine)["max_drawdown"]) == (20_000.0, 0.3)


def test_backtest_is_taken_from_the_link_and_out_of_sample(engine):
    run_id = finish_run(engine)
    script = page("goal", run_id=run_id).run()
    assert not script.exception
    assert (asked(engine)["run_id"], asked(engine)["sample"]) == (run_id, "out")
    assert "out of sample" in texts(script)


def test_refusal_is_shown_in_words(engine):
    script = page("goal").run()
    next(box for box in script.number_input if box.label == "To, USDT").set_value(100.0)
    next(button for button in script.button if button.label == "Work it out").click()
    script.run()
    assert "must be above today's equity" in texts(script)


def test_date_moves_on_when_the_first_one_has_passed():
    from datetime import date

    assert first_date(date(2026, 12, 30)) == date(2026, 12, 31)
    assert first_date(date(2026, 12, 31)) == date(2027, 12, 31)
