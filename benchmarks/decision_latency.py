"""From bar close received to order requests handed to the socket, 50 symbols, without models. Prints JSON.

    python benchmarks/decision_latency.py [--symbols 50] [--decisions 200]

The real loop with a real database: closed bars go in, the decision is computed and made durable, intents are made
durable, requests are built and signed by the real adapter. Only the network is missing: what ccxt would write to the
socket is answered on the spot, filled at its limit. Two cases:

* ``usual``: the default settings; a decision trades the few symbols whose target has moved enough.
* ``all_symbols``: no rebalance band, so nearly every symbol trades at every bar. The adapter spaces requests as the
  venue's order limits demand, so the time to the last request is mostly that spacing (see ``spacing_floor_ms``).

Bounds in the same run: the compiled ``step`` alone, one ``fdatasync``, one durable row, the throttle's wait before a
lone order, one signature.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
import urllib.parse
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from measuring import fresh_home, options, report, spread

from engine.core.step import compile_kernels, step, warm_up
from engine.domain import (
    INTERVAL_S,
    NS_PER_S,
    AccountView,
    BalanceReport,
    Bar,
    BookTop,
    Fill,
    Instrument,
    MarketSlice,
    MarkPrice,
    Mode,
    StreamState,
)
from engine.runtime.decider import Decider
from engine.runtime.loop import Loop
from engine.runtime.reconcile import Reconciliation
from engine.runtime.session import open_session
from engine.settings import SystemConfig
from engine.venues.aster import AsterVenue
from engine.venues.aster_client import client_config
from storage.database import Database

INTERVAL = "1m"
SPAN_NS = INTERVAL_S[INTERVAL] * NS_PER_S
TARGET_P99_MS = 10.0
PRIVATE_KEY = "0x" + "11" * 32  # signs for nobody: nothing leaves this process
CASH = {"usual": 10_000.0, "all_symbols": 10_000_000.0}
IDLE_TIMEOUT_S = 30.0


class Socket:
    """Stands where ccxt writes to the network: notes when a request got there, and fills the order at its limit."""

    def __init__(self, venue: AsterVenue) -> None:
        self.handed: list[float] = []
        self.fills: asyncio.Queue[Fill] = asyncio.Queue()
        self._n_orders = 0
        venue._trading.fetch = self.fetch

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """Take one signed request."""
        self.handed.append(time.perf_counter())
        asked = dict(urllib.parse.parse_qsl(body or urllib.parse.urlsplit(url).query))
        if method != "POST" or "newClientOrderId" not in asked:
            return []
        self._n_orders += 1
        now_ms = time.time_ns() // 1_000_000
        sign = 1 if asked["side"] == "BUY" else -1
        px, qty = float(asked["price"]), float(asked["quantity"])
        self.fills.put_nowait(
            Fill(
                asked["symbol"], str(self._n_orders), asked["newClientOrderId"], str(self._n_orders), sign * qty, px,
                0.0, 0.0, True, now_ms * 1_000_000, time.time_ns(),
            )
        )  # fmt: skip
        return {
            "symbol": asked["symbol"], "clientOrderId": asked["newClientOrderId"], "orderId": self._n_orders,
            "status": "FILLED", "side": asked["side"], "type": asked["type"], "timeInForce": asked["timeInForce"],
            "origQty": asked["quantity"], "executedQty": asked["quantity"], "avgPrice": asked["price"],
            "price": asked["price"], "updateTime": now_ms,
        }  # fmt: skip


class Bench:
    """One loop on one data folder, fed by hand."""

    def __init__(self, home: Path, n_symbols: int, case: str) -> None:
        symbols = tuple(f"S{index:02d}USDT" for index in range(n_symbols))
        changes = {"rebalance_band": 0.0} if case == "all_symbols" else {}
        self.config = SystemConfig(symbols=symbols, decision_interval=INTERVAL, use_protective_stops=False, **changes)
        self.store = Database(home / f"{case}.duckdb")
        self.venue = AsterVenue(client_config(private_key=PRIVATE_KEY, base_url="http://x", ws_url="ws://x"))
        session = open_session(self.store, Mode.PAPER, "simulated", 1.0, "bench", time.time_ns())
        self.loop = Loop(session, self.config, self.venue, self.store)
        self.instruments = {s: instrument(s) for s in symbols}
        self.venue._instruments = self.loop.executor.instruments = self.instruments
        self.rng = np.random.default_rng(7)
        self.px = 100.0 * np.exp(self.rng.normal(0.0, 0.5, n_symbols))
        self.ts_open = time.time_ns() // SPAN_NS * SPAN_NS
        self.socket = Socket(self.venue)
        self.cash = CASH[case]
        self.durable = 0.0  # when the newest decision was on disk
        self.intent_durable = 0.0  # when the first intent after it was
        self._append_ahead = self.store.append_ahead
        self.store.append_ahead = self._note_durable

    def _note_durable(self, table: str, rows: Any) -> Future[None]:
        done = self._append_ahead(table, rows)
        if table == "decisions":
            done.add_done_callback(self._is_durable)
        elif table == "orders" and not self.intent_durable:
            done.add_done_callback(self._intent_is_durable)
        return done

    def _is_durable(self, done: Future[None]) -> None:
        self.durable = time.perf_counter()  # in the writer's thread, so that looking costs the loop nothing

    def _intent_is_durable(self, done: Future[None]) -> None:
        self.intent_durable = self.intent_durable or time.perf_counter()

    async def open(self) -> None:
        """Warm the sleeves up with a past, fund the account, start trading."""
        loop, now = self.loop, time.time_ns()
        decider = Decider(self.config, self.instruments)
        n_bars = decider.warm_up_bars
        moves = self.rng.normal(0.0, 0.0008, (n_bars, len(self.px)))
        closes = self.px * np.exp(np.cumsum(moves, axis=0))
        self.px = closes[-1]
        decider.state = warm_up(decider.state, closes, decider.params)
        decider.ts_open_newest = self.ts_open
        loop.decider, loop.phase = decider, "trading"
        loop.account.apply_balance(BalanceReport(self.cash, self.cash, 0.0, now))
        loop.streams = {name: StreamState(name, True, "connected", now) for name in ("market", "account")}
        loop.reconciler.last = Reconciliation(now, True, (), "books agree")

    async def decide_once(self) -> dict[str, Any]:
        """Feed one bar of every symbol and return how long each stage took, ms from the last bar."""
        self.px = self.px * np.exp(self.rng.normal(0.0, 0.0008, len(self.px)))
        self.ts_open += SPAN_NS
        now = time.time_ns()
        for symbol, px in zip(self.config.symbols, self.px, strict=True):
            tick = self.instruments[symbol].tick_size
            bid = round(px / tick) * tick
            self.loop.on_market(BookTop(symbol, now, now, bid, 1e6, bid + tick, 1e6))
            self.loop.on_market(MarkPrice(symbol, now, now, px, px, 0.0, 0))
        bars = [
            Bar(s, INTERVAL, self.ts_open, px, px, px, px, 1e6, True, now)
            for s, px in zip(self.config.symbols, self.px.tolist(), strict=True)
        ]
        seen, self.durable, self.intent_durable = len(self.socket.handed), 0.0, 0.0
        first_bar = time.perf_counter()
        for bar in bars[:-1]:
            self.loop.on_market(bar)
        last_bar = time.perf_counter()
        self.loop.on_market(bars[-1])
        await self._until_idle()
        handed = self.socket.handed[seen:]
        return {
            "bars_taken": 1e3 * (last_bar - first_bar),
            "decision_durable": 1e3 * (self.durable - last_bar),
            "first_intent_durable": 1e3 * (self.intent_durable - last_bar) if self.intent_durable else math.nan,
            "first_request": 1e3 * (handed[0] - last_bar) if handed else math.nan,
            "last_request": 1e3 * (handed[-1] - last_bar) if handed else math.nan,
            "n_requests": len(handed),
        }

    async def _until_idle(self) -> None:
        """Deliver fills until no order works, as the account's stream would, then let the spacing run out."""
        executor, deadline = self.loop.executor, time.monotonic() + IDLE_TIMEOUT_S
        while not self.durable or executor.open_orders() or executor._tasks or not self.socket.fills.empty():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(executor.open_orders())} orders still work after {IDLE_TIMEOUT_S:.0f} s")
            while not self.socket.fills.empty():
                await self.loop.on_account(self.socket.fills.get_nowait())
            await asyncio.sleep(0.001)
        await asyncio.sleep(2 * self.venue._trading.rateLimit / 1e3)

    async def close(self) -> None:
        """End everything."""
        await self.loop.executor.close()
        await self.venue.close()
        self.store.close()


