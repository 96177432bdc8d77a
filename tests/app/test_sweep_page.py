"""A sweep on the Backtest page: started from the grid, judged by its trials, shown whole."""

from __future__ import annotations

import pytest
from page_engine import PageEngine, page, texts

from app import sweeps

ROWS = [
    {"params": {"fast": fast, "slow": slow}, "in_sample_sharpe": fast / 10, "out_of_sample_sharpe": -0.2,
     "sharpe": 0.5, "total_return": 0.1, "max_drawdown": 0.05, "n_trades": 12, "error": ""}
    for slow in (60, 120) for fast in (5, 10, 20)
]  # fmt: skip
RESULT = {
    "config": {}, "axes": [{"name": "fast", "values": [5, 10, 20]}, {"name": "slow", "values": [60, 120]}],
    "rows": ROWS, "best": 5, "best_row": ROWS[5], "n_trials": 6, "trials": 14,
    "deflated_sharpe": {"value": 0.31, "trials": 14, "expected_max_sharpe": 1.2},
    "pbo": {"value": 0.55, "trials": 6, "why": None},
    "heat_map": {"x": "fast", "y": "slow", "x_values": [5, 10, 20], "y_values": [60, 120],
                 "metric": "in_sample_sharpe", "values": [[0.5, 1.0, 2.0], [0.5, None, 2.0]]},
    "left_out": ["fast 20 is not below slow 10"], "doubts": ["The best of 14 trials."],
}  # fmt: skip


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    running = PageEngine(tmp_path).start()
    yield running
    running.stop()


def test_grid_in_the_form_starts_a_sweep(engine):
    script = page("backtest").run()
    next(box for box in script.text_area if box.label.startswith("One name")).set_value("fast = 5:50:5\nslow=60, 120\n")
    next(button for button in script.button if button.label == "Run backtest").click()
    script.run()
    (body,) = [body for action, body in engine.calls if action == "run.start"]
    assert (body["kind"], body["config"]["grid"]) == ("sweep", {"fast": "5:50:5", "slow": "60, 120"})


def test_finished_sweep_shows_its_choice_and_its_luck(engine, monkeypatch):
    answer = engine.act_run_start({"config": {"symbols": ["BTCUSDT"], "strategy": "ema-cross"}, "kind": "sweep"})
    engine.books.runs[answer["run_id"]]["ts_started"] -= 3_000_000_000
    monkeypatch.setattr(engine, "act_run_result", lambda body: RESULT)
    script = page("backtest", run_id=answer["run_id"]).run()
    assert not script.exception
    figures = {metric.label: (metric.value, metric.delta) for metric in script.metric}
    assert figures["Parameter sets"] == ("6", "14 trials on this data")
    assert figures["Chosen"][0] == "fast 20, slow 120"
    assert figures["Its Sharpe out of sample"] == ("−0.20", "2.00 in sample")
    said = texts(script)
    assert "The best of 14 trials." in said
    assert "1 combinations could not be run" in said
    table = next(frame.value for frame in script.dataframe if "in_sample_sharpe" in frame.value.columns)
    assert table["best"].tolist() == ["", "", "", "", "", sweeps.MARK]


def test_heat_map_holds_the_values_and_rings_the_choice():
    heat, ring = sweeps.heat_figure(RESULT).data
    assert [list(row) for row in heat.z] == [[0.5, 1.0, 2.0], [0.5, None, 2.0]]
    assert (list(ring.x), list(ring.y)) == (["20"], ["120"])
    assert sweeps.heat_figure(RESULT | {"heat_map": None}) is None
