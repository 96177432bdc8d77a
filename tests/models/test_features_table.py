"""docs/features.md is the table of inputs that the kernel computes."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.list_features import DOCUMENT, text


def test_the_document_is_the_table() -> None:
    assert DOCUMENT.read_text() == text(), "run python scripts/list_features.py"
