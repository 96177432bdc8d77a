"""A whole backtest: configuration, result, ledger, canaries, user strategies, the validation script."""

import importlib.util
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from rich.console import Console

from engine.core.matching import FillLog
from engine.domain import NS_PER_S
from engine.errors import CommandRefused, ConfigError, DataError
from engine.research.backtest import BacktestConfig, run_backtest
from engine.research.export import write_json
from engine.research.ledger import Ledger
from engine.research.loading import align
from engine.research.overfitting import overfitting_probability
from engine.research.report import print_table
from engine.research.trades import round_trips

ROOT = Path(__file__).resolve().parents[2]
METRICS = {
    "final_equity", "total_return", "cagr", "sharpe", "sortino", "calmar", "max_drawdown", "cvar_95", "win_rate",
    "profit_factor", "turnover", "exposure", "fees", "slippage", "funding", "n_trades", "alpha_btc", "beta_btc",
    "deflated_sharpe", "pbo", "ambiguous_bars", "liquidations", "stops",
}  # fmt: skip


def make_bars(n_bars=2400, seed=0, symbols=("BTCUSDT", "ETHUSDT")):
    rng = np.random.default_rng(seed)
    ts_open = (1_600_002_000 + 3600 * np.arange(n_bars)) * NS_PER_S
    series = []
    for symbol in symbols:
        close_px = 100 * np.exp(np.cumsum(rng.normal(0, 0.008, n_bars)))
        open_px = np.concatenate([[100.0], close_px[:-1]])
        high_px, low_px = np.maximum(open_px, close_px) * 1.001, np.minimum(open_px, close_px) * 0.999
        series.append((symbol, ts_open, np.column_stack([open_px, high_px, low_px, close_px, np.ones(n_bars)])))
    return align(series)


BARS = make_bars()


def run(home, strategy="ema-cross", bars=BARS, **params):
    return run_backtest(BacktestConfig(bars=bars, strategy=str(strategy), params=params, home=home))


