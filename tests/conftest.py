"""Makes the modules beside this file importable in every test, whichever folder is run."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def the_same_main_module():
    """Streamlit's AppTest leaves a page as ``__main__``, and every process spawned later would draw that page first."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before
