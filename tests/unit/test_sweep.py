"""A sweep's rows are single runs: same decisions, same costs, same figures, wherever and in whatever order they ran."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from sweep_builders import USER_FILE, hourly

from engine.errors import CommandRefused, ConfigError
from engine.research import sweep as sweep_module
from engine.research.backtest import BacktestConfig, run_backtest
from engine.research.grid import axis_values
from engine.research.ledger import Ledger
from engine.research.members import COLUMNS
from engine.research.sweep import SweepConfig, run_sweep
from engine.research.walkforward import WalkForwardConfig, run_walk_forward

BARS = hourly()


def config(tmp_path: Path, **changes: Any) -> SweepConfig:
    given: dict[str, Any] = {
        "bars": BARS, "strategy": "ema-cross", "grid": {"fast": [3, 8], "slow": [20, 60]}, "home": tmp_path,
    }  # fmt: skip
    return SweepConfig(**given | changes)


def single(tmp_path: Path, sweep: SweepConfig, chosen: dict[str, Any]) -> dict[str, Any]:
    own = BacktestConfig(
        bars=sweep.bars, strategy=sweep.strategy, params=sweep.params | chosen, home=tmp_path, keep_ledger=False,
        panel="off", cash=sweep.cash,
    )  # fmt: skip
    return run_backtest(own).to_json()


def assert_same(row: dict[str, Any], run: dict[str, Any]) -> None:
    metrics = run["metrics"]
    for name in COLUMNS[:16]:
        if row[name] is None or metrics[name] is None:
            assert row[name] == metrics[name], name
        else:
            assert row[name] == pytest.approx(metrics[name], rel=1e-12, abs=1e-12), name
    for name in ("final_equity", "max_drawdown", "fees", "slippage", "funding", "n_trades", "win_rate"):
        assert row[name] == metrics[name], name
    for part in ("in_sample", "out_of_sample"):
        for name, own in (("sharpe", "sharpe"), ("return", "total_return")):
            assert row[f"{part}_{name}"] == pytest.approx(run[part][own], rel=1e-12, abs=1e-12)


PLAIN = {"slippage": 0.0001, "maintenance_margin": 0.0, "liquidation_fee": 0.0}
WIDE = {"side": "both", "max_symbol_weight": 1.0, "max_drawdown": 0.6}
TIGHT = {"side": "both", "max_symbol_weight": 0.9, "max_daily_loss": 0.01, "max_drawdown": 0.3}
CASES = {
    "default limits": ("ema-cross", {}, {"fast": [3, 8], "slow": [20, 60]}, 1),
    "long and short, wide limits": ("ema-cross", PLAIN | WIDE, {"fast": [3], "slow": [20]}, 1),
    "tight limits": ("ema-cross", PLAIN | TIGHT, {"fast": [3, 12], "slow": [30]}, 1),
    "public yardstick": ("ema-cross", {"gate": False}, {"fast": [3, 8], "fee": [0.0004, 0.001]}, 1),
    "every cost, both ways": ("ema-cross", WIDE | {"impact": 0.5}, {"fast": [3, 8], "slow": [20]}, 1),
    "liquidations": (
        "ema-cross", {"side": "both", "max_symbol_weight": 3.0, "maintenance_margin": 0.3, "max_gross_weight": 5.0,
                      "use_gate_drawdown": False}, {"fast": [3, 8], "slow": [20]}, 1,
    ),
    "plain costs": ("ema-cross", PLAIN, {"fast": [3, 8], "slow": [20, 60]}, 1),
    "lots": ("ema-cross", PLAIN | {"lot_size": 5.0}, {"fast": [3], "slow": [20]}, 1),
    "trend, two symbols": ("trend", {}, {"volatility_target": [0.1, 0.4]}, 2),
    "two symbols": ("ema-cross", {}, {"fast": [3]}, 2),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_every_row_is_the_single_run(case: tuple[str, dict[str, Any], dict[str, Any], int], tmp_path: Path) -> None:
    strategy, params, grid, n_symbols = case
    bars = BARS if n_symbols == 1 else hourly(2)
    sweep = config(tmp_path, strategy=strategy, params=params, grid=grid, bars=bars)
    result = run_sweep(sweep).to_json()
    assert len(result["rows"]) == math.prod(len(values) for values in grid.values())
    assert any(row["n_trades"] > 5 for row in result["rows"])
    for row in result["rows"]:
        assert_same(row, single(tmp_path, sweep, row["params"]))


def test_a_run_of_less_than_five_days_is_measured_bar_by_bar_as_a_single_run_is(tmp_path: Path) -> None:
    sweep = config(tmp_path, bars=hourly(n_bars=90, volatility=0.03), grid={"fast": [2], "slow": [4, 5]})
    for row in run_sweep(sweep).to_json()["rows"]:
        assert_same(row, single(tmp_path, sweep, row["params"]))


def test_the_order_of_the_grid_changes_nothing_but_the_order(tmp_path: Path) -> None:
    one = run_sweep(config(tmp_path / "a")).to_json()
    other = run_sweep(config(tmp_path / "b", grid={"slow": [60, 20], "fast": [8, 3]})).to_json()
    assert {tuple(sorted(row["params"].items())): row | {"params": 0} for row in one["rows"]} == {
        tuple(sorted(row["params"].items())): row | {"params": 0} for row in other["rows"]
    }
    assert one["best_row"] | {"params": 0} == other["best_row"] | {"params": 0}
    assert one["deflated_sharpe"]["value"] == pytest.approx(other["deflated_sharpe"]["value"], rel=1e-12)
    assert one["pbo"]["value"] == other["pbo"]["value"]


def test_the_best_is_chosen_in_sample_and_its_heat_map_holds_the_same_figure(tmp_path: Path) -> None:
    result = run_sweep(config(tmp_path)).to_json()
    best = max(result["rows"], key=lambda row: row["in_sample_sharpe"])
    assert result["best_row"] == best
    heat = result["heat_map"]
    assert (heat["x"], heat["x_values"], heat["y"], heat["y_values"]) == ("fast", [3, 8], "slow", [20, 60])
    for row in result["rows"]:
        y, x = [20, 60].index(row["params"]["slow"]), [3, 8].index(row["params"]["fast"])
        assert heat["values"][y][x] == row["in_sample_sharpe"]


def test_every_member_is_a_trial_and_a_single_run_of_it_is_not_another(tmp_path: Path) -> None:
    result = run_sweep(config(tmp_path)).to_json()
    assert (result["n_trials"], result["trials"]) == (4, 4)
    again = run_backtest(BacktestConfig(bars=BARS, strategy="ema-cross", params={"fast": 3, "slow": 20}, home=tmp_path,
                                        panel="off"))  # fmt: skip
    assert again.trials == 4
    more = run_sweep(config(tmp_path, grid={"fast": [3, 5], "slow": [20]})).to_json()
    assert more["trials"] == 5
    assert len(Ledger(tmp_path).trials(BARS.fingerprint)) == 5


def test_a_run_with_funding_is_another_trial_than_one_without(tmp_path: Path) -> None:
    (tmp_path / "rates").mkdir()
    rates = {"timestamp": pa.array(BARS.ts_open[::8].copy(), pa.timestamp("ns", tz="UTC")), "rate": [1e-4] * 450}
    pa_parquet.write_table(pa.table(rates), tmp_path / "rates" / "BTCUSDT.parquet")
    assert run_sweep(config(tmp_path)).trials == 4
    paid = config(tmp_path, funding=tmp_path / "rates")
    assert run_sweep(paid).trials == 8
    row = BacktestConfig(
        bars=BARS,
        strategy="ema-cross",
        params={"fast": 3, "slow": 20},
        funding=paid.funding,
        home=tmp_path,
        panel="off",
    )
    assert run_backtest(row).trials == 8  # the sweep's own row
    cut = WalkForwardConfig(**{name: getattr(paid, name) for name in ("bars", "strategy", "grid", "home", "funding")})
    with_it = run_walk_forward(cut.model_copy(update={"train_days": 60.0, "test_days": 60.0}))
    without = run_walk_forward(cut.model_copy(update={"train_days": 60.0, "test_days": 60.0, "funding": None}))
    assert (with_it.trials, without.trials) == (13, 18)  # four sets and a curve each


def test_impossible_combinations_are_left_out_and_named(tmp_path: Path) -> None:
    result = run_sweep(config(tmp_path, grid={"fast": [5, 30], "slow": [20, 60]})).to_json()
    assert len(result["rows"]) == 3
    assert result["left_out"] == ["fast=30, slow=20: ema_fast 30 must be below ema_slow 20"]
    assert result["heat_map"]["values"][0][1] is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"grid": {}}, "at least one axis"),
        ({"grid": {"fats": [1, 2]}}, "parameter 'fats' is unknown: did you mean 'fast'"),
        ({"grid": {"fast": []}}, "axis 'fast' has no values"),
        ({"grid": {"fast": [5, 5]}}, "holds 5 more than once"),
        ({"grid": {"fast": "9:3:1"}}, "it must count upwards"),
        ({"grid": {"fast": "1:9:0"}}, "it must count upwards"),
        ({"grid": {"fast": "a:b"}}, "first:last:step"),
        ({"grid": {"fast": "1:99999:1"}}, "at most 2000"),
        ({"grid": {"fast": "1:1000", "slow": "1001:2000"}}, "1,000,000 combinations are too many"),
        ({"grid": {"fast": [70, 80], "slow": [20]}}, "no combination of the grid can be run"),
        ({"choose_by": "luck"}, "choose_by 'luck' is unknown"),
        ({"backend": "spark"}, "compute backend 'spark' is unknown"),
        ({"backend": "dask", "address": "localhost"}, "write it like tcp://127.0.0.1:8786"),
    ],
)
def test_bad_sweeps_are_refused_with_a_sentence(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run_sweep(config(tmp_path, **changes))


def test_axis_text_stands_for_its_values() -> None:
    assert axis_values("5:50:15") == [5, 20, 35, 50]
    assert axis_values("0.05:0.2:0.05") == [0.05, 0.1, 0.15, 0.2]
    assert axis_values("24,72;48,144") == ["24,72", "48,144"]
    assert axis_values("1, 2.5, on") == [1, 2.5, "on"]


def test_a_random_choice_is_repeatable_and_inside_the_grid(tmp_path: Path) -> None:
    grid = {"fast": "2:20", "slow": "30:90:2"}
    one = run_sweep(config(tmp_path, grid=grid, n_random=6, seed=5, keep_ledger=False)).to_json()
    other = run_sweep(config(tmp_path, grid=grid, n_random=6, seed=5, keep_ledger=False)).to_json()
    assert one["rows"] == other["rows"]
    assert len({tuple(row["params"].values()) for row in one["rows"]}) == 6
    assert all(2 <= row["params"]["fast"] <= 20 and row["params"]["slow"] % 2 == 0 for row in one["rows"])


def test_a_cancelled_sweep_keeps_what_is_finished_and_the_rest_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "MAX_CHUNK", 1)
    sweep = config(tmp_path, folder=tmp_path / "run", workers=1)
    shares: list[float] = []
    with pytest.raises(CommandRefused, match="cancelled after 2 of 4 parameter sets; they are kept"):
        run_sweep(sweep, shares.append, lambda: len(shares) >= 3)
    assert shares == [0.0, 0.25, 0.5]
    resumed = run_sweep(sweep).to_json()
    fresh = run_sweep(config(tmp_path)).to_json()
    assert resumed["reused"] == 2
    assert resumed["rows"] == fresh["rows"]


def test_what_was_finished_on_other_bars_or_damaged_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_sweep(config(tmp_path, folder=folder, bars=hourly(seed=9)))
    for path in list(folder.glob("chunk-*.npz"))[:1]:
        path.write_bytes(path.read_bytes()[:100])
    assert run_sweep(config(tmp_path, folder=folder)).to_json()["reused"] == 0


def test_a_user_strategy_runs_in_worker_processes_and_a_failing_member_is_named(tmp_path: Path) -> None:
    path = tmp_path / "momentum.py"
    path.write_text(USER_FILE)
    bars = hourly(n_bars=24 * 12)
    sweep = config(tmp_path, bars=bars, strategy=str(path), grid={"lookback": [6, 13]}, workers=2)
    result = run_sweep(sweep).to_json()
    assert_same(result["rows"][0], single(tmp_path, sweep, {"lookback": 6}))
    assert "ZeroDivisionError" in result["rows"][1]["error"]
    assert result["rows"][1]["final_equity"] is None
    assert result["best"] == 0
