"""Walk-forward: what is traded was chosen before, on earlier bars only, and one account goes through all of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sweep_builders import USER_FILE, hourly

from engine.errors import ConfigError
from engine.research.backtest import BacktestConfig, run_backtest
from engine.research.grid import make_grid
from engine.research.ledger import Ledger
from engine.research.walkforward import Fold, Trader, WalkForwardConfig, plan_folds, rows_of, run_walk_forward

BARS = hourly(n_bars=24 * 160)
DAY = 24


def config(tmp_path: Path, **changes: Any) -> WalkForwardConfig:
    given: dict[str, Any] = {
        "bars": BARS, "strategy": "ema-cross", "grid": {"fast": [3, 8], "slow": [20, 60]}, "home": tmp_path,
        "train_days": 40, "test_days": 30, "purge_days": 1,
    }  # fmt: skip
    return WalkForwardConfig(**given | changes)


def test_folds_train_before_they_trade_and_leave_the_gap_out(tmp_path: Path) -> None:
    folds = plan_folds(160 * DAY, 3600, config(tmp_path, embargo_days=2))
    assert folds[0] == Fold(0, 40 * DAY, 43 * DAY, 73 * DAY)
    assert folds[1] == Fold(30 * DAY, 70 * DAY, 73 * DAY, 103 * DAY)
    assert folds[-1].last == 160 * DAY
    assert all(one.last == other.first for one, other in pairwise(folds))


def test_an_anchored_fold_trains_on_everything_before(tmp_path: Path) -> None:
    folds = plan_folds(160 * DAY, 3600, config(tmp_path, anchored=True))
    assert {fold.train_first for fold in folds} == {0}
    assert [fold.train_last for fold in folds[:2]] == [40 * DAY, 70 * DAY]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train_days": 400}, "the data holds 160 days; one fold takes 400 of training, 1 between"),
        ({"test_days": 1}, "are 960 and 24 bars; each needs at least 50"),
        ({"choose_by": "luck"}, "choose_by 'luck' is unknown"),
    ],
)
def test_a_cut_that_cannot_be_made_is_refused(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run_walk_forward(config(tmp_path, **changes))


def test_each_fold_trades_what_was_best_in_a_single_run_on_its_training_bars(tmp_path: Path) -> None:
    result = run_walk_forward(config(tmp_path))
    fold = result.traded[1].fold
    sharpes = {}
    for fast in (3, 8):
        for slow in (20, 60):
            own = BacktestConfig(
                bars=rows_of(BARS, fold.train_first, fold.train_last), strategy="ema-cross", home=tmp_path,
                params={"fast": fast, "slow": slow}, keep_ledger=False, panel="off",
            )  # fmt: skip
            sharpes[(fast, slow)] = run_backtest(own).metrics["sharpe"]
    best = max(sharpes, key=lambda pair: sharpes[pair])
    answer = result.to_json()
    assert tuple(answer["folds"][1]["params"].values()) == best
    assert answer["folds"][1]["in_sample_sharpe"] == pytest.approx(sharpes[best], rel=1e-12)


def test_nothing_after_a_fold_changes_it(tmp_path: Path) -> None:
    whole = run_walk_forward(config(tmp_path, keep_ledger=False))
    fold = whole.traded[1].fold
    changed = hourly(n_bars=24 * 160)
    for column in (changed.open_px, changed.high_px, changed.low_px, changed.close_px):
        column[fold.last :] *= 1.7
    other = run_walk_forward(config(tmp_path, bars=changed, keep_ledger=False))
    assert [t.member.chosen for t in whole.traded[:2] if t.member] == [
        t.member.chosen for t in other.traded[:2] if t.member
    ]
    # what is held at the end of the second fold may be closed there, if the third chooses differently
    assert np.array_equal(whole.equity[: fold.last - 1], other.equity[: fold.last - 1], equal_nan=True)


def test_the_curve_is_one_account_and_equals_the_sum_of_its_folds(tmp_path: Path) -> None:
    answer = run_walk_forward(config(tmp_path)).to_json()
    grown = 10_000.0
    for fold in answer["folds"]:
        grown *= 1.0 + fold["total_return"]
    assert answer["metrics"]["final_equity"] == pytest.approx(grown, rel=1e-12)
    assert answer["equity"][-1][1] == answer["metrics"]["final_equity"]
    assert len(answer["equity"]) == 160 * DAY - 41 * DAY
    assert answer["chosen"]["fast"] == [fold["params"]["fast"] for fold in answer["folds"]]


def test_a_single_set_is_carried_on_and_is_the_same_as_one_run_with_warm_averages(tmp_path: Path) -> None:
    answer = run_walk_forward(config(tmp_path, grid={"fast": [8]})).to_json()
    assert [fold["carried_on"] for fold in answer["folds"]] == [False, True, True, True]
    closed = run_walk_forward(config(tmp_path, grid={"fast": [8]}, test_days=120)).to_json()
    assert answer["metrics"]["final_equity"] == closed["metrics"]["final_equity"]


def test_a_change_of_parameters_closes_the_position_at_the_last_close_and_pays_for_it(tmp_path: Path) -> None:
    plain = BacktestConfig(bars=BARS, strategy="ema-cross", home=tmp_path, params={
        "slippage": 0.001, "fee": 0.002, "maintenance_margin": 0.0, "liquidation_fee": 0.0,
    })  # fmt: skip
    one, other = make_grid(plain, {"fast": [3, 8]}, BARS).members
    alone = Trader(BARS, None, "ema-cross", 10_000.0)
    alone.trade(one, 500, 900)
    scan = alone._scan
    assert scan is not None
    held = np.flatnonzero(scan.track.weight[100:400, 0] > 0.1)
    last = 500 + 100 + int(held[-1]) + 1
    trader = Trader(BARS, None, "ema-cross", 10_000.0)
    trader.trade(one, 500, last)
    before = float(trader.equity[last - 1])
    assert trader._scan is not None
    qty, px = float(trader._scan.account.position_qty[0]), float(BARS.close_px[last - 1, 0])
    trader.trade(other, last, last + 50)
    # sold at px * (1 - 0.001): 0.001 of the notional is lost to slippage, then 0.002 of what is left to the fee
    assert trader.equity[last - 1] == pytest.approx(before - qty * px * 0.001 - qty * px * 0.999 * 0.002, rel=1e-12)
    assert trader.equity[last] == trader.equity[last - 1] == trader.cash


def test_every_set_and_the_curve_are_counted_once(tmp_path: Path) -> None:
    first = run_walk_forward(config(tmp_path)).to_json()
    again = run_walk_forward(config(tmp_path)).to_json()
    assert (first["n_trials"], first["trials"], again["trials"]) == (4, 5, 5)
    assert len(Ledger(tmp_path).trials(BARS.fingerprint)) == 5


def test_a_user_strategy_walks_forward(tmp_path: Path) -> None:
    path = tmp_path / "momentum.py"
    path.write_text(USER_FILE)
    bars = hourly(n_bars=24 * 16)
    short = {"train_days": 6, "test_days": 5, "workers": 1}
    sweep = config(tmp_path, bars=bars, strategy=str(path), grid={"lookback": [6, 13]}, **short)
    answer = run_walk_forward(sweep).to_json()
    assert [fold["params"] for fold in answer["folds"]] == [{"lookback": 6}] * len(answer["folds"])
    assert answer["metrics"]["n_fills"] > 0
