"""The engine's loop on a practice exchange in the same process: real orders and sockets, a market that stands still."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from scripted_market import TAKER, ScriptedMarket
from waiting import eventually

from engine.domain import Fill, Mode, OrderSpec, OrderUpdate, Purpose
from engine.execution.planner import Target
from engine.runtime.loop import Loop
from engine.runtime.session import open_session
from engine.settings import SystemConfig
from engine.venues.aster import AsterVenue
from engine.venues.aster_client import client_config
from engine.venues.sandbox.books import account_books
from engine.venues.sandbox.faults import parse_rule
from engine.venues.sandbox.options import SandboxOptions
from engine.venues.sandbox.server import SandboxServer
from storage.database import Database

BTC = "BTCUSDT"
MID, TICK = 50_000.0, 0.1
BEST_BID, BEST_ASK = MID - TICK, MID + TICK  # one BTC rests at each
NAN = float("nan")


@contextlib.asynccontextmanager
async def practice_exchange(lots_per_level: int = 1_000, **options: Any) -> AsyncIterator[SandboxServer]:
    """Run a practice exchange whose prices move only when a test moves them."""
    server = SandboxServer(SandboxOptions(**options), ScriptedMarket(lots_per_level=lots_per_level))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
    assert server.failure is None


def quick_to_close(venue: AsterVenue) -> AsterVenue:
    """Take away the quarter of a second for which ccxt sleeps after closing each of its connections."""
    venue._data.timeout_on_exit = venue._trading.timeout_on_exit = 10
    return venue


def fault(server: SandboxServer, action: str, **fields: Any) -> None:
    """Put one fault rule in force."""
    server.venue.faults.add([parse_rule({"action": action, **fields})], time.monotonic())


def books(server: SandboxServer) -> dict[str, Any]:
    """Return what the exchange itself holds about the test account."""
    return account_books(server.venue, server.address)


def position_at_venue(server: SandboxServer, symbol: str = BTC) -> float:
    """Return the exchange's own signed quantity of a symbol, base units."""
    return sum(float(row["positionAmt"]) for row in books(server)["positions"] if row["symbol"] == symbol)


def take(server: SandboxServer, side: int, lots: int, symbol: str = BTC) -> None:
    """Have somebody else trade at the market."""
    server.venue.exchange.quote(TAKER, symbol, side, None, lots, server.venue.market_ms)
    server.venue.pump(server.venue.market_ms)


def limit(side: int, qty: float, px: float, *, tif: str = "GTC", symbol: str = BTC, reduce_only: bool = False,
          purpose: Purpose = Purpose.TARGET) -> OrderSpec:  # fmt: skip
    """Return a limit order."""
    return OrderSpec(symbol, side, "LIMIT", qty, px, NAN, tif, reduce_only, False, purpose.value)


def crossing(side: int, qty: float, purpose: Purpose = Purpose.TARGET, *, reduce_only: bool = False) -> OrderSpec:
    """Return an order that takes at once."""
    return limit(side, qty, MID + side * 50.0, tif="IOC", reduce_only=reduce_only, purpose=purpose)


class Rig:
    """A ``Loop`` with its streams running and its worker ticking, as ``Engine`` would have it, without strategies."""

    def __init__(self, server: SandboxServer, store: Database, config: SystemConfig) -> None:
        self.server, self.store = server, store
        venue_config = client_config(private_key=server.private_key, base_url=server.base_url, ws_url=server.ws_url)
        self.faults: list[str] = []
        self.venue = quick_to_close(AsterVenue(venue_config, self.faults.append))
        session = open_session(store, Mode.PAPER, "simulated", 1.0, server.address, time.time_ns())
        self.loop = Loop(session, config, self.venue, store)
        self.executor, self.worker = self.loop.executor, self.loop.worker
        self.account, self.kill = self.loop.account, self.loop.kill
        self.reconciler = self.loop.reconciler
        self.fills: list[Fill] = []
        self.updates: list[OrderUpdate] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, *, ticking: bool = False) -> None:
        loop = self.loop
        self.executor.instruments = await self.venue.instruments()
        on_fill, on_order = self.executor.on_fill, self.executor.on_order

        def fill_seen(fill: Fill) -> bool:
            self.fills.append(fill)
            return on_fill(fill)

        def order_seen(update: OrderUpdate) -> None:
            self.updates.append(update)
            on_order(update)

        self.executor.on_fill, self.executor.on_order = fill_seen, order_seen
        self._tasks = [
            asyncio.create_task(loop.run_market(loop.config.symbols)), asyncio.create_task(loop.run_account()),
        ]  # fmt: skip
        await eventually(lambda: "account" in loop.streams and loop.streams["account"].up, what="account stream")
        await eventually(lambda: set(loop.config.symbols) <= set(loop.market.tops), what="prices")
        assert (await self.reconciler.run(first=True)).ok
        loop.phase = "trading"
        if ticking:
            self._tasks.append(asyncio.create_task(self._tick()))

    async def _tick(self) -> None:
        while True:
            self.worker.tick()
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.executor.close()
        await self.venue.close()
        failures = [e for e in outcomes if isinstance(e, Exception)]
        assert not failures, failures

    def aim(self, target_qty: float, *, symbol: str = BTC, decision_id: int = 1) -> None:
        """Set a target as a decision would."""
        self.worker.set_target(Target(symbol, target_qty, decision_id, MID, self.loop.clock.now()))

    def position(self, symbol: str = BTC) -> float:
        """Return the engine's own signed quantity, base units."""
        return self.account.position(symbol).qty

    def incidents(self) -> list[str]:
        """Return the sentences of the incidents on record."""
        self.store.flush()
        return [row["message"] for row in self.store.rows("SELECT message FROM incidents ORDER BY incident_id")]

    def stored_order(self, client_id: str) -> dict[str, Any]:
        """Return the row of an order."""
        self.store.flush()
        return self.store.rows("SELECT * FROM orders WHERE client_id = ?", [client_id])[0]

    def __repr__(self) -> str:
        return json.dumps([order.row() for order in self.executor.open_orders()], default=str)


@contextlib.asynccontextmanager
async def rig_on(server: SandboxServer, folder: Path, *, ticking: bool = False, **settings: Any) -> AsyncIterator[Rig]:
    """Run an engine's loop on an exchange with its own database in ``folder``."""
    plain = {"use_protective_stops": False, "execution_algorithm": "direct"}
    config = SystemConfig(symbols=("BTCUSDT", "ETHUSDT"), **{**plain, **settings})
    store = Database(folder / "paper.duckdb")
    try:
        rig = Rig(server, store, config)
        try:
            await rig.start(ticking=ticking)
            yield rig
        finally:
            await rig.stop()
    finally:
        store.close()
