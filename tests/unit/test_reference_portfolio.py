"""The reference portfolio: pairs made of two folders, evidence that adds up, a report that says pass or fail."""

import json

import numpy as np
import pytest
from research_bars import walk

from engine.research import declared_trials, reference
from engine.research.pairs import there, with_spot_legs
from engine.research.reference import Case, crises_of, goals_of, row_of, run_reference, sharpe_interval, told_over
from engine.research.reference_report import markdown, panel_lines, section_of, terminal, write_section
from engine.research.sleeve_evidence import evidence
from engine.strategies.sleeves.state import BASIS, NAMES, TAIL, TREND

DAY_NS = 86_400 * 1_000_000_000
SYMBOLS = ("ADAUSDT", "BTCUSDT", "ETHUSDT", "LTCUSDT")


@pytest.fixture(scope="module")
def bars():
    return walk(3000, symbols=SYMBOLS, seed=5)


def test_a_pair_begins_with_its_perpetual(bars):
    perp = bars._replace(
        symbols=("BTCUSDT", "ZZZUSDT"), ts_open=bars.ts_open[500:],
        **{name: getattr(bars, name)[500:, :2] * 1.001 for name in ("open_px", "high_px", "low_px", "close_px")},
        volume=bars.volume[500:, :2],
    )  # fmt: skip
    both = with_spot_legs(bars, perp)
    assert both.symbols == (*SYMBOLS, "BTCUSDT.SPOT")
    assert np.isnan(both.close_px[:500, 4]).all()
    assert np.array_equal(both.close_px[500:, 4], bars.close_px[500:, 1])
    assert np.array_equal(both.close_px[:500, 1], bars.close_px[:500, 1])
    assert np.array_equal(both.close_px[500:, 1], perp.close_px[:, 0])
    early = both._replace(**{name: getattr(both, name)[:400] for name in
                             ("ts_open", "open_px", "high_px", "low_px", "close_px", "volume")})  # fmt: skip
    assert there(early).symbols == SYMBOLS


def test_the_evidence_adds_up(bars):
    told, runner = told_over(bars, None, {"momentum_hours": 72.0, "sharing": "adaptive"})
    found = evidence(told, bars.ts_close, runner, int(bars.ts_close[2000]))
    assert [row["name"] for row in found["sleeves"]] == [name for name in NAMES if name != "reversal"]
    total = {name: sum(found["contributions"][name]) for name in NAMES}
    assert total["trend"] == pytest.approx((told.net * told.share)[:, TREND].sum())
    assert total["basis"] == 0.0
    assert found["sleeves"][0]["contribution_a_year"] == pytest.approx(total["trend"] / (126 / 365), rel=0.02)
    learned = found["learning"]
    assert learned["regret"] == pytest.approx(learned["learner_loss"] - learned["best_loss"])
    assert learned["regret"] <= learned["bound"]
    assert told.share[:, TAIL].max() == 0.25
    assert told.net[:, BASIS].sum() == 0.0


def test_a_row_tells_research_from_what_was_held_out():
    ts_close = np.arange(1, 401) * DAY_NS
    steps = np.where(np.arange(400) < 300, 0.002, -0.001) + 0.001 * (np.arange(400) % 2)
    equity = 10_000 * np.cumprod(1 + steps)
    row = row_of(Case("x", "", "", {}, True), ts_close, equity, int(ts_close[299]), 100.0, 1e6, seed=1)
    assert row["research_sharpe"] > 2 > 0 > row["held_out_sharpe"]
    assert row["low"] < row["sharpe"] < row["high"]
    assert row["max_drawdown"] == pytest.approx(row["held_out_drawdown"])
    lost = row_of(Case("x", "", "", {}, True), ts_close, equity - 20_000, int(ts_close[299]), 0.0, 0.0, seed=1)
    assert lost["ruined"]
    assert lost["sharpe"] is None
    assert sharpe_interval(np.zeros(100), seed=1) == (None, None)


def test_a_goal_that_is_missed_says_so():
    verdicts = goals_of([{"name": "portfolio", "sharpe": 1.99, "max_drawdown": 0.149, "held_out_sharpe": None}])
    assert [verdict["passes"] for verdict in verdicts] == [False, True, None, None]


def test_a_crisis_that_the_bars_do_not_cover_is_left_out(bars, monkeypatch):
    told, _ = told_over(bars, None, {})
    day = str(bars.ts_close[2000].astype("datetime64[ns]").astype("datetime64[D]"))
    later = str(bars.ts_close[2200].astype("datetime64[ns]").astype("datetime64[D]"))
    monkeypatch.setattr(reference, "CRISES", (("a", "1999-01-01", "1999-02-01"), ("b", day, later)))
    flat, doubled = np.ones(3000), 2.0 ** np.arange(3000.0).clip(0, 100)
    found = crises_of(bars, told, flat, flat)
    assert [row["crisis"] for row in found] == ["b"]
    assert found[0]["portfolio"] == 0.0
    assert doubled[-1] > 1


def test_the_whole_reference_is_run_and_reported(bars, tmp_path, monkeypatch):
    monkeypatch.setattr(declared_trials, "PORTFOLIO", ({"momentum_hours": 72},))
    monkeypatch.setattr(reference, "CASES", reference.CASES[:3])
    part = bars._replace(**{name: getattr(bars, name)[:1400] for name in
                            ("ts_open", "open_px", "high_px", "low_px", "close_px", "volume")})  # fmt: skip
    result = run_reference(part, None, tmp_path / "home", int(part.ts_close[900]))
    json.dumps(result, allow_nan=False)
    assert [row["name"] for row in result["rows"]] == [
        "portfolio", "portfolio, perpetuals only", "trend alone", "BTC hold, spot", "ETH hold, spot",
    ]  # fmt: skip
    assert result["trials"] == 1 + declared_trials.PORTFOLIO_GONE + 36 + 1  # 36: settings of trend, in results.py
    assert set(result["canaries"].values()) == {"pass"}
    assert [row["runs_live"] for row in result["rows"][-2:]] == [False, False]
    assert any(line.startswith("BTC hold: growth") for line in panel_lines(result))
    funded = panel_lines(result | {"funding": True})
    assert any(line.startswith("BTC hold of the perpetual, funding charged: growth") for line in funded)
    assert "FAIL: portfolio" in terminal(result) or "pass: portfolio" in terminal(result)
    path = tmp_path / "results.md"
    path.write_text("# Results\n\nkept above\n")
    write_section(markdown(result), path)
    path.write_text(path.read_text() + "\nkept below\n")
    write_section(markdown(result | {"tried": 77}), path)
    text = path.read_text()
    assert text.count("## Reference portfolio") == 1
    assert "kept above" in text
    assert "kept below" in text
    assert "77 are what was looked at" in section_of(path)
