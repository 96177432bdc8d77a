"""A few kills of the real engine and a quarter of a day with faults. ``benchmarks`` do the same for much longer."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_books_are_equal_after_each_kill(tmp_path):
    from chaos import kills

    found = kills(3, 5, tmp_path, steps=("sent", "partial", "cancel"), settle_s=1.0, progress=False)
    assert found["sentences"] == []
    assert (found["kills"], found["mismatches"], found["duplicates"], found["lost"]) == (3, 0, 0, 0)
    assert found["without_stop"] == []
    assert found["orders"] > 3
    assert found["fills"] > 0
    assert found["breaches"] == 0
    assert found["exposure"]["polls"] > 0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_engine_can_act_through_a_quarter_of_a_day_with_faults(tmp_path, monkeypatch):
    import soak

    monkeypatch.setattr(soak, "KINDS", ("ws_drop", "503_executed"))
    found = soak.soak(0.25, 3600.0, 10, 8.0, tmp_path)
    assert found["books_equal"], found["sentences"]
    assert (found["decisions"]["missed"], found["faults"]["not_healed"]) == (0, [])
    assert found["decisions"]["made"] >= 5
    assert found["faults"]["n"] >= 1
    assert found["availability"] > 0.99
    assert found["samples"] > 20
    assert found["fills"] > 0
