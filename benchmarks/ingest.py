"""50,000 ticks a second into the database while ten screens read over Flight. Prints JSON.

    python benchmarks/ingest.py [--rate 52000] [--seconds 15] [--readers 10]

The engine's own loop, journal, database and Flight server, in one process as in trading; market trades are handed to
the loop in slices of 10 ms. A second process holds the readers: each asks for the status and for 10,000 rows of fills,
one to four times a second. A lost row is a tick that was handed in and is not in the table after the last flush.
Bound: the same ticks, already columns, inserted by DuckDB in one statement, and the same reads on the idle engine.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import structlog
from measuring import EngineDoor, fresh_home, options, report, spread

from engine.domain import BalanceReport, MarketTrade, Mode
from engine.runtime.commands import Commands
from engine.runtime.engine import Engine
from engine.runtime.jobs import Jobs
from engine.runtime.queries import Queries
from engine.runtime.server import FlightServer
from engine.runtime.session import open_session
from engine.settings import SystemConfig
from engine.venues.aster import AsterVenue
from engine.venues.aster_client import client_config
from storage.database import Database

SLICE_S = 0.01
FLUSH_EVERY_S = 0.5  # as the engine's job write-ticks
ROWS_PER_READ = 10_000
STORED_FILLS = 20_000
IDLE_READ_S = 2.0
TARGET = {"ticks_per_s": 50_000, "rows_lost": 0, "read_p95_ms": 50.0}


# the readers: a process of their own ----------------------------------------------------------------------------


def read_for(home: Path, n_readers: int, seconds: float) -> None:
    """Read with ``n_readers`` threads and print what each kind of read took, ms."""
    took: dict[str, list[float]] = {"status": [], "rows": []}
    errors: list[str] = []
    until = time.monotonic() + seconds

    def session(index: int) -> None:
        door, period = EngineDoor(home), 1.0 / (1.0 + 3.0 * index / max(n_readers - 1, 1))
        time.sleep(period * index / n_readers)
        while time.monotonic() < until:
            began = time.perf_counter()
            try:
                door.ask("status")
                asked = time.perf_counter()
                table = door.read(table="fills", limit=ROWS_PER_READ)
            except pa.ArrowException as error:
                errors.append(str(error)[:200])
                continue
            took["status"].append(1e3 * (asked - began))
            took["rows"].append(1e3 * (time.perf_counter() - asked))
            if table.num_rows != ROWS_PER_READ:
                errors.append(f"{table.num_rows} rows instead of {ROWS_PER_READ}")
            time.sleep(max(period - (time.perf_counter() - began), 0.0))

    threads = [threading.Thread(target=session, args=(index,)) for index in range(n_readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"took": took, "errors": errors}))


async def readings(home: Path, n_readers: int, seconds: float) -> dict[str, Any]:
    """Run the readers' process and return what it measured."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--be-reader", str(home), "--readers", str(n_readers), "--seconds", str(seconds),
        stdout=subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    return dict(json.loads(said))


# the engine ------------------------------------------------------------------------------------------------------


def build_engine(home: Path) -> Engine:
    """Return an engine that serves and records, but is connected to no venue."""
    store = Database(home / "paper.duckdb")
    venue = AsterVenue(client_config(private_key="0x" + "11" * 32, base_url="http://x", ws_url="ws://x"))
    session = open_session(store, Mode.PAPER, "simulated", 1.0, "bench", time.time_ns())
    engine = Engine(session, SystemConfig(), venue, store, new_market=False)
    engine.loop.account.apply_balance(BalanceReport(10_000.0, 10_000.0, 0.0, time.time_ns()))
    return engine


def store_fills(store: Database) -> None:
    """Fill the table that the readers read."""
    now = time.time_ns()
    store.append("fills", [{
        "account": "bench", "symbol": "BTCUSDT", "trade_id": str(index), "client_id": f"asbench-{index}",
        "venue_order_id": str(index),
        "decision_id": index, "qty": 0.001, "px": 60_000.0 + index, "fee": 0.0, "pnl_realized": 0.0, "is_maker": True,
        "decision_px": 60_000.0, "arrival_px": 60_000.0, "ts_filled": now + index, "ts_received": now + index,
    } for index in range(STORED_FILLS)])  # fmt: skip
    store.flush()


