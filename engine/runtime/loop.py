"""The loop: one event in, state and a decision out. Everything that happens to the engine passes through here."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import structlog

from engine.domain import (
    INTERVAL_S,
    NS_PER_S,
    BalanceReport,
    Bar,
    BookSnapshot,
    BookTop,
    Decision,
    Fill,
    MarketTrade,
    MarkPrice,
    OrderUpdate,
    PositionReport,
    Rule,
    StreamState,
    TradingState,
    Verdict,
)
from engine.errors import VenueError
from engine.execution.planner import Target
from engine.ports import FeedEvent, MovedBalance, VenueEvent
from engine.runtime import sentences
from engine.runtime.account import Account
from engine.runtime.broadcast import Broadcaster
from engine.runtime.by_hand import quantities
from engine.runtime.clock import WallClock
from engine.runtime.decider import Decider
from engine.runtime.executor import Executor
from engine.runtime.guards import DeadManSwitch, LiquidationGuard
from engine.runtime.history import History
from engine.runtime.journal import Journal
from engine.runtime.kill import KillSwitch
from engine.runtime.ledger import Ledger
from engine.runtime.market import MarketState
from engine.runtime.model_host import ModelHost
from engine.runtime.reconcile import Reconciler
from engine.runtime.screen import Screen, finite
from engine.runtime.session import Session
from engine.runtime.stopped import StoppedOut, keep_out
from engine.runtime.sweeping import why_not_grow
from engine.runtime.transfers import Transfers
from engine.runtime.worker import Worker
from engine.settings import SystemConfig
from engine.venues.aster import AsterVenue
from storage.database import Database, StorageError

log = structlog.get_logger("loop")

REMEMBER_AFTER_S = 0.05
LATE_BAR_S = 1.5  # how long a decision waits for the other symbols' bars
CHART_INTERVALS = ("1m", "1h")


class Loop:
    """The engine's heart: holds the parts, feeds them events, decides at bar close.

    Parameters
    ----------
    session : Session
        Mode, market source and whose account this is.
    config : SystemConfig
    venue : AsterVenue
    store : Database
    """

    def __init__(self, session: Session, config: SystemConfig, venue: AsterVenue, store: Database) -> None:
        self.session, self.config, self.venue, self.store = session, config, venue, store
        self.clock = WallClock()
        self.market = MarketState()
        self.account = Account()
        self.journal = Journal(store)
        self.history = History(venue, store, self.journal, is_wall_time=session.speed == 1.0)
        self.executor = Executor(
            venue, store, self.market, self.account,
            account_key=session.account_key, tag=session.tag, sequence=session.sequence, now=self.clock.now,
            trading_state=self.trading_state, publish=self._on_change,
        )  # fmt: skip
        self.executor.config, self.executor.speed = config, session.speed
        self.broadcaster = Broadcaster()
        self.screen = Screen(self.broadcaster, self.market, self.account, self.executor)
        self.executor.on_stopped = lambda fill, of_strategy, purpose: keep_out(self, fill, of_strategy, purpose)
        self.worker = Worker(self.executor)
        self.worker.parents.may_grow = lambda symbol: why_not_grow(self, symbol)
        self.stopped = StoppedOut(store, session.account_key)
        self.dead_man = DeadManSwitch(self.executor)
        self.liquidation = LiquidationGuard(
            self.executor, self.worker, lambda sentence: self.incident("critical", "liquidation", sentence)
        )
        self.kill = KillSwitch(self.executor, self.worker, store)
        self.reconciler = Reconciler(self.executor, Ledger(store, session.account_key))
        self.transfers = Transfers(self)
        self.reconciler.settled, self.reconciler.accepted = self.transfers.settle, self.transfers.accept
        self.decider: Decider | None = None
        self.models: ModelHost | None = None
        self.phase = "starting"
        self.suspended: Callable[[], str | None] = lambda: None  # why the connection allows no new risk
        self.streams: dict[str, StreamState] = {}
        self.last_event_ns: dict[str, int] = {}
        self.last_decision: dict[str, Any] | None = None
        self.next_decision_id = 1 + store.rows("SELECT coalesce(max(decision_id), 0) AS n FROM decisions")[0]["n"]
        self._bars_due: dict[int, set[str]] = {}
        self._decided_ts_open = self._owed_ts_open = 0
        self._deciding = asyncio.Lock()
        self._incident_id = store.rows("SELECT coalesce(max(incident_id), 0) AS n FROM incidents")[0]["n"]
        self.storage_trouble: str | None = None
        self.began_ns = session.started_ns  # when this account was first traded

    # what is allowed ---------------------------------------------------------------------------------------------

    def trading_state(self) -> TradingState:
        """Return the strictest of kill switch, record, streams and books."""
        state = self.kill.trading_state()
        account = self.streams.get("account")
        last = self.reconciler.last
        blind = account is None or not account.up or self.storage_trouble is not None or self.suspended() is not None
        if (blind or last is None or not last.ok) and state == TradingState.RUNNING:
            return TradingState.REDUCE_ONLY
        return state

    # events ------------------------------------------------------------------------------------------------------

    async def run_market(self, symbols: tuple[str, ...]) -> None:
        """Consume market events until cancelled."""
        intervals = tuple(dict.fromkeys((*CHART_INTERVALS, self.config.decision_interval)))
        async for event in self.venue.stream(symbols, intervals):
            self.on_market(event)

    async def run_account(self) -> None:
        """Consume account events until cancelled."""
        async for event in self.venue.events():
            await self.on_account(event)

    def on_market(self, event: FeedEvent) -> None:
        """Take one market event."""
        self.last_event_ns["market"] = event.ts_received
        if isinstance(event, BookTop):
            self.market.on_top(event)
            self.journal.top(event)
            self.screen.top(event)
        elif isinstance(event, MarketTrade):
            self.market.on_trade(event)
            self.journal.tick(event)
            self.screen.trade(event)
        elif isinstance(event, BookSnapshot):
            self.market.on_book(event)
            self.screen.book(event)
        elif isinstance(event, MarkPrice):
            self.journal.settled_funding(self.market.marks.get(event.symbol), event)
            self.market.on_mark(event)
        elif isinstance(event, Bar):
            self._on_bar(event)
        elif isinstance(event, StreamState):
            self._on_stream(event)

    async def on_account(self, event: VenueEvent) -> None:
        """Take one event of our own account."""
        self.last_event_ns["account"] = event.ts_received
        if isinstance(event, Fill):
            self.executor.on_fill(event)
        elif isinstance(event, OrderUpdate):
            self.executor.on_order(event)
        elif isinstance(event, BalanceReport):
            change = self.account.apply_push(event)
            if isinstance(event, MovedBalance):
                self.transfers.pushed(self.account.n_pushes, change)
        elif isinstance(event, PositionReport):
            self.account.note(event)
        elif isinstance(event, StreamState):
            self._on_stream(event)

    def _on_stream(self, event: StreamState) -> None:
        before = self.streams.get(event.stream)
        self.streams[event.stream] = event
        if not event.up:
            self.incident("warning", event.stream, sentences.stream_down(event.stream, event.reason))
        elif before is not None and not before.up and self.phase == "trading":
            self.executor.spawn(self.reconcile())

    def _on_bar(self, bar: Bar) -> None:
        closed = self.market.on_bar(bar)
        self.screen.bar(bar)
        if not closed:
            return
        self.journal.bars([bar])
        if self.models is not None:
            self.models.on_bar(bar)
        if bar.interval == self.config.decision_interval and bar.symbol in self.config.symbols:
            self._bar_is_due(bar)

    def _bar_is_due(self, bar: Bar) -> None:
        if bar.ts_open <= self._decided_ts_open:
            return
        arrived = self._bars_due.setdefault(bar.ts_open, set())
        arrived.add(bar.symbol)
        if arrived >= set(self.config.symbols):
            self.executor.spawn(self.decide(bar.ts_open))
        elif len(arrived) == 1:
            asyncio.get_running_loop().call_later(LATE_BAR_S, lambda: self.executor.spawn(self.decide(bar.ts_open)))

    # deciding ----------------------------------------------------------------------------------------------------

    async def decide(self, ts_open: int) -> None:
        """Decide on the bars that opened at ``ts_open``, record it, then act. Each bar is decided on once."""
        async with self._deciding:
            if ts_open <= self._decided_ts_open or self.phase != "trading" or self.decider is None:
                return
            began = time.perf_counter()
            if not self.decider.is_next(ts_open):
                await self._fill_gap(ts_open)
            self._decided_ts_open = ts_open
            self._bars_due = {ts: symbols for ts, symbols in self._bars_due.items() if ts > ts_open}
            await self._decide_now(self.decider, ts_open, began)

    def already_decided(self, ts_open: int) -> None:
        """Take up, after a restart, which bar was decided on last."""
        self._decided_ts_open = max(self._decided_ts_open, ts_open)

    async def decide_owed(self) -> None:
        """Decide, with the prices of now, on a bar whose decision could not be recorded; not if a newer bar closed."""
        owed, self._owed_ts_open = self._owed_ts_open, 0
        await self.decide(owed)

    async def _fill_gap(self, ts_open: int) -> None:
        """Let the sleeves see the bars that a lost connection swallowed."""
        assert self.decider is not None
        span = INTERVAL_S[self.config.decision_interval] * NS_PER_S
        missing = (ts_open - self.decider.ts_open_newest) // span
        if missing < 1:
            return
        try:
            history = await self.fetch_history(self.config.decision_interval, int(missing) + 2, end_ns=ts_open - 1)
        except VenueError as trouble:
            self.incident("warning", "decide", sentences.bars_missing(int(missing), trouble))
            return
        self.decider.warm_up(history)

    async def _decide_now(self, decider: Decider, ts_open: int, began: float) -> None:
        epoch = self.executor.kill_epoch
        market = self.market.slice_at(decider.symbols, self.config.decision_interval, ts_open, self.clock.now())
        wish = await decider.wish(market, self.account, self.market, self.executor.in_flight_qty)
        in_flight = np.array([self.executor.in_flight_qty(symbol) for symbol in decider.symbols])
        by_hand = quantities(self.executor)
        decision, view = decider.decide(
            market, self.account, self.market, in_flight, self.trading_state(), wish, by_hand
        )
        decision, held = self.stopped.hold(decision, view, decider.symbols)
        decision_id = self.next_decision_id
        self.next_decision_id += 1
        acting = [symbol for index, symbol in enumerate(decider.symbols) if decision.act[index]]
        row = {
            "decision_id": decision_id, "ts_close": decision.ts_close, "ts_decided": self.clock.now(),
            "strategy": self.config.strategy, "params_hash": decider.params_hash, "equity": finite(decision.equity),
            "drawdown": finite(decision.drawdown), "day_pnl": finite(decision.day_pnl),
            "gross_weight": finite(decision.gross_weight), "portfolio_vol": finite(decision.portfolio_vol),
            "n_orders": len(acting), "summary": decider.summary(decision),
            "detail": decider.detail(decision, market, view, held, wish),
            "elapsed_ms": (time.perf_counter() - began) * 1e3,
        }  # fmt: skip
        try:
            await asyncio.wrap_future(self.store.append_ahead("decisions", [row]))
        except StorageError as error:
            self.on_storage_error(str(error))
            decider.take_back()  # an unrecorded decision is not acted on; ``decide_owed`` makes it anew
            self._decided_ts_open, self._owed_ts_open = ts_open - 1, ts_open
            return
        if epoch == self.executor.kill_epoch:
            self._act(decider, decision, decision_id, market.close_px)
        self.last_decision = {key: row[key] for key in ("decision_id", "ts_close", "summary", "n_orders")}
        self.screen.publish("decision", **self.last_decision)
        # the orders are on their way; what only the next start needs can wait for them
        asyncio.get_running_loop().call_later(REMEMBER_AFTER_S, self.remember_risk)
        self.record_equity()

    def _act(self, decider: Decider, decision: Decision, decision_id: int, close_px: Any) -> None:
        for index, symbol in enumerate(decider.symbols):
            held = self.account.position(symbol)
            grows = abs(decision.target_qty[index] + held.manual_qty) > abs(held.qty)
            if grows and self.liquidation.is_close(symbol):
                continue
            if decision.act[index]:
                verdicts = decision.verdict[index]
                urgent = Verdict.REFUSE in (verdicts[Rule.DAILY_LOSS], verdicts[Rule.DRAWDOWN])
                ts_set = 0 if urgent else self.clock.now()
                self.worker.set_target(
                    Target(symbol, float(decision.target_qty[index]), decision_id, float(close_px[index]), ts_set)
                )

    def remember_risk(self) -> None:
        """Keep what the limits remember over a restart, and what the portfolio's sleeves have learned."""
        if self.decider is None:
            return
        memory, learned = self.decider.memory(), None
        if self.decider.portfolio is not None:
            learned = self.decider.portfolio.learned()
        try:
            if memory:
                self.store.remember(self.session.risk_key, memory | {"transfers": self.transfers.memory()})
            if learned is not None:
                self.store.remember(self.session.sleeves_key, learned)
        except StorageError as error:  # told where it is noticed first; the next decision tries again
            log.error("risk memory not kept", reason=str(error))

    # upkeep ------------------------------------------------------------------------------------------------------

    async def fetch_history(
        self, interval: str, n_bars: int, end_ns: int | None = None, symbols: tuple[str, ...] | None = None
    ) -> dict[str, list[Bar]]:
        """Return history of some symbols, by default of every configured one, and keep it."""
        symbols = symbols or self.config.symbols
        now = self.clock.now()
        pages = await asyncio.gather(*(self.history.fetch(s, interval, n_bars, now, end_ns) for s in symbols))
        for bars in pages:
            for bar in bars[-2:]:
                if not (bar.is_closed and (bar.symbol, interval) in self.market.last_closed):
                    self.market.on_bar(bar)
        return dict(zip(symbols, pages, strict=True))

    async def reconcile(self) -> None:
        """Compare with the venue; differences become incidents."""
        before = self.reconciler.last
        outcome = await self.reconciler.run()
        if outcome.ok or outcome.mismatches:
            self.journal.positions(self.screen.position_rows())
        for mismatch in outcome.mismatches:
            if before is None or mismatch not in before.mismatches:  # a residue that stays is told once
                self.incident("error", "reconcile", f"{mismatch}.{sentences.RECONCILE_ADVICE}")
        if not outcome.ok and not outcome.mismatches and (before is None or before.ok):
            self.incident("warning", "reconcile", outcome.message)

    def equity_now(self) -> float:
        """Return cash plus unrealised profit at mark prices; NaN when unknown."""
        return self.account.cash + self.account.unrealized({s: self.market.mark_px(s) for s in self.account.positions})

    def notice_models(self) -> None:
        """Let the models see whether another set was put into force."""
        if self.models is not None:
            self.models.notice()

    def record_equity(self) -> None:
        """Append the account as it is now."""
        equity = self.equity_now()
        if not math.isfinite(equity):
            return
        notionals = [p.qty * self.market.mark_px(s) for s, p in self.account.open_positions().items()]
        book = self.decider.state.book[0] if self.decider is not None else None
        peak = float(book["peak_equity"]) if book is not None else 0.0
        day_open = float(book["day_open_equity"]) if book is not None else 0.0
        self.journal.append("equity", [{
            "ts": self.clock.now(), "equity": equity, "cash": self.account.cash,
            "pnl_unrealized": equity - self.account.cash, "gross_notional": sum(abs(n) for n in notionals),
            "net_notional": sum(notionals), "drawdown": max(1.0 - equity / peak, 0.0) if peak > 0 else None,
            "day_pnl": equity - day_open if day_open > 0 else None,
        }])  # fmt: skip

    def incident(self, severity: str, source: str, message: str) -> None:
        """Record and log what went wrong."""
        self._incident_id += 1
        log.warning("incident", severity=severity, source=source, message=message)
        self.journal.append("incidents", [{
            "incident_id": self._incident_id, "ts": self.clock.now(), "severity": severity, "source": source,
            "message": message, "detail": "",
        }])  # fmt: skip

    def _on_change(self, kind: str, row: Any) -> None:
        if kind in ("fault", "doubt"):
            self.incident("error" if kind == "fault" else "warning", "engine" if kind == "fault" else "orders", row)
        else:
            self.screen.on_change(kind, row)

    def on_storage_error(self, sentence: str) -> None:
        """Allow only reducing while the record cannot be written."""
        known, self.storage_trouble = self.storage_trouble, sentence
        if known is None:  # the incident is written with everything else as soon as there is room
            self.incident("critical", "storage", sentences.not_writable(sentence))