def test_json_has_the_contract_keys_and_no_nan(tmp_path):
    result = run(tmp_path, fast=5, slow=20, side="both")
    written = result.to_json()
    assert set(written) >= {"config", "metrics", "equity", "trades", "fills", "canaries", "out_of_sample", "trials",
                            "elapsed_s", "provenance"}  # fmt: skip
    assert set(written["metrics"]) == METRICS
    assert len(written["equity"]) == 2400
    assert written["equity"][-1] == [int(BARS.ts_close[-1]) // 1_000_000, written["metrics"]["final_equity"]]
    assert set(written["canaries"]) == {"lookahead", "future_shift", "fills", "shuffled", "outside_knowledge"}
    assert set(written["canaries"].values()) == {"pass"}
    path = tmp_path / "out" / "result.json"
    write_json(written, path)
    assert json.loads(path.read_text()) == json.loads(json.dumps(written, allow_nan=False))
    assert len(result.to_json(max_points=100)["equity"]) <= 102


def test_a_result_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json({"trials": 1}, path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json({"trials": 2}, path)
    assert json.loads(path.read_text()) == {"trials": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_figures_agree_with_the_curve_and_the_fills(tmp_path):
    result = run(tmp_path, fast=5, slow=20, side="both", gate="off")
    equity = result.simulation.track.equity
    assert result.metrics["total_return"] == pytest.approx(equity[-1] / 10_000 - 1)
    assert result.metrics["fees"] == pytest.approx(sum(fill["fee"] for fill in result.to_json()["fills"]))
    assert result.metrics["n_trades"] == len(result.trips) > 20
    assert result.metrics["win_rate"] == pytest.approx(np.mean([trip.pnl_net > 0 for trip in result.trips]))
    late = result.out_of_sample
    assert late["total_return"] == pytest.approx(equity[-1] / equity[1679] - 1)  # 70 % of 2400 bars are in sample
    assert late["fees"] < result.metrics["fees"]


def test_unknown_parameter_gets_a_suggestion(tmp_path):
    with pytest.raises(ConfigError, match="parameter 'slipage' is unknown: did you mean 'slippage'"):
        run(tmp_path, slipage=0.1)
    with pytest.raises(ConfigError, match="ema_fast 50 must be below ema_slow 20"):
        run(tmp_path, fast=50, slow=20)
    with pytest.raises(ValidationError, match="did you mean 'trend'"):
        BacktestConfig(bars=BARS, strategy="trnd")
    with pytest.raises(ValidationError, match="either data"):
        BacktestConfig(strategy="trend")


def test_text_parameters_of_a_command_line_are_understood(tmp_path):
    result = run(tmp_path, "trend", gate="on", horizons="12,48", vol_target="0.1", fee="0", side="long")
    assert result.config["params"]["trend_horizons_hours"] == [12.0, 48.0]
    assert result.metrics["fees"] == 0.0
    assert (result.simulation.track.weight >= 0).all()


def test_configuration_survives_pickling_and_gives_the_same_result(tmp_path):
    config = BacktestConfig(bars=BARS, strategy="ema-cross", params={"fast": 5, "slow": 20}, home=tmp_path)
    again = run_backtest(pickle.loads(pickle.dumps(config)))
    np.testing.assert_array_equal(again.simulation.track.equity, run_backtest(config).simulation.track.equity)


def test_progress_ends_at_one_and_cancelling_stops(tmp_path):
    shares = []
    config = BacktestConfig(bars=BARS, home=tmp_path)
    run_backtest(config, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    with pytest.raises(CommandRefused, match="cancelled"):
        run_backtest(config, cancelled=lambda: True)


def test_every_different_run_on_the_same_bars_is_one_trial(tmp_path):
    assert run(tmp_path, fast=5, slow=20).trials == 1
    assert run(tmp_path, fast=5, slow=20).trials == 1
    second = run(tmp_path, fast=6, slow=20)
    assert second.trials == 2
    assert 0.0 <= second.metrics["pbo"] <= 1.0
    assert run(tmp_path, bars=make_bars(seed=1), fast=5, slow=20).trials == 1
    assert len(Ledger(tmp_path).trials(BARS.fingerprint)) == 2


def test_overfitting_probability_of_skill_and_of_noise():
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.01, (400, 10))
    skilled = noise.copy()
    skilled[:, 4] += 0.01
    assert overfitting_probability(skilled) == 0.0
    assert 0.2 < overfitting_probability(noise) < 0.9
    assert overfitting_probability(noise[:, :1]) is None
    assert overfitting_probability(noise[:50]) is None


def test_table_shows_both_parts_and_the_doubts(tmp_path):
    console = Console(record=True, width=120, file=open("/dev/null", "w"))  # noqa: SIM115
    print_table(run(tmp_path, fast=5, slow=20), console)
    text = console.export_text()
    assert "The capital ladder enforces" not in text  # nothing is red; skill is for a person to weigh
    assert "Out of sample" in text
    assert "canary lookahead: pass" in text
    assert "spans 100 days" in text


def test_round_trips_of_a_flip_share_the_fee():
    fills = FillLog(
        np.array([0, 1, 2]), np.zeros(3, dtype=np.int64), np.array([2.0, -3.0, 1.0]), np.array([10.0, 12.0, 11.0]),
        np.array([0.2, 0.3, 0.1]), np.zeros(3), np.zeros(3), np.zeros(3, dtype=np.int64),
    )  # fmt: skip
    long, short = round_trips(fills, np.array([0, 10, 20]) * 1_000_000, ("A",))
    assert (long.side, long.entry_px, long.exit_px) == ("long", 10.0, 12.0)
    assert long.pnl_net == pytest.approx(2 * 2.0 - 0.2 - 0.2)  # two thirds of the flip's fee
    assert (short.side, short.ts_entry_ms, short.ts_exit_ms) == ("short", 10, 20)
    assert short.pnl_net == pytest.approx(1.0 - 0.1 - 0.1)


def strategy_file(tmp_path, body, init=""):
    path = tmp_path / "mine.py"
    path.write_text(f"import numpy as np\n\nclass Strategy:\n{init}\n    def on_bar(self, past):\n{body}\n")
    return path


def test_user_strategy_is_traded_through_the_gate(tmp_path):
    path = strategy_file(tmp_path, "        return {'BTCUSDT': 0.9}", "    history = 50")
    result = run(tmp_path, path, fee=0, use_gate_drawdown="off", use_gate_daily_loss="off", use_gate_book="off")
    assert result.rules["symbol_cap"]["clip"] > 2000
    assert result.simulation.track.weight[2, 0] == pytest.approx(0.5, rel=0.02)
    assert (result.simulation.track.weight[:, 1] == 0).all()
    assert result.canaries.pop("survivorship") == "not tested"  # two coins cannot show a preference
    assert set(result.canaries.values()) == {"pass"}


def test_user_strategy_sees_the_past_and_only_the_past(tmp_path):
    body = """
        assert past.close.shape == (len(past.ts_close), 2)
        for array in (past.close, past.open, past.weight):
            assert not array.flags.writeable
        base = past.close if past.close.base is None else past.close.base
        assert np.isnan(base[len(past.close):]).all()
        self.n += 1
        assert len(past.close) == self.n
        return None"""
    path = strategy_file(tmp_path, body, "    def __init__(self):\n        self.n = 0\n")
    assert run(tmp_path, path).metrics["n_trades"] == 0


def test_unrepeatable_strategy_fails_the_canary(tmp_path):
    body = "        return {'BTCUSDT': float(np.random.default_rng().normal()) * 0.2}"
    path = strategy_file(tmp_path, body, "    history = 50")
    result = run(tmp_path, path)
    assert result.canaries["lookahead"] == "fail"
    console = Console(record=True, width=120, file=open("/dev/null", "w"))  # noqa: SIM115
    print_table(result, console)
    assert "cannot be repeated. (The capital ladder enforces this.)" in " ".join(console.export_text().split())


def test_strategy_that_takes_the_next_close_from_its_caller_is_caught(tmp_path):
    body = """
        frame = sys._getframe(1)
        while "bars" not in frame.f_locals:
            frame = frame.f_back
        bars = frame.f_locals["bars"]
        newest = len(past.close) - 1
        later = bars.close_px[min(newest + 1, len(bars.close_px) - 1), 0]
        return {"BTCUSDT": 0.3 if later > past.close[-1, 0] else -0.3}"""
    path = strategy_file(tmp_path, body)
    path.write_text("import sys\n" + path.read_text())
    assert "fail" in run(tmp_path, path).canaries.values()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("        return {'DOGE': 1.0}", "returned a weight for 'DOGE'; the run has BTCUSDT, ETHUSDT"),
        ("        return [1.0]", "returned 1 weights for 2 symbols"),
        ("        return 'buy'", "returned str; return a dict"),
        ("        return {'BTCUSDT': 5000}", "weight 5000 .* 1.0 means one times the account"),
        ("        return {'BTCUSDT': 'x'}", "'x' for BTCUSDT; a weight is a number"),
        ("        return past.closes", "failed: AttributeError"),
        ("        past.close[0] = 1", "failed: ValueError"),
    ],
)
def test_user_mistakes_name_bar_and_remedy(tmp_path, body, sentence):
    with pytest.raises((DataError, CommandRefused), match=sentence) as caught:
        run(tmp_path, strategy_file(tmp_path, body))
    assert "at bar 0" in str(caught.value)


def test_strategy_files_that_cannot_work_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no strategy file"):
        run(tmp_path, tmp_path / "none.py")
    path = tmp_path / "mine.py"
    path.write_text("x = 1\n")
    with pytest.raises(ConfigError, match="no class named Strategy"):
        run(tmp_path, path)
    path.write_text("class Strategy:\n    pass\n")
    with pytest.raises(ConfigError, match=r"no method on_bar\(self, past\)"):
        run(tmp_path, path)
    path.write_text("import nothing_like_it\n")
    with pytest.raises(ConfigError, match="could not be imported: ModuleNotFoundError"):
        run(tmp_path, path)
    with pytest.raises(ConfigError, match="unexpected keyword argument 'm'"):
        run(tmp_path, ROOT / "examples" / "breakout.py", m=3)


def test_documented_example_runs_with_its_parameters(tmp_path):
    result = run(tmp_path, ROOT / "examples" / "breakout.py", n="24", share="0.3")
    assert result.metrics["n_trades"] > 10
    assert result.config["params"]["n"] == 24


def test_example_in_the_guide_runs(tmp_path):
    guide = (ROOT / "docs" / "strategies.md").read_text()
    path = tmp_path / "guide.py"
    path.write_text(guide.split("```python\n")[1].split("```")[0])
    assert run(tmp_path, path, n=24).metrics["n_trades"] > 10


def validation():
    spec = importlib.util.spec_from_file_location("validate", ROOT / "scripts" / "validate_backtest.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.mark.parametrize(("target", "limit", "hours", "code"), [
    ("2.0", "0.15", 7500, 1), ("-0.9", "0.5", 7500, 0), ("-0.9", "0.5", 5000, 1),
])  # fmt: skip
def test_validation_script_exits_zero_only_if_both_hold(monkeypatch, capsys, target, limit, hours, code):
    script = validation()
    monkeypatch.setattr(script, "HOURS", hours)
    monkeypatch.setattr("sys.argv", ["x", f"--target-return={target}", "--max-drawdown", limit])
    assert script.main() == code
    printed = capsys.readouterr().out
    assert "generated prices of the practice market" in printed
    assert "90% interval" in printed
    assert ("missed by" in printed) == (target == "2.0")
    assert ("Too short: 6" in printed) == (hours == 5000)


