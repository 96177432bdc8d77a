"""The engine's life: start in the safe order, keep its jobs, stop without leaving anything open.

Start: clock → filters → reconcile → stops verified → strategies. Until the last step nothing new is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from engine.domain import INTERVAL_S, NS_PER_S, Instrument, Mode, Purpose
from engine.errors import CommandRefused, ConfigError, VenueError
from engine.runtime import sentences
from engine.runtime.connection import Connection
from engine.runtime.decider import Decider
from engine.runtime.drills import Drills
from engine.runtime.evidence_desk import EvidenceDesk, measure_owed
from engine.runtime.executor import RECENT_FINAL
from engine.runtime.kernels import load_kernels
from engine.runtime.ladder import Capital
from engine.runtime.loop import Loop
from engine.runtime.restore import close_ended_practice, manual_parts
from engine.runtime.risk_desk import risk_nightly
from engine.runtime.session import Session
from engine.runtime.standdown import stand_down
from engine.runtime.status import engine_status, why_restricted
from engine.runtime.sweeping import RiskSweep
from engine.runtime.upkeep import drill_when_due, follow_ladder, when_idle
from engine.runtime.warming import warm_decider
from engine.settings import SystemConfig
from engine.venues.aster import KLINES_PER_CALL, AsterVenue
from engine.venues.budget import Priority, using
from storage.database import Database, StorageError
from storage.exports import export_old_ticks

log = structlog.get_logger("engine")

RECONCILE_EVERY_S = 30
CLOCK_TOLERANCE_MS = 5_000
CONNECT_RETRY_S = 2.0
RESIDUE_RETRY_S = 10.0
OF_A_MARKET = ("bars", "ticks", "book_tops", "funding")
HOURLY_BARS = 17_520  # two years, for backtests on the engine's own history
STRUCTURAL = (
    "symbols", "strategy", "strategy_params", "decision_interval", "trend_horizons_hours", "volatility_horizon_hours",
    "ema_fast", "ema_slow",
)  # fmt: skip
JOB_DEFAULTS = {"coalesce": True, "max_instances": 1, "misfire_grace_time": 5}


class Engine:
    """A running engine.

    Parameters
    ----------
    session, config, venue, store : see ``Loop``
    new_market : bool
        The market began anew: an earlier one's candles do not belong to it, nor, of a made-up one, forecasts.
    """

    def __init__(
        self, session: Session, config: SystemConfig, venue: AsterVenue, store: Database, *, new_market: bool
    ) -> None:
        self.loop = Loop(session, config, venue, store)
        self.session, self.venue, self.store = session, venue, store
        self.loop.executor.why = lambda: why_restricted(self.loop)
        self.instruments: dict[str, Instrument] = {}
        self._new_market = new_market
        self._scheduler = AsyncIOScheduler(timezone="UTC", job_defaults=JOB_DEFAULTS)
        self._market_task: asyncio.Task[None] | None = None
        self._account_task: asyncio.Task[None] | None = None
        self._history_task: asyncio.Task[None] | None = None
        self._scans_task: asyncio.Task[None] | None = None
        self._rebuild_task: asyncio.Task[None] | None = None
        self.wanted_config = config
        self.connection = Connection(venue, self.loop)
        self.drills = Drills(store, self.loop.incident, self.loop.clock.now)
        self.capital = Capital(session.mode, store, self.loop.clock.now)
        self.evidence = EvidenceDesk(self)

    # start -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring everything up; returns when the engine trades.

        Raises
        ------
        ConfigError
            A configured symbol does not exist at the venue, or the clock is wrong.
        """
        loop = self.loop
        self._schedule()
        kernels = asyncio.create_task(load_kernels(self.store))
        if self._new_market:
            for table in OF_A_MARKET if self.session.market_source == "mirror" else (*OF_A_MARKET, "forecasts"):
                self.store.execute(f"DELETE FROM {table}")
            close_ended_practice(self.store, self.session.account_key, loop.clock.now())
        await self._connect()
        loop.executor.instruments = self.instruments
        self._market_task = asyncio.create_task(self._guard(loop.run_market(loop.config.symbols), "market"))
        self._account_task = asyncio.create_task(self._guard(loop.run_account(), "account"))
        newest = asyncio.create_task(loop.fetch_history("1m", KLINES_PER_CALL))
        loop.phase = "reconciling"
        await self._first_reconcile()
        await newest
        self._history_task = asyncio.create_task(self._guard(self._fetch_hourly(), "history"))
        await kernels
        loop.decider, newest_ts = await warm_decider(self, loop.config, hold_back=True)
        self._restore_risk(loop.decider)
        await loop.dead_man.forget_earlier()
        await self._stops_verified()
        loop.kill.take_up()
        while not loop.reconciler.agrees:
            loop.phase = "reducing"
            await asyncio.sleep(RESIDUE_RETRY_S)
            await loop.reconcile()
        loop.phase = "trading"
        log.info("trading", symbols=loop.config.symbols, interval=loop.config.decision_interval)
        await loop.decide(newest_ts)
        self._scans_task = asyncio.create_task(when_idle(self, self._history_task))

    async def _connect(self) -> None:
        while True:
            try:
                await self.venue.measure_clock()
                if abs(self.clock_skew_ms) > CLOCK_TOLERANCE_MS and self.session.speed == 1.0:
                    raise ConfigError(
                        f"This clock differs from the venue's by {self.clock_skew_ms / 1e3:+.1f} s and signatures "
                        "would be refused. Synchronise it (NTP) and start again."
                    )
                self.instruments = await self.venue.instruments()
                break
            except VenueError as trouble:
                self.loop.incident("warning", "connect", sentences.unreachable(trouble, CONNECT_RETRY_S))
                await asyncio.sleep(CONNECT_RETRY_S)
        self._drop_untraded()

    def _drop_untraded(self) -> None:
        """Go on without the configured symbols that this venue does not list, and say so."""
        loop = self.loop
        traded = tuple(symbol for symbol in loop.config.symbols if symbol in self.instruments)
        if not traded:
            self.check_symbols(loop.config)
        if traded != loop.config.symbols:
            missing = sorted(set(loop.config.symbols) - set(traded))
            loop.incident("warning", "symbols", sentences.left_out(missing, self.instruments))
            loop.config = loop.executor.config = loop.config.model_copy(update={"symbols": traded})
            self.wanted_config = loop.config

    def check_symbols(self, config: SystemConfig) -> None:
        """Raise ConfigError when the venue does not trade a configured symbol."""
        missing = [symbol for symbol in config.symbols if symbol not in self.instruments]
        if missing:
            raise ConfigError(sentences.none_listed(missing, self.instruments))

    async def _first_reconcile(self) -> None:
        loop = self.loop
        self._restore_orders()
        while not (outcome := await loop.reconciler.run(first=True)).ok:
            if outcome.mismatches:  # asked and answered: what differs is shown, and only reducing is allowed
                for mismatch in outcome.mismatches:
                    loop.incident("error", "reconcile", f"{mismatch}.{sentences.RECONCILE_ADVICE}")
                break
            loop.incident("warning", "reconcile", outcome.message)
            await asyncio.sleep(CONNECT_RETRY_S)
        await asyncio.to_thread(self.store.flush)  # fills that were fetched just now count as well
        self._restore_manual()

    def _restore_orders(self) -> None:
        final = "('FILLED', 'CANCELED', 'EXPIRED', 'REJECTED')"
        rows = self.store.rows(
            f"(SELECT * FROM orders WHERE account = $1 AND status IN {final} ORDER BY ts_intent DESC "
            f"LIMIT {RECENT_FINAL}) UNION ALL SELECT * FROM orders WHERE account = $1 AND status NOT IN {final} "
            "ORDER BY ts_intent",
            [self.session.account_key],
        )
        self.loop.executor.restore(rows)
        self.loop.worker.parents.restore()

    def _restore_manual(self) -> None:
        """Give back to each position the part that a person made; a new practice account has none."""
        if not self.store.recall(self.session.risk_key):
            return
        began = self.store.recall(f"began:{self.session.account_key}", 0)
        replayed = manual_parts(self.store, self.session.account_key, began, self.instruments)
        for symbol in self.loop.account.open_positions():
            self.loop.account.set_manual(symbol, replayed.position(symbol).manual_qty)

    def _restore_risk(self, decider: Decider) -> None:
        memory = self.store.recall(self.session.risk_key)
        if memory is None:
            self.store.remember(f"began:{self.session.account_key}", self.session.started_ns)
            self.loop.transfers.begin({})
            return
        self.loop.began_ns = self.store.recall(f"began:{self.session.account_key}", self.session.started_ns)
        decider.restore_book(memory)
        self.loop.transfers.begin(memory)
        last = self.store.rows("SELECT max(ts_close) AS ts FROM decisions WHERE ts_decided >= ?", [self.loop.began_ns])
        if last[0]["ts"] is not None:
            self.loop.already_decided(last[0]["ts"] - INTERVAL_S[decider.config.decision_interval] * NS_PER_S)

    async def _stops_verified(self) -> None:
        loop = self.loop
        for symbol in loop.account.open_positions():
            loop.worker.poke(symbol)
        for _ in range(50):
            unprotected = [
                symbol for symbol in loop.account.open_positions()
                if not loop.executor.open_orders(symbol, Purpose.PROTECT)
            ]  # fmt: skip
            if not unprotected or not loop.config.use_protective_stops:
                return
            await asyncio.sleep(0.1)
        loop.incident("error", "protect", sentences.unprotected(unprotected))

    async def _fetch_hourly(self) -> None:
        with using(Priority.UI):  # a long download must not keep the trading from asking
            for symbol in self.loop.config.symbols:  # one after the other: what is here already is never asked again
                await self.loop.fetch_history("1h", HOURLY_BARS, symbols=(symbol,))

    # jobs --------------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        loop = self.loop

        def add(work: Callable[[], Any], trigger: str, **when: Any) -> None:
            self._scheduler.add_job(_on_event_loop(work), trigger, **when)

        add(loop.worker.tick, "interval", seconds=0.25, id="work")
        add(loop.screen.orders, "interval", seconds=0.1, id="publish-orders")
        add(loop.screen.positions, "interval", seconds=0.25, id="publish-positions")
        add(self.publish_status, "interval", seconds=1, id="publish-status")
        add(RiskSweep(loop).look, "interval", seconds=1, id="risk-sweep")
        add(loop.dead_man.refresh, "interval", seconds=2, id="dead-man")
        add(self.connection.tick, "interval", seconds=1, id="connection")
        add(loop.journal.flush, "interval", seconds=0.5, id="write-ticks")
        add(self._reconcile, "interval", seconds=RECONCILE_EVERY_S, id="reconcile")
        add(loop.record_equity, "interval", seconds=60, id="record-equity")
        add(self._retire_ticks, "cron", hour=0, minute=10, id="retire-ticks")
        add(self._probe_storage, "interval", seconds=5, id="probe-storage")
        add(lambda: drill_when_due(self), "interval", hours=1, id="drill")
        add(lambda: follow_ladder(self), "interval", hours=1, id="capital-ladder")
        add(lambda: loop.models and loop.models.on_hour(), "interval", hours=1, id="retrain")
        add(loop.notice_models, "interval", seconds=5, id="notice-models")
        refused: set[str] = set()
        add(lambda: measure_owed(self, refused), "cron", minute=20, misfire_grace_time=3600, id="drift")
        add(lambda: risk_nightly(self), "cron", hour=0, minute=25, misfire_grace_time=3600, id="risk")
        self._scheduler.start()

    def publish_status(self) -> None:
        """Send the status to the screens."""
        self.loop.screen.publish("status", **engine_status(self.loop, self.clock_skew_ms))

    @property
    def clock_skew_ms(self) -> float:
        """The venue's clock minus ours, NaN before the first measurement."""
        return self.venue.clock.skew_ms

    async def _reconcile(self) -> None:
        if self.loop.phase == "trading":
            await self.loop.reconcile()
            self._count_reconcile()

    def _count_reconcile(self) -> None:
        """Keep how many differences each comparison found: the capital ladder asks for it."""
        last = self.loop.reconciler.last
        if last is not None and (last.ok or last.mismatches):  # the venue has answered
            row = {"ts": last.ts, "name": "reconcile", "value": float(len(last.mismatches)), "labels": ""}
            self.loop.journal.append("metrics", [row])

    async def _retire_ticks(self) -> None:
        keep_from = time.time_ns() - self.loop.config.tick_retention_days * 86_400 * NS_PER_S
        folder = self.store.path.parent / "ticks"
        await asyncio.to_thread(export_old_ticks, self.store, folder, keep_from)

    async def _probe_storage(self) -> None:
        """Lift the storage block once a durable write works again."""
        if self.loop.storage_trouble is None:
            return
        try:
            await asyncio.wrap_future(self.store.append_durable("metrics", []))
            self.loop.storage_trouble = None
            self.loop.incident("warning", "storage", "The record can be written again; what had to wait is written.")
        except StorageError:
            return
        await self.loop.decide_owed()

    async def _guard(self, work: Any, name: str) -> None:
        try:
            await work
        except VenueError as trouble:
            self.loop.incident("warning", name, str(trouble))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # Nothing may fail in silence: new risk stops, the record keeps the reason, and a person is told.
            log.exception("task died", task=name)
            self.loop.phase = "failed"
            self.loop.incident("critical", name, sentences.task_died(name, error))

    # settings ----------------------------------------------------------------------------------------------------

    async def apply(self, config: SystemConfig) -> None:
        """Put new settings in force from the next decision on.

        What changes the sleeve's memory (symbols, interval, horizons) needs history first: the old settings stay in
        force until it has been seen, in the background, and ``wanted_config`` says what is on its way.

        Raises
        ------
        CommandRefused
            The venue does not trade a symbol, or live mode forbids switching a gate off.
        """
        try:
            self.check_symbols(config)
        except ConfigError as error:
            raise CommandRefused(str(error)) from error
        if self.session.mode == Mode.LIVE and not config.every_gate_on:
            switched_off = config.use_gate_book != config.book_limits_on
            raise CommandRefused(sentences.NO_YARDSTICK if switched_off else sentences.GATES_STAY_ON)
        self.wanted_config = config
        await cancelled(self._rebuild_task)
        decider = self.loop.decider
        if decider is None or any(getattr(self.loop.config, name) != getattr(config, name) for name in STRUCTURAL):
            self._rebuild_task = asyncio.create_task(self._guard(self._rebuild(config), "settings"))
            return
        fresh = Decider(self.capital.limited(config), self.instruments, self.capital.share)
        fresh.take_over(decider)
        self._put_in_force(config, fresh)

    async def _rebuild(self, config: SystemConfig) -> None:
        decider, _ = await warm_decider(self, config)
        if self.loop.decider is not None:
            decider.adopt_book(self.loop.decider)
        old = self.loop.config
        self._put_in_force(config, decider)
        if set(old.symbols) != set(config.symbols) or old.decision_interval != config.decision_interval:
            await cancelled(self._market_task)
            watched = tuple(dict.fromkeys((*config.symbols, *self.loop.account.open_positions())))
            self._market_task = asyncio.create_task(self._guard(self.loop.run_market(watched), "market"))

    def _put_in_force(self, config: SystemConfig, decider: Decider) -> None:
        loop = self.loop
        dropped = set(loop.config.symbols) - set(config.symbols)
        loop.config = loop.executor.config = config
        old, loop.decider = loop.decider, decider
        if old is not None and old.sleeve is not decider.sleeve:
            old.close()
        if loop.models is not None:
            loop.models.choose(config.symbols)
        loop.worker.retire(dropped)

    # stop --------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Cancel working orders, leave each position under its stop on the exchange, write everything, close."""
        loop = self.loop
        loop.phase = "stopping"
        loop.worker.suspended = True
        self._scheduler.shutdown(wait=False)
        await self.drills.stop()
        await self.evidence.stop()
        for sentence in await stand_down(loop):
            loop.incident("critical", "stop", sentence)
        tasks = (self._market_task, self._account_task, self._history_task, self._rebuild_task, self._scans_task)
        for task in tasks:
            await cancelled(task)
        await loop.executor.close()
        if loop.decider is not None:
            loop.decider.close()
        loop.record_equity()
        loop.journal.flush()
        loop.broadcaster.close()
        await self.venue.close()


def _on_event_loop(work: Callable[[], Any]) -> Callable[[], Awaitable[None]]:
    """Return ``work`` as a coroutine function: plain functions would run in threads."""

    async def run() -> None:
        result = work()
        if inspect.isawaitable(result):
            await result

    return run


async def cancelled(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and wait until it has ended."""
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
