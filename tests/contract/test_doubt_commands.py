"""What a person sees of an order in doubt and of the ledger, and what they can do about it."""

from types import SimpleNamespace

import pytest
from engine_rig import crossing, fault, limit, practice_exchange, rig_on
from waiting import eventually

from engine.domain import NS_PER_S, OrderStatus
from engine.errors import CommandRefused
from engine.runtime import doubts
from engine.runtime.commands import Commands

POST_ORDER = {"method": "POST", "path": "order"}


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(doubts, "LOOKUP_EVERY_S", 30.0)  # only a person asks


def commands_of(rig):
    engine = SimpleNamespace(loop=rig.loop, instruments=rig.executor.instruments, publish_status=lambda: None)
    commands = Commands.__new__(Commands)
    commands._engine, commands._loop = engine, rig.loop
    return commands


async def test_an_order_in_doubt_shows_since_when_and_when_the_venue_is_asked_next(tmp_path, patient):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        fault(server, "http_503_after", match=POST_ORDER, count=1)
        fault(server, "lose_ws", match={"stream": "user"})
        fault(server, "http_503_before", match={"method": "GET", "path": "order"}, count=1)
        began = rig.loop.clock.now()
        order = await rig.executor.place(limit(1, 0.1, 49_000.0))
        assert order.status == OrderStatus.UNKNOWN
        await eventually(lambda: rig.loop.screen.order_rows()[0]["next_lookup_ns"])
        (row,) = rig.loop.screen.order_rows()
        assert row["status"] == "UNKNOWN"
        assert began < row["unknown_since_ns"] < rig.loop.clock.now()
        assert 20 * NS_PER_S < row["next_lookup_ns"] - rig.loop.clock.now() <= 30 * NS_PER_S
        answer = await commands_of(rig)._order_lookup({"client_id": order.client_id})
        assert (answer["status"], answer["answer"]) == ("NEW", "The venue has it: NEW, 0 filled.")
        assert rig.loop.screen.order_rows()[0]["unknown_since_ns"] is None


async def test_asking_about_an_order_that_never_arrived_says_why_it_is_not_given_up_yet(tmp_path, patient):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        fault(server, "http_503_before", match=POST_ORDER, count=1)
        order = await rig.executor.place(crossing(1, 0.1))
        answer = await commands_of(rig)._order_lookup({"client_id": order.client_id})
        assert answer["status"] == "UNKNOWN"
        assert answer["answer"].startswith("The venue does not know it; that counts only")
        with pytest.raises(CommandRefused, match="no order nobody's"):
            await commands_of(rig)._order_lookup({"client_id": "nobody's"})


async def test_ledger_answers_with_every_line(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path) as rig:
        commands = commands_of(rig)
        opening = await commands._ledger({})
        assert (opening["unexplained"], [line["name"] for line in opening["lines"]][-1]) == (0.0, "cash")
        rig.reconciler.ledger.last = None  # as before the first comparison
        assert await commands._ledger({}) == {"lines": [], "unexplained": None, "as_of_ns": None}
        await rig.executor.place(crossing(1, 0.2))
        await eventually(lambda: rig.position() == pytest.approx(0.2))
        await rig.loop.reconcile()
        answer = await commands._ledger({})
        lines = {line["name"]: line for line in answer["lines"]}
        assert answer["unexplained"] == 0.0
        assert lines["quantity BTCUSDT"]["venue"] == 0.2
        assert lines["fees"]["ours"] == pytest.approx(0.2 * 50_000.1 * 0.0004)
        assert all(abs(line["difference"]) <= line["tolerance"] and line["ok"] for line in answer["lines"])
