"""The only knot: picks clock, venue and store for a mode, and wires one engine together."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from engine.controls.credentials import environment_credential
from engine.domain import Mode
from engine.errors import ConfigError, EngineRunning
from engine.runtime.arming import Armed, Place, account_name, venue_config
from engine.runtime.commands import Commands
from engine.runtime.data_desk import DataDesk
from engine.runtime.engine import Engine
from engine.runtime.jobs import Jobs
from engine.runtime.live_models import LiveModels
from engine.runtime.queries import Queries
from engine.runtime.sandbox_process import SandboxChoice, SandboxProcess, start_sandbox
from engine.runtime.server import FlightServer
from engine.runtime.session import Session, open_session
from engine.runtime.status import VERSION
from engine.settings import Environment, SystemConfig
from engine.venues.aster import AsterVenue
from engine.venues.aster_client import client_config
from models.book import ModelBook
from storage.database import Database

log = structlog.get_logger("compose")


@dataclass(frozen=True, slots=True)
class Venueplace:
    """Where orders go and for whom."""

    config: dict[str, Any] = field(repr=False)  # holds what signs
    account: str
    market_source: str
    speed: float
    is_new: bool


@contextlib.contextmanager
def folder_lock(home: Path) -> Iterator[None]:
    """Own the data folder for as long as the block lasts.

    Raises
    ------
    EngineRunning
        Another engine owns it. The lock belongs to the process, so a crash leaves none behind.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "engine.lock").open("a+") as lock_file:
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock_file.seek(0)
            owner = lock_file.read().strip() or "unknown"
            raise EngineRunning(
                f"An engine (process {owner}) already runs on the data folder {home}. Stop it first, or choose another "
                "folder with --data-dir."
            ) from None
        lock_file.truncate(0)
        lock_file.write(str(os.getpid()))
        lock_file.flush()
        yield


async def run_engine(mode: Mode, home: Path, choice: SandboxChoice, armed: Armed | None = None) -> None:
    """Run an engine until it is told to stop (SIGINT or SIGTERM). Armed from the screen, paper goes on as live.

    Raises
    ------
    ConfigError
        Live without ``armed``, which only the arming procedure gives.
    """
    if mode == Mode.LIVE and armed is None:
        raise ConfigError("Live trading starts with `python -m engine live`, which arms it first.")
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    permission = await _run_once(mode, home, choice, armed, stopping)
    if permission is not None and not stopping.is_set():
        log.warning("going on in live mode")
        await _run_once(Mode.LIVE, home, choice, permission, stopping)


async def _run_once(
    mode: Mode, home: Path, choice: SandboxChoice, armed: Armed | None, stopping: asyncio.Event
) -> Armed | None:
    """Run one engine to its end and return the permission to trade live that a person obtained meanwhile."""
    store = Database(home / f"{mode}.duckdb")
    sandbox: SandboxProcess | None = None
    try:
        config = load_config(store)
        if armed is not None:
            place = Venueplace(armed.venue_config, armed.account, armed.market_source, 1.0, False)
        else:
            place, sandbox = await _place(home, choice, config)
        session = open_session(store, mode, place.market_source, place.speed, place.account, time.time_ns())
        return await _serve(session, config, place, store, home, stopping, sandbox)
    finally:
        if sandbox is not None:
            await sandbox.stop()
        store.close()


def adopt_paper_settings(home: Path, store: Database) -> bool:
    """Give a live record without settings the paper ones, so that live starts with what a person has chosen."""
    paper = home / f"{Mode.PAPER}.duckdb"
    if store.recall("config") is not None or not paper.exists():
        return False
    with contextlib.closing(Database(paper)) as record:
        chosen = record.recall("config")
    if chosen is not None:
        store.remember("config", chosen).result(10)
    return chosen is not None


def load_config(store: Database) -> SystemConfig:
    """Return the stored settings; what a newer or older version does not know falls back to its default, visibly."""
    stored = store.recall("config", {})
    known = {name: value for name, value in stored.items() if name in SystemConfig.model_fields}
    for name in set(stored) - set(known):
        log.warning("setting is unknown to this version", setting=name)
    try:
        return SystemConfig.model_validate(known)
    except ValueError as error:
        raise ConfigError(f"The stored settings cannot be used: {error}") from error


