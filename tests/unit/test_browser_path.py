"""Finding Chromium: the variable wins, a wrong variable finds nothing, PATH is the fallback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from browser_path import find_browser

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    return tmp_path


def program(folder: Path, name: str) -> str:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_nothing_is_found_where_nothing_is(folder: Path) -> None:
    assert find_browser() is None


def test_path_is_searched_in_order(folder: Path) -> None:
    chrome = program(folder, "google-chrome")
    assert find_browser() == chrome
    chromium = program(folder, "chromium")
    assert find_browser() == chromium


def test_the_variable_wins_and_is_not_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(folder, "chromium")
    own = program(folder, "my-browser")
    monkeypatch.setenv("CHROMIUM", own)
    assert find_browser() == own
    monkeypatch.setenv("CHROMIUM", str(folder / "absent"))
    assert find_browser() is None


def test_the_script_gives_a_reason_and_does_not_fail(folder: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "browser.py")]
    done = subprocess.run(command, env={"PATH": str(folder)}, capture_output=True, text=True)
    assert done.returncode == 0
    assert "will be skipped: this system has no apt-get" in done.stdout
