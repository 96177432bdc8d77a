"""The tutorial's code runs, and its mistakes are told in the words that it prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.research.strategy_check import check_strategy

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "tutorial-strategy.md").read_text()
BLOCKS = re.findall(r"(?:<!-- error: (.*?) -->\n)?```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize(("sentence", "source"), BLOCKS)
def test_block(sentence: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / "block.py"
    path.write_text(source)
    checks = check_strategy(path, {}, ("BTCUSDT", "ETHUSDT", "SOLUSDT"))
    wrong = [item["detail"] for item in checks if not item["ok"]]
    if sentence:
        assert any(sentence in detail for detail in wrong), wrong
    else:
        assert not wrong


def test_there_are_good_and_bad_examples() -> None:
    assert sum(not sentence for sentence, _ in BLOCKS) >= 2
    assert sum(bool(sentence) for sentence, _ in BLOCKS) >= 4
