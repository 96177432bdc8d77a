"""A run that the gate stopped or the venue closed out says so, in its doubts and in the way of its promotion."""

import io

import numpy as np
from research_bars import walk
from rich.console import Console

from engine.research.backtest import BacktestConfig, run_backtest
from engine.research.report import print_table
from engine.research.report_document import document
from engine.research.report_honesty import CANARY_MEANING
from engine.research.wording import day

EVERY_BAR = """
class Strategy:
    history = 1

    def on_bar(self, past):
        return {"BTCUSDT": WEIGHT}
"""


def run(tmp_path, weight, drift, panel="fast", **params):
    falling = walk(400, symbols=("BTCUSDT",), drift=np.full((400, 1), drift))
    path = tmp_path / "mine.py"
    path.write_text(EVERY_BAR.replace("WEIGHT", str(weight)))
    config = BacktestConfig(bars=falling, strategy=str(path), params=params, keep_ledger=False, panel=panel)
    return run_backtest(config)


def test_a_run_that_reached_its_drawdown_limit_says_when_and_how_much_is_left(tmp_path):
    wide = {"use_gate_book": "off", "max_daily_loss": 0.5, "drawdown_full_share": 0.95, "max_symbol_weight": 1.0}
    result = run(tmp_path, 1.0, -0.003, **wide)
    stopped, equity = result.honesty["stopped"], result.simulation.track.equity
    at = int(np.searchsorted(result.bars.ts_close // 1_000_000, stopped["ts_ms"]))
    peak = np.maximum.accumulate(equity)
    assert (1 - equity / peak)[at] >= 0.15 > (1 - equity / peak)[at - 1]
    assert (equity[at + 2 :] == equity[at + 2]).all()  # flat from the next open
    assert stopped["share"] == (399 - at) / 400 > 0.2
    for sentences in (result.honesty["critique"][:4], result.honesty["blockers"]):
        told = [sentence for sentence in sentences if "It stopped trading on" in sentence]
        assert len(told) == 1
        assert day(stopped["ts_ms"]) in told[0]
    assert run(tmp_path, 1.0, 0.003, **wide).honesty["stopped"] is None
    assert run(tmp_path, 1.0, -0.003, **wide, use_gate_drawdown="off").honesty["stopped"] is None


def test_a_liquidated_run_says_so_everywhere(tmp_path):
    wide = dict.fromkeys(("use_gate_drawdown", "use_gate_daily_loss", "use_gate_book"), "off")
    wide |= {"max_symbol_weight": 3.0, "max_gross_weight": 3.0, "max_leverage": 3.0, "maintenance_margin": 0.3}
    result = run(tmp_path, 2.9, -0.003, **wide)
    times = result.metrics["liquidations"]
    assert times > 0
    assert any("It was liquidated" in sentence for sentence in result.honesty["critique"][:4])
    assert any("It was liquidated" in sentence for sentence in result.honesty["blockers"])
    screen = io.StringIO()
    print_table(result, Console(file=screen, width=120))
    printed = screen.getvalue()
    assert "Liquidations" in printed
    assert "Ambiguous bars" in printed
    measures = next(section for section in document(result.to_json()).sections if section.name == "measures")
    rows = [row for table in measures.tables for row in table.rows]
    assert [row[1] for row in rows if row[0] == "Liquidations"] == [str(times)]


def test_every_canary_that_is_run_has_a_meaning_on_screen(tmp_path):
    result = run(tmp_path, 0.5, 0.0, "full")
    assert set(result.canaries) - set(CANARY_MEANING) == set()
    assert "repaint" in CANARY_MEANING
