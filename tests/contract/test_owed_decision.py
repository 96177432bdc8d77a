"""A decision that could not be recorded is not acted on, and is made again once the record can be written."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest
from engine_rig import BTC, MID, practice_exchange, rig_on

from engine.core.step import compile_kernels
from engine.domain import INTERVAL_S, NS_PER_S, Bar
from engine.runtime.decider import Decider
from engine.runtime.loop import REMEMBER_AFTER_S
from storage.database import StorageError

ETH = "ETHUSDT"
MINUTE = INTERVAL_S["1m"] * NS_PER_S
SETTINGS = {"trend_horizons_hours": (0.5, 1.0), "volatility_horizon_hours": 0.5}


@pytest.fixture(autouse=True, scope="module")
def compiled():
    """Compile before the streams run: they would be taken for dead meanwhile."""
    compile_kernels()


def closed_bar(ts_open, px, symbol=BTC):
    return Bar(symbol, "1m", ts_open, px, px, px, px, 1.0)


def full_disk(table, rows):
    future = Future()
    future.set_exception(StorageError("no space left on device"))
    return future


async def with_history(rig):
    """Give the engine a strategy that has seen a rising market, and return when the next bar opens."""
    loop = rig.loop
    loop.decider = Decider(loop.config, rig.executor.instruments)
    now = rig.loop.clock.now() // MINUTE * MINUTE - MINUTE
    bars = [closed_bar(now - (120 - n) * MINUTE, MID * (0.9 + 0.1 * n / 120 + 0.002 * (n % 2))) for n in range(120)]
    loop.decider.warm_up({BTC: bars})
    for symbol in (BTC, ETH):
        loop.market.on_bar(closed_bar(now, MID, symbol))
    return now


async def test_a_decision_that_the_disk_had_no_room_for_is_made_when_it_has(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, **SETTINGS) as rig:
        ts_open = await with_history(rig)
        loop, writes = rig.loop, rig.store.append_ahead
        n_bars = loop.decider.state.n_bars.copy()
        rig.store.append_ahead = full_disk
        await loop.decide(ts_open)
        assert loop.storage_trouble == "no space left on device"
        assert not rig.worker.targets
        assert (loop.decider.state.n_bars == n_bars).all()

        rig.store.append_ahead, loop.storage_trouble = writes, None
        await loop.decide_owed()
        assert loop.decider.state.n_bars.tolist() == (n_bars + 1).tolist()
        assert BTC in rig.worker.targets
        await loop.decide_owed()
        rig.store.flush()
        await asyncio.sleep(REMEMBER_AFTER_S)
        rows = rig.store.rows("SELECT ts_close, n_orders FROM decisions")
        assert rows == [{"ts_close": ts_open + MINUTE, "n_orders": 1}]


async def test_nothing_is_owed_once_a_newer_bar_was_decided_on(tmp_path):
    async with practice_exchange() as server, rig_on(server, tmp_path, **SETTINGS) as rig:
        ts_open = await with_history(rig)
        loop, writes = rig.loop, rig.store.append_ahead
        rig.store.append_ahead = full_disk
        await loop.decide(ts_open)
        rig.store.append_ahead = writes
        loop.market.on_bar(closed_bar(ts_open + MINUTE, MID))
        await loop.decide(ts_open + MINUTE)
        await loop.decide_owed()
        rig.store.flush()
        assert [row["ts_close"] for row in rig.store.rows("SELECT ts_close FROM decisions")] == [ts_open + 2 * MINUTE]
