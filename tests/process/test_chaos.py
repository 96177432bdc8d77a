"""A few kills of the real engine at chosen steps. ``benchmarks/chaos.py`` does the same a hundred times."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.mark.timeout(120)
def test_books_are_equal_after_each_kill(tmp_path):
    from chaos import kills

    found = kills(3, 5, tmp_path, steps=("sent", "partial", "cancel"), settle_s=1.0, progress=False)
    assert found["sentences"] == []
    assert (found["kills"], found["mismatches"], found["duplicates"], found["lost"]) == (3, 0, 0, 0)
    assert found["without_stop"] == []
    assert found["orders"] > 3
    assert found["fills"] > 0
