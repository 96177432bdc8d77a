"""What a person may ask of parent orders, over the engine's own actions, and what it is told of their cost."""

import json
import math
from types import SimpleNamespace

import pytest
from engine_rig import BTC, MID, books, practice_exchange, rig_on
from waiting import eventually

from engine.domain import Bar
from engine.errors import CommandRefused
from engine.execution.parents import Algorithm
from engine.execution.preview import DIRECT
from engine.execution.ticket import TicketContext
from engine.research.own_costs import file_name
from engine.runtime.parent_desk import ParentDesk

WANTED = {"symbol": BTC, "side": "buy", "size": {"unit": "base", "value": 0.1}, "algorithm": "twap"}


def desk_of(rig):
    loop = rig.loop
    capital = SimpleNamespace(limited=lambda config: config)
    engine = SimpleNamespace(loop=loop, store=rig.store, instruments=rig.executor.instruments, capital=capital)

    def context(symbol):
        position = loop.account.position(symbol)
        return TicketContext(
            rig.executor.instruments[symbol], loop.market.tops[symbol], MID, position.qty, position.entry_px, 100_000.0,
            abs(position.qty) * MID, 0.0, loop.trading_state(), 0.0, 100_000.0, 0.0, 0.0,
        )  # fmt: skip

    return ParentDesk(engine, context)


def remember_an_hour(rig):
    """Sixty minute candles that end now, 2 BTC each, one tick up and down."""
    end = rig.server.venue.market_ms // 60_000 * 60_000 * 1_000_000
    rows = [Bar(BTC, "1m", end - (60 - i) * 60 * 10**9, MID, MID, MID, MID + i % 2, 2.0) for i in range(60)]
    rig.loop.journal.bars(rows)
    rig.store.flush()


async def test_preview_prices_every_way_and_start_works_one(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True) as rig:
        desk = desk_of(rig)
        remember_an_hour(rig)
        preview = await desk.questions["parents.preview"](WANTED | {"minutes": 1.0})
        ways = {row["algorithm"]: row for row in preview["choices"]}
        assert set(ways) == {DIRECT, *Algorithm}
        # 0.1 BTC at a tick above the mid, and four basis points to the venue
        assert ways[DIRECT]["cost_bps"] == pytest.approx(0.1 / MID * 1e4 + 4.0)
        assert ways[DIRECT]["cost"] == pytest.approx(0.1 * 0.1 + 0.1 * MID * 0.0004)
        assert ways["twap"]["cost_bps"] is None  # nobody has traded yet: impact is unknown, and said to be
        row = await desk.orders["parents.start"](WANTED | {"minutes": 0.01, "passive": False, "actor": "test"})
        assert (row["qty"], row["status"], row["due_qty"] <= 0.1) == (0.1, "WORKING", True)
        await eventually(lambda: not rig.worker.parents.active(), what="its end")
        await eventually(lambda: (tmp_path / file_name("simulated")).exists(), what="the fitted model")
        (ended,) = (await desk.questions["parents"]({}))["ended"]
        quality = ended["quality"]
        assert quality["parts"]["spread"] == pytest.approx(0.1 * 0.1)  # 0.1 BTC, a tick from the mid
        assert quality["parts"]["fees"] == pytest.approx(0.1 * (MID + 0.1) * 0.0004)
        assert quality["total"] == math.fsum(quality["parts"].values())
        assert quality["against"]["arrival_bps"] == pytest.approx(0.1 / MID * 1e4)
        costs = await desk.questions["execution.costs"]({})
        assert costs["version"]["n_fills"] == len(costs["children"]) == costs["model"]["impact"]["n"] >= 1
        assert costs["version"]["market"] == "simulated"
        assert costs["assumed"]["half_spread"]["value"] == 1e-4
        assert costs["children"][0]["paid_bps"] == pytest.approx(0.1 / MID * 1e4)
        assert json.loads(json.dumps(costs, allow_nan=False)) == costs


async def test_commands_pause_change_and_cancel_and_refuse_with_sentences(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, ticking=True) as rig:
        desk = desk_of(rig)
        started = await desk.orders["parents.start"](WANTED | {"algorithm": "iceberg", "minutes": 5.0})
        number = {"parent_id": started["parent_id"]}
        await eventually(lambda: books(server)["open_orders"])
        paused = await desk.orders["parents.pause"](number | {"reason": "lunch"})
        assert (paused["status"], paused["reason"]) == ("PAUSED", "lunch")
        await eventually(lambda: not books(server)["open_orders"])
        changed = await desk.orders["parents.replace"](number | {"qty": 0.0608, "limit_px": MID - 5})
        assert (changed["qty"], changed["limit_px"]) == (pytest.approx(0.06), MID - 5)
        assert (await desk.orders["parents.resume"](number))["status"] == "WORKING"
        await desk.orders["parents.cancel"](number)
        await eventually(lambda: not rig.worker.parents.active())
        for name, body, sentence in (
            ("parents.start", WANTED | {"size": {"unit": "base", "value": 9.0}}, "Order less"),
            ("parents.start", WANTED | {"hidden": True}, "hidden is for an iceberg"),
            ("parents.start", WANTED | {"algorithm": "guess"}, "algorithm"),
            ("parents.pause", {"parent_id": 5}, "no parent order 5 at work"),
            ("parents.pause", {"parent_id": "x"}, "'x' is not the number"),
            ("parents.replace", number, "is to change"),
        ):
            with pytest.raises(CommandRefused, match=sentence):
                await desk.orders[name](dict(body))
