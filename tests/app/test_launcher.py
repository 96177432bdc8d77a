"""The launcher against a stand-in engine process: one, never two; ended only if it is ours."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from fake_engine import FakeEngine

from app import launcher as launcher_module
from app.client import EngineClient
from app.launcher import Launcher, _paper_command

FAKE = str(Path(__file__).with_name("fake_engine.py"))


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))


def command(home: Path) -> list[str]:
    return [sys.executable, FAKE, "--home", str(home), "--empty"]


def test_two_launchers_at_once_start_one_engine_and_only_its_owner_ends_it(tmp_path):
    first, second = Launcher(tmp_path, command(tmp_path)), Launcher(tmp_path, command(tmp_path))
    threads = [threading.Thread(target=launcher.ensure) for launcher in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [first.owns_engine, second.owns_engine].count(True) == 1
    owner, guest = (first, second) if first.owns_engine else (second, first)
    assert not guest.stop()
    assert EngineClient(tmp_path).status()["mode"] == "paper"
    assert owner.stop()
    assert not (tmp_path / "engine.json").exists()


def test_a_running_engine_is_used_and_left_alone(tmp_path):
    engine = FakeEngine(tmp_path, empty=True, ticking=False).start()
    launcher = Launcher(tmp_path, ["/bin/false"])
    assert launcher.ensure()
    assert not launcher.owns_engine
    assert not launcher.stop()
    assert EngineClient(tmp_path).status()["engine_id"] == engine.engine_id
    engine.stop()


def test_an_engine_that_dies_at_the_start_is_reported_with_its_last_words(tmp_path):
    launcher = Launcher(tmp_path, [sys.executable, "-c", "print('no licence to trade'); raise SystemExit(3)"])
    assert not launcher.ensure()
    assert "no licence to trade" in launcher.note
    assert not launcher.owns_engine


def test_the_engine_runs_in_its_own_session_so_that_ctrl_c_does_not_reach_it(tmp_path):
    launcher = Launcher(tmp_path, [sys.executable, "-c", "import time; time.sleep(30)"])
    launcher._start()
    pid = launcher._process.pid
    assert os.getsid(pid) != os.getsid(0)
    os.kill(pid, signal.SIGTERM)
    launcher._process.wait(5)


def test_an_engine_that_will_not_end_is_never_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher_module, "STOP_TIMEOUT_S", 0.3)
    script = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: None); print('up', flush=True)\nwhile True: time.sleep(0.1)"  # noqa: E501
    launcher = Launcher(tmp_path, [sys.executable, "-c", script])
    launcher._start()
    while b"up" not in (tmp_path / "engine.log").read_bytes():
        threading.Event().wait(0.02)
    assert not launcher.stop()
    assert launcher._process.poll() is None
    assert "still closing" in launcher.note
    launcher._process.kill()
    launcher._process.wait(5)


def test_the_market_source_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ASTROLABE_MARKET", "replay")
    assert _paper_command(tmp_path)[1:] == ["-m", "engine", "paper", "--data-dir", str(tmp_path), "--market", "replay"]
