"""Makes the modules beside this file importable in every test, whichever folder is run."""

from __future__ import annotations

import sys

import pytest

LONGEST_FIRST = ("tests/process/", "tests/app/", "tests/zoo/", "tests/contract/")
"""Folders whose files take minutes. A worker that starts one of them last keeps the other waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the files of the slow folders begin first; within a folder everything keeps its order."""

    def place(item: pytest.Item) -> int:
        return next((n for n, folder in enumerate(LONGEST_FIRST) if item.nodeid.startswith(folder)), len(LONGEST_FIRST))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def the_same_main_module():
    """Streamlit's AppTest leaves a page as ``__main__``, and every process spawned later would draw that page first."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before
