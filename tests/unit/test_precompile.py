"""Compiling ahead: one at a time, and not for an engine that is gone."""

import os
import subprocess
import sys
import threading
import time

import pytest

from engine.core import step
from engine.runtime import precompile


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(precompile.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(precompile, "step_back", lambda priority: None)
    monkeypatch.setattr(precompile.os, "nice", lambda by: 0)


def test_it_compiles_what_it_is_told(monkeypatch):
    done = []
    monkeypatch.setattr(step, "compile_kernels", lambda: done.append(True))
    precompile.main("step", "compile_kernels")
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
    precompile.main("step", "compile_kernels")


def test_it_gives_way_in_a_session_of_its_own():
    code = (
        "import os; from engine.runtime import precompile; precompile.step_back(19);"
        "print(os.getsid(0) == os.getpid(), os.nice(0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "19"]
