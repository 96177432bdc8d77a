"""The running exchange: matching engine, market, candles, tape and listeners, moved by one step function."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from engine.errors import ConfigError
from engine.venues.sandbox.auth import KeyRing, hmac_pair_from_seed, key_from_seed
from engine.venues.sandbox.clock import MarketClock, wall_ms
from engine.venues.sandbox.contracts import CONTRACTS, Contract
from engine.venues.sandbox.exchange import Exchange
from engine.venues.sandbox.faults import MARKET_ACTIONS, FaultPlan, FaultRule, load_rules
from engine.venues.sandbox.limits import RateLimits
from engine.venues.sandbox.market import CandleStore, FundingRow, Market
from engine.venues.sandbox.market.shocks import Shock
from engine.venues.sandbox.messages import MarketMessages
from engine.venues.sandbox.model import (
    AccountEvent,
    BookEvent,
    ConfigEvent,
    Event,
    FundingEvent,
    MarginCallEvent,
    OrderEvent,
    TradeEvent,
)
from engine.venues.sandbox.options import SandboxOptions
from engine.venues.sandbox.streams import MarketStreams
from engine.venues.sandbox.tape import Tape
from engine.venues.sandbox.userstream import UserStreams

MINUTE_MS = 60_000
MAKER_FEE, TAKER_FEE = 0.0, 0.0004
FUNDING_ROWS_KEPT = 5_000
LONGEST_CATCH_UP_MS = 5 * MINUTE_MS


class PracticeVenue:
    """Everything that requests and streams share.

    Parameters
    ----------
    options : SandboxOptions
    market : Market
        Already opened, so that its symbols, start and history are known.
    """

    def __init__(self, options: SandboxOptions, market: Market) -> None:
        self.options = options
        self.market = market
        self.symbols = tuple(market.symbols)
        self.contracts: dict[str, Contract] = {symbol: CONTRACTS[symbol] for symbol in self.symbols}
        self.fees = (MAKER_FEE, TAKER_FEE)
        self.exchange = Exchange(self.contracts, *self.fees)
        self.clock = MarketClock(market.market_start_ms, options.speed)
        self.candles = CandleStore(market, market.market_start_ms)
        self.tape = Tape(self.symbols)
        self.messages = MarketMessages(self.exchange, self.candles, self.contracts)
        self.streams = MarketStreams(self.messages, self.symbols)
        self.users = UserStreams(self.exchange, self.contracts, options.listen_key_life_s)
        self.keys = KeyRing(options.chain_ids)
        self.limits = RateLimits(options)
        self.faults = FaultPlan(seed=options.seed)
        self.builders: dict[str, list[dict[str, str]]] = {}
        self.funding: dict[str, deque[FundingRow]] = {
            symbol: deque(market.history_funding(symbol), maxlen=FUNDING_ROWS_KEPT) for symbol in self.symbols
        }
        self.market_ms = market.market_start_ms
        self.n_steps = 0
        self.private_key, self.address = key_from_seed(options.seed)
        self.hmac_key, self.hmac_secret = hmac_pair_from_seed(options.seed)

    def open(self) -> None:
        """Fund the test account, quote the market and let time begin."""
        self.open_account(self.address, self.options.balance, self.market_ms)
        self.keys.register_hmac(self.hmac_key, self.hmac_secret, self.address)
        self.market.start(self.exchange, self.market_ms)
        self.pump(self.market_ms)
        if self.options.faults:
            self.set_faults(load_rules(self.options.faults))
        self.clock.restart(self._first_ms())

    def set_faults(self, rules: Iterable[FaultRule]) -> None:
        """Put more fault rules in force from now on; crashes are handed to the market.

        Raises
        ------
        ConfigError
            A crash on a market whose prices are not ours to move.
        """
        rules = list(rules)
        shake = getattr(self.market, "shake", None)
        if shake is None and any(rule.action in MARKET_ACTIONS for rule in rules):
            raise ConfigError(
                f"a crash needs the simulated market; the {self.options.market} market has its own prices"
            )
        self.faults.add(rules, time.monotonic())
        for rule, symbols in self.faults.for_market(self.symbols):
            assert shake is not None
            begin_ms = self.market_ms + round(rule.after_s * 1e3)
            shake(Shock(tuple(symbols), begin_ms, round(rule.over_s * 1e3), rule.move, rule.depth))

    def _first_ms(self) -> int:
        """Return the moment at which market time starts to run.

        History ends on a whole minute. The part of the running minute that has passed by now is played at once, so that
        at speed 1 market time is wall time from the first second on.
        """
        start_ms = self.market.market_start_ms
        if self.options.manual:
            return start_ms
        wanted_ms = self.options.start_ms
        if wanted_ms is None and self.options.speed == 1.0:
            wanted_ms = wall_ms()
        if wanted_ms is not None and 0 <= wanted_ms - start_ms < LONGEST_CATCH_UP_MS:
            return wanted_ms
        return start_ms

    def open_account(self, account_id: str, deposit: float, now_ms: int) -> None:
        """Open an account, or fund the existing one, in USDT. Its own address may sign for it."""
        account_id = account_id.lower()
        if self.exchange.has_account(account_id):
            self.exchange.deposit(account_id, deposit, now_ms)
            return
        self.exchange.open_account(account_id, deposit, now_ms)
        self.keys.register_signer(account_id, account_id)

    def step_to(self, target_ms: int) -> bool:
        """Move market time forward, at most to the next minute; return whether ``target_ms`` was reached.

        A finished replay stays where it ended: time stands still, requests and streams go on.

        Minutes are never crossed in one go: a bar closes on its boundary, with its final message, before anything of
        the next one happens.
        """
        if self.market.finished:
            target_ms = self.market_ms
        boundary_ms = self.market_ms - self.market_ms % MINUTE_MS + MINUTE_MS
        now_ms = min(target_ms, boundary_ms)
        if now_ms > self.market_ms:
            self.market.advance(self.exchange, now_ms)
            self.exchange.advance(now_ms)
            self.market_ms = now_ms
            self.n_steps += 1
        self.pump(self.market_ms)
        for symbol in self.symbols:
            mark, index = self.exchange.mark(symbol), self.exchange.index(symbol)
            if mark is not None and index is not None:
                # the reading belongs to the time that has passed, so a minute's last one still counts for it
                self.candles.on_mark(symbol, mark, index, self.market_ms - 1)
        self.streams.on_bars(self.candles.advance(self.market_ms), self.market_ms)
        self.streams.flush(self.market_ms, wall_ms())
        return self.market_ms >= target_ms

    def pump(self, now_ms: int) -> None:
        """Pass what happened in the exchange on to tape, candles and streams."""
        for event in self.exchange.drain():
            self._dispatch(event, now_ms)

    def _dispatch(self, event: Event, now_ms: int) -> None:
        if isinstance(event, TradeEvent):
            contract = self.contracts[event.symbol]
            self.candles.on_trade(
                event.symbol, contract.price(event.price_tick), contract.qty(event.lots), event.buyer_is_maker,
                event.time_ms,
            )  # fmt: skip
            agg, merged = self.tape.add(event)
            self.streams.on_trade(event, agg, merged)
        elif isinstance(event, BookEvent):
            self.streams.on_book(event.symbol)
        elif isinstance(event, OrderEvent | AccountEvent | MarginCallEvent | ConfigEvent):
            self.users.on_event(event, now_ms)
        elif isinstance(event, FundingEvent):
            self.funding[event.symbol].append((event.time_ms, event.rate, event.mark))

    def state(self) -> dict[str, Any]:
        """Return the exchange's own condition, for tests and health checks."""
        return {
            "market": self.options.market,
            "market_state": self.market.state,
            "finished": self.market.finished,
            "seed": self.options.seed,
            "speed": self.clock.speed,
            "market_ms": self.market_ms,
            "market_start_ms": self.market.market_start_ms,
            "wall_ms": wall_ms(),
            "symbols": list(self.symbols),
            "n_steps": self.n_steps,
            "faults": self.faults.report(),
        }