def instrument(symbol: str) -> Instrument:
    """Return a contract with round filters."""
    return Instrument(symbol, symbol[:3], "USDT", 0.01, 0.001, 0.001, 1e7, 1e6, 5.0, 0.1, 20.0, 0.0, 0.0004)


async def run_case(home: Path, n_symbols: int, n_decisions: int, case: str) -> dict[str, Any]:
    """Return the spread of each stage of one case."""
    bench = Bench(home, n_symbols, case)
    await bench.open()
    for _ in range(5):
        await bench.decide_once()  # builds the first positions and touches every code path once
    rows = [await bench.decide_once() for _ in range(n_decisions)]
    await bench.close()
    n_requests = [row["n_requests"] for row in rows]
    spacing_ms = bench.venue._trading.rateLimit
    result = {
        name: spread([row[name] for row in rows if math.isfinite(row[name])])
        for name in ("bars_taken", "decision_durable", "first_intent_durable", "first_request", "last_request")
    }
    return result | {
        "requests_per_decision": spread(n_requests, 1),
        "spacing_floor_ms": round(spacing_ms * max(float(np.median(n_requests)) - 1.0, 0.0), 1),
    }


def step_ms(n_symbols: int, repeats: int = 500) -> dict[str, Any]:
    """Return the time of the compiled decision function alone."""
    config = SystemConfig(symbols=tuple(f"S{index:02d}USDT" for index in range(n_symbols)))
    decider = Decider(config, {s: instrument(s) for s in config.symbols})
    zeros, px = np.zeros(n_symbols), np.full(n_symbols, 100.0)
    market = MarketSlice(NS_PER_S, px, px, px, px, zeros, zeros)
    view, external = AccountView(10_000.0, zeros, zeros, zeros, px, 0), np.full(n_symbols, np.nan)
    elapsed = []
    for _ in range(repeats):
        began = time.perf_counter()
        step(decider.state, market, view, decider.table, external, decider.params)
        elapsed.append(1e3 * (time.perf_counter() - began))
    return spread(elapsed)


