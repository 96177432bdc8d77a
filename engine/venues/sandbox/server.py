"""The practice exchange as a server on 127.0.0.1 that speaks the venue's protocol."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable

import psutil  # type: ignore[import-untyped]
from aiohttp import web

from engine.errors import ConfigError
from engine.venues.sandbox.admin import Admin
from engine.venues.sandbox.clock import wall_ms
from engine.venues.sandbox.dispatch import Dispatcher
from engine.venues.sandbox.gateway import Gateway
from engine.venues.sandbox.market import Market, make_market
from engine.venues.sandbox.options import DEFAULT_SYMBOLS, SandboxOptions
from engine.venues.sandbox.venue import PracticeVenue
from engine.venues.sandbox.wire import to_json

HOST = "127.0.0.1"
PARENT_CHECK_S = 1.0
CATCH_UP_S = 0.04
"""Longest time in one go that a market running behind may take before requests get their turn."""

log = logging.getLogger(__name__)


class SandboxServer:
    """A practice exchange in this process.

    Parameters
    ----------
    options : SandboxOptions
    market : Market or None
        Price source; None makes the one that the options name.

    Attributes
    ----------
    base_url, ws_url : str
        ``http://127.0.0.1:P`` and ``ws://127.0.0.1:P``, known after ``start``.
    private_key, address : str
        The funded test account.
    hmac_key, hmac_secret : str
        Its legacy API key.
    venue : PracticeVenue
        The exchange behind the server, for tests in the same process.
    """

    def __init__(self, options: SandboxOptions | None = None, market: Market | None = None) -> None:
        self.options = options or SandboxOptions()
        self._market = market
        self._runner: web.AppRunner | None = None
        self._loop_task: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None

    async def start(self) -> None:
        """Open the market, quote it, listen, and let time run."""
        options = self.options
        if self._market is None:
            start_ms = options.start_ms if options.start_ms is not None else wall_ms()
            self._market = make_market(
                options.market,
                symbols=_wanted_symbols(options),
                seed=options.seed,
                start_ms=start_ms,
                path=options.path,
                upstream=options.upstream,
            )
        await self._market.open()
        self.venue = PracticeVenue(options, self._market)
        self.private_key, self.address = self.venue.private_key, self.venue.address
        self.hmac_key, self.hmac_secret = self.venue.hmac_key, self.venue.hmac_secret
        self.gateway = Gateway(self.venue)
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, options.port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(f"port {options.port} on {HOST} cannot be opened: {error.strerror}") from error
        port = self._runner.addresses[0][1]
        self.base_url, self.ws_url = f"http://{HOST}:{port}", f"ws://{HOST}:{port}"
        self.venue.open()
        self._loop_task = asyncio.create_task(self._run())
        self._loop_task.add_done_callback(self._note_failure)

    async def stop(self) -> None:
        """Close connections, stop time, release the port."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._loop_task
            self._loop_task = None
        if self._runner is not None:
            await self.gateway.close()
            await self._runner.cleanup()
            self._runner = None
        if self._market is not None:
            await self._market.close()

    def hello(self) -> dict[str, object]:
        """Return the first line of output: where the server is and how to trade on it."""
        return {
            "base_url": self.base_url,
            "ws_url": self.ws_url,
            "private_key": self.private_key,
            "address": self.address,
            "hmac_key": self.hmac_key,
            "hmac_secret": self.hmac_secret,
            "initial_balance": self.options.balance,
            "market": self.options.market,
            "seed": self.options.seed,
            "speed": self.options.speed,
            "symbols": list(self.venue.symbols),
            "market_ms": self.venue.market_ms,
            "pid": os.getpid(),
        }

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 20)
        dispatcher, gateway = Dispatcher(self.venue), self.gateway
        app.router.add_routes(Admin(self.venue).routes())
        app.router.add_route("*", r"/fapi/{version:v[1-4]}/{path:.+}", dispatcher.futures)
        app.router.add_route("*", r"/sapi/api/{version:v[1-4]}/{path:.+}", dispatcher.spot)
        for root in ("/fstream", "/sstream"):
            app.router.add_get(f"{root}/stream", gateway.combined)
            app.router.add_get(f"{root}/ws", gateway.raw)
            app.router.add_get(f"{root}/ws/{{name:.+}}", gateway.raw)
        return app

    async def _run(self) -> None:
        venue, tick_s = self.venue, self.options.tick_s
        while True:
            started = time.monotonic()
            target_ms = venue.market_ms if self.options.manual else venue.clock.now_ms()
            while not venue.step_to(target_ms) and time.monotonic() - started < CATCH_UP_S:
                await asyncio.sleep(0)
            self.gateway.sweep(time.monotonic())
            await asyncio.sleep(max(0.001, tick_s - (time.monotonic() - started)))

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failure = task.exception()
            log.error("the market loop of the practice exchange has failed", exc_info=self.failure)


def _wanted_symbols(options: SandboxOptions) -> tuple[str, ...] | None:
    """Return the contracts to list; a replay without a choice lists whatever it has a recording of."""
    return None if options.market == "replay" and options.symbols == DEFAULT_SYMBOLS else options.symbols


async def serve(options: SandboxOptions) -> None:
    """Run a practice exchange until a signal, the parent's end or a failure. The first line of output says where."""
    server = SandboxServer(options)
    stopping = asyncio.Event()
    parent_alive = _parent_watch(options.parent_pid)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stopping.set)
    try:
        await server.start()
        sys.stdout.write(to_json(server.hello()) + "\n")
        sys.stdout.flush()
        # two years of bars live for the whole run: the collector need not look at them again and again
        gc.collect()
        gc.freeze()
        while not stopping.is_set() and server.failure is None and parent_alive():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), PARENT_CHECK_S)
    finally:
        await server.stop()
    if server.failure is not None:
        raise server.failure


def _parent_watch(parent_pid: int | None) -> Callable[[], bool]:
    """Return a question whether the process that we depend on still runs."""
    if parent_pid is None:
        return lambda: True
    if os.name == "posix" and os.getppid() == parent_pid:
        # an orphan gets a new parent; a signal would still find the old one as long as nobody has reaped it
        return lambda: os.getppid() == parent_pid

    return lambda: psutil.pid_exists(parent_pid)


def main(options: SandboxOptions) -> None:
    """Run a practice exchange in this process until it is told to stop."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options))
