"""Client order ids: readable, unique, acceptable to the venue."""

import doctest
import re

import pytest

from engine.domain import Mode
from engine.execution import ids
from engine.execution.ids import base36, client_order_id, is_ours, sequence_of
from engine.runtime.session import open_session
from storage.database import Database

VENUE_RULE = re.compile(r"^[\.A-Z\:/a-z0-9_-]{1,36}$")


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (9, "9"), (10, "a"), (35, "z"), (36, "10"), (1295, "zz")])
def test_base36(number, text):
    assert base36(number) == text
    assert int(text, 36) == number


def test_negative_number_is_refused():
    with pytest.raises(ValueError, match="-1 is negative"):
        base36(-1)


def test_id_names_folder_decision_and_sequence():
    assert client_order_id("k3f9", 41, 100) == "ask3f9-15-2s"
    assert client_order_id("k3f9", 0, 1) == "ask3f9-0-1"


def test_same_decision_and_sequence_give_the_same_id_and_others_another():
    made = {client_order_id("k3f9", decision, sequence) for decision in range(40) for sequence in range(40)}
    assert len(made) == 1600
    assert client_order_id("k3f9", 7, 8) == client_order_id("k3f9", 7, 8)


def test_venue_accepts_the_largest_id_of_a_century():
    largest = client_order_id("zzzz", 10**10, 10**10)
    assert VENUE_RULE.match(largest)


def test_id_longer_than_the_venue_takes_is_refused():
    with pytest.raises(ValueError, match="longer than 36"):
        client_order_id("k3f9", 36**14, 36**15)


def test_ours_is_told_from_another_folders():
    mine = client_order_id("k3f9", 1, 1)
    assert is_ours(mine, "k3f9")
    assert not is_ours(mine, "k3f8")
    assert not is_ours("web_12345", "k3f9")
    assert not is_ours(client_order_id("k3f99", 1, 1), "k3f9")


def test_sequence_can_be_read_back():
    assert [sequence_of(client_order_id("k3f9", 5, n)) for n in (1, 35, 36, 99_999)] == [1, 35, 36, 99_999]


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(ids).failed == 0


def test_ids_go_on_being_new_when_the_record_is_restored_from_an_old_copy(tmp_path):
    second = 10**9
    started = 1_800_000_000 * second
    store = Database(tmp_path / "paper.duckdb")
    first = open_session(store, Mode.PAPER, "simulated", 1.0, "me", started)
    # the copy was made here; afterwards this engine made a thousand ids, which the copy knows nothing of
    made = {client_order_id(first.tag, 0, first.sequence + n) for n in range(1, 1001)}
    later = open_session(store, Mode.PAPER, "simulated", 1.0, "me", started + 60 * second)
    store.close()
    assert later.tag == first.tag
    assert not made & {client_order_id(later.tag, 0, later.sequence + n) for n in range(1, 1001)}


def test_ids_never_fall_behind_the_record_when_the_clock_does(tmp_path):
    store = Database(tmp_path / "paper.duckdb")
    session = open_session(store, Mode.PAPER, "simulated", 1.0, "me", 1_800_000_000 * 10**9)
    row = {"account": "me", "client_id": client_order_id(session.tag, 0, session.sequence + 5), "qty": 1.0}
    store.append_durable("orders", [row]).result(10)
    assert open_session(store, Mode.PAPER, "simulated", 1.0, "me", 0).sequence == session.sequence + 5
    store.close()