def fdatasync_ms(home: Path, repeats: int = 200) -> dict[str, Any]:
    """Return the time of appending 4 KiB to a file of the same folder and waiting until it is on disk."""
    elapsed, block = [], b"x" * 4096
    descriptor = os.open(home / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for _ in range(repeats):
            began = time.perf_counter()
            os.write(descriptor, block)
            os.fdatasync(descriptor)
            elapsed.append(1e3 * (time.perf_counter() - began))
    finally:
        os.close(descriptor)
    return spread(elapsed)


def durable_row_ms(home: Path, repeats: int = 200) -> dict[str, Any]:
    """Return the time from queueing one row to its being on disk, with nothing else going on."""
    store, elapsed = Database(home / "floor.duckdb"), []
    for index in range(repeats):
        began = time.perf_counter()
        store.append_ahead("metrics", [{"ts": index, "name": "floor", "value": 1.0, "labels": ""}]).result(10)
        elapsed.append(1e3 * (time.perf_counter() - began))
    store.close()
    return spread(elapsed)


async def spacing_ms(repeats: int = 10) -> dict[str, Any]:
    """Return how long the adapter's throttle holds one order back when none was sent for a while."""
    venue, elapsed = AsterVenue(client_config(private_key=PRIVATE_KEY, base_url="http://x", ws_url="ws://x")), []
    for _ in range(repeats):
        await asyncio.sleep(0.1)
        began = time.perf_counter()
        await venue._trading.throttle(1)
        elapsed.append(1e3 * (time.perf_counter() - began))
    await venue.close()
    return spread(elapsed)


async def signature_ms(repeats: int = 200) -> dict[str, Any]:
    """Return the time of signing one order request."""
    venue = AsterVenue(client_config(private_key=PRIVATE_KEY, base_url="http://x", ws_url="ws://x"))
    request = {"symbol": "S00USDT", "side": "BUY", "type": "LIMIT", "quantity": "1.000", "price": "100.00"}
    elapsed = []
    for index in range(repeats):
        began = time.perf_counter()
        venue._trading.sign("v3/order", ["fapiPrivate"], "POST", request | {"newClientOrderId": f"as-{index}"})
        elapsed.append(1e3 * (time.perf_counter() - began))
    await venue.close()
    return spread(elapsed)


def main() -> None:
    chosen = options(
        __doc__,
        ("--symbols", {"type": int, "default": 50}),
        ("--decisions", {"type": int, "default": 200, "help": "in the usual case; a tenth of it with all symbols"}),
    )
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    compile_kernels()
    with fresh_home() as home:
        usual = asyncio.run(run_case(home, chosen.symbols, chosen.decisions, "usual"))
        everything = asyncio.run(run_case(home, chosen.symbols, max(chosen.decisions // 10, 2), "all_symbols"))
        bounds = {
            "step_ms": step_ms(chosen.symbols),
            "fdatasync_4k_ms": fdatasync_ms(home),
            "durable_row_ms": durable_row_ms(home),
            "throttle_of_a_lone_order_ms": asyncio.run(spacing_ms()),
            "signature_ms": asyncio.run(signature_ms()),
        }
    p99 = usual["first_request"]["p99"]
    report(
        {
            "benchmark": "decision_latency",
            "symbols": chosen.symbols,
            "unit": "ms after the last bar of the close was received",
            "usual": usual,
            "all_symbols": everything,
            "bounds": bounds,
            "target": {"usual_first_request_p99_ms": TARGET_P99_MS},
            "reached": p99 is not None and p99 < TARGET_P99_MS,
        },
        chosen.json,
    )


if __name__ == "__main__":
    main()
