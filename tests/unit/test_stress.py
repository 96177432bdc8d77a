"""Harsher conditions for a user's file: it is run anew under them, and sees the account that it then has."""

import math

import numpy as np
import pytest
from research_bars import walk

from engine.research.backtest import BacktestConfig, run_backtest
from engine.research.report_document import document

BARS = walk(300)
BARS = BARS._replace(volume=np.full_like(BARS.close_px, 1e5))
EVERY_OTHER_BAR = """
class Strategy:
    history = 5

    def __init__(self):
        self.n = 0

    def on_bar(self, past):
        self.n += 1
        if past.equity < {floor}:
            {then}
        return {{"BTCUSDT": 0.4 * (self.n % 2)}}
"""


def run(tmp_path, floor, then, panel="off", **params):
    path = tmp_path / "mine.py"
    path.write_text(EVERY_OTHER_BAR.format(floor=floor, then=then))
    config = BacktestConfig(bars=BARS, strategy=str(path), params=params, home=tmp_path, symbols=("BTCUSDT",),
                            panel=panel)  # fmt: skip
    return run_backtest(config)


def test_a_file_that_looks_at_its_equity_decides_anew_at_double_costs(tmp_path):
    result = run(tmp_path, 9_700.0, "return {}", "full")
    twice, late = result.honesty["stress"]
    doubled = run(tmp_path, 9_700.0, "return {}", fee=0.0008, slippage=0.0002, spread_vol=0.02, impact=2.0)
    assert twice["final_equity"] == doubled.metrics["final_equity"]
    replayed = {row["assumption"]: row["final_equity"] for row in result.sensitivity}
    assert replayed["delay"] != pytest.approx(late["final_equity"])  # the weights of the run, carried out later
    said = {section.name: " ".join(section.words) for section in document(result.to_json()).sections}
    assert "run anew" in said["stress"]
    assert "not run again here" in said["sensitivity"]


def test_a_file_that_fails_on_the_poorer_account_is_unknown_with_the_reason(tmp_path):
    floor = run(tmp_path, 0.0, "pass").simulation.track.equity.min() - 1.0
    twice = run(tmp_path, floor, 'raise ValueError("poor")', "full").honesty["stress"][0]
    assert math.isnan(twice["final_equity"])
    assert "poor" in twice["why"]
