"""Compiling ahead: one at a time, and not for an engine that is gone."""

import os
import subprocess
import sys
import threading
import time
from contextlib import closing

import numpy as np
import pytest

from engine.core import step
from engine.core.step import normal_params
from engine.domain import NS_PER_S
from engine.runtime import kernels, precompile
from engine.settings import SystemConfig
from engine.strategies.portfolio_runner import PortfolioRunner
from engine.strategies.sleeves import scan
from storage.database import Database


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(precompile.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(precompile, "step_back", lambda priority: None)
    monkeypatch.setattr(precompile.os, "nice", lambda by: 0)


def test_it_compiles_what_it_is_told(monkeypatch):
    done = []
    monkeypatch.setattr(step, "compile_kernels", lambda: done.append(True))
    precompile.main("core.step", "compile_kernels")
    assert done == [True]


def test_two_take_turns():
    order = []

    def second():
        with precompile.turn("same"):
            order.append("second")

    with precompile.turn("same"):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.1)
        order.append("first")
    waiting.join(5)
    assert order == ["first", "second"]


def test_lock_ends_with_the_process_that_held_it(tmp_path):
    code = (
        "import sys, tempfile, time; from engine.runtime import precompile\n"
        "tempfile.gettempdir = lambda: sys.argv[1]\n"
        "with precompile.turn('x'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    with precompile.turn("x"):
        pass


def test_nothing_is_compiled_for_an_engine_that_ended_meanwhile(monkeypatch):
    parents = iter([os.getpid(), 1])
    monkeypatch.setattr(precompile.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(step, "compile_kernels", lambda: pytest.fail("compiled for nobody"))
    precompile.main("core.step", "compile_kernels")


def test_it_gives_way_in_a_session_of_its_own():
    code = (
        "import os; from engine.runtime import precompile; precompile.step_back(19);"
        "print(os.getsid(0) == os.getpid(), os.nice(0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "19"]


def test_the_portfolio_finds_everything_compiled():
    kernels.compile_portfolio()
    compiled = list(scan._compiled.signatures)
    runner = PortfolioRunner(normal_params(SystemConfig(strategy="portfolio").params()), {}, ("A", "B", "C"))
    rates = np.full((4, 3), 1e-4)
    runner.advance(np.arange(1, 5, dtype=np.int64) * 60 * NS_PER_S, np.ones((4, 3)), rates, given=np.zeros((4, 3)))
    assert scan._compiled.signatures == compiled


async def test_the_portfolio_is_compiled_elsewhere_until_it_worked_for_the_same_sources(tmp_path, monkeypatch):
    asked = []

    codes = iter([1, 0, 0])

    async def elsewhere(module, function):
        asked.append((module, function))
        return next(codes)

    monkeypatch.setattr(kernels, "_compile_ahead", elsewhere)
    with closing(Database(tmp_path / "paper.duckdb")) as store:
        for _ in range(3):  # fails, then compiles, then knows
            await kernels.load_portfolio(store)
            store.flush()
        assert asked == [("runtime.kernels", "compile_portfolio")] * 2
        monkeypatch.setattr(kernels, "SLEEVES_FINGERPRINT", "another")
        await kernels.load_portfolio(store)
        assert len(asked) == 3
