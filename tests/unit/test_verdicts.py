"""What backtests have shown of a version: kept signed, red until as much passes, and asked for by the ladder."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from research_bars import walk

from engine.errors import ConfigError, DataError
from engine.research import certificate, verdicts
from engine.research.backtest import BacktestConfig, run_backtest
from engine.runtime.run_worker import WORK
from engine.settings import SystemConfig
from engine.strategies.versions import keep

CANARIES = ("lookahead", "future_shift", "fills", "shuffled", "outside_knowledge")
COINS = [f"C{i}USDT" for i in range(6)]
LONG = """
class Strategy:
    history = 30
    def on_bar(self, past):
        return {"AAAUSDT": 0.2 if past.close[-1, 0] > past.close[0, 0] else -0.1}
"""


def shown(bars=5_000, coins=6, conduct=(), **changes):
    return {
        "canaries": dict.fromkeys(CANARIES, "pass") | changes, "conduct": list(conduct), "bars": bars,
        "symbols": COINS[:coins], "first_ts_ms": 0, "last_ts_ms": 1, "dataset": "d", "strategy": "trend",
    }  # fmt: skip


def standing(home, **changes):
    return verdicts.standing(home, SystemConfig(**changes))


def show(home, *args, config=None, **kwargs):
    return verdicts.keep(home, certificate.version_now(home, config or SystemConfig()), shown(*args, **kwargs))


def test_without_a_backtest_the_sentence_says_which_run_is_missing(tmp_path):
    ok, told = standing(tmp_path)
    assert not ok
    assert "No backtest of this version of trend" in told
    assert told.endswith("python -m engine backtest.")
    assert standing(tmp_path, strategy="ema-cross")[1].endswith("python -m engine backtest with side=both.")
    told = standing(tmp_path, trend_horizons_hours=(10.0, 20.0), allow_short=False)[1]
    assert told.endswith("with side=long, trend_horizons_hours=10,20.")


def test_all_green_is_enough_and_another_version_is_not(tmp_path):
    show(tmp_path)
    ok, told = standing(tmp_path)
    assert (ok, told[:48]) == (True, "Every canary passed over 5,000 bars of 6 coins o")
    assert not standing(tmp_path, trend_horizons_hours=(10.0,))[0]


def test_red_stays_until_a_run_over_as_much_passes(tmp_path):
    show(tmp_path)
    show(tmp_path, lookahead="fail")
    ok, told = standing(tmp_path)
    assert not ok
    assert "is red: canary lookahead, cutting later bars off changes what was decided before" in told
    show(tmp_path, bars=400)
    show(tmp_path, coins=1)
    show(tmp_path, bars=9_000, shuffled="not tested")
    assert not standing(tmp_path)[0]
    show(tmp_path, bars=400, fills="fail")  # and a smaller red one does not make it easier
    show(tmp_path, bars=400)
    assert not standing(tmp_path)[0]
    show(tmp_path, bars=5_000)
    assert standing(tmp_path)[0]


def test_what_could_not_be_tested_is_no_pass_and_takes_none_back(tmp_path):
    show(tmp_path, shuffled="not tested")
    ok, told = standing(tmp_path)
    assert not ok
    assert "leaves something open. Canary shuffled was not tested: on made-up bars it held nothing" in told
    show(tmp_path)
    show(tmp_path, bars=200, shuffled="not tested")  # a quick look must not take real money's rung away
    assert standing(tmp_path)[0]


def test_a_door_in_the_source_counts_whatever_the_canaries_say(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from numpy import load\n" + LONG)
    config = SystemConfig(strategy=keep(tmp_path, str(path)))
    show(tmp_path, config=config)  # as an earlier program would have kept it, which did not see this door
    ok, told = verdicts.standing(tmp_path, config)
    assert not ok
    assert told.startswith("Line 1 of the strategy opens a file (load)")


@pytest.mark.parametrize("change", [{"bars": 1}, {"canaries": {}}, {"kind": "other"}])
def test_a_changed_verdict_is_not_believed(tmp_path, change):
    kept = show(tmp_path)
    path = tmp_path / verdicts.FOLDER / f"{kept['version']}.json"
    path.write_text(json.dumps(kept | change))
    ok, told = standing(tmp_path)
    assert not ok
    assert "was changed after it was issued" in told
    show(tmp_path)
    assert standing(tmp_path)[0]


def test_a_certificate_does_not_pass_for_a_verdict_nor_the_other_way_round(tmp_path):
    version = certificate.version_now(tmp_path, SystemConfig())
    issued = certificate.issue(tmp_path, version | {"status": "pass", "ts": 1, "decisions": 1, "differences": 0})
    here, there = (tmp_path / folder / f"{issued['version']}.json" for folder in ("certificates", "verdicts"))
    there.parent.mkdir()
    here.rename(there)
    assert "is the certificate of version" in standing(tmp_path)[1]
    show(tmp_path)
    there.rename(here)
    with pytest.raises(ConfigError, match="is the backtest verdict of version"):
        certificate.read(tmp_path, issued["version"])


def test_a_backtest_from_the_page_of_what_is_in_force_reaches_the_ladder(tmp_path, monkeypatch):
    # the default strategy as the Settings page has it: the condition must be in reach of whoever runs it once
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path / "elsewhere"))
    bars, path, home = walk(1_500, symbols=("BTCUSDT",)), tmp_path / "BTCUSDT.parquet", tmp_path / "home"
    named = {"open": bars.open_px, "high": bars.high_px, "low": bars.low_px, "close": bars.close_px}
    columns = {name: np.ravel(column) for name, column in (named | {"volume": bars.volume}).items()}
    pa_parquet.write_table(pa.table({"timestamp": bars.ts_open // 1_000_000} | columns), path)
    request = {
        "path": str(path), "symbols": [], "home": str(home), "funding": None, "strategy": "trend", "params": {},
        "start": None, "end": None, "cash": 10_000.0, "costs": "assumed",
    }  # fmt: skip
    assert standing(home)[0] is False
    WORK["backtest"](request, lambda share: None, lambda: False)
    ok, told = standing(home)
    assert ok, told
    assert "1,500 bars of 1 coin on" in told


def test_runs_that_are_no_evidence_are_not_kept(tmp_path):
    bars = walk(400)
    run_backtest(BacktestConfig(bars=bars, home=tmp_path, panel="fast"))
    run_backtest(BacktestConfig(bars=bars, home=tmp_path, keep_ledger=False))
    assert not (tmp_path / verdicts.FOLDER).exists()


def test_a_file_that_is_edited_during_its_backtest_gives_no_result(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(LONG.replace("AAAUSDT", walk(10).symbols[0]))
    config = BacktestConfig(bars=walk(400), strategy=str(path), home=tmp_path)

    def save(share):
        path.write_text(path.read_text() + "\n")

    with pytest.raises(DataError, match="was changed while its backtest ran"):
        run_backtest(config, save)
    assert not (tmp_path / verdicts.FOLDER).exists()