HOLDS = {"growth": 0.5, "max_drawdown": 0.05, "target_return": 0.1, "max_drawdown_limit": 0.15, "red_canaries": [],
         "intervals": {"level": 0.9, "cagr": [0.2, 0.9], "max_drawdown": [0.03, 0.1]}, "deflated_sharpe": 0.97,
         "trials": 4, "n_returns": 200, "uncharged": None}  # fmt: skip


@pytest.mark.parametrize(("changed", "said"), [
    ({}, None), ({"growth": 0.05}, "missed by 5.00%"), ({"max_drawdown": 0.2}, "exceeds its limit by 5.00%"),
    ({"target_return": 0.3}, "worse end of its interval is 20.00%"),
    ({"max_drawdown_limit": 0.08}, "worse end of its interval is 10.00%"),
    ({"n_returns": 89}, "89 out-of-sample days, and 90 are needed"),
    ({"deflated_sharpe": 0.94}, "deflated Sharpe ratio 0.94, needed 0.95"), ({"deflated_sharpe": None}, "unknown"),
    ({"deflated_sharpe": 0.1, "target_return": -0.1}, None), ({"red_canaries": ["lookahead"]}, "lookahead failed"),
    ({"growth": None}, "The account was lost"),
])  # fmt: skip
def test_validation_holds_only_where_the_worse_end_of_every_interval_does(changed, said):
    reasons = validation().why_not(HOLDS | changed)
    assert (said is None and not reasons) or (len(reasons) == 1 and said in reasons[0])


