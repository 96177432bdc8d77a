"""The models' conversation outlives a broken record and a slow explanation; bars come before questions."""

from __future__ import annotations

import asyncio
import threading
from multiprocessing.connection import Pipe

import orjson
import pytest

from engine.domain import Bar
from engine.errors import CommandRefused, DataError
from engine.runtime import model_host
from engine.runtime.child_process import Talk
from engine.runtime.model_host import MAX_FAILURES, ModelHost, Said
from storage.errors import StorageError

HOUR = 3_600 * 10**9
KNOWN = {"share": 0.0, "covered": None, "direction": None}


class FakeTalk:
    """A process that answers at once; ``slow`` holds it up."""

    def __init__(self):
        self.is_open, self.asked, self.slow = False, [], threading.Event()
        self.slow.set()

    def start(self, folder):
        self.is_open = True

    def end(self):
        self.is_open = False

    def exchange(self, message, limit_s, *, may_be_late=False):
        self.asked.append((message["kind"], message.get("ts_close")))
        if message["kind"] == "load":
            return {"history": 10}
        if message["kind"] == "explain":
            self.slow.wait(5)
            return {"summary": []}
        return {"ts_close": message["ts_close"], "weight": [0.5], "share": 0.2}

    def receive(self, limit_s, *, may_be_late=False):
        return {}


class Record:
    """Stored bars, until it breaks."""

    def __init__(self):
        self.trouble = None

    def history(self, symbols, interval, count):
        if self.trouble is not None:
            raise self.trouble
        return [(10 * HOUR, [[1.0]] * 6)]

    def funding(self, symbols, ts_close):
        self.history(symbols, "1h", 1)
        return [None]


@pytest.fixture
async def host(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "roles.json").write_text('{"champion": "one"}')
    record, told = Record(), []
    made = ModelHost(tmp_path, "nothing", ("A",), record.history, lambda: 10 * HOUR + 1,
                     lambda *said: told.append(said), limit_s=2.0, funding=record.funding)  # fmt: skip
    made._child, made.record, made.incidents = FakeTalk(), record, told
    yield made
    made._child.slow.set()
    made.close()
    made._thread.join(5)
    assert not made._thread.is_alive()


async def at_bar(host, hour):
    host.on_bar(Bar("A", "1h", (hour - 1) * HOUR, 1.0, 1.0, 1.0, 1.0, 1.0))
    return await host.said(hour * HOUR)


@pytest.mark.parametrize("trouble", [StorageError("No space left on device"), TimeoutError()])
async def test_a_record_that_cannot_be_read_is_told_once_and_models_come_back_with_it(host, trouble):
    host.start()
    assert isinstance(await at_bar(host, 11), Said)
    host.record.trouble = trouble
    for hour in range(12, 13 + MAX_FAILURES):  # however often: the models are not at fault
        said = await at_bar(host, hour)
        assert said.startswith("The models say nothing, because the record cannot be read: ")
    host.record.trouble = None
    assert isinstance(await at_bar(host, 20), Said)
    assert [row[:2] for row in host.incidents] == [("warning", "models")]
    assert "Decisions go on as the plain rule." in host.incidents[0][2]


async def test_a_fault_of_ours_stops_one_answer_and_not_the_thread(host):
    assert host.trouble.startswith("The models wait for the hourly candles")  # and not: none was trained
    host.start()
    host.record.trouble = KeyError("close")
    said = await at_bar(host, 11)
    assert said == "The models say nothing: KeyError: 'close'."
    assert len(host.incidents) == 1
    host.record.trouble = None
    assert isinstance(await at_bar(host, 12), Said)


async def test_an_explanation_without_a_record_is_refused_and_costs_no_answer(host):
    host.start()
    await at_bar(host, 11)
    host.latest = host.newest
    host.record.trouble = StorageError("No space left on device")
    with pytest.raises(CommandRefused, match="No space left on device"):
        await host.explain("A", "linear", 24, KNOWN)
    host.record.trouble = None
    assert host.trouble is None
    assert host._child.is_open
    assert isinstance(await at_bar(host, 12), Said)


async def test_a_bar_is_shown_before_questions_that_were_asked_earlier(host):
    host.start()
    await at_bar(host, 11)
    host.latest = host.newest
    host._child.slow.clear()
    asked = [asyncio.create_task(host.explain("A", "linear", 24, KNOWN)) for _ in range(3)]
    while ("explain", None) not in host._child.asked:
        await asyncio.sleep(0.002)
    host._child.asked.clear()
    bar = asyncio.create_task(at_bar(host, 12))
    await asyncio.sleep(0.01)
    host._child.slow.set()
    assert isinstance(await bar, Said)
    await asyncio.gather(*asked)
    assert [kind for kind, _ in host._child.asked] == ["bar", "explain", "explain"]


async def test_reasons_wait_behind_bars_and_questions_read_no_history_and_are_not_begun_too_late(host):
    host.start()
    await at_bar(host, 11)
    host.latest = host.newest
    host._child.slow.clear()
    asked = [asyncio.create_task(host.explain("A", "linear", 24, KNOWN)) for _ in range(2)]
    while ("explain", None) not in host._child.asked:
        await asyncio.sleep(0.002)
    host._child.asked.clear()
    host.record.trouble, kept = None, asyncio.create_task(host.reasons("A", 11 * HOUR, KNOWN, 1e18))
    late = asyncio.create_task(host.reasons("A", 11 * HOUR, KNOWN, 0.0))
    await asyncio.sleep(0.01)
    host._child.slow.set()
    await asyncio.gather(*asked)
    assert (await kept)["share"] == 0.2
    assert (await late)["error"] == "the models were busy until the next bar"
    assert [kind for kind, _ in host._child.asked] == ["explain", "reasons"]


async def test_nobody_explains_while_a_bar_is_about_to_close(host, monkeypatch):
    host.start()
    await at_bar(host, 11)
    host.latest, host._now = host.newest, lambda: 12 * HOUR - 10**10
    with pytest.raises(CommandRefused, match="closes in 10 s, which comes first"):
        await host.explain("A", "linear", 24, KNOWN)
    host._now = lambda: 11 * HOUR
    host._child.slow.clear()
    monkeypatch.setattr(model_host, "EXPLAIN_LIMIT_S", 0.02)
    with pytest.raises(CommandRefused, match=r"no time to explain within 0\.02 s"):
        await host.explain("A", "linear", 24, KNOWN)


def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one():
    ours, theirs = Pipe()
    talk = Talk("nothing", "the models")
    talk._connection = ours
    with pytest.raises(DataError, match=r"gave no answer within 0\.01 s$"):
        talk.exchange({"kind": "explain"}, 0.01, may_be_late=True)
    assert talk.is_open
    for answer in ({"of": "explain"}, {"of": "bar"}):
        theirs.send_bytes(orjson.dumps(answer))
    assert talk.exchange({"kind": "bar"}, 1.0) == {"of": "bar"}
    with pytest.raises(DataError, match="their process was ended"):
        talk.exchange({"kind": "bar"}, 0.01)
    assert not talk.is_open
    theirs.close()
