"""Where a sweep runs changes nothing but the time it takes; a worker that dies costs what it had not finished."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from sweep_builders import hourly

from engine.errors import CommandRefused
from engine.research import sweep as sweep_module
from engine.research.sweep import SweepConfig, run_sweep

DEADLY = """
import os
import signal
from pathlib import Path

class Strategy:
    def __init__(self, lookback: int = 24) -> None:
        self.lookback = lookback

    def on_bar(self, past):
        if self.lookback == 7 and os.getpid() != {tests} and not Path({saved!r}).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if len(past.close) <= self.lookback:
            return None
        return 0.4 if past.close[-1, 0] > past.close[-1 - self.lookback, 0] else 0.0
"""


def config(tmp_path: Path, **changes: Any) -> SweepConfig:
    given: dict[str, Any] = {
        "bars": hourly(), "strategy": "ema-cross", "grid": {"fast": [3, 8], "slow": [20, 60]}, "home": tmp_path,
        "keep_ledger": False,
    }  # fmt: skip
    return SweepConfig(**given | changes)


@pytest.mark.long
def test_a_cluster_of_two_workers_gives_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="the optional extra scale is not installed")
    monkeypatch.setattr(sweep_module, "MAX_CHUNK", 1)
    here = run_sweep(config(tmp_path)).to_json()
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, local_directory=str(tmp_path)
    ) as cluster:
        there = run_sweep(config(tmp_path, backend="dask", address=cluster.scheduler_address)).to_json()
    assert there["rows"] == here["rows"]
    assert (there["backend"], there["best"], there["pbo"]) == ("dask", here["best"], here["pbo"])


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the optional extra scale is not installed")
    monkeypatch.setattr("engine.research.cluster.CONNECT_S", 0.3)
    with pytest.raises(CommandRefused, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run_sweep(config(tmp_path, backend="dask", address="tcp://127.0.0.1:9"))


@pytest.mark.long
def test_a_worker_that_is_killed_costs_only_what_it_had_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "MAX_CHUNK", 1)
    path, saved = tmp_path / "deadly.py", tmp_path / "saved"
    path.write_text(DEADLY.format(tests=os.getpid(), saved=str(saved)))
    folder = tmp_path / "run"
    shared = {"bars": hourly(n_bars=24 * 8), "strategy": str(path), "workers": 2}
    run_sweep(config(tmp_path, grid={"lookback": [5]}, folder=folder, **shared))
    with pytest.raises(CommandRefused, match=r"a worker process died .* resume the run"):
        run_sweep(config(tmp_path, grid={"lookback": [5, 6, 7, 8]}, folder=folder, **shared))
    saved.touch()
    resumed = run_sweep(config(tmp_path, grid={"lookback": [5, 6, 7, 8]}, folder=folder, **shared)).to_json()
    fresh = run_sweep(config(tmp_path, grid={"lookback": [5, 6, 7, 8]}, **shared)).to_json()
    assert resumed["reused"] >= 1
    assert resumed["rows"] == fresh["rows"]
