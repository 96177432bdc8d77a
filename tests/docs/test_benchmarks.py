"""Every benchmark is in the table and in ``run_all``, and one of them really runs."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"
SHARED = {
    "measuring",
    "run_all",
    "books",
    "proxy",
    "chaos_faults",
    "bare",
    "peers",
    "peer_runs",
    "chaos_kinds",
    "chaos_rig",
    "execution_markets",
}
# take many minutes, so they are run by themselves
LONG = {"agents", "alarms", "chaos", "crash", "execution", "lifecycle", "soak"}


def scripts() -> set[str]:
    return {path.stem for path in FOLDER.glob("*.py")} - SHARED


def summaries() -> set[str]:
    for node in ast.walk(ast.parse((FOLDER / "run_all.py").read_text())):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "SUMMARIES":
            assert isinstance(node.value, ast.Dict)
            return {ast.literal_eval(key) for key in node.value.keys if key is not None}
    raise AssertionError("run_all.py has no SUMMARIES")


def test_every_benchmark_is_run_and_described() -> None:
    described = set(re.findall(r"^\| `(\w+)\.py`", (FOLDER / "README.md").read_text(), flags=re.MULTILINE))
    assert scripts() == described == summaries() | LONG


@pytest.mark.slow
def test_decision_latency_measures_every_stage(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, str(FOLDER / "decision_latency.py"), "--symbols", "3", "--decisions", "5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--json", str(out)], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(out.read_text())
    assert json.loads(done.stdout)["usual"] == result["usual"]
    stages = result["all_symbols"]
    assert stages["requests_per_decision"]["max"] >= 1
    order = [
        stages[name]["p50"] for name in ("decision_durable", "first_intent_durable", "first_request", "last_request")
    ]
    assert order == sorted(order), "a stage cannot end before the one it waits for"
    assert order[0] > 0
