"""What another year may bring: the belief by hand, futures within it, and whether bounds hold where truth is known."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from research_bars import walk

from engine.errors import DataError
from engine.research.backtest import BacktestConfig
from engine.research.outlook import SEGMENT_DAYS, Belief, believe, drawn_futures, outlook, realised
from engine.research.outlook_check import checks, coverage, daily_returns, universes

ROOT = Path(__file__).resolve().parents[2]


def half_year(sharpe, deviation=0.01):
    """Alternate days with exactly this Sharpe ratio a year and this deviation."""
    sign = np.tile([1.0, -1.0], SEGMENT_DAYS // 2)
    scaled = sign / np.std(sign, ddof=1)
    return deviation * (scaled + sharpe / math.sqrt(365.0))


def test_belief_by_hand():
    # two half years of Sharpe 3 and 1; sample variance 2, sampling noise 365 / 182 = 2.005: nothing is left between
    # them, so the variance between is (4 * 1.25^2 + 2 * 0) / 6. Weights 0.5 ** (age / 2): the older counts 0.841.
    belief = believe(np.concatenate([half_year(3.0), half_year(1.0)]))
    older = 0.5 ** (182 / 365 / 2)
    weight = np.array([older, 1.0]) / (1 + older)
    between, noise = 4 * 1.25**2 / 6, 365 / 182
    error = (between + noise) * (weight @ weight)
    trust = 1.25**2 / (1.25**2 + error)
    assert belief.sharpe == pytest.approx(trust * (weight @ [3.0, 1.0]))
    assert 0.5 < belief.sharpe < 1.0  # far below the 2.0 of the record
    assert belief.sharpe_spread == pytest.approx(math.sqrt(between + trust * error))
    assert math.exp(belief.log_volatility) == pytest.approx(0.01 * math.sqrt(365))


def test_too_little_and_too_flat_records_say_nothing():
    assert believe(half_year(1.0)) is None
    assert believe(np.zeros(800)) is None
    assert outlook(np.zeros(10), 365) is None


def test_a_fading_edge_is_believed_less_than_a_lasting_one():
    fading = believe(np.concatenate([half_year(s) for s in (3, 3, 3, 0, 0, 0)]))
    lasting = believe(np.concatenate([half_year(s) for s in (1.5,) * 6]))
    assert fading.sharpe < lasting.sharpe
    assert fading.sharpe_spread > lasting.sharpe_spread


def test_a_certain_belief_gives_that_future():
    belief = Belief(2.0, 0.0, math.log(0.10), 0.0, np.tile([1.0, -1.0], 182))
    drawn = drawn_futures(belief, 364, None, 1, 50)
    assert drawn["volatility"] == pytest.approx(0.10, rel=0.01)
    assert np.median(drawn["sharpe"]) == pytest.approx(2.0, rel=0.02)
    assert np.median(drawn["cagr"]) == pytest.approx(
        math.exp(0.2 - 0.005) - 1, rel=0.02
    )  # log growth less half variance


def test_the_gate_ends_a_fall_at_its_limit():
    belief = Belief(-8.0, 0.0, math.log(0.3), 0.0, np.tile([1.0, -1.0], 182))
    free, gated = (drawn_futures(belief, 365, limit, 1, 20)["max_drawdown"] for limit in (None, 0.15))
    assert free.min() > 0.6
    assert 0.15 <= gated.min() <= gated.max() < 0.20


def test_bounds_hold_for_rules_whose_truth_changes():
    rng = np.random.default_rng(8)
    held = {name: 0 for name in ("sharpe", "cagr", "max_drawdown", "volatility")}
    n_rules = 60
    for seed in range(n_rules):
        sharpes = rng.normal(0.5, 1.0) + rng.normal(0.0, 0.8, 10)
        years = [rng.normal(s * 0.01 / math.sqrt(365), 0.01, SEGMENT_DAYS) for s in sharpes]
        came = realised(np.concatenate(years[8:]))
        stated = outlook(np.concatenate(years[:8]), 2 * SEGMENT_DAYS, None, seed)
        for name in held:
            held[name] += stated[name]["low"] <= came[name] <= stated[name]["high"]
    assert all(count / n_rules >= 0.9 for count in held.values()), held  # stated: 0.95


def test_checks_begin_after_two_years_with_a_new_account():
    bars = walk(6 * 1300, symbols=tuple("ABCDEF"), interval_s=4 * 3600)  # 1,300 days
    found = checks(BacktestConfig(bars=bars), bars, None, 365, 0.15, n_universes=1)
    cuts = sorted({check.cut_ns for check in found})
    assert cuts[0] == int(bars.ts_open[0]) + 730 * 86_400 * 10**9
    assert len(cuts) == 3  # every 91 days while a year is left: 1,300 - 365 - 730 = 205 days
    assert [check.universe for check in found] == [0] * 3 + [
        1
    ] * 6  # a half is held against its own and all coins' bounds
    assert all(0.0 <= share <= 1.0 for share in coverage(found).values())
    assert universes(tuple("AB"), 3, 0) == [("A", "B")]


def test_a_stretch_too_short_for_any_coin_is_refused_instead_of_taking_them_all():
    bars = walk(59 * 24)
    with pytest.raises(DataError, match=r"the longest of 2 series holds 59 days of bars .* at least 60 are needed"):
        daily_returns(BacktestConfig(bars=bars), bars, np.zeros((59 * 24, 2)))


def test_script_writes_the_document_without_the_path(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pa_parquet

    spec = importlib.util.spec_from_file_location("results", ROOT / "scripts" / "results.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    bars, folder = walk(6 * 1150, symbols=("BTCUSDT", "ETHUSDT"), interval_s=4 * 3600), tmp_path / "hourly"
    folder.mkdir()
    for i, coin in enumerate(bars.symbols):
        grid = {"open": bars.open_px, "high": bars.high_px, "low": bars.low_px, "close": bars.close_px}
        columns = {"timestamp": bars.ts_open} | {name: part[:, i] for name, part in grid.items()}
        pa_parquet.write_table(
            pa.table(columns | {"volume": np.full(len(bars.ts_open), 1e6)}), folder / f"{coin}.parquet"
        )
    monkeypatch.setattr(script.declared_trials, "TREND", ({"vol_target": "0.1"}, {"vol_target": "0.3"}))
    monkeypatch.setattr("sys.argv", ["x", "--data", str(tmp_path), "--out", str(tmp_path / "out.md")])
    assert script.main() == 0
    text = (tmp_path / "out.md").read_text()
    assert str(tmp_path) not in text
    assert "Trials counted on this data: 61." in text  # two of trend, 58 of the portfolio, and the run
    assert "| Sharpe ratio |" in text
    assert "What the time to come may bring" in text
    assert text.count("\n## ") == 2  # no perpetuals, no funding beside these candles
