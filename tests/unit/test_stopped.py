"""A symbol whose stop was hit stays out until the sleeve turns."""

import numpy as np
import pytest

from engine.domain import N_RULES, AccountView, Decision
from engine.runtime.stopped import StoppedOut
from storage.database import Database

SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.fixture
def store(tmp_path):
    database = Database(tmp_path / "t.duckdb")
    yield database
    database.close()


def decision(raw, target):
    shape = (2, N_RULES)
    weight = np.array(raw, dtype=float)
    return Decision(
        1, weight, weight, weight, np.array(target, dtype=float), np.ones(2, np.int8), np.zeros(shape, np.int8),
        np.zeros(shape), np.zeros(shape), 1e4, 1e4, 0.0, 0.0, 0.0, 0.2,
    )  # fmt: skip


def view(*qty):
    zero = np.zeros(2)
    return AccountView(1e4, np.array(qty, dtype=float), zero, zero, zero, 0)


def test_stopped_long_is_not_bought_back_while_the_sleeve_still_wants_it(store):
    stopped = StoppedOut(store, "k")
    stopped.add("BTCUSDT", 1)
    held_decision, reasons = stopped.hold(decision([0.3, 0.3], [0.1, 2.0]), view(0.0, 0.0), SYMBOLS)
    assert list(held_decision.act) == [0, 1]
    assert list(held_decision.target_qty) == [0.0, 2.0]
    assert set(reasons) == {"BTCUSDT"}
    assert "closed the long position" in reasons["BTCUSDT"]


@pytest.mark.parametrize("raw", [-0.2, 0.0])
def test_turned_sleeve_releases_the_symbol(store, raw):
    stopped = StoppedOut(store, "k")
    stopped.add("BTCUSDT", 1)
    released, reasons = stopped.hold(decision([raw, 0.3], [-0.1, 2.0]), view(0.0, 0.0), SYMBOLS)
    assert (list(released.act), reasons, stopped.sides) == ([1, 1], {}, {})


def test_no_opinion_neither_holds_nor_releases(store):
    stopped = StoppedOut(store, "k")
    stopped.add("BTCUSDT", -1)
    stopped.hold(decision([np.nan, 0.3], [0.0, 2.0]), view(0.0, 0.0), SYMBOLS)
    assert stopped.sides == {"BTCUSDT": -1}


def test_given_decision_is_not_changed(store):
    stopped = StoppedOut(store, "k")
    stopped.add("BTCUSDT", 1)
    given = decision([0.3, 0.3], [0.1, 2.0])
    stopped.hold(given, view(0.0, 0.0), SYMBOLS)
    assert (list(given.act), list(given.target_qty)) == ([1, 1], [0.1, 2.0])


def test_memory_survives_a_restart_and_belongs_to_one_account(store):
    StoppedOut(store, "k").add("BTCUSDT", -1)
    store.flush()
    assert StoppedOut(store, "k").sides == {"BTCUSDT": -1}
    assert StoppedOut(store, "other").sides == {}
