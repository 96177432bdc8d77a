"""A symbol that was stopped out stays out until the sleeve turns, also over a restart."""

from __future__ import annotations

import numpy as np
import pytest

from engine.domain import N_RULES, AccountView, Decision
from engine.runtime.stopped import StoppedOut
from storage.database import Database

SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.fixture
def store(tmp_path):
    store = Database(tmp_path / "t.duckdb")
    yield store
    store.close()


def decision(raw: list[float], target: list[float]) -> Decision:
    weights, rules = np.array(raw), np.zeros((2, N_RULES))
    return Decision(
        0, weights, weights, weights, np.array(target), np.ones(2, dtype=np.int8), rules.astype(np.int8), rules, rules,
        1e4, 1e4, 0.0, 0.0, 0.0, 0.1,
    )  # fmt: skip


def view(qty: list[float]) -> AccountView:
    held = np.array(qty)
    return AccountView(1e4, held, np.zeros(2), np.zeros(2), np.ones(2), 0)


def test_stopped_long_is_not_bought_back_and_the_other_symbol_trades(store):
    stopped = StoppedOut(store, "a")
    stopped.add("BTCUSDT", 1)
    held, sentences = stopped.hold(decision([0.5, 0.5], [0.1, 2.0]), view([0.0, 0.0]), SYMBOLS)
    assert held.act.tolist() == [0, 1]
    assert held.target_qty.tolist() == [0.0, 2.0]
    assert "long" in sentences["BTCUSDT"]


def test_short_is_allowed_after_a_stopped_long_and_releases_it(store):
    stopped = StoppedOut(store, "a")
    stopped.add("BTCUSDT", 1)
    held, sentences = stopped.hold(decision([-0.5, 0.0], [-0.1, 0.0]), view([0.0, 0.0]), SYMBOLS)
    assert held.act.tolist() == [1, 1]
    assert sentences == {}
    assert stopped.sides == {}


def test_reducing_what_a_person_left_on_that_side_is_allowed(store):
    stopped = StoppedOut(store, "a")
    stopped.add("BTCUSDT", 1)
    held, _ = stopped.hold(decision([0.5, 0.0], [0.1, 0.0]), view([0.3, 0.0]), SYMBOLS)
    assert held.act[0] == 1
    assert held.target_qty[0] == 0.1


def test_stop_is_remembered_over_a_restart(store):
    StoppedOut(store, "a").add("ETHUSDT", -1)
    store.flush()
    assert StoppedOut(store, "a").sides == {"ETHUSDT": -1}
    assert StoppedOut(store, "another account").sides == {}


def test_unknown_wish_keeps_the_symbol_out(store):
    stopped = StoppedOut(store, "a")
    stopped.add("BTCUSDT", 1)
    stopped.hold(decision([float("nan"), 0.0], [0.0, 0.0]), view([0.0, 0.0]), SYMBOLS)
    assert stopped.sides == {"BTCUSDT": 1}