async def _place(
    home: Path, choice: SandboxChoice, config: SystemConfig
) -> tuple[Venueplace, SandboxProcess | None]:  # fmt: skip
    """Return where paper orders go. Without ASTER_BASE_URL that is a practice exchange of its own."""
    environment = Environment()
    if environment.aster_base_url:
        return _environment_place(environment, choice), None
    symbols = choice.symbols or tuple(dict.fromkeys((*config.symbols, *SANDBOX_SYMBOLS)))
    if choice.market == "mirror":
        symbols = config.symbols  # each symbol costs two years of candles from a server that is not ours
    chosen = SandboxChoice(
        choice.market, choice.path, choice.upstream, choice.speed, choice.seed, config.initial_balance, choice.faults,
        choice.symbols if choice.market == "replay" else symbols,
    )  # fmt: skip
    sandbox = await start_sandbox(chosen, home / "sandbox.log")
    hello = sandbox.hello
    venue_config = client_config(private_key=hello["private_key"], base_url=hello["base_url"], ws_url=hello["ws_url"])
    account = f"{hello['address']}@{time.time_ns()}"
    return Venueplace(venue_config, account, choice.market, choice.speed, True), sandbox


SANDBOX_SYMBOLS = (
    "BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "DOGEUSDT", "ADAUSDT", "LINKUSDT", "AVAXUSDT", "LTCUSDT",
)  # fmt: skip


def _environment_place(environment: Environment, choice: SandboxChoice) -> Venueplace:
    credential = environment_credential(environment)
    if credential is None:
        raise ConfigError(
            "Set ASTER_PRIVATE_KEY, or ASTER_SIGNER_KEY with ASTER_USER, or ASTER_API_KEY with ASTER_API_SECRET, to "
            "trade at ASTER_BASE_URL."
        )
    config = venue_config(credential, Place(environment.aster_base_url, environment.aster_ws_url))
    account = f"{account_name(credential)}@{environment.aster_base_url}"
    return Venueplace(config, account, choice.market, choice.speed, False)


async def _serve(
    session: Session,
    config: SystemConfig,
    place: Venueplace,
    store: Database,
    home: Path,
    stopping: asyncio.Event,
    sandbox: SandboxProcess | None,
) -> Armed | None:
    faults: list[Any] = []
    venue = AsterVenue(place.config, lambda sentence: faults[0](sentence) if faults else None)
    engine = Engine(session, config, venue, store, new_market=place.is_new)
    faults.append(lambda sentence: engine.loop.incident("warning", "venue", sentence))
    event_loop = asyncio.get_running_loop()

    def on_storage_error(sentence: str) -> None:
        event_loop.call_soon_threadsafe(engine.loop.on_storage_error, sentence)

    store.on_error = on_storage_error
    jobs = Jobs(
        store, home / "runs", lambda: (engine.wanted_config.compute_backend, engine.wanted_config.compute_address),
        {"train": "models.train:run"}, lambda: engine.wanted_config,
    )  # fmt: skip
    permissions: asyncio.Queue[Armed] = asyncio.Queue()
    data = DataDesk(store, None if sandbox is None else sandbox.hello["base_url"])
    live = LiveModels(engine, "models.serve")
    commands = Commands(engine, jobs, permissions.put_nowait, data, ModelBook(home), live)
    token = secrets.token_urlsafe(32)
    server = FlightServer(commands, Queries(engine.loop), engine.loop.broadcaster, event_loop, token)
    _announce(home, session, server.port, token)
    starting = asyncio.create_task(engine.start())
    arming = asyncio.create_task(permissions.get())
    waits: list[asyncio.Task[Any]] = [asyncio.create_task(stopping.wait()), arming]
    if sandbox is not None:
        waits.append(asyncio.create_task(_sandbox_gone(sandbox, engine)))
    try:
        await asyncio.wait([starting, *waits], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()  # a failed start ends the engine with its sentence
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return arming.result() if arming.done() else None
    finally:
        for task in (starting, *waits):
            task.cancel()
        (home / "engine.json").unlink(missing_ok=True)
        jobs.close()
        data.jobs.close()
        live.host.close()
        await engine.stop()
        await asyncio.to_thread(server.shutdown)


async def _sandbox_gone(sandbox: SandboxProcess, engine: Engine) -> None:
    code = await sandbox.process.wait()
    engine.loop.incident("critical", "sandbox", f"the practice exchange ended (exit code {code}); see sandbox.log")


def _announce(home: Path, session: Session, port: int, token: str) -> None:
    """Write ``engine.json``, by which clients find the engine. Only this user can read the token in it."""
    path = home / "engine.json"
    part = home / "engine.json.part"
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(
            {
                "pid": os.getpid(), "flight_url": f"grpc://127.0.0.1:{port}", "token": token,
                "mode": str(session.mode), "started_ns": session.started_ns, "version": VERSION,
                "engine_id": session.engine_id,
            },
            file,
        )  # fmt: skip
    part.replace(path)