def test_validation_tells_an_interval_that_holds_the_target_from_one_that_does_not():
    script = validation()
    found = HOLDS | {"target_return": 2.0, "max_drawdown": 0.2, "uncharged": "For 8.0 % of what was held ...",
             "intervals": {"level": 0.9, "cagr": [-0.1, 2.5], "max_drawdown": [0.16, 0.4]}}  # fmt: skip
    lines = script.verdict_lines(found | {"why_not": script.why_not(found)})
    assert "missed by 150.00%" in lines[0]
    assert "shown neither way" in lines[1]
    assert "exceeded by 5.00%" in lines[2]
    assert "none of it holds" in lines[3]
    assert lines[4] == found["uncharged"]
    assert [line[:2] for line in lines[6:]] == ["- ", "- "]


def test_panel_is_there_without_being_asked(tmp_path):
    written = json.loads(json.dumps(run(tmp_path, fast=5, slow=20, side="both").to_json(), allow_nan=False))
    panel = written["honesty"]
    assert set(panel) >= {"intervals", "psr", "deflated_sharpe", "pbo", "min_track_record", "drawdown", "stress",
                          "comparison", "walk_forward", "cpcv", "critique", "promotable", "blockers"}  # fmt: skip
    low, high = panel["intervals"]["sharpe"]["low"], panel["intervals"]["sharpe"]["high"]
    assert low < written["metrics"]["sharpe"] < high
    assert [row["name"] for row in panel["stress"]] == ["costs x 2", "delay + 1 bar"]
    assert panel["stress"][0]["final_equity"] < written["metrics"]["final_equity"]
    assert [row["name"] for row in panel["comparison"]] == ["BTC hold", "ETH hold", "cash"]
    assert len(panel["walk_forward"]["folds"]) == 8
    assert panel["pbo"] == {"value": None, "trials": 1, "why": "only one trial on this data: nothing was chosen"}
    assert panel["promotable"] is False
    assert panel["blockers"]


def test_panel_can_be_cut_short_but_then_says_so(tmp_path):
    config = BacktestConfig(bars=BARS, strategy="ema-cross", home=tmp_path, keep_ledger=False, panel="off")
    panel = run_backtest(config).honesty
    assert panel["intervals"] is panel["stress"] is panel["comparison"] is None
    assert any("panel was left out" in sentence for sentence in panel["blockers"])
    assert any("kept out of the ledger" in sentence for sentence in panel["blockers"])


def test_trials_on_a_renamed_copy_count_on(tmp_path):
    names = ("AAAUSDT", "BBBUSDT")
    assert run(tmp_path, fast=5, slow=20).trials == 1
    assert run(tmp_path, bars=make_bars(symbols=names), fast=6, slow=20).trials == 2
