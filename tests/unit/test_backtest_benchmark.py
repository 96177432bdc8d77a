"""The benchmark says how far our equities are from the others', and which must agree."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "backtest", raising=False)
    import backtest

    return backtest


def test_agreement_is_measured_and_a_millionth_is_the_limit(benchmark_module):
    def rows(**finals):
        return {"rows": {name.replace("_", " "): {"final_equity": value} for name, value in finals.items()}}

    sections = {
        "single": rows(bare=100.0, gate_off=100.0, vectorbt=100.00009),
        "rebalance": rows(bare=100.0, gate_on=100.0002),
        "sweep": None,
    }
    found = {(pair["of"], pair["theirs"]): pair for pair in benchmark_module.agreement(sections)}
    assert found["single", "vectorbt"]["agrees"]
    assert found["single", "vectorbt"]["difference"] == pytest.approx(-9e-7, rel=1e-3)
    assert not found["rebalance", "bare"]["agrees"]
    assert len(found) == 3
    sections["single"]["rows"]["vectorbt"] = {"error": "not installed"}
    assert len(benchmark_module.agreement(sections)) == 2
