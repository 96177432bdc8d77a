"""Fan-out: everybody gets every message in order, and nobody slow holds the engine up."""

import json
import queue
import threading

import pytest

from engine.runtime import broadcast
from engine.runtime.broadcast import Broadcaster


def drained(reader):
    texts = []
    while True:
        try:
            texts.append(reader.get_nowait())
        except queue.Empty:
            return texts


def test_each_reader_gets_each_message_once_in_order():
    broadcaster = Broadcaster()
    first, second = broadcaster.subscribe(), broadcaster.subscribe()
    for n in range(3):
        broadcaster.publish({"t": "top", "n": n})
    assert [json.loads(text)["n"] for text in drained(first)] == [0, 1, 2]
    assert [json.loads(text)["n"] for text in drained(second)] == [0, 1, 2]


def test_nobody_listening_costs_nothing():
    broadcaster = Broadcaster()
    broadcaster.publish({"t": "top", "n": object()})  # would not even serialise
    assert not broadcaster.has_readers


def test_reader_that_left_gets_nothing_more():
    broadcaster = Broadcaster()
    reader = broadcaster.subscribe()
    broadcaster.unsubscribe(reader)
    broadcaster.publish({"t": "top"})
    assert drained(reader) == []
    assert not broadcaster.has_readers


def test_slow_reader_loses_its_oldest_messages_and_the_others_none(monkeypatch):
    monkeypatch.setattr(broadcast, "MAX_WAITING", 5)
    broadcaster = Broadcaster()
    slow = broadcaster.subscribe()
    monkeypatch.setattr(broadcast, "MAX_WAITING", 100)
    quick = broadcaster.subscribe()
    for n in range(12):
        broadcaster.publish({"n": n})
    assert [json.loads(text)["n"] for text in drained(slow)] == [7, 8, 9, 10, 11]
    assert len(drained(quick)) == 12


def test_unknown_must_be_null_and_never_nan():
    broadcaster = Broadcaster()
    broadcaster.subscribe()
    with pytest.raises(ValueError, match="JSON"):
        broadcaster.publish({"px": float("nan")})


def test_close_is_heard_by_present_and_later_readers_even_when_full(monkeypatch):
    monkeypatch.setattr(broadcast, "MAX_WAITING", 2)
    broadcaster = Broadcaster()
    full = broadcaster.subscribe()
    for n in range(5):
        broadcaster.publish({"n": n})
    broadcaster.close()
    assert drained(full)[-1] is None
    assert drained(broadcaster.subscribe()) == [None]


def test_readers_come_and_go_while_the_engine_publishes():
    broadcaster = Broadcaster()
    stayed = broadcaster.subscribe()

    def come_and_go():
        for _ in range(200):
            broadcaster.unsubscribe(broadcaster.subscribe())

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(1_000):
        broadcaster.publish({"n": n})
    for thread in threads:
        thread.join()
    assert [json.loads(text)["n"] for text in drained(stayed)] == list(range(1_000))
    broadcaster.unsubscribe(stayed)
    assert not broadcaster.has_readers