async def feed(engine: Engine, rate: int, seconds: float) -> dict[str, Any]:
    """Hand ``rate`` trades a second to the loop; return how many, how fast, and how far the feeder fell behind."""
    loop, journal = engine.loop, engine.loop.journal
    symbols = itertools.cycle(SystemConfig().symbols)
    began, sent, late, flush_at = time.perf_counter(), 0, [], FLUSH_EVERY_S
    while (elapsed := time.perf_counter() - began) < seconds:
        due = int(elapsed * rate) - sent
        now = time.time_ns()
        for _ in range(due):
            loop.on_market(MarketTrade(next(symbols), now, now, 60_000.0, 0.001, 1))
        sent += due
        late.append(1e3 * max(due / rate - SLICE_S, 0.0))
        if elapsed >= flush_at:
            journal.flush()
            flush_at += FLUSH_EVERY_S
        await asyncio.sleep(SLICE_S)
    handed_s = time.perf_counter() - began
    journal.flush()
    await asyncio.to_thread(engine.store.flush)
    return {
        "ticks": sent,
        "ticks_per_s": round(sent / handed_s),
        "ticks_per_s_until_on_disk": round(sent / (time.perf_counter() - began)),
        "feeder_behind_ms": spread(late, 1),
    }


async def measure(home: Path, rate: int, seconds: float, n_readers: int) -> dict[str, Any]:
    """Serve, feed and read at once; return the figures."""
    engine = build_engine(home)
    store_fills(engine.store)
    jobs = Jobs(engine.store, home / "runs")
    event_loop, token = asyncio.get_running_loop(), "bench"
    server = FlightServer(Commands(engine, jobs), Queries(engine.loop), engine.loop.broadcaster, event_loop, token)
    card = {"flight_url": f"grpc://127.0.0.1:{server.port}", "token": token, "pid": 0}
    (home / "engine.json").write_text(json.dumps(card))
    idle = await readings(home, n_readers, IDLE_READ_S)
    reading = asyncio.create_task(readings(home, n_readers, seconds + 1.0))
    await asyncio.sleep(1.0)  # the readers' process starts
    fed = await feed(engine, rate, seconds)
    loaded = await reading
    stored = engine.store.rows("SELECT count(*) AS n FROM ticks")[0]["n"]
    await asyncio.to_thread(server.shutdown)
    await engine.venue.close()
    engine.store.close()
    rows = spread(loaded["took"]["rows"], 1)
    lost = fed["ticks"] - stored
    enough = fed["ticks_per_s_until_on_disk"] >= min(TARGET["ticks_per_s"], 0.96 * rate)
    return {
        "benchmark": "ingest",
        "seconds": seconds,
        "readers": n_readers,
        "rate_asked": rate,
        **fed,
        "rows_lost": lost,
        "read_10k_rows_ms": rows,
        "read_status_ms": spread(loaded["took"]["status"], 1),
        "read_errors": loaded["errors"][:5],
        "bound_read_10k_rows_idle_ms": spread(idle["took"]["rows"], 1),
        "target": TARGET,
        "reached": enough and lost == 0 and not loaded["errors"] and rows["p95"] < TARGET["read_p95_ms"],
    }


def bare_insert_per_s(home: Path, n_rows: int = 500_000) -> int:
    """Return the rows a second that DuckDB takes from an Arrow table in one statement, on disk."""
    ts = np.arange(n_rows)
    rows = pa.table({
        "symbol": pa.array(["BTCUSDT"] * n_rows), "ts_exchange": ts, "ts_received": ts, "px": ts * 1.0,
        "qty": ts * 1.0, "side": np.ones(n_rows, dtype=np.int32),
    })  # fmt: skip
    with duckdb.connect(str(home / "bare.duckdb"), config={"threads": "2"}) as connection:
        connection.execute("CREATE TABLE ticks AS SELECT * FROM rows LIMIT 0")
        began = time.perf_counter()
        connection.execute("INSERT INTO ticks SELECT * FROM rows")
        elapsed = time.perf_counter() - began
    return round(rows.num_rows / elapsed)


def main() -> None:
    chosen = options(
        __doc__,
        ("--rate", {"type": int, "default": 52_000, "help": "ticks a second; a little above the target"}),
        ("--seconds", {"type": float, "default": 15.0}),
        ("--readers", {"type": int, "default": 10}),
        ("--be-reader", {"type": Path, "help": "used by the benchmark itself"}),
    )
    if chosen.be_reader is not None:
        read_for(chosen.be_reader, chosen.readers, chosen.seconds)
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with fresh_home() as home:
        result = asyncio.run(measure(home, chosen.rate, chosen.seconds, chosen.readers))
        result["bound_bare_insert_rows_per_s"] = bare_insert_per_s(home)
    report(result, chosen.json)


if __name__ == "__main__":
    main()
